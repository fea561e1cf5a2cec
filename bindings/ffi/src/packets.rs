//! The packet flow, for hosts that own the packets: batches of one piece of memory each, and the places where its
//! packets begin.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use weft_runtime::tun::{PacketQueue, QueueError};

use crate::errors::WeftError;
use crate::panic::Panics;

/// Packets from the tunnel for the device.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct PacketBatch {
    /// The packets, end to end.
    pub packets: Vec<u8>,
    /// Where each begins, the first at 0, and last the number of bytes: one more than there are packets. Empty where
    /// nothing is.
    pub offsets: Vec<u32>,
}

/// The packets of one session, both ways. May be used from any thread; neither direction holds the other up.
///
/// Its queues are bounded ([`weft_runtime::tun::QUEUE_BYTES`] and [`weft_runtime::tun::QUEUE_PACKETS`] each way): a
/// host that does not receive loses packets, as it would on a link that is full.
#[derive(uniffi::Object)]
pub struct PacketFlow {
    queue: PacketQueue,
    panics: Arc<Panics>,
    handle: u64,
}

impl PacketFlow {
    pub(crate) fn new(queue: PacketQueue, panics: Arc<Panics>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let handle = NEXT.fetch_add(1, Ordering::Relaxed);
        let flow = Arc::new(Self { queue, panics, handle });
        flows().insert(handle, Arc::downgrade(&flow));
        flow
    }

    pub(crate) fn queue(&self) -> &PacketQueue {
        &self.queue
    }
}

#[uniffi::export]
impl PacketFlow {
    /// Hands packets of the device to the core: `offsets` has an entry for the start of each in `packets`, the first
    /// 0, and one more for the end of the last. Returns how many were taken, from the first on; the others found the
    /// queue full, and may be offered again or be dropped. While no tunnel reads, all of them are dropped, and count as
    /// taken. Never waits.
    ///
    /// # Errors
    /// [`WeftError::BadPacket`] where a packet has no bytes or more than 65,535, or the offsets do not fit: none was
    /// taken. [`WeftError::Closed`].
    pub fn send(&self, packets: &[u8], offsets: Vec<u32>) -> Result<u32, WeftError> {
        self.panics.guard(|| {
            let taken = self.queue.send(packets, &offsets).map_err(refusal)?;
            Ok(u32::try_from(taken).unwrap_or(u32::MAX))
        })
    }

    /// Waits for packets for the device and takes all that are there, at least one.
    ///
    /// # Errors
    /// [`WeftError::Closed`] once the flow or its session is closed.
    pub async fn receive(&self) -> Result<PacketBatch, WeftError> {
        self.panics.guard_async(async { self.queue.receive().await.map(batch).map_err(refusal) }).await
    }

    /// As [`receive`](Self::receive), holding the calling thread up for `timeout_ms` milliseconds at most; an empty
    /// batch where nothing came.
    ///
    /// # Errors
    /// [`WeftError::Closed`].
    pub fn receive_blocking(&self, timeout_ms: u32) -> Result<PacketBatch, WeftError> {
        let timeout = Duration::from_millis(timeout_ms.into());
        self.panics.guard(|| self.queue.receive_blocking(timeout).map(batch).map_err(refusal))
    }

    /// The number by which the C functions of `weft_packets.h` know this flow. Never another's, also not later.
    pub fn handle(&self) -> u64 {
        self.handle
    }

    /// Ends both directions: whoever waits hears of it, and the tunnel takes it for an interface that is gone.
    pub fn close(&self) {
        self.queue.close();
    }
}

impl Drop for PacketFlow {
    fn drop(&mut self) {
        flows().remove(&self.handle);
        // Nobody can receive any more.
        self.queue.close();
    }
}

fn batch(batch: weft_runtime::tun::PacketBatch) -> PacketBatch {
    let weft_runtime::tun::PacketBatch { packets, offsets } = batch;
    PacketBatch { packets, offsets }
}

fn refusal(error: QueueError) -> WeftError {
    let detail = error.to_string();
    match error {
        QueueError::Closed => WeftError::Closed { detail },
        QueueError::BadOffsets | QueueError::BadPacket { .. } => WeftError::BadPacket { detail },
        QueueError::NoRoom { .. } => WeftError::InvalidInput { detail },
    }
}

type Flows = HashMap<u64, Weak<PacketFlow>>;

/// The flows of this process by their handles: C holds numbers, which may outlive what they stand for.
fn flows() -> MutexGuard<'static, Flows> {
    static FLOWS: LazyLock<Mutex<Flows>> = LazyLock::new(Mutex::default);
    FLOWS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The queue of the flow `handle`; none where it is gone.
pub(crate) fn queue_of(handle: u64) -> Option<PacketQueue> {
    let flow = flows().get(&handle).and_then(Weak::upgrade)?;
    Some(flow.queue.clone())
}
