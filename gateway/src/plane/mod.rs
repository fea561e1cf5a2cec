//! The packet path: WireGuard for every device on the outside, one TUN interface on the inside.
//!
//! Three threads. One takes datagrams from the network, opens them, gives each device's packets its own source
//! address and writes them to the TUN in runs; one reads runs from the TUN and seals them for the device whose address
//! they are for; one answers handshakes and keeps deadlines. An idle gateway sleeps in all three.

mod control;
mod counters;
mod inward;
mod outward;
mod peers;
mod sockets;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use weft_model::PrivateKey;
use weft_runtime::data_plane::Waker;
use weft_runtime::tun::{self, TunDevice};
use weft_tunnel::wireguard::{Responder, ResponderConfig};
use weft_tunnel::{Anchor, Entropy, Nudge};

use crate::control::TunnelCounters;
use crate::registry::Directory;
use counters::Counters;
use peers::Peers;
use sockets::Sockets;

/// Handshake messages a second that are answered without a cookie; a handshake takes a fraction of a millisecond.
const HANDSHAKES_PER_SECOND: u32 = 500;
/// The time without traffic after which a thread gives its buffers back.
const QUIET: Duration = Duration::from_secs(2);
/// A device counts as connected for this long after its handshake: as long as its keys hold.
const CONNECTED: Duration = Duration::from_secs(180);

/// What the threads share.
struct Shared {
    responder: Responder,
    peers: Peers,
    sockets: Sockets,
    counters: Counters,
    device: TunDevice,
    stop: AtomicBool,
    in_waker: Waker,
    out_waker: Waker,
    control_waker: Waker,
    /// Why packets no longer pass.
    failure: watch::Sender<Option<String>>,
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Says why packets no longer pass.
    fn fail(&self, what: &str, error: &io::Error) {
        self.failure.send_replace(Some(format!("{what}: {error}")));
    }

    fn nudge(&self, nudge: Nudge) {
        if nudge == Nudge::Control {
            self.control_waker.wake();
        }
    }
}

/// The system's random numbers.
struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        if getrandom::fill(bytes).is_err() {
            // Keys that somebody can guess are worse than no gateway.
            tracing::error!("the system has no random numbers");
            std::process::abort();
        }
    }
}

/// The packet path. Dropping it stops its threads.
pub struct Plane {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Plane {
    /// Starts the packet path over a TUN device and UDP sockets bound to `locals`, without devices.
    ///
    /// # Errors
    /// A socket cannot be bound, or the system gives no thread.
    pub fn start(device: OwnedFd, key: &PrivateKey, mtu: u16, locals: &[SocketAddr]) -> io::Result<Self> {
        let anchor = Anchor {
            instant: Instant::now(),
            unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        };
        let config = ResponderConfig {
            private_key: key.clone(),
            mtu: mtu.into(),
            handshakes_per_second: HANDSHAKES_PER_SECOND,
        };
        let (input, device) = tun::open(device)?;
        let shared = Arc::new(Shared {
            responder: Responder::new(&config, anchor, Box::new(SystemEntropy)),
            peers: Peers::default(),
            sockets: Sockets::bind(locals)?,
            counters: Counters::default(),
            device,
            stop: AtomicBool::new(false),
            in_waker: Waker::new()?,
            out_waker: Waker::new()?,
            control_waker: Waker::new()?,
            failure: watch::Sender::new(None),
        });
        let mut plane = Self { shared: Arc::clone(&shared), threads: Vec::with_capacity(3) };
        let inward = inward::Inward::new(Arc::clone(&shared));
        let outward = outward::Outward::new(Arc::clone(&shared), input);
        // If a later thread cannot be had, dropping the plane stops the earlier ones.
        plane.spawn("weftgw-in", move || inward.run())?;
        plane.spawn("weftgw-out", move || outward.run())?;
        plane.spawn("weftgw-control", move || control::run(&shared))?;
        Ok(plane)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(body)?);
        Ok(())
    }

    /// Who is to be told of every change of the devices.
    #[must_use]
    pub fn follower(&self) -> crate::registry::Follower {
        let shared = Arc::clone(&self.shared);
        Box::new(move |directory: &Arc<Directory>| shared.peers.sync(&shared.responder, directory))
    }

    /// Returns when packets can no longer pass, and says why.
    pub async fn broken(&self) -> anyhow::Error {
        let mut failure = self.shared.failure.subscribe();
        let reason = failure.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        anyhow::anyhow!(reason.unwrap_or_default())
    }

    /// Devices with keys that hold, each with the time since its handshake.
    #[must_use]
    pub fn connected(&self) -> Vec<(String, Duration)> {
        let now = Instant::now();
        let peers = self.shared.peers.all();
        let recent = |id| {
            let stats = self.shared.responder.peer_stats(id, now)?;
            stats.last_handshake.filter(|since| *since < CONNECTED)
        };
        peers.iter().filter_map(|peer| recent(peer.id).map(|since| (peer.device.clone(), since))).collect()
    }

    /// Counters at this moment.
    #[must_use]
    pub fn counters(&self) -> TunnelCounters {
        let drops = self.shared.peers.drops(&self.shared.responder);
        self.shared.counters.read(drops)
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for waker in [&self.shared.in_waker, &self.shared.out_waker, &self.shared.control_waker] {
            waker.wake();
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the packet path panicked");
            }
        }
    }
}
