//! The DNS settings of systems whose resolvers are in one file: when it is taken, changed and put back. Where the file
//! stands, on a disk or in a test's memory, is behind [`FileHost`].

use std::net::IpAddr;

use weft_model::{DNS_PROXY_ADDRESSES, DnsPlan};

use crate::error::PlatformError;
use crate::record::{Before, DnsRecord, system_dns};
use crate::resolv_conf;
use crate::seam::{Dns, DnsDescription, Restored, SystemDns};

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
fn is_wefts(now: &Before, record: &DnsRecord) -> bool {
    let content = now.content();
    match now {
        Before::Absent => true,
        Before::File { .. } => content.is_empty() || record.wrote(content) || resolv_conf::is_ours(content),
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

impl<H: FileHost> Dns for ResolverFile<H> {
    fn preflight(&self) -> Result<(), PlatformError> {
        self.0.preflight()
    }

    fn system(&self) -> Result<SystemDns, PlatformError> {
        Ok(system_dns(self.0.load()?.content()))
    }

    fn snapshot(&self) -> Result<DnsRecord, PlatformError> {
        let before = self.0.load()?;
        if resolv_conf::is_ours(before.content()) {
            return Err(self.error(
                "holds what an earlier weftd wrote, and nobody knows what was there before: write your resolvers there",
            ));
        }
        Ok(DnsRecord { before, written: Vec::new() })
    }

    fn prepare(&self, plan: &DnsPlan, record: &mut DnsRecord) -> Result<(), PlatformError> {
        let now = self.0.load()?;
        let known = record.wrote(now.content()) || resolv_conf::is_ours(now.content());
        let ours = known || (!record.written.is_empty() && is_wefts(&now, record));
        // Somebody, such as a DHCP client, has new settings: those are what the device returns to.
        if !ours && now != record.before {
            record.before = now.clone();
        }
        let text = resolv_conf::render(plan, &record.system().search);
        record.written.retain(|former| former.as_bytes() == now.content() && *former != text);
        record.written.push(text);
        Ok(())
    }

    fn apply(&mut self, plan: &DnsPlan, record: &mut DnsRecord) -> Result<(), PlatformError> {
        self.prepare(plan, record)?;
        let Some(text) = record.written.last() else { return Ok(()) };
        let wanted = replacement(&record.before, text);
        if self.0.load()? != wanted {
            self.0.store(&wanted)?;
        }
        record.written.drain(..record.written.len().saturating_sub(1));
        Ok(())
    }

    fn restore(&mut self, record: &DnsRecord) -> Result<Restored, PlatformError> {
        let now = self.0.load()?;
        if record.written.is_empty() || same(&now, &record.before) {
            return Ok(Restored::Unchanged);
        }
        if !is_wefts(&now, record) {
            tracing::warn!("{} was changed by somebody else and is left as it is", self.0.path());
            return Ok(Restored::LeftForeign);
        }
        self.0.store(&record.before)?;
        Ok(Restored::Restored)
    }

    fn describe(&self) -> DnsDescription {
        let (content, failure) = match self.0.load() {
            Ok(state) => (state.content().to_vec(), None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let conf = resolv_conf::parse(&content);
        DnsDescription {
            backend: "resolv.conf".to_owned(),
            path: self.0.path(),
            ours: resolv_conf::is_ours(&content),
            servers: conf.nameservers.iter().map(|server| server.address).collect(),
            search: conf.search,
            warnings: failure.into_iter().chain(conf.warnings).collect(),
        }
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
