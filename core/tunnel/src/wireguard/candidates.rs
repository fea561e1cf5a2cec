//! The far side's addresses, in the order in which a client tries them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::timers::REKEY_TIMEOUT;

/// How long a candidate has the field to itself where there are others.
const NEXT_CANDIDATE: Duration = Duration::from_secs(1);

/// The candidates and which of them is the turn's.
pub(crate) struct Candidates {
    list: Vec<Candidate>,
    turn: usize,
    /// An address that the far side moved to and that is none of the list's; tried before the list goes on.
    roamed: Option<SocketAddr>,
}

struct Candidate {
    address: SocketAddr,
    tried: Option<Instant>,
}

impl Candidates {
    pub(crate) fn new(addresses: &[SocketAddr]) -> Self {
        let mut list: Vec<Candidate> = Vec::with_capacity(addresses.len());
        for address in addresses {
            if list.iter().all(|candidate| candidate.address != *address) {
                list.push(Candidate { address: *address, tried: None });
            }
        }
        Self { list, turn: 0, roamed: None }
    }

    /// Whose turn it is.
    pub(crate) fn current(&self) -> Option<SocketAddr> {
        self.roamed.or_else(|| self.list.get(self.turn).map(|candidate| candidate.address))
    }

    /// Notes that the far side answers at `address`, so that it is the first one tried next time.
    pub(crate) fn worked(&mut self, address: SocketAddr) {
        match self.list.iter().position(|candidate| candidate.address == address) {
            Some(turn) => (self.turn, self.roamed) = (turn, None),
            None => self.roamed = Some(address),
        }
    }

    /// Notes that the current one is being tried.
    pub(crate) fn tried(&mut self, now: Instant) {
        if let Some(candidate) = self.list.get_mut(self.turn).filter(|_| self.roamed.is_none()) {
            candidate.tried = Some(now);
        }
    }

    /// Gives the turn to the next one that is `usable`, or to the next one where none is.
    pub(crate) fn advance(&mut self, usable: impl Fn(SocketAddr) -> bool) {
        let after_roamed = self.roamed.take().is_some();
        let count = self.list.len();
        let order = (usize::from(!after_roamed)..).map(|step| (self.turn + step) % count.max(1));
        let next = order
            .take(count)
            .find(|turn| self.list.get(*turn).is_some_and(|candidate| usable(candidate.address)));
        self.turn = next.unwrap_or((self.turn + 1) % count.max(1));
    }

    /// When the next one may be tried: soon, yet not within [`REKEY_TIMEOUT`] (and `jitter`) of its last try.
    pub(crate) fn next_try(&self, now: Instant, jitter: Duration) -> Instant {
        let turn = if self.roamed.is_some() { self.turn } else { (self.turn + 1) % self.list.len().max(1) };
        let next = self.list.get(turn);
        let rested = next.and_then(|candidate| candidate.tried).map(|at| at + REKEY_TIMEOUT + jitter);
        let alone = self.list.len() + usize::from(self.roamed.is_some()) < 2;
        let soon = now + if alone { REKEY_TIMEOUT + jitter } else { NEXT_CANDIDATE };
        rested.map_or(soon, |rested| rested.max(soon))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|port| SocketAddr::from(([203, 0, 113, 10], *port))).collect()
    }

    /// The ports tried, each with the milliseconds since the start.
    fn tries(candidates: &mut Candidates, count: usize) -> Vec<(u16, u128)> {
        let start = Instant::now();
        let mut now = start;
        let mut tries = Vec::new();
        for _ in 0..count {
            tries.push((candidates.current().unwrap().port(), (now - start).as_millis()));
            candidates.tried(now);
            now = candidates.next_try(now, Duration::from_millis(100));
            candidates.advance(|_| true);
        }
        tries
    }

    #[test]
    fn each_gets_a_second_and_none_is_tried_twice_within_five() {
        let mut four = Candidates::new(&addresses(&[2408, 500, 1701, 4500]));
        let expected =
            [(2408, 0), (500, 1000), (1701, 2000), (4500, 3000), (2408, 5100), (500, 6100), (1701, 7100)];
        assert_eq!(tries(&mut four, 7), expected);
        let mut one = Candidates::new(&addresses(&[2408, 2408]));
        assert_eq!(tries(&mut one, 3), [(2408, 0), (2408, 5100), (2408, 10_200)]);
    }

    #[test]
    fn the_one_that_worked_comes_first_wherever_it_is() {
        let list = addresses(&[2408, 500, 1701]);
        let mut candidates = Candidates::new(&list);
        candidates.worked(list[1]);
        assert_eq!(tries(&mut candidates, 3), [(500, 0), (1701, 1000), (2408, 2000)]);
        let elsewhere = addresses(&[9]);
        candidates.worked(list[2]);
        candidates.worked(elsewhere[0]);
        let ports: Vec<_> = tries(&mut candidates, 4).into_iter().map(|(port, _)| port).collect();
        assert_eq!(ports, [9, 1701, 2408, 500]);
    }

    #[test]
    fn what_cannot_be_reached_is_passed_over_unless_nothing_can() {
        let mut candidates = Candidates::new(&addresses(&[1, 2, 3]));
        candidates.advance(|address| address.port() == 3);
        assert_eq!(candidates.current().unwrap().port(), 3);
        candidates.advance(|_| false);
        assert_eq!(candidates.current().unwrap().port(), 1);
        assert_eq!(Candidates::new(&[]).current(), None);
    }
}
