//! The engine: queries in, requests out, answers back.

mod ask;
mod decide;
mod errors;
mod finish;
mod hold;
mod query;
mod types;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use weft_model::{DNS_SELF_CHECK_NAME, DnsLogEntry, DnsSource, DnsStats, DomainName};
use weft_policy::{FallbackRules, HostRules, domains};

use self::ask::{Ask, Waiter};
use self::errors::Failure;
use self::finish::mark_stale;
pub use self::hold::HOLD_DEADLINE;
use self::hold::Hold;
use self::query::Query;
pub use self::types::{
    ClientId, HoldId, Learnt, LearntAddress, Protocol, Request, RequestId, Taken, Target, UpstreamError,
    UpstreamErrorKind, Way,
};
pub use self::watch::MAX_LOGGED;
use self::watch::Traced;
use crate::Entropy;
use crate::cache::{Cache, Lookup, Origin};
use crate::config::{DnsConfig, Upstream};
use crate::hosts::HostsFile;
use crate::message;

/// How long a query waits for an answer before it is answered with SERVFAIL.
pub const QUERY_DEADLINE: Duration = Duration::from_secs(5);
/// The most questions that are out or held at once; more get SERVFAIL at once. At usual lengths (100 bytes) they take
/// less than 1 MiB; at [`MAX_QUERY`], each once and once a resolver asked, at most 36 MiB.
pub const MAX_IN_FLIGHT: usize = 1024;
/// The most who wait for the same answer.
pub const MAX_WAITERS: usize = 64;
/// The most who wait in all: each takes at most 400 bytes, so all take 1.6 MiB.
pub const MAX_WAITING: usize = 4096;
/// The longest query in bytes: a name of 255 and room for EDNS options and signatures. Longer is malformed.
pub const MAX_QUERY: usize = 4096;

/// The most resolvers asked at once for one question.
const MAX_ASKED: usize = 8;
/// The most questions that are out for popular names alone.
const MAX_PREFETCHING: usize = 64;

/// What a moment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Ask(u64),
    Hold(u64),
}

/// A resolver of DNS queries that asks others.
///
/// After any `handle_*` call, and any that says so, poll [`poll_answer`](Self::poll_answer),
/// [`poll_learnt`](Self::poll_learnt), [`poll_request`](Self::poll_request),
/// [`poll_cancelled`](Self::poll_cancelled), [`poll_timeout`](Self::poll_timeout) and, while the log is on,
/// [`poll_logged`](Self::poll_logged).
pub struct Engine {
    config: DnsConfig,
    rules: FallbackRules,
    host_rules: HostRules,
    hosts: HostsFile,
    self_name: Box<[u8]>,
    entropy: Box<dyn Entropy>,
    cache: Cache,
    /// Grows where other rules or resolvers, or another network, make earlier answers wrong.
    generation: u64,
    /// The number of the next ask or hold.
    next: u64,
    asks: BTreeMap<u64, Box<Ask>>,
    /// Asks by what others who ask the same find them by.
    joins: BTreeMap<Box<[u8]>, u64>,
    holds: BTreeMap<u64, Hold>,
    held: BTreeMap<Box<[u8]>, u64>,
    timers: BTreeSet<(Instant, Timer)>,
    /// Who waits in all, for asks and for holds.
    waiting: usize,
    prefetching: usize,
    /// Resolvers that gave a question back in another case than it was asked in, and how often in a row.
    folding: HashMap<IpAddr, u8>,
    upstream_fails: Option<Instant>,
    fallback_fails: Option<Instant>,
    portal: Option<Instant>,
    requests: VecDeque<Request>,
    cancelled: VecDeque<RequestId>,
    answers: VecDeque<(ClientId, Vec<u8>)>,
    learnt: VecDeque<Learnt>,
    traced: VecDeque<Traced>,
    /// What is to be told while the log is on.
    log: Option<VecDeque<DnsLogEntry>>,
    stats: DnsStats,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("asks", &self.asks.len())
            .field("holds", &self.holds.len())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine that asks the system's resolvers, of which it knows none yet. Ids, the case of questions and the
    /// cache's hashes come from `entropy`.
    #[must_use]
    pub fn new(mut entropy: Box<dyn Entropy>) -> Self {
        let config = DnsConfig::default();
        let mut seed = [0; 16];
        entropy.fill(&mut seed);
        let self_name = DNS_SELF_CHECK_NAME.parse::<DomainName>().map(|name| domains::wire(&name));
        Self {
            cache: Cache::new(config.cache_bytes, seed),
            config,
            rules: FallbackRules::default(),
            host_rules: HostRules::default(),
            hosts: HostsFile::default(),
            self_name: self_name.unwrap_or_default().into(),
            entropy,
            generation: 0,
            next: 0,
            asks: BTreeMap::new(),
            joins: BTreeMap::new(),
            holds: BTreeMap::new(),
            held: BTreeMap::new(),
            timers: BTreeSet::new(),
            waiting: 0,
            prefetching: 0,
            folding: HashMap::new(),
            upstream_fails: None,
            fallback_fails: None,
            portal: None,
            requests: VecDeque::new(),
            cancelled: VecDeque::new(),
            answers: VecDeque::new(),
            learnt: VecDeque::new(),
            traced: VecDeque::new(),
            log: None,
            stats: DnsStats::default(),
        }
    }

