//! The way out of every answer: kept in the cache, held for its addresses, given to who waits.

use std::time::{Duration, Instant};

use weft_model::{DnsSource, ExtendedError};

use super::Engine;
use super::ask::{Ask, Outcome, Waiter};
use super::errors::{self, Failure};
use super::query::Query;
use super::types::{ClientId, Taken};
use crate::cache::Origin;
use crate::message::{self, response_code};

/// How long nobody is asked for a name that there is an earlier answer for, once who was asked has failed (RFC
/// 8767, section 5). Whatever is answered meanwhile ends it.
const RECHECK: Duration = Duration::from_secs(30);

impl Engine {
    /// Gives what an ask came to.
    pub(super) fn finish(&mut self, mut ask: Box<Ask>, outcome: Outcome, now: Instant) {
        self.prefetching -= usize::from(ask.is_prefetch);
        let failure = match outcome {
            Outcome::Waits => return,
            Outcome::Answered(mut answer) => {
                // Goes with the OPT record, but the log has it.
                let error = message::extended_errors(&answer).into_iter().next();
                if !ask.key.key().flags.edns {
                    message::remove_edns(&mut answer);
                }
                let code = message::rcode(&answer);
                if matches!(code, response_code::NO_ERROR | response_code::NAME_ERROR) {
                    self.keep(&ask, &answer, now);
                } else if code == response_code::SERVER_FAILURE && ask.stale.is_some() {
                    return self.give_stale(&mut ask, now);
                }
                let learns = !ask.is_of_portal();
                let found = Found { answer, source: ask.source, error };
                return self.deliver(found, &ask.key, ask.shared, ask.waiters, learns, now);
            }
            Outcome::Failed(failure) => failure,
        };
        if matches!(failure, Failure::Upstream(_)) && ask.stale.is_some() {
            return self.give_stale(&mut ask, now);
        }
        for waiter in ask.waiters {
            self.stats.failed += 1;
            self.give_failure(&waiter, failure, &ask.source, now);
        }
    }

    /// Keeps an answer for whoever asks next.
    fn keep(&mut self, ask: &Ask, answer: &[u8], now: Instant) {
        if ask.generation != self.generation {
            return;
        }
        *self.failing_until(ask.origin) = None;
        if ask.shared.is_some() {
            self.cache.insert(&ask.key.key(), answer, ask.origin, now);
        }
    }

    /// Until when who answers for `origin` is taken to be failing.
    pub(super) fn failing_until(&mut self, origin: Origin) -> &mut Option<Instant> {
        match origin {
            Origin::Upstream => &mut self.upstream_fails,
            Origin::Fallback => &mut self.fallback_fails,
        }
    }

    /// Gives an earlier answer to those who wait; the ask may go on. They no longer count as waiting.
    pub(super) fn give_stale(&mut self, ask: &mut Ask, now: Instant) {
        let Some(stale) = &mut ask.stale else { return };
        stale.at = None;
        let answer = stale.answer.clone();
        *self.failing_until(ask.origin) = Some(now + RECHECK);
        let waiters = std::mem::take(&mut ask.waiters);
        let source = DnsSource::Cache { stale: true };
        for _ in &waiters {
            // They are counted once, and this is what became of them.
            *self.counter(&ask.source) -= 1;
            *self.counter(&source) += 1;
        }
        let found = Found { answer, source, error: None };
        self.deliver(found, &ask.key.clone(), ask.shared.clone(), waiters, true, now);
    }

    /// Gives an answer to those who wait, or holds it.
    fn deliver(
        &mut self,
        mut found: Found,
        key: &crate::cache::KeyBuf,
        shared: Option<Box<[u8]>>,
        waiters: Vec<Waiter>,
        learns: bool,
        now: Instant,
    ) {
        if waiters.is_empty() {
            return;
        }
        match if learns { self.learnable(key.key().name, &found.answer) } else { Learnable::Nothing } {
            Learnable::Nothing => self.give_all(found, waiters, now),
            Learnable::Unreadable => {
                for waiter in waiters {
                    self.stats.failed += 1;
                    self.give_failure(&waiter, Failure::unreadable(), &found.source, now);
                }
            }
            Learnable::Addresses(addresses) => {
                let hold = self.learn(addresses, &mut found.answer);
                if self.config.hold {
                    self.hold(hold, shared, found, waiters, now);
                } else {
                    self.give_all(found, waiters, now);
                }
            }
        }
    }

