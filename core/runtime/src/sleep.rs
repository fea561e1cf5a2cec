//! Time that the system slept through.

use std::time::Duration;

/// More than this is a sleep. TTLs count whole seconds.
const SLEEP: Duration = Duration::from_secs(1);

/// Notices that the system slept. [`Instant`](std::time::Instant) stands still meanwhile, so that what was kept until a
/// moment of it is older than it seems.
pub(crate) struct Sleep {
    asleep: fn() -> Duration,
    limit: Duration,
    known: Duration,
}

impl Sleep {
    /// `asleep`: how long the system has slept since it started, or somewhat more.
    pub(super) fn new(asleep: fn() -> Duration) -> Self {
        Self::longer_than(SLEEP, asleep)
    }

    /// One that takes no notice of sleeps that come to no more than `limit` together.
    pub(crate) fn longer_than(limit: Duration, asleep: fn() -> Duration) -> Self {
        Self { asleep, limit, known: asleep() }
    }

    /// Whether the system slept since the last call.
    pub(crate) fn is_over(&mut self) -> bool {
        let total = (self.asleep)();
        let slept = total.saturating_sub(self.known) > self.limit;
        // A reading is too long by what came between its clocks; short sleeps add up.
        if slept || total < self.known {
            self.known = total;
        }
        slept
    }
}

/// How long the system has slept since it started.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn asleep() -> Duration {
    use rustix::time::{ClockId, clock_gettime};

    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    let awake = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(awake)
}

/// Not known.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn asleep() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    static ASLEEP: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn a_sleep_is_told_once_and_short_ones_add_up() {
        let mut sleep = Sleep::new(|| Duration::from_millis(ASLEEP.load(Ordering::SeqCst)));
        let cases = [
            (0, false),
            (900, false),
            (1800, true),
            (1800, false),
            (900, false),
            (2000, true),
            (2000, false),
        ];
        for (total, slept) in cases {
            ASLEEP.store(total, Ordering::SeqCst);
            assert_eq!(sleep.is_over(), slept, "{total}");
        }
    }

    #[test]
    fn a_system_that_is_awake_does_not_sleep() {
        let mut sleep = Sleep::new(asleep);
        assert!(!sleep.is_over());
    }
}
