//! The DNS proxy: UDP, TCP and packets in front of the DNS engine.
//!
//! ```text
//! UDP sockets ───────────┐                          ┌── DoH, inside or outside the tunnel
//! TCP listeners ─────────┼─ Core (weft_dns::Engine) ┴── plain resolvers, inside or outside
//! packets from the TUN ──┘
//! ```
//!
//! The engine decides, [`Resolve`] asks. All of it runs in the event loop, so that a query that must be asked for leaves in
//! the turn of the loop that heard it. Everything is bounded: queries in flight by the engine, TCP connections and
//! the queries that one may have under way here; what is over a bound waits or is refused at once.

mod connections;
mod core;
mod drive;
mod entropy;
mod hosts;
mod log;
mod lookup;
mod packet;
mod port;
mod resolve;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use weft_dns::{DnsConfig, HoldId, Learnt};
use weft_model::{DnsLookup, DnsStats, DomainName};

use self::connections::Connections;
use self::core::Core;
pub use self::log::{DnsLogReader, DnsLogRing};
pub use self::packet::{PacketConfig, PacketFront, PacketSink};
pub(crate) use self::port::PacketPort;
pub use self::resolve::{Resolve, Resolvers};
pub use crate::doh::{Answered, Answers, Resolving};
use crate::sockets::{AnsweringSocket, listen_tcp, listen_udp};

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
    /// Every address is of a family that the system does not have.
    #[error("there is no address to listen on")]
    Nowhere,
}

/// The running proxy. Dropping it closes every socket; queries in flight stay unanswered.
pub struct DnsProxy {
    core: Arc<Core>,
    addresses: Vec<SocketAddr>,
    connections: Connections,
    sockets: Vec<Arc<AnsweringSocket>>,
    listeners: Vec<Arc<tcp::Listener>>,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for DnsProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DnsProxy").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl DnsProxy {
    /// Listens on every address of `listen`, UDP and TCP, and answers as `config` and `resolve` say. IPv6 addresses
    /// are left out where the system has no IPv6. No address at all: queries come by [`packets`](Self::packets) alone.
    /// Called within a tokio runtime.
    ///
    /// # Errors
    /// A [`DnsProxyError`] that names the first address that cannot be had.
    pub fn start(
        listen: &[SocketAddr],
        config: DnsConfig,
        resolve: Arc<dyn Resolve>,
    ) -> Result<Self, DnsProxyError> {
        let bound = bind_all(listen)?;
        let core = Core::new(config, resolve);
        let mut tasks = JoinSet::new();
        let (mut addresses, mut sockets, mut listeners) = (Vec::new(), Vec::new(), Vec::new());
        let connections = Connections::default();
        for (address, udp, tcp) in bound {
            addresses.push(address);
            let socket = Arc::new(udp);
            tasks.spawn(udp::serve(Arc::downgrade(&socket), Arc::clone(&core)));
            sockets.push(socket);
            let listener = Arc::new(tcp::Listener::new(tcp));
            listeners.push(Arc::clone(&listener));
            tasks.spawn(tcp::serve(listener, Arc::clone(&core), connections.clone()));
        }
        tasks.spawn(drive::drive(Arc::clone(&core)));
        Ok(Self { core, addresses, connections, sockets, listeners, tasks })
    }

    /// A front that takes queries out of IP packets. Called within a tokio runtime.
    ///
    /// # Errors
    /// The system has no random numbers, or there are too many addresses.
    pub fn packets(&self, config: PacketConfig) -> io::Result<PacketFront> {
        PacketFront::start(Arc::clone(&self.core), self.connections.clone(), config)
    }

    /// The addresses it listens on.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Answers new queries by another configuration.
    pub fn set_config(&self, config: DnsConfig) {
        self.core.with(|state, now| state.engine.set_config(config, now));
    }

    /// Asks new queries by other means.
    pub fn set_resolve(&self, resolve: Arc<dyn Resolve>) {
        self.core.set_resolve(resolve);
    }

    /// Answers the names of this hosts file, or of none; it is read again when it has changed, which a query notices
    /// within a second.
    pub fn set_hosts_file(&self, path: Option<PathBuf>) {
        self.core.set_hosts_file(path);
    }

    /// Answers everything in flight with SERVFAIL: the network is another one, and who asked asks again.
    pub fn flush(&self) {
        self.core.flush();
    }

    /// Asks everything in flight again, by the means of now.
    pub fn ask_again(&self) {
        self.core.with(|state, _| state.engine.ask_again());
    }

    /// Empties the cache.
    pub fn forget(&self) {
        self.core.with(|state, _| state.engine.forget());
    }

    /// A captive portal is open until a moment, or no more: until then every name goes to the system's resolvers,
    /// outside, uncached.
    pub fn set_portal(&self, until: Option<Instant>) {
        self.core.with(|state, now| state.engine.set_portal(until, now));
    }

    /// Answers that wait until a plan holds their addresses, one at least, each given once. Dropping the future loses
    /// none.
    pub fn learnt(&self) -> impl Future<Output = Vec<Learnt>> + Send + use<> {
        let core = Arc::clone(&self.core);
        async move { core.learnt().await }
    }

    /// The plan with these answers' addresses is in force, or will not be: they go out, with their addresses or
    /// as failures.
    pub fn release(&self, holds: &[HoldId], result: &Result<(), String>) {
        self.core.with(|state, now| {
            for hold in holds {
                state.engine.release(*hold, result.clone(), now);
            }
        });
    }

    /// Counters at this moment.
    #[must_use]
    pub fn stats(&self) -> DnsStats {
        self.core.stats()
    }

    /// Writes down what is asked from now on, or nothing.
    pub fn set_log(&self, log: Option<DnsLogRing>) {
        self.core.with(|state, _| state.set_log(log));
    }

    /// Asks for a name by the way that any query takes, and says what became of it. None where the proxy stops
    /// meanwhile.
    pub fn lookup(
        &self,
        name: &DomainName,
        kind: u16,
    ) -> impl Future<Output = Option<DnsLookup>> + Send + use<> {
        lookup::lookup(Arc::clone(&self.core), name.clone(), kind)
    }
}

impl Drop for DnsProxy {
    fn drop(&mut self) {
        // The tasks end when the runtime comes to them; the next proxy may want the addresses before.
        self.sockets.clear();
        for listener in &self.listeners {
            listener.close();
        }
        self.tasks.abort_all();
        // Whoever still holds the core, such as a look-up, must not hold the sockets with it.
        self.core.close();
    }
}

type Bound = (SocketAddr, AnsweringSocket, TcpListener);

fn bind_all(listen: &[SocketAddr]) -> Result<Vec<Bound>, DnsProxyError> {
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
    if bound.is_empty() && !listen.is_empty() { Err(DnsProxyError::Nowhere) } else { Ok(bound) }
}

fn bind(address: SocketAddr) -> Result<Bound, DnsProxyError> {
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
