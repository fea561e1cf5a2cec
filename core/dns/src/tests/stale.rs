//! Answers whose time is over, while nobody can be asked (RFC 8767).

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::lab::{Lab, addresses, config, ip, reply, reply_with};
use super::parse;
use crate::{ClientId, DnsConfig, QUERY_DEADLINE, UpstreamErrorKind, message};

const OVER: Duration = Duration::from_secs(61);
const STALE_WAIT: Duration = Duration::from_millis(1800);

/// A lab that knew www.example's address a minute ago.
fn lab(serve_stale: Option<Duration>) -> Lab {
    let mut lab = Lab::new(DnsConfig { serve_stale, ..config() });
    lab.ask_with_edns("www.example.", RecordType::A);
    let request = lab.request();
    lab.reply(&request, reply(&request.message, "192.0.2.1"));
    lab.pass(OVER);
    lab
}

fn day() -> Option<Duration> {
    Some(Duration::from_secs(86_400))
}

fn ask(lab: &mut Lab) -> ClientId {
    lab.ask_with_edns("www.example.", RecordType::A)
}

/// Whether it is the stale answer, marked as such.
fn is_stale(lab: &mut Lab, client: ClientId) -> bool {
    let given = lab.given(client).expect("an answer");
    let codes: Vec<u16> = message::extended_errors(&given).iter().map(|error| error.code).collect();
    codes == [3] && addresses(&parse(&given)) == [ip("192.0.2.1")]
}

#[test]
fn off_is_off_and_too_old_is_too_old() {
    for longest in [None, Some(Duration::from_millis(500))] {
        let mut lab = lab(longest);
        let client = ask(&mut lab);
        let request = lab.request();
        lab.fail(&request, UpstreamErrorKind::Unreachable);
        assert_eq!(lab.failure(client).len(), 1);
    }
}

#[test]
fn whoever_fails_is_stood_in_for() {
    type Fails = fn(&mut Lab);
    let cases: [(&str, Fails); 3] = [
        ("unreachable", |lab| {
            let request = lab.request();
            lab.fail(&request, UpstreamErrorKind::Unreachable);
        }),
        ("a failing resolver", |lab| {
            let request = lab.request();
            lab.reply(&request, reply_with(&request.message, ResponseCode::ServFail, Vec::new()));
        }),
        ("silent", |lab| lab.pass(STALE_WAIT)),
    ];
    for (what, fails) in cases {
        let mut lab = lab(day());
        let client = ask(&mut lab);
        assert_eq!(lab.given(client), None, "{what}");
        fails(&mut lab);
        assert!(is_stale(&mut lab, client), "{what}");
        let stats = lab.stats();
        assert_eq!((stats.stale, stats.upstream, stats.failed), (1, 1, 0), "{what}");
    }
}

#[test]
fn a_late_answer_is_kept_and_those_who_come_meanwhile_do_not_wait() {
    let mut lab = lab(day());
    let client = ask(&mut lab);
    let request = lab.request();
    lab.pass(STALE_WAIT);
    assert!(is_stale(&mut lab, client));
    let meanwhile = ask(&mut lab);
    assert!(is_stale(&mut lab, meanwhile));
    assert!(lab.requests().is_empty());
    lab.reply(&request, reply(&request.message, "192.0.2.2"));
    assert_eq!(lab.given(client), None, "once is enough");
    let client = ask(&mut lab);
    assert_eq!(addresses(&lab.answer(client)), [ip("192.0.2.2")]);
    assert_eq!(lab.stats().in_flight, 0);
}

#[test]
fn a_refusal_is_an_answer() {
    let mut lab = lab(day());
    let client = ask(&mut lab);
    let request = lab.request();
    lab.reply(&request, reply_with(&request.message, ResponseCode::Refused, Vec::new()));
    assert_eq!(lab.code(client), ResponseCode::Refused);
}

#[test]
fn who_failed_is_left_alone_until_anything_is_answered_or_half_a_minute_is_over() {
    let mut lab = lab(day());
    let client = ask(&mut lab);
    lab.request();
    lab.pass(QUERY_DEADLINE);
    assert!(is_stale(&mut lab, client));
    let again = ask(&mut lab);
    assert!(is_stale(&mut lab, again), "at once");
    assert!(lab.requests().is_empty());
    // Somebody asks for something else, and is answered.
    lab.ask("b.example.", RecordType::A);
    let request = lab.request();
    lab.reply(&request, reply(&request.message, "192.0.2.3"));
    ask(&mut lab);
    let request = lab.request();
    lab.fail(&request, UpstreamErrorKind::TimedOut);
    // Nobody does: then after its time.
    lab.pass(Duration::from_secs(30));
    ask(&mut lab);
    lab.request();
}
