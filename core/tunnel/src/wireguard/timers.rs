//! WireGuard's times (paper, section 6), and what of them the data path writes down.
//!
//! The data path leaves moments in atomics and never waits for control; control derives its deadlines from them.
//! Control is nudged only where a moment makes a deadline earlier than the one that control sleeps to, which
//! happens at most once for every time that control wakes.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::transport::{Deadline, Entropy, Nudge};

/// Messages after which whoever sends begins a new handshake.
pub(crate) const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// Messages that a session carries at most.
pub(crate) const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// The age of a session at which its initiator, when it sends, begins a new handshake.
pub(crate) const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
/// The age at which a session is of no more use.
pub(crate) const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);
/// How long initiations are repeated before the handshake is given up.
pub(crate) const REKEY_ATTEMPT_TIME: Duration = Duration::from_secs(90);
/// The time between two initiations to one endpoint, beside the jitter.
pub(crate) const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// After that long a packet is answered with an empty one, if nothing else was sent.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The age of a session at which its initiator, when it receives, begins a new handshake.
pub(crate) const REKEY_ON_RECEIVE: Duration = Duration::from_secs(180 - 10 - 5);
/// After that long without a word since data was sent, the far side counts as silent: it owed a keepalive.
pub(crate) const SILENCE: Duration = Duration::from_secs(10 + 5);

/// The most that [`REKEY_TIMEOUT`] is lengthened by, in milliseconds.
const MAX_JITTER: u32 = 333;

/// A random delay of 0 to 333 ms, so that two sides that began at once do not go on doing so.
pub(crate) fn jitter(entropy: &mut dyn Entropy) -> Duration {
    let mut bytes = [0; 4];
    entropy.fill(&mut bytes);
    Duration::from_millis(u64::from(u32::from_le_bytes(bytes) % (MAX_JITTER + 1)))
}

/// Something that the data path wants control to see to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flag {
    /// A handshake is wanted; stands until there is a session or the handshake is given up.
    Handshake = 1,
    /// The far side confirmed the session of a handshake that it began.
    Confirmed = 2,
    /// The far side's address changed.
    Moved = 4,
    /// Runs wait although there is a session.
    Flush = 8,
}

/// What moment a deadline comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Data went unanswered for [`SILENCE`].
    Silence,
    /// Data came and nothing was sent for [`KEEPALIVE_TIMEOUT`].
    Keepalive,
    /// Nothing passed for the persistent keepalive's interval.
    Persistent,
}

impl Due {
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Silence => "answer of the far side",
            Self::Keepalive => "keepalive",
            Self::Persistent => "persistent keepalive",
        }
    }
}

/// Never, as a moment in an atomic. A moment is one more than its nanoseconds since the epoch.
const NEVER: u64 = 0;
/// The alarm of a control that sleeps without a deadline.
const NO_ALARM: u64 = u64::MAX;

/// What passed when, and what control is to see to.
pub(crate) struct Activity {
    epoch: Instant,
    /// Seconds of the persistent keepalive.
    interval: Option<Duration>,
    /// When the first data was sent that nothing authentic came after.
    awaiting: AtomicU64,
    /// When the first data came that nothing was sent after.
    owed: AtomicU64,
    /// When anything authentic passed last, either way.
    passed: AtomicU64,
    /// What control sleeps to.
    alarm: AtomicU64,
    flags: AtomicU8,
}

impl Activity {
    pub(crate) fn new(epoch: Instant, interval: Option<Duration>) -> Self {
        Self {
            epoch,
            interval,
            awaiting: AtomicU64::new(NEVER),
            owed: AtomicU64::new(NEVER),
            passed: AtomicU64::new(NEVER),
            alarm: AtomicU64::new(NO_ALARM),
            flags: AtomicU8::new(0),
        }
    }

    fn moment(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(nanos).unwrap_or(NO_ALARM - 2) + 1
    }

    fn instant(&self, moment: u64) -> Option<Instant> {
        (moment != NEVER).then(|| self.epoch + Duration::from_nanos(moment - 1))
    }

