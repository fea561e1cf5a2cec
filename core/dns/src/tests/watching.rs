//! What people are told, the hosts file, and captive portals.

use std::time::{Duration, SystemTime};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};
use weft_model::{DnsLogEntry, DnsSource, ExtendedError};

use super::bytes;
use super::lab::{Lab, addresses, alias, config, ip, record, reply, reply_with};
use super::{address, query, with_edns};
use crate::{ClientId, DnsConfig, HostsFile, MAX_LOGGED, Protocol, Target, UpstreamErrorKind, Way, message};

#[test]
fn the_hosts_file_answers_for_its_names_and_for_them_alone() {
    let mut lab = Lab::new(config());
    lab.engine
        .set_hosts(HostsFile::parse("192.0.2.1 web.example web\n192.0.2.2 web.example\n::1 localhost\n"));
    // What is asked, and the addresses or names given; none: others are asked.
    let none = Some(Vec::<&str>::new());
    let reverse = "1.2.0.192.in-addr.arpa.";
    let cases = [
        ("Web.Example.", RecordType::A, Some(vec!["192.0.2.1", "192.0.2.2"])),
        ("web.example.", RecordType::AAAA, none.clone()),
        ("web.example.", RecordType::HTTPS, none),
        ("web.example.", RecordType::MX, None),
        ("a.web.example.", RecordType::A, None),
        ("localhost.", RecordType::AAAA, Some(vec!["::1"])),
        (reverse, RecordType::PTR, Some(vec!["web.example.", "web."])),
        (reverse, RecordType::A, None),
        ("2.2.2.192.in-addr.arpa.", RecordType::PTR, None),
    ];
    for (name, kind, expected) in cases {
        let client = lab.ask(name, kind);
        let Some(expected) = expected else {
            assert!(!lab.requests().is_empty(), "{name} {kind}");
            continue;
        };
        let given = lab.answer(client);
        assert_eq!(given.metadata.response_code, ResponseCode::NoError);
        let data = given.answers.iter().map(|record| match &record.data {
            RData::PTR(name) => name.0.to_ascii(),
            _ => String::new(),
        });
        let names: Vec<String> = data.filter(|text| !text.is_empty()).collect();
        let texts = addresses(&given).iter().map(ToString::to_string).chain(names).collect::<Vec<_>>();
        assert_eq!(texts, expected, "{name} {kind}");
        assert!(lab.requests().is_empty());
    }
    assert_eq!(lab.stats().hosts, 5);
}

#[test]
fn a_captive_portal_takes_every_name_and_leaves_nothing_behind() {
    let mut lab = Lab::new(DnsConfig { hosts: vec!["*.example".parse().unwrap()], ..config() });
    lab.engine.set_hosts(HostsFile::parse("192.0.2.9 filed.example\n"));
    let before = lab.ask("before.example.", RecordType::A);
    lab.requests();
    let until = lab.now + Duration::from_secs(180);
    lab.engine.set_portal(Some(until), lab.now);
    assert_eq!(lab.code(before), ResponseCode::ServFail, "nobody can answer it now");
    assert_eq!(lab.engine.poll_timeout(), Some(until));
    for name in ["a.example.", "a.corp.", "filed.example."] {
        for _ in 0..2 {
            let client = lab.ask(name, RecordType::A);
            let request = lab.request();
            assert_eq!(request.to, Target::Plain { server: ip("192.168.1.1"), way: Way::Outside });
            lab.reply(&request, reply(&request.message, "10.9.9.9"));
            assert_eq!(addresses(&lab.answer(client)), [ip("10.9.9.9")]);
        }
    }
    assert_eq!((lab.learnt(), lab.stats().cache_entries, lab.stats().portal), (Vec::new(), 0, 6));
    // It ends by itself, and with it what was asked in it.
    let late = lab.ask("b.example.", RecordType::A);
    let request = lab.request();
    lab.pass(Duration::from_secs(180));
    lab.reply(&request, reply(&request.message, "10.9.9.9"));
    assert_eq!(lab.code(late), ResponseCode::ServFail);
    assert_eq!(lab.engine.poll_timeout(), None);
    lab.ask("b.example.", RecordType::A);
    assert_eq!(lab.request().to, Target::Doh);
}

#[test]
fn a_look_up_says_who_answered_and_which_entry_matched() {
    let mut lab = Lab::new(DnsConfig { hosts: vec!["*.cdn.net".parse().unwrap()], hold: false, ..config() });
    let wire = bytes(&with_edns(query(1, "www.Example.", RecordType::A), 1232));
    for cached in [false, true] {
        let client = ClientId(7 + u64::from(cached));
        lab.engine.trace(client);
        let mut answer = Vec::new();
        let taken = lab.engine.handle_query(client, Protocol::Udp, &wire, &mut answer, lab.now);
        if !cached {
            assert_eq!(taken, crate::Taken::Waiting);
            let request = lab.request();
            let records = vec![
                alias("www.example.", "a.cdn.net."),
                alias("a.cdn.net.", "b.net."),
                record("b.net.", 60, address("192.0.2.1")),
            ];
            lab.reply(&request, reply_with(&request.message, ResponseCode::NoError, records));
            answer = lab.engine.poll_answer().unwrap().1;
        }
        let lookup = lab.engine.lookup_of(client, &answer, Duration::from_millis(3)).unwrap();
        let source = if cached { DnsSource::Cache { stale: false } } else { DnsSource::Doh };
        assert_eq!((lookup.source, lookup.micros), (source, 3000));
        assert_eq!(
            (lookup.name.as_str(), lookup.kind.as_str(), lookup.rcode.as_str()),
            ("www.example", "A", "NOERROR")
        );
        assert_eq!(lookup.host_entry.map(|entry| entry.to_string()).as_deref(), Some("*.cdn.net"));
        assert_eq!(lookup.answers.len(), 3);
        assert_eq!(lookup.message, answer);
        assert_eq!(lab.engine.lookup_of(client, &answer, Duration::ZERO), None, "once");
    }
}

