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
        self.moments().filter(move |(at, _)| now >= *at).map(move |(_, due)| {
            match due {
                Due::Silence => self.awaiting.store(NEVER, Ordering::SeqCst),
                Due::Keepalive => self.owed.store(NEVER, Ordering::SeqCst),
                Due::Persistent => self.passed.store(self.moment(now), Ordering::SeqCst),
            }
            due
        })
    }

    fn moments(&self) -> impl Iterator<Item = (Instant, Due)> {
        let moment = |atomic: &AtomicU64, after: Duration, due| {
            let at = self.instant(atomic.load(Ordering::SeqCst))?;
            Some((at + after, due))
        };
        [
            moment(&self.awaiting, SILENCE, Due::Silence),
            moment(&self.owed, KEEPALIVE_TIMEOUT, Due::Keepalive),
            self.interval.and_then(|interval| moment(&self.passed, interval, Due::Persistent)),
        ]
        .into_iter()
        .flatten()
    }

    /// The next deadline out of the data path's and control's `own`, which control promises to sleep to.
    pub(crate) fn next_deadline(&self, own: impl Iterator<Item = Deadline>) -> Option<Deadline> {
        // Cleared first: what the data path writes from here on is either read below or nudges.
        self.alarm.store(NO_ALARM, Ordering::SeqCst);
        let deadlines = self.moments().map(|(at, due)| Deadline { at, reason: due.reason() });
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
