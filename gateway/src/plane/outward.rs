//! The thread from the TUN to the network.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use weft_model::DropReason;
use weft_packet::{Batch, Run, translate};
use weft_runtime::data_plane::wait;
use weft_runtime::pool::{Pool, RUN_BUFFER};
use weft_runtime::tun::{TunDevice, TunInput};
use weft_tunnel::{Nudge, Outbox, Sealed};

use super::peers::PeerTable;
use super::{QUIET, Shared};
use crate::addresses::SHARED_V4;

/// Buffers that the thread keeps: a run is sealed and its buffer free before the next is read.
const KEPT: usize = 2;
/// Bytes that are sealed before they are sent.
const SEND_AT: usize = 32 << 10;
/// Runs that are sealed before they are sent, however small: bounds what the first one waits.
const RUNS_AT: usize = 32;

pub(super) struct Outward {
    shared: Arc<Shared>,
    input: TunDevice,
    pool: Pool,
    batch: Batch,
    outbox: Outbox,
    sealed_bytes: usize,
    sealed_runs: usize,
}

impl Outward {
    pub(super) fn new(shared: Arc<Shared>, input: TunDevice) -> Self {
        Self {
            shared,
            input,
            pool: Pool::new(RUN_BUFFER, KEPT),
            batch: Batch::new(),
            outbox: Outbox::new(),
            sealed_bytes: 0,
            sealed_runs: 0,
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.stopped() {
            match self.input.read(&mut self.pool, &mut self.batch) {
                Ok(()) => self.take_batch(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.send();
                    self.idle();
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.shared.counters.outward.drop(DropReason::Malformed, 1);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return self.shared.fail("the tunnel interface gives no more packets", &error);
                }
            }
        }
    }

    fn take_batch(&mut self) {
        let now = Instant::now();
        let shared = Arc::clone(&self.shared);
        let table = shared.peers.load();
        let mut batch = std::mem::take(&mut self.batch);
        for run in batch.drain(..) {
            self.take(run, &table, now);
        }
        self.batch = batch;
        if self.sealed_bytes >= SEND_AT || self.sealed_runs >= RUNS_AT {
            self.send();
        }
    }

    fn take(&mut self, mut run: Run, table: &PeerTable, now: Instant) {
        let Some(peer) = destination(run.packet()).and_then(|address| table.at(address)) else {
            return self.drop_run(run, DropReason::NotForUs);
        };
        let offload = run.offload();
        let is_v4 = run.packet().first().is_some_and(|first| first >> 4 == 4);
        if is_v4
            && peer.is_shared()
            && translate::rewrite_destination(run.packet_mut(), offload, SHARED_V4).is_err()
        {
            return self.drop_run(run, DropReason::Malformed);
        }
        let (packets, bytes) = (run.segments(), run.packet().len());
        let nudge = match self.shared.responder.seal(peer.id, run, now, &mut self.outbox) {
            Sealed::Done(run, nudge) => {
                self.pool.give_back(run.into_buffer());
                nudge
            }
            Sealed::Held(nudge) => nudge,
            // Datagram sockets never block a seal.
            Sealed::Blocked(run) => {
                self.drop_run(run, DropReason::QueueFull);
                return;
            }
            Sealed::Dropped(run, _, nudge) => {
                // The tunnel has counted it.
                self.pool.give_back(run.into_buffer());
                return self.nudge(nudge);
            }
        };
        self.sealed_bytes += bytes;
        self.sealed_runs += 1;
        self.shared.counters.outward.pass(packets, bytes);
        self.nudge(nudge);
    }

    fn nudge(&self, nudge: Nudge) {
        self.shared.nudge(nudge);
    }

    fn drop_run(&mut self, run: Run, reason: DropReason) {
        self.shared.counters.outward.drop(reason, run.segments());
        self.pool.give_back(run.into_buffer());
    }

    fn send(&mut self) {
        self.shared.sockets.send(&mut self.outbox, &self.shared.counters.outward);
        self.sealed_bytes = 0;
        self.sealed_runs = 0;
    }

    /// Sleeps until there is something to do. After a quiet time it frees its memory, then sleeps without limit.
    fn idle(&mut self) {
        let mut limit = Some(QUIET);
        while !self.shared.stopped() {
            let mut fds = [
                PollFd::new(&self.shared.out_waker, PollFlags::IN),
                PollFd::from_borrowed_fd(self.input.readiness(), PollFlags::IN),
            ];
            match wait(&mut fds, limit) {
                Ok(true) => return,
                Ok(false) => {
                    self.pool.release();
                    self.outbox = Outbox::new();
                    limit = None;
                }
                Err(error) => {
                    self.shared.fail("waiting for packets", &error);
                    std::thread::sleep(QUIET);
                }
            }
        }
    }
}

fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => packet.get(16..)?.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes).into()),
        6 => packet.get(24..)?.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes).into()),
        _ => None,
    }
}
