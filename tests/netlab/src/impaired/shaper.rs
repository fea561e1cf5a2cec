//! What becomes of each frame: no socket, no clock, so that its own tests need neither.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::capture::is_marker;

/// What a link does to what it carries. The default is a perfect wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairment {
    /// How long each frame takes.
    pub delay: Duration,
    /// Up to how much longer a frame may take, evenly spread; the order is kept.
    pub jitter: Duration,
    /// The share of frames that get lost, 0 to 1.
    pub loss: f64,
    /// The share of frames that arrive twice, 0 to 1.
    pub duplicate: f64,
    /// The share of frames that are held back so that later ones overtake them, 0 to 1.
    pub reorder: f64,
    /// How much longer a frame takes that is held back.
    pub reorder_by: Duration,
    /// Bits a second, of whole frames; None for as much as the machine can.
    pub rate: Option<u64>,
    /// How many frames may be under way; those beyond are lost, and counted as overflowed.
    pub limit: usize,
}

impl Default for Impairment {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_by: Duration::from_millis(5),
            rate: None,
            limit: 1000,
        }
    }
}

/// What has happened to the frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Arrived at the far end, duplicates included.
    pub carried: u64,
    /// Lost at random.
    pub lost: u64,
    /// Arrived twice.
    pub duplicated: u64,
    /// Held back.
    pub reordered: u64,
    /// Lost as more were under way than the limit.
    pub overflowed: u64,
    /// Lost as the lab was too slow to read them; a test that compares losses wants 0 here.
    pub unread: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { carried, lost, duplicated, reordered, overflowed, unread } = self;
        write!(f, "{carried} carried, {lost} lost, {duplicated} duplicated, {reordered} reordered, ")?;
        write!(f, "{overflowed} overflowed, {unread} unread")
    }
}

/// One direction of a link.
#[derive(Debug)]
pub(super) struct Shaper {
    random: u64,
    queue: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    number: u64,
    /// When the last frame in order is due, which the next may not precede.
    last: Option<Instant>,
    latest: Option<Instant>,
    /// When the last bit of what has been sent has left, at the given rate.
    free: Option<Instant>,
    counts: Counts,
}

