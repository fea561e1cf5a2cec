//! How an entry lies in memory.
//!
//! | bytes | what |
//! |---|---|
//! | 2 | length of the whole; the top bit: forgotten |
//! | 1 | marks: hits (2 bits), fetched anew, of a fallback resolver, with OPT, with class, with counts |
//! | 2 | the key's flags (5 bits), AA, RD, RA, Z, AD, CD (6 bits), response code (4 bits) |
//! | 4 | when it was stored, in seconds since the cache's first entry |
//! | 3 | how long it lives, in seconds |
//! | 2 | type |
//! | | name, in lower case |
//! | 2 | class, unless it is IN |
//! | 3 | counts of the three sections, unless it is one answer alone |
//! | 6 + n | payload size, flags and length of options of the OPT record, and its options, if there is one |
//! | | the records as they came, without the OPT record |
//!
//! In a message the records stand behind the header and the question, where they stood when they came: their
//! pointers hold.

use super::Origin;
use super::judge::Judged;
use super::key::Key;
use crate::message::{HEADER_LEN, MAX_NAME, plain_name_end, record_at, record_type, write_u16, write_u32};

/// Bytes before the name.
pub(crate) const HEAD: usize = 14;
/// The longest entry in bytes: head, name, class, counts, OPT record, and 4 KiB of records and options.
pub(crate) const MAX_ENTRY: usize = HEAD + MAX_NAME + 2 + 3 + 6 + MAX_CONTENT;
/// The most bytes of records and options of an entry. Answers that are longer are signed zone data or texts that
/// are asked for once; a few of them would push hundreds of others out.
pub(crate) const MAX_CONTENT: usize = 4096;

const FORGOTTEN: u8 = 0x80;
const HITS: u8 = 0x03;
const RENEWED: u8 = 0x04;
const FALLBACK: u8 = 0x08;
const WITH_OPT: u8 = 0x10;
const WITH_CLASS: u8 = 0x20;
const WITH_COUNTS: u8 = 0x40;

const CLASS_IN: u16 = 1;
const ONE_ANSWER: [u8; 3] = [1, 0, 0];

/// Hits from which on an answer is asked for often.
pub(crate) const POPULAR: u8 = 2;

/// The fixed fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) forgotten: bool,
    marks: u8,
    flags: u16,
    /// Seconds since the cache's first entry.
    pub(crate) stored: u32,
    /// Seconds.
    pub(crate) life: u32,
    kind: u16,
}

impl Head {
    /// Reads the fields of the entry that begins with `bytes`.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let [l0, l1, marks, f0, f1, s0, s1, s2, s3, t0, t1, t2, k0, k1] = *bytes.first_chunk::<HEAD>()?;
        Some(Self {
            length: usize::from(u16::from_be_bytes([l0 & !FORGOTTEN, l1])),
            forgotten: l0 & FORGOTTEN != 0,
            marks,
            flags: u16::from_be_bytes([f0, f1]),
            stored: u32::from_be_bytes([s0, s1, s2, s3]),
            life: u32::from_be_bytes([0, t0, t1, t2]),
            kind: u16::from_be_bytes([k0, k1]),
        })
    }

    pub(crate) fn hits(self) -> u8 {
        self.marks & HITS
    }

    pub(crate) fn is_renewed(self) -> bool {
        self.marks & RENEWED != 0
    }

    pub(crate) fn origin(self) -> Origin {
        if self.marks & FALLBACK == 0 { Origin::Upstream } else { Origin::Fallback }
    }

    /// Whether its time is over.
    pub(crate) fn is_over(self, now: u32) -> bool {
        now.saturating_sub(self.stored) >= self.life
    }

    fn key_flags(self) -> u8 {
        self.flags.to_be_bytes()[0] >> 3
    }
}

/// The name, class and flags that an entry's hash is made of, in the order of [`Key`].
pub(crate) struct KeyParts<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: u16,
    pub(crate) class: u16,
    pub(crate) flags: u8,
}

impl<'a> KeyParts<'a> {
    pub(crate) fn of(key: &Key<'a>) -> Self {
        Self { name: key.name, kind: key.kind, class: key.class, flags: key.flags.bits() }
    }

    /// Those of an entry.
    pub(crate) fn read(entry: &'a [u8]) -> Option<Self> {
        let head = Head::read(entry)?;
        let end = plain_name_end(entry, HEAD)?;
        Some(Self {
            name: entry.get(HEAD..end)?,
            kind: head.kind,
            class: class(entry, head, end)?,
            flags: head.key_flags(),
        })
    }

    /// Whether the entry that begins with `bytes` is this key's.
    pub(crate) fn is_of(&self, bytes: &[u8]) -> bool {
        let Some(head) = Head::read(bytes) else { return false };
        // A wire name ends by itself, and so is a prefix of no other.
        let same = head.kind == self.kind
            && head.key_flags() == self.flags
            && bytes.get(HEAD..).is_some_and(|rest| rest.starts_with(self.name));
        same && class(bytes, head, HEAD + self.name.len()) == Some(self.class)
    }
}

fn class(bytes: &[u8], head: Head, name_end: usize) -> Option<u16> {
    if head.marks & WITH_CLASS == 0 {
        return Some(CLASS_IN);
    }
    Some(u16::from_be_bytes(*bytes.get(name_end..)?.first_chunk()?))
}

/// Says that an entry was hit once more, and if `renewed` that it is being fetched anew.
pub(crate) fn mark_hit(entry: &mut [u8], renewed: bool) {
    if let Some(marks) = entry.get_mut(2) {
        *marks = *marks & !HITS | (*marks & HITS).saturating_add(1).min(HITS);
        *marks |= if renewed { RENEWED } else { 0 };
    }
}