fn logged(lab: &mut Lab, wall: SystemTime) -> Vec<DnsLogEntry> {
    std::iter::from_fn(|| lab.engine.poll_logged(wall)).collect()
}

#[test]
fn the_log_is_off_bounded_and_told_once() {
    let mut lab = Lab::new(config());
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    lab.ask("secret.example.", RecordType::A);
    lab.engine.flush(lab.now);
    lab.requests();
    assert_eq!(lab.engine.poll_logged(wall), None);
    lab.engine.set_log(true);
    assert_eq!(lab.engine.poll_logged(wall), None, "what was asked before stays untold");
    lab.pass(Duration::from_secs(2));
    lab.ask("A.example.", RecordType::A);
    let request = lab.request();
    lab.pass(Duration::from_millis(30));
    lab.reply(&request, reply(&request.message, "192.0.2.1"));
    lab.ask("a.example.", RecordType::A);
    lab.ask_with_edns("b.example.", RecordType::TXT);
    let request = lab.request();
    lab.fail(&request, UpstreamErrorKind::TimedOut);
    let log = logged(&mut lab, wall);
    let told: Vec<_> = log
        .iter()
        .map(|entry| {
            (entry.name.as_str(), entry.kind.as_str(), &entry.source, entry.rcode.as_str(), entry.micros)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("a.example", "A", &DnsSource::Doh, "NOERROR", 30_000),
            ("a.example", "A", &DnsSource::Cache { stale: false }, "NOERROR", 0),
            ("b.example", "TXT", &DnsSource::Doh, "SERVFAIL", 0),
        ]
    );
    assert!(log.iter().all(|entry| entry.at == wall));
    assert_eq!(log[2].error.as_ref().unwrap().code, 22);
    assert!(logged(&mut lab, wall).is_empty(), "each is told once");
    lab.ask("c.example.", RecordType::A);
    lab.engine.flush(lab.now);
    for _ in 0..MAX_LOGGED {
        lab.ask("a.example.", RecordType::A);
    }
    lab.engine.set_log(true);
    let log = logged(&mut lab, wall);
    assert_eq!(log.len(), MAX_LOGGED);
    assert!(log.iter().all(|entry| entry.name == "a.example"), "the oldest goes first");
    lab.ask("a.example.", RecordType::A);
    lab.engine.set_log(false);
    lab.engine.set_log(true);
    assert!(logged(&mut lab, wall).is_empty());
}

#[test]
fn the_log_says_why_to_whoever_asks_without_edns() {
    let mut lab = Lab::new(DnsConfig { hosts: vec!["exact.example".parse().unwrap()], ..config() });
    lab.engine.set_log(true);
    let failed = lab.ask("a.example.", RecordType::A);
    let request = lab.request();
    lab.fail(&request, UpstreamErrorKind::TimedOut);
    assert_eq!(lab.code(failed), ResponseCode::ServFail);
    for name in ["b.example.", "exact.example."] {
        let client = lab.ask(name, RecordType::A);
        let request = lab.request();
        let told = message::info_code::PROHIBITED;
        let mut asked = request.message.clone();
        asked[11] = 1;
        asked.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        let mut answer = reply(&asked, "192.0.2.1");
        let error = ExtendedError { code: told, text: "not here".to_owned() };
        assert!(message::add_extended_error(&mut answer, &asked, &error));
        lab.reply(&request, answer);
        for learnt in lab.learnt() {
            lab.release(learnt.hold, Ok(()));
        }
        assert!(lab.answer(client).edns.is_none(), "it did not ask by EDNS");
    }
    let log = logged(&mut lab, SystemTime::UNIX_EPOCH);
    let codes: Vec<_> = log.into_iter().map(|entry| entry.error.map(|error| error.code)).collect();
    let told = Some(message::info_code::PROHIBITED);
    assert_eq!(codes, [Some(message::info_code::NO_REACHABLE_AUTHORITY), told, told]);
}

#[test]
fn look_ups_that_nobody_asks_after_take_no_place_from_others() {
    let mut lab = Lab::new(config());
    lab.engine.set_hosts(HostsFile::parse("192.0.2.1 web.corp\n"));
    let wire = bytes(&query(1, "web.corp.", RecordType::A));
    for number in 0..100 {
        lab.engine.trace(ClientId(number));
        let mut answer = Vec::new();
        let _ = lab.engine.handle_query(ClientId(number), Protocol::Udp, &wire, &mut answer, lab.now);
        if number == 99 {
            let lookup = lab.engine.lookup_of(ClientId(number), &answer, Duration::ZERO).unwrap();
            assert_eq!(lookup.source, DnsSource::Hosts);
            assert!(lab.engine.lookup_of(ClientId(0), &answer, Duration::ZERO).is_none(), "long forgotten");
        }
    }
}
