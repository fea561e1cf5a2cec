//! The traits, and the plain data that goes through them.

use std::os::fd::OwnedFd;

use ipnet::IpNet;
use weft_model::{FirewallPlan, InterfacePlan, LearntPlan, NetworkState};

use crate::dns_seam::Dns;
use crate::error::PlatformError;

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

    /// Leads `routes`, and nothing else, into the tunnel interface, but for `learnt`: in Exclude mode its addresses go
    /// where they would without Weft, in Include mode they are led into the interface too. Only what differs is
    /// changed. What was asked for last is taken to stand still, unless the very same is asked for again: then, and at
    /// first, it is compared with what the system has.
    ///
    /// # Errors
    /// As [`Routes::preflight`]; [`PlatformError::InterfaceMissing`]; what the system refuses.
    fn apply(&mut self, routes: &[IpNet], learnt: &LearntPlan) -> Result<(), PlatformError>;

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
    /// `learnt` stands above the plan's ranges: in Exclude mode its addresses may be reached by any way, in Include
    /// mode by the tunnel interface alone. Where nothing else differs from what this value put in place, only the
    /// difference of the addresses is changed. `addresses` are those of the tunnel interface, which packets that
    /// arrive by another one must not reach.
    ///
    /// # Errors
    /// As [`Firewall::preflight`], and what the system refuses.
    fn apply(
        &mut self,
        plan: &FirewallPlan,
        learnt: &LearntPlan,
        addresses: &[IpNet],
    ) -> Result<(), PlatformError>;

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
