//! The engine: queries in, requests out, answers back.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use weft_model::{DNS_SELF_CHECK_NAME, DnsLogEntry, DnsLookup, DnsSource, DnsStats, DomainName};

use crate::Entropy;
use crate::config::{DnsConfig, Rules, Upstream};
use crate::hosts::HostsFile;
use crate::message::{self, MessageError, Name, Question, SAFE_UDP_LIMIT, record_type, response_code};
use crate::pending::{MAX_ASKED, Outcome, Pending};

/// How long a query waits for an answer before it is answered with SERVFAIL.
pub const QUERY_DEADLINE: Duration = Duration::from_secs(5);
/// The most queries that wait at once; more get SERVFAIL at once. At usual lengths (100 bytes) they take less than
/// 1 MiB; at [`MAX_QUERY`], each once and once a resolver asked, at most 36 MiB.
pub const MAX_IN_FLIGHT: usize = 1024;
/// The longest query in bytes: a name of 255 and room for EDNS options and signatures. Longer is malformed.
pub const MAX_QUERY: usize = 4096;

/// Seconds that the self-check's answer may be kept: it is asked for to see the proxy itself.
const SELF_CHECK_TTL: u32 = 0;

/// Who asked. Chosen by the front, which knows what it stands for; one a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// How a query came, and so how long its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Up to what the query's EDNS says, else 512 bytes.
    Udp,
    /// Up to 65,535 bytes.
    Tcp,
}

/// A request of the engine's; unique, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    query: u64,
    index: usize,
}

/// Which way a plain resolver is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// Through the tunnel.
    Tunnel,
    /// Through the tunnel if the resolver's address is tunnelled, else outside.
    ByAddress,
}

/// Whom a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The gateway's DoH resolver, inside or outside the tunnel as the service mode says.
    Doh,
    /// A plain resolver, port 53: by UDP, and again by TCP where the answer is cut.
    Plain {
        /// Its address.
        server: IpAddr,
        /// Which way.
        way: Way,
    },
}

/// Ask this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// To be given back with the answer.
    pub id: RequestId,
    /// Whom to ask.
    pub to: Target,
    /// The query. Its id is 0 for DoH (RFC 8484, section 4.1), else random.
    pub message: Vec<u8>,
    /// When the answer is of no more use.
    pub deadline: Instant,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct UpstreamError {
    /// What kind of failure: decides the extended error that the client is told (RFC 8914).
    pub kind: UpstreamErrorKind,
    /// What happened, for the log: one line. Clients are not told.
    pub detail: String,
}

impl UpstreamError {
    /// An error of `kind`; `detail` is for the log.
    pub fn new(kind: UpstreamErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// The kinds of [`UpstreamError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamErrorKind {
    /// The resolver cannot be reached: no route, connection refused, TLS failed. EDE 23, Network Error.
    Unreachable,
    /// There was no answer in time. EDE 22, No Reachable Authority.
    TimedOut,
    /// What leads to the resolver is not there yet: the tunnel is not up. EDE 14, Not Ready.
    NotReady,
    /// The resolver does not answer this device: the HTTP status. EDE 18, Prohibited, for 401 and 403; else 0, Other.
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// What came is no DNS answer. EDE 0, Other.
    Garbage,
}

/// What became of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// The answer stands in the caller's buffer, ready to be sent.
    Answered,
    /// An answer follows by [`Engine::poll_answer`], sooner or later.
    Waiting,
    /// It cannot be answered; nothing follows.
    Dropped,
}

/// An answer that waits for its addresses; unique, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldId(pub u64);

/// Addresses that an answer for a split-tunnel host name holds. The answer goes out once it is released
/// ([`Engine::release`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learnt {
    /// To be given back.
    pub hold: HoldId,
    /// The addresses: of A and AAAA records and of hints in SVCB and HTTPS records.
    pub addresses: Vec<LearntAddress>,
}

/// An address of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearntAddress {
    /// The address.
    pub address: IpAddr,
    /// What is left of its record's time to live.
    pub ttl: Duration,
}

