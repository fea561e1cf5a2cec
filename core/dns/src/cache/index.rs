//! Where entries are found: a hash table that grows by segments.
//!
//! Extendible hashing: the first bits of a hash choose a segment by a directory, the last ones a slot in it. A full
//! segment is split in two; nothing else moves, and so neither time nor memory is spent in leaps.

/// Slots of a segment; 4 KiB.
const SLOTS: usize = 1024;
/// Slots used, those of what is gone included, from which on a segment is split or cleaned: seven of eight.
const FULL: u16 = 896;
/// Slots in use from which on a full segment is split, not cleaned: five of eight, so that the next time is at least
/// 256 entries away.
const SPLIT: u16 = 640;
/// Slots in use up to which a full segment can be cleaned where it may not be split: 64 entries are gained.
const CLEAN: u16 = 832;
/// The most bits of a hash that choose a segment: 65,536 segments, as many as the directory can name. 67 million
/// slots are more than the 64 MiB that offsets reach have entries.
const MAX_DEPTH: u8 = 16;

const EMPTY: u32 = 0;
const GONE: u32 = 1;
/// Bits of a slot that are an offset; those above are a piece of the hash, so that few entries are looked at in vain.
const OFFSET_BITS: u32 = 26;
const OFFSET_MASK: u32 = (1 << OFFSET_BITS) - 1;

#[derive(Debug)]
struct Segment {
    slots: Box<[u32]>,
    /// The bits of a hash that all entries in it have in common.
    depth: u8,
    /// Slots that are not empty, and those of them that hold an entry.
    used: u16,
    live: u16,
}

/// Where an entry's slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    segment: usize,
    slot: usize,
    pub(crate) offset: u32,
}

/// The index. Offsets are from 2 to 2^26 - 1.
#[derive(Debug, Default)]
pub(crate) struct Index {
    directory: Vec<u16>,
    depth: u8,
    segments: Vec<Segment>,
    live: usize,
}

fn home(hash: u64) -> usize {
    hash as usize % SLOTS
}

fn slot_value(hash: u64, offset: u32) -> u32 {
    ((hash >> 10) as u32) << OFFSET_BITS | (offset & OFFSET_MASK)
}

impl Segment {
    fn new(depth: u8) -> Self {
        Self { slots: vec![EMPTY; SLOTS].into_boxed_slice(), depth, used: 0, live: 0 }
    }

    /// The slots from a hash's home on, each once.
    fn probe(&self, hash: u64) -> impl Iterator<Item = (usize, u32)> + '_ {
        let home = home(hash);
        let (before, from) = self.slots.split_at_checked(home).unwrap_or_default();
        from.iter().chain(before).enumerate().map(move |(far, value)| ((home + far) % SLOTS, *value))
    }

    fn add(&mut self, hash: u64, offset: u32) -> bool {
        let Some((slot, before)) = self.probe(hash).find(|(_, value)| *value <= GONE) else { return false };
        if let Some(room) = self.slots.get_mut(slot) {
            *room = slot_value(hash, offset);
        }
        self.live += 1;
        self.used += u16::from(before == EMPTY);
        true
    }

    /// Empties it and gives the offsets that it held.
    fn drain(&mut self) -> Vec<u32> {
        let held =
            self.slots.iter().filter(|value| **value > GONE).map(|value| value & OFFSET_MASK).collect();
        self.slots.fill(EMPTY);
        (self.used, self.live) = (0, 0);
        held
    }
}

impl Index {
    /// Entries.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Bytes taken.
    pub(crate) fn bytes(&self) -> usize {
        self.segments.len() * SLOTS * size_of::<u32>()
            + self.segments.capacity() * size_of::<Segment>()
            + self.directory.capacity() * size_of::<u16>()
    }

    /// Bytes that one more entry of this hash takes besides: those of another segment, where its own must be split.
    pub(crate) fn bytes_more(&self, hash: u64) -> usize {
        let segment = self.segment_of(hash).and_then(|at| self.segments.get(at));
        if segment.is_some_and(|segment| segment.used < FULL || segment.live < SPLIT) {
            return 0;
        }
        // The lists may be copied to twice their size.
        let lists = 2 * self.segments.capacity().max(4) * size_of::<Segment>()
            + 2 * self.directory.capacity().max(4) * size_of::<u16>();
        SLOTS * size_of::<u32>() + lists
    }

