//! The traits, and the plain data that goes through them.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use weft_model::{DnsPlan, FirewallPlan, InterfacePlan, NetworkState, Protocol};

use crate::error::PlatformError;
use crate::record::DnsRecord;

/// How TUN devices are made, beyond what a plan says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TunOptions {
    /// The longest run of segments, in bytes, that the system hands to the device at once; none = the system's own
    /// limit (65536 on Linux).
    pub gso_max_size: Option<u32>,
}

/// Makes the tunnel interface.
pub trait TunDevices: Send {
    /// Makes the tunnel interface, or brings the one that this value made to the plan: addresses, MTU, up. Returns
    /// the descriptor that packets go through when the interface is newly made, none when it was there. Each packet
    /// stands behind a virtio-net header of 10 bytes; offloads are for the reader of the descriptor to switch on.
    ///
    /// The interface lives until [`TunDevices::remove`], or until the last copy of the descriptor is closed.
    ///
    /// # Errors
    /// [`PlatformError::InterfaceHeld`] where another program holds the name, and what the system refuses.
    fn ensure(&mut self, plan: &InterfacePlan) -> Result<Option<OwnedFd>, PlatformError>;

    /// Removes the interface that this value made.
    ///
    /// # Errors
    /// What the system refuses.
    fn remove(&mut self) -> Result<(), PlatformError>;

    /// Whether [`TunDevices::ensure`] can work: TUN devices exist and nobody else holds the name.
    ///
    /// # Errors
    /// The first thing that is missing.
    fn preflight(&self) -> Result<(), PlatformError>;
}

/// Leads destinations into the tunnel interface.
pub trait Routes: Send {
    /// Whether Weft's table and rule are free, or Weft's own.
    ///
    /// # Errors
    /// [`PlatformError::TableHeld`] or [`PlatformError::RuleHeld`] where they are another program's.
    fn preflight(&self) -> Result<(), PlatformError>;

    /// Leads `routes`, and nothing else, into the tunnel interface, by changing only what differs.
    ///
    /// # Errors
    /// As [`Routes::preflight`]; [`PlatformError::InterfaceMissing`]; what the system refuses.
    fn apply(&mut self, routes: &[IpNet]) -> Result<(), PlatformError>;

    /// Takes back every route and rule of Weft's, whichever process made them.
    ///
    /// # Errors
    /// What the system refuses.
    fn clear(&mut self) -> Result<(), PlatformError>;
}

/// Keeps tunnelled destinations from leaving by any other way.
pub trait Firewall: Send {
    /// Whether the system has what the firewall is made of, and Weft's part of it is free or Weft's own.
    ///
    /// # Errors
    /// [`PlatformError::NoNftables`], [`PlatformError::FirewallHeld`].
    fn preflight(&self) -> Result<(), PlatformError>;

    /// Brings the firewall to the plan in one transaction: either all of it holds afterwards, or the former one does.
    /// `addresses` are those of the tunnel interface, which packets that arrive by another one must not reach.
    ///
    /// # Errors
    /// As [`Firewall::preflight`], and what the system refuses.
    fn apply(&mut self, plan: &FirewallPlan, addresses: &[IpNet]) -> Result<(), PlatformError>;

    /// Takes Weft's firewall back, whichever process made it. The same as applying [`FirewallPlan::Open`].
    ///
    /// # Errors
    /// What the system refuses.
    fn clear(&mut self) -> Result<(), PlatformError>;

    /// Whether a firewall of Weft's is in place: another program may have flushed it along with its own.
    ///
    /// # Errors
    /// What the system refuses.
    fn stands(&self) -> Result<bool, PlatformError>;

    /// Calls `tell` at once and after each change of the system's firewall, whoever made it, until the watch is
    /// dropped. `tell` is called on a thread of the firewall's own, which sleeps in between without a timer.
    ///
    /// # Errors
    /// What the system refuses.
    fn watch(&self, tell: Box<dyn Fn() + Send + Sync>) -> Result<Watch, PlatformError>;

    /// What the system holds of Weft's firewall, for people, in several lines.
    ///
    /// # Errors
    /// What the system refuses.
    fn describe(&self) -> Result<String, PlatformError>;
}

/// The system's resolvers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SystemDns {
    /// The nameservers, in order, without Weft's own.
    pub servers: Vec<IpAddr>,
    /// The search domains, in order.
    pub search: Vec<String>,
}

/// How a restore ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restored {
    /// What was there before is there again.
    Restored,
    /// Nothing was to be done: what was there before is still there.
    Unchanged,
    /// Somebody else changed the settings after Weft did; they were left as they are.
    LeftForeign,
}

/// What the system's DNS settings are, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsDescription {
    /// By what means the settings are changed ("resolv.conf").
    pub backend: String,
    /// Where they stand.
    pub path: String,
    /// Whether they are what Weft wrote.
    pub ours: bool,
    /// The nameservers, in order, Weft's own among them.
    pub servers: Vec<IpAddr>,
    /// The search domains, in order.
    pub search: Vec<String>,
    /// What could not be made sense of, one line each.
    pub warnings: Vec<String>,
}

