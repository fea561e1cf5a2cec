//! What the packet path counts.

use std::sync::atomic::{AtomicU64, Ordering};

use weft_model::DropReason;

use crate::control::TunnelCounters;

/// One direction's, on cache lines of its own: no thread waits for another's counting.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Direction {
    packets: AtomicU64,
    bytes: AtomicU64,
    drops: [AtomicU64; DropReason::ALL.len()],
}

impl Direction {
    pub(super) fn pass(&self, packets: usize, bytes: usize) {
        self.packets.fetch_add(packets as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn drop(&self, reason: DropReason, packets: usize) {
        let place = DropReason::ALL.iter().position(|other| *other == reason);
        if let Some(count) = place.and_then(|place| self.drops.get(place)) {
            count.fetch_add(packets as u64, Ordering::Relaxed);
        }
    }
}

/// Both directions'.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// From devices.
    pub(super) inward: Direction,
    /// To devices.
    pub(super) outward: Direction,
}

impl Counters {
    /// The counters at this moment, with the drops that somebody else counted.
    pub(super) fn read(&self, others: Vec<(DropReason, u64)>) -> TunnelCounters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let drops = DropReason::ALL.iter().enumerate().filter_map(|(place, reason)| {
            let own = |direction: &Direction| direction.drops.get(place).map_or(0, load);
            let others = others.iter().filter(|(other, _)| other == reason).map(|(_, count)| count);
            let count = own(&self.inward) + own(&self.outward) + others.sum::<u64>();
            (count > 0).then_some((*reason, count))
        });
        TunnelCounters {
            received_packets: load(&self.inward.packets),
            received_bytes: load(&self.inward.bytes),
            sent_packets: load(&self.outward.packets),
            sent_bytes: load(&self.outward.bytes),
            drops: drops.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_of_all_are_summed_by_reason() {
        let counters = Counters::default();
        counters.inward.drop(DropReason::Malformed, 2);
        counters.outward.drop(DropReason::Malformed, 3);
        counters.outward.pass(4, 400);
        let read = counters.read(vec![
            (DropReason::BadSeal, 1),
            (DropReason::Malformed, 5),
            (DropReason::BadSeal, 1),
        ]);
        assert_eq!(read.drops, [(DropReason::Malformed, 10), (DropReason::BadSeal, 2)]);
        assert_eq!((read.sent_packets, read.sent_bytes, read.received_packets), (4, 400, 0));
    }
}
