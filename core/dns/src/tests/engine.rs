use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use weft_model::FallbackDomain;

use super::{answer, bytes, parse, query, with_edns};
use crate::{
    ClientId, DnsConfig, Engine, Entropy, MAX_IN_FLIGHT, Protocol, QUERY_DEADLINE, Request, Taken, Target,
    Upstream, UpstreamError, Way, message,
};

/// Counts, so that ids differ and are known.
struct Counting(u16);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0 += 1;
        bytes.copy_from_slice(&self.0.to_be_bytes());
    }
}

const ALICE: ClientId = ClientId(1);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn fallback(suffix: &str, servers: &[&str]) -> FallbackDomain {
    let dns_server = servers.iter().map(|text| ip(text)).collect();
    FallbackDomain { suffix: suffix.parse().unwrap(), dns_server, description: None }
}

fn engine(upstream: Upstream) -> Engine {
    let mut engine = Engine::new(Box::new(Counting(0x1000)));
    engine.set_config(
        DnsConfig {
            self_addresses: weft_model::DNS_PROXY_ADDRESSES.to_vec(),
            fallback: vec![
                fallback("corp", &["192.168.50.53", "192.168.50.54"]),
                fallback("eu.corp", &["192.168.60.53"]),
                fallback("local", &[]),
            ],
            upstream,
            system_resolvers: vec![ip("192.168.1.1")],
            ..DnsConfig::default()
        },
        Instant::now(),
    );
    engine
}

fn ask(engine: &mut Engine, name: &str, now: Instant) -> Vec<Request> {
    let wire = bytes(&query(0xabcd, name, RecordType::TXT));
    assert_eq!(engine.handle_query(ALICE, Protocol::Udp, &wire, &mut Vec::new(), now), Taken::Waiting);
    std::iter::from_fn(|| engine.poll_request()).collect()
}

fn answered(engine: &mut Engine) -> hickory_proto::op::Message {
    let (client, wire) = engine.poll_answer().expect("an answer");
    assert_eq!(client, ALICE);
    let message = parse(&wire);
    assert_eq!(message.metadata.id, 0xabcd);
    message
}

fn plain(server: &str, way: Way) -> Target {
    Target::Plain { server: ip(server), way }
}

#[test]
fn whom_a_name_is_asked_of() {
    let now = Instant::now();
    let doh = || Upstream::Doh;
    let wired = || Upstream::Plain(vec![ip("10.0.0.1"), ip("10.0.0.2")]);
    let by = |server| plain(server, Way::ByAddress);
    let corp = vec![by("192.168.50.53"), by("192.168.50.54")];
    let system = vec![by("192.168.1.1")];
    let cases = [
        (doh(), "example.com.", vec![Target::Doh]),
        (doh(), ".", vec![Target::Doh]),
        (doh(), "corp.", corp.clone()),
        (doh(), "WIKI.CORP.", corp.clone()),
        (doh(), "acorp.", vec![Target::Doh]),
        (doh(), "corp.example.", vec![Target::Doh]),
        (doh(), "a.b.eu.corp.", vec![by("192.168.60.53")]),
        (doh(), "eu.corp.", vec![by("192.168.60.53")]),
        (doh(), "xeu.corp.", corp),
        (doh(), "printer.local.", system.clone()),
        (wired(), "example.com.", vec![plain("10.0.0.1", Way::Tunnel), plain("10.0.0.2", Way::Tunnel)]),
        (wired(), "printer.local.", system.clone()),
        (Upstream::System, "example.com.", system),
    ];
    for (upstream, name, expected) in cases {
        let mut engine = engine(upstream);
        let targets: Vec<_> = ask(&mut engine, name, now).into_iter().map(|request| request.to).collect();
        assert_eq!(targets, expected, "{name}");
    }
}

#[test]
fn a_query_goes_out_with_an_id_of_its_own_and_comes_back_with_the_clients() {
    let now = Instant::now();
    let mut engine = engine(Upstream::Doh);
    let request = ask(&mut engine, "example.com.", now).remove(0);
    assert_eq!(message::id(&request.message), Some(0));
    engine.handle_answer(request.id, Ok(answer(&request.message, ResponseCode::NoError, 2)), now);
    assert_eq!(answered(&mut engine).answers.len(), 2);
    let requests = ask(&mut engine, "a.corp.", now);
    let ids: Vec<_> = requests.iter().map(|request| message::id(&request.message).unwrap()).collect();
    assert_eq!(ids, [0x1001, 0x1002]);
    let stats = engine.stats();
    assert_eq!((stats.queries, stats.upstream, stats.fallback), (2, 1, 1));
}