    /// Whether cleaning makes enough room for entries of this hash.
    pub(crate) fn is_worth_cleaning(&self, hash: u64) -> bool {
        self.segment_of(hash).and_then(|at| self.segments.get(at)).is_some_and(|segment| segment.live < CLEAN)
    }

    fn segment_of(&self, hash: u64) -> Option<usize> {
        let at = hash.checked_shr(64 - u32::from(self.depth)).unwrap_or(0);
        self.directory.get(at as usize).map(|segment| usize::from(*segment))
    }

    /// Finds the entry of a hash whose offset `is` takes.
    pub(crate) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<Place> {
        let segment = self.segment_of(hash)?;
        for (slot, value) in self.segments.get(segment)?.probe(hash) {
            let offset = value & OFFSET_MASK;
            if value == EMPTY {
                return None;
            }
            if value > GONE && value == slot_value(hash, offset) && is(offset) {
                return Some(Place { segment, slot, offset });
            }
        }
        None
    }

    /// Says that the entry at `place` lies elsewhere now.
    pub(crate) fn move_to(&mut self, place: Place, offset: u32) {
        let slot = self.segments.get_mut(place.segment).and_then(|segment| segment.slots.get_mut(place.slot));
        if let Some(value) = slot {
            *value = *value & !OFFSET_MASK | (offset & OFFSET_MASK);
        }
    }

    /// Forgets the entry at `place`.
    pub(crate) fn remove(&mut self, place: Place) {
        let Some(segment) = self.segments.get_mut(place.segment) else { return };
        let next = segment.slots.get((place.slot + 1) % SLOTS).copied();
        let Some(value) = segment.slots.get_mut(place.slot).filter(|value| **value > GONE) else { return };
        // Nothing lies behind it that is looked for past it.
        let ends = next == Some(EMPTY);
        *value = if ends { EMPTY } else { GONE };
        segment.used -= u16::from(ends);
        segment.live -= 1;
        self.live -= 1;
    }

    /// Adds an entry; `hash_of` gives the hashes of those that must move for it. False where there is no room, because
    /// its segment is full and not to be split.
    pub(crate) fn insert(
        &mut self,
        hash: u64,
        offset: u32,
        may_split: bool,
        hash_of: impl Fn(u32) -> u64,
    ) -> bool {
        if self.segments.is_empty() {
            self.segments.push(Segment::new(0));
            self.directory = vec![0];
        }
        // Each split parts entries by one bit more; that none parts them has no end but this.
        for _ in 0..=MAX_DEPTH {
            let Some(at) = self.segment_of(hash) else { return false };
            let Some(segment) = self.segments.get_mut(at) else { return false };
            if segment.used < FULL {
                let added = segment.add(hash, offset);
                self.live += usize::from(added);
                return added;
            }
            if segment.live >= SPLIT && may_split {
                if !self.split(at, &hash_of) {
                    return false;
                }
            } else {
                for held in segment.drain() {
                    segment.add(hash_of(held), held);
                }
            }
        }
        false
    }

    fn split(&mut self, at: usize, hash_of: impl Fn(u32) -> u64) -> bool {
        let Ok(added) = u16::try_from(self.segments.len()) else { return false };
        let Some(segment) = self.segments.get_mut(at).filter(|segment| segment.depth < MAX_DEPTH) else {
            return false;
        };
        if segment.depth == self.depth {
            self.directory = self.directory.iter().flat_map(|segment| [*segment; 2]).collect();
            self.depth += 1;
        }
        let parting = 63 - u32::from(segment.depth);
        segment.depth += 1;
        let mut other = Segment::new(segment.depth);
        for held in segment.drain() {
            let hash = hash_of(held);
            let side = if hash >> parting & 1 == 0 { &mut *segment } else { &mut other };
            side.add(hash, held);
        }
        let bit = self.depth - segment.depth;
        for (number, name) in self.directory.iter_mut().enumerate() {
            if usize::from(*name) == at && number >> bit & 1 == 1 {
                *name = added;
            }
        }
        self.segments.push(other);
        true
    }
}
