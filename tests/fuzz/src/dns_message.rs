//! DNS messages that are changed in place, and those that are kept.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use weft_dns::cache::{Cache, KeyBuf, Lookup, Origin, STALE_TTL};
use weft_dns::message::{self, Name, Record, record_type};
use weft_model::ExtendedError;

use crate::Outcome;
use crate::script::steps;

/// The bound of the cache: a few chunks, so that what is put there pushes other answers out.
const CACHE_BYTES: usize = 160 * 1024;

/// A record but for its TTL: owner, type, class, section.
type Known = (Name, u16, u16, message::Section);

/// The records of a message but OPT, each with its TTL; none where one of them cannot be read.
fn known(wire: &[u8]) -> Option<Vec<(Known, Record)>> {
    let place = message::question_place(wire)?;
    let mut all = Vec::new();
    for record in message::records(wire, place.end) {
        let record = record?;
        let (owner, _) = Name::expand(wire, record.start)?;
        if record.kind != record_type::OPT {
            all.push(((owner, record.kind, record.class, record.section), record));
        }
    }
    Some(all)
}

fn without_places(records: Option<Vec<(Known, Record)>>) -> Option<Vec<(Known, u32)>> {
    Some(records?.into_iter().map(|(known, record)| (known, record.ttl)).collect())
}

/// A change of a message in its place.
type Edit<'a> = &'a dyn Fn(&mut Vec<u8>);

/// A message, whose every change must leave it well-formed and its records as they were.
pub fn dns_message_edit(data: &[u8]) -> Outcome {
    let (well_formed, sound) = (message::is_well_formed(data), message::is_sound(data));
    let before = without_places(known(data));
    let query: &[u8] =
        b"\0\0\x01\0\0\x01\0\0\0\0\0\x01\x03www\x07example\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0";
    let error = ExtendedError { code: 22, text: "nobody answers".to_owned() };
    let edits: [Edit; 8] = [
        &|wire| _ = message::pad(wire, 128, 1232),
        &|wire| message::remove_padding(wire),
        &|wire| message::remove_edns(wire),
        &|wire| assert_eq!(message::strip_hop_options(wire), message::has_end_to_end_options(wire)),
        &|wire| _ = message::add_extended_error(wire, query, &error),
        &|wire| _ = message::remove_hints(wire),
        &|wire| message::randomise_case(wire, &[0x5a; 32]),
        &|wire| message::clamp_payload_size(wire, 512),
    ];
    let mut all = data.to_vec();
    for edit in edits {
        let mut changed = data.to_vec();
        for wire in [&mut changed, &mut all] {
            edit(wire);
            assert!(!well_formed || message::is_well_formed(wire), "a change leaves a message well-formed");
            if sound {
                assert!(message::is_sound(wire), "a change leaves a message sound");
                assert_eq!(without_places(known(wire)), before, "a change leaves the records");
            }
        }
    }
    for line in message::answer_lines(data) {
        assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "one line of ASCII: {line:?}");
    }
    for error in message::extended_errors(data) {
        assert!(!error.text.contains(char::is_control));
    }
    let _ = message::resolved(data);
    sound.into()
}

/// A script: an answer that is put into the cache under its own question, a question that is looked up, time that
/// passes, answers that are forgotten. What comes out is what a table has, aged. Taken where every answer was kept.
pub fn dns_cache(data: &[u8]) -> Outcome {
    let (mut cache, base) = (Cache::new(CACHE_BYTES, [1; 16]), Instant::now());
    let mut table: HashMap<Vec<u8>, (Vec<u8>, u64, Origin)> = HashMap::new();
    let (mut seconds, mut kept, mut refused) = (0_u64, 0, 0);
    for step in steps(data) {
        let now = base + Duration::from_secs(seconds);
        let origin = if step.how & 1 == 0 { Origin::Upstream } else { Origin::Fallback };
        let key = KeyBuf::of(step.bytes);
        match (step.what % 6, key) {
            (0 | 1, Some(key)) => {
                if cache.insert(&key.key(), step.bytes, origin, now) {
                    kept += 1;
                    table.insert(named(&key), (step.bytes.to_vec(), seconds, origin));
                } else {
                    refused += 1;
                }
            }
            (2, Some(key)) => look_up(&mut cache, &key, &table, base, seconds),
            (3, _) => seconds += u64::from(step.how) * u64::from(step.how),
            (4, _) => {
                cache.forget_origin(origin);
                table.retain(|_, (.., of)| *of != origin);
            }
            (5, _) => {
                cache.clear();
                table.clear();
                assert_eq!(cache.bytes(), 0);
            }
            _ => refused += 1,
        }
        assert!(cache.bytes() <= CACHE_BYTES, "{} bytes", cache.bytes());
        assert!(cache.len() <= table.len(), "{} entries", cache.len());
    }
    let keys: Vec<KeyBuf> = table.values().filter_map(|(answer, ..)| KeyBuf::of(answer)).collect();
    keys.iter().for_each(|key| look_up(&mut cache, key, &table, base, seconds));
    (kept > 0 && refused == 0).into()
}

fn named(key: &KeyBuf) -> Vec<u8> {
    let key = key.key();
    [key.name, format!("{} {} {:?}", key.kind, key.class, key.flags).as_bytes()].concat()
}

fn look_up(
    cache: &mut Cache,
    key: &KeyBuf,
    table: &HashMap<Vec<u8>, (Vec<u8>, u64, Origin)>,
    base: Instant,
    seconds: u64,
) {
    let mut answer = Vec::new();
    let lookup = cache.get(&key.key(), base + Duration::from_secs(seconds), &mut answer);
    if lookup == Lookup::Miss {
        assert!(answer.is_empty());
        return;
    }
    let Some((given, stored, of)) = table.get(&named(key)) else { panic!("it was never put there") };
    assert!(message::is_well_formed(&answer) && message::is_answer(&answer));
    assert_eq!(message::rcode(&answer), message::rcode(given));
    assert_eq!(message::extended_errors(&answer), message::extended_errors(given));
    assert_eq!(message::edns(&answer), message::edns(given));
    let age = u32::try_from(seconds - stored).unwrap_or(u32::MAX);
    let stale = match lookup {
        Lookup::Fresh { origin, .. } | Lookup::Stale { origin, .. } if origin != *of => {
            panic!("another origin")
        }
        Lookup::Stale { .. } => true,
        _ => false,
    };
    let expected = without_places(known(given)).map(|records| {
        let aged = |(known, ttl): (Known, u32)| (known, if stale { STALE_TTL } else { ttl - age });
        records.into_iter().map(aged).collect::<Vec<_>>()
    });
    assert_eq!(without_places(known(&answer)), expected);
}
