//! Answers whose addresses must lead the right way before anybody uses them.

use std::time::{Duration, Instant};

use weft_model::DnsSource;
use weft_model::profile::HostPattern;
use weft_policy::HostRules;

use super::ask::Waiter;
use super::errors::Failure;
use super::finish::Learnable;
use super::query::Query;
use super::types::{ClientId, HoldId, Learnt, LearntAddress, Taken};
use super::{Engine, MAX_IN_FLIGHT, MAX_WAITERS, Timer};
use crate::message::{self, Resolved, record_type};

/// How long an answer waits for its addresses.
pub const HOLD_DEADLINE: Duration = Duration::from_secs(2);

/// An answer that waits.
pub(super) struct Hold {
    shared: Option<Box<[u8]>>,
    answer: Vec<u8>,
    waiters: Vec<Waiter>,
    source: DnsSource,
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
        let is_entry = self.host_rules.find(name).is_some();
        if !is_entry && !has_alias(answer) {
            return Learnable::Nothing;
        }
        let Some(resolved) = message::resolved(answer) else {
            return if is_entry { Learnable::Unreadable } else { Learnable::Nothing };
        };
        if resolved.addresses.is_empty() || matching(&self.host_rules, &resolved).is_none() {
            return Learnable::Nothing;
        }
        let learnt = resolved.addresses.into_iter().map(|(address, ttl)| LearntAddress { address, ttl });
        Learnable::Addresses(learnt.collect())
    }

    /// Tells of addresses.
    pub(super) fn learn(&mut self, addresses: Vec<LearntAddress>) -> HoldId {
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
        answer: Vec<u8>,
        waiters: Vec<Waiter>,
        source: DnsSource,
        now: Instant,
    ) {
        let deadline = now + HOLD_DEADLINE;
        self.stats.held += waiters.len() as u64;
        self.waiting += waiters.len();
        self.timers.insert((deadline, Timer::Hold(number)));
        if let Some(shared) = &shared {
            self.held.insert(shared.clone(), number);
        }
        self.holds.insert(number, Hold { shared, answer, waiters, source, deadline });
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
        let source = hold.source.clone();
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
            Ok(()) => self.give_all(hold.answer, hold.waiters, &hold.source, now),
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
        if is_of_service(&hold.answer) && without_addresses(&mut hold.answer) {
            return self.give_all(hold.answer, hold.waiters, &hold.source, now);
        }
        for waiter in hold.waiters {
            self.give_failure(&waiter, Failure::Hold, &hold.source, now);
        }
    }
}

fn has_alias(answer: &[u8]) -> bool {
    message::question_place(answer).is_some_and(|place| {
        message::records(answer, place.end).flatten().any(|record| record.kind == record_type::CNAME)
    })
}

fn is_of_service(answer: &[u8]) -> bool {
    message::question_place(answer)
        .is_some_and(|place| matches!(place.kind, record_type::SVCB | record_type::HTTPS))
}

/// Takes the hints out; says whether no address is left.
fn without_addresses(answer: &mut Vec<u8>) -> bool {
    message::remove_hints(answer).is_some()
        && message::resolved(answer).is_some_and(|resolved| resolved.addresses.is_empty())
}
