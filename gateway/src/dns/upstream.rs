//! Asking resolvers: UDP from a random port with a random ID, TCP where the answer was cut, one after the other
//! until the deadline.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::message::Query;
use super::wire;

/// Tries of one query over all upstreams.
const MAX_TRIES: usize = 4;
/// Response codes that say more of the upstream than of the name: SERVFAIL, NOTIMP, REFUSED.
const UPSTREAM_TROUBLE: [u16; 3] = [2, 4, 5];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Too many queries wait.
    #[error("too many queries are waiting")]
    Busy,
    /// Nobody answered in time.
    #[error("no upstream answered in time")]
    Timeout,
    /// The system or the upstream refused.
    #[error("upstream: {0}")]
    Io(#[from] io::Error),
    /// An upstream answered nonsense over TCP.
    #[error("an upstream's answer is no answer to the query")]
    Nonsense,
}

/// An upstream's answer with its summary.
#[derive(Debug)]
pub struct UpstreamAnswer {
    /// The message; its ID is the one it was asked with.
    pub bytes: Vec<u8>,
    /// What is in it.
    pub summary: wire::Summary,
}

/// The resolvers that allowed names are asked of.
#[derive(Debug)]
pub struct Upstreams {
    servers: Vec<SocketAddr>,
    timeout: Duration,
    in_flight: Semaphore,
    /// The one that answered last: asked first.
    preferred: AtomicUsize,
}

impl Upstreams {
    /// Asks `servers`, for `timeout` at most, `in_flight` queries at once.
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>, timeout: Duration, in_flight: usize) -> Self {
        let in_flight = Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS));
        Self { servers, timeout, in_flight, preferred: AtomicUsize::new(0) }
    }

    /// Asks until one answers. A server failure of one upstream is passed on only if no other does better.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn ask(&self, query: &Query) -> Result<UpstreamAnswer, UpstreamError> {
        let _permit = self.in_flight.try_acquire().map_err(|_| UpstreamError::Busy)?;
        let deadline = Instant::now() + self.timeout;
        let first = self.preferred.load(Ordering::Relaxed);
        let tries = self.servers.len().clamp(2, MAX_TRIES);
        let mut outcome = Err(UpstreamError::Timeout);
        for number in 0..tries {
            let index = (first + number) % self.servers.len().max(1);
            let Some(server) = self.servers.get(index) else { break };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let share = left / u32::try_from(tries - number).unwrap_or(1);
            match ask_one(*server, query, Instant::now() + share).await {
                Ok(answer) if UPSTREAM_TROUBLE.contains(&wire::response_code(&answer.bytes)) => {
                    outcome = Ok(answer);
                }
                Ok(answer) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) if outcome.is_err() => outcome = Err(error),
                Err(_) => {}
            }
        }
        outcome
    }
}

async fn ask_one(
    server: SocketAddr,
    query: &Query,
    deadline: Instant,
) -> Result<UpstreamAnswer, UpstreamError> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let id = u16::from_be_bytes(id);
    let message = query.for_upstream(id);
    let work = async {
        let answer = over_udp(server, query, id, &message).await?;
        if wire::is_truncated(&answer.bytes) {
            over_tcp(server, query, id, &message).await
        } else {
            Ok(answer)
        }
    };
    timeout_at(deadline, work).await.map_err(|_| UpstreamError::Timeout)?
}

/// The socket is connected, so the system lets nobody but the server answer; what is no answer to the query is not
/// listened to.
async fn over_udp(
    server: SocketAddr,
    query: &Query,
    id: u16,
    message: &[u8],
) -> Result<UpstreamAnswer, UpstreamError> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    socket.send(message).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let received = buffer.get(..length).unwrap_or_default();
        if !wire::answers(received, id, query.question()) {
            continue;
        }
        // A cut answer may be cut anywhere, and is asked for again.
        if wire::is_truncated(received) {
            return Ok(UpstreamAnswer { bytes: received.to_vec(), summary: wire::Summary::default() });
        }
        if let Ok(summary) = wire::summarise(received) {
            return Ok(UpstreamAnswer { bytes: received.to_vec(), summary });
        }
    }
}

async fn over_tcp(
    server: SocketAddr,
    query: &Query,
    id: u16,
    message: &[u8],
) -> Result<UpstreamAnswer, UpstreamError> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(message.len()).map_err(|_| UpstreamError::Nonsense)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    if !wire::answers(&bytes, id, query.question()) {
        return Err(UpstreamError::Nonsense);
    }
    let summary = wire::summarise(&bytes).map_err(|_| UpstreamError::Nonsense)?;
    Ok(UpstreamAnswer { bytes, summary })
}

/// The resolvers of a resolv.conf(5) text, port 53. Scoped addresses ("%eth0") are left out.
#[must_use]
pub fn of_resolv_conf(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .filter_map(|word| word.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_names_its_servers() {
        let text = "# nameserver 192.0.2.9\nnameserver 192.0.2.1\nnameserver\nsearch example\n\
                    nameserver 2001:db8::1 # remark\nnameserver fe80::1%eth0\noptions edns0\n";
        assert_eq!(
            of_resolv_conf(text),
            ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()]
        );
        assert!(of_resolv_conf("").is_empty());
    }
}
