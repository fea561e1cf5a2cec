//! The core's own flows inside the tunnel, as async streams and exchanges.
//!
//! A [`TunnelNet`] drives a [`weft_netstack::Netstack`] in a task of its own: packets that the data plane took out of
//! the tunnel go in, packets that the flows make go to the data plane to be sealed. It sleeps until a packet, a call or
//! a deadline; with idle connections alone there is none.
//!
//! One belongs to one tunnel, with its addresses and MTU. When the packets end, the tunnel is gone: its streams end
//! with an error, and a new tunnel gets a new `TunnelNet`.

mod shared;
mod stream;
#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::sync::mpsc;
use weft_packet::Run;

use self::shared::Shared;
pub use self::stream::TunnelStream;
use crate::data_plane::{FlowClaims, Protocol};

/// How long a datagram waits for its answer before it is sent again; doubles each time.
const RESEND: Duration = Duration::from_secs(1);

/// Packets taken in before what they led to is sent: a full receive buffer's worth of segments.
const PACKETS_AT_ONCE: usize = 64;

/// What a [`TunnelNet`] is made of.
pub struct Config {
    /// The tunnel's addresses; the first of each family is used.
    pub addresses: Vec<IpNet>,
    /// The longest packet in bytes.
    pub mtu: u16,
    /// Where the flows' ports are claimed, so that their packets are taken out of the tunnel.
    pub claims: Arc<FlowClaims>,
    /// Seals and sends a packet of the flows. May wait a moment, not long.
    pub send: Box<dyn Fn(Run) + Send + Sync>,
}

/// TCP and UDP from the tunnel's own addresses. Clones share one stack.
#[derive(Clone)]
pub struct TunnelNet {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for TunnelNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TunnelNet").field("flows", &self.shared.lock().len()).finish()
    }
}

impl TunnelNet {
    /// Starts the task, which ends with `packets`: IP packets out of the tunnel for claimed ports. Called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn start(config: Config, packets: mpsc::Receiver<Vec<u8>>) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(config)?);
        tokio::spawn(run(Arc::clone(&shared), packets));
        Ok(Self { shared })
    }

    /// Opens a TCP connection that sends at once what it is given. Dropping the future gives it up.
    ///
    /// # Errors
    /// Of kind `ConnectionRefused`, `TimedOut` (after 15 s), `AddrNotAvailable` where the tunnel has no address of that
    /// family, `NotConnected` where the tunnel is gone.
    pub async fn connect_tcp(&self, remote: SocketAddr) -> io::Result<TunnelStream> {
        let port = self.shared.claim_port(Protocol::Tcp)?;
        self.connect_from(port, remote).await
    }

    /// Takes TCP connections on an address that packets are brought for; [`accept`](Self::accept) gives them.
    ///
    /// # Errors
    /// Of kind `InvalidInput`, or `OutOfMemory` where there are too many addresses.
    pub fn listen(&self, local: SocketAddr) -> io::Result<()> {
        self.shared.lock().stack().listen(local).map_err(shared::flow_error)
    }

    /// The next connection that another opened. Dropping the future loses none.
    ///
    /// # Errors
    /// Of kind `NotConnected` where the packets have ended.
    pub async fn accept(&self) -> io::Result<TunnelStream> {
        TunnelStream::accept(&self.shared).await
    }

    async fn connect_from(&self, port: u16, remote: SocketAddr) -> io::Result<TunnelStream> {
        let stream = TunnelStream::connect(Arc::clone(&self.shared), port, remote)?;
        std::future::poll_fn(|context| stream.poll_established(context)).await?;
        Ok(stream)
    }

    /// Sends `datagram` to `server` and waits for the first datagram of it that `fits`; others are passed over, so that a
    /// forged one does not take the place of the true one. Sends again after 1 s, 2 s, 4 s.
    ///
    /// # Errors
    /// Of kind `TimedOut` at the deadline, `InvalidInput` where the datagram does not fit the MTU, else as for
    /// [`connect_tcp`](Self::connect_tcp).
    pub async fn udp_exchange_where(
        &self,
        server: SocketAddr,
        datagram: &[u8],
        deadline: Instant,
        fits: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Vec<u8>> {
        let port = self.shared.claim_port(Protocol::Udp)?;
        let flow = shared::Datagrams::bind(Arc::clone(&self.shared), port, server)?;
        let mut wait = RESEND;
        loop {
            flow.send(datagram)?;
            let until = deadline.min(Instant::now() + wait);
            let received = tokio::time::timeout_at(until.into(), flow.receive(&fits)).await;
            match received {
                Ok(answer) => return answer,
                Err(_) if until >= deadline => return Err(io::ErrorKind::TimedOut.into()),
                Err(_) => wait *= 2,
            }
        }
    }
}

/// Drives the stack until the packets end.
async fn run(shared: Arc<Shared>, mut packets: mpsc::Receiver<Vec<u8>>) {
    let mut batch = Vec::with_capacity(PACKETS_AT_ONCE);
    loop {
        let deadline = shared.lock().deadline();
        tokio::select! {
            taken = packets.recv_many(&mut batch, PACKETS_AT_ONCE) => {
                if taken == 0 {
                    break;
                }
                let mut state = shared.lock();
                let now = Instant::now();
                for packet in batch.drain(..) {
                    state.handle_packet(&packet, now);
                }
                shared.settle(&mut state, now);
            }
            () = shared.deadline_changed() => {}
            () = sleep_until(deadline) => {
                let mut state = shared.lock();
                shared.settle(&mut state, Instant::now());
            }
        }
    }
    shared.go_down();
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