/// A forwarder of DNS queries.
///
/// After any `handle_*` call, poll [`poll_answer`](Self::poll_answer), [`poll_request`](Self::poll_request) and
/// [`poll_timeout`](Self::poll_timeout).
pub struct Engine {
    config: DnsConfig,
    rules: Rules,
    self_name: Option<Name>,
    entropy: Box<dyn Entropy>,
    next: u64,
    pending: HashMap<u64, Pending>,
    deadlines: BTreeSet<(Instant, u64)>,
    requests: VecDeque<Request>,
    answers: VecDeque<(ClientId, Vec<u8>)>,
    stats: DnsStats,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("in_flight", &self.pending.len()).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine that asks the system's resolvers, of which it knows none yet. The ids of plain queries come from
    /// `entropy`.
    #[must_use]
    pub fn new(entropy: Box<dyn Entropy>) -> Self {
        Self {
            config: DnsConfig::default(),
            rules: Rules::default(),
            self_name: DNS_SELF_CHECK_NAME.parse::<DomainName>().ok().as_ref().map(Name::from),
            entropy,
            next: 0,
            pending: HashMap::new(),
            deadlines: BTreeSet::new(),
            requests: VecDeque::new(),
            answers: VecDeque::new(),
            stats: DnsStats::default(),
        }
    }

    /// Takes another configuration. What is in flight stays so.
    pub fn set_config(&mut self, config: DnsConfig, _now: Instant) {
        self.rules = Rules::new(&config.fallback);
        self.config = config;
    }

