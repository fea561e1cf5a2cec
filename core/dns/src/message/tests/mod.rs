//! The message helpers, where they can against hickory-proto.

mod lines;

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::Message;
use weft_model::ExtendedError;

use super::*;

const QUERY: &[u8] = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";
const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0";

/// A message with that question and these records.
fn message(flags: u8, kind: u16, sections: [&[&[u8]]; 3]) -> Vec<u8> {
    let mut wire = QUERY.to_vec();
    wire[2] = flags;
    let end = wire.len();
    wire[end - 4..end - 2].copy_from_slice(&kind.to_be_bytes());
    for (section, at) in sections.iter().zip([7, 9, 11]) {
        wire[at] = u8::try_from(section.len()).unwrap();
        section.iter().for_each(|record| wire.extend_from_slice(record));
    }
    assert!(is_well_formed(&wire));
    wire
}

fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [owner, &kind.to_be_bytes(), &[0, 1], &ttl.to_be_bytes(), &length, data].concat()
}

fn opt(options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (code, value) in options {
        all.extend_from_slice(&code.to_be_bytes());
        all.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        all.extend_from_slice(value);
    }
    [&OPT[..9], &u16::try_from(all.len()).unwrap().to_be_bytes(), &all].concat()
}

fn parse(wire: &[u8]) -> Message {
    Message::from_vec(wire).unwrap_or_else(|error| panic!("{error}: {wire:02x?}"))
}

fn error(code: u16, text: &str) -> ExtendedError {
    ExtendedError { code, text: text.to_owned() }
}

#[test]
fn every_extended_error_is_read_and_one_is_added_for_who_understands_it() {
    let two = opt(&[(15, b"\0\x0fblocked\nby policy"), (10, b"cookie"), (15, b"\0\x16"), (15, b"\0")]);
    let answer = message(0x81, 1, [&[], &[], &[&two]]);
    assert_eq!(extended_errors(&answer), [error(15, "blocked by policy"), error(22, "")]);
    let asked = message(1, 1, [&[], &[], &[OPT]]);
    let mut failed = servfail(&asked);
    assert!(add_extended_error(&mut failed, &asked, &error(23, "the network went")));
    assert!(add_extended_error(&mut failed, &asked, &error(0, &"ä".repeat(300))));
    assert_eq!(extended_errors(&failed), [error(23, "the network went"), error(0, &"ä".repeat(100))]);
    assert!(parse(&failed).edns.is_some_and(|edns| edns.flags().dnssec_ok));
    let mut plain = servfail(QUERY);
    assert!(!add_extended_error(&mut plain, QUERY, &error(23, "")));
    assert_eq!(plain, servfail(QUERY));
    let mut without = message(0x81, 1, [&[], &[], &[]]);
    assert!(add_extended_error(&mut without, &asked, &error(14, "")));
    assert_eq!(extended_errors(&without), [error(14, "")]);
}

#[test]
fn options_between_neighbours_go_and_others_stay() {
    let hop: [(u16, &[u8]); 3] = [(10, b"12345678"), (11, b""), (12, &[0; 20])];
    for others in [&[][..], &[(8, &b"\0\x01\x18\0\xc0\0\x02"[..])], &[(3, b""), (65001, b"x")]] {
        let mixed: Vec<_> = hop.iter().chain(others).copied().collect();
        let mut asked = message(1, 1, [&[], &[], &[&opt(&mixed)]]);
        assert_eq!(has_end_to_end_options(&asked), !others.is_empty());
        assert_eq!(strip_hop_options(&mut asked), !others.is_empty());
        assert_eq!(asked, message(1, 1, [&[], &[], &[&opt(others)]]));
    }
    let mut plain = QUERY.to_vec();
    assert!(!strip_hop_options(&mut plain) && plain == QUERY);
}

