//! Random scripts: whatever happens in whatever order, every query is answered once and in time, nothing held goes
//! out too early, and the bounds hold.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use proptest::collection::vec;
use proptest::prelude::*;

use super::lab::{config, ip, reply, reply_with};
use super::{bytes, query, with_edns};
use crate::{
    ClientId, DnsConfig, Engine, Entropy, HOLD_DEADLINE, HoldId, MAX_IN_FLIGHT, MAX_WAITING, Protocol,
    QUERY_DEADLINE, Request, Taken, Upstream, UpstreamError, UpstreamErrorKind, message,
};

struct Mixing(u64);

impl Entropy for Mixing {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = self.0.to_be_bytes()[0];
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Query {
        name: u8,
        kind: bool,
        edns: bool,
    },
    /// Answer the nth request that is open: well, with an error, in another case, with garbage, not at all.
    Answer {
        nth: usize,
        how: u8,
    },
    Release {
        nth: usize,
        good: bool,
    },
    Pass {
        millis: u64,
    },
    Portal {
        open: bool,
    },
    Config {
        which: u8,
    },
    Flush,
    Forget,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let query = || {
        (0..6_u8, any::<bool>(), any::<bool>()).prop_map(|(name, kind, edns)| Step::Query {
            name,
            kind,
            edns,
        })
    };
    let answer = || (0..8_usize, 0..7_u8).prop_map(|(nth, how)| Step::Answer { nth, how });
    let step = prop_oneof![
        query(),
        query(),
        query(),
        answer(),
        answer(),
        answer(),
        (0..4_usize, any::<bool>()).prop_map(|(nth, good)| Step::Release { nth, good }),
        prop_oneof![0..400_u64, 0..70_000_u64].prop_map(|millis| Step::Pass { millis }),
        any::<bool>().prop_map(|open| Step::Portal { open }),
        (0..5_u8).prop_map(|which| Step::Config { which }),
        Just(Step::Flush),
        Just(Step::Forget),
    ];
    vec(step, 1..80)
}

fn config_of(which: u8) -> DnsConfig {
    let hosts = vec!["held.example".parse().unwrap(), "*.corp".parse().unwrap()];
    let config = DnsConfig { hosts, prefer_positive: which % 2 == 1, ..config() };
    match which {
        0 | 1 => DnsConfig { serve_stale: Some(Duration::from_secs(3600)), ..config },
        2 => DnsConfig { upstream: Upstream::Plain(vec![ip("10.0.0.1"), ip("10.0.0.2")]), ..config },
        3 => DnsConfig { hold: false, cache_bytes: 0, ..config },
        _ => DnsConfig { upstream: Upstream::System, system_resolvers: Vec::new(), ..config },
    }
}

/// What a script has seen.
struct Run {
    engine: Engine,
    now: Instant,
    clients: u64,
    /// Who waits, since when and for what.
    waiting: BTreeMap<ClientId, (Instant, Vec<u8>)>,
    open: Vec<Request>,
    holds: Vec<HoldId>,
    /// Whether this step lets answers go whose addresses are held.
    releases: bool,
    /// Whether the configuration in force holds answers.
    holding: bool,
    portal: Option<Instant>,
}

const ADDRESS: &str = "192.0.2.1";

impl Run {
    fn new(which: u8) -> Self {
        let now = Instant::now();
        let mut engine = Engine::new(Box::new(Mixing(7)));
        engine.set_config(config_of(which), now);
        Self {
            engine,
            now,
            clients: 0,
            waiting: BTreeMap::new(),
            open: Vec::new(),
            holds: Vec::new(),
            releases: false,
            holding: config_of(which).hold,
            portal: None,
        }
    }

    fn step(&mut self, step: &Step) {
        self.releases = matches!(step, Step::Release { good: true, .. });
        match *step {
            Step::Query { name, kind, edns } => self.query(name, kind, edns),
            Step::Answer { nth, how } if !self.open.is_empty() => {
                let request = self.open.remove(nth % self.open.len());
                self.answer(&request, how);
            }
            Step::Release { nth, good } if !self.holds.is_empty() => {
                let hold = self.holds.remove(nth % self.holds.len());
                let result = if good { Ok(()) } else { Err("no".to_owned()) };
                self.engine.release(hold, result, self.now);
            }
            Step::Answer { .. } | Step::Release { .. } => {}
            Step::Pass { millis } => self.pass(Duration::from_millis(millis)),
            Step::Portal { open } => {
                let until = open.then(|| self.now + Duration::from_secs(30));
                self.engine.set_portal(until, self.now);
                self.portal = until;
            }
            Step::Config { which } => {
                self.engine.set_config(config_of(which), self.now);
                self.holding = config_of(which).hold;
            }
            Step::Flush => self.engine.flush(self.now),
            Step::Forget => self.engine.forget(),
        }
        self.collect();
    }

