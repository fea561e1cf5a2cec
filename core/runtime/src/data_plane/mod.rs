//! The packet path: one thread from the TUN to the network and one back.
//!
//! Each thread sleeps in poll(2) and does a packet's whole way itself: no packet changes threads, and an idle device
//! has no wake-up. What fills up is bounded: a full socket stops the reading of the TUN, whose queue is the system's;
//! a full queue to the core's own flows drops, and counts what it dropped.

mod claims;
mod counters;
mod inward;
mod outward;
mod shared;
mod verdicts;
mod wait;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use weft_model::DropReason;
use weft_packet::Run;
use weft_tunnel::{Inbound, Outbound, Outbox, Sealed, SocketId};

use self::counters::Tally;
use self::inward::Inward;
use self::outward::Outward;
use self::shared::{Patience, Shared, Sockets, refusal};
use crate::lock::lock;
use crate::sockets::UdpSocket;
use crate::tun::{TunInput, TunOutput};

pub use claims::{FlowClaims, OWN_PORTS, Protocol};
pub use counters::Counters;
pub(crate) use verdicts::IcmpLimit;
pub use verdicts::{Verdicts, VerdictsInForce};
pub use wait::{Waker, is_ready, wait};
pub use weft_policy::Verdict;

/// The most sockets at once: the one in use, and those that a transport tries beside it.
pub const MAX_SOCKETS: usize = 8;

/// How long a thread has nothing to do before it frees its buffers.
const QUIET: Duration = Duration::from_secs(2);

/// Bytes that both threads may hold under load, in buffers of their own.
pub const MEMORY: usize = outward::MEMORY + inward::MEMORY;
const _: () = assert!(MEMORY <= 2 << 20);

/// What a data plane is made of.
pub struct Config {
    /// Packets from the device.
    pub input: Box<dyn TunInput>,
    /// Packets to the device.
    pub output: Arc<dyn TunOutput>,
    /// Seals what leaves.
    pub outbound: Arc<dyn Outbound>,
    /// Opens what arrives.
    pub inbound: Box<dyn Inbound>,
    /// Judges what leaves; may be replaced at any moment.
    pub verdicts: Arc<VerdictsInForce>,
    /// The ports of the core's own flows.
    pub claims: Arc<FlowClaims>,
    /// Takes packets out of the tunnel for claimed ports: those of the core's own flows. Checksums are complete. What
    /// does not fit is dropped and counted.
    pub own_packets: mpsc::Sender<Vec<u8>>,
    /// Takes packets of the device with [`Verdict::Own`]: those for the core's own servers, which answer by
    /// [`DataPlane::write_own`]. Checksums are complete. What is refused (false) is dropped and counted. Must not
    /// block.
    pub served_packets: Arc<dyn Fn(Vec<u8>) -> bool + Send + Sync>,
    /// Called from either thread when the transport's control part has something to do
    /// ([`weft_tunnel::Control::handle_nudge`]), and when [`DataPlane::failure`] has something to say. Must not block.
    pub nudge: Arc<dyn Fn() + Send + Sync>,
}

/// The two threads. Dropping it stops and joins them.
pub struct DataPlane {
    shared: Arc<Shared>,
    /// For what the control side seals.
    outbox: Mutex<Outbox>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataPlane").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

/// A packet thread that panics takes the packets with it: whoever steers it must build it anew.
struct TellsOfPanic(Arc<Shared>);

impl Drop for TellsOfPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the packet path", &io::Error::other("one of its threads panicked"));
        }
    }
}