    /// Notes that something authentic was sent; `data` unless it was empty.
    pub(crate) fn sent(&self, now: Instant, data: bool) -> Nudge {
        let moment = self.moment(now);
        self.passed.store(moment, Ordering::Relaxed);
        if self.owed.load(Ordering::Relaxed) != NEVER {
            self.owed.store(NEVER, Ordering::Relaxed);
        }
        if data && self.awaiting.load(Ordering::Relaxed) == NEVER {
            self.awaiting.store(moment, Ordering::SeqCst);
            return self.wake_by(now + SILENCE);
        }
        Nudge::None
    }

    /// Notes that something authentic came; `data` unless it was empty.
    pub(crate) fn received(&self, now: Instant, data: bool) -> Nudge {
        let moment = self.moment(now);
        self.passed.store(moment, Ordering::Relaxed);
        if self.awaiting.load(Ordering::Relaxed) != NEVER {
            self.awaiting.store(NEVER, Ordering::Relaxed);
        }
        if data && self.owed.load(Ordering::Relaxed) == NEVER {
            self.owed.store(moment, Ordering::SeqCst);
            return self.wake_by(now + KEEPALIVE_TIMEOUT);
        }
        Nudge::None
    }

    /// Makes sure that control wakes by `at`.
    fn wake_by(&self, at: Instant) -> Nudge {
        let moment = self.moment(at);
        if self.alarm.fetch_min(moment, Ordering::SeqCst) > moment { Nudge::Control } else { Nudge::None }
    }

    /// Raises a flag; a nudge unless it stood already.
    pub(crate) fn raise(&self, flag: Flag) -> Nudge {
        let bit = flag as u8;
        if self.flags.load(Ordering::SeqCst) & bit != 0 {
            return Nudge::None;
        }
        if self.flags.fetch_or(bit, Ordering::SeqCst) & bit == 0 { Nudge::Control } else { Nudge::None }
    }

    /// Whether a flag stands.
    pub(crate) fn is_raised(&self, flag: Flag) -> bool {
        self.flags.load(Ordering::SeqCst) & flag as u8 != 0
    }

    /// Lowers a flag; whether it stood.
    pub(crate) fn lower(&self, flag: Flag) -> bool {
        self.flags.fetch_and(!(flag as u8), Ordering::SeqCst) & flag as u8 != 0
    }

    /// Takes what is due at `now`. Each is told once: silence until data is sent again, a keepalive until data comes
    /// again, the persistent one until its interval has passed again.
    pub(crate) fn take_due(&self, now: Instant) -> impl Iterator<Item = Due> {
        self.sources().filter_map(move |(atomic, after, due)| {
            let seen = atomic.load(Ordering::SeqCst);
            self.instant(seen).filter(|at| now >= *at + after)?;
            let next = if due == Due::Persistent { self.moment(now) } else { NEVER };
            // What the data path wrote meanwhile stays.
            let _ = atomic.compare_exchange(seen, next, Ordering::SeqCst, Ordering::SeqCst);
            Some(due)
        })
    }

    /// The moments that deadlines come from, and how long after them each is.
    fn sources(&self) -> impl Iterator<Item = (&AtomicU64, Duration, Due)> {
        let persistent = self.interval.map(|interval| (&self.passed, interval, Due::Persistent));
        [
            Some((&self.awaiting, SILENCE, Due::Silence)),
            Some((&self.owed, KEEPALIVE_TIMEOUT, Due::Keepalive)),
            persistent,
        ]
        .into_iter()
        .flatten()
    }

    /// The next deadline out of the data path's and control's `own`, which control promises to sleep to.
    pub(crate) fn next_deadline(&self, own: impl Iterator<Item = Deadline>) -> Option<Deadline> {
        // Cleared first: what the data path writes from here on is either read below or nudges.
        self.alarm.store(NO_ALARM, Ordering::SeqCst);
        let deadlines = self.sources().filter_map(|(atomic, after, due)| {
            let at = self.instant(atomic.load(Ordering::SeqCst))? + after;
            Some(Deadline { at, reason: due.reason() })
        });
        let next = deadlines.chain(own).min_by_key(|deadline| deadline.at);
        if let Some(deadline) = next {
            self.alarm.fetch_min(self.moment(deadline.at), Ordering::SeqCst);
        }
        next
    }