    /// Takes another configuration. What is in flight stays so, but is neither kept nor shared where rules or
    /// resolvers are others; what the cache holds of these is forgotten.
    pub fn set_config(&mut self, config: DnsConfig, _now: Instant) {
        let former = std::mem::replace(&mut self.config, config);
        let config = &self.config;
        let rules = former.fallback != config.fallback;
        let upstream = former.upstream != config.upstream;
        let system = former.system_resolvers != config.system_resolvers;
        if rules {
            self.rules = FallbackRules::new(&config.fallback);
        }
        if former.hosts != config.hosts {
            self.host_rules = HostRules::new(&config.hosts);
        }
        if former.cache_bytes != config.cache_bytes {
            self.cache.set_max_bytes(config.cache_bytes);
        }
        if rules {
            self.cache.clear();
        } else if upstream {
            self.cache.forget_origin(Origin::Upstream);
        }
        // The answers of the system's resolvers are of that origin as well.
        if system || upstream && [&former.upstream, &config.upstream].contains(&&Upstream::System) {
            self.cache.forget_origin(Origin::Fallback);
        }
        if rules || upstream || system {
            self.start_anew();
        }
    }

    /// What is in flight is of a time that is over.
    fn start_anew(&mut self) {
        self.generation += 1;
        self.joins.clear();
        (self.upstream_fails, self.fallback_fails) = (None, None);
    }

    /// Takes a query. An answer that is known at once is put into `answer`, which is emptied first; one from the
    /// cache allocates nothing but what `answer` lacks.
    pub fn handle_query(
        &mut self,
        client: ClientId,
        protocol: Protocol,
        query: &[u8],
        answer: &mut Vec<u8>,
        now: Instant,
    ) -> Taken {
        answer.clear();
        self.stats.queries += 1;
        let query = match Query::read(query, protocol) {
            Ok(query) => query,
            Err(refusal) => {
                self.stats.refused += 1;
                let Some(response_code) = refusal else { return Taken::Dropped };
                *answer = message::error(query, response_code);
                self.note(client, answer, (&DnsSource::Refused, None), now, now);
                return Taken::Answered;
            }
        };
        if self.is_self_check(query.key.key().name) {
            self.stats.local += 1;
            *answer = self.self_check(&query);
            self.note(client, answer, (&DnsSource::Local, None), now, now);
            return Taken::Answered;
        }
        if self.has_portal(now) {
            return self.forward(client, &query, true, None, answer, now);
        }
        if let Some(known) = self.answer_of_hosts(&query) {
            *answer = known;
            return self.offer(client, &query, DnsSource::Hosts, answer, now);
        }
        if !query.shareable {
            return self.forward(client, &query, false, None, answer, now);
        }
        if let Some(taken) = self.join_hold(client, &query, answer, now) {
            return taken;
        }
        let mut stale = None;
        match self.cache.get(&query.key.key(), now, answer) {
            Lookup::Fresh { refresh, .. } => {
                if refresh {
                    self.prefetch(&query, now);
                }
                return self.offer(client, &query, DnsSource::Cache { stale: false }, answer, now);
            }
            Lookup::Stale { over, origin } => {
                if self.config.serve_stale.is_some_and(|longest| over <= longest) {
                    mark_stale(answer, query.wire);
                    if self.failing_until(origin).is_some_and(|until| now < until) {
                        return self.offer(client, &query, DnsSource::Cache { stale: true }, answer, now);
                    }
                    stale = Some(std::mem::take(answer));
                }
            }
            Lookup::Miss => {}
        }
        self.forward(client, &query, false, stale, answer, now)
    }

    /// Asks others, or lets the query wait with those who asked the same.
    fn forward(
        &mut self,
        client: ClientId,
        query: &Query<'_>,
        portal: bool,
        stale: Option<Vec<u8>>,
        answer: &mut Vec<u8>,
        now: Instant,
    ) -> Taken {
        answer.clear();
        let shared = (query.shareable && !portal).then(|| query.shared_key());
        if let Some(number) = shared.as_ref().and_then(|shared| self.joins.get(shared)).copied() {
            return self.join(number, client, query, answer, now);
        }
        if !self.has_room() || self.is_full() {
            return self.refuse(client, query, answer, now);
        }
        let route = self.route(query.key.key().name, portal);
        if route.targets.is_empty() {
            if let Some(stale) = stale {
                *answer = stale;
                return self.offer(client, query, DnsSource::Cache { stale: true }, answer, now);
            }
            self.stats.failed += 1;
            return self.fail_now(client, query, Failure::Nobody, &route.source, answer, now);
        }
        *self.counter(&route.source) += 1;
        self.ask(query, shared, route, vec![query.waiter(client, now)], stale, now);
        Taken::Waiting
    }

