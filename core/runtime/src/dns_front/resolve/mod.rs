//! Asks resolvers: by DoH, or plainly by UDP and then TCP, inside the tunnel or outside it.

mod judge;
mod servers;
mod stream;
#[cfg(test)]
mod tests;
mod udp;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use weft_dns::{Request, RequestId, Target, UpstreamError, UpstreamErrorKind, Way};

use self::judge::{Verdict, judge};
use self::servers::{Path, Server, Servers};
use crate::doh::{Answers, BoxedStream, DohClient, Resolving};
use crate::flows::TunnelNet;
use crate::sockets::SocketFactory;

/// The port of plain DNS.
const PORT: u16 = 53;
/// In how many forms one request may be asked: with EDNS, and without.
const MAX_FORMS: usize = 2;
/// The most datagrams that do not fit a query until it fails: a forger gets no more guesses at a port than these.
const MAX_MISFITS: u32 = 16;

/// Asks resolvers for the engine.
pub trait Resolve: Send + Sync {
    /// Asks. Where that can be done at once, `answers` hears of the answer; else it comes by a future. What is not answered
    /// by its deadline is given up then; until then it may be sent again.
    fn resolve(&self, request: Request, answers: &Weak<dyn Answers>) -> Option<Resolving>;

    /// The answer to a request that went out at once is of no more use.
    fn give_up(&self, _: RequestId) {}

    /// Gives up connections that are kept for later queries: the network is another one.
    fn reset(&self) {}

    /// How many datagrams came since the last call that were no answer to what was asked: a wrong id, question or
    /// case.
    fn take_mismatched(&self) -> u64 {
        0
    }
}

/// Asks by what a session has.
#[derive(Clone)]
pub struct Resolvers {
    /// The gateway's resolver.
    pub doh: Option<DohClient>,
    /// The tunnel's flows, while it is up.
    pub net: Option<TunnelNet>,
    /// Makes sockets outside the tunnel.
    pub sockets: SocketFactory,
    /// Whether an address is reached through the tunnel; decides the way to resolvers of fallback rules.
    pub is_tunnelled: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    servers: Arc<Servers>,
    port: u16,
}

impl std::fmt::Debug for Resolvers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolvers").field("doh", &self.doh).field("net", &self.net).finish_non_exhaustive()
    }
}

impl Resolvers {
    /// Without DoH and without a tunnel: everything is asked outside.
    #[must_use]
    pub fn outside(sockets: SocketFactory) -> Self {
        let is_tunnelled = Arc::new(|_| false);
        Self { doh: None, net: None, sockets, is_tunnelled, servers: Arc::default(), port: PORT }
    }

    #[cfg(test)]
    pub(super) fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    async fn ask(
        self,
        server: IpAddr,
        way: Way,
        query: Vec<u8>,
        deadline: Instant,
    ) -> Result<Vec<u8>, UpstreamError> {
        let inside = way == Way::Tunnel || way == Way::ByAddress && (self.is_tunnelled)(server);
        if inside && self.net.is_none() {
            return Err(UpstreamError::new(UpstreamErrorKind::NotReady, "the tunnel is not up"));
        }
        let server = SocketAddr::new(server, self.port);
        let answered = self.ask_plain(Path { server, inside }, query, deadline).await;
        answered.map_err(|error| of_io(server, inside, &error))
    }

    /// Asks in the form that the engine wants, and in a plainer one where the resolver does not know that.
    async fn ask_plain(&self, path: Path, mut query: Vec<u8>, deadline: Instant) -> io::Result<Vec<u8>> {
        let server = self.servers.of(path);
        for _ in 0..MAX_FORMS {
            let answer = self.ask_by_udp(path, &server, &query, deadline).await?;
            match judge(&query, &answer) {
                Verdict::Answer => return Ok(answer),
                Verdict::Cut => return Ok(self.ask_by_tcp(path, &server, answer, &query, deadline).await),
                Verdict::Again(other) => query = other,
                Verdict::Other => break,
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "what the resolver answers does not fit the question"))
    }

    async fn ask_by_udp(
        &self,
        path: Path,
        server: &Server,
        query: &[u8],
        deadline: Instant,
    ) -> io::Result<Vec<u8>> {
        let _room = self.servers.socket(server, deadline).await?;
        let misfits = AtomicU32::new(0);
        // One too many is taken, and fails.
        let fits = |datagram: &[u8]| {
            let fits = !matches!(judge(query, datagram), Verdict::Other);
            if !fits {
                self.servers.note_mismatch();
            }
            fits || misfits.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_MISFITS
        };
        match &self.net {
            Some(net) if path.inside => net.udp_exchange_where(path.server, query, deadline, fits).await,
            _ => udp::exchange(&self.sockets, path.server, query, deadline, fits).await,
        }
    }

    /// Asks again by TCP, since the answer was cut. If that comes to nothing, the cut answer is one too.
    async fn ask_by_tcp(
        &self,
        path: Path,
        server: &Server,
        cut: Vec<u8>,
        query: &[u8],
        deadline: Instant,
    ) -> Vec<u8> {
        // Something must be left of the client's time to tell it.
        let left = deadline.saturating_duration_since(Instant::now()).mul_f32(0.9);
        let connect = || -> stream::Connecting {
            let (net, sockets) = (self.net.clone().filter(|_| path.inside), self.sockets.clone());
            Box::pin(async move {
                Ok(match net {
                    Some(net) => Box::new(net.connect_tcp(path.server).await?) as BoxedStream,
                    None => Box::new(sockets.connect(path.server).await?) as BoxedStream,
                })
            })
        };
        let heard = server.stream.heard();
        let whole = timeout(left, server.stream.ask(connect, query)).await;
        if whole.is_err() && server.stream.heard() == heard {
            server.stream.reset();
        }
        let whole = whole.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        whole.unwrap_or_else(|error| {
            tracing::debug!("a cut answer cannot be had whole: {error}");
            cut
        })
    }
}

impl Resolve for Resolvers {
    fn resolve(&self, request: Request, answers: &Weak<dyn Answers>) -> Option<Resolving> {
        let Request { id, to, message, deadline } = request;
        match (to, &self.doh) {
            (Target::Plain { server, way }, _) => {
                Some(Box::pin(self.clone().ask(server, way, message, deadline)))
            }
            (Target::Doh, Some(doh)) => doh.ask(id, message, answers),
            (Target::Doh, None) => Some(Box::pin(async {
                Err(UpstreamError::new(UpstreamErrorKind::NotReady, "there is no DoH resolver"))
            })),
        }
    }

    fn give_up(&self, id: RequestId) {
        if let Some(doh) = &self.doh {
            doh.give_up(id);
        }
    }

    fn reset(&self) {
        self.servers.reset();
    }

    fn take_mismatched(&self) -> u64 {
        self.servers.take_mismatched()
    }
}

fn of_io(server: SocketAddr, inside: bool, error: &io::Error) -> UpstreamError {
    let kind = match error.kind() {
        io::ErrorKind::TimedOut => UpstreamErrorKind::TimedOut,
        io::ErrorKind::InvalidData => UpstreamErrorKind::Garbage,
        io::ErrorKind::NotConnected if inside => UpstreamErrorKind::NotReady,
        _ => UpstreamErrorKind::Unreachable,
    };
    UpstreamError::new(kind, format!("{server}: {error}"))
}

/// How long a plain query waits for its answer before it is sent again; doubles each time.
const RESEND: Duration = Duration::from_secs(1);
