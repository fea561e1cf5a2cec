//! The numbering of plans, and what the shell has acknowledged of them.

use weft_model::{Plan, PlanNumber};

/// Numbers plans, holds back those that change nothing, and knows which one is in force.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    last: Option<Plan>,
    acknowledged: PlanNumber,
    /// The last plan failed: asking for the same state again is no repetition.
    failed: bool,
}

impl Plans {
    /// Numbers the state that `plan` asks for. Returns it where the shell must apply it, and in any case the number
    /// whose acknowledgement means that this state is in force.
    pub(crate) fn propose(&mut self, mut plan: Plan) -> (Option<Plan>, PlanNumber) {
        if let Some(last) = self.last.as_ref().filter(|last| !self.failed && last.same_state(&plan)) {
            return (None, last.number);
        }
        plan.number = self.last_number() + 1;
        self.failed = false;
        self.last = Some(plan.clone());
        (Some(plan), self.last_number())
    }

    /// The state asked for last, to be asked for again under its own number.
    pub(crate) fn reassert(&self) -> Option<Plan> {
        self.last.clone()
    }

    /// The shell applied `number`, and with it every one below. Numbers never given out are ignored.
    pub(crate) fn acknowledge(&mut self, number: PlanNumber) {
        self.acknowledged = self.acknowledged.max(number.min(self.last_number()));
    }

    /// The shell could not apply `number`. Says whether that was the last one.
    pub(crate) fn fail(&mut self, number: PlanNumber) -> bool {
        self.failed |= number == self.last_number();
        number == self.last_number()
    }

    /// What the shell applied is no longer there: asking for the same state again is no repetition.
    pub(crate) fn spoil(&mut self) {
        self.failed = true;
    }

    /// Whether the last plan is not in force because it failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether the shell is still at work on a plan.
    pub(crate) fn is_in_flight(&self) -> bool {
        !self.failed && self.acknowledged < self.last_number()
    }

    pub(crate) fn is_acknowledged(&self, number: PlanNumber) -> bool {
        !self.failed && self.acknowledged >= number
    }

    pub(crate) fn acknowledged(&self) -> PlanNumber {
        self.acknowledged
    }

    fn last_number(&self) -> PlanNumber {
        self.last.as_ref().map_or(0, |plan| plan.number)
    }
}

#[cfg(test)]
mod tests {
    use weft_model::FirewallPlan;

    use super::*;

    fn blocked() -> Plan {
        let firewall = FirewallPlan::Enforced { tunnelled: Vec::new(), openings: Vec::new() };
        Plan { firewall, ..Plan::disconnected(0) }
    }

    #[test]
    fn an_equal_plan_is_not_emitted_again() {
        let mut plans = Plans::default();
        assert_eq!(plans.propose(blocked()).0.unwrap().number, 1);
        assert_eq!(plans.propose(blocked()), (None, 1));
        assert_eq!(plans.propose(Plan::disconnected(0)).1, 2);
        assert_eq!(plans.propose(blocked()).1, 3);
    }

    #[test]
    fn acknowledging_a_number_acknowledges_all_below_and_none_above() {
        let mut plans = Plans::default();
        plans.propose(blocked());
        plans.propose(Plan::disconnected(0));
        plans.acknowledge(9);
        assert!(plans.is_acknowledged(1) && plans.is_acknowledged(2));
        assert_eq!(plans.acknowledged(), 2);
    }

    #[test]
    fn a_failed_plan_may_be_emitted_again() {
        let mut plans = Plans::default();
        plans.propose(blocked());
        assert!(plans.fail(1));
        assert!(!plans.is_acknowledged(1));
        assert_eq!(plans.propose(blocked()).0.unwrap().number, 2);
        assert!(!plans.fail(1), "an older plan's failure does not matter any more");
        assert!(!plans.is_acknowledged(2));
    }
}
