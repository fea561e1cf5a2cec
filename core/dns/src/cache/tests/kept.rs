//! What is kept, for how long, and what comes out again.

use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::opt::EdnsOption;

use super::*;
use crate::message;

#[test]
fn an_answer_comes_out_as_it_went_in_but_older() {
    let asked = query("WWW.Example.com.", RecordType::A);
    let key = key_of(&asked);
    let mut original = empty("WWW.Example.com.", RecordType::A, ResponseCode::NoError);
    original.metadata.authoritative = true;
    original.metadata.authentic_data = true;
    original.add_answer(cname("WWW.Example.com.", 600, "cdn.example.net."));
    original.add_answer(a("cdn.example.net.", 300, 1));
    original.add_answer(a("cdn.example.net.", 300, 2));
    original.add_authority(soa("example.net.", 900, 60));
    original.add_additional(a("ns.example.net.", 500, 3));
    original.set_edns(edns(1400));
    let (mut cache, now) = (Cache::new(1 << 20, SEED), Instant::now());
    assert!(cache.insert(&key.key(), &original.to_vec().unwrap(), Origin::Upstream, now));
    let (lookup, bytes) = get(&mut cache, &key.key(), now + seconds(100));
    assert_eq!(lookup, fresh(false));
    assert!(bytes[12..].starts_with(b"\x03www\x07example\x03com\x00"), "the question is the key's");
    let mut expected = original.clone();
    expected.metadata.id = 0;
    for record in
        expected.answers.iter_mut().chain(&mut expected.authorities).chain(&mut expected.additionals)
    {
        record.ttl -= 100;
    }
    let given = parse(&bytes);
    assert_eq!(given.to_vec().unwrap().to_ascii_lowercase(), expected.to_vec().unwrap().to_ascii_lowercase());
    let mut restored = bytes;
    message::restore(&mut restored, &asked);
    assert_eq!(restored[..2], asked[..2]);
    assert_eq!(restored[12..asked.len()], asked[12..]);
}

#[test]
fn an_answer_is_written_behind_what_the_buffer_holds() {
    let key = key_of(&query("a.example.", RecordType::A));
    let (mut cache, now) = (Cache::new(1 << 20, SEED), Instant::now());
    cache.insert(&key.key(), &address("a.example.", 60), Origin::Upstream, now);
    let mut answer = b"before".to_vec();
    let _ = cache.get(&key.key(), now, &mut answer);
    assert_eq!(parse(&answer[6..]).answers, [a("a.example.", 60, 1)]);
}

/// How long an answer is kept: for as long as it is given out fresh.
fn life(key: &KeyBuf, answer: &[u8]) -> Option<u64> {
    let (mut cache, now) = (Cache::new(1 << 20, SEED), Instant::now());
    if !cache.insert(&key.key(), answer, Origin::Upstream, now) {
        assert_eq!((cache.len(), get(&mut cache, &key.key(), now).0), (0, Lookup::Miss));
        return None;
    }
    let (mut low, mut high) = (0, 1 << 30);
    while low + 1 < high {
        let middle = (low + high) / 2;
        match get(&mut cache, &key.key(), now + seconds(middle)).0 {
            Lookup::Fresh { .. } => low = middle,
            _ => high = middle,
        }
    }
    Some(high)
}

