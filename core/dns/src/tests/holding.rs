//! Answers that wait for their addresses.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::svcb::{IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, HTTPS};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::lab::{Lab, addresses, alias, config, ip, record, reply, reply_with};
use super::{address, parse};
use crate::{DnsConfig, HOLD_DEADLINE, HostsFile, Learnt, MAX_WAITERS, message};

fn split(patterns: &[&str]) -> DnsConfig {
    DnsConfig { hosts: patterns.iter().map(|text| text.parse().unwrap()).collect(), ..config() }
}

fn lab() -> Lab {
    Lab::new(split(&["exact.example", "*.below.example"]))
}

fn texts(learnt: &[Learnt]) -> Vec<String> {
    learnt.iter().flat_map(|learnt| &learnt.addresses).map(|learnt| learnt.address.to_string()).collect()
}

fn https(name: &str, hint: &str) -> Record {
    let hint = SvcParamValue::Ipv4Hint(IpHint(vec![A(hint.parse().unwrap())]));
    let svcb = SVCB::new(1, Name::root(), vec![(SvcParamKey::Ipv4Hint, hint)]);
    record(name, 60, RData::HTTPS(HTTPS(svcb)))
}

#[test]
fn names_and_aliases_that_an_entry_matches_are_held() {
    let a = |name: &str| record(name, 60, address("192.0.2.1"));
    let cases: [(&str, Vec<Record>, bool); 9] = [
        ("exact.example.", vec![a("exact.example.")], true),
        ("EXACT.example.", vec![a("EXACT.example.")], true),
        ("a.exact.example.", vec![a("a.exact.example.")], false),
        ("a.b.below.example.", vec![a("a.b.below.example.")], true),
        ("below.example.", vec![a("below.example.")], false),
        ("other.example.", vec![a("other.example.")], false),
        (
            "other.example.",
            vec![
                alias("other.example.", "exact.example."),
                alias("exact.example.", "cdn.net."),
                a("cdn.net."),
            ],
            true,
        ),
        // A name that is not on the way to the address.
        ("other.example.", vec![alias("exact.example.", "cdn.net."), a("other.example.")], false),
        ("exact.example.", Vec::new(), false),
    ];
    for (name, records, held) in cases {
        let mut lab = lab();
        let client = lab.ask(name, RecordType::A);
        let request = lab.request();
        lab.reply(&request, reply_with(&request.message, ResponseCode::NoError, records.clone()));
        let learnt = lab.learnt();
        assert_eq!(learnt.len(), usize::from(held), "{name} {records:?}");
        assert_eq!(lab.given(client).is_none(), held, "{name} {records:?}");
        if let [learnt] = learnt.as_slice() {
            assert_eq!(learnt.addresses[0].address, ip("192.0.2.1"));
            assert_eq!(learnt.addresses[0].ttl, Duration::from_secs(60));
            lab.release(learnt.hold, Ok(()));
            assert_eq!(addresses(&lab.answer(client)), [ip("192.0.2.1")], "{name}");
        }
        assert_eq!((lab.stats().held, lab.stats().in_flight), (u64::from(held), 0));
        assert_eq!(lab.engine.poll_timeout(), None);
    }
}

#[test]
fn an_answer_from_the_cache_is_held_as_well() {
    let mut lab = lab();
    lab.ask("exact.example.", RecordType::A);
    let request = lab.request();
    lab.reply(&request, reply(&request.message, "192.0.2.1"));
    let hold = lab.learnt()[0].hold;
    lab.release(hold, Ok(()));
    lab.pass(Duration::from_secs(20));
    let client = lab.ask("exact.example.", RecordType::A);
    assert_eq!(lab.given(client), None);
    let learnt = lab.learnt();
    assert_eq!(learnt[0].addresses[0].ttl, Duration::from_secs(40), "what is left of it");
    // Who asks the same meanwhile waits with it, whatever became of it in the cache.
    lab.engine.forget();
    let joined = lab.ask("exact.example.", RecordType::A);
    assert_eq!((lab.given(joined), lab.learnt(), lab.requests()), (None, Vec::new(), Vec::new()));
    lab.release(learnt[0].hold, Ok(()));
    for client in [client, joined] {
        assert_eq!(addresses(&lab.answer(client)), [ip("192.0.2.1")]);
    }
    let stats = lab.stats();
    assert_eq!((stats.held, stats.joined, stats.cached, stats.upstream), (3, 1, 2, 1));
}