#[test]
fn the_first_answer_that_resolves_wins() {
    use ResponseCode::{NXDomain, NoError, Refused, ServFail};
    let now = Instant::now();
    // What two resolvers answer, in order, and what the client sees.
    let cases = [
        ([Some(NoError), Some(NXDomain)], NoError),
        ([Some(NXDomain), Some(NoError)], NXDomain),
        ([Some(ServFail), Some(NoError)], NoError),
        ([Some(Refused), None], Refused),
        ([None, Some(Refused)], Refused),
        ([None, Some(NXDomain)], NXDomain),
        ([None, None], ServFail),
    ];
    for (given, expected) in cases {
        let mut engine = engine(Upstream::Doh);
        let requests = ask(&mut engine, "a.corp.", now);
        for (request, code) in requests.iter().zip(given) {
            let result = code
                .map(|code| answer(&request.message, code, 0))
                .ok_or(UpstreamError::new(crate::UpstreamErrorKind::Unreachable, "lost"));
            engine.handle_answer(request.id, result, now);
        }
        assert_eq!(answered(&mut engine).metadata.response_code, expected, "{given:?}");
        assert_eq!(engine.poll_answer(), None);
        assert_eq!(engine.poll_timeout(), None);
    }
}

#[test]
fn an_answer_that_does_not_fit_its_request_counts_as_none() {
    let now = Instant::now();
    let good = |request: &Request| answer(&request.message, ResponseCode::NoError, 1);
    type Bend = fn(Vec<u8>) -> Vec<u8>;
    let bends: [(&str, Bend); 6] = [
        ("another id", |mut wire| {
            wire[1] ^= 1;
            wire
        }),
        ("a query", |mut wire| {
            wire[2] &= 0x7f;
            wire
        }),
        ("another name", |mut wire| {
            wire[13] ^= 1;
            wire
        }),
        ("another type", |mut wire| {
            let end = message::question(&wire).unwrap().end;
            wire[end - 3] ^= 1;
            wire
        }),
        ("cut short", |mut wire| {
            wire.truncate(wire.len() - 1);
            wire
        }),
        ("nothing", |_| Vec::new()),
    ];
    for (what, bend) in bends {
        let mut engine = engine(Upstream::Doh);
        let request = ask(&mut engine, "example.com.", now).remove(0);
        engine.handle_answer(request.id, Ok(bend(good(&request))), now);
        assert_eq!(answered(&mut engine).metadata.response_code, ResponseCode::ServFail, "{what}");
    }
}

#[test]
fn the_same_request_is_answered_once() {
    let now = Instant::now();
    let mut engine = engine(Upstream::Doh);
    let request = ask(&mut engine, "example.com.", now).remove(0);
    for _ in 0..2 {
        engine.handle_answer(request.id, Ok(answer(&request.message, ResponseCode::NoError, 1)), now);
    }
    answered(&mut engine);
    assert_eq!(engine.poll_answer(), None);
}

#[test]
fn who_gets_no_answer_in_time_gets_servfail() {
    let now = Instant::now();
    let mut engine = engine(Upstream::Doh);
    let requests = ask(&mut engine, "a.corp.", now);
    assert!(requests.iter().all(|request| request.deadline == now + QUERY_DEADLINE));
    assert_eq!(engine.poll_timeout(), Some(now + QUERY_DEADLINE));
    engine.handle_timeout(now + QUERY_DEADLINE - Duration::from_nanos(1));
    assert_eq!(engine.poll_answer(), None);
    engine.handle_timeout(now + QUERY_DEADLINE);
    assert_eq!(answered(&mut engine).metadata.response_code, ResponseCode::ServFail);
    assert_eq!((engine.poll_timeout(), engine.stats().failed), (None, 1));
    // Later is too late.
    let late = answer(&requests[0].message, ResponseCode::NoError, 1);
    engine.handle_answer(requests[0].id, Ok(late), now + QUERY_DEADLINE);
    assert_eq!(engine.poll_answer(), None);
}

#[test]
fn over_the_bound_is_servfail_at_once() {
    let now = Instant::now();
    let mut engine = engine(Upstream::Doh);
    for _ in 0..MAX_IN_FLIGHT {
        ask(&mut engine, "example.com.", now);
    }
    assert_eq!(engine.poll_answer(), None);
    assert!(ask(&mut engine, "example.com.", now).is_empty());
    assert_eq!(answered(&mut engine).metadata.response_code, ResponseCode::ServFail);
    assert_eq!(engine.stats().refused, 1);
    // A network change answers all the others, and there is room again.
    engine.flush(now);
    assert_eq!(std::iter::from_fn(|| engine.poll_answer()).count(), MAX_IN_FLIGHT);
    assert_eq!(engine.poll_timeout(), None);
    assert_eq!(ask(&mut engine, "example.com.", now).len(), 1);
}

