//! Answers whose addresses must lead the right way before anybody uses them.

use std::time::{Duration, Instant};

use weft_model::profile::HostPattern;
use weft_policy::HostRules;

use super::ask::Waiter;
use super::errors::Failure;
use super::finish::{Found, Learnable};
use super::query::Query;
use super::types::{ClientId, HoldId, Learnt, LearntAddress, Taken};
use super::{Engine, MAX_IN_FLIGHT, MAX_WAITERS, Timer};
use crate::message::{self, Name, Resolved, record_type};

/// How long an answer waits for its addresses.
pub const HOLD_DEADLINE: Duration = Duration::from_secs(2);

/// The longest TTL of an answer whose addresses are learnt: they are kept for no longer, and clients must not be.
const MAX_LEARNT_TTL: Duration = Duration::from_secs(7 * 86_400);

/// An answer that waits.
pub(super) struct Hold {
    shared: Option<Box<[u8]>>,
    found: Found,
    waiters: Vec<Waiter>,
    deadline: Instant,
}

/// The entry that the name asked for, or another owner of a CNAME that leads on from it, matches.
pub(super) fn matching<'a>(rules: &'a HostRules, resolved: &Resolved) -> Option<&'a HostPattern> {
    resolved.owners.iter().find_map(|owner| rules.find(owner.as_bytes()))
}

impl Engine {
    /// What is learnt of an answer to a query for `name`, which is in lower case.
    pub(super) fn learnable(&self, name: &[u8], answer: &[u8]) -> Learnable {
        if self.host_rules.is_empty() {
            return Learnable::Nothing;
        }
        if self.host_rules.find(name).is_none() && !message::may_lead_on(answer) {
            return Learnable::Nothing;
        }
        // What cannot be read may hold an address of an entry, and a client may read it.
        let Some(resolved) = message::resolved(answer) else { return Learnable::Unreadable };
        let mut learnt = match matching(&self.host_rules, &resolved) {
            Some(_) => resolved.addresses,
            None => Vec::new(),
        };
        let known = learnt.len();
        let is_entry = |owner: &Name| self.host_rules.find(owner.as_bytes()).is_some();
        let additional = resolved.additional.into_iter().filter(|(owner, ..)| is_entry(owner));
        learnt.extend(additional.map(|(_, address, ttl)| (address, ttl)));
        if learnt.len() > known {
            learnt.sort_unstable();
            learnt.dedup();
        }
        if learnt.is_empty() {
            return Learnable::Nothing;
        }
        let cap = |(address, ttl): (_, Duration)| LearntAddress { address, ttl: ttl.min(MAX_LEARNT_TTL) };
        Learnable::Addresses(learnt.into_iter().map(cap).collect())
    }

    /// Tells of the addresses of an answer, and lets nobody keep it for longer than these.
    pub(super) fn learn(&mut self, addresses: Vec<LearntAddress>, answer: &mut [u8]) -> HoldId {
        message::cap_ttls(answer, u32::try_from(MAX_LEARNT_TTL.as_secs()).unwrap_or(u32::MAX));
        let hold = HoldId(self.next);
        self.next += 1;
        if self.learnt.len() < MAX_IN_FLIGHT {
            self.learnt.push_back(Learnt { hold, addresses });
        }
        hold
    }

    /// Holds an answer back.
    pub(super) fn hold(
        &mut self,
        HoldId(number): HoldId,
        shared: Option<Box<[u8]>>,
        found: Found,
        waiters: Vec<Waiter>,
        now: Instant,
    ) {
        let deadline = now + HOLD_DEADLINE;
        self.stats.held += waiters.len() as u64;
        self.waiting += waiters.len();
        self.timers.insert((deadline, Timer::Hold(number)));
        if let Some(shared) = &shared {
            self.held.insert(shared.clone(), number);
        }
        self.holds.insert(number, Hold { shared, found, waiters, deadline });
    }

    /// Lets a query wait for an answer that is held already.
    pub(super) fn join_hold(
        &mut self,
        client: ClientId,
        query: &Query<'_>,
        answer: &mut Vec<u8>,
        now: Instant,
    ) -> Option<Taken> {
        if self.held.is_empty() {
            return None;
        }
        let number = self.held.get(&query.shared_key())?;
        let full = self.is_full();
        let hold = self.holds.get_mut(number)?;
        if full || hold.waiters.len() >= MAX_WAITERS {
            return Some(self.refuse(client, query, answer, now));
        }
        hold.waiters.push(query.waiter(client, now));
        let source = hold.found.source.clone();
        *self.counter(&source) += 1;
        self.stats.joined += 1;
        self.stats.held += 1;
        self.waiting += 1;
        Some(Taken::Waiting)
    }

    /// The plan with an answer's addresses is in force, or will not be. Unknown holds are passed over: they may have
    /// ended by their deadline.
    pub fn release(&mut self, hold: HoldId, result: Result<(), String>, now: Instant) {
        let Some(hold) = self.take_hold(hold.0) else { return };
        match result {
            Ok(()) => self.give_all(hold.found, hold.waiters, now),
            Err(_) => self.fail_hold(hold, now),
        }
    }

    /// A hold's deadline has come.
    pub(super) fn hold_is_due(&mut self, number: u64, now: Instant) {
        if let Some(hold) = self.take_hold(number) {
            self.fail_hold(hold, now);
        }
    }

    fn take_hold(&mut self, number: u64) -> Option<Hold> {
        let hold = self.holds.remove(&number)?;
        self.timers.remove(&(hold.deadline, Timer::Hold(number)));
        if let Some(shared) = &hold.shared
            && self.held.get(shared) == Some(&number)
        {
            self.held.remove(shared);
        }
        self.waiting -= hold.waiters.len();
        Some(hold)
    }

    /// Gives what is left of an answer without its addresses: the services it names, else nothing.
    fn fail_hold(&mut self, mut hold: Hold, now: Instant) {
        self.stats.hold_failures += hold.waiters.len() as u64;
        if is_of_service(&hold.found.answer) && without_addresses(&mut hold.found.answer) {
            return self.give_all(hold.found, hold.waiters, now);
        }
        for waiter in hold.waiters {
            self.give_failure(&waiter, Failure::Hold, &hold.found.source, now);
        }
    }
}

fn is_of_service(answer: &[u8]) -> bool {
    message::question_place(answer)
        .is_some_and(|place| matches!(place.kind, record_type::SVCB | record_type::HTTPS))
}

/// Takes the hints out; says whether no address is left.
fn without_addresses(answer: &mut Vec<u8>) -> bool {
    message::remove_hints(answer).is_some()
        && message::resolved(answer)
            .is_some_and(|resolved| resolved.addresses.is_empty() && resolved.additional.is_empty())
}
