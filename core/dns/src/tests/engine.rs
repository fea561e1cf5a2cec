//! Whom a query goes to, which answer counts, and what becomes of queries that get none.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::lab::{Lab, addresses, config, ip};
use super::{answer, bytes, parse, query, with_edns};
use crate::UpstreamErrorKind::{Garbage, NotReady, Refused, TimedOut, Unreachable};
use crate::{
    DnsConfig, MAX_IN_FLIGHT, Protocol, QUERY_DEADLINE, Request, Taken, Target, Upstream, Way, message,
};

const NANO: Duration = Duration::from_nanos(1);

fn plain(server: &str, way: Way) -> Target {
    Target::Plain { server: ip(server), way }
}

#[test]
fn whom_a_name_is_asked_of() {
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
        let mut lab = Lab::new(DnsConfig { upstream, ..config() });
        lab.ask(name, RecordType::TXT);
        let targets: Vec<_> = lab.requests().into_iter().map(|request| request.to).collect();
        assert_eq!(targets, expected, "{name}");
    }
}

#[test]
fn a_query_goes_out_with_an_id_of_its_own_and_comes_back_with_the_clients() {
    let mut lab = Lab::new(config());
    let client = lab.ask("example.com.", RecordType::TXT);
    let request = lab.request();
    assert_eq!(message::id(&request.message), Some(0));
    lab.reply(&request, answer(&request.message, ResponseCode::NoError, 2));
    assert_eq!(lab.answer(client).answers.len(), 2);
    lab.ask("a.corp.", RecordType::TXT);
    let ids: Vec<_> = lab.requests().iter().map(|request| message::id(&request.message).unwrap()).collect();
    assert_eq!(ids, [0x1001, 0x1002]);
    let stats = lab.stats();
    assert_eq!((stats.queries, stats.upstream, stats.fallback, stats.in_flight), (2, 1, 1, 1));
}

#[test]
fn the_first_answer_that_resolves_wins() {
    use ResponseCode::{NXDomain, NoError, Refused, ServFail};
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
        let mut lab = Lab::new(config());
        let client = lab.ask("a.corp.", RecordType::TXT);
        for (request, code) in lab.requests().iter().zip(given) {
            match code {
                Some(code) => lab.reply(request, answer(&request.message, code, 0)),
                None => lab.fail(request, Unreachable),
            }
        }
        assert_eq!(lab.code(client), expected, "{given:?}");
        assert_eq!(lab.given(client), None);
        assert_eq!(lab.engine.poll_timeout(), None);
    }
}

#[test]
fn an_answer_with_data_may_be_preferred() {
    use ResponseCode::{NXDomain, NoError, ServFail};
    // What two resolvers answer in order (code and records), the second within 300 ms or not at all, and what the
    // client sees.
    let cases = [
        ((NXDomain, 0), Some((NoError, 1)), (NoError, 1)),
        ((NoError, 0), Some((NoError, 2)), (NoError, 2)),
        ((NoError, 1), Some((NXDomain, 0)), (NoError, 1)),
        ((NXDomain, 0), Some((NoError, 0)), (NXDomain, 0)),
        ((NXDomain, 0), Some((ServFail, 0)), (NXDomain, 0)),
        ((NXDomain, 0), None, (NXDomain, 0)),
    ];
    for (first, second, expected) in cases {
        let mut lab = Lab::new(DnsConfig { prefer_positive: true, ..config() });
        let client = lab.ask("a.corp.", RecordType::TXT);
        let requests = lab.requests();
        lab.reply(&requests[0], answer(&requests[0].message, first.0, first.1));
        lab.pass(Duration::from_millis(299));
        if let Some((code, count)) = second {
            lab.reply(&requests[1], answer(&requests[1].message, code, count));
        } else {
            assert_eq!(lab.given(client), None, "one with data may still come");
            lab.pass(Duration::from_millis(1));
        }
        let given = lab.answer(client);
        assert_eq!((given.metadata.response_code, given.answers.len()), expected, "{first:?} {second:?}");
        assert_eq!(lab.engine.poll_timeout(), None);
    }
}

