//! Plain resolvers: the case of questions (draft-vixie-dnsext-dns0x20).

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::lab::{Lab, config, ip, reply};
use crate::{DnsConfig, QUERY_DEADLINE, Request, Upstream, UpstreamErrorKind, message};

fn lab() -> Lab {
    let upstream = Upstream::Plain(vec![ip("10.0.0.1")]);
    Lab::with_case(DnsConfig { upstream, ..config() }, 0b0101_0101)
}

fn name(request: &Request) -> &[u8] {
    &request.message[12..message::question_place(&request.message).unwrap().name_end]
}

/// The answer of a resolver that gives every question back in lower case.
fn folded(request: &Request) -> Vec<u8> {
    let mut answer = reply(&request.message, "192.0.2.1");
    let end = message::question_place(&answer).unwrap().name_end;
    answer[12..end].make_ascii_lowercase();
    answer
}

#[test]
fn a_question_goes_out_in_any_case_and_must_come_back_in_it() {
    let mut lab = lab();
    let client = lab.ask("abcd.example.", RecordType::A);
    let request = lab.request();
    assert_eq!(name(&request), b"\x04AbCd\x07ExAmPlE\x00");
    lab.reply(&request, reply(&request.message, "192.0.2.1"));
    assert_eq!(lab.code(client), ResponseCode::NoError);
    assert_eq!(lab.stats().mismatched, 0);
}

#[test]
fn who_folds_case_is_asked_once_more_and_then_remembered() {
    let mut lab = lab();
    for (times, asked) in ["abcd.example.", "bbcd.example.", "cbcd.example."].into_iter().enumerate() {
        let client = lab.ask(asked, RecordType::A);
        let first = lab.request();
        assert!(name(&first).iter().any(u8::is_ascii_uppercase), "{times} times are too few");
        lab.reply(&first, folded(&first));
        assert_eq!(lab.given(client), None);
        let second = lab.request();
        assert!(!name(&second).iter().any(u8::is_ascii_uppercase));
        assert_ne!(message::id(&first.message), message::id(&second.message));
        lab.reply(&second, folded(&second));
        assert_eq!(lab.code(client), ResponseCode::NoError);
    }
    assert_eq!(lab.stats().mismatched, 3);
    // From now on it is asked in one case, until the network is another one.
    lab.ask("efgh.example.", RecordType::A);
    assert_eq!(name(&lab.request()), b"\x04efgh\x07example\x00");
    lab.engine.flush(lab.now);
    lab.ask("efgh.example.", RecordType::A);
    assert_eq!(name(&lab.request()), b"\x04EfGh\x07ExAmPlE\x00");
}

#[test]
fn who_keeps_the_case_between_is_not_taken_to_fold_it() {
    let mut lab = lab();
    for (at, keeps) in [false, false, true, false, false].into_iter().enumerate() {
        lab.ask(&format!("a{at}.example."), RecordType::A);
        let first = lab.request();
        if keeps {
            lab.reply(&first, reply(&first.message, "192.0.2.1"));
        } else {
            lab.reply(&first, folded(&first));
            let second = lab.request();
            lab.reply(&second, folded(&second));
        }
    }
    lab.ask("efgh.example.", RecordType::A);
    assert_eq!(name(&lab.request()), b"\x04EfGh\x07ExAmPlE\x00");
}

#[test]
fn the_first_answer_calls_the_other_requests_off() {
    let mut lab = Lab::new(config());
    let client = lab.ask("a.corp.", RecordType::A);
    let requests = lab.requests();
    lab.reply(&requests[0], reply(&requests[0].message, "192.0.2.1"));
    assert_eq!(lab.code(client), ResponseCode::NoError);
    let cancelled: Vec<_> = std::iter::from_fn(|| lab.engine.poll_cancelled()).collect();
    assert_eq!(cancelled, [requests[1].id]);
    // A portal that opens, another network and a deadline do so for all.
    let ends: [fn(&mut Lab); 3] = [
        |lab| lab.engine.set_portal(Some(lab.now + QUERY_DEADLINE), lab.now),
        |lab| lab.engine.flush(lab.now),
        |lab| lab.pass(QUERY_DEADLINE),
    ];
    for end in ends {
        let mut lab = Lab::new(config());
        lab.ask("a.corp.", RecordType::A);
        let requests = lab.requests();
        end(&mut lab);
        let cancelled: Vec<_> = std::iter::from_fn(|| lab.engine.poll_cancelled()).collect();
        assert_eq!(cancelled, [requests[0].id, requests[1].id]);
    }
}

#[test]
fn what_is_under_way_is_asked_again_where_the_ways_are_others() {
    let mut lab = lab();
    let client = lab.ask("abcd.example.", RecordType::A);
    let first = lab.request();
    lab.engine.ask_again();
    let cancelled: Vec<_> = std::iter::from_fn(|| lab.engine.poll_cancelled()).collect();
    assert_eq!(cancelled, [first.id]);
    let second = lab.request();
    assert_eq!((second.to, second.deadline), (first.to, first.deadline));
    assert_ne!(message::id(&first.message), message::id(&second.message));
    lab.fail(&first, UpstreamErrorKind::Unreachable);
    assert_eq!(lab.given(client), None, "the way of before counts no more");
    lab.reply(&second, reply(&second.message, "192.0.2.1"));
    assert_eq!(lab.code(client), ResponseCode::NoError);
    lab.engine.ask_again();
    assert!(lab.requests().is_empty(), "what is answered is not asked again");

    // One of two that has answered stays so.
    let mut lab = Lab::new(config());
    let client = lab.ask("a.corp.", RecordType::A);
    let requests = lab.requests();
    lab.fail(&requests[0], UpstreamErrorKind::Unreachable);
    lab.engine.ask_again();
    let again = lab.request();
    assert_eq!(again.to, requests[1].to);
    lab.reply(&again, reply(&again.message, "192.0.2.1"));
    assert_eq!(lab.code(client), ResponseCode::NoError);
    lab.stats();
}

#[test]
fn a_guess_in_another_case_alone_changes_nothing_for_good() {
    let mut lab = lab();
    let client = lab.ask("abcd.example.", RecordType::A);
    let first = lab.request();
    lab.reply(&first, folded(&first));
    let second = lab.request();
    lab.pass(QUERY_DEADLINE);
    assert_eq!(lab.code(client), ResponseCode::ServFail);
    lab.reply(&second, folded(&second));
    lab.ask("efgh.example.", RecordType::A);
    assert_eq!(name(&lab.request()), b"\x04EfGh\x07ExAmPlE\x00", "nobody answered in one case");
}
