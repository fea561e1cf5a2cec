//! The addresses learnt for the split tunnel's host entries.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use crate::set::NetSet;

/// Learnt addresses, each until its moment: the answer's TTL and a grace for connections that are under way, which
/// whoever inserts adds up. Bounded: where the table is full, the address that would end first makes room.
///
/// The set only changes by calls; an address whose moment has come is in it until [`LearntHosts::expire`].
#[derive(Debug, Clone)]
pub struct LearntHosts {
    capacity: usize,
    ends: HashMap<IpAddr, Instant>,
    order: BTreeSet<(Instant, IpAddr)>,
}

impl LearntHosts {
    /// A table for up to `capacity` addresses, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), ends: HashMap::new(), order: BTreeSet::new() }
    }

    /// Takes `address` in until `end`, or later where it is in until later already. Returns whether the set of
    /// addresses changed.
    pub fn insert(&mut self, address: IpAddr, end: Instant, now: Instant) -> bool {
        if let Some(known) = self.ends.get_mut(&address) {
            if *known < end {
                self.order.remove(&(*known, address));
                self.order.insert((end, address));
                *known = end;
            }
            return self.expire(now);
        }
        let changed = self.expire(now);
        if end <= now {
            return changed;
        }
        if self.ends.len() >= self.capacity {
            self.remove_first();
        }
        self.ends.insert(address, end);
        self.order.insert((end, address));
        true
    }

    /// Lets go of the addresses whose moment has come. Returns whether there were any.
    pub fn expire(&mut self, now: Instant) -> bool {
        let mut changed = false;
        while self.next_end().is_some_and(|end| end <= now) {
            self.remove_first();
            changed = true;
        }
        changed
    }

    /// The moment at which the next address ends; none where the table is empty.
    #[must_use]
    pub fn next_end(&self) -> Option<Instant> {
        self.order.first().map(|(end, _)| *end)
    }

    /// The moment at which `address` ends; none where it is not in the table.
    #[must_use]
    pub fn end_of(&self, address: IpAddr) -> Option<Instant> {
        self.ends.get(&address).copied()
    }

    /// The addresses with their ends, the first to end first.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, Instant)> {
        self.order.iter().map(|(end, address)| (*address, *end))
    }

    /// The addresses that are in at `now`, for a plan.
    #[must_use]
    pub fn addresses(&self, now: Instant) -> NetSet {
        self.iter().filter(|(_, end)| *end > now).map(|(address, _)| address).collect()
    }

    fn remove_first(&mut self) {
        if let Some((_, address)) = self.order.pop_first() {
            self.ends.remove(&address);
        }
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
    fn an_address_is_in_until_its_moment() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut learnt = LearntHosts::new(8);
        assert!(learnt.insert(address(1), at(10), start));
        assert!(!learnt.insert(address(1), at(30), at(5)), "longer, but the same set");
        assert!(!learnt.insert(address(1), at(20), at(6)), "never shortened");
        assert_eq!(learnt.next_end(), Some(at(30)));
        assert!(!learnt.expire(at(29)));
        assert!(learnt.addresses(at(29)).contains(address(1)));
        assert!(!learnt.addresses(at(30)).contains(address(1)));
        assert!(learnt.expire(at(30)));
        assert_eq!(learnt.next_end(), None);
        assert!(!learnt.insert(address(2), at(30), at(30)), "already over");
    }

    #[test]
    fn a_full_table_lets_the_first_to_end_go() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut learnt = LearntHosts::new(2);
        learnt.insert(address(1), at(30), start);
        learnt.insert(address(2), at(10), start);
        assert!(learnt.insert(address(3), at(20), start));
        let left: Vec<IpAddr> = learnt.iter().map(|(address, _)| address).collect();
        assert_eq!(left, [address(3), address(1)]);
    }

    proptest! {
        #[test]
        fn the_table_is_bounded_whole_and_tells_its_changes(
            calls in prop::collection::vec((0_u8..12, 1_u64..50, 0_u64..6), 1..60)
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut learnt = LearntHosts::new(5);
            for (last, ttl, wait) in calls {
                now += Duration::from_secs(wait);
                let before: BTreeSet<IpAddr> = learnt.ends.keys().copied().collect();
                let changed = learnt.insert(address(last), now + Duration::from_secs(ttl), now);
                let after: BTreeSet<IpAddr> = learnt.ends.keys().copied().collect();
                prop_assert_eq!(changed, before != after);
                prop_assert!(after.contains(&address(last)));
                prop_assert!(learnt.ends.len() <= 5);
                prop_assert_eq!(learnt.ends.len(), learnt.order.len());
                prop_assert!(learnt.iter().all(|(address, end)| learnt.end_of(address) == Some(end)));
                prop_assert!(learnt.next_end().is_some_and(|end| end > now));
            }
        }
    }
}
