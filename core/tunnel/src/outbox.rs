//! What a transport wants sent: datagrams gathered for segmentation offload, and bytes of streams.

use std::net::SocketAddr;

use crate::transport::SocketId;

/// The most bytes of one [`Transmit`] of datagrams: the payload of one UDP packet over IPv4, which bounds what the
/// kernel takes for segmentation.
pub const MAX_DATAGRAM_BATCH: usize = 65_507;

/// The most datagrams of one [`Transmit`]: Linux's UDP_MAX_SEGMENTS before 6.9.
pub const MAX_SEGMENTS: usize = 64;

/// Datagrams for one destination that go out by one system call, or the next bytes of a stream.
#[derive(Debug, Default)]
pub struct Transmit {
    /// The socket.
    pub socket: Option<SocketId>,
    /// Where to; none for a stream.
    pub destination: Option<SocketAddr>,
    /// Bytes of each datagram but the last; 0 for a stream.
    pub segment: usize,
    /// Of datagrams: its length only grows, so that room handed out again costs no clearing.
    buffer: Vec<u8>,
    /// How many bytes of `buffer` datagrams fill.
    filled: usize,
}

impl Transmit {
    /// The bytes: datagrams end to end, each `segment` long, the last may be shorter; or those of the stream.
    #[must_use]
    pub fn contents(&self) -> &[u8] {
        match self.destination {
            Some(_) => self.buffer.get(..self.filled).unwrap_or_default(),
            None => &self.buffer,
        }
    }

    fn room(&mut self, len: usize) -> &mut [u8] {
        let start = self.filled;
        self.filled += len;
        if self.buffer.len() < self.filled {
            self.buffer.resize(self.filled, 0);
        }
        self.buffer.get_mut(start..self.filled).unwrap_or_default()
    }
}

/// Gathers what a transport wants sent. Its buffers are used again and again: once warm it does not allocate.
#[derive(Debug, Default)]
pub struct Outbox {
    transmits: Vec<Transmit>,
    used: usize,
    /// Whether the last transmit may still grow.
    open: bool,
}

impl Outbox {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Room for one datagram of exactly `len` bytes. It holds stale bytes; the caller writes all of it.
    ///
    /// Joins the last transmit where socket, destination and length allow, so that equal datagrams in a row go out
    /// by one system call.
    pub fn datagram(&mut self, socket: SocketId, destination: SocketAddr, len: usize) -> &mut [u8] {
        if !self.joins(socket, destination, len) {
            let transmit = self.next();
            transmit.socket = Some(socket);
            transmit.destination = Some(destination);
            transmit.segment = len;
            self.open = true;
        }
        let index = self.used.saturating_sub(1);
        let Some(transmit) = self.transmits.get_mut(index) else { return &mut [] };
        // A shorter datagram must be the last of its transmit.
        self.open = len == transmit.segment;
        transmit.room(len)
    }

    /// The buffer for the next bytes of a stream; append to it.
    pub fn bytes(&mut self, socket: SocketId) -> &mut Vec<u8> {
        let joins = self
            .used
            .checked_sub(1)
            .and_then(|last| self.transmits.get(last))
            .is_some_and(|last| last.socket == Some(socket) && last.destination.is_none());
        if !joins {
            let transmit = self.next();
            transmit.socket = Some(socket);
            transmit.buffer.clear();
            self.open = false;
        }
        let index = self.used.saturating_sub(1);
        if self.transmits.len() <= index {
            self.transmits.push(Transmit::default());
        }
        #[expect(clippy::indexing_slicing, reason = "the line above makes the element")]
        &mut self.transmits[index].buffer
    }

    /// What is to be sent, in order.
    pub fn transmits(&self) -> impl Iterator<Item = &Transmit> {
        self.transmits.iter().take(self.used)
    }

    /// Whether nothing is to be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Forgets what was to be sent and keeps the memory.
    pub fn clear(&mut self) {
        self.used = 0;
        self.open = false;
    }

    /// Those of [`transmits`](Self::transmits) that no datagram of the same length can join any more: all but the last,
    /// and the last if it is full. Sending these alone while more is being sealed makes every system call a full one.
    pub fn settled(&self) -> impl Iterator<Item = &Transmit> {
        self.transmits.iter().take(self.settled_count())
    }

    /// Forgets what [`settled`](Self::settled) gives, and keeps the rest and the memory.
    pub fn clear_settled(&mut self) {
        let settled = self.settled_count();
        if settled == self.used {
            self.clear();
        } else if settled > 0 {
            self.transmits.swap(0, settled);
            self.used = 1;
        }
    }

    /// The last transmit alone may be open.
    fn settled_count(&self) -> usize {
        let grows = self.used.checked_sub(1).and_then(|last| self.transmits.get(last)).is_some_and(|last| {
            let destination = last.socket.zip(last.destination);
            destination.is_some_and(|(socket, destination)| self.joins(socket, destination, last.segment))
        });
        self.used - usize::from(grows)
    }

