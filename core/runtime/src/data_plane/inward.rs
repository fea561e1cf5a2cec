//! The thread from the network to the TUN.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use weft_model::DropReason;
use weft_packet::{Buffer, Coalescer, Merge, Run, RunSink, coalesce};
use weft_tunnel::{Inbound, Nudge, PacketSink, Received, SocketId};

use super::shared::{Shared, Sockets, refusal};
use super::wait::{is_ready, wait};
use super::{MAX_SOCKETS, QUIET};
use crate::pool::{Pool, RUN_BUFFER};
use crate::sockets::{ReceiveBuffers, UdpSocket};
use crate::tun::TunOutput;

/// Buffers that the thread keeps: one for each flow's run that is being made, and one for a packet that goes alone.
const KEPT: usize = coalesce::MAX_FLOWS + 1;

/// What the thread may hold.
pub(super) const MEMORY: usize = KEPT * RUN_BUFFER + crate::sockets::RECEIVE_MEMORY;

/// How often one socket is read before the others have their turn.
const TURN: usize = 16;

pub(super) struct Inward {
    shared: Arc<Shared>,
    inbound: Box<dyn Inbound>,
    buffers: ReceiveBuffers,
    coalescer: Coalescer,
    /// What the coalescer may merge.
    merge: Merge,
    pool: Pool,
}

impl Inward {
    pub(super) fn new(shared: Arc<Shared>, inbound: Box<dyn Inbound>) -> Self {
        let merge = shared.output.load().offload().merge();
        let (coalescer, pool) = (Coalescer::new(merge), Pool::new(RUN_BUFFER, KEPT));
        Self { shared, inbound, buffers: ReceiveBuffers::new(), coalescer, merge, pool }
    }

    pub(super) fn run(mut self) {
        while !self.shared.stopped() {
            let sockets = self.shared.sockets.load_full();
            let ready = self.wait(&sockets);
            for ((id, socket), ready) in sockets.iter().zip(ready) {
                if ready {
                    self.drain(*id, socket);
                }
            }
        }
    }

    /// Sleeps until a socket has something or the sockets change. After a quiet time it frees its memory, then sleeps
    /// without limit.
    fn wait(&mut self, sockets: &Sockets) -> [bool; MAX_SOCKETS] {
        let shared = Arc::clone(&self.shared);
        let mut limit = Some(QUIET);
        loop {
            let mut fds: [PollFd<'_>; MAX_SOCKETS + 1] = std::array::from_fn(|place| {
                match place.checked_sub(1).and_then(|place| sockets.get(place)) {
                    Some((_, socket)) => PollFd::new(&**socket, PollFlags::IN),
                    None => PollFd::new(&shared.in_waker, PollFlags::IN),
                }
            });
            let watched = fds.split_at_mut(sockets.len().min(MAX_SOCKETS) + 1).0;
            match wait(watched, limit) {
                Ok(true) => {}
                Ok(false) => {
                    self.pool.release();
                    self.buffers.release();
                    limit = None;
                    continue;
                }
                Err(error) => shared.fail("waiting for datagrams", &error),
            }
            if watched.first().is_some_and(is_ready) {
                shared.in_waker.clear();
            }
            return std::array::from_fn(|place| watched.get(place + 1).is_some_and(is_ready));
        }
    }

    /// Opens what a socket has, until it has no more or others should have their turn.
    fn drain(&mut self, id: SocketId, socket: &UdpSocket) {
        for _ in 0..TURN {
            let datagrams = match socket.receive(&mut self.buffers) {
                Ok(datagrams) => datagrams,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    // A word of the system's about something that was sent; receiving goes on.
                    self.shared.tally.inn.drop(DropReason::SystemError, 1);
                    continue;
                }
            };
            let now = Instant::now();
            let output = self.shared.output.load();
            let merge = output.offload().merge();
            if merge != self.merge {
                // Empty between two batches.
                self.coalescer = Coalescer::new(merge);
                self.merge = merge;
            }
            let writer = Writer { shared: &self.shared, output: &***output, pool: &mut self.pool };
            let mut sink = Sink { coalescer: &mut self.coalescer, writer, packets: 0, bytes: 0 };
            let mut nudge = Nudge::None;
            for arrival in datagrams {
                let (from, data, stride) = (arrival.from, arrival.data, arrival.stride);
                let received = Received::Datagrams { socket: id, from, data, stride };
                if self.inbound.open(received, now, &mut sink).nudge == Nudge::Control {
                    nudge = Nudge::Control;
                }
            }
            sink.finish();
            self.shared.nudge(nudge);
            if self.shared.stopped() {
                return;
            }
        }
    }
}

/// Takes packets as they are opened.
struct Sink<'a> {
    coalescer: &'a mut Coalescer,
    writer: Writer<'a>,
    packets: usize,
    bytes: usize,
}

impl Sink<'_> {
    fn finish(mut self) {
        self.coalescer.flush(&mut self.writer);
        self.writer.output.flush();
        self.writer.shared.tally.inn.pass(self.packets, self.bytes);
    }
}

impl PacketSink for Sink<'_> {
    fn packet(&mut self, packet: &mut [u8]) {
        self.packets += 1;
        self.bytes += packet.len();
        let shared = self.writer.shared;
        if shared.claims.take(packet) {
            shared.hand_own(packet.to_vec(), &shared.tally.inn);
        } else if self.coalescer.push(packet, &mut self.writer).is_err() {
            shared.tally.inn.drop(DropReason::Malformed, 1);
        }
    }

    /// The transport has counted it.
    fn dropped(&mut self, _reason: DropReason) {}
}

/// Writes runs to the TUN.
struct Writer<'a> {
    shared: &'a Shared,
    /// The device of this batch, whatever takes its place meanwhile.
    output: &'a dyn TunOutput,
    pool: &'a mut Pool,
}

impl RunSink for Writer<'_> {
    fn lend(&mut self) -> Buffer {
        self.pool.lend()
    }

    fn run(&mut self, mut run: Run) {
        match self.output.write(&mut run) {
            Ok(()) => self.shared.tally.inn.run(),
            Err(error) => self.shared.tally.inn.drop(refusal(&error), run.segments()),
        }
        self.pool.give_back(run.into_buffer());
    }
}
