//! Linux: netlink, nftables, /dev/net/tun, /etc/resolv.conf and the programs that keep it.
//!
//! Each step opens the netlink socket that it needs and closes it, so that a value works in whatever network namespace
//! its caller's thread is in, and nothing is held while the device is idle, but for the socket of a firewall that stands.

mod dns;
mod etc_file;
mod firewall;
mod link;
mod monitor;
mod netlink;
mod nft;
mod path;
mod port;
mod routes;
mod rules;
mod sys;
mod tun;

use std::path::PathBuf;

pub use dns::is_bus_message;
pub use port::who_holds_port;
use rustix::thread::{CapabilitySet, capabilities};

use crate::error::PlatformError;
use crate::seam::{NetworkMonitor, Platform, TunOptions};

/// Where the resolvers' file is.
const RESOLV_CONF: &str = "/etc/resolv.conf";

impl Platform {
    /// The system's own, for a process that may change the network.
    ///
    /// # Errors
    /// [`PlatformError::NotPrivileged`].
    pub fn native() -> Result<Self, PlatformError> {
        Self::native_with(TunOptions::default())
    }

    /// As [`Platform::native`], with options for the tunnel interface.
    ///
    /// # Errors
    /// [`PlatformError::NotPrivileged`].
    pub fn native_with(options: TunOptions) -> Result<Self, PlatformError> {
        let held =
            capabilities(None).map_err(|error| PlatformError::system("asking for the privileges", error))?;
        if !held.effective.contains(CapabilitySet::NET_ADMIN) {
            return Err(PlatformError::NotPrivileged);
        }
        Ok(Self {
            tun: Box::new(tun::LinuxTun::new(options)),
            routes: Box::<routes::LinuxRoutes>::default(),
            firewall: Box::<firewall::LinuxFirewall>::default(),
            dns: Box::new(dns::LinuxDns::new(PathBuf::from(RESOLV_CONF))),
        })
    }
}

/// The system's own network monitor.
#[must_use]
pub fn network_monitor() -> Box<dyn NetworkMonitor> {
    Box::new(monitor::LinuxMonitor)
}
