//! The monotonic clock in smoltcp's units.

use std::time::{Duration, Instant};

/// Ties the two clocks together at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    anchor: Instant,
}

impl Clock {
    pub(crate) fn new(anchor: Instant) -> Self {
        Self { anchor }
    }

    /// A moment as smoltcp counts it: whole microseconds since the anchor, so that a deadline is never seen early.
    pub(crate) fn to_stack(self, now: Instant) -> smoltcp::time::Instant {
        let since = now.saturating_duration_since(self.anchor).as_micros();
        smoltcp::time::Instant::from_micros(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// A deadline of smoltcp's; one before the anchor is the anchor.
    pub(crate) fn to_std(self, at: smoltcp::time::Instant) -> Instant {
        let micros = u64::try_from(at.total_micros()).unwrap_or(0);
        self.anchor.checked_add(Duration::from_micros(micros)).unwrap_or(self.anchor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_due_at_its_own_moment() {
        let anchor = Instant::now();
        let clock = Clock::new(anchor);
        let deadline = smoltcp::time::Instant::from_micros(1_234_567);
        assert_eq!(clock.to_stack(clock.to_std(deadline)), deadline);
        let just_before = clock.to_std(deadline) - Duration::from_nanos(1);
        assert!(clock.to_stack(just_before) < deadline);
        assert_eq!(clock.to_stack(anchor - Duration::from_secs(1)), smoltcp::time::Instant::from_micros(0));
    }
}