    /// Forgets what passed: nothing is awaited, owed or wanted.
    pub(crate) fn reset(&self) {
        for moment in [&self.awaiting, &self.owed, &self.passed] {
            moment.store(NEVER, Ordering::SeqCst);
        }
        self.flags.store(0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u32);

    impl Entropy for Fixed {
        fn fill(&mut self, bytes: &mut [u8]) {
            bytes.copy_from_slice(&self.0.to_le_bytes());
        }
    }

    #[test]
    fn the_times_are_those_of_the_paper() {
        // Section 6.1, table 1.
        assert_eq!(REKEY_AFTER_MESSAGES, 1_152_921_504_606_846_976);
        assert_eq!(REJECT_AFTER_MESSAGES, 18_446_744_073_709_543_423);
        let seconds = [
            (REKEY_AFTER_TIME, 120),
            (REJECT_AFTER_TIME, 180),
            (REKEY_ATTEMPT_TIME, 90),
            (REKEY_TIMEOUT, 5),
            (KEEPALIVE_TIMEOUT, 10),
        ];
        for (time, expected) in seconds {
            assert_eq!(time.as_secs(), expected);
        }
        assert_eq!(REKEY_ON_RECEIVE, REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT);
        assert_eq!(SILENCE, KEEPALIVE_TIMEOUT + REKEY_TIMEOUT);
    }

    #[test]
    fn jitter_is_a_third_of_a_second_at_most() {
        for (bytes, millis) in [(0, 0), (333, 333), (334, 0), (335, 1)] {
            assert_eq!(jitter(&mut Fixed(bytes)), Duration::from_millis(millis));
        }
    }

    /// What the data path and control do, and what is then awaited.
    #[test]
    fn deadlines_follow_what_passed() {
        let epoch = Instant::now();
        let at = |secs: u64| epoch + Duration::from_secs(secs);
        let activity = Activity::new(epoch, None);
        let next = || activity.next_deadline(std::iter::empty()).map(|deadline| deadline.at);
        assert_eq!(next(), None);
        assert_eq!(activity.sent(at(1), true), Nudge::Control, "control slept without an end");
        assert_eq!(activity.sent(at(2), true), Nudge::None);
        assert_eq!(next(), Some(at(16)), "the first unanswered packet counts");
        assert_eq!(activity.received(at(3), true), Nudge::Control, "its keepalive is due before that");
        assert_eq!(next(), Some(at(13)));
        assert_eq!(activity.sent(at(4), true), Nudge::None, "control wakes before that");
        assert_eq!(activity.received(at(5), false), Nudge::None);
        assert_eq!(next(), None, "an empty packet is an answer and wants none");
    }

    #[test]
    fn control_is_nudged_once_between_its_deadlines_however_much_passes() {
        let epoch = Instant::now();
        let activity = Activity::new(epoch, None);
        let mut nudges = 0;
        for step in 0..1000 {
            let now = epoch + Duration::from_millis(step);
            for nudge in [activity.sent(now, true), activity.received(now, true)] {
                nudges += usize::from(nudge == Nudge::Control);
            }
        }
        assert_eq!(nudges, 2, "one for each of the two deadlines, the second being earlier");
    }

    #[test]
    fn a_flag_nudges_when_it_is_raised_and_not_while_it_stands() {
        let activity = Activity::new(Instant::now(), None);
        assert_eq!(activity.raise(Flag::Handshake), Nudge::Control);
        assert_eq!(activity.raise(Flag::Handshake), Nudge::None);
        assert_eq!(activity.raise(Flag::Moved), Nudge::Control);
        assert!(activity.lower(Flag::Handshake) && !activity.lower(Flag::Handshake));
        assert!(activity.is_raised(Flag::Moved));
        assert_eq!(activity.raise(Flag::Handshake), Nudge::Control);
    }
}
