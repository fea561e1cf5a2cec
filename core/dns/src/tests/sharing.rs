//! Answers that serve more than one query: from the cache, and to who asks the same at once.

use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::EdnsOption;

use super::lab::{Lab, addresses, config, ip, reply, reply_with};
use super::{bytes, parse, query, with_edns};
use crate::{DnsConfig, MAX_WAITERS, Protocol, Taken, Upstream, message};

fn with_option(message: Message, option: EdnsOption) -> Message {
    let mut message = with_edns(message, 1232);
    message.edns.as_mut().unwrap().options_mut().insert(option);
    message
}

/// A lab whose cache holds www.example's address.
fn warm() -> Lab {
    let mut lab = Lab::new(config());
    lab.ask("www.example.", RecordType::A);
    let request = lab.request();
    lab.reply(&request, reply(&request.message, "192.0.2.1"));
    lab
}

#[test]
fn a_hit_is_answered_at_once_in_the_words_of_its_query() {
    let mut lab = warm();
    lab.pass(Duration::from_secs(10));
    let wire = bytes(&query(0x7777, "wWw.ExAmPlE.", RecordType::A));
    let (client, taken) = lab.take(Protocol::Udp, &wire);
    assert_eq!(taken, Taken::Answered);
    let given = lab.given(client).unwrap();
    assert_eq!(message::id(&given), Some(0x7777));
    assert!(message::has_same_question(&wire, &given), "letter by letter");
    let given = parse(&given);
    assert!(given.metadata.recursion_desired && given.edns.is_none());
    assert_eq!((addresses(&given), given.answers[0].ttl), (vec![ip("192.0.2.1")], 50));
    assert!(lab.requests().is_empty());
    let stats = lab.stats();
    assert_eq!((stats.cached, stats.upstream, stats.cache_entries), (1, 1, 1));
}

#[test]
fn what_makes_another_answer_is_asked_anew() {
    let plain = || query(1, "www.example.", RecordType::A);
    let mut checking_disabled = plain();
    checking_disabled.metadata.checking_disabled = true;
    let mut no_recursion = plain();
    no_recursion.metadata.recursion_desired = false;
    let cases = [
        ("the same", plain(), false),
        ("another type", query(1, "www.example.", RecordType::AAAA), true),
        ("another name", query(1, "w.example.", RecordType::A), true),
        ("EDNS", with_edns(plain(), 1232), true),
        ("CD", checking_disabled, true),
        ("no RD", no_recursion, true),
        ("a subnet", with_option(plain(), EdnsOption::Unknown(8, vec![0, 1, 0, 0])), true),
    ];
    for (what, wire, asked) in cases {
        let mut lab = warm();
        let (_, taken) = lab.take(Protocol::Udp, &bytes(&wire));
        assert_eq!(taken == Taken::Waiting, asked, "{what}");
        assert_eq!(!lab.requests().is_empty(), asked, "{what}");
        lab.stats();
    }
}

#[test]
fn a_cookie_stays_between_two_and_a_subnet_goes_on_alone() {
    let cookie = with_option(query(1, "a.example.", RecordType::A), EdnsOption::Unknown(10, vec![7; 8]));
    let subnet = with_option(query(1, "a.example.", RecordType::A), EdnsOption::Unknown(8, vec![0, 1, 0, 0]));
    let mut lab = Lab::new(config());
    for (first, second, requests) in [(&cookie, &cookie, 1), (&subnet, &subnet, 2)] {
        lab.engine.flush(lab.now);
        for wire in [first, second] {
            assert_eq!(lab.take(Protocol::Udp, &bytes(wire)).1, Taken::Waiting);
        }
        let asked = lab.requests();
        assert_eq!(asked.len(), requests);
        let has = |code: u16| parse(&asked[0].message).edns.unwrap().option(code.into()).is_some();
        assert!(!has(10), "a cookie is never sent on");
        assert_eq!(has(8), requests == 2);
        for request in &asked {
            lab.reply(request, reply(&request.message, "192.0.2.1"));
        }
    }
    assert_eq!(lab.stats().cache_entries, 1, "only the one that is for all");
}

#[test]
fn who_asks_the_same_waits_for_the_same_answer() {
    let mut lab = Lab::new(config());
    let wires: Vec<Vec<u8>> = ["a.example.", "A.example.", "a.eXample."]
        .iter()
        .zip(10..)
        .map(|(name, id)| bytes(&query(id, name, RecordType::A)))
        .collect();
    let clients: Vec<_> = wires.iter().map(|wire| lab.take(Protocol::Udp, wire).0).collect();
    let request = lab.request();
    assert_eq!((lab.stats().joined, lab.stats().in_flight), (2, 3));
    lab.reply(&request, reply(&request.message, "192.0.2.1"));
    for (client, wire) in clients.into_iter().zip(&wires) {
        let given = lab.given(client).unwrap();
        assert_eq!(message::id(&given), message::id(wire));
        assert!(message::has_same_question(wire, &given));
        assert_eq!(addresses(&parse(&given)), [ip("192.0.2.1")]);
    }
    assert_eq!(lab.stats().in_flight, 0);
}

