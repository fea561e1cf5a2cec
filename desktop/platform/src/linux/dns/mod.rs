//! The system's DNS settings on Linux: who keeps them is found out, and is asked to lead names to Weft's proxy.

mod bus;
mod change;
mod choose;
mod environment;
mod message;
mod network_manager;
mod program;
mod proxy_link;
mod resolvconf;
mod resolved;
pub(super) mod watch;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

pub use message::is_bus_message;
use weft_model::{DNS_PROXY_ADDRESSES, DnsDescription, DnsMode, DnsPlan, PortHolder};

use self::bus::BusError;
use self::choose::{Decision, Environment};
use self::proxy_link::ProxyLink;
use super::etc_file::EtcFile;
use super::port;
use crate::dns_seam::{Dns, DnsStanding, Restored, SystemDns};
use crate::error::PlatformError;
use crate::record::{Before, DnsRecord, system_dns};
use crate::resolv_conf;
use crate::resolver_file::{FileHost as _, ResolverFile};
use crate::seam::Watch;

/// The DNS proxy's port (RFC 1035).
pub(super) const DNS_PORT: u16 = 53;

/// The system's DNS settings.
pub(super) struct LinuxDns {
    path: PathBuf,
    file: ResolverFile<EtcFile>,
    /// systemd-resolved's global settings.
    drop_in: ResolverFile<EtcFile>,
    /// The link that stands in for the tunnel interface where there is none.
    link: Option<ProxyLink>,
}

impl LinuxDns {
    /// With the file of resolvers at this path.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            file: ResolverFile(EtcFile::new(path.clone())),
            drop_in: ResolverFile(EtcFile::new(PathBuf::from(resolved::DROP_IN))),
            path,
            link: None,
        }
    }

    fn decide(&self) -> Result<Decision, PlatformError> {
        Ok(choose::choose(&self.found(&self.file.0.load()?)?))
    }

    /// What there is on the system, with this in the file's place.
    fn found(&self, state: &Before) -> Result<Environment, PlatformError> {
        environment::read(&self.path, state).map_err(|error| PlatformError::Dns {
            path: self.path.display().to_string(),
            detail: format!("who keeps it cannot be told: {error}"),
        })
    }

    /// The resolvers besides Weft's, of whoever keeps them in this mode.
    fn system_in(&self, mode: DnsMode, record: Option<&DnsRecord>) -> Result<SystemDns, PlatformError> {
        let found = match mode {
            DnsMode::ResolvedLink | DnsMode::ResolvedGlobal => self.asking_resolved().map(Some),
            DnsMode::NetworkManager => {
                bus::Bus::system().and_then(|mut bus| network_manager::system(&mut bus)).map(Some)
            }
            DnsMode::Resolvconf => Ok(record.and_then(|_| resolvconf::system(environment::resolvconf()?))),
            DnsMode::File | DnsMode::FileInPlace | DnsMode::None => Ok(None),
        };
        match (found, record) {
            (Ok(Some(system)), _) if !system.servers.is_empty() || record.is_none() => Ok(system),
            (Ok(_), Some(record)) => Ok(record.system()),
            // Who keeps them may be away; what was found last is as good as any then.
            (Err(error), Some(record)) if error.is_absent() => Ok(record.system()),
            (Ok(_), None) => Ok(system_dns(self.file.0.load()?.content())),
            (Err(error), _) => Err(named(mode, &error)),
        }
    }

    fn asking_resolved(&self) -> Result<SystemDns, BusError> {
        // A link that cannot be told is none: Weft's own servers are left out in any case.
        let own = proxy_link::current().ok().flatten().map(|(_, index)| index);
        resolved::system(&mut bus::Bus::system()?, own)
    }
}

/// What a program that keeps the settings refuses.
fn named(mode: DnsMode, error: &impl std::fmt::Display) -> PlatformError {
    let path = match mode {
        DnsMode::ResolvedLink | DnsMode::ResolvedGlobal => "systemd-resolved",
        DnsMode::NetworkManager => "NetworkManager",
        DnsMode::Resolvconf => "resolvconf",
        DnsMode::File | DnsMode::FileInPlace | DnsMode::None => "resolv.conf",
    };
    PlatformError::Dns { path: path.to_owned(), detail: error.to_string() }
}

impl Dns for LinuxDns {
    fn preflight(&self) -> Result<(), PlatformError> {
        self.file.0.preflight()
    }

    fn system(&self, record: Option<&DnsRecord>) -> Result<SystemDns, PlatformError> {
        let mode = match record {
            Some(record) => record.mode,
            None => self.decide()?.mode,
        };
        self.system_in(mode, record)
    }

    fn snapshot(&self) -> Result<DnsRecord, PlatformError> {
        let Decision { mode, trace } = self.decide()?;
        let change = self.change_for(mode)?;
        Ok(DnsRecord { mode, trace, change })
    }

    fn prepare(&self, plan: &DnsPlan, record: &mut DnsRecord) -> Result<(), PlatformError> {
        self.prepare_any(plan, record)
    }

    fn apply(&mut self, plan: &DnsPlan, record: &mut DnsRecord) -> Result<(), PlatformError> {
        self.apply_any(plan, record)
    }