    /// Takes a query. An answer that is known at once is put into `answer`, which is emptied first.
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
        let question = match check(query) {
            Ok(question) => question,
            Err(refusal) => {
                self.stats.refused += 1;
                let Some(response_code) = refusal else { return Taken::Dropped };
                *answer = message::error(query, response_code);
                return Taken::Answered;
            }
        };
        if let Some(known) = self.answer_here(query, &question) {
            self.stats.local += 1;
            *answer = known;
            return Taken::Answered;
        }
        if self.pending.len() >= MAX_IN_FLIGHT {
            self.stats.refused += 1;
            *answer = message::servfail(query);
            return Taken::Answered;
        }
        self.ask(Pending::new(client, protocol, query, question, now + QUERY_DEADLINE));
        Taken::Waiting
    }

    /// The next request. It may be dropped unanswered: the query's deadline stands.
    pub fn poll_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// Takes what came of a request. An answer that does not fit it counts as none.
    pub fn handle_answer(&mut self, id: RequestId, answer: Result<Vec<u8>, UpstreamError>, _now: Instant) {
        if let Some(pending) = self.pending.get_mut(&id.query) {
            let outcome = pending.take(id.index, answer.ok());
            self.finish(id.query, outcome);
        }
    }

    /// The next answer, ready to be sent.
    pub fn poll_answer(&mut self) -> Option<(ClientId, Vec<u8>)> {
        self.answers.pop_front()
    }

    /// The next answer that waits for its addresses. It must be released, else it goes out without them at its
    /// deadline.
    pub fn poll_learnt(&mut self) -> Option<Learnt> {
        None
    }

    /// The plan with an answer's addresses is in force, or will not be. Unknown holds are passed over: they may have
    /// ended by their deadline.
    pub fn release(&mut self, _hold: HoldId, _result: Result<(), String>, _now: Instant) {}

    /// Empties the cache.
    pub fn forget(&mut self) {}

    /// Takes another hosts file.
    pub fn set_hosts(&mut self, _hosts: HostsFile) {}

    /// A captive portal is open until a moment, or no more: every name goes to the system's resolvers, outside the
    /// tunnel, uncached, and nothing is learnt.
    pub fn set_portal(&mut self, _until: Option<Instant>, _now: Instant) {}

    /// Switches the log on or off; off empties it. `wall` is the time of day at `now`.
    pub fn set_log(&mut self, _on: bool, _wall: SystemTime, _now: Instant) {}

    /// The log, the oldest entry first; empty while it is off.
    #[must_use]
    pub fn log(&self) -> Vec<DnsLogEntry> {
        Vec::new()
    }

    /// Who would answer a query for `name`, the cache left out of account. Changes nothing.
    #[must_use]
    pub fn explain(&self, _name: &DomainName, _kind: u16, _now: Instant) -> DnsSource {
        DnsSource::Refused
    }

    /// Remembers who answers the query that `client` is about to ask, for [`lookup_of`](Self::lookup_of).
    pub fn trace(&mut self, _client: ClientId) {}

    /// What became of the query of a traced client ([`trace`](Self::trace)), which is traced no more; `answer` is the
    /// answer it was given, after `took`. None where it was not traced.
    pub fn lookup_of(&mut self, _client: ClientId, _answer: &[u8], _took: Duration) -> Option<DnsLookup> {
        None
    }

    /// The moment of [`poll_timeout`](Self::poll_timeout) has come. Calling it early is harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, query)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now)
        {
            let Some(pending) = self.pending.get_mut(&query) else {
                self.deadlines.pop_first();
                continue;
            };
            let outcome = pending.give_up();
            self.finish(query, outcome);
        }
    }

    /// The next deadline. None: nothing is in flight.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Answers everything in flight with SERVFAIL: the network has changed, and who asked asks again.
    pub fn flush(&mut self, _now: Instant) {
        for query in self.pending.keys().copied().collect::<Vec<_>>() {
            self.finish(query, Outcome::Failed);
        }
        self.requests.clear();
    }

    /// Counters at this moment.
    #[must_use]
    pub fn stats(&self) -> DnsStats {
        self.stats.clone()
    }

    /// What Weft answers by itself.
    fn answer_here(&self, query: &[u8], question: &Question) -> Option<Vec<u8>> {
        let asks_for_self = self.self_name.as_ref() == Some(&question.name);
        asks_for_self.then(|| message::addresses(query, &self.config.self_addresses, SELF_CHECK_TTL))
    }

    /// Whom to ask.
    fn targets(&mut self, name: &Name) -> Vec<Target> {
        let plain = |servers: &[IpAddr], way| {
            let target = |server: &IpAddr| Target::Plain { server: *server, way };
            servers.iter().take(MAX_ASKED).map(target).collect()
        };
        let system = &self.config.system_resolvers;
        if let Some(servers) = self.rules.find(name) {
            self.stats.fallback += 1;
            return plain(if servers.is_empty() { system } else { servers }, Way::ByAddress);
        }
        self.stats.upstream += 1;
        match &self.config.upstream {
            Upstream::Doh => vec![Target::Doh],
            Upstream::Plain(servers) => plain(servers, Way::Tunnel),
            Upstream::System => plain(system, Way::ByAddress),
        }
    }

    fn ask(&mut self, mut pending: Pending) {
        let query = self.next;
        self.next += 1;
        let deadline = pending.deadline;
        for (index, to) in self.targets(&pending.question.name).into_iter().enumerate() {
            let mut message = pending.query.clone();
            let id = match to {
                Target::Doh => 0,
                Target::Plain { .. } => {
                    message::clamp_payload_size(&mut message, SAFE_UDP_LIMIT);
                    let mut bytes = [0; 2];
                    self.entropy.fill(&mut bytes);
                    u16::from_be_bytes(bytes)
                }
            };
            message::set_id(&mut message, id);
            pending.asked.push(Some(id));
            self.requests.push_back(Request { id: RequestId { query, index }, to, message, deadline });
        }
        let nobody = pending.asked.is_empty();
        self.pending.insert(query, pending);
        self.deadlines.insert((deadline, query));
        if nobody {
            self.finish(query, Outcome::Failed);
        }
    }

    /// Sends the answer to who asked, unless the query goes on waiting.
    fn finish(&mut self, query: u64, outcome: Outcome) {
        if matches!(outcome, Outcome::Waits) {
            return;
        }
        let Some(pending) = self.pending.remove(&query) else { return };
        self.deadlines.remove(&(pending.deadline, query));
        let mut answer = match outcome {
            Outcome::Answered(answer) => answer,
            Outcome::Failed | Outcome::Waits => {
                self.stats.failed += 1;
                message::servfail(&pending.query)
            }
        };
        message::restore(&mut answer, &pending.query);
        if pending.protocol == Protocol::Udp {
            message::truncate(&mut answer, message::udp_limit(&pending.query));
        }
        self.answers.push_back((pending.client, answer));
    }
}

/// Reads a query's question. Else the response code to refuse it with; none where it gets no answer at all.
fn check(query: &[u8]) -> Result<Question, Option<u8>> {
    if message::is_answer(query) || query.len() < message::HEADER_LEN {
        return Err(None);
    }
    if message::opcode(query) != 0 {
        return Err(Some(response_code::NOT_IMPLEMENTED));
    }
    let question = message::question(query).map_err(|error| match error {
        MessageError::NotAQuery => None,
        MessageError::Question => Some(response_code::FORMAT_ERROR),
    })?;
    if query.len() > MAX_QUERY || !message::is_well_formed(query) {
        return Err(Some(response_code::FORMAT_ERROR));
    }
    // A zone comes in several messages, which no DoH answer holds.
    if matches!(question.kind, record_type::AXFR | record_type::IXFR) {
        return Err(Some(response_code::REFUSED));
    }
    Ok(question)
}