    fn joins(&self, socket: SocketId, destination: SocketAddr, len: usize) -> bool {
        let last = self.used.checked_sub(1).and_then(|last| self.transmits.get(last));
        self.open
            && last.is_some_and(|last| {
                last.socket == Some(socket)
                    && last.destination == Some(destination)
                    && len <= last.segment
                    && last.filled + len <= MAX_DATAGRAM_BATCH
                    && last.filled / last.segment.max(1) < MAX_SEGMENTS
            })
    }

    fn next(&mut self) -> &mut Transmit {
        if self.used == self.transmits.len() {
            self.transmits.push(Transmit::default());
        }
        let index = self.used;
        self.used += 1;
        #[expect(clippy::indexing_slicing, reason = "the lines above make the element")]
        let transmit = &mut self.transmits[index];
        transmit.filled = 0;
        transmit.socket = None;
        transmit.destination = None;
        transmit.segment = 0;
        transmit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: SocketId = SocketId(1);

    fn lengths(outbox: &Outbox) -> Vec<(usize, usize)> {
        outbox.transmits().map(|transmit| (transmit.segment, transmit.contents().len())).collect()
    }

    #[test]
    fn equal_datagrams_share_a_transmit_and_a_shorter_one_ends_it() {
        let to = "203.0.113.10:2408".parse().unwrap();
        let mut outbox = Outbox::new();
        for len in [100, 100, 40, 100, 200] {
            outbox.datagram(SOCKET, to, len);
        }
        assert_eq!(lengths(&outbox), [(100, 240), (100, 100), (200, 200)]);
        outbox.clear();
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_may_still_grow_is_not_settled() {
        let to = "203.0.113.10:2408".parse().unwrap();
        let settled = |outbox: &Outbox| outbox.settled().map(|one| one.contents().len()).collect::<Vec<_>>();
        let mut outbox = Outbox::new();
        for _ in 0..53 {
            outbox.datagram(SOCKET, to, 1312);
        }
        assert_eq!(settled(&outbox), [49 * 1312]);
        outbox.clear_settled();
        assert_eq!((settled(&outbox), lengths(&outbox)), (vec![], vec![(1312, 4 * 1312)]));
        outbox.clear_settled();
        for _ in 0..45 {
            outbox.datagram(SOCKET, to, 1312)[0] = 1;
        }
        assert_eq!(settled(&outbox), [49 * 1312], "it is full");
        outbox.clear_settled();
        assert!(outbox.is_empty());
        outbox.datagram(SOCKET, to, 1312);
        outbox.datagram(SOCKET, to, 100);
        assert_eq!(settled(&outbox), [1412], "a shorter datagram ends it");
        outbox.datagram(SOCKET, to, 100);
        outbox.bytes(SOCKET).push(1);
        assert_eq!(settled(&outbox).len(), 3, "a stream's bytes");
    }

    #[test]
    fn a_transmit_stays_within_what_the_kernel_takes() {
        let to = "203.0.113.10:2408".parse().unwrap();
        let mut outbox = Outbox::new();
        for _ in 0..130 {
            outbox.datagram(SOCKET, to, 1312);
        }
        assert!(outbox.transmits().all(|transmit| transmit.contents().len() <= MAX_DATAGRAM_BATCH));
        for _ in 0..130 {
            outbox.datagram(SOCKET, to, 80);
        }
        assert!(
            outbox.transmits().all(|transmit| transmit.contents().len() / transmit.segment <= MAX_SEGMENTS)
        );
    }

    #[test]
    fn memory_used_again_shows_no_stale_bytes() {
        let to = "203.0.113.10:2408".parse().unwrap();
        let mut outbox = Outbox::new();
        outbox.datagram(SOCKET, to, 4).copy_from_slice(b"aaaa");
        outbox.clear();
        outbox.datagram(SOCKET, to, 2).copy_from_slice(b"bb");
        assert_eq!(outbox.transmits().next().unwrap().contents(), b"bb");
        outbox.clear();
        outbox.bytes(SOCKET).extend(b"c");
        assert_eq!(outbox.transmits().next().unwrap().contents(), b"c");
        outbox.clear();
        outbox.datagram(SOCKET, to, 3).copy_from_slice(b"ddd");
        assert_eq!(outbox.transmits().next().unwrap().contents(), b"ddd");
    }

    #[test]
    fn another_destination_or_a_stream_begins_a_transmit() {
        let mut outbox = Outbox::new();
        outbox.datagram(SOCKET, "203.0.113.10:2408".parse().unwrap(), 50);
        outbox.datagram(SOCKET, "203.0.113.11:2408".parse().unwrap(), 50);
        outbox.bytes(SocketId(2)).extend([1, 2]);
        outbox.bytes(SocketId(2)).extend([3]);
        outbox.datagram(SOCKET, "203.0.113.11:2408".parse().unwrap(), 50);
        assert_eq!(lengths(&outbox), [(50, 50), (50, 50), (0, 3), (50, 50)]);
    }
}
