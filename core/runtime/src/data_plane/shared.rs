//! What the two threads and the control side share.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustix::event::{PollFd, PollFlags};
use tokio::sync::mpsc;
use weft_model::DropReason;
use weft_packet::{Run, write_segment};
use weft_tunnel::{Nudge, Outbound, Outbox, SocketId, Transmit};

use super::claims::FlowClaims;
use super::counters::{Direction, Tally};
use super::verdicts::VerdictsInForce;
use super::wait::{Waker, is_ready, wait};
use crate::lock::lock;
use crate::sockets::UdpSocket;
use crate::tun::{TunInput, TunOutput};

/// The sockets that are open, few.
pub(super) type Sockets = Vec<(SocketId, Arc<UdpSocket>)>;

/// How often a send is tried again where the system has no memory for it, a millisecond each.
const SHORTAGES: u32 = 10;

/// How long the control side waits for a full socket.
const MOMENT: Duration = Duration::from_millis(20);

pub(super) struct Shared {
    /// Replaced where the device's interface is.
    pub(super) output: ArcSwap<Arc<dyn TunOutput>>,
    /// The input that takes the present one's place.
    pub(super) next_input: Mutex<Option<Box<dyn TunInput>>>,
    /// Whether there is one, so that the thread need not take the lock to see.
    pub(super) has_next_input: AtomicBool,
    pub(super) outbound: Arc<dyn Outbound>,
    pub(super) verdicts: Arc<VerdictsInForce>,
    pub(super) claims: Arc<FlowClaims>,
    pub(super) own_packets: mpsc::Sender<Vec<u8>>,
    pub(super) served_packets: Arc<dyn Fn(Vec<u8>) -> bool + Send + Sync>,
    pub(super) nudge: Arc<dyn Fn() + Send + Sync>,
    pub(super) sockets: ArcSwap<Sockets>,
    pub(super) tally: Tally,
    pub(super) out_waker: Waker,
    pub(super) in_waker: Waker,
    pub(super) stop: AtomicBool,
    pub(super) failure: Mutex<Option<String>>,
    /// The same of the device alone, which another one heals.
    pub(super) device_failure: Mutex<Option<String>>,
}

/// How long a sender may wait for a full socket.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    /// Until it has room or the data plane stops: the TUN's queue holds what comes meanwhile.
    Unbounded,
    /// A moment: the control side has other things to do.
    Moment,
}

impl Shared {
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(super) fn nudge(&self, nudge: Nudge) {
        if nudge == Nudge::Control {
            (self.nudge)();
        }
    }

    /// The input that is to take the present one's place, once.
    pub(super) fn take_next_input(&self) -> Option<Box<dyn TunInput>> {
        if !self.has_next_input.swap(false, Ordering::AcqRel) {
            return None;
        }
        lock(&self.next_input).take()
    }

    /// Says once why packets no longer pass.
    pub(super) fn fail(&self, what: &str, error: &io::Error) {
        lock(&self.failure).get_or_insert_with(|| format!("{what}: {error}"));
        (self.nudge)();
    }

    /// The same of the device, unless another one is about to take its place.
    pub(super) fn fail_device(&self, what: &str, error: &io::Error) {
        let next = lock(&self.next_input);
        if next.is_none() {
            lock(&self.device_failure).get_or_insert_with(|| format!("{what}: {error}"));
            (self.nudge)();
        }
    }

    /// Sends all of `outbox` and empties it. What cannot be sent is counted.
    pub(super) fn send(&self, outbox: &mut Outbox, patience: Patience) {
        self.send_each(outbox.transmits(), patience);
        outbox.clear();
    }

    /// Sends what no further datagram can join, and leaves the rest.
    pub(super) fn send_settled(&self, outbox: &mut Outbox, patience: Patience) {
        self.send_each(outbox.settled(), patience);
        outbox.clear_settled();
    }

    fn send_each<'a>(&self, transmits: impl Iterator<Item = &'a Transmit>, patience: Patience) {
        let sockets = self.sockets.load();
        for transmit in transmits {
            let Some(destination) = transmit.destination else { continue };
            let socket = transmit.socket.and_then(|id| sockets.iter().find(|(other, _)| *other == id));
            let left = match socket {
                Some((_, socket)) => self.send_on(socket, transmit, destination, patience),
                // Closed since it was sealed: lost, as on a network that is gone.
                None => Err((DropReason::SystemError, transmit.contents().len())),
            };
            if let Err((reason, bytes)) = left {
                self.tally.out.drop(reason, bytes.div_ceil(transmit.segment.max(1)));
            }
        }
    }

    /// Sends one batch; else why not all of it, and how many bytes were left.
    fn send_on(
        &self,
        socket: &UdpSocket,
        transmit: &Transmit,
        destination: std::net::SocketAddr,
        patience: Patience,
    ) -> Result<(), (DropReason, usize)> {
        let mut contents = transmit.contents();
        let mut shortages = 0;
        loop {
            let refused = match socket.send(destination, None, contents, transmit.segment) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            contents = contents.get(refused.sent..).unwrap_or_default();
            let goes_on = match refused.error.kind() {
                io::ErrorKind::WouldBlock => {
                    self.wait_writable(socket, patience) && self.has(transmit.socket)
                }
                _ if is_shortage(&refused.error) && shortages < SHORTAGES => {
                    shortages += 1;
                    self.wait_stop(Duration::from_millis(1))
                }
                _ if is_shortage(&refused.error) => false,
                _ => return Err((DropReason::SystemError, contents.len())),
            };
            if !goes_on {
                return Err((DropReason::QueueFull, contents.len()));
            }
        }
    }

    fn has(&self, id: Option<SocketId>) -> bool {
        self.sockets.load().iter().any(|(other, _)| Some(*other) == id)
    }

    fn wait_writable(&self, socket: &UdpSocket, patience: Patience) -> bool {
        let mut fds = [PollFd::new(socket, PollFlags::OUT), PollFd::new(&self.out_waker, PollFlags::IN)];
        match patience {
            // The wake-ups are for the thread that waits without end.
            Patience::Moment => matches!(wait(fds.split_at_mut(1).0, Some(MOMENT)), Ok(true)),
            Patience::Unbounded => {
                let waited = wait(&mut fds, None).is_ok();
                if fds.last().is_some_and(is_ready) {
                    self.out_waker.clear();
                }
                waited && !self.stopped()
            }
        }
    }

    fn wait_stop(&self, limit: Duration) -> bool {
        let _ = wait(&mut [PollFd::new(&self.out_waker, PollFlags::IN)], Some(limit));
        !self.stopped()
    }

    /// Hands the packets that a run stands for to the core's own servers.
    pub(super) fn serve(&self, run: &Run) {
        for index in 0..run.segments() {
            let mut packet = vec![0; weft_packet::segment_len(run, index)];
            if write_segment(run, index, &mut packet) == packet.len() && !(self.served_packets)(packet) {
                self.tally.out.drop(DropReason::QueueFull, 1);
            }
        }
    }

    /// Hands a packet to the core's own flows.
    pub(super) fn hand_own(&self, packet: Vec<u8>, direction: &Direction) {
        if self.own_packets.try_send(packet).is_err() {
            direction.drop(DropReason::QueueFull, 1);
        }
    }
}

/// Why a run that the device did not take is gone.
pub(super) fn refusal(error: &io::Error) -> DropReason {
    match error.kind() {
        io::ErrorKind::WouldBlock => DropReason::QueueFull,
        _ => DropReason::SystemError,
    }
}

/// Whether the system had no memory or no room in a queue, which passes.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}