/// The system's DNS settings.
///
/// A change takes three steps, so that it can be taken back after a crash at any moment: [`Dns::prepare`] notes in the
/// record what is about to be written, whoever calls keeps the record where it survives, then [`Dns::apply`] writes.
pub trait Dns: Send {
    /// Whether the DNS proxy's port can be opened, both UDP and TCP, on those of its addresses that are the device's own
    /// already. To be asked before the proxy runs, which holds the port itself.
    ///
    /// # Errors
    /// [`PlatformError::PortHeld`], [`PlatformError::PortNotPrivileged`].
    fn preflight(&self) -> Result<(), PlatformError>;

    /// The resolvers in force, without Weft's own. While Weft's settings are in force, those of before are
    /// [`DnsRecord::system`].
    ///
    /// # Errors
    /// [`PlatformError::Dns`] where the settings cannot be read. Entries that make no sense are skipped.
    fn system(&self) -> Result<SystemDns, PlatformError>;

    /// What [`Dns::restore`] needs, taken before the first [`Dns::apply`].
    ///
    /// # Errors
    /// [`PlatformError::Dns`] where the settings cannot be read, or are Weft's own already, so that nobody knows any
    /// more what was there before.
    fn snapshot(&self) -> Result<DnsRecord, PlatformError>;

    /// Notes in `record` what [`Dns::apply`] would write, and changes nothing else.
    ///
    /// # Errors
    /// [`PlatformError::Dns`].
    fn prepare(&self, plan: &DnsPlan, record: &mut DnsRecord) -> Result<(), PlatformError>;

    /// Brings the settings to the plan. Does [`Dns::prepare`] itself where it was not done.
    ///
    /// # Errors
    /// [`PlatformError::Dns`] where the settings cannot be written; they are as they were then.
    fn apply(&mut self, plan: &DnsPlan, record: &mut DnsRecord) -> Result<(), PlatformError>;

    /// Puts back what `record` says was there before, unless somebody else put other settings there since. What is
    /// Weft's with an edit, or empty as after a write that was cut short, is not other settings.
    ///
    /// # Errors
    /// [`PlatformError::Dns`].
    fn restore(&mut self, record: &DnsRecord) -> Result<Restored, PlatformError>;

    /// What the settings are, for people.
    fn describe(&self) -> DnsDescription;

    /// Makes the addresses of the DNS proxy ([`weft_model::DNS_PROXY_ADDRESSES`]) the device's own, and returns those
    /// that sockets can be bound to: without IPv6, only the IPv4 ones.
    ///
    /// # Errors
    /// What the system refuses.
    fn claim_addresses(&mut self) -> Result<Vec<IpAddr>, PlatformError>;

    /// Takes back what [`Dns::claim_addresses`] did, whichever process did it.
    ///
    /// # Errors
    /// What the system refuses.
    fn release_addresses(&mut self) -> Result<(), PlatformError>;
}

/// Stops its watching when it is dropped; the callback is not called any more once the drop is over.
pub struct Watch(Option<Box<dyn FnOnce() + Send>>);

impl Watch {
    /// A watch that `stop` ends.
    #[must_use]
    pub fn new(stop: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(stop)))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(stop) = self.0.take() {
            stop();
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch(..)")
    }
}

/// Tells where packets outside the tunnel leave.
pub trait NetworkMonitor: Send {
    /// The primary path now, the tunnel interface left out.
    ///
    /// # Errors
    /// What the system refuses.
    fn state(&self) -> Result<NetworkState, PlatformError>;

    /// Calls `tell` at once with the primary path, then each time that it differs from the one last told, until the
    /// watch is dropped. `tell` is called on a thread of the monitor's own, which sleeps in between without a timer.
    ///
    /// # Errors
    /// What the system refuses.
    fn watch(&self, tell: Box<dyn FnMut(NetworkState) + Send>) -> Result<Watch, PlatformError>;
}

/// What a desktop system is asked for when a plan is applied.
pub struct Platform {
    /// Makes the tunnel interface.
    pub tun: Box<dyn TunDevices>,
    /// Leads destinations into it.
    pub routes: Box<dyn Routes>,
    /// Keeps them from leaving by any other way.
    pub firewall: Box<dyn Firewall>,
    /// The system's DNS settings.
    pub dns: Box<dyn Dns>,
}

impl Platform {
    /// Whether every part can work, to be asked before any of them is used.
    ///
    /// # Errors
    /// The first thing that is missing or that another program holds, in one line that says what to do.
    pub fn preflight(&self) -> Result<(), PlatformError> {
        self.tun.preflight()?;
        self.firewall.preflight()?;
        self.routes.preflight()?;
        self.dns.preflight()
    }
}

impl std::fmt::Debug for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Platform(..)")
    }
}

/// Who has a port open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortHolder {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The address and port it is bound to.
    pub local: SocketAddr,
    /// The program's name and process number, where they can be found out.
    pub process: Option<(String, u32)>,
}

impl std::fmt::Display for PortHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        };
        match &self.process {
            Some((name, pid)) => write!(f, "{protocol} {} is held by {name} (process {pid})", self.local),
            None => write!(f, "{protocol} {} is held by another program", self.local),
        }
    }
}