/// What it is, its response code, answers, authority, and how long it is kept, in seconds.
type Life = (&'static str, ResponseCode, Vec<Record>, Vec<Record>, Option<u64>);

#[test]
fn an_answer_lives_as_long_as_its_records_say() {
    use ResponseCode::{NXDomain, NoError, Refused, ServFail};
    let x = "x.example.";
    let cases: [Life; 17] = [
        ("the least TTL", NoError, vec![a(x, 300, 1), a(x, 60, 2)], vec![], Some(60)),
        ("also of the authority", NoError, vec![a(x, 300, 1)], vec![soa("example.", 40, 900)], Some(40)),
        ("a day at most", NoError, vec![a(x, 604_800, 1)], vec![], Some(86_400)),
        ("the longest TTL there is", NoError, vec![a(x, 0x7fff_ffff, 1)], vec![], Some(86_400)),
        ("none of 0", NoError, vec![a(x, 0, 1)], vec![], None),
        ("none with one of 0", NoError, vec![a(x, 300, 1), a(x, 0, 2)], vec![], None),
        ("the top bit is 0", NoError, vec![a(x, 0x8000_0000, 1)], vec![], None),
        ("a chain to its end", NoError, vec![cname(x, 50, "y."), a("y.", 90, 1)], vec![], Some(50)),
        ("no such name: MINIMUM", NXDomain, vec![], vec![soa("example.", 900, 60)], Some(60)),
        ("no such name: TTL of the SOA", NXDomain, vec![], vec![soa("example.", 50, 600)], Some(50)),
        ("three hours at most", NXDomain, vec![], vec![soa("example.", 86_400, 86_400)], Some(10_800)),
        ("no such data", NoError, vec![], vec![soa("example.", 900, 70)], Some(70)),
        ("a chain to no data", NoError, vec![cname(x, 30, "y.")], vec![soa("y.", 900, 70)], Some(30)),
        ("nothing without an SOA", NoError, vec![], vec![], None),
        ("nor no such name", NXDomain, vec![cname(x, 50, "y.")], vec![], None),
        ("no failure", ServFail, vec![], vec![soa("example.", 900, 60)], None),
        ("no refusal", Refused, vec![a(x, 300, 1)], vec![], None),
    ];
    let key = key_of(&query(x, RecordType::A));
    for (what, code, answers, authority, expected) in cases {
        let mut message = empty(x, RecordType::A, code);
        message.answers = answers;
        message.authorities = authority;
        assert_eq!(life(&key, &message.to_vec().unwrap()), expected, "{what}");
    }
}

#[test]
fn what_is_no_sound_answer_to_the_question_is_not_kept() {
    let good = address("x.example.", 300);
    let key = key_of(&query("x.example.", RecordType::A));
    assert_eq!(life(&key, &good), Some(300));
    let end = query("x.example.", RecordType::A).len();
    let bent = |at: usize, byte: u8| {
        let mut wire = good.clone();
        wire[at] = byte;
        wire
    };
    let with = |bytes: &[u8], additional: u8| {
        let mut wire = [&good, bytes].concat();
        wire[11] = additional;
        wire
    };
    let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
    let cases: [(&str, Vec<u8>); 19] = [
        ("a query", bent(2, 0x01)),
        ("another OPCODE", bent(2, 0x91)),
        ("cut", bent(2, 0x83)),
        ("two questions", bent(5, 2)),
        ("another name", bent(13, b'y')),
        ("another type", bent(end - 3, 28)),
        ("another class", bent(end - 1, 3)),
        ("more records than there are", bent(7, 2)),
        ("fewer records than there are", bent(7, 0)),
        ("65,535 records", bent(6, 0xff)),
        ("a pointer to itself", bent(end + 1, u8::try_from(end).unwrap())),
        ("a pointer forward", bent(end + 1, 0x40)),
        ("a pointer into the header", bent(end + 1, 2)),
        ("data beyond the end", bent(good.len() - 5, 5)),
        ("a byte too many", with(b"\0", 0)),
        ("two OPT records", with(&[&opt[..], opt].concat(), 2)),
        ("an OPT record that has a name", with(b"\xc0\x0c\0\x29\x04\xd0\0\0\0\0\0\0", 1)),
        ("an option beyond its record", with(b"\0\0\x29\x04\xd0\0\0\0\0\0\x04\0\x0f\0\x09", 1)),
        ("a signature of the whole", with(b"\0\0\xfa\0\xff\0\0\0\x05\0\0", 1)),
    ];
    for (what, wire) in cases {
        assert_eq!(life(&key, &wire), None, "{what}");
    }
    for cut in 0..good.len() {
        assert_eq!(life(&key, &good[..cut]), None, "cut at {cut}");
    }
    let mut in_answer = bytes_with_opt_in_the_answer(&good, end, opt);
    assert_eq!(life(&key, &in_answer), None, "an OPT record among the answers");
    in_answer[end] = 0xc0;
    assert_eq!(life(&key, &in_answer), None);
}

fn bytes_with_opt_in_the_answer(good: &[u8], end: usize, opt: &[u8]) -> Vec<u8> {
    let mut wire = [&good[..end], opt, &good[end..]].concat();
    wire[7] = 2;
    wire
}

#[test]
fn a_loop_in_the_data_is_not_kept() {
    let key = key_of(&query("x.example.", RecordType::CNAME));
    let mut message = empty("x.example.", RecordType::CNAME, ResponseCode::NoError);
    message.add_answer(cname("x.example.", 300, "y."));
    let mut wire = message.to_vec().unwrap();
    assert_eq!(life(&key, &wire), Some(300));
    let at = wire.len() - 3;
    assert_eq!(wire[at..], *b"\x01y\x00");
    wire.truncate(at);
    wire.extend_from_slice(&[0xc0, u8::try_from(at).unwrap(), 0]);
    assert_eq!(life(&key, &wire), None);
}

#[test]
fn a_name_that_is_read_from_a_ttl_is_not_kept() {
    let key = key_of(&query("x.example.", RecordType::A));
    let good = address("x.example.", 0x0161_0001);
    assert_eq!(life(&key, &good), Some(86_400));
    // Behind its class begins the TTL: a label "a", and the empty one.
    let ttl = good.len() - 10;
    let with = |target: usize| {
        let pointer = [0xc0, u8::try_from(target).unwrap()];
        let mut wire = [&good, &pointer[..], b"\0\x01\0\x01\0\0\x01\0\0\x04\xc0\0\x02\x01"].concat();
        wire[7] = 2;
        wire
    };
    assert_eq!(good[ttl..ttl + 3], *b"\x01a\0");
    assert_eq!(life(&key, &with(12)), Some(256));
    assert_eq!(life(&key, &with(ttl)), None);
}

#[test]
fn of_the_opt_record_its_errors_stay_wherever_it_stands() {
    let key = key_of(&query("x.example.", RecordType::TXT));
    let mut message = empty("x.example.", RecordType::TXT, ResponseCode::NoError);
    message.add_answer(Record::from_rdata(
        name("x.example."),
        300,
        RData::TXT(TXT::new(vec!["a text".to_owned()])),
    ));
    let mut with = edns(1400);
    with.options_mut().insert(EdnsOption::Unknown(12, vec![0; 9]));
    with.options_mut().insert(EdnsOption::Unknown(15, b"\0\x0fwhy".to_vec()));
    message.set_edns(with);
    let last = message.to_vec().unwrap();
    // Behind the OPT record: an owner whose name a second one then points at.
    let behind = u8::try_from(last.len()).unwrap();
    let a_record = b"\0\x01\0\x01\0\0\x01\0\0\x04\xc0\0\x02\x01";
    let mut middle = [&last[..], b"\x02ns\x04test\0", a_record, &[0xc0, behind], a_record].concat();
    middle[11] = 3;
    for (wire, additional) in [(last, 0), (middle, 2)] {
        let (mut cache, now) = (Cache::new(1 << 20, SEED), Instant::now());
        assert!(cache.insert(&key.key(), &wire, Origin::Upstream, now), "{wire:02x?}");
        let (_, answer) = get(&mut cache, &key.key(), now);
        let given = parse(&answer);
        assert_eq!(given.answers, message.answers);
        assert_eq!(given.additionals.len(), additional);
        assert!(given.additionals.iter().all(|record| record.name == name("ns.test.")));
        let options = given.edns.unwrap();
        assert!(options.max_payload() == 1400 && options.flags().dnssec_ok);
        let codes: Vec<u16> = options.options().as_ref().iter().map(|(code, _)| u16::from(*code)).collect();
        assert_eq!(codes, [15]);
        let errors = message::extended_errors(&answer);
        assert_eq!(errors.iter().map(|e| (e.code, e.text.as_str())).collect::<Vec<_>>(), [(15, "why")]);
    }
}

#[test]
fn every_part_of_a_key_tells_entries_apart() {
    let asked = KeyFlags::of(&query("x.example.", RecordType::A));
    assert_eq!(asked, KeyFlags { recursion_desired: true, ..KeyFlags::default() });
    let flags = [
        KeyFlags::default(),
        asked,
        KeyFlags { edns: true, ..asked },
        KeyFlags { dnssec_ok: true, ..asked },
        KeyFlags { checking_disabled: true, ..asked },
        KeyFlags { authentic_data: true, ..asked },
    ];
    let mut keys = Vec::new();
    for (wire_name, kind, class) in [
        (&b"\x01x\x00"[..], 1, 1),
        (b"\x01y\x00", 1, 1),
        (b"\x01x\x01y\x00", 1, 1),
        (b"\x01x\x00", 28, 1),
        (b"\x01x\x00", 1, 3),
    ] {
        keys.extend(flags.map(|flags| Key { name: wire_name, kind, class, flags }));
    }
    let (mut cache, now) = (Cache::new(1 << 20, SEED), Instant::now());
    let record = |number: u8| [0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 10, 0, 0, number];
    for (number, key) in keys.iter().enumerate() {
        let mut wire = vec![0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        wire.extend_from_slice(key.name);
        wire.extend_from_slice(&key.kind.to_be_bytes());
        wire.extend_from_slice(&key.class.to_be_bytes());
        let mut given = record(u8::try_from(number).unwrap());
        given[3] = key.kind.to_be_bytes()[1];
        wire.extend_from_slice(&given);
        assert!(cache.insert(key, &wire, Origin::Upstream, now));
    }
    assert_eq!(cache.len(), keys.len());
    for (number, key) in keys.iter().enumerate() {
        let (_, answer) = get(&mut cache, key, now);
        assert_eq!(usize::from(*answer.last().unwrap()), number);
        assert_eq!(answer[12..12 + key.name.len()], *key.name);
        assert_eq!(
            answer[12 + key.name.len()..][..4],
            [key.kind.to_be_bytes(), key.class.to_be_bytes()].concat()
        );
    }
}

#[test]
fn what_is_over_is_given_as_stale_and_says_since_when() {
    let key = key_of(&query("a.example.", RecordType::A));
    let (mut cache, now) = (Cache::new(1 << 20, SEED), Instant::now());
    cache.insert(&key.key(), &address("a.example.", 60), Origin::Fallback, now);
    let (lookup, _) = get(&mut cache, &key.key(), now + seconds(59));
    assert_eq!(lookup, Lookup::Fresh { refresh: false, origin: Origin::Fallback });
    let (lookup, answer) = get(&mut cache, &key.key(), now + seconds(60 + 7));
    assert_eq!(lookup, Lookup::Stale { over: seconds(7), origin: Origin::Fallback });
    assert_eq!(parse(&answer).answers, [a("a.example.", 30, 1)]);
    // What comes anew is fresh.
    assert!(cache.insert(&key.key(), &address("a.example.", 60), Origin::Upstream, now + seconds(100)));
    assert_eq!(get(&mut cache, &key.key(), now + seconds(150)).0, fresh(false));
    assert_eq!(cache.len(), 1);
}

#[test]
fn what_is_asked_for_often_is_fetched_anew_once_near_its_end() {
    let key = key_of(&query("a.example.", RecordType::A));
    // When it is asked for, and the moments of these at which it says to fetch anew.
    let cases: [(&[u64], &[u64]); 5] = [
        (&[95], &[]),
        (&[10, 90], &[]),
        (&[10, 91], &[91]),
        (&[10, 92, 93, 99], &[92]),
        (&[95, 96, 97], &[96]),
    ];
    for (moments, expected) in cases {
        let (mut cache, now) = (Cache::new(1 << 20, SEED), Instant::now());
        for _life in 0..2 {
            assert!(cache.insert(&key.key(), &address("a.example.", 100), Origin::Upstream, now));
            let mut told = Vec::new();
            for moment in moments {
                match get(&mut cache, &key.key(), now + seconds(*moment)).0 {
                    Lookup::Fresh { refresh: true, .. } => told.push(*moment),
                    lookup => assert_eq!(lookup, fresh(false)),
                }
            }
            assert_eq!(told, expected, "{moments:?}");
        }
    }
}

#[test]
fn the_answers_of_a_network_are_forgotten_alone() {
    let (mut cache, now) = (Cache::new(1 << 20, SEED), Instant::now());
    let names: Vec<String> = (0..1000).map(|number| format!("n{number}.example.")).collect();
    for (number, of) in names.iter().enumerate() {
        let origin = if number % 3 == 0 { Origin::Fallback } else { Origin::Upstream };
        let key = key_of(&query(of, RecordType::A));
        assert!(cache.insert(&key.key(), &address(of, 60), origin, now));
    }
    cache.forget_origin(Origin::Fallback);
    assert_eq!(cache.len(), 666);
    for (number, of) in names.iter().enumerate() {
        let (lookup, _) = get(&mut cache, &key_of(&query(of, RecordType::A)).key(), now);
        assert_eq!(lookup == Lookup::Miss, number % 3 == 0, "{of}");
    }
    cache.forget_origin(Origin::Upstream);
    assert!(cache.is_empty());
}
