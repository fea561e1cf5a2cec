//! The DNS settings of systems whose resolvers are in one file: when it is taken, changed and put back. Where the file
//! stands, on a disk or in a test's memory, is behind [`FileHost`].

use std::net::IpAddr;

use weft_model::{DNS_PROXY_ADDRESSES, DnsDescription, DnsMode, DnsPlan};

use crate::dns_seam::{Dns, DnsStanding, Restored, SystemDns};
use crate::error::PlatformError;
use crate::record::{Before, DnsChange, DnsRecord, FileChange, system_dns};
use crate::resolv_conf;
use crate::seam::Watch;

/// The permissions of the file where there was none.
const DEFAULT_MODE: u32 = 0o644;

/// What stands under the settings.
pub(crate) trait FileHost: Send {
    /// Where the file stands, for people.
    fn path(&self) -> String;

    /// What stands there.
    fn load(&self) -> Result<Before, PlatformError>;

    /// Puts `state` there, in one step where the system lets it.
    fn store(&mut self, state: &Before) -> Result<(), PlatformError>;

    /// Removes what a [`FileHost::store`] that was killed left beside the file.
    fn tidy(&mut self);

    /// As [`Dns::watch`].
    fn watch(&self, tell: Box<dyn Fn() + Send + Sync>) -> Result<Watch, PlatformError>;

    /// As [`Dns::preflight`].
    fn preflight(&self) -> Result<(), PlatformError>;

    /// As [`Dns::claim_addresses`].
    fn claim(&mut self) -> Result<Vec<IpAddr>, PlatformError>;

    /// As [`Dns::release_addresses`].
    fn release(&mut self) -> Result<(), PlatformError>;
}

/// DNS settings in one file.
pub(crate) struct ResolverFile<H>(pub(crate) H);

impl<H: FileHost> ResolverFile<H> {
    fn error(&self, detail: &str) -> PlatformError {
        PlatformError::Dns { path: self.0.path(), detail: detail.to_owned() }
    }

    /// What stands there before Weft.
    pub(crate) fn before(&self) -> Result<Before, PlatformError> {
        let before = self.0.load()?;
        if resolv_conf::is_ours(before.content()) {
            return Err(self.error(
                "holds what an earlier weftd wrote, and nobody knows what was there before: write your resolvers there",
            ));
        }
        Ok(before)
    }

    /// As [`Dns::prepare`].
    pub(crate) fn prepare_change(
        &self,
        plan: &DnsPlan,
        change: &mut FileChange,
    ) -> Result<(), PlatformError> {
        let now = self.0.load()?;
        let known = change.wrote(now.content()) || resolv_conf::is_ours(now.content());
        let ours = known || (!change.written.is_empty() && is_wefts(&now, change));
        // Somebody, such as a DHCP client, has new settings: those are what the device returns to.
        if !ours && now != change.before {
            change.before = now.clone();
        }
        let text = resolv_conf::render(plan, &system_dns(change.before.content()).search);
        change.written.retain(|former| former.as_bytes() == now.content() && *former != text);
        change.written.push(text);
        Ok(())
    }

    /// As [`Dns::apply`].
    pub(crate) fn apply_change(
        &mut self,
        plan: &DnsPlan,
        change: &mut FileChange,
    ) -> Result<(), PlatformError> {
        self.prepare_change(plan, change)?;
        let Some(text) = change.written.last() else { return Ok(()) };
        let wanted = replacement(&change.before, text);
        if self.0.load()? != wanted {
            self.0.store(&wanted)?;
        }
        change.written.drain(..change.written.len().saturating_sub(1));
        Ok(())
    }

    /// As [`Dns::restore`].
    pub(crate) fn restore_change(&mut self, change: &FileChange) -> Result<Restored, PlatformError> {
        self.0.tidy();
        let now = self.0.load()?;
        if change.written.is_empty() || same(&now, &change.before) {
            return Ok(Restored::Unchanged);
        }
        if !is_wefts(&now, change) {
            tracing::warn!("{} was changed by somebody else and is left as it is", self.0.path());
            return Ok(Restored::LeftForeign);
        }
        self.0.store(&change.before)?;
        Ok(Restored::Restored)
    }

    /// As [`Dns::standing`].
    pub(crate) fn standing_of(&self, change: &FileChange) -> Result<DnsStanding, PlatformError> {
        let now = self.0.load()?;
        let content = now.content();
        if matches!(now, Before::File { .. }) && change.written.last().map(String::as_bytes) == Some(content)
        {
            return Ok(DnsStanding::InForce);
        }
        let servers = system_dns(content).servers;
        let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
        let what = match (&now, servers.is_empty()) {
            (Before::Absent, _) => "is gone".to_owned(),
            (_, true) => "names no other resolver, and is not what Weft wrote".to_owned(),
            (_, false) => format!("names {}", servers.join(", ")),
        };
        let found = format!("{} {what}", self.0.path());
        Ok(DnsStanding::Replaced { found, by: resolv_conf::author(content) })
    }

