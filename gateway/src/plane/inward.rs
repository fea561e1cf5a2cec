//! The thread from the network to the TUN.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use weft_model::DropReason;
use weft_packet::{Buffer, Coalescer, Offload, Run, RunSink, coalesce, translate};
use weft_runtime::data_plane::{is_ready, wait};
use weft_runtime::pool::{Pool, RUN_BUFFER};
use weft_runtime::sockets::ReceiveBuffers;
use weft_runtime::tun::TunOutput;
use weft_tunnel::Nudge;
use weft_tunnel::wireguard::{PeerId, PeerSink};

use super::peers::{Peer, PeerTable};
use super::{QUIET, Shared};
use crate::addresses::SHARED_V4;

/// Buffers that the thread keeps: one for each flow's run that is being made, and one for a packet that goes alone.
const KEPT: usize = coalesce::MAX_FLOWS + 1;
/// How often one socket is read before the others have their turn.
const TURN: usize = 16;

pub(super) struct Inward {
    shared: Arc<Shared>,
    buffers: ReceiveBuffers,
    coalescer: Coalescer,
    pool: Pool,
}

impl Inward {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let coalescer = Coalescer::new(shared.device.offload().merge());
        Self { shared, buffers: ReceiveBuffers::new(), coalescer, pool: Pool::new(RUN_BUFFER, KEPT) }
    }

    pub(super) fn run(mut self) {
        while !self.shared.stopped() {
            for socket in self.wait() {
                self.drain(socket);
            }
        }
    }

    /// Sleeps until sockets have something, and says which. After a quiet time the thread frees its memory, then
    /// sleeps without limit.
    fn wait(&mut self) -> Vec<usize> {
        let shared = Arc::clone(&self.shared);
        let mut limit = Some(QUIET);
        while !shared.stopped() {
            let mut fds: Vec<_> =
                shared.sockets.all().iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
            fds.push(PollFd::new(&shared.in_waker, PollFlags::IN));
            match wait(&mut fds, limit) {
                Ok(true) => {
                    let ready = fds.iter().enumerate().filter(|(_, fd)| is_ready(fd));
                    return ready.map(|(place, _)| place).collect();
                }
                Ok(false) => {
                    self.pool.release();
                    self.buffers.release();
                    limit = None;
                }
                Err(error) => {
                    shared.fail("waiting for datagrams", &error);
                    limit = Some(QUIET);
                    std::thread::sleep(QUIET);
                }
            }
        }
        Vec::new()
    }

    /// Opens what a socket has, until it has no more or others should have their turn.
    fn drain(&mut self, place: usize) {
        let shared = Arc::clone(&self.shared);
        // The place behind the sockets is the waker's.
        let Some(socket) = shared.sockets.all().get(place) else { return };
        for _ in 0..TURN {
            let datagrams = match socket.receive(&mut self.buffers) {
                Ok(datagrams) => datagrams,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    // A word of the system's about something that was sent; receiving goes on.
                    shared.counters.inward.drop(DropReason::SystemError, 1);
                    continue;
                }
            };
            let now = Instant::now();
            let table = shared.peers.load();
            let writer = Writer { shared: &shared, pool: &mut self.pool };
            let mut sink = Sink {
                table: &table,
                last: None,
                coalescer: &mut self.coalescer,
                writer,
                packets: 0,
                bytes: 0,
            };
            let mut nudge = Nudge::None;
            for arrival in datagrams {
                let id = shared.sockets.id(place, arrival.to);
                let (from, data, stride) = (arrival.from, arrival.data, arrival.stride);
                if shared.responder.open(id, from, data, stride, now, &mut sink) == Nudge::Control {
                    nudge = Nudge::Control;
                }
            }
            sink.finish();
            shared.nudge(nudge);
            if shared.stopped() {
                return;
            }
        }
    }
}

/// Takes packets as they are opened.
struct Sink<'a> {
    table: &'a PeerTable,
    /// Whose packet the last one was: mostly the next one's too.
    last: Option<&'a Arc<Peer>>,
    coalescer: &'a mut Coalescer,
    writer: Writer<'a>,
    packets: usize,
    bytes: usize,
}

impl<'a> Sink<'a> {
    fn finish(mut self) {
        self.coalescer.flush(&mut self.writer);
        self.writer.shared.device.flush();
        self.writer.shared.counters.inward.pass(self.packets, self.bytes);
    }

    fn peer(&mut self, id: PeerId) -> Option<&'a Arc<Peer>> {
        if self.last.is_none_or(|last| last.id != id) {
            self.last = self.table.with_id(id);
        }
        self.last
    }

    fn take(&mut self, id: PeerId, packet: &mut [u8]) -> Result<(), DropReason> {
        // The device was cut off a moment ago.
        let peer = self.peer(id).ok_or(DropReason::NoSession)?;
        own_source(peer, packet)?;
        self.coalescer.push(packet, &mut self.writer).map_err(|_| DropReason::Malformed)
    }
}

impl PeerSink for Sink<'_> {
    fn packet(&mut self, peer: PeerId, packet: &mut [u8]) {
        match self.take(peer, packet) {
            Ok(()) => {
                self.packets += 1;
                self.bytes += packet.len();
            }
            Err(reason) => self.writer.shared.counters.inward.drop(reason, 1),
        }
    }

    fn dropped(&mut self, _: DropReason) {
        // The tunnel has counted it.
    }
}

/// Gives a packet from the shared address its device's own. The tunnel has checked that it is one of the two.
fn own_source(peer: &Peer, packet: &mut [u8]) -> Result<(), DropReason> {
    let Some(source) = v4_source(packet) else { return Ok(()) };
    let shared = source == IpAddr::V4(SHARED_V4);
    peer.note_shared(shared);
    if shared {
        translate::rewrite_source(packet, Offload::default(), peer.slot.v4())
            .map_err(|_| DropReason::Malformed)?;
    }
    Ok(())
}

fn v4_source(packet: &[u8]) -> Option<IpAddr> {
    if packet.first()? >> 4 != 4 {
        return None;
    }
    let bytes: [u8; 4] = *packet.get(12..)?.first_chunk()?;
    Some(IpAddr::V4(Ipv4Addr::from(bytes)))
}

/// Writes runs to the TUN.
struct Writer<'a> {
    shared: &'a Shared,
    pool: &'a mut Pool,
}

impl RunSink for Writer<'_> {
    fn lend(&mut self) -> Buffer {
        self.pool.lend()
    }

    fn run(&mut self, mut run: Run) {
        if self.shared.device.write(&mut run).is_err() {
            self.shared.counters.inward.drop(DropReason::SystemError, run.segments());
        }
        self.pool.give_back(run.into_buffer());
    }
}
