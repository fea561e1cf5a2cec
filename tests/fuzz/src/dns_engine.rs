//! The DNS engine, with whatever comes in whatever order.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use weft_dns::{
    ClientId, DnsConfig, Engine, Entropy, HoldId, HostsFile, MAX_LOGGED, Protocol, Request, Taken, Upstream,
    UpstreamError, UpstreamErrorKind, message,
};
use weft_model::FallbackDomain;

use crate::Outcome;
use crate::script::{Seeded, Step, steps};

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        Self::fill(self, bytes);
    }
}

struct Run {
    engine: Engine,
    now: Instant,
    clients: u64,
    waiting: BTreeMap<ClientId, Vec<u8>>,
    open: VecDeque<Request>,
    holds: VecDeque<HoldId>,
    /// Queries that were refused by their form, and answers that resolved a name.
    refused: bool,
    resolved: bool,
}

fn config(how: u8) -> DnsConfig {
    let corp =
        "corp".parse().map(|suffix| FallbackDomain { suffix, dns_server: Vec::new(), description: None });
    let plain = Upstream::Plain(vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()]);
    DnsConfig {
        self_addresses: vec![[127, 0, 2, 2].into()],
        fallback: corp.into_iter().collect(),
        upstream: if how & 1 == 0 { Upstream::Doh } else { plain },
        system_resolvers: vec![[192, 0, 2, 53].into()],
        hosts: "*.example".parse().into_iter().filter(|_| how & 2 != 0).collect(),
        hold: how & 4 == 0,
        cache_bytes: 160 * 1024,
        serve_stale: (how & 8 != 0).then_some(Duration::from_secs(3600)),
        prefer_positive: how & 16 != 0,
    }
}

impl Run {
    fn step(&mut self, Step { what, how, bytes }: Step<'_>) {
        let now = self.now;
        match what % 8 {
            0 => self.query(if how & 1 == 0 { Protocol::Udp } else { Protocol::Tcp }, bytes),
            1 => self.answer(how, bytes),
            2 => {
                if let Some(hold) = self.holds.pop_front() {
                    let result = if how & 1 == 0 { Ok(()) } else { Err("no".to_owned()) };
                    self.engine.release(hold, result, now);
                }
            }
            3 => {
                self.now += Duration::from_millis(100 * u64::from(how));
                self.engine.handle_timeout(self.now);
            }
            4 => {
                let until = (how != 0).then(|| now + Duration::from_secs(how.into()));
                self.engine.set_portal(until, now);
            }
            5 => self.engine.set_config(config(how), now),
            6 if how == 0 => self.engine.forget(),
            6 => self.engine.flush(now),
            _ => drop(self.engine.set_hosts(HostsFile::parse(&String::from_utf8_lossy(bytes)))),
        }
        self.collect();
    }

    fn query(&mut self, protocol: Protocol, query: &[u8]) {
        self.clients += 1;
        let client = ClientId(self.clients);
        self.engine.trace(client);
        let mut answer = Vec::new();
        match self.engine.handle_query(client, protocol, query, &mut answer, self.now) {
            Taken::Answered => self.check(client, query, &answer),
            Taken::Waiting => drop(self.waiting.insert(client, query.to_vec())),
            Taken::Dropped => self.refused = true,
        }
    }

    /// An answer to the oldest request: as given, or with the id and the question that it must have.
    fn answer(&mut self, how: u8, bytes: &[u8]) {
        let Some(request) = self.open.pop_front() else { return };
        let mut answer = bytes.to_vec();
        if how & 1 == 0 {
            message::restore(&mut answer, &request.message);
        }
        let failed = || Err(UpstreamError::new(UpstreamErrorKind::TimedOut, "scripted"));
        let answer = if how & 2 == 0 { Ok(answer) } else { failed() };
        self.engine.handle_answer(request.id, answer, self.now);
    }

    fn collect(&mut self) {
        while let Some(request) = self.engine.poll_request() {
            assert!(message::is_well_formed(&request.message), "what is asked is well-formed");
            self.open.push_back(request);
        }
        while let Some(learnt) = self.engine.poll_learnt() {
            assert!(!learnt.addresses.is_empty(), "what is learnt is something");
            self.holds.push_back(learnt.hold);
        }
        while let Some((client, answer)) = self.engine.poll_answer() {
            let Some(query) = self.waiting.remove(&client) else { panic!("answered twice, or never asked") };
            self.check(client, &query, &answer);
        }
        // Some of the time nobody polls.
        if self.clients % 4 < 3 {
            let told = std::iter::from_fn(|| self.engine.poll_logged(SystemTime::UNIX_EPOCH)).count();
            assert!(told <= MAX_LOGGED, "the log is bounded");
        }
        assert_eq!(self.engine.stats().in_flight, self.waiting.len() as u64, "nobody is lost");
        assert!(self.waiting.is_empty() || self.engine.poll_timeout().is_some(), "a deadline comes");
    }

    fn check(&mut self, client: ClientId, query: &[u8], answer: &[u8]) {
        assert!(message::is_answer(answer), "an answer says that it is one");
        assert_eq!(message::id(answer), message::id(query), "it is its client's");
        if let Ok(asked) = message::question(query) {
            assert_eq!(message::question(answer), Ok(asked), "it answers what was asked");
        }
        let code = message::rcode(answer);
        self.resolved |= code == message::response_code::NO_ERROR;
        self.refused |= code == message::response_code::FORMAT_ERROR;
        let _lookup = self.engine.lookup_of(client, answer, Duration::ZERO);
    }
}

/// Queries, answers, releases, time and changes. Taken where a name was resolved and no query was malformed.
pub fn dns_engine(data: &[u8]) -> Outcome {
    let now = Instant::now();
    let mut engine = Engine::new(Box::new(Seeded(1)));
    engine.set_config(config(0), now);
    engine.set_log(true);
    let mut run = Run {
        engine,
        now,
        clients: 0,
        waiting: BTreeMap::new(),
        open: VecDeque::new(),
        holds: VecDeque::new(),
        refused: false,
        resolved: false,
    };
    steps(data).for_each(|step| run.step(step));
    run.engine.set_portal(None, run.now);
    // The longest that anything takes: the deadline of a question, and then that of a hold.
    for _ in 0..2 {
        run.now += Duration::from_secs(5);
        run.engine.handle_timeout(run.now);
        run.collect();
    }
    assert!(run.waiting.is_empty() && run.engine.poll_timeout().is_none(), "all things end");
    (run.resolved && !run.refused).into()
}
