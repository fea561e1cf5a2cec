//! To the device: the data plane's threads write, the host receives.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use weft_packet::Run;

use super::packets::Packets;
use super::{PacketBatch, QUEUE_BYTES, QUEUE_PACKETS, QUIET, QueueError};
use crate::lock::lock;
use crate::tun::{TunOffload, TunOutput};

#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// What a host that brings its own memory has taken out and not copied yet. Locked before `state`.
    taken: Mutex<Packets>,
    /// Wakes threads that wait.
    filled: Condvar,
    /// Wakes futures that wait.
    told: Notify,
}

#[derive(Debug, Default)]
struct State {
    filling: Packets,
    threads: usize,
    /// A future waits.
    futures: bool,
    closed: bool,
}

impl Shared {
    /// Adds a packet where there is room.
    fn write(&self, packet: &[u8]) -> io::Result<()> {
        let mut state = lock(&self.state);
        let (bytes, count) = state.filling.held();
        if state.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if bytes + packet.len() > QUEUE_BYTES || count >= QUEUE_PACKETS {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.filling.push(packet);
        Ok(())
    }

    /// Wakes whoever waits, if anything is there.
    fn flush(&self) {
        let mut state = lock(&self.state);
        if !state.filling.is_empty() {
            self.wake(&mut state);
        }
    }

    fn wake(&self, state: &mut State) {
        if state.threads > 0 {
            self.filled.notify_all();
        }
        if std::mem::take(&mut state.futures) {
            self.told.notify_waiters();
        }
    }

    pub(super) fn close(&self) {
        lock(&self.taken).release();
        let mut state = lock(&self.state);
        state.closed = true;
        state.filling.release();
        self.wake(&mut state);
    }

    pub(super) fn clear(&self) {
        lock(&self.taken).release();
        lock(&self.state).filling.release();
    }

    /// All that is there; none where nothing is.
    fn take(state: &mut State) -> Result<Option<Packets>, QueueError> {
        if state.closed {
            return Err(QueueError::Closed);
        }
        Ok((!state.filling.is_empty()).then(|| std::mem::take(&mut state.filling)))
    }

    /// What a host with memory of its own has left over comes first.
    fn take_left(&self) -> Option<PacketBatch> {
        let mut taken = lock(&self.taken);
        (!taken.is_empty()).then(|| std::mem::take(&mut *taken).into_batch())
    }

    pub(super) async fn receive(&self) -> Result<PacketBatch, QueueError> {
        if let Some(left) = self.take_left() {
            return Ok(left);
        }
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            // From here on no word is missed, wherever the future is polled next.
            told.as_mut().enable();
            {
                let mut state = lock(&self.state);
                if let Some(packets) = Self::take(&mut state)? {
                    return Ok(packets.into_batch());
                }
                state.futures = true;
            }
            told.await;
        }
    }

    pub(super) fn receive_blocking(&self, timeout: Duration) -> Result<PacketBatch, QueueError> {
        if let Some(left) = self.take_left() {
            return Ok(left);
        }
        let mut state = self.wait(timeout)?;
        Ok(Self::take(&mut state)?.map(Packets::into_batch).unwrap_or_default())
    }

    pub(super) fn receive_into(
        &self,
        bytes: &mut [u8],
        offsets: &mut [u32],
        timeout: Duration,
    ) -> Result<usize, QueueError> {
        if lock(&self.taken).is_empty() {
            // Nobody else is kept from the packets by a thread that waits for them.
            drop(self.wait(timeout)?);
        }
        let mut taken = lock(&self.taken);
        if taken.is_empty() {
            taken.clear();
            let mut state = lock(&self.state);
            if state.closed {
                return Err(QueueError::Closed);
            }
            std::mem::swap(&mut state.filling, &mut taken);
        }
        copy_out(&mut taken, bytes, offsets)
    }

    /// Waits until something is there or the time is over. After a quiet time the memory is freed.
    fn wait(&self, timeout: Duration) -> Result<MutexGuard<'_, State>, QueueError> {
        let mut state = lock(&self.state);
        if !state.filling.is_empty() || state.closed || timeout.is_zero() {
            return if state.closed { Err(QueueError::Closed) } else { Ok(state) };
        }
        // A time beyond the clock's end is no limit.
        let begun = Instant::now();
        let mut released = false;
        state.threads += 1;
        while state.filling.is_empty() && !state.closed {
            let Some(left) = timeout.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) else {
                break;
            };
            let nap = if released { left } else { left.min(QUIET) };
            let (back, result) = self.filled.wait_timeout(state, nap).unwrap_or_else(PoisonError::into_inner);
            state = back;
            if result.timed_out() && !released && state.filling.is_empty() {
                released = true;
                state.filling.release();
                state = self.release_taken(state);
            }
        }
        state.threads -= 1;
        if state.closed { Err(QueueError::Closed) } else { Ok(state) }
    }

    /// Frees what only memory was kept for, in the order of the locks.
    fn release_taken<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        drop(state);
        let mut taken = lock(&self.taken);
        if taken.is_empty() {
            taken.release();
        }
        drop(taken);
        lock(&self.state)
    }
}

/// Copies what fits.
fn copy_out(taken: &mut Packets, bytes: &mut [u8], offsets: &mut [u32]) -> Result<usize, QueueError> {
    let Some((first, places)) = offsets.split_first_mut() else { return Err(QueueError::BadOffsets) };
    *first = 0;
    let (mut end, mut count) = (0, 0);
    for place in places {
        let Some(packet) = taken.peek() else { break };
        let Some(room) = bytes.get_mut(end..end + packet.len()) else {
            if count == 0 {
                return Err(QueueError::NoRoom { needed: packet.len() });
            }
            break;
        };
        room.copy_from_slice(packet);
        end += packet.len();
        *place = u32::try_from(end).unwrap_or(u32::MAX);
        count += 1;
        taken.skip();
    }
    Ok(count)
}

/// The core's end of what goes to the device. A queue that is full drops.
#[derive(Debug)]
pub struct QueueOutput {
    shared: Arc<Shared>,
}

impl QueueOutput {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl TunOutput for QueueOutput {
    fn write(&self, run: &mut Run) -> io::Result<()> {
        self.shared.write(run.packet())
    }

    fn flush(&self) {
        self.shared.flush();
    }

    fn offload(&self) -> TunOffload {
        TunOffload::default()
    }
}
