//! From the device: the host sends, the data plane's thread reads.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use weft_packet::{Batch, HEAD_ROOM, Offload, Run};

use super::packets::Packets;
use super::{QUEUE_BYTES, QUEUE_PACKETS, QueueError};
use crate::data_plane::Waker;
use crate::lock::lock;
use crate::pool::Pool;
use crate::tun::TunInput;

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct State {
    filling: Packets,
    readers: usize,
    /// A reader found nothing and waits to be woken.
    sleeps: bool,
    closed: bool,
}

impl Shared {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { state: Mutex::default(), waker: Waker::new()? })
    }

    pub(super) fn send(&self, packets: &[u8], offsets: &[u32]) -> Result<usize, QueueError> {
        let mut state = self.lock();
        if state.closed {
            return Err(QueueError::Closed);
        }
        let offered = offsets.len().saturating_sub(1);
        if state.readers == 0 {
            // Whoever offers again until all is taken would never end.
            return Ok(offered);
        }
        let (bytes, count) = state.filling.held();
        let room = QUEUE_BYTES.saturating_sub(bytes);
        let fit = offsets.partition_point(|offset| *offset as usize <= room).saturating_sub(1);
        let taken = fit.min(QUEUE_PACKETS.saturating_sub(count)).min(offered);
        state.filling.extend(packets, offsets.get(..=taken).unwrap_or_default());
        let wakes = taken > 0 && std::mem::take(&mut state.sleeps);
        drop(state);
        if wakes {
            self.waker.wake();
        }
        Ok(taken)
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.filling.release();
        drop(state);
        self.waker.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn clear(&self) {
        self.lock().filling.release();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// The core's end of what comes from the device.
#[derive(Debug)]
pub struct QueueInput {
    shared: Arc<Shared>,
    /// What was taken out of the queue and is handed on one by one.
    taken: Packets,
    /// Nothing was there when it was last looked.
    slept: bool,
}

impl QueueInput {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        shared.lock().readers += 1;
        Self { shared, taken: Packets::default(), slept: false }
    }

    /// Takes all that waits in exchange for the memory of what was taken before.
    fn refill(&mut self) -> io::Result<()> {
        if self.slept {
            self.shared.waker.clear();
            self.slept = false;
        }
        self.taken.clear();
        let mut state = self.shared.lock();
        if state.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if state.filling.is_empty() {
            state.sleeps = true;
            self.slept = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        std::mem::swap(&mut state.filling, &mut self.taken);
        Ok(())
    }
}

impl Drop for QueueInput {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.readers = state.readers.saturating_sub(1);
        if state.readers == 0 {
            // Programs have given up on it by the time that somebody reads again.
            state.filling.release();
        }
    }
}

impl TunInput for QueueInput {
    fn read(&mut self, pool: &mut Pool, batch: &mut Batch) -> io::Result<()> {
        if self.taken.is_empty() {
            self.refill()?;
        }
        let Some(packet) = self.taken.peek() else { return Err(io::ErrorKind::WouldBlock.into()) };
        let (mut buffer, len) = (pool.lend(), packet.len());
        let Some(room) = buffer.get_mut(HEAD_ROOM..HEAD_ROOM + len) else {
            pool.give_back(buffer);
            self.taken.skip();
            return Err(io::ErrorKind::InvalidData.into());
        };
        room.copy_from_slice(packet);
        self.taken.skip();
        let run = Run::new(buffer, len, Offload::default()).map_err(|_| io::ErrorKind::InvalidData)?;
        batch.push(run);
        Ok(())
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.shared.waker.as_fd()
    }

    fn release(&mut self) {
        if self.taken.is_empty() {
            self.taken.release();
        }
        let mut state = self.shared.lock();
        if state.filling.is_empty() {
            state.filling.release();
        }
    }
}
