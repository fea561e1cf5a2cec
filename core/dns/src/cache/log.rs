//! Where entries lie: chunks that are filled one after the other.

use super::entry::{Head, mark_forgotten};

/// Bytes of a chunk.
pub(crate) const CHUNK: usize = 64 * 1024;
/// Bits of an offset within a chunk.
const CHUNK_BITS: u32 = CHUNK.trailing_zeros();
/// The most bytes of all chunks: 2^26, what an offset of 26 bits reaches; 1,024 chunks.
pub(crate) const MAX_BYTES: usize = 1 << 26;
/// Where the first entry of a chunk begins: offsets 0 and 1 mean something else to the index.
const FIRST: usize = 2;

#[derive(Debug)]
struct Chunk {
    bytes: Box<[u8]>,
    /// Where the next entry goes.
    filled: usize,
    /// Bytes of entries that are forgotten.
    gone: usize,
    /// When its turn to be filled came; those with the least are the oldest.
    turn: u64,
}

/// What becomes of an entry when its chunk is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It lies at another offset now.
    Moved(u32),
    /// It goes.
    Gone,
}

/// The log of entries.
#[derive(Debug, Default)]
pub(crate) struct Log {
    chunks: Vec<Option<Chunk>>,
    head: Option<usize>,
    turn: u64,
}

fn offset(chunk: usize, at: usize) -> Option<u32> {
    u32::try_from(chunk << CHUNK_BITS | at).ok().filter(|offset| (*offset as usize) < MAX_BYTES)
}

fn place(offset: u32) -> (usize, usize) {
    let offset = offset as usize;
    (offset >> CHUNK_BITS, offset % CHUNK)
}

impl Log {
    /// Bytes taken.
    pub(crate) fn bytes(&self) -> usize {
        self.numbers().count() * CHUNK + self.chunks.capacity() * size_of::<Option<Chunk>>()
    }

    /// Bytes that one more chunk may take.
    pub(crate) fn bytes_more(&self) -> usize {
        let list = if self.chunks.len() < self.chunks.capacity() {
            0
        } else {
            2 * self.chunks.capacity().max(4) * size_of::<Option<Chunk>>()
        };
        CHUNK + list
    }

