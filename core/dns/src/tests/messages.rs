use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{RData, Record, RecordType};

use super::{address, answer, bytes, parse, query, with_edns};
use crate::message;

#[test]
fn a_question_is_read_as_the_oracle_reads_it() {
    let wire = bytes(&query(7, "WWW.Example.com.", RecordType::AAAA));
    let question = message::question(&wire).unwrap();
    assert_eq!(question.name, message::Name::from(&"www.example.com".parse().unwrap()));
    assert_eq!((question.kind, question.class), (28, 1));
    assert_eq!(question.end, wire.len());
    assert_eq!(message::id(&wire), Some(7));
    assert!(message::is_well_formed(&wire) && !message::is_answer(&wire));
}

#[test]
fn edns_is_read_and_clamped_as_the_oracle_reads_it() {
    let plain = bytes(&query(1, "a.example.", RecordType::A));
    assert_eq!(message::edns(&plain), None);
    assert_eq!(message::udp_limit(&plain), 512);
    let mut wire = bytes(&with_edns(query(1, "a.example.", RecordType::A), 4096));
    let edns = message::edns(&wire).unwrap();
    assert_eq!((edns.payload_size, edns.version, edns.dnssec_ok), (4096, 0, true));
    message::clamp_payload_size(&mut wire, 1232);
    assert_eq!(parse(&wire).edns.unwrap().max_payload(), 1232);
    message::clamp_payload_size(&mut wire, 4096);
    assert_eq!(message::udp_limit(&wire), 1232);
}

#[test]
fn a_query_is_padded_to_whole_blocks_and_still_is_that_query() {
    let long = format!("{}.example.", "a".repeat(60));
    for name in ["a.example.", "abcdefghijklmnop.example.", long.as_str()] {
        for original in [query(9, name, RecordType::A), with_edns(query(9, name, RecordType::A), 1400)] {
            let before = bytes(&original);
            let mut wire = before.clone();
            assert_eq!(message::pad(&mut wire, 128, 1232), original.edns.is_none());
            assert_eq!(wire.len() % 128, 0, "{name}");
            assert!(message::is_well_formed(&wire));
            let padded = parse(&wire);
            assert_eq!(padded.queries, original.queries);
            let options = padded.edns.clone().unwrap();
            assert!(options.option(EdnsCode::Padding).is_some());
            assert_eq!(options.max_payload(), original.edns.as_ref().map_or(1232, |edns| edns.max_payload()));
            // Once padded it stays so, and the way back is the way there.
            let again = wire.clone();
            assert!(!message::pad(&mut wire, 128, 1232));
            assert_eq!(wire, again);
            message::remove_padding(&mut wire);
            if original.edns.is_none() {
                message::remove_edns(&mut wire);
            }
            assert_eq!(wire, before);
        }
    }
}

#[test]
fn other_options_outlive_the_padding() {
    let mut original = with_edns(query(9, "a.example.", RecordType::A), 1400);
    original.edns.as_mut().unwrap().options_mut().insert(EdnsOption::Unknown(10, vec![1; 8]));
    let mut wire = bytes(&original);
    message::pad(&mut wire, 128, 1232);
    message::remove_padding(&mut wire);
    assert_eq!(wire, bytes(&original));
}

#[test]
fn an_answer_is_cut_to_what_its_asker_takes() {
    for asked in
        [query(3, "t.example.", RecordType::TXT), with_edns(query(3, "t.example.", RecordType::TXT), 900)]
    {
        let asked = bytes(&asked);
        let limit = message::udp_limit(&asked);
        let mut fits = answer(&asked, ResponseCode::NoError, 3);
        let whole = fits.clone();
        message::truncate(&mut fits, limit);
        assert_eq!(fits, whole);
        let mut cut = answer(&asked, ResponseCode::NoError, 30);
        message::truncate(&mut cut, limit);
        assert!(cut.len() <= limit && message::is_truncated(&cut) && message::is_well_formed(&cut));
        let cut = parse(&cut);
        assert!(cut.metadata.truncation && cut.answers.is_empty());
        assert_eq!(cut.queries, parse(&asked).queries);
        assert_eq!(cut.edns.is_some(), parse(&asked).edns.is_some());
        assert!(cut.edns.is_none_or(|edns| edns.flags().dnssec_ok));
    }
}

#[test]
fn an_error_is_an_answer_to_its_query() {
    for asked in
        [query(5, "X.example.", RecordType::MX), with_edns(query(5, "X.example.", RecordType::MX), 4096)]
    {
        let wire = message::servfail(&bytes(&asked));
        let failed = parse(&wire);
        assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
        assert!(failed.metadata.recursion_available && failed.metadata.recursion_desired);
        assert_eq!((failed.metadata.id, &failed.queries), (5, &asked.queries));
        assert_eq!(failed.edns.is_some(), asked.edns.is_some());
    }
    assert!(message::servfail(b"too short").is_empty());
}

#[test]
fn addresses_are_given_by_type() {
    let all = ["127.0.2.2", "127.0.2.3", "fd01:db8:1111::2"].map(|text| text.parse().unwrap());
    let cases = [(RecordType::A, &all[..2]), (RecordType::AAAA, &all[2..]), (RecordType::MX, &[])];
    for (kind, expected) in cases {
        let asked = with_edns(query(6, "connectivity-check.weftd.", kind), 1232);
        let given = parse(&message::addresses(&bytes(&asked), &all, 30));
        let name = asked.queries[0].name().clone();
        let records: Vec<_> = expected
            .iter()
            .map(|ip| Record::from_rdata(name.clone(), 30, address(&ip.to_string())))
            .collect();
        assert_eq!(given.answers, records);
        assert_eq!(given.metadata.response_code, ResponseCode::NoError);
        assert!(given.edns.is_some());
    }
}

#[test]
fn an_answer_gets_its_querys_letters_back() {
    let asked = bytes(&query(0x1234, "wWw.ExAmPlE.", RecordType::TXT));
    let mut lower = asked.to_ascii_lowercase();
    message::set_id(&mut lower, 0);
    let mut given = answer(&lower, ResponseCode::NoError, 1);
    message::restore(&mut given, &asked);
    assert_eq!(given[..2], asked[..2]);
    assert_eq!(given[12..asked.len()], asked[12..]);
    assert!(matches!(parse(&given).answers[0].data, RData::TXT(_)));
}

#[test]
fn what_is_behind_the_last_record_or_missing_is_noticed() {
    let whole = answer(&bytes(&query(1, "a.example.", RecordType::TXT)), ResponseCode::NoError, 2);
    assert!(message::is_well_formed(&whole));
    for cut in 0..whole.len() {
        assert!(!message::is_well_formed(&whole[..cut]), "cut at {cut}");
    }
    let mut more = whole;
    more.push(0);
    assert!(!message::is_well_formed(&more));
}
