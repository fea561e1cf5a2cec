//! The addresses learnt for the split tunnel's host entries.

use std::collections::hash_map::Entry::Vacant;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use weft_model::PlanNumber;

use crate::set::NetSet;

/// Learnt addresses, each until its moment: the answer's TTL and a grace for connections that are under way, which
/// whoever inserts adds up. Bounded: where the table is full, the addresses that would end first make room, or an
/// answer is refused.
///
/// An address whose moment has come stays until [`LearntHosts::expire`], which belongs before the making of a plan:
/// until then it is in the plan in force, and one that is learnt again meanwhile needs no other.
#[derive(Debug, Clone)]
pub struct LearntHosts {
    capacity: usize,
    entries: HashMap<IpAddr, Entry>,
    order: BTreeSet<(Instant, IpAddr)>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    end: Instant,
    /// The lowest number of a plan that has it, of those that were made since it came in.
    plan: Option<PlanNumber>,
}

/// The table is full of addresses that are still in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the table of addresses learnt for split-tunnel hosts is full")]
pub struct LearntFull;

impl LearntHosts {
    /// A table for up to `capacity` addresses, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), entries: HashMap::new(), order: BTreeSet::new() }
    }

    /// Takes the addresses of one answer in until `end`, or later where they are in until later already. Returns
    /// whether one of them is new. Of more addresses than the table holds, the first stay. Where the table is full,
    /// addresses that end by `expendable` make room; where it is none, any.
    ///
    /// # Errors
    /// There is no room: nothing was taken in.
    pub fn insert(
        &mut self,
        addresses: &[IpAddr],
        end: Instant,
        expendable: Option<Instant>,
    ) -> Result<bool, LearntFull> {
        let own: BTreeSet<IpAddr> = addresses.iter().take(self.capacity).copied().collect();
        let new = own.iter().filter(|address| !self.entries.contains_key(address)).count();
        for leaves in self.room_for(&own, new, expendable)? {
            self.order.remove(&leaves);
            self.entries.remove(&leaves.1);
        }
        for address in addresses {
            if let Some(known) = self.entries.get_mut(address).filter(|known| known.end < end) {
                self.order.remove(&(known.end, *address));
                self.order.insert((end, *address));
                known.end = end;
            }
        }
        for address in own {
            if let Vacant(place) = self.entries.entry(address) {
                place.insert(Entry { end, plan: None });
                self.order.insert((end, address));
            }
        }
        Ok(new > 0)
    }

    /// Who makes room for `new` more addresses. An answer must not push its own out.
    fn room_for(
        &self,
        own: &BTreeSet<IpAddr>,
        new: usize,
        expendable: Option<Instant>,
    ) -> Result<Vec<(Instant, IpAddr)>, LearntFull> {
        let missing = (self.entries.len() + new).saturating_sub(self.capacity);
        let leaves: Vec<_> = self
            .order
            .iter()
            .take_while(|(end, _)| expendable.is_none_or(|limit| *end <= limit))
            .filter(|(_, address)| !own.contains(address))
            .take(missing)
            .copied()
            .collect();
        if leaves.len() < missing { Err(LearntFull) } else { Ok(leaves) }
    }

    /// Lets go of the addresses whose moment has come.
    pub fn expire(&mut self, now: Instant) {
        while self.order.first().is_some_and(|(end, _)| *end <= now) {
            if let Some((_, address)) = self.order.pop_first() {
                self.entries.remove(&address);
            }
        }
    }

    /// Lets go of the addresses that are not in `wanted`.
    pub fn retain(&mut self, wanted: &NetSet) {
        self.entries.retain(|address, _| wanted.contains(*address));
        self.order.retain(|(_, address)| wanted.contains(*address));
    }

    /// These addresses are in no plan that was made so far.
    pub fn unplan(&mut self, addresses: &NetSet) {
        for (_, entry) in self.entries.iter_mut().filter(|(address, _)| addresses.contains(**address)) {
            entry.plan = None;
        }
    }

    /// Lets go of every address.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }

    /// The plan `number` was made with every address that is in.
    pub fn planned(&mut self, number: PlanNumber) {
        for entry in self.entries.values_mut() {
            entry.plan.get_or_insert(number);
        }
    }

    /// The lowest number of a plan whose acknowledgement means that all of `addresses` are in force; none where one
    /// of them is in no plan.
    #[must_use]
    pub fn plan_of(&self, addresses: &[IpAddr]) -> Option<PlanNumber> {
        let mut highest = 0;
        for address in addresses {
            highest = self.entries.get(address)?.plan?.max(highest);
        }
        Some(highest)
    }

    /// The moment at which `address` ends; none where it is not in the table.
    #[must_use]
    pub fn end_of(&self, address: IpAddr) -> Option<Instant> {
        self.entries.get(&address).map(|entry| entry.end)
    }

    /// How many addresses are in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The addresses, for a plan.
    #[must_use]
    pub fn addresses(&self) -> NetSet {
        self.entries.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([198, 51, 100, last])
    }

    #[test]
    fn an_address_is_in_until_the_expiry_after_its_moment() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut learnt = LearntHosts::new(8);
        assert_eq!(learnt.insert(&[address(1)], at(10), None), Ok(true));
        assert_eq!(learnt.insert(&[address(1)], at(30), None), Ok(false), "longer, but nothing new");
        assert_eq!(learnt.insert(&[address(1)], at(20), None), Ok(false), "never shortened");
        assert_eq!(learnt.end_of(address(1)), Some(at(30)));
        learnt.expire(at(29));
        assert_eq!(learnt.len(), 1);
        learnt.expire(at(30));
        assert!(learnt.is_empty());
    }

    #[test]
    fn an_address_that_is_learnt_again_after_its_moment_needs_no_other_plan() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut learnt = LearntHosts::new(8);
        learnt.insert(&[address(1)], at(10), None).unwrap();
        learnt.planned(4);
        assert_eq!(learnt.insert(&[address(1)], at(40), None), Ok(false));
        learnt.expire(at(20));
        assert_eq!(learnt.plan_of(&[address(1)]), Some(4));
    }

    #[test]
    fn an_answer_waits_for_the_last_plan_that_one_of_its_addresses_came_with() {
        let end = Instant::now() + Duration::from_secs(10);
        let mut learnt = LearntHosts::new(8);
        learnt.insert(&[address(1)], end, None).unwrap();
        assert_eq!(learnt.plan_of(&[address(1)]), None);
        learnt.planned(3);
        learnt.insert(&[address(1), address(2)], end, None).unwrap();
        assert_eq!(learnt.plan_of(&[address(1), address(2)]), None);
        learnt.planned(5);
        assert_eq!(learnt.plan_of(&[address(1)]), Some(3));
        assert_eq!(learnt.plan_of(&[address(1), address(2)]), Some(5));
    }

    #[test]
    fn a_full_table_lets_the_first_to_end_go_and_never_an_answers_own() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut learnt = LearntHosts::new(3);
        learnt.insert(&[address(1)], at(30), None).unwrap();
        learnt.insert(&[address(2)], at(20), None).unwrap();
        learnt.insert(&[address(3)], at(40), None).unwrap();
        assert_eq!(learnt.insert(&[address(4), address(5)], at(10), None), Ok(true));
        let left = [3, 4, 5].map(address).into_iter().collect::<NetSet>();
        assert_eq!(learnt.addresses(), left);

        learnt.insert(&[address(4), address(6), address(7)], at(15), None).unwrap();
        let left = [4, 6, 7].map(address).into_iter().collect::<NetSet>();
        assert_eq!(learnt.addresses(), left, "the known one among them is the first to end");
    }

    #[test]
    fn a_full_table_refuses_an_answer_whole_where_too_few_may_leave() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut learnt = LearntHosts::new(3);
        learnt.insert(&[1, 2, 3].map(address), at(30), None).unwrap();
        let before = learnt.addresses();
        assert_eq!(learnt.insert(&[address(1), address(4)], at(90), Some(at(29))), Err(LearntFull));
        assert_eq!((learnt.addresses(), learnt.end_of(address(1))), (before, Some(at(30))));
        assert_eq!(learnt.insert(&[address(1)], at(40), Some(at(29))), Ok(false), "it needs no room");
        let four = [4, 5, 6].map(address);
        assert_eq!(learnt.insert(&four, at(90), Some(at(30))), Err(LearntFull), "one of three is in use");
        assert_eq!(learnt.insert(&four[..2], at(90), Some(at(30))), Ok(true));
        assert_eq!(learnt.addresses(), [1, 4, 5].map(address).into_iter().collect::<NetSet>());
    }

    proptest! {
        #[test]
        fn the_table_is_bounded_whole_and_tells_what_is_new(
            calls in prop::collection::vec((prop::collection::vec(0_u8..12, 1..4), 1_u64..50, 0_u64..6), 1..60)
        ) {
            let mut now = Instant::now();
            let mut learnt = LearntHosts::new(5);
            for (lasts, ttl, wait) in calls {
                now += Duration::from_secs(wait);
                let addresses: Vec<IpAddr> = lasts.into_iter().map(address).collect();
                let known = addresses.iter().all(|address| learnt.end_of(*address).is_some());
                prop_assert_eq!(learnt.insert(&addresses, now + Duration::from_secs(ttl), None), Ok(!known));
                prop_assert!(addresses.iter().all(|address| learnt.end_of(*address).is_some()));
                prop_assert!(learnt.len() <= 5);
                prop_assert_eq!(learnt.entries.len(), learnt.order.len());
                prop_assert!(learnt.order.iter().all(|(end, address)| learnt.end_of(*address) == Some(*end)));
                if wait == 0 {
                    learnt.expire(now);
                    prop_assert!(learnt.entries.values().all(|entry| entry.end > now));
                }
            }
        }
    }
}
