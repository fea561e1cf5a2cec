//! Packets through a queue: for hosts that own the packet flow and hand it over in batches.
//!
//! A batch is one piece of memory and the places where its packets begin, both ways. Each side takes a lock once a
//! batch (the data plane's writer once a packet, which nobody else holds for long), and wakes the other only where it
//! sleeps. Packets are copied once on their way in and once on their way out; nothing is allocated a packet.

mod input;
mod output;
mod packets;

use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use input::QueueInput;
pub use output::QueueOutput;
use packets::LONGEST_PACKET;

/// Bytes that may wait in one direction: 20 ms at 100 Mbit/s, or 192 packets of the usual 1,280 bytes and their rest,
/// and never less than the longest packet.
pub const QUEUE_BYTES: usize = 256 << 10;

/// Packets that may wait in one direction: as many as fill [`QUEUE_BYTES`] at 256 bytes each.
pub const QUEUE_PACKETS: usize = 1024;

/// Memory of one piece of a queue. A `Vec` that grows has up to twice what is asked of it.
const PIECE: usize = 2 * (QUEUE_BYTES + QUEUE_PACKETS * size_of::<u32>());

/// The most memory that a queue takes: in each direction one piece that is filled while the other is emptied.
pub const QUEUE_MEMORY: usize = 4 * PIECE;

// An iOS extension lives on 50 MB in all, and a session on 15 MB, of which packets that wait may take a part.
const _: () = assert!(QUEUE_MEMORY <= 3 << 20);
const _: () = assert!(QUEUE_BYTES >= LONGEST_PACKET);

/// How long nothing comes before a queue frees its memory.
const QUIET: Duration = Duration::from_secs(2);

/// Why packets were not handed over. None of a refused batch was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The queue was closed, by either side.
    #[error("the packet queue is closed")]
    Closed,
    /// The offsets do not cut the bytes into packets: the first must be 0, the last the number of bytes, and none
    /// may be below the one before it.
    #[error("the offsets do not cut the bytes into packets")]
    BadOffsets,
    /// A packet has no bytes, or more than an IP packet can have.
    #[error("a packet of {length} bytes is no IP packet")]
    BadPacket {
        /// Its length in bytes.
        length: usize,
    },
    /// The caller's memory does not take the next packet, which waits on.
    #[error("the next packet takes {needed} bytes")]
    NoRoom {
        /// Its length in bytes.
        needed: usize,
    },
}

/// Packets from the tunnel for the device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PacketBatch {
    /// The packets, end to end.
    pub packets: Vec<u8>,
    /// Where each begins, and last the number of bytes: one more than there are packets. Empty where nothing is.
    pub offsets: Vec<u32>,
}

impl PacketBatch {
    /// How many packets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each packet.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.offsets.iter().skip(1);
        self.offsets.iter().zip(ends).filter_map(|(start, end)| {
            self.packets.get(usize::try_from(*start).ok()?..usize::try_from(*end).ok()?)
        })
    }
}

/// The host's end of a queue of packets. Its clones are the same queue.
///
/// It may be used from any thread. [`send`](Self::send) never waits.
#[derive(Debug, Clone)]
pub struct PacketQueue {
    input: Arc<input::Shared>,
    output: Arc<output::Shared>,
}

impl PacketQueue {
    /// An empty queue.
    ///
    /// # Errors
    /// The system gives no descriptor to wake a reader by.
    pub fn new() -> io::Result<Self> {
        Ok(Self { input: Arc::new(input::Shared::new()?), output: Arc::default() })
    }

    /// The core's end, as a data plane takes it. There may be several at once while one takes another's place.
    #[must_use]
    pub fn ends(&self) -> (QueueInput, QueueOutput) {
        (QueueInput::new(Arc::clone(&self.input)), QueueOutput::new(Arc::clone(&self.output)))
    }

    /// Hands packets of the device over: `offsets` has an entry for the start of each in `packets`, the first 0, and
    /// one more for the end of the last. Says how many were taken, from the first on; the rest found the queue full,
    /// and may be offered again or be dropped. While no tunnel reads, all of them are dropped here and count as taken,
    /// and so is what waits when the last one that reads ends.
    ///
    /// # Errors
    /// [`QueueError`]: closed, or a batch that cannot be; none of it was taken then.
    pub fn send(&self, packets: &[u8], offsets: &[u32]) -> Result<usize, QueueError> {
        packets::check(packets.len(), offsets)?;
        self.input.send(packets, offsets)
    }

    /// Waits for packets for the device and takes all that are there, at least one. Dropping the future loses none.
    /// Needs no runtime of its own.
    ///
    /// # Errors
    /// [`QueueError::Closed`].
    pub async fn receive(&self) -> Result<PacketBatch, QueueError> {
        self.output.receive().await
    }

    /// The same, in a thread that waits for `timeout` at most: none where nothing came.
    ///
    /// # Errors
    /// [`QueueError::Closed`].
    pub fn receive_blocking(&self, timeout: Duration) -> Result<PacketBatch, QueueError> {
        self.output.receive_blocking(timeout)
    }

    /// The same into memory of the caller's: as many packets as `bytes` holds and `offsets` has places for, one more
    /// than there are packets. Says how many; 0 where nothing came in time.
    ///
    /// # Errors
    /// [`QueueError::Closed`], or [`QueueError::NoRoom`] where not even one fits.
    pub fn receive_into(
        &self,
        bytes: &mut [u8],
        offsets: &mut [u32],
        timeout: Duration,
    ) -> Result<usize, QueueError> {
        self.output.receive_into(bytes, offsets, timeout)
    }

    /// Ends both directions and frees their memory: whoever waits hears of it, and a data plane takes it for an
    /// interface that is gone.
    pub fn close(&self) {
        self.input.close();
        self.output.close();
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.input.is_closed()
    }

    /// Forgets what waits in either direction: the interface is gone, and its packets with it.
    pub fn clear(&self) {
        self.input.clear();
        self.output.clear();
    }
}

#[cfg(test)]
mod tests;