/// Takes the hits away: an entry that was spared once must be hit again to be spared again.
pub(crate) fn forget_hits(entry: &mut [u8]) {
    if let Some(marks) = entry.get_mut(2) {
        *marks &= !HITS;
    }
}

/// Says that an entry is forgotten.
pub(crate) fn mark_forgotten(entry: &mut [u8]) {
    if let Some(length) = entry.get_mut(0) {
        *length |= FORGOTTEN;
    }
}

/// Writes an entry into `room`, which is emptied first. None where it would be too long.
pub(crate) fn write(
    room: &mut Vec<u8>,
    key: &KeyParts<'_>,
    judged: &Judged<'_>,
    origin: Origin,
    now: u32,
) -> Option<()> {
    room.clear();
    let mut marks = if origin == Origin::Fallback { FALLBACK } else { 0 };
    marks |= if judged.opt.is_some() { WITH_OPT } else { 0 };
    marks |= if key.class == CLASS_IN { 0 } else { WITH_CLASS };
    marks |= if judged.counts == ONE_ANSWER { 0 } else { WITH_COUNTS };
    let [_, t0, t1, t2] = judged.life.to_be_bytes();
    let flags = u16::from(key.flags) << 11 | pack(judged.flags);
    room.extend_from_slice(&[0, 0, marks]);
    room.extend_from_slice(&flags.to_be_bytes());
    room.extend_from_slice(&now.to_be_bytes());
    room.extend_from_slice(&[t0, t1, t2]);
    room.extend_from_slice(&key.kind.to_be_bytes());
    room.extend_from_slice(key.name);
    if marks & WITH_CLASS != 0 {
        room.extend_from_slice(&key.class.to_be_bytes());
    }
    if marks & WITH_COUNTS != 0 {
        room.extend_from_slice(&judged.counts);
    }
    let mut content = judged.records.len();
    if let Some(opt) = &judged.opt {
        content += opt.options.len();
        room.extend_from_slice(&opt.payload_size.to_be_bytes());
        room.extend_from_slice(&opt.flags.to_be_bytes());
        room.extend_from_slice(&u16::try_from(opt.options.len()).ok()?.to_be_bytes());
        room.extend_from_slice(&opt.options);
    }
    room.extend_from_slice(&judged.records);
    let length = u16::try_from(room.len()).ok().filter(|_| content <= MAX_CONTENT)?;
    write_u16(room, 0, length);
    Some(())
}

/// The header's flags, of 16 bits, as 10: neither QR, OPCODE nor TC, which are the same of every entry.
fn pack(flags: u16) -> u16 {
    (flags & 0x0400) | (flags & 0x0100) << 1 | (flags & 0x00f0) << 1 | (flags & 0x000f)
}

fn unpack(packed: u16) -> u16 {
    0x8000 | (packed & 0x0400) | (packed & 0x0200) >> 1 | (packed & 0x01e0) >> 1 | (packed & 0x000f)
}

/// Appends the answer that `entry` holds, a message of its own, to `answer`; every TTL is what `ttl` makes of it.
/// None, and what was appended is taken away again, where the entry cannot be read.
pub(crate) fn append_answer(entry: &[u8], answer: &mut Vec<u8>, ttl: impl Fn(u32) -> u32) -> Option<()> {
    let start = answer.len();
    let appended = append(entry, answer, ttl);
    if appended.is_none() {
        answer.truncate(start);
    }
    appended
}

fn append(entry: &[u8], answer: &mut Vec<u8>, ttl: impl Fn(u32) -> u32) -> Option<()> {
    let head = Head::read(entry)?;
    let name_end = plain_name_end(entry, HEAD)?;
    let class = class(entry, head, name_end)?;
    let mut rest = entry.get(if head.marks & WITH_CLASS == 0 { name_end } else { name_end + 2 }..)?;
    let mut counts = ONE_ANSWER;
    if head.marks & WITH_COUNTS != 0 {
        let (given, after) = rest.split_first_chunk::<3>()?;
        (counts, rest) = (*given, after);
    }
    let mut opt = None;
    if head.marks & WITH_OPT != 0 {
        let ([s0, s1, f0, f1, l0, l1], after) = rest.split_first_chunk::<6>()?;
        let (options, after) = after.split_at_checked(u16::from_be_bytes([*l0, *l1]).into())?;
        opt = Some(([*s0, *s1, 0, 0, *f0, *f1, *l0, *l1], options));
        rest = after;
    }
    let start = answer.len();
    let [answers, authority, additional] = counts;
    let [flags_0, flags_1] = unpack(head.flags).to_be_bytes();
    let additional_0 = [0, additional];
    let additional = (u16::from_be_bytes(additional_0) + u16::from(opt.is_some())).to_be_bytes();
    let header: [u8; HEADER_LEN] =
        [0, 0, flags_0, flags_1, 0, 1, 0, answers, 0, authority, additional[0], additional[1]];
    answer.extend_from_slice(&header);
    answer.extend_from_slice(entry.get(HEAD..name_end)?);
    answer.extend_from_slice(&head.kind.to_be_bytes());
    answer.extend_from_slice(&class.to_be_bytes());
    let mut at = answer.len() - start;
    answer.extend_from_slice(rest);
    let message = answer.get_mut(start..)?;
    for _ in 0..counts.into_iter().map(u32::from).sum() {
        let record = record_at(message, at)?;
        write_u32(message, record.data - 6, ttl(record.ttl));
        at = record.end;
    }
    if let Some((fixed, options)) = opt {
        answer.push(0);
        answer.extend_from_slice(&record_type::OPT.to_be_bytes());
        answer.extend_from_slice(&fixed);
        answer.extend_from_slice(options);
    }
    Some(())
}