    fn query(&mut self, name: u8, kind: bool, edns: bool) {
        let name = [
            "a.example.",
            "held.example.",
            "w.corp.",
            "x.local.",
            "hELD.example.",
            "connectivity-check.weftd.",
        ][usize::from(name)];
        self.clients += 1;
        let client = ClientId(self.clients);
        let id = u16::try_from(self.clients).unwrap();
        let wire = query(id, name, if kind { RecordType::A } else { RecordType::TXT });
        let wire = bytes(&if edns { with_edns(wire, 1232) } else { wire });
        let mut answer = Vec::new();
        match self.engine.handle_query(client, Protocol::Udp, &wire, &mut answer, self.now) {
            Taken::Answered => self.check(&wire, &answer),
            Taken::Waiting => drop(self.waiting.insert(client, (self.now, wire))),
            Taken::Dropped => panic!("dropped"),
        }
    }

    fn answer(&mut self, request: &Request, how: u8) {
        let answer = match how {
            0..=2 => Ok(reply(&request.message, ADDRESS)),
            3 => Ok(reply_with(&request.message, ResponseCode::NXDomain, Vec::new())),
            4 => {
                let mut answer = reply(&request.message, ADDRESS);
                let end = message::question_place(&answer).unwrap().name_end;
                answer[12..end].make_ascii_uppercase();
                Ok(answer)
            }
            5 => Ok(reply_with(&request.message, ResponseCode::ServFail, Vec::new())),
            _ => Err(UpstreamError::new(UpstreamErrorKind::Unreachable, "scripted")),
        };
        self.engine.handle_answer(request.id, answer, self.now);
    }

    /// Goes from deadline to deadline, as a runtime does.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
            assert!(self.engine.poll_timeout().is_none_or(|next| next > at), "what was due is done");
            self.collect();
        }
        self.now = end;
    }

    fn collect(&mut self) {
        self.open.extend(std::iter::from_fn(|| self.engine.poll_request()));
        while let Some((client, answer)) = self.engine.poll_answer() {
            let (since, wire) = self.waiting.remove(&client).expect("one who waits, and once");
            assert!(self.now <= since + QUERY_DEADLINE + HOLD_DEADLINE, "in time");
            self.check(&wire, &answer);
        }
        self.holds.extend(std::iter::from_fn(|| self.engine.poll_learnt()).map(|learnt| learnt.hold));
        let stats = self.engine.stats();
        assert_eq!(stats.in_flight, self.waiting.len() as u64, "nobody is lost");
        assert!(self.waiting.len() <= MAX_WAITING && self.open.len() <= MAX_IN_FLIGHT * 16);
        assert!(self.waiting.is_empty() || self.engine.poll_timeout().is_some(), "a deadline comes");
    }

    fn check(&self, wire: &[u8], answer: &[u8]) {
        assert!(message::is_answer(answer) && message::is_well_formed(answer));
        assert_eq!(message::id(answer), message::id(wire));
        assert!(message::has_same_question(wire, answer));
        assert!(message::edns(wire).is_some() || message::edns(answer).is_none(), "EDNS for who has it");
        let name = message::question(wire).unwrap().name.to_string();
        let is_free = !self.holding || self.releases || self.portal.is_some_and(|until| self.now < until);
        if !is_free && matches!(name.as_str(), "held.example" | "w.corp") {
            let addresses = message::resolved(answer).unwrap().addresses;
            assert!(addresses.is_empty(), "addresses that nobody released");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_query_is_answered_once_and_in_time(first in 0..5_u8, steps in steps()) {
        let mut run = Run::new(first);
        for step in &steps {
            run.step(step);
        }
        run.step(&Step::Portal { open: false });
        run.pass(QUERY_DEADLINE + HOLD_DEADLINE);
        prop_assert!(run.waiting.is_empty());
        prop_assert_eq!(run.engine.poll_timeout(), None, "idle is idle");
        let stats = run.engine.stats();
        let by = [stats.local, stats.hosts, stats.cached, stats.stale, stats.fallback, stats.upstream,
            stats.portal, stats.refused];
        prop_assert_eq!(stats.queries, by.iter().sum::<u64>());
    }
}
