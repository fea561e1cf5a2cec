//! The thread from the TUN to the network.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use weft_model::DropReason;
use weft_packet::{Batch, IcmpKind, Run, icmp};
use weft_policy::Verdict;
use weft_tunnel::{MAX_DATAGRAM_BATCH, Outbox, Sealed};

use super::QUIET;
use super::shared::{Patience, Shared, refusal};
use super::verdicts::{IcmpLimit, reason};
use super::wait::wait;
use crate::pool::{Pool, RUN_BUFFER};
use crate::tun::TunInput;

/// Buffers that the thread keeps: a run is sealed and its buffer free before the next is read.
const KEPT: usize = 2;

/// Bytes that are sealed before what is full of them is sent. Less than one run, so that under load each run is
/// followed by a send; more than small packets, which are gathered.
const SEND_AT: usize = 32 << 10;

/// Runs that are sealed before everything is sent, however small: bounds what the first one waits.
const RUNS_AT: usize = 64;

/// Full sends that are sealed before they go: with packets of ever other lengths each is a send of its own, and
/// waiting gains nothing.
const SENDS_AT: usize = 4;

/// Runs that are still read from a device after another has taken its place: more than a TUN's own queue holds (500).
const LAST_RUNS: usize = 1024;

/// What the thread may hold: its buffers, one that a batch holds, and the sealed bytes of its sends and of one run,
/// which takes two.
pub(super) const MEMORY: usize = (KEPT + 1) * RUN_BUFFER + (SENDS_AT + 2) * MAX_DATAGRAM_BATCH;

pub(super) struct Outward {
    shared: Arc<Shared>,
    input: Box<dyn TunInput>,
    /// What is read once `input` has no more, and how many runs that one may still have.
    next: Option<(Box<dyn TunInput>, usize)>,
    pool: Pool,
    batch: Batch,
    outbox: Outbox,
    /// A run that a stream had no room for.
    blocked: Option<Run>,
    sealed_bytes: usize,
    sealed_runs: usize,
    icmp: IcmpLimit,
}

impl Outward {
    pub(super) fn new(shared: Arc<Shared>, input: Box<dyn TunInput>) -> Self {
        Self {
            shared,
            input,
            next: None,
            pool: Pool::new(RUN_BUFFER, KEPT),
            batch: Batch::new(),
            outbox: Outbox::new(),
            blocked: None,
            sealed_bytes: 0,
            sealed_runs: 0,
            icmp: IcmpLimit::new(Instant::now()),
        }
    }

    pub(super) fn run(mut self) {
        let mut alive = true;
        while !self.shared.stopped() {
            if let Some(run) = self.blocked.take() {
                self.seal(run, Instant::now());
            }
            if let Some(input) = self.shared.take_next_input() {
                self.next = Some((input, LAST_RUNS));
            }
            if self.blocked.is_none() && self.moves_on(alive) {
                alive = true;
            }
            let read = match (alive, &self.blocked) {
                (true, None) => self.input.read(&mut self.pool, &mut self.batch),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            };
            match read {
                Err(error) if self.next.is_some() && self.blocked.is_none() && is_end(&error) => {
                    alive = false
                }
                Ok(()) => self.take_batch(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.send();
                    self.idle(alive);
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.shared.tally.out.drop(DropReason::Malformed, 1);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.shared.fail_device("the tunnel interface gives no more packets", &error);
                    alive = false;
                }
            }
        }
    }

    /// Takes the next device for the present one, which is closed, where there is one and the present one has given its
    /// last packets. Says whether it did.
    fn moves_on(&mut self, alive: bool) -> bool {
        if let Some((_, left @ 1..)) = &mut self.next
            && alive
        {
            *left -= 1;
            return false;
        }
        let Some((input, _)) = self.next.take() else { return false };
        self.input = input;
        true
    }