    /// Lets a query wait for the answer to the same one of somebody else.
    fn join(
        &mut self,
        number: u64,
        client: ClientId,
        query: &Query<'_>,
        answer: &mut Vec<u8>,
        now: Instant,
    ) -> Taken {
        let full = self.is_full();
        let Some(ask) = self.asks.get_mut(&number) else { return self.refuse(client, query, answer, now) };
        if let Some(stale) = ask.stale.as_ref().filter(|stale| stale.at.is_none()) {
            answer.extend_from_slice(&stale.answer);
            return self.offer(client, query, DnsSource::Cache { stale: true }, answer, now);
        }
        if full || ask.waiters.len() >= MAX_WAITERS {
            return self.refuse(client, query, answer, now);
        }
        ask.waiters.push(query.waiter(client, now));
        let source = ask.source.clone();
        *self.counter(&source) += 1;
        self.stats.joined += 1;
        self.waiting += 1;
        Taken::Waiting
    }

    fn is_full(&self) -> bool {
        self.waiting >= MAX_WAITING
    }

    /// Asks for a popular name once more, so that the cache has it when its time is over.
    fn prefetch(&mut self, query: &Query<'_>, now: Instant) {
        let shared = query.shared_key();
        if self.joins.contains_key(&shared) || self.prefetching >= MAX_PREFETCHING || !self.has_room() {
            return;
        }
        let route = self.route(query.key.key().name, false);
        if !route.targets.is_empty() {
            self.prefetching += 1;
            self.stats.prefetched += 1;
            self.ask(query, Some(shared), route, Vec::new(), None, now);
        }
    }

    /// The next request whose answer is of no more use: it may be given up at once.
    pub fn poll_cancelled(&mut self) -> Option<RequestId> {
        self.cancelled.pop_front()
    }

    /// The next request. It may be dropped unanswered: the query's deadline stands.
    pub fn poll_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// The next answer, ready to be sent.
    pub fn poll_answer(&mut self) -> Option<(ClientId, Vec<u8>)> {
        self.answers.pop_front()
    }

    /// The next answer's addresses. Where answers are held ([`DnsConfig::hold`]) it must be released, else it goes
    /// out without its addresses at its deadline ([`HOLD_DEADLINE`]).
    pub fn poll_learnt(&mut self) -> Option<Learnt> {
        self.learnt.pop_front()
    }

    /// The moment of [`poll_timeout`](Self::poll_timeout) has come. Calling it early is harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, timer)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.pop_first();
            match timer {
                Timer::Ask(number) => self.ask_is_due(number, now),
                Timer::Hold(number) => self.hold_is_due(number, now),
            }
        }
        if self.portal.is_some_and(|until| until <= now) {
            self.set_portal(None, now);
        }
    }

    /// The next deadline. None: nothing is in flight, and no captive portal is open.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let first = self.timers.first().map(|(at, _)| *at);
        [first, self.portal].into_iter().flatten().min()
    }

    /// The network is another one: everything in flight is answered with SERVFAIL, and who asked asks again. What the
    /// cache holds of resolvers of the network is forgotten. Held answers go on waiting for their plan.
    pub fn flush(&mut self, now: Instant) {
        self.start_anew();
        self.folding.clear();
        self.cache.forget_origin(Origin::Fallback);
        self.fail_asks(Failure::OtherNetwork, |_| true, now);
    }

    /// Empties the cache.
    pub fn forget(&mut self) {
        self.cache.clear();
    }

    /// Takes another hosts file, and gives the former one.
    pub fn set_hosts(&mut self, hosts: HostsFile) -> HostsFile {
        std::mem::replace(&mut self.hosts, hosts)
    }

    /// A captive portal is open until a moment, or no more: every name but the self-check's goes to the system's
    /// resolvers, outside the tunnel, uncached, and nothing is learnt. Questions of the other state come to nothing,
    /// so that no answer of a portal outlives it.
    pub fn set_portal(&mut self, until: Option<Instant>, now: Instant) {
        let was_open = self.portal.is_some();
        self.portal = until.filter(|until| *until > now);
        let is_open = self.portal.is_some();
        if was_open != is_open {
            self.fail_asks(Failure::Portal, |ask| ask.is_of_portal() != is_open, now);
        }
    }

    /// Counters at this moment.
    #[must_use]
    pub fn stats(&self) -> DnsStats {
        DnsStats {
            in_flight: self.waiting as u64,
            cache_entries: self.cache.len() as u64,
            cache_bytes: self.cache.bytes() as u64,
            ..self.stats.clone()
        }
    }
}