impl Shaper {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: seed,
            queue: BinaryHeap::new(),
            number: 0,
            last: None,
            latest: None,
            free: None,
            counts: Counts::default(),
        }
    }

    /// Takes a frame in and decides on it.
    pub(super) fn accept(&mut self, now: Instant, knobs: &Impairment, frame: &[u8]) {
        if is_marker(frame, true) {
            // After everything that is under way.
            return self.push(self.latest.map_or(now, |latest| latest.max(now)), frame);
        }
        if is_neighbour_discovery(frame) {
            let due = self.in_order(now + knobs.delay);
            return self.push(due, frame);
        }
        // All four are drawn for every frame, so that the fate of one does not hang on that of another.
        let [loss, duplicate, reorder, jitter] = std::array::from_fn(|_| self.draw());
        if loss < knobs.loss {
            self.counts.lost += 1;
            return;
        }
        if self.queue.len() >= knobs.limit {
            self.counts.overflowed += 1;
            return;
        }
        let leaves = self.leaves(now, knobs.rate, frame.len());
        let mut due = self.in_order(leaves + knobs.delay + knobs.jitter.mul_f64(jitter));
        if reorder < knobs.reorder {
            self.counts.reordered += 1;
            due += knobs.reorder_by;
        }
        self.push(due, frame);
        if duplicate < knobs.duplicate {
            self.counts.duplicated += 1;
            self.push(due, frame);
        }
    }

    /// The next frame whose time has come.
    pub(super) fn release(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.next()? > now {
            return None;
        }
        let Reverse((_, _, frame)) = self.queue.pop()?;
        self.counts.carried += u64::from(!is_marker(&frame, true));
        Some(frame)
    }

    /// When the next frame is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((due, _, _))| *due)
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    fn leaves(&mut self, now: Instant, rate: Option<u64>, length: usize) -> Instant {
        let Some(rate) = rate else { return now };
        let bits = u64::try_from(length).unwrap_or(u64::MAX).saturating_mul(8);
        let nanos = u128::from(bits) * 1_000_000_000 / u128::from(rate.max(1));
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let leaves = self.free.map_or(now, |free| free.max(now)) + takes;
        self.free = Some(leaves);
        leaves
    }

    fn in_order(&mut self, due: Instant) -> Instant {
        let due = self.last.map_or(due, |last| last.max(due));
        self.last = Some(due);
        due
    }

    fn push(&mut self, due: Instant, frame: &[u8]) {
        self.number += 1;
        self.latest = Some(self.latest.map_or(due, |latest| latest.max(due)));
        self.queue.push(Reverse((due, self.number, frame.to_vec())));
    }

    /// The next number of the sequence, from 0 to below 1 (SplitMix64).
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// ARP, multicast listener discovery, and neighbour discovery with router solicitation.
fn is_neighbour_discovery(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x06]) => true,
        Some([0x86, 0xdd]) => {
            // Listener reports have a hop-by-hop header of 8 bytes before them.
            let at = if frame.get(20) == Some(&0) { 62 } else { 54 };
            let icmp = frame.get(20) == Some(&58) || (at == 62 && frame.get(54) == Some(&58));
            icmp && matches!(frame.get(at), Some(130..=137 | 143))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u32) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        frame.extend(number.to_be_bytes());
        frame.resize(1000, 0);
        frame
    }

    fn arrivals(seed: u64, knobs: &Impairment, count: u32) -> (Vec<u32>, Counts) {
        let start = Instant::now();
        let mut shaper = Shaper::new(seed);
        for number in 0..count {
            shaper.accept(start + Duration::from_micros(u64::from(number)), knobs, &packet(number));
        }
        let released = std::iter::from_fn(|| shaper.release(start + Duration::from_secs(3600)));
        let numbers = released.map(|frame| u32::from_be_bytes(frame[14..18].try_into().unwrap())).collect();
        (numbers, shaper.counts())
    }

    #[test]
    fn a_perfect_wire_keeps_all_in_order() {
        let knobs = Impairment { jitter: Duration::from_secs(1), ..Impairment::default() };
        assert_eq!(arrivals(1, &knobs, 500).0, (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn the_same_seed_has_the_same_fates() {
        let knobs = Impairment { loss: 0.1, duplicate: 0.1, reorder: 0.1, ..Impairment::default() };
        let (numbers, counts) = arrivals(7, &knobs, 900);
        assert_eq!(arrivals(7, &knobs, 900), (numbers.clone(), counts));
        assert_ne!(arrivals(8, &knobs, 900).0, numbers);
        for happened in [counts.lost, counts.duplicated, counts.reordered] {
            assert!((50..140).contains(&happened), "{counts}");
        }
        assert_eq!(counts.carried, 900 - counts.lost + counts.duplicated);
        assert!(!numbers.is_sorted());
    }

    #[test]
    fn a_rate_spaces_frames_and_a_limit_loses_them() {
        let start = Instant::now();
        let mut shaper = Shaper::new(0);
        let knobs = Impairment { rate: Some(8_000_000), limit: 3, ..Impairment::default() };
        for number in 0..5 {
            shaper.accept(start, &knobs, &packet(number));
        }
        assert_eq!(shaper.counts().overflowed, 2);
        for millisecond in 1..=3 {
            assert_eq!(shaper.next(), Some(start + Duration::from_millis(millisecond)));
            assert!(shaper.release(start + Duration::from_millis(millisecond)).is_some());
        }
    }

    #[test]
    fn discovery_is_spared() {
        let mut shaper = Shaper::new(0);
        let mut arp = packet(0);
        arp[13] = 6;
        shaper.accept(Instant::now(), &Impairment { loss: 1.0, ..Impairment::default() }, &arp);
        assert!(shaper.release(Instant::now()).is_some());
    }
}