    fn restore(&mut self, record: &DnsRecord) -> Result<Restored, PlatformError> {
        self.restore_any(record)
    }

    fn standing(&self, record: &DnsRecord) -> Result<DnsStanding, PlatformError> {
        self.standing_any(record)
    }

    fn watch(&self, tell: Box<dyn Fn() + Send + Sync>) -> Result<Watch, PlatformError> {
        watch::start(self.path.clone(), tell)
    }

    fn describe(&self, record: Option<&DnsRecord>) -> DnsDescription {
        let (mode, mut trace, failure) = match record {
            Some(record) => (record.mode, record.trace.clone(), None),
            None => match self.decide() {
                Ok(Decision { mode, trace }) => (mode, trace, None),
                Err(error) => (DnsMode::None, Vec::new(), Some(error.to_string())),
            },
        };
        let mut description = self.file.describe_file();
        description.mode = mode;
        if failure.is_none() {
            self.describe_mode(&mut description, &mut trace, record);
        }
        description.trace = trace;
        description.port_holders = port_holders();
        description
    }

    fn claim_addresses(&mut self) -> Result<Vec<IpAddr>, PlatformError> {
        self.file.0.claim()
    }

    fn release_addresses(&mut self) -> Result<(), PlatformError> {
        self.file.0.release()
    }
}

/// Who has the proxy's port open on its addresses, besides this process.
fn port_holders() -> Vec<PortHolder> {
    let own = std::process::id();
    let mut holders: Vec<PortHolder> = Vec::new();
    for holder in DNS_PROXY_ADDRESSES.iter().filter_map(|address| port::who_holds_port(DNS_PORT, *address)) {
        let is_own = holder.process.as_ref().is_some_and(|(_, process)| *process == own);
        if !is_own && !holders.contains(&holder) {
            holders.push(holder);
        }
    }
    holders
}

impl LinuxDns {
    /// What only the program that keeps the settings can tell.
    fn describe_mode(
        &self,
        description: &mut DnsDescription,
        trace: &mut Vec<String>,
        record: Option<&DnsRecord>,
    ) {
        match record.map(|record| self.standing_any(record)) {
            Some(Ok(DnsStanding::InForce)) => description.ours = true,
            Some(Ok(DnsStanding::Shared { found })) => {
                description.ours = true;
                description.warnings.push(found);
            }
            Some(Ok(DnsStanding::Replaced { found, .. })) => {
                description.ours = false;
                description.warnings.push(found);
            }
            Some(Ok(DnsStanding::Away | DnsStanding::OtherMode(_))) => description.ours = false,
            Some(Err(error)) => description.warnings.push(error.to_string()),
            None => {}
        }
        let described = match description.mode {
            DnsMode::ResolvedLink => self.describe_link(description, trace),
            DnsMode::ResolvedGlobal => describe_global(description),
            DnsMode::NetworkManager => {
                description.owner = Some("NetworkManager".to_owned());
                "NetworkManager's global settings".clone_into(&mut description.place);
                Ok(())
            }
            DnsMode::Resolvconf => {
                description.owner = Some("resolvconf".to_owned());
                Ok(())
            }
            DnsMode::None => {
                let addresses = DNS_PROXY_ADDRESSES.map(|address| address.to_string()).join(", ");
                description.warnings.push(format!("nothing is changed: lead names to {addresses} yourself"));
                Ok(())
            }
            DnsMode::File | DnsMode::FileInPlace => Ok(()),
        };
        if let Err(error) = described {
            description.warnings.push(named(description.mode, &error).to_string());
        }
    }

    fn describe_link(
        &self,
        description: &mut DnsDescription,
        trace: &mut Vec<String>,
    ) -> Result<(), BusError> {
        description.owner = Some("systemd-resolved".to_owned());
        "systemd-resolved".clone_into(&mut description.place);
        let found = proxy_link::current().map_err(|error| io::Error::other(error.to_string()))?;
        let Some((name, index)) = found else { return Ok(()) };
        description.place = format!("the link {name} of systemd-resolved");
        trace.push(match name {
            proxy_link::NAME => format!("nothing is tunnelled: {name} is there for systemd-resolved alone"),
            _ => format!("{name} is the tunnel's own link"),
        });
        let mut bus = bus::Bus::system()?;
        let (servers, domains) = resolved::link(&mut bus, index)?;
        description.servers = servers;
        description.search =
            domains.into_iter().filter(|(_, routing_only)| !routing_only).map(|(domain, _)| domain).collect();
        for domain in resolved::claimed_by_others(&mut bus, Some(index))? {
            description.warnings.push(format!(
                "systemd-resolved leads names under {domain} to another link's resolvers, past Weft"
            ));
        }
        Ok(())
    }
}

fn describe_global(description: &mut DnsDescription) -> Result<(), BusError> {
    description.owner = Some("systemd-resolved".to_owned());
    resolved::DROP_IN.clone_into(&mut description.place);
    description.servers = resolved::global_servers(&mut bus::Bus::system()?)?;
    Ok(())
}

/// Whether a file of resolvers is resolvconf's and leads to Weft first.
fn leads_to_weft(content: &[u8]) -> bool {
    let conf = resolv_conf::parse(content);
    conf.addresses().next().is_some_and(|address| DNS_PROXY_ADDRESSES.contains(&address))
}
