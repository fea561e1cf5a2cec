//! Entries, where they lie and how they are found, put together.

use std::hash::{DefaultHasher, Hasher};
use std::time::{Duration, Instant};

use super::entry::{self, Head, KeyParts, MAX_ENTRY, POPULAR};
use super::index::{Index, Place};
use super::judge::judge;
use super::key::Key;
use super::log::{CHUNK, Fate, Log, MAX_BYTES};
use super::{Lookup, Origin, STALE_TTL};

/// The least bytes that a cache works with: a chunk (64 KiB), where entries are put together (4.3 KiB), two segments
/// of the index (8 KiB) and lists of these.
pub const MIN_BYTES: usize = 80 * 1024;

/// A cache of answers, as [its module](super) says.
pub struct Cache {
    max_bytes: usize,
    /// Knows the seed already.
    hasher: DefaultHasher,
    log: Log,
    index: Index,
    /// When the first entry came.
    start: Option<Instant>,
    /// Where entries are put together.
    room: Vec<u8>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("entries", &self.len())
            .field("bytes", &self.bytes())
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// An empty cache that takes at most `max_bytes`, index included, and 64 MiB in any case. One of less than
    /// [`MIN_BYTES`] keeps nothing. `seed` makes its hashes unguessable to who chooses the names; it must be random.
    #[must_use]
    pub fn new(max_bytes: usize, seed: [u8; 16]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(&seed);
        let max_bytes = max_bytes.min(MAX_BYTES);
        Self {
            max_bytes,
            hasher,
            log: Log::default(),
            index: Index::default(),
            start: None,
            room: Vec::new(),
        }
    }

    /// Takes another bound, as [`new`](Self::new) does; what is over it is forgotten, the oldest first.
    pub fn set_max_bytes(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes.min(MAX_BYTES);
        while self.bytes() > self.max_bytes {
            let Some(oldest) = self.log.oldest() else { return self.clear() };
            self.evict(oldest);
        }
    }

    /// Looks an answer up. A hit appends it to `answer`: a whole message with the id 0 and the question as in `key`.
    /// Allocates nothing where `answer` has room.
    pub fn get(&mut self, key: &Key<'_>, now: Instant, answer: &mut Vec<u8>) -> Lookup {
        let now = self.seconds(now);
        let parts = KeyParts::of(key);
        let Some(place) = self.find(&parts) else { return Lookup::Miss };
        let found = self.log.entry(place.offset).and_then(|entry| Some((Head::read(entry)?, entry)));
        let Some((head, bytes)) = found else { return Lookup::Miss };
        let age = now.saturating_sub(head.stored);
        let over = age.checked_sub(head.life);
        let ttl = |ttl: u32| if over.is_some() { STALE_TTL } else { ttl.saturating_sub(age) };
        if entry::append_answer(bytes, answer, ttl).is_none() {
            return Lookup::Miss;
        }
        let left = head.life.saturating_sub(age);
        let refresh =
            over.is_none() && !head.is_renewed() && head.hits() + 1 >= POPULAR && left * 10 < head.life;
        if let Some(bytes) = self.log.entry_mut(place.offset) {
            entry::mark_hit(bytes, refresh);
        }
        let origin = head.origin();
        match over {
            None => Lookup::Fresh { refresh, origin },
            Some(over) => Lookup::Stale { over: Duration::from_secs(over.into()), origin },
        }
    }

    /// Keeps an answer, in place of an older one of the same key. False where it may not be kept or finds no room;
    /// the older one then stays.
    pub fn insert(&mut self, key: &Key<'_>, answer: &[u8], origin: Origin, now: Instant) -> bool {
        let Some(judged) = judge(key, answer).filter(|_| self.max_bytes >= MIN_BYTES) else { return false };
        self.start.get_or_insert(now);
        let now = self.seconds(now);
        let parts = KeyParts::of(key);
        let mut room = std::mem::take(&mut self.room);
        room.reserve_exact(MAX_ENTRY);
        let kept = entry::write(&mut room, &parts, &judged, origin, now).is_some()
            && (self.overwrite(&parts, &room) || self.append(&parts, &room, now));
        room.clear();
        self.room = room;
        kept
    }

    /// Forgets the entries of one origin.
    pub fn forget_origin(&mut self, origin: Origin) {
        for offset in self.log.offsets() {
            if self.log.entry(offset).and_then(Head::read).is_some_and(|head| head.origin() == origin) {
                self.forget(offset);
            }
        }
        self.log.drop_empty();
        self.shrink_index();
    }

    /// Forgets everything and gives its memory back.
    pub fn clear(&mut self) {
        self.log = Log::default();
        self.index = Index::default();
        self.room = Vec::new();
        self.start = None;
    }

