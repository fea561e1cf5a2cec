//! The buffers of one thread.

use weft_packet::{Buffer, Run};

/// Bytes of a buffer that takes the longest IP packet with its room.
pub const RUN_BUFFER: usize = Run::buffer_len(65_535);

/// Lends buffers of one length and keeps a few of those that come back. It belongs to one thread, so that lending
/// takes no lock; a buffer may come back to another pool than it left.
#[derive(Debug)]
pub struct Pool {
    free: Vec<Buffer>,
    len: usize,
    most: usize,
}

impl Pool {
    /// An empty pool of buffers of `len` bytes that keeps up to `most`. It takes memory when it first lends.
    #[must_use]
    pub fn new(len: usize, most: usize) -> Self {
        Self { free: Vec::with_capacity(most), len, most }
    }

    /// A buffer. Its bytes may be stale.
    #[must_use]
    pub fn lend(&mut self) -> Buffer {
        self.free.pop().unwrap_or_else(|| vec![0; self.len].into_boxed_slice())
    }

    /// Takes a buffer back, or frees it where the pool has enough or it is of another length.
    pub fn give_back(&mut self, buffer: Buffer) {
        if self.free.len() < self.most && buffer.len() == self.len {
            self.free.push(buffer);
        }
    }

    /// Frees what is not lent: nothing will be needed for a while.
    pub fn release(&mut self) {
        self.free.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_no_more_than_it_may_and_nothing_foreign() {
        let mut pool = Pool::new(100, 2);
        let lent: Vec<_> = (0..4).map(|_| pool.lend()).collect();
        pool.give_back(vec![0; 99].into_boxed_slice());
        for buffer in lent {
            assert_eq!(buffer.len(), 100);
            pool.give_back(buffer);
        }
        assert_eq!(pool.free.len(), 2);
        pool.release();
        assert_eq!(pool.free.len(), 0);
    }
}