#[test]
fn an_answer_that_does_not_fit_its_request_counts_as_none() {
    let good = |request: &Request| answer(&request.message, ResponseCode::NoError, 1);
    type Bend = fn(Vec<u8>) -> Vec<u8>;
    let bends: [(&str, u64, Bend); 6] = [
        ("another id", 1, |mut wire| {
            wire[1] ^= 1;
            wire
        }),
        ("a query", 0, |mut wire| {
            wire[2] &= 0x7f;
            wire
        }),
        ("another name", 1, |mut wire| {
            wire[13] ^= 1;
            wire
        }),
        ("another type", 1, |mut wire| {
            let end = message::question(&wire).unwrap().end;
            wire[end - 3] ^= 1;
            wire
        }),
        ("cut short", 0, |mut wire| {
            wire.truncate(wire.len() - 1);
            wire
        }),
        ("nothing", 0, |_| Vec::new()),
    ];
    for (what, mismatched, bend) in bends {
        let mut lab = Lab::new(config());
        let client = lab.ask("example.com.", RecordType::TXT);
        let request = lab.request();
        lab.reply(&request, bend(good(&request)));
        assert_eq!(lab.code(client), ResponseCode::ServFail, "{what}");
        assert_eq!(lab.stats().mismatched, mismatched, "{what}");
        // Nor does it stay: who asks again is answered anew.
        let client = lab.ask("example.com.", RecordType::TXT);
        let request = lab.request();
        lab.reply(&request, good(&request));
        assert_eq!(lab.code(client), ResponseCode::NoError, "{what}");
    }
}

#[test]
fn the_same_request_is_answered_once() {
    let mut lab = Lab::new(config());
    let client = lab.ask("example.com.", RecordType::TXT);
    let request = lab.request();
    for _ in 0..2 {
        lab.reply(&request, answer(&request.message, ResponseCode::NoError, 1));
    }
    assert!(lab.given(client).is_some());
    assert_eq!(lab.given(client), None);
}

#[test]
fn who_gets_no_answer_in_time_gets_servfail() {
    let mut lab = Lab::new(config());
    let start = lab.now;
    let client = lab.ask("a.corp.", RecordType::TXT);
    let requests = lab.requests();
    assert!(requests.iter().all(|request| request.deadline == start + QUERY_DEADLINE));
    assert_eq!(lab.engine.poll_timeout(), Some(start + QUERY_DEADLINE));
    lab.pass(QUERY_DEADLINE - NANO);
    assert_eq!(lab.given(client), None);
    lab.pass(NANO);
    assert_eq!(lab.code(client), ResponseCode::ServFail);
    assert_eq!((lab.engine.poll_timeout(), lab.stats().failed), (None, 1));
    // Later is too late.
    lab.reply(&requests[0], answer(&requests[0].message, ResponseCode::NoError, 1));
    assert_eq!(lab.given(client), None);
}

#[test]
fn who_failed_and_how_is_said() {
    let one = |name| vec![name];
    let cases = [
        ("a.example.", one(Unreachable), 23, "the gateway's resolver cannot be reached"),
        ("a.example.", one(TimedOut), 22, "the gateway's resolver does not answer"),
        ("a.example.", one(NotReady), 14, "the tunnel is not up"),
        (
            "a.example.",
            one(Refused { status: 403 }),
            18,
            "the gateway's resolver refuses with HTTP status 403",
        ),
        (
            "a.example.",
            one(Refused { status: 500 }),
            0,
            "the gateway's resolver refuses with HTTP status 500",
        ),
        ("a.example.", one(Garbage), 0, "the gateway's resolver answers with what is no answer to the query"),
        ("a.example.", Vec::new(), 22, "the gateway's resolver does not answer"),
        ("a.eu.corp.", one(Unreachable), 23, "the resolver 192.168.60.53 cannot be reached"),
        ("a.corp.", vec![TimedOut, TimedOut], 22, "the resolvers 192.168.50.53, 192.168.50.54 do not answer"),
    ];
    for (name, kinds, code, text) in cases {
        let mut lab = Lab::new(config());
        let with = lab.ask_with_edns(name, RecordType::A);
        let asked = lab.requests();
        let without = lab.ask(name, RecordType::A);
        let others = lab.requests();
        for (at, kind) in kinds.iter().enumerate() {
            lab.fail(&asked[at], *kind);
            lab.fail(&others[at], *kind);
        }
        lab.pass(QUERY_DEADLINE);
        let errors = lab.failure(with);
        assert_eq!(errors.len(), 1, "{name} {kinds:?}");
        assert_eq!(errors[0].code, code, "{name} {kinds:?}");
        assert_eq!(errors[0].text, text);
        assert_eq!(lab.failure(without), [], "who has no EDNS is told nothing");
    }
}

