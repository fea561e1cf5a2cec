//! The resolver on port 53 of the inner address, for WireGuard clients that were set up by hand: wg-quick's `DNS=`
//! knows no other kind.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{Resolver, wire};
use crate::api::limit::{ConnectionLimiter, Source};
use crate::registry::Registry;

/// UDP queries that are worked on at once.
const MAX_QUERIES: usize = 512;
/// The time after which a silent TCP connection is closed.
const IDLE: Duration = Duration::from_secs(10);
/// The pause after the system refused to receive or accept.
const PAUSE: Duration = Duration::from_millis(200);

/// What both fronts need.
#[derive(Clone)]
pub struct PlainFront {
    /// Answers.
    pub resolver: Arc<Resolver>,
    /// Says who asks.
    pub registry: Arc<Registry>,
}

impl PlainFront {
    /// Answers over UDP for as long as it is polled.
    pub async fn serve_udp(self, socket: UdpSocket) {
        let socket = Arc::new(socket);
        let working = Arc::new(Semaphore::new(MAX_QUERIES));
        let mut buffer = vec![0; 4096];
        loop {
            let (length, from) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    tracing::warn!(%error, "a query could not be received");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&working).try_acquire_owned() else { continue };
            let query = buffer.get(..length).unwrap_or_default().to_vec();
            let (front, socket) = (self.clone(), Arc::clone(&socket));
            tokio::spawn(async move {
                let _permit = permit;
                if let Some(answer) = front.answer(&query, from, true).await
                    && let Err(error) = socket.send_to(&answer, from).await
                {
                    tracing::debug!(%error, "an answer was not sent");
                }
            });
        }
    }

    /// Answers over TCP for as long as it is polled.
    pub async fn serve_tcp(self, listener: TcpListener, places: Arc<ConnectionLimiter>) {
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(place) = places.enter(Source::from(from.ip())) else { continue };
            let front = self.clone();
            tokio::spawn(async move {
                let _place = place;
                if let Err(error) = front.converse(stream, from).await {
                    tracing::debug!(%error, "a TCP client is gone");
                }
            });
        }
    }

    async fn converse(&self, mut stream: TcpStream, from: SocketAddr) -> std::io::Result<()> {
        loop {
            let read = async {
                let mut query = vec![0; usize::from(stream.read_u16().await?)];
                stream.read_exact(&mut query).await.map(|_| query)
            };
            let Ok(query) = timeout(IDLE, read).await else { return Ok(()) };
            let Some(answer) = self.answer(&query?, from, false).await else { return Ok(()) };
            let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
            let mut framed = length.to_be_bytes().to_vec();
            framed.extend_from_slice(&answer);
            match timeout(IDLE, stream.write_all(&framed)).await {
                Ok(written) => written?,
                Err(_) => return Ok(()),
            }
        }
    }

    async fn answer(&self, query: &[u8], from: SocketAddr, udp: bool) -> Option<Vec<u8>> {
        let directory = self.registry.directory();
        let device = directory.at(from.ip())?;
        let answer = self.resolver.resolve(query, directory.profile_name(device)).await.ok()?;
        if udp && answer.bytes.len() > answer.udp_limit {
            return wire::truncate(&answer.bytes).ok();
        }
        Some(answer.bytes)
    }
}
