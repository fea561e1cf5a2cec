//! What becomes of a run from the TUN.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use weft_model::DropReason;
use weft_packet::{IcmpKind, Run};
use weft_policy::{Verdict, VerdictSnapshot};

/// Judges runs from the TUN.
pub trait Verdicts: Send + Sync {
    /// What becomes of `run`.
    fn judge(&self, run: &Run) -> Verdict;
}

impl Verdicts for VerdictSnapshot {
    fn judge(&self, run: &Run) -> Verdict {
        Self::judge(self, run)
    }
}

/// The judge in force, which may be replaced while packets pass.
pub type VerdictsInForce = ArcSwap<Arc<dyn Verdicts>>;

/// What a refusal is counted under.
pub(super) fn reason(kind: IcmpKind) -> DropReason {
    match kind {
        IcmpKind::TooBig { .. } => DropReason::TooBig,
        IcmpKind::Prohibited | IcmpKind::NoRoute | IcmpKind::Port => DropReason::Unreachable,
    }
}

/// How many ICMP errors may go out in a row.
const BURST: u32 = 50;
/// How many may go out each second after that; Linux allows a thousand to all hosts together.
const PER_SECOND: u32 = 200;

/// Bounds the ICMP errors, so that a flood of packets does not become a flood of answers (RFC 1812,
/// section 4.3.2.8).
#[derive(Debug)]
pub(crate) struct IcmpLimit {
    left: u32,
    since: Instant,
}

impl IcmpLimit {
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: BURST, since: now }
    }

    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.since).as_millis() * u128::from(PER_SECOND) / 1000;
        if earned > 0 {
            self.left = u32::try_from(earned).unwrap_or(BURST).saturating_add(self.left).min(BURST);
            self.since = now;
        }
        self.left = match self.left.checked_sub(1) {
            Some(left) => left,
            None => return false,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn answers_come_in_bursts_and_then_at_a_rate() {
        let start = Instant::now();
        let mut limit = IcmpLimit::new(start);
        let mut allowed = |at: Duration| (0..1000).filter(|_| limit.allows(start + at)).count();
        assert_eq!(allowed(Duration::ZERO), 50);
        assert_eq!(allowed(Duration::from_millis(1)), 0);
        assert_eq!(allowed(Duration::from_millis(100)), 20);
        assert_eq!(allowed(Duration::from_secs(60)), 50);
    }
}
