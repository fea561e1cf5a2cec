//! DNS messages: queries of the device's programs, answers of whoever was asked.

use std::time::{Duration, Instant};

use weft_dns::{ClientId, DnsConfig, Engine, Entropy, Protocol, Taken, Upstream, message};
use weft_model::FallbackDomain;

use crate::Outcome;

/// A query for www.example, type A, with recursion and with EDNS of 1232 bytes; its id is 0.
const QUERY: &[u8] =
    b"\0\0\x01\0\0\x01\0\0\0\0\0\x01\x03www\x07example\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0";

/// Ids of 0, so that an answer in a corpus can have the right one.
struct Zero;

impl Entropy for Zero {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

fn engine(upstream: Upstream) -> Engine {
    let mut engine = Engine::new(Box::new(Zero));
    let corp =
        "corp".parse().map(|suffix| FallbackDomain { suffix, dns_server: Vec::new(), description: None });
    engine.set_config(
        DnsConfig {
            self_addresses: vec![[127, 0, 2, 2].into()],
            fallback: corp.into_iter().collect(),
            upstream,
            system_resolvers: vec![[192, 0, 2, 53].into(), [192, 0, 2, 54].into()],
            ..DnsConfig::default()
        },
        Instant::now(),
    );
    engine
}

/// The answers that are ready, each of which must be one.
fn answers(engine: &mut Engine, limit: usize) -> Vec<Vec<u8>> {
    let answers: Vec<Vec<u8>> =
        std::iter::from_fn(|| engine.poll_answer()).map(|(_, answer)| answer).collect();
    for answer in &answers {
        assert!(message::is_answer(answer), "an answer says that it is one");
        assert!(answer.len() <= limit, "{} bytes for who takes {limit}", answer.len());
    }
    answers
}

/// A query, by UDP and by TCP, that nobody answers.
pub fn dns_query(data: &[u8]) -> Outcome {
    let mut now = Instant::now();
    let mut engine = engine(Upstream::Doh);
    let mut asked = false;
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let mut at_once = Vec::new();
        let taken = engine.handle_query(ClientId(7), protocol, data, &mut at_once, now);
        let requests: Vec<_> = std::iter::from_fn(|| engine.poll_request()).collect();
        for request in &requests {
            assert!(message::is_well_formed(&request.message), "what is asked is well-formed");
            assert_eq!(
                message::question(&request.message),
                message::question(data),
                "what was asked is asked"
            );
        }
        now += Duration::from_secs(60);
        engine.handle_timeout(now);
        assert_eq!(engine.poll_timeout(), None, "nothing waits for ever");
        let limit = match protocol {
            Protocol::Udp => message::udp_limit(data).max(data.len()),
            Protocol::Tcp => usize::from(u16::MAX),
        };
        let answered = answers(&mut engine, limit).len();
        assert_eq!(answered, usize::from(taken == Taken::Waiting), "one query, one answer");
        assert_eq!(at_once.is_empty(), taken != Taken::Answered);
        assert!(at_once.is_empty() || message::is_answer(&at_once) && at_once.len() <= limit);
        asked |= !requests.is_empty();
    }
    asked.into()
}

/// An answer of a resolver, to a query for www.example (type A) whose id is 0.
pub fn dns_answer(data: &[u8]) -> Outcome {
    let now = Instant::now();
    let mut engine = engine(Upstream::Plain(vec![[10, 0, 0, 1].into()]));
    let taken = engine.handle_query(ClientId(1), Protocol::Udp, QUERY, &mut Vec::new(), now);
    assert_eq!(taken, Taken::Waiting);
    let Some(request) = engine.poll_request() else { panic!("nobody is asked") };
    engine.handle_answer(request.id, Ok(data.to_vec()), now);
    let at_once = answers(&mut engine, message::udp_limit(QUERY));
    engine.handle_timeout(now + Duration::from_secs(60));
    let late = answers(&mut engine, message::udp_limit(QUERY));
    assert_eq!(at_once.len() + late.len(), 1, "one query, one answer");
    for answer in at_once.iter().chain(&late) {
        assert_eq!(message::question(answer), message::question(QUERY), "it answers what was asked");
        assert_eq!(message::id(answer), Some(0));
    }
    let good = |answer: &Vec<u8>| message::rcode(answer) != message::response_code::SERVER_FAILURE;
    at_once.iter().any(good).into()
}