    /// Gives an answer that stands in `answer` at once, or holds it.
    pub(super) fn offer(
        &mut self,
        client: ClientId,
        query: &Query<'_>,
        source: DnsSource,
        answer: &mut Vec<u8>,
        now: Instant,
    ) -> Taken {
        match self.learnable(query.key.key().name, answer) {
            Learnable::Nothing => {}
            Learnable::Unreadable => {
                return self.fail_now(client, query, Failure::unreadable(), &source, answer, now);
            }
            Learnable::Addresses(_) if self.config.hold && !self.has_room() => {
                return self.refuse(client, query, answer, now);
            }
            Learnable::Addresses(addresses) => {
                let hold = self.learn(addresses, answer);
                if self.config.hold {
                    *self.counter(&source) += 1;
                    let shared = query.shareable.then(|| query.shared_key());
                    let waiters = vec![query.waiter(client, now)];
                    let found = Found { answer: std::mem::take(answer), source, error: None };
                    self.hold(hold, shared, found, waiters, now);
                    return Taken::Waiting;
                }
            }
        }
        *self.counter(&source) += 1;
        message::restore(answer, query.wire);
        message::truncate(answer, query.limit);
        self.note(client, answer, (&source, None), now, now);
        Taken::Answered
    }

    /// Answers at once that there is no answer.
    pub(super) fn fail_now(
        &mut self,
        client: ClientId,
        query: &Query<'_>,
        failure: Failure,
        source: &DnsSource,
        answer: &mut Vec<u8>,
        now: Instant,
    ) -> Taken {
        *self.counter(source) += 1;
        *answer = message::servfail(query.wire);
        let error = failure.error(source);
        message::add_extended_error(answer, query.wire, &error);
        message::truncate(answer, query.limit);
        self.note(client, answer, (source, Some(&error)), now, now);
        Taken::Answered
    }

    /// Answers at once that too many wait.
    pub(super) fn refuse(
        &mut self,
        client: ClientId,
        query: &Query<'_>,
        answer: &mut Vec<u8>,
        now: Instant,
    ) -> Taken {
        self.fail_now(client, query, Failure::TooMany, &DnsSource::Refused, answer, now)
    }

    /// Gives an answer to all of `waiters`.
    pub(super) fn give_all(&mut self, mut found: Found, waiters: Vec<Waiter>, now: Instant) {
        let mut waiters = waiters.into_iter();
        while let Some(waiter) = waiters.next() {
            let is_last = waiters.len() == 0;
            let mut answer = if is_last { std::mem::take(&mut found.answer) } else { found.answer.clone() };
            message::restore(&mut answer, &waiter.head);
            self.give(&waiter, answer, (&found.source, found.error.as_ref()), now);
        }
    }

    pub(super) fn give_failure(
        &mut self,
        waiter: &Waiter,
        failure: Failure,
        source: &DnsSource,
        now: Instant,
    ) {
        let mut answer = message::servfail(&waiter.head);
        let error = failure.error(source);
        message::add_extended_error(&mut answer, &waiter.head, &error);
        self.give(waiter, answer, (source, Some(&error)), now);
    }

    fn give(
        &mut self,
        waiter: &Waiter,
        mut answer: Vec<u8>,
        told: (&DnsSource, Option<&ExtendedError>),
        now: Instant,
    ) {
        message::truncate(&mut answer, waiter.limit);
        self.note(waiter.client, &answer, told, waiter.since, now);
        self.answers.push_back((waiter.client, answer));
    }

    /// The counter of those who are answered by `source`.
    pub(super) fn counter(&mut self, source: &DnsSource) -> &mut u64 {
        match source {
            DnsSource::Local => &mut self.stats.local,
            DnsSource::Hosts => &mut self.stats.hosts,
            DnsSource::Cache { stale: false } => &mut self.stats.cached,
            DnsSource::Cache { stale: true } => &mut self.stats.stale,
            DnsSource::Fallback { .. } => &mut self.stats.fallback,
            DnsSource::Doh | DnsSource::Plain { .. } | DnsSource::System { .. } => &mut self.stats.upstream,
            DnsSource::Portal { .. } => &mut self.stats.portal,
            DnsSource::Refused => &mut self.stats.refused,
        }
    }
}

/// An answer for those who wait.
pub(super) struct Found {
    pub(super) answer: Vec<u8>,
    pub(super) source: DnsSource,
    /// What its resolver said of it, also where its clients are not told.
    pub(super) error: Option<ExtendedError>,
}

/// What a split tunnel learns of an answer.
pub(super) enum Learnable {
    /// No entry matches, or there are no addresses.
    Nothing,
    /// An entry may match, and the addresses cannot be read.
    Unreadable,
    Addresses(Vec<super::types::LearntAddress>),
}

/// Says in a stale answer that it is one.
pub(super) fn mark_stale(answer: &mut Vec<u8>, query: &[u8]) {
    let no_such_name = message::rcode(answer) == response_code::NAME_ERROR;
    message::add_extended_error(answer, query, &errors::stale(no_such_name));
}
