//! What the gateway sets up on its machine, and takes back: the tunnel interface with its addresses and routes, the
//! firewall with the address translation, and the kernel's forwarding.

mod firewall;
mod links;
mod netlink;
mod settings;
mod sys;

use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;

use crate::config::TunnelConfig;
use crate::dir::{DirError, StateDir};

pub use firewall::{FirewallPlan, script};
pub use links::default_uplinks;

/// The name of the socket that a gateway holds: a name of this kind lives in the network namespace, as does all that
/// two gateways would take from each other.
const CLAIM: &str = "weft-gateway";

/// What this machine lacks, or refused. One line.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The process may not manage the network.
    #[error("the right to manage the network is missing: run as root, or with CAP_NET_ADMIN")]
    NotPrivileged,
    /// Another gateway serves.
    #[error("another gateway runs on this machine")]
    Taken,
    /// TUN devices are missing.
    #[error("/dev/net/tun cannot be opened: {0} (load the module tun, or give the container the device)")]
    NoTun(std::io::Error),
    /// There is an interface of this name.
    #[error(
        "there is an interface {0} already: another gateway's? (tunnel.interface in config.toml names ours)"
    )]
    InterfaceTaken(String),
    /// The program nft is missing.
    #[error("the program nft cannot be run: {0} (install the package nftables)")]
    NoNft(std::io::Error),
    /// The program nft refused.
    #[error("nft refused the rules: {0}")]
    Nft(String),
    /// An interface is not there.
    #[error("there is no interface {0} (tunnel.uplinks in config.toml)")]
    NoUplink(String),
    /// No interface leads out.
    #[error("this machine has no default route: name the interfaces in tunnel.uplinks in config.toml")]
    NoDefaultRoute,
    /// The kernel refused a change of an interface.
    #[error("{what}: {error}")]
    Link {
        /// What was tried.
        what: &'static str,
        /// Why not.
        error: std::io::Error,
    },
    /// A kernel setting could not be read or written.
    #[error("{path}: {error}")]
    Setting {
        /// The setting's file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A file of the state directory could not be written.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// The tunnel's part of this machine while a gateway runs.
#[derive(Debug)]
pub struct Host {
    dir: StateDir,
    _claim: UnixListener,
}

impl Host {
    /// Checks what is needed, takes back what a crashed gateway left, and sets everything up. Gives the TUN device.
    ///
    /// # Errors
    /// [`HostError`]; what was set up by then has been taken back.
    pub async fn set_up(dir: &StateDir, config: &TunnelConfig) -> Result<(Self, OwnedFd), HostError> {
        if !sys::may_manage_network() {
            return Err(HostError::NotPrivileged);
        }
        firewall::check().await?;
        let host = Self { dir: dir.clone(), _claim: claim()? };
        settings::restore(dir)?;
        match host.build(config).await {
            Ok(device) => Ok((host, device)),
            Err(error) => {
                host.take_back().await;
                Err(error)
            }
        }
    }

    async fn build(&self, config: &TunnelConfig) -> Result<OwnedFd, HostError> {
        let uplinks = if config.uplinks.is_empty() { default_uplinks()? } else { config.uplinks.clone() };
        if let Some(missing) = uplinks.iter().find(|name| !links::exists(name)) {
            return Err(HostError::NoUplink(missing.clone()));
        }
        let device = links::make_tun(&config.interface)?;
        // The rules are there before anything can be forwarded.
        let forwarded = settings::forwarded(&uplinks)?;
        let plan = FirewallPlan {
            interface: config.interface.clone(),
            uplinks: uplinks.clone(),
            device_to_device: config.device_to_device,
            host_access: config.host_access,
            private_networks: config.private_networks,
            guarded: links::guarded(&uplinks, &config.interface),
            guard_v4: !forwarded.v4,
            guard_v6: !forwarded.v6,
        };
        firewall::apply(&plan).await?;
        links::configure(&config.interface, config.mtu)?;
        settings::forward(&self.dir, &config.interface, &uplinks)?;
        Ok(device)
    }

    /// Takes everything back but the interface, which goes with its descriptor. Failures are logged: the rest is
    /// taken back all the same.
    pub async fn take_back(&self) {
        if let Err(error) = settings::restore(&self.dir) {
            tracing::warn!(%error, "a kernel setting was not put back");
        }
        if let Err(error) = firewall::remove().await {
            tracing::warn!(%error, "the firewall's table was not removed");
        }
    }
}

fn claim() -> Result<UnixListener, HostError> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(CLAIM)?).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => HostError::Taken,
        _ => error.into(),
    })
}