    /// As [`Dns::describe`], but for mode and trace.
    pub(crate) fn describe_file(&self) -> DnsDescription {
        let (content, failure) = match self.0.load() {
            Ok(state) => (state.content().to_vec(), None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let conf = resolv_conf::parse(&content);
        DnsDescription {
            mode: DnsMode::File,
            trace: Vec::new(),
            owner: resolv_conf::author(&content),
            place: self.0.path(),
            ours: resolv_conf::is_ours(&content),
            servers: conf.nameservers.iter().map(|server| server.address).collect(),
            search: conf.search,
            warnings: failure.into_iter().chain(conf.warnings).collect(),
            port_holders: Vec::new(),
        }
    }
}

/// The file that holds `text` instead of `former`, with the former's permissions and owner.
fn replacement(former: &Before, text: &str) -> Before {
    let (mode, uid, gid) = match former {
        Before::File { mode, uid, gid, .. } => (*mode, *uid, *gid),
        Before::Absent | Before::Symlink { .. } => {
            (DEFAULT_MODE, rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
        }
    };
    Before::File { content: text.as_bytes().to_vec(), mode, uid, gid }
}

/// Whether `now` is Weft's, edited or cut short: no settings of anybody's that would be lost.
fn is_wefts(now: &Before, change: &FileChange) -> bool {
    let content = now.content();
    match now {
        Before::Absent => true,
        Before::File { .. } => content.is_empty() || change.wrote(content) || resolv_conf::is_ours(content),
        Before::Symlink { .. } => false,
    }
}

/// Whether the same stands there. What is behind a symbolic link changes on its own.
fn same(left: &Before, right: &Before) -> bool {
    match (left, right) {
        (Before::Symlink { target: left, .. }, Before::Symlink { target: right, .. }) => left == right,
        _ => left == right,
    }
}

fn not_of_a_file() -> PlatformError {
    PlatformError::Dns {
        path: "the record of the DNS settings".to_owned(),
        detail: "is not one of a file of resolvers".to_owned(),
    }
}

fn file_of(record: &mut DnsRecord) -> Result<&mut FileChange, PlatformError> {
    match &mut record.change {
        DnsChange::File(file) => Ok(file),
        _ => Err(not_of_a_file()),
    }
}

impl<H: FileHost> Dns for ResolverFile<H> {
    fn preflight(&self) -> Result<(), PlatformError> {
        self.0.preflight()
    }

    fn system(&self, record: Option<&DnsRecord>) -> Result<SystemDns, PlatformError> {
        match record {
            Some(record) => Ok(record.system()),
            None => Ok(system_dns(self.0.load()?.content())),
        }
    }

    fn snapshot(&self) -> Result<DnsRecord, PlatformError> {
        let trace = vec![format!("{} alone is in use", self.0.path())];
        Ok(DnsRecord::of_file(DnsMode::File, trace, self.before()?))
    }

    fn prepare(&self, plan: &DnsPlan, record: &mut DnsRecord) -> Result<(), PlatformError> {
        self.prepare_change(plan, file_of(record)?)
    }

    fn apply(&mut self, plan: &DnsPlan, record: &mut DnsRecord) -> Result<(), PlatformError> {
        self.apply_change(plan, file_of(record)?)
    }

    fn restore(&mut self, record: &DnsRecord) -> Result<Restored, PlatformError> {
        match &record.change {
            DnsChange::File(file) => self.restore_change(file),
            _ => Err(not_of_a_file()),
        }
    }

    fn standing(&self, record: &DnsRecord) -> Result<DnsStanding, PlatformError> {
        match &record.change {
            DnsChange::File(file) => self.standing_of(file),
            _ => Err(not_of_a_file()),
        }
    }

    fn watch(&self, tell: Box<dyn Fn() + Send + Sync>) -> Result<Watch, PlatformError> {
        self.0.watch(tell)
    }

    fn describe(&self, record: Option<&DnsRecord>) -> DnsDescription {
        let trace = record.map(|record| record.trace.clone()).unwrap_or_default();
        DnsDescription { trace, ..self.describe_file() }
    }

    fn claim_addresses(&mut self) -> Result<Vec<IpAddr>, PlatformError> {
        self.0.claim()
    }

    fn release_addresses(&mut self) -> Result<(), PlatformError> {
        self.0.release()
    }
}

/// The DNS proxy's addresses that sockets can be bound to, with IPv6 or without.
pub(crate) fn proxy_addresses(ipv6: bool) -> Vec<IpAddr> {
    DNS_PROXY_ADDRESSES.into_iter().filter(|address| ipv6 || address.is_ipv4()).collect()
}