    /// Entries held, those whose time is over included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes taken, the index included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.log.bytes() + self.index.bytes() + self.room.capacity()
    }

    /// Bytes taken where an entry is being put together.
    fn bytes_with_room(&self) -> usize {
        self.log.bytes() + self.index.bytes() + MAX_ENTRY
    }

    /// Whole seconds since the first entry came.
    fn seconds(&self, now: Instant) -> u32 {
        let since = self.start.map_or(Duration::ZERO, |start| now.saturating_duration_since(start));
        u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
    }

    fn find(&self, parts: &KeyParts<'_>) -> Option<Place> {
        self.index.find(hash(&self.hasher, parts), |offset| parts.is_of(self.log.from(offset)))
    }

    fn forget(&mut self, offset: u32) {
        let place = self
            .log
            .entry(offset)
            .and_then(KeyParts::read)
            .and_then(|parts| self.index.find(hash(&self.hasher, &parts), |found| found == offset));
        if let Some(place) = place {
            self.index.remove(place);
        }
        self.log.forget(offset);
    }

    /// Writes an entry over the older one of its key, if that is as long.
    fn overwrite(&mut self, parts: &KeyParts<'_>, bytes: &[u8]) -> bool {
        let Some(place) = self.find(parts) else { return false };
        let Some(old) = self.log.entry_mut(place.offset).filter(|old| old.len() == bytes.len()) else {
            return false;
        };
        old.copy_from_slice(bytes);
        true
    }

    fn append(&mut self, parts: &KeyParts<'_>, bytes: &[u8], now: u32) -> bool {
        let hash_of_new = hash(&self.hasher, parts);
        let mut index_more = self.index.bytes_more(hash_of_new);
        let mut may_split = true;
        while index_more > 0 && self.bytes_with_room() + index_more > self.max_bytes {
            if self.index.is_worth_cleaning(hash_of_new) {
                (index_more, may_split) = (0, false);
                break;
            }
            let Some(oldest) = self.log.oldest() else { return false };
            self.fill_anew(oldest, now);
            index_more = self.index.bytes_more(hash_of_new);
        }
        if !self.log.has_room(bytes.len()) && !self.next_chunk(index_more, now) {
            return false;
        }
        // Only now, since the older one may have gone by itself.
        if let Some(older) = self.find(parts) {
            self.forget(older.offset);
        }
        let Some(offset) = self.log.append(bytes) else { return false };
        let (log, hasher) = (&self.log, &self.hasher);
        let hash_of = |offset| {
            let parts = log.entry(offset).and_then(KeyParts::read);
            parts.map_or(0, |parts| hash(hasher, &parts))
        };
        let added = self.index.insert(hash_of_new, offset, may_split, hash_of);
        if !added {
            self.log.forget(offset);
        }
        added
    }

    /// Finds a chunk to fill: one that is half forgotten, else a new one if that leaves `reserved` bytes, else the
    /// oldest. False where there is none.
    fn next_chunk(&mut self, reserved: usize, now: u32) -> bool {
        if let Some(number) = self.log.emptiest() {
            self.sweep(number, |_| true);
            self.log.fill(number);
            return true;
        }
        if self.bytes_with_room() + reserved + self.log.bytes_more() <= self.max_bytes {
            return self.log.add_chunk();
        }
        let oldest = self.log.oldest();
        oldest.into_iter().for_each(|number| self.fill_anew(number, now));
        oldest.is_some()
    }

    /// Fills a chunk anew. Of its entries those stay that were hit since they came and are not over, up to half of the
    /// chunk, so that the next time is half a chunk away.
    fn fill_anew(&mut self, number: usize, now: u32) {
        let mut left = CHUNK / 2;
        self.sweep(number, |entry| {
            let spared = Head::read(entry).is_some_and(|head| head.hits() > 0 && !head.is_over(now));
            let spared = spared && entry.len() <= left;
            left -= if spared { entry.len() } else { 0 };
            entry::forget_hits(entry);
            spared
        });
        self.log.fill(number);
    }

    /// Forgets a whole chunk and gives it back.
    fn evict(&mut self, number: usize) {
        self.sweep(number, |_| false);
        self.log.drop_chunk(number);
        self.shrink_index();
    }

    /// The index gives its memory back where it holds nothing.
    fn shrink_index(&mut self) {
        if self.index.len() == 0 {
            self.index = Index::default();
        }
    }

    fn sweep(&mut self, number: usize, keep: impl FnMut(&mut [u8]) -> bool) {
        let (index, hasher) = (&mut self.index, &self.hasher);
        self.log.sweep(number, keep, |offset, entry, fate| {
            let Some(parts) = KeyParts::read(entry) else { return };
            let Some(place) = index.find(hash(hasher, &parts), |found| found == offset) else { return };
            match fate {
                Fate::Moved(to) => index.move_to(place, to),
                Fate::Gone => index.remove(place),
            }
        });
    }
}

fn hash(seeded: &DefaultHasher, parts: &KeyParts<'_>) -> u64 {
    let mut hasher = seeded.clone();
    hasher.write(parts.name);
    let rest = u64::from(parts.kind) << 32 | u64::from(parts.class) << 16 | u64::from(parts.flags);
    hasher.write_u64(rest);
    hasher.finish()
}
