//! How often settings that were replaced are set again, and when that ends.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::WITHIN;

/// How often the settings are set again within [`WITHIN`]: a DHCP client that renews on every link, or a program that
/// starts, replaces them a few times; one that watches them as Weft does never ends.
const MOST: usize = 5;

/// How often the settings were replaced, and whether Weft has given in.
#[derive(Debug, Default)]
pub(super) struct Contest {
    /// When the settings were set again, oldest first.
    set: VecDeque<Instant>,
    /// When the settings were last found replaced after Weft gave in.
    given_in: Option<Instant>,
}

impl Contest {
    /// Whether replaced settings are to be set again.
    pub(super) fn answers(&mut self, now: Instant) -> bool {
        if let Some(last) = self.given_in {
            if now.saturating_duration_since(last) < WITHIN {
                self.given_in = Some(now);
                return false;
            }
            *self = Self::default();
        }
        while self.set.front().is_some_and(|first| now.saturating_duration_since(*first) >= WITHIN) {
            self.set.pop_front();
        }
        if self.set.len() >= MOST {
            self.given_in = Some(now);
            return false;
        }
        self.set.push_back(now);
        true
    }

    /// When whoever was given in to has rested long enough; none where nobody was.
    pub(super) fn rest_ends(&self) -> Option<Instant> {
        self.given_in.map(|last| last + WITHIN)
    }

    /// The settings hold, or there are none: whoever was given in to is done.
    pub(super) fn holds(&mut self) {
        if self.given_in.is_some() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_contest_ends_after_five_answers_and_begins_again_after_a_rest() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut contest = Contest::default();
        // Once in a while is no contest.
        assert!((0..20).all(|time| contest.answers(at(time * 30))));
        let mut contest = Contest::default();
        assert!((0..5).all(|time| contest.answers(at(time))));
        assert!(!contest.answers(at(5)));
        // The other program goes on: it is not answered, however long.
        assert!((1..10).all(|time| !contest.answers(at(5 + time * 59))));
        let last = 5 + 9 * 59;
        assert!(contest.answers(at(last + 60)));
        // Settings that hold again, by a new plan, are defended afresh.
        let mut contest = Contest::default();
        assert_eq!((0..9).filter(|time| contest.answers(at(*time))).count(), 5);
        contest.holds();
        assert!(contest.answers(at(9)));
        // While Weft answers, that its own settings hold is no sign of peace.
        let mut contest = Contest::default();
        let answered = (0..6).filter(|time| {
            contest.holds();
            contest.answers(at(*time))
        });
        assert_eq!(answered.count(), 5);
    }
}