    /// The chunks there are.
    fn numbers(&self) -> impl Iterator<Item = usize> + '_ {
        self.chunks.iter().enumerate().filter_map(|(number, chunk)| chunk.as_ref().map(|_| number))
    }

    fn chunk(&self, number: usize) -> Option<&Chunk> {
        self.chunks.get(number)?.as_ref()
    }

    fn chunk_mut(&mut self, number: usize) -> Option<&mut Chunk> {
        self.chunks.get_mut(number)?.as_mut()
    }

    /// The bytes from an entry's first on.
    pub(crate) fn from(&self, offset: u32) -> &[u8] {
        let (number, at) = place(offset);
        self.chunk(number).and_then(|chunk| chunk.bytes.get(at..chunk.filled)).unwrap_or_default()
    }

    /// The bytes of an entry.
    pub(crate) fn entry(&self, offset: u32) -> Option<&[u8]> {
        let bytes = self.from(offset);
        bytes.get(..Head::read(bytes)?.length)
    }

    /// The bytes of an entry, to be changed.
    pub(crate) fn entry_mut(&mut self, offset: u32) -> Option<&mut [u8]> {
        let length = Head::read(self.from(offset))?.length;
        let (number, at) = place(offset);
        self.chunk_mut(number)?.bytes.get_mut(at..at + length)
    }

    /// Says that an entry is forgotten.
    pub(crate) fn forget(&mut self, offset: u32) {
        let Some(entry) = self.entry_mut(offset) else { return };
        mark_forgotten(entry);
        let length = entry.len();
        if let Some(chunk) = self.chunk_mut(place(offset).0) {
            chunk.gone += length;
        }
    }

    /// Appends an entry; none where it does not fit into the chunk that is being filled.
    pub(crate) fn append(&mut self, entry: &[u8]) -> Option<u32> {
        let number = self.head?;
        let chunk = self.chunk_mut(number)?;
        let (start, end) = (chunk.filled, chunk.filled + entry.len());
        chunk.bytes.get_mut(start..end)?.copy_from_slice(entry);
        chunk.filled = end;
        offset(number, start)
    }

    /// Whether an entry of `length` bytes fits into the chunk that is being filled.
    pub(crate) fn has_room(&self, length: usize) -> bool {
        self.head.and_then(|head| self.chunk(head)).is_some_and(|chunk| chunk.filled + length <= CHUNK)
    }

    /// Fills another chunk from now on: a new one. False where there are as many as there can be.
    pub(crate) fn add_chunk(&mut self) -> bool {
        let free = self.chunks.iter().position(Option::is_none).unwrap_or(self.chunks.len());
        if free >= MAX_BYTES / CHUNK {
            return false;
        }
        self.turn += 1;
        let bytes = vec![0; CHUNK].into_boxed_slice();
        let chunk = Chunk { bytes, filled: FIRST, gone: 0, turn: self.turn };
        match self.chunks.get_mut(free) {
            Some(room) => *room = Some(chunk),
            None => self.chunks.push(Some(chunk)),
        }
        self.head = Some(free);
        true
    }

    /// Fills this chunk from now on, behind what it holds.
    pub(crate) fn fill(&mut self, number: usize) {
        self.turn += 1;
        let turn = self.turn;
        if let Some(chunk) = self.chunk_mut(number) {
            chunk.turn = turn;
            self.head = Some(number);
        }
    }

    /// The chunk that was filled longest ago.
    pub(crate) fn oldest(&self) -> Option<usize> {
        self.numbers().min_by_key(|number| self.chunk(*number).map(|chunk| chunk.turn))
    }

    /// The chunk of which most is forgotten, if that is half of it.
    pub(crate) fn emptiest(&self) -> Option<usize> {
        let gone = |number: &usize| self.chunk(*number).map_or(0, |chunk| chunk.gone);
        self.numbers().max_by_key(gone).filter(|number| gone(number) >= CHUNK / 2)
    }

    /// The offsets of the entries of all chunks, without the forgotten.
    pub(crate) fn offsets(&self) -> Vec<u32> {
        self.numbers().flat_map(|number| self.offsets_in(number)).collect()
    }

    fn offsets_in(&self, number: usize) -> impl Iterator<Item = u32> + '_ {
        let mut at = FIRST;
        std::iter::from_fn(move || {
            loop {
                let here = offset(number, at)?;
                let head = Head::read(self.from(here)).filter(|head| head.length > 0)?;
                at += head.length;
                if !head.forgotten {
                    return Some(here);
                }
            }
        })
    }

    /// Gives the chunks back that hold nothing but what is forgotten.
    pub(crate) fn drop_empty(&mut self) {
        for number in self.numbers().collect::<Vec<_>>() {
            if self.offsets_in(number).next().is_none() {
                self.drop_chunk(number);
            }
        }
    }

    /// Gives a chunk back.
    pub(crate) fn drop_chunk(&mut self, number: usize) {
        if let Some(room) = self.chunks.get_mut(number) {
            *room = None;
        }
        if self.head == Some(number) {
            self.head = None;
        }
    }

    /// Puts the entries of a chunk together that `keep` takes, and tells `fate` of every entry, with its offset of
    /// before and its bytes. The forgotten are not asked for.
    pub(crate) fn sweep(
        &mut self,
        number: usize,
        mut keep: impl FnMut(&mut [u8]) -> bool,
        mut fate: impl FnMut(u32, &[u8], Fate),
    ) {
        let Some(chunk) = self.chunk_mut(number) else { return };
        let (mut at, mut to) = (FIRST, FIRST);
        while at < chunk.filled {
            let Some(head) = chunk.bytes.get(at..).and_then(Head::read) else { break };
            let (from, end) = (at, at + head.length);
            at = end;
            let Some(entry) = chunk.bytes.get_mut(from..end).filter(|entry| !entry.is_empty()) else { break };
            let Some(before) = offset(number, from).filter(|_| !head.forgotten) else { continue };
            let moved = offset(number, to).filter(|_| keep(entry));
            fate(before, entry, moved.map_or(Fate::Gone, Fate::Moved));
            if moved.is_some() {
                chunk.bytes.copy_within(from..end, to);
                to += head.length;
            }
        }
        (chunk.filled, chunk.gone) = (to, 0);
    }
}
