//! The DNS proxy on loopback addresses: UDP and TCP in front of the DNS engine.
//!
//! ```text
//! UDP sockets  ──┐                          ┌── DoH, inside or outside the tunnel
//! TCP listeners ─┴─ Core (weft_dns::Engine) ┴── plain resolvers, inside or outside
//! ```
//!
//! The engine decides, [`Resolve`] asks. Everything is bounded: queries in flight by the engine, TCP connections and
//! the queries that one may have under way here; what is over a bound waits or is refused at once.

mod core;
mod resolve;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use weft_dns::DnsConfig;
use weft_model::DnsStats;

use self::core::Core;
pub use self::resolve::{Resolve, Resolvers, Resolving};
use crate::sockets::{listen_tcp, listen_udp};

/// Why the proxy could not start. Nothing listens then.
#[derive(Debug, thiserror::Error)]
pub enum DnsProxyError {
    /// Somebody else listens there.
    #[error("{address} ({protocol}) is in use by another program")]
    Taken {
        /// The address.
        address: SocketAddr,
        /// "UDP" or "TCP".
        protocol: &'static str,
    },
    /// The system does not let it listen there.
    #[error("cannot listen on {address} ({protocol}): {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// "UDP" or "TCP".
        protocol: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// None of the addresses is of a family that the system has.
    #[error("there is no address to listen on")]
    Nowhere,
}

/// The running proxy. Dropping it closes every socket; queries in flight stay unanswered.
pub struct DnsProxy {
    core: Arc<Core>,
    addresses: Vec<SocketAddr>,
    _tasks: JoinSet<()>,
}

impl std::fmt::Debug for DnsProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DnsProxy").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl DnsProxy {
    /// Listens on every address of `listen`, UDP and TCP, and answers as `config` and `resolve` say. IPv6 addresses
    /// are left out where the system has no IPv6. Called within a tokio runtime.
    ///
    /// # Errors
    /// A [`DnsProxyError`] that names the first address that cannot be had.
    pub fn start(
        listen: &[SocketAddr],
        config: DnsConfig,
        resolve: Arc<dyn Resolve>,
    ) -> Result<Self, DnsProxyError> {
        let mut bound = Vec::new();
        for address in listen {
            match bind(*address) {
                Ok(pair) => bound.push(pair),
                Err(DnsProxyError::Bind { error, .. }) if address.is_ipv6() && is_without_ipv6(&error) => {
                    tracing::debug!("the system has no IPv6; the DNS proxy does without it");
                }
                Err(error) => return Err(error),
            }
        }
        if bound.is_empty() {
            return Err(DnsProxyError::Nowhere);
        }
        let core = Core::new(config, resolve);
        let mut tasks = JoinSet::new();
        let mut addresses = Vec::new();
        let connections = tcp::Connections::new();
        for (address, udp, tcp) in bound {
            addresses.push(address);
            tasks.spawn(udp::serve(Arc::new(udp), Arc::clone(&core)));
            tasks.spawn(tcp::serve(tcp, Arc::clone(&core), connections.clone()));
        }
        tasks.spawn(core::keep_time(Arc::clone(&core)));
        Ok(Self { core, addresses, _tasks: tasks })
    }

    /// The addresses it listens on.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Answers new queries by another configuration.
    pub fn set_config(&self, config: DnsConfig) {
        self.core.set_config(config);
    }

    /// Asks new queries by other means.
    pub fn set_resolve(&self, resolve: Arc<dyn Resolve>) {
        self.core.set_resolve(resolve);
    }

    /// Answers everything in flight with SERVFAIL: the network is another one, and who asked asks again.
    pub fn flush(&self) {
        self.core.flush();
    }

    /// Counters at this moment.
    #[must_use]
    pub fn stats(&self) -> DnsStats {
        self.core.stats()
    }
}

fn bind(address: SocketAddr) -> Result<(SocketAddr, UdpSocket, TcpListener), DnsProxyError> {
    let failed = |protocol| {
        move |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => DnsProxyError::Taken { address, protocol },
            _ => DnsProxyError::Bind { address, protocol, error },
        }
    };
    let udp = listen_udp(address).map_err(failed("UDP"))?;
    // Port 0 is any port, but one for both.
    let local = udp.local_addr().map_err(failed("UDP"))?;
    let tcp = listen_tcp(local).map_err(failed("TCP"))?;
    Ok((local, udp, tcp))
}

fn is_without_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}