    fn take_batch(&mut self) {
        let now = Instant::now();
        let shared = Arc::clone(&self.shared);
        let verdicts = shared.verdicts.load();
        let mut batch = std::mem::take(&mut self.batch);
        for run in batch.drain(..) {
            match verdicts.judge(&run) {
                Verdict::Tunnel => {
                    self.shared.claims.yield_to(run.packet());
                    self.seal(run, now);
                }
                Verdict::Own => {
                    self.shared.serve(&run);
                    self.pool.give_back(run.into_buffer());
                }
                Verdict::Refuse(kind) => {
                    self.shared.tally.out.drop(reason(kind), run.segments());
                    self.refuse(&run, kind, now);
                    self.pool.give_back(run.into_buffer());
                }
                Verdict::Drop(reason) => self.drop_run(run, reason),
            }
        }
        self.batch = batch;
    }

    fn seal(&mut self, run: Run, now: Instant) {
        let (packets, bytes) = (run.segments(), run.packet().len());
        let nudge = match self.shared.outbound.seal(run, now, &mut self.outbox) {
            Sealed::Done(run, nudge) => {
                self.pool.give_back(run.into_buffer());
                nudge
            }
            Sealed::Held(nudge) => nudge,
            Sealed::Blocked(run) => {
                self.blocked = Some(run);
                return;
            }
            // The transport has counted it.
            Sealed::Dropped(run, _, nudge) => {
                self.pool.give_back(run.into_buffer());
                self.shared.nudge(nudge);
                return;
            }
        };
        self.sealed_bytes += bytes;
        self.sealed_runs += 1;
        self.shared.tally.out.pass(packets, bytes);
        self.shared.tally.out.run();
        self.shared.nudge(nudge);
        if self.sealed_runs >= RUNS_AT {
            self.send();
        } else if self.sealed_bytes >= SEND_AT || self.outbox.settled().count() >= SENDS_AT {
            // What is left joins the next run, or goes when the device has no more.
            self.shared.send_settled(&mut self.outbox, Patience::Unbounded);
            self.sealed_bytes = 0;
        }
    }

    fn drop_run(&mut self, run: Run, reason: DropReason) {
        self.shared.tally.out.drop(reason, run.segments());
        self.pool.give_back(run.into_buffer());
    }

    /// Answers a run's sender.
    fn refuse(&mut self, run: &Run, kind: IcmpKind, now: Instant) {
        let mut bytes = [0; icmp::LONGEST_REPLY];
        if !self.icmp.allows(now) {
            return;
        }
        let reply = icmp::reply(run, kind, None, &mut bytes)
            .and_then(|len| bytes.get(..len))
            .and_then(|reply| Run::from_packet(reply).ok());
        if let Some(mut reply) = reply {
            let output = self.shared.output.load();
            match output.write(&mut reply) {
                Ok(()) => output.flush(),
                Err(error) => self.shared.tally.out.drop(refusal(&error), 1),
            }
        }
    }

    fn send(&mut self) {
        self.shared.send(&mut self.outbox, Patience::Unbounded);
        self.sealed_bytes = 0;
        self.sealed_runs = 0;
    }

    /// Sleeps until there is something to do. After a quiet time it frees its memory, then sleeps without limit.
    fn idle(&mut self, alive: bool) {
        let watched = if alive && self.blocked.is_none() { 2 } else { 1 };
        let mut limit = Some(QUIET);
        loop {
            let mut fds = [
                PollFd::new(&self.shared.out_waker, PollFlags::IN),
                PollFd::from_borrowed_fd(self.input.readiness(), PollFlags::IN),
            ];
            match wait(fds.get_mut(..watched).unwrap_or_default(), limit) {
                Ok(true) => break,
                Ok(false) => {
                    self.pool.release();
                    self.outbox = Outbox::new();
                    self.input.release();
                    limit = None;
                }
                Err(error) => {
                    self.shared.fail("waiting for packets", &error);
                    limit = Some(Duration::from_secs(1));
                }
            }
        }
        self.shared.out_waker.clear();
    }
}

/// Whether a device gives no more: it has nothing, or is gone.
fn is_end(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Interrupted)
}