#[test]
fn each_who_waits_gets_as_much_as_it_takes_and_fails_with_the_others() {
    let mut lab = Lab::new(config());
    let wire = bytes(&query(1, "t.example.", RecordType::TXT));
    let (by_udp, _) = lab.take(Protocol::Udp, &wire);
    let (by_tcp, _) = lab.take(Protocol::Tcp, &wire);
    let request = lab.request();
    lab.reply(&request, super::answer(&request.message, ResponseCode::NoError, 20));
    assert!(message::is_truncated(&lab.given(by_udp).unwrap()));
    assert!(!message::is_truncated(&lab.given(by_tcp).unwrap()));
    let failing = [lab.ask("b.example.", RecordType::A), lab.ask("b.example.", RecordType::A)];
    lab.pass(crate::QUERY_DEADLINE);
    for client in failing {
        assert_eq!(lab.code(client), ResponseCode::ServFail);
    }
    assert_eq!((lab.stats().failed, lab.stats().in_flight), (2, 0));
}

#[test]
fn only_so_many_wait_for_the_same() {
    let mut lab = Lab::new(config());
    let waiting: Vec<_> = (0..MAX_WAITERS).map(|_| lab.ask("a.example.", RecordType::A)).collect();
    let over = lab.ask("a.example.", RecordType::A);
    assert_eq!(lab.code(over), ResponseCode::ServFail);
    let request = lab.request();
    lab.reply(&request, reply(&request.message, "192.0.2.1"));
    for client in waiting {
        assert_eq!(lab.code(client), ResponseCode::NoError);
    }
    let stats = lab.stats();
    assert_eq!((stats.refused, stats.joined), (1, MAX_WAITERS as u64 - 1));
}

#[test]
fn what_may_be_kept_is_kept() {
    let cases = [
        (ResponseCode::NoError, true, true),
        (ResponseCode::ServFail, false, false),
        (ResponseCode::Refused, false, false),
        // Without an SOA record nobody knows for how long (RFC 2308, section 5).
        (ResponseCode::NXDomain, false, false),
    ];
    for (code, has_address, kept) in cases {
        let mut lab = Lab::new(config());
        lab.ask("a.example.", RecordType::A);
        let request = lab.request();
        let records =
            if has_address { parse(&reply(&request.message, "192.0.2.1")).answers } else { Vec::new() };
        lab.reply(&request, reply_with(&request.message, code, records));
        lab.ask("a.example.", RecordType::A);
        assert_eq!(lab.requests().is_empty(), kept, "{code}");
    }
}

#[test]
fn other_rules_or_networks_make_earlier_answers_wrong() {
    type Change = fn(&mut Lab);
    fn set(lab: &mut Lab, config: DnsConfig) {
        lab.engine.set_config(config, lab.now);
    }
    // A change, and whether what the upstream and a fallback resolver answered is still good.
    let cases: [(&str, Change, bool, bool); 7] = [
        ("the same", |lab| set(lab, config()), true, true),
        (
            "another upstream",
            |lab| set(lab, DnsConfig { upstream: Upstream::System, ..config() }),
            false,
            false,
        ),
        ("other rules", |lab| set(lab, DnsConfig { fallback: Vec::new(), ..config() }), false, false),
        (
            "other resolvers",
            |lab| set(lab, DnsConfig { system_resolvers: Vec::new(), ..config() }),
            true,
            false,
        ),
        (
            "host entries",
            |lab| set(lab, DnsConfig { hosts: vec!["x.y".parse().unwrap()], ..config() }),
            true,
            true,
        ),
        ("another network", |lab| lab.engine.flush(lab.now), true, false),
        ("forgetting", |lab| lab.engine.forget(), false, false),
    ];
    for (what, change, upstream, fallback) in cases {
        let mut lab = Lab::new(config());
        for (name, good) in [("a.example.", upstream), ("a.local.", fallback)] {
            lab.ask(name, RecordType::A);
            let request = lab.request();
            lab.reply(&request, reply(&request.message, "192.0.2.1"));
            change(&mut lab);
            let client = lab.ask(name, RecordType::A);
            let hit = lab.given(client).is_some_and(|given| message::rcode(&given) == 0);
            assert_eq!(hit, good, "{what}: {name}");
            lab.engine.flush(lab.now);
            lab.requests();
            lab.engine.set_config(config(), lab.now);
        }
    }
}

#[test]
fn what_was_asked_by_other_rules_is_neither_kept_nor_shared() {
    let mut lab = Lab::new(config());
    let before = lab.ask("a.example.", RecordType::A);
    let old = lab.request();
    let upstream = Upstream::Plain(vec![ip("10.0.0.1")]);
    lab.engine.set_config(DnsConfig { upstream, ..config() }, lab.now);
    let after = lab.ask("a.example.", RecordType::A);
    let new = lab.request();
    lab.reply(&old, reply(&old.message, "192.0.2.1"));
    assert_eq!(addresses(&lab.answer(before)), [ip("192.0.2.1")]);
    assert_eq!((lab.given(after), lab.stats().cache_entries), (None, 0));
    lab.reply(&new, reply(&new.message, "192.0.2.2"));
    assert_eq!(addresses(&lab.answer(after)), [ip("192.0.2.2")]);
    assert_eq!(lab.stats().cache_entries, 1);
}

#[test]
fn a_name_that_is_asked_for_often_is_fetched_before_its_time_is_over() {
    let mut lab = warm();
    for _ in 0..57 {
        lab.pass(Duration::from_secs(1));
        let client = lab.ask("www.example.", RecordType::A);
        assert!(lab.given(client).is_some());
    }
    let request = lab.request();
    assert_eq!((lab.stats().prefetched, lab.stats().cached, lab.stats().upstream), (1, 57, 1));
    lab.reply(&request, reply(&request.message, "192.0.2.2"));
    lab.pass(Duration::from_secs(30));
    let client = lab.ask("www.example.", RecordType::A);
    assert_eq!(addresses(&lab.answer(client)), [ip("192.0.2.2")]);
    assert_eq!(lab.engine.poll_timeout(), None);
}
