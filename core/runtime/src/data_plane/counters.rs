//! What the data plane counts.

use std::sync::atomic::{AtomicU64, Ordering};

use weft_model::{Counter, DropReason};

/// Counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets from the device that were sealed, and their bytes as the device counted them: a run's headers once.
    pub sent: Counter,
    /// The runs that they were.
    pub sent_runs: u64,
    /// Packets from the tunnel for the device or for the core's own flows.
    pub received: Counter,
    /// The runs in which the device took them.
    pub received_runs: u64,
    /// Drops by reason; reasons without a drop are left out.
    pub drops: Vec<(DropReason, u64)>,
}

impl Counters {
    /// Drops for one reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.iter().find(|(other, _)| *other == reason).map_or(0, |(_, count)| *count)
    }
}

/// One direction's, on cache lines of its own: no thread waits for another's counting.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Direction {
    packets: AtomicU64,
    bytes: AtomicU64,
    runs: AtomicU64,
    drops: [AtomicU64; DropReason::ALL.len()],
}

impl Direction {
    pub(super) fn pass(&self, packets: usize, bytes: usize) {
        self.packets.fetch_add(packets as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn run(&self) {
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn drop(&self, reason: DropReason, packets: usize) {
        let place = DropReason::ALL.iter().position(|other| *other == reason);
        if let Some(count) = place.and_then(|place| self.drops.get(place)) {
            count.fetch_add(packets as u64, Ordering::Relaxed);
        }
    }

    fn passed(&self) -> Counter {
        Counter { packets: self.packets.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

/// Both directions'.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) out: Direction,
    pub(super) inn: Direction,
}

impl Tally {
    pub(super) fn counters(&self) -> Counters {
        let drops = DropReason::ALL.iter().enumerate().filter_map(|(place, reason)| {
            let count = |direction: &Direction| {
                direction.drops.get(place).map_or(0, |count| count.load(Ordering::Relaxed))
            };
            let count = count(&self.out) + count(&self.inn);
            (count > 0).then_some((*reason, count))
        });
        Counters {
            sent: self.out.passed(),
            sent_runs: self.out.runs.load(Ordering::Relaxed),
            received: self.inn.passed(),
            received_runs: self.inn.runs.load(Ordering::Relaxed),
            drops: drops.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_summed_over_both_directions() {
        let tally = Tally::default();
        tally.out.drop(DropReason::TooBig, 2);
        tally.inn.drop(DropReason::TooBig, 3);
        tally.inn.drop(DropReason::SystemError, 1);
        tally.out.pass(5, 500);
        let counters = tally.counters();
        assert_eq!(counters.drops, [(DropReason::TooBig, 5), (DropReason::SystemError, 1)]);
        assert_eq!((counters.dropped(DropReason::TooBig), counters.dropped(DropReason::Replay)), (5, 0));
        assert_eq!((counters.sent.packets, counters.received.packets), (5, 0));
    }
}