#[test]
fn an_opt_record_is_changed_wherever_it_stands() {
    let padded = opt(&[(12, &[0; 9]), (15, b"\0\x04")]);
    // Names behind the record point at names before it and at one another, also from their data.
    let start = u8::try_from(QUERY.len() + padded.len()).unwrap();
    let first = record(b"\x02ns\x04test\0", 1, 60, &[192, 0, 2, 1]);
    let second = record(&[0xc0, start], 2, 60, &[1, b'a', 0xc0, start + 3]);
    let third = record(b"\xc0\x0c", 15, 60, &[0, 5, 0xc0, start]);
    let wire = message(0x81, 1, [&[], &[], &[&padded, &first, &second, &third]]);
    let expected = parse(&wire);
    let mut unpadded = wire.clone();
    remove_padding(&mut unpadded);
    let mut without = wire.clone();
    remove_edns(&mut without);
    let mut more = wire.clone();
    assert!(add_extended_error(&mut more, &message(1, 1, [&[], &[], &[OPT]]), &error(22, "text")));
    assert_eq!(more.len(), wire.len() + 10);
    assert_eq!(extended_errors(&more), [error(4, ""), error(22, "text")]);
    assert_eq!((unpadded.len(), without.len()), (wire.len() - 13, wire.len() - padded.len()));
    assert!(parse(&without).edns.is_none());
    for changed in [unpadded, without, more] {
        assert!(is_well_formed(&changed));
        assert_eq!(parse(&changed).additionals, expected.additionals);
    }
}

#[test]
fn a_name_that_leads_to_what_goes_stops_the_change() {
    let end = u8::try_from(QUERY.len()).unwrap();
    let inside = record(&[0xc0, end + 9], 1, 60, &[192, 0, 2, 1]);
    let wire = message(0x81, 1, [&[], &[], &[OPT, &inside]]);
    let mut changed = wire.clone();
    remove_edns(&mut changed);
    assert_eq!(changed, wire);
}

#[test]
fn the_chain_and_all_addresses_are_found() {
    let service = b"\0\x01\0\0\x04\0\x08\xc0\0\x02\x05\xc0\0\x02\x06\0\x06\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01";
    let wire = message(
        0x81,
        65,
        [
            &[
                // Out of order, and one that leads nowhere from here.
                &record(b"\x01b\0", 5, 300, b"\x01c\0"),
                &record(b"\x05other\0", 5, 300, b"\x01d\0"),
                &record(b"\xc0\x0c", 5, 300, b"\x01B\0"),
                &record(b"\x01c\0", 65, 40, service),
                &record(b"\x01c\0", 1, 50, &[192, 0, 2, 1]),
                &record(b"\x01d\0", 1, 50, &[192, 0, 2, 2]),
            ],
            &[&record(b"\x01c\0", 1, 50, &[192, 0, 2, 3])],
            &[&record(b"\x01e\0", 1, 0x8000_0000, &[192, 0, 2, 4])],
        ],
    );
    let found = resolved(&wire).unwrap();
    let names: Vec<String> = found.owners.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["www.example", "b"]);
    let address = |ip: &str, ttl| (ip.parse::<IpAddr>().unwrap(), Duration::from_secs(ttl));
    let expected = [
        ("192.0.2.5", 40),
        ("192.0.2.6", 40),
        ("2001:db8::1", 40),
        ("192.0.2.1", 50),
        // Of a foreign owner: not every client compares that.
        ("192.0.2.2", 50),
        ("192.0.2.4", 0),
    ]
    .map(|(ip, ttl)| address(ip, ttl));
    assert_eq!(found.addresses, expected);
    let (ip, ttl) = address("192.0.2.4", 0);
    assert_eq!(found.additional, [(Name::parse("e").unwrap(), ip, ttl)]);
    let circle = message(
        0x81,
        1,
        [&[&record(b"\xc0\x0c", 5, 1, b"\x01b\0"), &record(b"\x01b\0", 5, 1, b"\xc0\x0c")], &[], &[]],
    );
    assert_eq!(resolved(&circle).unwrap().owners.len(), 2);
    let short = message(0x81, 1, [&[&record(b"\xc0\x0c", 1, 1, &[1, 2, 3])], &[], &[]]);
    assert_eq!(resolved(&short), None);
}