#[test]
fn nobody_to_ask_is_servfail_at_once() {
    let now = Instant::now();
    let mut engine = Engine::new(Box::new(Counting(0)));
    assert!(ask(&mut engine, "example.com.", now).is_empty());
    assert_eq!(answered(&mut engine).metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn the_self_check_name_is_answered_with_the_proxys_addresses() {
    let now = Instant::now();
    let mut engine = engine(Upstream::Doh);
    for kind in [RecordType::A, RecordType::AAAA] {
        let wire = bytes(&query(0xabcd, "Connectivity-Check.weftd.", kind));
        assert_eq!(engine.handle_query(ALICE, Protocol::Udp, &wire, &mut Vec::new(), now), Taken::Waiting);
        assert_eq!(answered(&mut engine).answers.len(), 2);
    }
    assert_eq!((engine.poll_request(), engine.stats().local), (None, 2));
    assert_eq!(ask(&mut engine, "other.weftd.", now).len(), 1);
}

#[test]
fn an_answer_is_as_long_as_its_client_takes() {
    let now = Instant::now();
    let asked = query(0xabcd, "t.example.", RecordType::TXT);
    let cases = [
        (Protocol::Udp, asked.clone(), true),
        (Protocol::Udp, with_edns(asked.clone(), 4096), false),
        (Protocol::Tcp, asked, false),
    ];
    for (protocol, asked, cut) in cases {
        let mut engine = engine(Upstream::Plain(vec![ip("10.0.0.1")]));
        assert_eq!(
            engine.handle_query(ALICE, protocol, &bytes(&asked), &mut Vec::new(), now),
            Taken::Waiting
        );
        let request = engine.poll_request().unwrap();
        // What is asked of a plain resolver always passes in one packet.
        assert!(message::udp_limit(&request.message) <= 1232);
        engine.handle_answer(request.id, Ok(answer(&request.message, ResponseCode::NoError, 20)), now);
        let given = answered(&mut engine);
        assert_eq!((given.metadata.truncation, given.answers.is_empty()), (cut, cut), "{protocol:?}");
    }
}

#[test]
fn a_bad_query_is_refused_by_code_or_dropped() {
    let now = Instant::now();
    let good = bytes(&query(0xabcd, "example.com.", RecordType::A));
    let bent = |at: usize, byte: u8| {
        let mut wire = good.clone();
        wire[at] = byte;
        wire
    };
    let mut extra = good.clone();
    extra.push(0);
    let mut long = with_edns(query(0xabcd, "example.com.", RecordType::A), 1232);
    long.edns
        .as_mut()
        .unwrap()
        .options_mut()
        .insert(hickory_proto::rr::rdata::opt::EdnsOption::Unknown(65001, vec![0; 5000]));
    let cases = [
        (good[..11].to_vec(), None),
        (Vec::new(), None),
        (bent(2, 0x81), None),
        (bent(2, 0x20), Some(ResponseCode::NotImp)),
        (bent(5, 0), Some(ResponseCode::FormErr)),
        (bent(5, 2), Some(ResponseCode::FormErr)),
        (bent(12, 0xc0), Some(ResponseCode::FormErr)),
        (bent(11, 1), Some(ResponseCode::FormErr)),
        (good[..good.len() - 1].to_vec(), Some(ResponseCode::FormErr)),
        (extra, Some(ResponseCode::FormErr)),
        (bytes(&long), Some(ResponseCode::FormErr)),
        (bytes(&query(0xabcd, "example.com.", RecordType::AXFR)), Some(ResponseCode::Refused)),
    ];
    for (wire, expected) in cases {
        let mut engine = engine(Upstream::Doh);
        let taken = engine.handle_query(ALICE, Protocol::Udp, &wire, &mut Vec::new(), now);
        assert_eq!(taken == Taken::Waiting, expected.is_some(), "{wire:?}");
        let code = engine.poll_answer().map(|(_, wire)| parse(&wire).metadata.response_code);
        assert_eq!(code, expected, "{wire:?}");
        assert_eq!((engine.poll_request(), engine.stats().refused), (None, 1));
    }
}
