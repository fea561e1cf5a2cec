//! Answers that wait for their addresses.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::svcb::{IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, HTTPS, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::lab::{Lab, addresses, alias, config, ip, record, reply, reply_with};
use super::{address, bytes, parse};
use crate::{ClientId, DnsConfig, HOLD_DEADLINE, HostsFile, Learnt, MAX_WAITERS, message};

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

/// Records of the answer section, byte by byte, in an answer to `query`.
fn raw(query: &[u8], records: &[&[u8]]) -> Vec<u8> {
    let mut wire = reply_with(query, ResponseCode::NoError, Vec::new());
    wire[7] = records.len().try_into().unwrap();
    wire.extend(records.concat());
    wire
}

fn asked(lab: &mut Lab, name: &str, kind: RecordType, answer: impl FnOnce(&[u8]) -> Vec<u8>) -> ClientId {
    let client = lab.ask(name, kind);
    let request = lab.request();
    lab.reply(&request, answer(&request.message));
    client
}

#[test]
fn what_cannot_be_read_whole_goes_to_nobody() {
    let lead = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x0f\x05exact\x07example\0";
    let entry = b"\x05exact\x07example\0\0\x05\0\x01\0\0\0\x3c\0\x05\x03cdn\0";
    let bent = b"\x03cdn\0\0\x01\0\x01\0\0\0\x3c\0\x03\xc0\0\x02";
    let whole = b"\x03cdn\0\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";
    let mut lab = lab();
    let records: [&[u8]; 4] = [lead, entry, bent, whole];
    let client = asked(&mut lab, "other.example.", RecordType::A, |query| raw(query, &records));
    assert_eq!((lab.code(client), lab.learnt()), (ResponseCode::ServFail, Vec::new()));
    // Where there are no entries it is the client's to judge.
    let mut lab = Lab::new(config());
    let client = asked(&mut lab, "other.example.", RecordType::A, |query| raw(query, &records));
    assert_eq!(lab.given(client).map(|answer| message::rcode(&answer)), Some(0));
}

#[test]
fn a_chain_of_aliases_is_followed_or_goes_to_nobody() {
    for length in [1, 2, 31, 32, 33, 34, 100] {
        let mut lab = lab();
        let name = |at: usize| match at {
            0 => "other.example.".to_owned(),
            at if at + 1 == length => "exact.example.".to_owned(),
            at => format!("a{at}.net."),
        };
        let mut records: Vec<Record> = (0..length).map(|at| alias(&name(at), &name(at + 1))).collect();
        records.push(record(&name(length), 60, address("192.0.2.1")));
        let client = asked(&mut lab, "other.example.", RecordType::A, |query| {
            reply_with(query, ResponseCode::NoError, records)
        });
        let learnt = lab.learnt();
        match length {
            1 => assert_eq!(lab.code(client), ResponseCode::NoError, "no entry matches"),
            2..=32 => assert_eq!((lab.given(client), texts(&learnt)), (None, vec!["192.0.2.1".to_owned()])),
            _ => assert_eq!(lab.code(client), ResponseCode::ServFail, "{length}"),
        }
    }
}

#[test]
fn addresses_of_other_owners_are_learnt_too() {
    let mut lab = lab();
    let client = asked(&mut lab, "exact.example.", RecordType::A, |query| {
        let owners = ["exact.example.", "foreign.example."];
        let records = owners.iter().zip(["192.0.2.1", "192.0.2.2"]);
        let records = records.map(|(owner, ip)| record(owner, 60, address(ip))).collect();
        reply_with(query, ResponseCode::NoError, records)
    });
    assert_eq!(
        (lab.given(client), texts(&lab.learnt())),
        (None, vec!["192.0.2.1".into(), "192.0.2.2".into()])
    );
}

#[test]
fn additional_addresses_of_an_entry_are_learnt_whatever_was_asked() {
    let answer = |query: &[u8]| {
        let mut message = parse(&reply_with(query, ResponseCode::NoError, Vec::new()));
        let target = Name::from_ascii("exact.example.").unwrap();
        message.add_answer(record("_sip._tcp.other.example.", 60, RData::SRV(SRV::new(0, 0, 5060, target))));
        for (owner, ip) in [("exact.example.", "192.0.2.1"), ("other.example.", "192.0.2.2")] {
            message.add_additional(record(owner, 60, address(ip)));
        }
        bytes(&message)
    };
    for result in [Ok(()), Err("no")] {
        let mut lab = lab();
        let client = asked(&mut lab, "_sip._tcp.other.example.", RecordType::SRV, answer);
        let learnt = lab.learnt();
        assert_eq!((lab.given(client), texts(&learnt)), (None, vec!["192.0.2.1".to_owned()]));
        lab.release(learnt[0].hold, result);
        let code = if result.is_ok() { ResponseCode::NoError } else { ResponseCode::ServFail };
        assert_eq!(lab.code(client), code);
    }
}

#[test]
fn what_is_learnt_is_kept_by_nobody_for_longer_than_its_addresses() {
    for hold in [true, false] {
        let mut lab = Lab::new(DnsConfig { hold, ..split(&["exact.example"]) });
        let client = asked(&mut lab, "exact.example.", RecordType::A, |query| {
            let records = vec![
                record("exact.example.", 700_000, address("192.0.2.1")),
                record("exact.example.", 300, address("192.0.2.2")),
            ];
            reply_with(query, ResponseCode::NoError, records)
        });
        let learnt = lab.learnt().remove(0);
        assert_eq!(learnt.addresses[0].ttl, Duration::from_secs(7 * 86_400));
        lab.release(learnt.hold, Ok(()));
        let ttls: Vec<u32> = lab.answer(client).answers.iter().map(|record| record.ttl).collect();
        assert_eq!(ttls, [7 * 86_400, 300]);
    }
}
