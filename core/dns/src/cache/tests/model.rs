//! The cache against a naive one: a table that forgets nothing.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::message;

/// What an entry was made of, and when.
struct Known {
    ttl: u32,
    addresses: u8,
    origin: Origin,
    stored: u64,
}

/// The answers by number of their name; one whole second is one.
#[derive(Default)]
struct Model {
    known: HashMap<u16, Known>,
    start: Option<u64>,
}

#[derive(Debug, Clone)]
enum Step {
    Insert {
        number: u16,
        ttl: u32,
        addresses: u8,
        fallback: bool,
    },
    /// Inserts many others, so that something must go.
    Crowd {
        from: u16,
        count: u16,
    },
    Get {
        number: u16,
    },
    Wait {
        millis: u64,
    },
    Forget {
        fallback: bool,
    },
    Bound {
        bytes: usize,
    },
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let number = || prop_oneof![0..12_u16, any::<u16>()];
    let ttl = prop_oneof![0..5_u32, 1..400_u32, any::<u32>()];
    prop_oneof![
        8 => (number(), ttl, 1..60_u8, any::<bool>()).prop_map(|(number, ttl, addresses, fallback)| Step::Insert { number, ttl, addresses, fallback }),
        2 => (any::<u16>(), 0..900_u16).prop_map(|(from, count)| Step::Crowd { from, count }),
        12 => number().prop_map(|number| Step::Get { number }),
        4 => (0..200_000_u64).prop_map(|millis| Step::Wait { millis }),
        1 => any::<bool>().prop_map(|fallback| Step::Forget { fallback }),
        1 => (0..400_000_usize).prop_map(|bytes| Step::Bound { bytes }),
        1 => Just(Step::Clear),
    ]
}

fn text(number: u16) -> String {
    // Of several lengths, so that entries are too.
    format!("{}{number}.example.", "n".repeat(usize::from(number % 7)))
}

fn asked(number: u16) -> Vec<u8> {
    let of = message::Name::parse(&text(number)).unwrap();
    [b"\0\0\x01\0\0\x01\0\0\0\0\0\0", of.as_bytes(), b"\0\x01\0\x01"].concat()
}

fn origin(fallback: bool) -> Origin {
    if fallback { Origin::Fallback } else { Origin::Upstream }
}

fn answer(number: u16, ttl: u32, addresses: u8) -> Vec<u8> {
    let mut wire = asked(number);
    wire[2] |= 0x80;
    wire[7] = addresses;
    for last in 0..addresses {
        wire.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
        wire.extend_from_slice(&ttl.to_be_bytes());
        wire.extend_from_slice(&[0, 4, 10, number.to_be_bytes()[0], number.to_be_bytes()[1], last]);
    }
    wire
}

impl Model {
    fn seconds(&self, millis: u64) -> u64 {
        self.start.map_or(0, |start| (millis - start) / 1000)
    }

    fn insert(&mut self, cache: &mut Cache, step: (u16, u32, u8, bool), base: Instant, millis: u64) {
        let (number, ttl, addresses, fallback) = step;
        let key = key_of(&asked(number));
        let now = base + Duration::from_millis(millis);
        let kept = cache.insert(&key.key(), &answer(number, ttl, addresses), origin(fallback), now);
        let cacheable = (1..=0x7fff_ffff).contains(&ttl);
        assert!(cacheable || !kept);
        if kept {
            self.start.get_or_insert(millis);
            let stored = self.seconds(millis);
            self.known.insert(number, Known { ttl, addresses, origin: origin(fallback), stored });
        } else if cacheable {
            // There is no room, and so nothing to compare with.
            self.start.get_or_insert(millis);
        }
    }

    /// An entry may be gone; one that is there is the last that was put there, aged.
    fn get(&mut self, cache: &mut Cache, number: u16, base: Instant, millis: u64) {
        let key = key_of(&asked(number));
        let (lookup, bytes) = get(cache, &key.key(), base + Duration::from_millis(millis));
        if lookup == Lookup::Miss {
            self.known.remove(&number);
            return;
        }
        let known = self.known.get(&number).unwrap_or_else(|| panic!("{number} was never kept: {lookup:?}"));
        let age = self.seconds(millis) - known.stored;
        let life = u64::from(known.ttl.min(86_400));
        let ttl = match lookup {
            Lookup::Fresh { origin, .. } => {
                assert!(age < life && origin == known.origin, "{lookup:?} after {age} of {life} s");
                known.ttl - u32::try_from(age).unwrap()
            }
            Lookup::Stale { over, origin } => {
                assert_eq!((Some(over.as_secs()), origin), (age.checked_sub(life), known.origin));
                30
            }
            Lookup::Miss => unreachable!(),
        };
        let expected = answer(number, ttl, known.addresses);
        assert_eq!(bytes, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_it_gives_is_what_was_put_there_last(steps in vec(step(), 1..80), max in 0..600_000_usize) {
        let (mut cache, mut model, base) = (Cache::new(max, SEED), Model::default(), Instant::now());
        let (mut millis, mut max) = (0, max);
        for step in steps {
            match step {
                Step::Insert { number, ttl, addresses, fallback } => {
                    model.insert(&mut cache, (number, ttl, addresses, fallback), base, millis);
                    let cacheable = (1..=0x7fff_ffff).contains(&ttl);
                    // There is room for one where there is any.
                    prop_assert!(max < 80 << 10 || !cacheable || model.known.contains_key(&number));
                    model.get(&mut cache, number, base, millis);
                    prop_assert!(max < 80 << 10 || !cacheable || model.known.contains_key(&number));
                }
                Step::Crowd { from, count } => {
                    for more in 0..count {
                        model.insert(&mut cache, (from.wrapping_add(more), 300, 1 + (more % 50) as u8, false), base, millis);
                    }
                }
                Step::Get { number } => model.get(&mut cache, number, base, millis),
                Step::Wait { millis: more } => millis += more,
                Step::Forget { fallback } => {
                    cache.forget_origin(origin(fallback));
                    model.known.retain(|_, known| known.origin != origin(fallback));
                }
                Step::Bound { bytes } => {
                    cache.set_max_bytes(bytes);
                    max = bytes;
                    if cache.bytes() == 0 {
                        model = Model::default();
                    }
                }
                Step::Clear => {
                    cache.clear();
                    model = Model::default();
                    prop_assert_eq!(cache.bytes(), 0);
                }
            }
            prop_assert!(cache.bytes() <= max);
            prop_assert!(cache.len() <= model.known.len(), "{} of {}", cache.len(), model.known.len());
        }
        for number in model.known.keys().copied().collect::<Vec<_>>() {
            model.get(&mut cache, number, base, millis);
        }
        prop_assert_eq!(cache.len(), model.known.len(), "every entry is found");
    }
}
