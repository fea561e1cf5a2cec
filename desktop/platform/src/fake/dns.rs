//! The fake system's DNS settings: its file of resolvers, or what a program keeps that a test lets run or not.

use std::net::IpAddr;

use weft_model::{DnsDescription, DnsMode, DnsPlan};

use super::{FakeSystem, Step};
use crate::dns_seam::{Dns, DnsStanding, Restored, SystemDns};
use crate::error::PlatformError;
use crate::record::{Before, DnsRecord};
use crate::resolver_file::{FileHost, ResolverFile, proxy_addresses};
use crate::seam::Watch;

/// By what means the fake system's DNS settings are changed, and how the program does that keeps them.
#[derive(Debug, Clone)]
pub struct DnsKeeper {
    /// The means that the system calls for at this moment. In those of a file the file is changed, in all others `settings`.
    pub mode: DnsMode,
    /// Whether the program that keeps the settings does not run, in the modes that have one.
    pub is_away: bool,
    /// What the program keeps; it outlasts the program.
    pub settings: Before,
    /// Where names go besides, while Weft's settings are in force.
    pub shared: Option<String>,
}

impl DnsKeeper {
    /// Nobody but the file.
    pub(super) fn none() -> Self {
        let content = b"# the fake keeper's own\nnameserver 192.0.2.53\n".to_vec();
        let settings = Before::File { content, mode: 0o644, uid: 0, gid: 0 };
        Self { mode: DnsMode::File, is_away: false, settings, shared: None }
    }
}

/// Whether a program keeps the settings in this mode.
fn is_kept(mode: DnsMode) -> bool {
    !matches!(mode, DnsMode::File | DnsMode::FileInPlace | DnsMode::None)
}

impl FakeSystem {
    /// Changes the program that keeps the DNS settings, and tells whoever watches them.
    pub fn change_dns_keeper(&self, change: impl FnOnce(&mut DnsKeeper)) {
        change(&mut self.lock().state.dns_keeper);
        self.tell_of_dns();
    }

    /// Puts a file in resolv.conf's place, as another program does, and tells whoever watches the DNS settings.
    pub fn write_resolv_conf(&self, content: &str) {
        let content = content.as_bytes().to_vec();
        self.lock().state.resolv_conf = Before::File { content, mode: 0o644, uid: 0, gid: 0 };
        self.tell_of_dns();
    }

    fn tell_of_dns(&self) {
        let watchers = self.lock().dns_watchers.clone();
        watchers.iter().for_each(|(_, tell)| tell());
    }

    pub(super) fn dns(&self) -> Box<dyn Dns> {
        let file = |is_kept| ResolverFile(FakeFile { system: self.clone(), is_kept });
        Box::new(FakeDns { system: self.clone(), file: file(false), kept: file(true) })
    }
}

struct FakeDns {
    system: FakeSystem,
    file: ResolverFile<FakeFile>,
    kept: ResolverFile<FakeFile>,
}

impl FakeDns {
    fn keeper(&self) -> DnsKeeper {
        self.system.lock().state.dns_keeper.clone()
    }

    fn is_away(&self, mode: DnsMode) -> bool {
        is_kept(mode) && self.keeper().is_away
    }

    fn of(&self, mode: DnsMode) -> &ResolverFile<FakeFile> {
        if is_kept(mode) { &self.kept } else { &self.file }
    }

    /// As [`FakeDns::of`], of whoever runs.
    fn reach(&mut self, mode: DnsMode) -> Result<&mut ResolverFile<FakeFile>, PlatformError> {
        if self.is_away(mode) {
            return Err(PlatformError::Dns { path: mode.to_string(), detail: "it does not run".to_owned() });
        }
        Ok(if is_kept(mode) { &mut self.kept } else { &mut self.file })
    }
}

impl Dns for FakeDns {
    fn preflight(&self) -> Result<(), PlatformError> {
        self.file.preflight()
    }

    fn system(&self, record: Option<&DnsRecord>) -> Result<SystemDns, PlatformError> {
        self.file.system(record)
    }

