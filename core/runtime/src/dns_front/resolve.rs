//! Asks resolvers: by DoH, or plainly by UDP and then TCP, inside the tunnel or outside it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{timeout, timeout_at};
use weft_dns::{Target, UpstreamError, UpstreamErrorKind, Way, message};

use super::tcp::frame;
use crate::doh::{DohClient, DohError};
use crate::flows::TunnelNet;
use crate::sockets::SocketFactory;

/// The port of plain DNS.
const PORT: u16 = 53;
/// How long a plain query waits for its answer before it is sent again; doubles each time.
const RESEND: Duration = Duration::from_secs(1);
/// Bytes of the longest answer by UDP: more than was asked for, so that one that is longer still fits.
const MAX_UDP: usize = 65_535;

/// An answer that is awaited. Dropping it gives it up.
pub type Resolving = Pin<Box<dyn Future<Output = Result<Vec<u8>, UpstreamError>> + Send>>;

/// Asks resolvers for the engine.
pub trait Resolve: Send + Sync {
    /// Asks `to` the query in `message`, and gives up at the deadline.
    fn resolve(&self, to: Target, message: Vec<u8>, deadline: Instant) -> Resolving;
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
        Self { doh: None, net: None, sockets, is_tunnelled: Arc::new(|_| false), port: PORT }
    }

    #[cfg(test)]
    pub(super) fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    async fn ask(self, to: Target, query: Vec<u8>, deadline: Instant) -> Result<Vec<u8>, UpstreamError> {
        let (server, way) = match (to, self.doh) {
            (Target::Plain { server, way }, _) => (SocketAddr::new(server, self.port), way),
            (Target::Doh, Some(doh)) => return doh.query(&query, deadline).await.map_err(of_doh),
            (Target::Doh, None) => {
                return Err(UpstreamError::new(UpstreamErrorKind::NotReady, "there is no DoH resolver"));
            }
        };
        let inside = way == Way::Tunnel || (self.is_tunnelled)(server.ip());
        let answered = match (inside, self.net) {
            (true, Some(net)) => ask_inside(&net, server, &query, deadline).await,
            (true, None) => {
                return Err(UpstreamError::new(UpstreamErrorKind::NotReady, "the tunnel is not up"));
            }
            (false, _) => ask_outside(&self.sockets, server, &query, deadline).await,
        };
        answered.map_err(|error| of_io(server, &error))
    }
}

impl Resolve for Resolvers {
    fn resolve(&self, to: Target, message: Vec<u8>, deadline: Instant) -> Resolving {
        Box::pin(self.clone().ask(to, message, deadline))
    }
}

fn of_doh(error: DohError) -> UpstreamError {
    let kind = match &error {
        DohError::TimedOut | DohError::Silent | DohError::Busy => UpstreamErrorKind::TimedOut,
        DohError::Status(status) => UpstreamErrorKind::Refused { status: *status },
        DohError::NotDns | DohError::TooLong => UpstreamErrorKind::Garbage,
        DohError::Unreachable(_)
        | DohError::Untrusted(_)
        | DohError::NoHttp2
        | DohError::Lost(_)
        | DohError::Broken(_)
        | DohError::Config(_) => UpstreamErrorKind::Unreachable,
    };
    UpstreamError::new(kind, error.to_string())
}

fn of_io(server: SocketAddr, error: &io::Error) -> UpstreamError {
    let kind = match error.kind() {
        io::ErrorKind::TimedOut => UpstreamErrorKind::TimedOut,
        io::ErrorKind::InvalidData => UpstreamErrorKind::Garbage,
        _ => UpstreamErrorKind::Unreachable,
    };
    UpstreamError::new(kind, format!("{server}: {error}"))
}

async fn ask_inside(
    net: &TunnelNet,
    server: SocketAddr,
    query: &[u8],
    deadline: Instant,
) -> io::Result<Vec<u8>> {
    let fits = |datagram: &[u8]| answers(datagram, query);
    let answer = net.udp_exchange_where(server, query, deadline, fits).await?;
    again_by_tcp(answer, query, deadline, net.connect_tcp(server)).await
}

async fn ask_outside(
    sockets: &SocketFactory,
    server: SocketAddr,
    query: &[u8],
    deadline: Instant,
) -> io::Result<Vec<u8>> {
    // Connected, so that the system passes over datagrams of anybody else.
    let socket = sockets.datagrams(server)?;
    let mut room = vec![0; MAX_UDP];
    let mut wait = RESEND;
    let answer = loop {
        socket.send(query).await?;
        let until = deadline.min(Instant::now() + wait);
        let received = timeout_at(until.into(), async {
            loop {
                let length = socket.recv(&mut room).await?;
                let datagram = room.get(..length).unwrap_or_default();
                if answers(datagram, query) {
                    return Ok::<_, io::Error>(datagram.to_vec());
                }
            }
        });
        match received.await {
            Ok(answer) => break answer?,
            Err(_) if until >= deadline => return Err(io::ErrorKind::TimedOut.into()),
            Err(_) => wait *= 2,
        }
    };
    again_by_tcp(answer, query, deadline, sockets.connect(server)).await
}

/// Asks again by TCP where the answer was cut. If that comes to nothing, the cut answer is one too.
async fn again_by_tcp<S: AsyncRead + AsyncWrite + Unpin>(
    answer: Vec<u8>,
    query: &[u8],
    deadline: Instant,
    connecting: impl Future<Output = io::Result<S>>,
) -> io::Result<Vec<u8>> {
    if !message::is_truncated(&answer) {
        return Ok(answer);
    }
    // Something must be left of the client's time to tell it.
    let left = deadline.saturating_duration_since(Instant::now()).mul_f32(0.9);
    let whole = timeout(left, async { ask_stream(connecting.await?, query).await }).await;
    Ok(whole.ok().and_then(Result::ok).unwrap_or(answer))
}

async fn ask_stream(mut stream: impl AsyncRead + AsyncWrite + Unpin, query: &[u8]) -> io::Result<Vec<u8>> {
    let framed = frame(query).ok_or(io::ErrorKind::InvalidInput)?;
    stream.write_all(&framed).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    if answers(&answer, query) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Whether a datagram answers this very query, and no other that somebody guessed.
fn answers(datagram: &[u8], query: &[u8]) -> bool {
    message::is_answer(datagram)
        && message::id(datagram) == message::id(query)
        && message::question(query).is_ok_and(|asked| message::question(datagram) == Ok(asked))
}
