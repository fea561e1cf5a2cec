//! The repeated attempts for one session.

use std::time::{Duration, Instant};

use super::timers::{REKEY_ATTEMPT_TIME, REKEY_TIMEOUT};

/// How long a search goes on before the far side counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(15);
/// The pause that a search leaves after an initiation of the campaign that it came out of.
const SEARCH_PAUSE: Duration = Duration::from_secs(1);

/// The repeated attempts for one session: a routine renewal, which repeats itself to the present endpoint, or a
/// search, which tries every candidate, because packets cannot pass.
pub(crate) struct Campaign {
    started: Instant,
    /// Since when packets cannot pass.
    search_since: Option<Instant>,
    /// How many initiations were tried.
    pub(crate) tries: u32,
    /// When to try next.
    pub(crate) next_at: Instant,
    /// Whether the last try waits for a socket.
    pub(crate) awaits_socket: bool,
}

impl Campaign {
    /// A campaign that waits until [`REKEY_TIMEOUT`] after `last`, the last initiation.
    pub(crate) fn new(now: Instant, search: bool, last: Option<Instant>) -> Self {
        Self {
            started: now,
            search_since: search.then_some(now),
            tries: 0,
            next_at: last.map_or(now, |last| now.max(last + REKEY_TIMEOUT)),
            awaits_socket: false,
        }
    }

    /// Makes it a search, if it is none, that goes on soon after the `last` initiation.
    pub(crate) fn escalate(&mut self, now: Instant, last: Option<Instant>) {
        if self.search_since.is_none() {
            self.search_since = Some(now);
            let soon = last.map_or(now, |last| now.max(last + SEARCH_PAUSE));
            self.next_at = self.next_at.min(soon);
        }
    }

    pub(crate) fn is_search(&self) -> bool {
        self.search_since.is_some()
    }

    /// Whether it lasts too long.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now >= self.started + REKEY_ATTEMPT_TIME
    }

    /// When the far side counts as lost.
    pub(crate) fn lost_at(&self) -> Option<Instant> {
        self.search_since.map(|since| since + LOST_AFTER)
    }
}
