//! Packets end to end in one piece of memory, with the places where each begins.

use super::QueueError;

/// The longest IP packet in bytes, without IPv6's jumbograms (RFC 791, section 3.1; RFC 8200, section 3).
pub(super) const LONGEST_PACKET: usize = 65_535;

/// The lengths of the packets that `offsets` cuts out of `packets` bytes, once they are known to be sound.
///
/// # Errors
/// [`QueueError::BadOffsets`] where the offsets do not begin with 0, do not end with `packets` or go back;
/// [`QueueError::BadPacket`] where a packet has 0 bytes or more than [`LONGEST_PACKET`].
pub(super) fn check(packets: usize, offsets: &[u32]) -> Result<(), QueueError> {
    let ends = (offsets.first(), offsets.last());
    let whole = matches!(ends, (Some(0), Some(last)) if usize::try_from(*last) == Ok(packets));
    if !whole {
        return Err(QueueError::BadOffsets);
    }
    for (start, end) in offsets.iter().zip(offsets.iter().skip(1)) {
        let length = end.checked_sub(*start).ok_or(QueueError::BadOffsets)? as usize;
        if length == 0 || length > LONGEST_PACKET {
            return Err(QueueError::BadPacket { length });
        }
    }
    Ok(())
}

/// Packets end to end, in order, of which the first may have been taken out already.
#[derive(Debug, Default)]
pub(super) struct Packets {
    bytes: Vec<u8>,
    /// Where each packet ends.
    ends: Vec<u32>,
    /// How many packets were taken out, and where the next one begins.
    taken: usize,
    start: usize,
}

impl Packets {
    pub(super) fn is_empty(&self) -> bool {
        self.taken == self.ends.len()
    }

    /// Bytes and packets of memory in use, those taken out among them.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.bytes.len(), self.ends.len())
    }

    pub(super) fn push(&mut self, packet: &[u8]) {
        self.bytes.extend_from_slice(packet);
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    /// Adds the packets that `offsets` ends, whose bytes lie end to end in `packets` from the first of `offsets` on.
    pub(super) fn extend(&mut self, packets: &[u8], offsets: &[u32]) {
        let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return };
        let base = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(packets.get(*first as usize..*last as usize).unwrap_or_default());
        self.ends.extend(offsets.iter().skip(1).map(|end| base + (end - first)));
    }

    /// The next packet, which stays.
    pub(super) fn peek(&self) -> Option<&[u8]> {
        let end = *self.ends.get(self.taken)? as usize;
        self.bytes.get(self.start..end)
    }

    /// Takes the packet out that [`peek`](Self::peek) gave.
    pub(super) fn skip(&mut self) {
        if let Some(end) = self.ends.get(self.taken) {
            self.start = *end as usize;
            self.taken += 1;
        }
    }

    /// Forgets every packet and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        (self.taken, self.start) = (0, 0);
    }

    /// Forgets every packet and frees the memory.
    pub(super) fn release(&mut self) {
        *self = Self::default();
    }

    /// What is left, as a host takes it: the bytes, and where packets begin and the last ends.
    pub(super) fn into_batch(self) -> super::PacketBatch {
        let Self { mut bytes, ends, taken, start } = self;
        let base = u32::try_from(start).unwrap_or(u32::MAX);
        let mut offsets = Vec::with_capacity(ends.len() - taken + 1);
        offsets.push(0);
        offsets.extend(ends.iter().skip(taken).map(|end| end.saturating_sub(base)));
        bytes.drain(..start.min(bytes.len()));
        super::PacketBatch { packets: bytes, offsets }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn offsets_must_cut_all_of_the_bytes_into_packets() {
        let long = u32::try_from(LONGEST_PACKET).unwrap();
        let cases: [(usize, &[u32], _); 12] = [
            (0, &[0], Ok(())),
            (3, &[0, 1, 3], Ok(())),
            (LONGEST_PACKET, &[0, long], Ok(())),
            (0, &[], Err(QueueError::BadOffsets)),
            (3, &[], Err(QueueError::BadOffsets)),
            (3, &[0], Err(QueueError::BadOffsets)),
            (3, &[1, 3], Err(QueueError::BadOffsets)),
            (3, &[0, 2], Err(QueueError::BadOffsets)),
            (3, &[0, 4], Err(QueueError::BadOffsets)),
            (3, &[0, 4, 3], Err(QueueError::BadOffsets)),
            (3, &[0, 2, 2, 3], Err(QueueError::BadPacket { length: 0 })),
            (70_000, &[0, 70_000], Err(QueueError::BadPacket { length: 70_000 })),
        ];
        for (bytes, offsets, expected) in cases {
            assert_eq!(check(bytes, offsets), expected, "{bytes} {offsets:?}");
        }
    }

    proptest! {
        #[test]
        fn packets_come_out_as_they_went_in(
            first in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..8),
            second in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..8),
            taken in 0usize..10,
        ) {
            let mut packets = Packets::default();
            for packet in &first {
                packets.push(packet);
            }
            let bytes = second.concat();
            let mut offsets = vec![0];
            for packet in &second {
                offsets.push(offsets.last().unwrap() + u32::try_from(packet.len()).unwrap());
            }
            prop_assert_eq!(check(bytes.len(), &offsets), Ok(()));
            packets.extend(&bytes, &offsets);
            let all = [first, second].concat();
            for expected in all.iter().take(taken) {
                prop_assert_eq!(packets.peek(), Some(expected.as_slice()));
                packets.skip();
            }
            let rest = all.get(taken..).unwrap_or_default();
            prop_assert_eq!(packets.is_empty(), rest.is_empty());
            let batch = packets.into_batch();
            prop_assert_eq!(batch.iter().collect::<Vec<_>>(), rest.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert_eq!(batch.len(), rest.len());
            prop_assert_eq!(check(batch.packets.len(), &batch.offsets), Ok(()));
        }

        #[test]
        fn no_offsets_reach_outside(bytes in 0usize..40, offsets in prop::collection::vec(0u32..50, 0..6)) {
            let memory = vec![7; bytes];
            if check(bytes, &offsets).is_ok() {
                let mut packets = Packets::default();
                packets.extend(&memory, &offsets);
                let (held, count) = packets.held();
                prop_assert_eq!((held, count), (bytes, offsets.len() - 1));
            }
        }
    }
}