    fn snapshot(&self) -> Result<DnsRecord, PlatformError> {
        self.system.step(Step::DnsSnapshot).map(drop)?;
        let mode = self.keeper().mode;
        Ok(DnsRecord { mode, ..self.of(mode).snapshot()? })
    }

    fn prepare(&self, plan: &DnsPlan, record: &mut DnsRecord) -> Result<(), PlatformError> {
        self.of(record.mode).prepare(plan, record)
    }

    fn apply(&mut self, plan: &DnsPlan, record: &mut DnsRecord) -> Result<(), PlatformError> {
        self.reach(record.mode)?.apply(plan, record)
    }

    fn restore(&mut self, record: &DnsRecord) -> Result<Restored, PlatformError> {
        match self.is_away(record.mode) {
            true => Ok(Restored::Owed),
            false => self.reach(record.mode)?.restore(record),
        }
    }

    fn standing(&self, record: &DnsRecord) -> Result<DnsStanding, PlatformError> {
        self.system.step(Step::DnsStanding).map(drop)?;
        let keeper = self.keeper();
        if keeper.mode != record.mode {
            return Ok(DnsStanding::OtherMode(keeper.mode));
        }
        if self.is_away(record.mode) {
            return Ok(DnsStanding::Away);
        }
        let standing = self.of(record.mode).standing(record)?;
        Ok(match keeper.shared {
            Some(found) if standing == DnsStanding::InForce => DnsStanding::Shared { found },
            _ => standing,
        })
    }

    fn watch(&self, tell: Box<dyn Fn() + Send + Sync>) -> Result<Watch, PlatformError> {
        self.file.watch(tell)
    }

    fn describe(&self, record: Option<&DnsRecord>) -> DnsDescription {
        let mode = record.map_or_else(|| self.keeper().mode, |record| record.mode);
        DnsDescription { mode, ..self.of(mode).describe(record) }
    }

    fn claim_addresses(&mut self) -> Result<Vec<IpAddr>, PlatformError> {
        self.file.claim_addresses()
    }

    fn release_addresses(&mut self) -> Result<(), PlatformError> {
        self.file.release_addresses()
    }
}

/// The file of resolvers, or what the keeper keeps in its form.
struct FakeFile {
    system: FakeSystem,
    is_kept: bool,
}

impl FileHost for FakeFile {
    fn path(&self) -> String {
        let what = if self.is_kept { "keeper" } else { "resolv.conf" };
        format!("the fake system's {what}")
    }

    fn load(&self) -> Result<Before, PlatformError> {
        let state = &self.system.lock().state;
        Ok(if self.is_kept { state.dns_keeper.settings.clone() } else { state.resolv_conf.clone() })
    }

    fn store(&mut self, state: &Before) -> Result<(), PlatformError> {
        let mut inner = self.system.step(Step::DnsWrite)?;
        let place = match self.is_kept {
            true => &mut inner.state.dns_keeper.settings,
            false => &mut inner.state.resolv_conf,
        };
        *place = state.clone();
        drop(inner);
        self.system.tell_of_dns();
        Ok(())
    }

    fn tidy(&mut self) {}

    fn watch(&self, tell: Box<dyn Fn() + Send + Sync>) -> Result<Watch, PlatformError> {
        let mut inner = self.system.lock();
        let number = inner.next_watcher;
        inner.next_watcher += 1;
        inner.dns_watchers.push((number, std::sync::Arc::from(tell)));
        let system = self.system.clone();
        Ok(Watch::new(move || system.lock().dns_watchers.retain(|(watcher, _)| *watcher != number)))
    }

    fn preflight(&self) -> Result<(), PlatformError> {
        self.system.step(Step::Preflight).map(drop)
    }

    fn claim(&mut self) -> Result<Vec<IpAddr>, PlatformError> {
        self.system.step(Step::DnsClaim)?.state.claimed = true;
        Ok(proxy_addresses(true))
    }

    fn release(&mut self) -> Result<(), PlatformError> {
        self.system.step(Step::DnsRelease)?.state.claimed = false;
        Ok(())
    }
}
