//! The engine's own deadlines: few, named, at most one of a kind.

use std::time::{Duration, Instant};

use weft_model::status::Timer;
use weft_tunnel::Deadline;

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKind {
    /// A step that failed is tried again.
    Retry,
    /// A transport that gave up looks for its far side again.
    Reconnect,
    /// The profile is fetched again.
    ProfileRefresh,
    /// A switched-off device connects again.
    AutoConnect,
    /// Learnt addresses that wait for others go into a plan with them.
    Learnt,
    /// A captive portal has been open long enough.
    Portal,
    /// A connect has waited long enough for the addresses of host names.
    Hosts,
}

impl TimerKind {
    fn reason(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Reconnect => "reconnect",
            Self::ProfileRefresh => "profile refresh",
            Self::AutoConnect => "auto connect",
            Self::Learnt => "learnt addresses",
            Self::Portal => "captive portal",
            Self::Hosts => "host names",
        }
    }
}

/// The deadlines that are pending.
#[derive(Debug, Default)]
pub(crate) struct Timers(Vec<(TimerKind, Instant)>);

impl Timers {
    /// Arms a deadline; an earlier one of the same kind is forgotten.
    pub(crate) fn arm(&mut self, kind: TimerKind, at: Instant) {
        self.cancel(kind);
        self.0.push((kind, at));
    }

    pub(crate) fn cancel(&mut self, kind: TimerKind) {
        self.0.retain(|(other, _)| *other != kind);
    }

    pub(crate) fn is_armed(&self, kind: TimerKind) -> bool {
        self.0.iter().any(|(other, _)| *other == kind)
    }

    /// Takes one deadline that has come.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<TimerKind> {
        let index = self.0.iter().position(|(_, at)| *at <= now)?;
        Some(self.0.swap_remove(index).0)
    }

    pub(crate) fn next(&self) -> Option<Deadline> {
        let (kind, at) = self.0.iter().min_by_key(|(_, at)| *at)?;
        Some(Deadline { at: *at, reason: kind.reason() })
    }

    /// Every pending deadline, soonest first, as `weft status` shows it.
    pub(crate) fn describe(&self, now: Instant) -> Vec<Timer> {
        let mut pending = self.0.clone();
        pending.sort_by_key(|(_, at)| *at);
        pending.iter().map(|(kind, at)| timer(kind.reason(), *at, now)).collect()
    }
}

/// A deadline as `weft status` shows it.
pub(crate) fn timer(reason: &str, at: Instant, now: Instant) -> Timer {
    let in_ms = at.saturating_duration_since(now).as_millis();
    Timer { reason: reason.to_owned(), in_ms: u64::try_from(in_ms).unwrap_or(u64::MAX) }
}

/// The pause before try `attempt` (the first is 0): 1 s, doubled each time, 30 s at most.
pub(crate) fn backoff(attempt: u32) -> Duration {
    Duration::from_secs(1 << attempt.min(5)).min(Duration::from_secs(30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_soonest_first_and_once() {
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        let mut timers = Timers::default();
        timers.arm(TimerKind::ProfileRefresh, second(600));
        timers.arm(TimerKind::Retry, second(9));
        timers.arm(TimerKind::Retry, second(2));
        assert_eq!(timers.next(), Some(Deadline { at: second(2), reason: "retry" }));
        assert_eq!(timers.expire(second(1)), None);
        assert_eq!(timers.expire(second(9)), Some(TimerKind::Retry));
        assert_eq!(timers.expire(second(9)), None);
        assert_eq!(timers.describe(second(100))[0].in_ms, 500_000);
    }

    #[test]
    fn the_pause_doubles_up_to_a_bound() {
        let pauses: Vec<_> = (0..8).map(|attempt| backoff(attempt).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
    }
}