#[test]
fn over_the_bound_is_servfail_at_once() {
    let mut lab = Lab::new(config());
    let waiting: Vec<_> =
        (0..MAX_IN_FLIGHT).map(|at| lab.ask(&format!("a{at}.example."), RecordType::TXT)).collect();
    assert_eq!(lab.requests().len(), MAX_IN_FLIGHT);
    let over = lab.ask_with_edns("b.example.", RecordType::TXT);
    assert!(lab.requests().is_empty());
    assert_eq!(lab.failure(over)[0].text, "too many queries wait for an answer");
    let stats = lab.stats();
    assert_eq!((stats.refused, stats.in_flight), (1, 1024));
    // A network change answers all the others, and there is room again.
    lab.engine.flush(lab.now);
    for client in waiting {
        assert_eq!(lab.code(client), ResponseCode::ServFail);
    }
    assert_eq!((lab.engine.poll_timeout(), lab.stats().in_flight), (None, 0));
    lab.ask("b.example.", RecordType::TXT);
    lab.request();
}

#[test]
fn nobody_to_ask_is_servfail_at_once() {
    let mut lab = Lab::new(DnsConfig::default());
    let client = lab.ask_with_edns("example.com.", RecordType::A);
    let errors = lab.failure(client);
    assert_eq!((errors[0].code, errors[0].text.as_str()), (22, "no resolver is known to ask"));
    assert!(lab.requests().is_empty());
    lab.stats();
}

#[test]
fn the_self_check_name_is_answered_with_the_proxys_addresses() {
    let mut lab = Lab::new(config());
    let portal = lab.now + Duration::from_secs(60);
    for portal in [None, Some(portal)] {
        lab.engine.set_portal(portal, lab.now);
        for kind in [RecordType::A, RecordType::AAAA] {
            let client = lab.ask("Connectivity-Check.weftd.", kind);
            assert_eq!(addresses(&lab.answer(client)).len(), 2);
        }
    }
    assert_eq!((lab.requests(), lab.stats().local), (Vec::new(), 4));
    lab.engine.set_portal(None, lab.now);
    lab.ask("other.weftd.", RecordType::A);
    lab.request();
}

#[test]
fn an_answer_is_as_long_as_its_client_takes() {
    let asked = query(0xabcd, "t.example.", RecordType::TXT);
    let cases = [
        (Protocol::Udp, asked.clone(), true),
        (Protocol::Udp, with_edns(asked.clone(), 4096), false),
        (Protocol::Tcp, asked, false),
    ];
    for (protocol, asked, cut) in cases {
        let mut lab = Lab::new(DnsConfig { upstream: Upstream::Plain(vec![ip("10.0.0.1")]), ..config() });
        let (client, taken) = lab.take(protocol, &bytes(&asked));
        assert_eq!(taken, Taken::Waiting);
        let request = lab.request();
        // What is asked of a plain resolver always passes in one packet.
        assert!(message::udp_limit(&request.message) <= 1232);
        lab.reply(&request, answer(&request.message, ResponseCode::NoError, 20));
        let given = lab.answer(client);
        assert_eq!((given.metadata.truncation, given.answers.is_empty()), (cut, cut), "{protocol:?}");
        // And so from the cache.
        let (client, taken) = lab.take(protocol, &bytes(&asked));
        assert_eq!(taken, Taken::Answered);
        let given = lab.answer(client);
        assert_eq!((given.metadata.truncation, given.answers.is_empty()), (cut, cut), "{protocol:?}");
    }
}

#[test]
fn a_bad_query_is_refused_by_code_or_dropped() {
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
        let mut lab = Lab::new(config());
        let (client, taken) = lab.take(Protocol::Udp, &wire);
        let wanted = if expected.is_some() { Taken::Answered } else { Taken::Dropped };
        assert_eq!(taken, wanted, "{wire:?}");
        let code = lab.given(client).map(|wire| parse(&wire).metadata.response_code);
        assert_eq!(code, expected, "{wire:?}");
        assert_eq!((lab.requests(), lab.stats().refused), (Vec::new(), 1));
    }
}