#[test]
fn hints_go_and_everything_else_stays() {
    let all = b"\0\x01\0\0\0\0\x04\0\x01\0\x04\0\x01\0\x03\x02h2\0\x04\0\x04\xc0\0\x02\x05\0\x06\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\xff\0\0\0";
    let kept = b"\0\x01\0\0\0\0\x02\0\x01\0\x01\0\x03\x02h2\xff\0\0\0";
    let only = b"\0\x01\0\0\0\0\x02\0\x04\0\x04\0\x04\xc0\0\x02\x05";
    let build = |first: &[u8], second: &[u8]| {
        let one = record(b"\xc0\x0c", 65, 60, first);
        let two = record(b"\x01x\xc0\x0c", 64, 60, second);
        let at = u8::try_from(QUERY.len() + one.len()).unwrap();
        let behind = record(&[0xc0, at], 1, 60, &[192, 0, 2, 1]);
        message(0x81, 65, [&[&one, &two], &[], &[&behind, OPT]])
    };
    let mut wire = build(all, only);
    assert_eq!(remove_hints(&mut wire), Some(true));
    assert_eq!(wire, build(kept, b"\0\x01\0"));
    assert_eq!(remove_hints(&mut wire), Some(false));
    assert_eq!(parse(&wire).answers.len(), 2);
    assert_eq!(remove_hints(&mut build(b"\0\x01\0\0\x04\0\x03\xc0\0\x02", b"\0\x01\0")), None);
}

#[test]
fn the_case_of_a_question_is_random_and_compared() {
    let mut asked = QUERY.to_vec();
    randomise_case(&mut asked, &[0b0101_0101, 0b11]);
    assert_eq!(asked[12..25], *b"\x03WwW\x07eXaMpLE\0");
    assert!(!has_same_question(&asked, QUERY) && has_same_question(&asked, &asked));
    randomise_case(&mut asked, &[0, 0]);
    assert_eq!(asked, QUERY);
    randomise_case(&mut asked, &[0xff]);
    assert_eq!(asked[12..25], *b"\x03WWW\x07EXAMPle\0", "letters without a bit stay");
    assert!(!has_same_question(b"short", b"short"));
}

#[test]
fn a_name_of_many_pointers_is_not_sound() {
    for (pointers, sound) in [(1, true), (127, true), (128, false), (1000, false)] {
        // In opaque data: a label and the root, then pointers, each to the one before it.
        let mut data = b"\x01a\0".to_vec();
        let start = QUERY.len() + 12;
        let mut target = start;
        for _ in 1..pointers {
            let here = start + data.len();
            data.extend_from_slice(&(0xc000 | u16::try_from(target).unwrap()).to_be_bytes());
            target = here;
        }
        let last = (0xc000 | u16::try_from(target).unwrap()).to_be_bytes();
        let first = record(b"\xc0\x0c", 65_280, 60, &data);
        let owned = record(&last, 1, 60, &[192, 0, 2, 1]);
        let wire = message(0x81, 1, [&[&first, &owned], &[], &[]]);
        assert_eq!(is_sound(&wire), sound, "{pointers}");
        let at = wire.len() - owned.len();
        assert_eq!(Name::expand(&wire, at).is_some(), sound, "{pointers}");
        let found = Name::expand(&wire, at).map(|(name, end)| (name.to_string(), end));
        assert_eq!(found, sound.then(|| ("a".to_owned(), at + 2)));
    }
}

#[test]
fn an_answer_of_ours_has_few_addresses() {
    let many: Vec<IpAddr> = (0..100_000_u32).map(|at| std::net::Ipv4Addr::from_bits(at).into()).collect();
    let answer = addresses(QUERY, &many, 1);
    assert_eq!(parse(&answer).answers.len(), 64);
    assert!(is_well_formed(&answer));
}