impl DataPlane {
    /// Starts both threads, without a socket.
    ///
    /// # Errors
    /// The system gives no thread or no descriptor.
    pub fn start(config: Config) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            output: ArcSwap::from_pointee(config.output),
            next_input: Mutex::new(None),
            has_next_input: AtomicBool::new(false),
            outbound: config.outbound,
            verdicts: config.verdicts,
            claims: config.claims,
            own_packets: config.own_packets,
            served_packets: config.served_packets,
            nudge: config.nudge,
            sockets: ArcSwap::default(),
            tally: Tally::default(),
            out_waker: Waker::new()?,
            in_waker: Waker::new()?,
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
            device_failure: Mutex::new(None),
        });
        let outward = Outward::new(Arc::clone(&shared), config.input);
        let inward = Inward::new(Arc::clone(&shared), config.inbound);
        let mut plane = Self { shared, outbox: Mutex::new(Outbox::new()), threads: Vec::with_capacity(2) };
        // If the second thread cannot be had, dropping the plane stops the first.
        plane.spawn("weft-out", move || outward.run())?;
        plane.spawn("weft-in", move || inward.run())?;
        Ok(plane)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let told = TellsOfPanic(Arc::clone(&self.shared));
        let body = move || {
            let _told = told;
            body();
        };
        self.threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(body)?);
        Ok(())
    }

    /// Sends and receives on `socket` from now on.
    ///
    /// # Errors
    /// [`MAX_SOCKETS`] are there already, or one of this id.
    pub fn add_socket(&self, id: SocketId, socket: UdpSocket) -> io::Result<()> {
        let socket = Arc::new(socket);
        let mut refused = false;
        self.shared.sockets.rcu(|sockets| {
            refused = sockets.len() >= MAX_SOCKETS || sockets.iter().any(|(other, _)| *other == id);
            let added = (!refused).then(|| (id, Arc::clone(&socket)));
            sockets.iter().cloned().chain(added).collect::<Sockets>()
        });
        if refused {
            return Err(io::Error::other(format!("no room for the tunnel's socket {}", id.0)));
        }
        self.shared.in_waker.wake();
        Ok(())
    }

    /// Closes a socket as soon as neither thread uses it.
    pub fn remove_socket(&self, id: SocketId) {
        self.shared
            .sockets
            .rcu(|sockets| sockets.iter().filter(|(other, _)| *other != id).cloned().collect::<Sockets>());
        self.shared.in_waker.wake();
        // A sender that waits for it goes on.
        self.shared.out_waker.wake();
    }

    /// Moves to another device, or another descriptor of the same: packets to the device go there from now on, and
    /// packets from it are read there once the present one has no more, which is then closed. A failure of the present
    /// one is forgotten. The transport is not touched.
    pub fn replace_device(&self, input: Box<dyn TunInput>, output: Arc<dyn TunOutput>) {
        self.shared.output.store(Arc::new(output));
        let mut next = lock(&self.shared.next_input);
        *next = Some(input);
        *lock(&self.shared.device_failure) = None;
        self.shared.has_next_input.store(true, Ordering::Release);
        drop(next);
        self.shared.out_waker.wake();
    }

    /// Sends what the transport's control part wants sent, and empties `outbox`. Waits a moment for a full socket;
    /// what cannot be sent is dropped and counted.
    pub fn transmit(&self, outbox: &mut Outbox) {
        self.shared.send(outbox, Patience::Moment);
    }

    /// Seals and sends a run of the core's own flows.
    pub fn send_own(&self, run: Run) {
        let mut outbox = lock(&self.outbox);
        let (packets, bytes) = (run.segments(), run.packet().len());
        let out = &self.shared.tally.out;
        match self.shared.outbound.seal(run, Instant::now(), &mut outbox) {
            Sealed::Done(_, nudge) | Sealed::Held(nudge) => {
                out.pass(packets, bytes);
                out.run();
                self.shared.nudge(nudge);
            }
            Sealed::Blocked(_) => out.drop(DropReason::QueueFull, packets),
            // The transport has counted it.
            Sealed::Dropped(_, _, nudge) => self.shared.nudge(nudge),
        }
        self.shared.send(&mut outbox, Patience::Moment);
    }

    /// Hands a run of the core's own servers to the device: an answer from a sentinel address.
    pub fn write_own(&self, mut run: Run) {
        let output = self.shared.output.load();
        if let Err(error) = output.write(&mut run) {
            self.shared.tally.inn.drop(refusal(&error), run.segments());
        }
        output.flush();
    }

    /// Offers the run anew that a stream had no room for: the stream takes bytes again.
    pub fn resume(&self) {
        self.shared.out_waker.wake();
    }

    /// Counters at this moment.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.tally.counters()
    }

    /// Why packets no longer pass, if they do not: the interface is gone.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let failure = lock(&self.shared.failure).clone();
        failure.or_else(|| lock(&self.shared.device_failure).clone())
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.out_waker.wake();
        self.shared.in_waker.wake();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so, and has nothing more to clean up.
            let _ = thread.join();
        }
    }
}
