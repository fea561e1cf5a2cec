//! Seeds that are DNS messages.

use crate::Seeds;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const OPT: u16 = 41;
const SVCB: u16 = 64;
const AXFR: u16 = 252;

/// A pointer to the question's name.
const ASKED: [u8; 2] = [0xc0, 12];

fn name(text: &str) -> Vec<u8> {
    let label = |label: &str| [&[u8::try_from(label.len()).unwrap()][..], label.as_bytes()].concat();
    text.split('.').flat_map(label).chain([0]).collect()
}

fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).unwrap().to_be_bytes();
    [owner, &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &len, data].concat()
}

fn edns(payload: u16, version: u8, options: &[u8]) -> Vec<u8> {
    let len = u16::try_from(options.len()).unwrap().to_be_bytes();
    [&[0][..], &OPT.to_be_bytes(), &payload.to_be_bytes(), &[0, version, 0x80, 0], &len, options].concat()
}

/// A message with one question and its records by section.
fn message(flags: u16, asked: &str, kind: u16, answers: &[Vec<u8>], additional: &[Vec<u8>]) -> Vec<u8> {
    let count = |records: &[Vec<u8>]| u16::try_from(records.len()).unwrap().to_be_bytes();
    let head =
        [&[0, 0][..], &flags.to_be_bytes(), &[0, 1], &count(answers), &[0, 0], &count(additional)].concat();
    let question = [&name(asked)[..], &kind.to_be_bytes(), &[0, 1]].concat();
    [head, question, answers.concat(), additional.concat()].concat()
}

fn ask(asked: &str, kind: u16, additional: &[Vec<u8>]) -> Vec<u8> {
    message(0x0100, asked, kind, &[], additional)
}

fn changed(mut message: Vec<u8>, at: usize, to: u8) -> Vec<u8> {
    message[at] = to;
    message
}

pub(crate) fn query() -> Seeds {
    let plain = ask("www.example", A, &[]);
    let padding = [&[0, 12, 0, 20][..], &[0; 20]].concat();
    vec![
        ("ok-plain", plain.clone()),
        ("ok-edns", ask("WWW.Example", AAAA, &[edns(4096, 0, &[])])),
        ("ok-padded", ask("a.b.c.corp", A, &[edns(1232, 0, &padding)])),
        ("ok-service", ask("_dns.resolver.arpa", SVCB, &[])),
        ("ok-root", [&plain[..12], &[0, 0, 2, 0, 1][..]].concat()),
        (
            "ok-longest",
            ask(&["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join("."), A, &[]),
        ),
        ("bad-empty", Vec::new()),
        ("bad-answer", message(0x8180, "www.example", A, &[], &[])),
        ("bad-update", changed(plain.clone(), 2, 0x29)),
        ("bad-no-question", vec![0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("bad-two-questions", changed(plain.clone(), 5, 2)),
        ("bad-cut", plain[..plain.len() - 3].to_vec()),
        ("bad-count", changed(plain.clone(), 11, 9)),
        ("bad-loop", [&plain[..12], &ASKED, &[0, 1, 0, 1]].concat()),
    ]
}

/// Answers, well-formed or not, to whatever question.
pub(crate) fn answer() -> Seeds {
    let address = record(&ASKED, A, &[198, 51, 100, 7]);
    let alias = record(&ASKED, CNAME, &name("cdn.example"));
    let behind =
        record(&name("cdn.example"), AAAA, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    let reply =
        |answers: &[Vec<u8>], additional: &[Vec<u8>]| message(0x8180, "www.example", A, answers, additional);
    let service = [&[0, 1][..], &name("svc.example"), &[0, 4, 0, 4, 198, 51, 100, 7]].concat();
    vec![
        ("ok-address", reply(std::slice::from_ref(&address), &[])),
        ("ok-alias", reply(&[alias.clone(), behind], &[edns(1232, 0, &[0, 12, 0, 2, 0, 0])])),
        ("ok-service", reply(&[record(&ASKED, SVCB, &service)], &[])),
        ("ok-no-such-name", message(0x8183, "www.example", A, &[], &[edns(1232, 0, &[])])),
        ("ok-alias-by-pointer", reply(&[record(&ASKED, CNAME, &[3, b'w', b'w', b'w', 0xc0, 12])], &[])),
        ("bad-alias-loop", reply(&[record(&ASKED, CNAME, &[0xc0, 0x29])], &[])),
        ("bad-cut", reply(std::slice::from_ref(&address), &[])[..40].to_vec()),
        ("bad-count", changed(reply(&[address], &[]), 7, 200)),
        ("bad-label", reply(&[record(&[0x80, 0], A, &[0; 4])], &[])),
    ]
}

/// Answers to what the device asked: www.example, type A, id 0.
pub(crate) fn client_answer() -> Seeds {
    let address = record(&ASKED, A, &[198, 51, 100, 7]);
    let reply = |answers: &[Vec<u8>]| message(0x8180, "www.example", A, answers, &[]);
    let many: Vec<Vec<u8>> = (0..100).map(|_| address.clone()).collect();
    vec![
        ("ok-address", reply(std::slice::from_ref(&address))),
        ("ok-no-such-name", message(0x8183, "www.example", A, &[], &[edns(1232, 0, &[])])),
        ("ok-too-long-for-udp", reply(&many)),
        ("bad-other-name", message(0x8180, "www.example.net", A, std::slice::from_ref(&address), &[])),
        // Not in the case that it was asked in: asked again, without a change of case.
        ("bad-other-case", message(0x8180, "WWW.eXample", A, std::slice::from_ref(&address), &[])),
        ("bad-other-type", message(0x8180, "www.example", AXFR, &[], &[])),
        ("bad-other-id", changed(reply(std::slice::from_ref(&address)), 1, 9)),
        ("bad-query", ask("www.example", A, &[])),
        ("bad-server-failure", message(0x8182, "www.example", A, &[], &[])),
        ("bad-cut", reply(&[address])[..20].to_vec()),
        ("bad-empty", Vec::new()),
    ]
}