#[test]
fn an_answer_whose_way_is_not_set_up_goes_without_its_addresses() {
    type Ends = fn(&mut Lab, &Learnt);
    let ends: [Ends; 2] = [
        |lab, learnt| lab.release(learnt.hold, Err("the firewall refuses")),
        |lab, _| {
            lab.pass(HOLD_DEADLINE - Duration::from_nanos(1));
            assert_eq!(lab.engine.poll_answer(), None, "not a moment before");
            lab.pass(Duration::from_nanos(1));
        },
    ];
    for end in ends {
        let mut lab = lab();
        let client = lab.ask_with_edns("exact.example.", RecordType::A);
        let request = lab.request();
        lab.reply(&request, reply(&request.message, "192.0.2.1"));
        let learnt = lab.learnt();
        assert_eq!(lab.engine.poll_timeout(), Some(lab.now + HOLD_DEADLINE));
        end(&mut lab, &learnt[0]);
        let errors = lab.failure(client);
        assert_eq!(errors[0].text, "the way to its addresses could not be set up in time");
        // It is over: a release that comes late changes nothing.
        lab.release(learnt[0].hold, Ok(()));
        assert_eq!((lab.given(client), lab.engine.poll_timeout()), (None, None));
        assert_eq!((lab.stats().held, lab.stats().hold_failures, lab.stats().in_flight), (1, 1, 0));
    }
}

#[test]
fn hints_are_learnt_and_taken_out_where_the_way_is_not_set_up() {
    for (result, hints) in [(Ok(()), vec!["192.0.2.7"]), (Err("no"), vec![])] {
        let mut lab = lab();
        let client = lab.ask("exact.example.", RecordType::HTTPS);
        let request = lab.request();
        let records = vec![https("exact.example.", "192.0.2.7")];
        lab.reply(&request, reply_with(&request.message, ResponseCode::NoError, records));
        let learnt = lab.learnt();
        assert_eq!(texts(&learnt), ["192.0.2.7"]);
        lab.release(learnt[0].hold, result);
        let given = lab.given(client).unwrap();
        let left = message::resolved(&given).unwrap().addresses;
        assert_eq!(left.iter().map(|(address, _)| address.to_string()).collect::<Vec<_>>(), hints);
        assert_eq!(parse(&given).answers.len(), 1, "the service is still named");
    }
}

#[test]
fn where_nothing_is_held_addresses_are_learnt_all_the_same() {
    let mut lab = Lab::new(DnsConfig { hold: false, ..split(&["exact.example"]) });
    let client = lab.ask("exact.example.", RecordType::A);
    let request = lab.request();
    lab.reply(&request, reply(&request.message, "192.0.2.1"));
    assert_eq!(addresses(&lab.answer(client)), [ip("192.0.2.1")]);
    assert_eq!(texts(&lab.learnt()), ["192.0.2.1"]);
    let client = lab.ask("exact.example.", RecordType::A);
    assert_eq!(addresses(&lab.answer(client)), [ip("192.0.2.1")]);
    assert_eq!(texts(&lab.learnt()), ["192.0.2.1"]);
    assert_eq!((lab.stats().held, lab.engine.poll_timeout()), (0, None));
}

#[test]
fn the_hosts_file_s_addresses_are_held_too() {
    let mut lab = lab();
    lab.engine.set_hosts(HostsFile::parse("192.0.2.5 exact.example\n"));
    let client = lab.ask("exact.example.", RecordType::A);
    let learnt = lab.learnt();
    assert_eq!((lab.given(client), texts(&learnt)), (None, vec!["192.0.2.5".to_owned()]));
    lab.release(learnt[0].hold, Ok(()));
    assert_eq!(addresses(&lab.answer(client)), [ip("192.0.2.5")]);
    assert_eq!(lab.stats().hosts, 1);
}

#[test]
fn only_so_many_wait_for_the_same_hold() {
    let mut lab = lab();
    for _ in 0..MAX_WAITERS {
        lab.ask("exact.example.", RecordType::A);
    }
    let request = lab.request();
    lab.reply(&request, reply(&request.message, "192.0.2.1"));
    let over = lab.ask("exact.example.", RecordType::A);
    assert_eq!(lab.code(over), ResponseCode::ServFail);
    assert_eq!((lab.stats().held, lab.stats().refused), (MAX_WAITERS as u64, 1));
}

#[test]
fn a_change_of_network_leaves_what_is_held() {
    let mut lab = lab();
    let client = lab.ask("exact.example.", RecordType::A);
    let request = lab.request();
    lab.reply(&request, reply(&request.message, "192.0.2.1"));
    lab.engine.flush(lab.now);
    assert_eq!(lab.given(client), None);
    let hold = lab.learnt()[0].hold;
    lab.release(hold, Ok(()));
    assert_eq!(addresses(&lab.answer(client)), [ip("192.0.2.1")]);
}
