//! How much the cache takes, and what goes first.

use super::*;

fn wire_name(number: usize) -> Vec<u8> {
    // 20 letters and dots in presentation form.
    let text = format!("name-{number:07}.example");
    assert_eq!(text.len(), 20);
    [&b"\x0c"[..], &text.as_bytes()[..12], b"\x07", &text.as_bytes()[13..], b"\0"].concat()
}

fn flags() -> KeyFlags {
    KeyFlags { recursion_desired: true, ..KeyFlags::default() }
}

fn wire_answer(name: &[u8], ttl: u32, addresses: usize) -> Vec<u8> {
    let mut wire = vec![0, 0, 0x81, 0x80, 0, 1, 0, u8::try_from(addresses).unwrap(), 0, 0, 0, 0];
    wire.extend_from_slice(name);
    wire.extend_from_slice(&[0, 1, 0, 1]);
    for number in 0..addresses {
        wire.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
        wire.extend_from_slice(&ttl.to_be_bytes());
        wire.extend_from_slice(&[0, 4, 192, 0, 2, u8::try_from(number).unwrap()]);
    }
    wire
}

fn insert(cache: &mut Cache, number: usize, addresses: usize, now: Instant) -> bool {
    let name = wire_name(number);
    let key = Key { name: &name, kind: 1, class: 1, flags: flags() };
    cache.insert(&key, &wire_answer(&name, 3600, addresses), Origin::Upstream, now)
}

fn holds(cache: &mut Cache, number: usize, now: Instant) -> bool {
    let name = wire_name(number);
    let (lookup, answer) = get(cache, &Key { name: &name, kind: 1, class: 1, flags: flags() }, now);
    assert!(answer.is_empty() || answer[12..].starts_with(&name));
    lookup != Lookup::Miss
}

#[test]
fn a_hundred_thousand_names_take_six_megabytes() {
    let (mut cache, now) = (Cache::new(16 << 20, SEED), Instant::now());
    for number in 0..100_000 {
        assert!(insert(&mut cache, number, 1, now));
    }
    assert_eq!(cache.len(), 100_000);
    assert!(cache.bytes() <= 6_000_000, "{} bytes", cache.bytes());
    for number in 0..100_000 {
        assert!(holds(&mut cache, number, now), "{number}");
    }
    cache.clear();
    assert_eq!((cache.len(), cache.bytes()), (0, 0));
    assert!(insert(&mut cache, 1, 1, now) && holds(&mut cache, 1, now));
}

#[test]
fn memory_grows_with_use_and_never_over_the_bound() {
    let now = Instant::now();
    for max in [0, 1000, 70_000, 80 << 10, 200_000, 1_000_000] {
        let mut cache = Cache::new(max, SEED);
        let mut kept = 0;
        for number in 0..15_000 {
            kept += usize::from(insert(&mut cache, number, 1 + number % 40, now));
            assert!(cache.bytes() <= max, "{} of {max} bytes", cache.bytes());
        }
        let expected = if max < 80 << 10 { 0 } else { 15_000 };
        assert_eq!(kept, expected, "{max}");
        assert_eq!(cache.is_empty(), kept == 0);
    }
    let mut cache = Cache::new(16 << 20, SEED);
    assert_eq!(cache.bytes(), 0);
    insert(&mut cache, 0, 1, now);
    assert!(cache.bytes() < 80 << 10, "{}", cache.bytes());
}

#[test]
fn the_oldest_go_first_unless_they_were_hit() {
    let (mut cache, now) = (Cache::new(512 << 10, SEED), Instant::now());
    let mut number = 0;
    // Names that are asked for stay for as long as they are, however many others pass.
    while number < 60_000 {
        assert!(insert(&mut cache, number, 1, now));
        number += 1;
        if number > 10 && number % 500 == 0 {
            for popular in 0..10 {
                assert!(holds(&mut cache, popular, now), "{popular} at {number}");
            }
        }
    }
    assert!(!holds(&mut cache, 20, now));
    assert!(holds(&mut cache, number - 1, now) && holds(&mut cache, number - 1000, now));
    // Asked for no longer, they go.
    for other in number..number + 40_000 {
        assert!(insert(&mut cache, other, 1, now));
    }
    assert!((0..10).all(|popular| !holds(&mut cache, popular, now)));
}

#[test]
fn that_everything_is_hit_makes_room_all_the_same() {
    let (mut cache, now) = (Cache::new(256 << 10, SEED), Instant::now());
    for number in 0..20_000 {
        assert!(insert(&mut cache, number, 1, now));
        assert!(holds(&mut cache, number, now), "{number}");
    }
}

#[test]
fn answers_that_change_their_length_again_and_again_take_no_more_room() {
    let (mut cache, now) = (Cache::new(16 << 20, SEED), Instant::now());
    for round in 0..300 {
        for number in 0..200 {
            assert!(insert(&mut cache, number, 1 + (round + number) % 5, now));
        }
        assert_eq!(cache.len(), 200);
    }
    assert!((0..200).all(|number| holds(&mut cache, number, now)));
    assert!(cache.bytes() < 4 * 64 * 1024, "{}", cache.bytes());
}

#[test]
fn a_lower_bound_takes_at_once() {
    let (mut cache, now) = (Cache::new(4 << 20, SEED), Instant::now());
    for number in 0..50_000 {
        insert(&mut cache, number, 1, now);
    }
    cache.set_max_bytes(1 << 20);
    assert!(cache.bytes() <= 1 << 20 && cache.len() > 1000, "{cache:?}");
    assert!(holds(&mut cache, 49_999, now) && !holds(&mut cache, 0, now));
    cache.set_max_bytes(0);
    assert_eq!((cache.bytes(), cache.len()), (0, 0));
    assert!(!insert(&mut cache, 0, 1, now));
}

#[test]
fn an_answer_of_over_4_kib_is_not_kept() {
    let (mut cache, now) = (Cache::new(1 << 20, SEED), Instant::now());
    assert!(insert(&mut cache, 0, 255, now));
    let name = wire_name(1);
    let key = Key { name: &name, kind: 16, class: 1, flags: flags() };
    let texts = |length: usize| {
        let mut wire = vec![0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        wire.extend_from_slice(&name);
        wire.extend_from_slice(&[0, 16, 0, 1, 0xc0, 12, 0, 16, 0, 1, 0, 0, 1, 0]);
        wire.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        wire.resize(wire.len() + length, 0);
        wire
    };
    assert!(cache.insert(&key, &texts(4096 - 12), Origin::Upstream, now));
    assert!(!cache.insert(&key, &texts(4096 - 11), Origin::Upstream, now));
}
