//! Changing the length of a message in its middle, so that every compressed name still says what it said.

use super::name::MAX_NAME;
use super::walk::{QuestionPlace, Record, is_well_formed, question_place, records, skip_name};
use super::{HEADER_LEN, read_u16, record_type, write_u16};

/// The most pointers of a name: it has at most 127 labels, and each pointer should lead to one.
const MAX_POINTERS: usize = 127;
/// The two bits that mark a pointer, and the rest: its target.
const POINTER: u16 = 0xc000;

/// Where the names begin that a record's data hold, and that may end in a pointer (RFC 1035, section 4.1.4; RFC
/// 3597, section 4): bytes before the first, and how many follow one another. Data of other types are opaque.
fn names_in(kind: u16) -> Option<(usize, usize)> {
    use record_type as t;
    match kind {
        t::NS | t::MD | t::MF | t::CNAME | t::MB | t::MG | t::MR | t::PTR | t::NXT | t::DNAME => Some((0, 1)),
        t::SOA | t::MINFO | t::RP => Some((0, 2)),
        t::MX | t::AFSDB | t::RT | t::KX => Some((2, 1)),
        t::PX => Some((2, 2)),
        t::SRV => Some((6, 1)),
        t::SIG | t::RRSIG => Some((18, 1)),
        _ => None,
    }
}

/// The first byte behind NAPTR's numbers and its three texts (RFC 3403, section 4.1), relative to the data.
fn naptr_name(data: &[u8]) -> Option<usize> {
    (0..3).try_fold(4, |at, _| Some(at + 1 + usize::from(*data.get(at)?)))
}

/// The offsets at which names begin in a record's data, all of them within it; none where one is not.
fn data_names(message: &[u8], record: &Record) -> Option<([usize; 2], usize)> {
    let (skip, count) = match record.kind {
        record_type::NAPTR => (naptr_name(message.get(record.data..record.end)?)?, 1),
        kind => names_in(kind).unwrap_or((0, 0)),
    };
    let mut starts = [0; 2];
    let mut at = record.data + skip;
    for start in starts.iter_mut().take(count) {
        *start = at;
        at = skip_name(message, at)?;
    }
    (at <= record.end).then_some((starts, count))
}

/// Which bytes of a message are no place for a name: of the records that were looked at the fixed fields, type, class,
/// TTL and length, and the whole of an OPT record. They change (a TTL ages, options go), and no label may change with
/// them.
pub(crate) struct Fields(Vec<bool>);

impl Fields {
    pub(crate) fn new(message: &[u8]) -> Self {
        Self(vec![false; message.len()])
    }

    /// Adds those of a record and says whether its owner, and every name in its data, is whole and leads past all
    /// that were added.
    pub(crate) fn add_sound(&mut self, message: &[u8], record: &Record) -> bool {
        let fixed = record.data - 10..record.data;
        self.0.get_mut(fixed).unwrap_or_default().fill(true);
        let free = |start, end| self.0.get(start..end).is_some_and(|bytes| !bytes.contains(&true));
        let in_data = || {
            let (starts, count) = data_names(message, record)?;
            starts.iter().take(count).try_for_each(|start| read_name(message, *start, free).map(|_| ()))
        };
        let is_sound = read_name(message, record.start, free).is_some() && in_data().is_some();
        if record.kind == record_type::OPT {
            self.0.get_mut(record.start..record.end).unwrap_or_default().fill(true);
        }
        is_sound
    }
}

/// Whether a message is well-formed, and every name of its records that is known to be one is whole and made of
/// nothing but names.
#[must_use]
pub fn is_sound(message: &[u8]) -> bool {
    let mut fields = Fields::new(message);
    let is_sound = |place: QuestionPlace| {
        records(message, place.end)
            .all(|record| record.is_some_and(|record| fields.add_sound(message, &record)))
    };
    is_well_formed(message) && question_place(message).is_some_and(is_sound)
}

/// The offset behind the name at `at`, which may end in pointers. None unless it is whole: every pointer leads
/// backwards and behind the header, there are few of them, and all is of at most [`MAX_NAME`] bytes.
pub(crate) fn sound_name_end(message: &[u8], at: usize) -> Option<usize> {
    read_name(message, at, |_, _| true)
}

/// As [`sound_name_end`]; every label, and every pointer, must lie where `may_read` says it may, start and end.
fn read_name(message: &[u8], at: usize, may_read: impl Fn(usize, usize) -> bool) -> Option<usize> {
    let (mut here, mut before, mut behind, mut length) = (at, at, None, 0);
    let mut pointers = 0;
    loop {
        let first = *message.get(here)?;
        let end = here + if first >= 192 { 2 } else { 1 + usize::from(first) };
        if !may_read(here, end) {
            return None;
        }
        match first {
            0 => return (length < MAX_NAME).then_some(behind.unwrap_or(end)),
            1..=63 => {
                length += 1 + usize::from(first);
                here = end;
            }
            192.. => {
                behind = behind.or(Some(end));
                let target = usize::from(read_u16(message, here)? & !POINTER);
                // Each leads to before where the last one led, and so there is an end.
                pointers += 1;
                if target >= before || target < HEADER_LEN || pointers > MAX_POINTERS {
                    return None;
                }
                (here, before) = (target, target);
            }
            _ => return None,
        }
        if length >= MAX_NAME {
            return None;
        }
    }
}

/// Where the pointer stands that ends the name at `at`; none where it ends by itself.
fn pointer_of(message: &[u8], at: usize) -> Option<usize> {
    let behind = skip_name(message, at)?;
    let pointer = behind.checked_sub(2).filter(|place| *place >= at)?;
    // A name that ends by itself may have such a byte before its last, in a label.
    let mut here = at;
    while here < pointer {
        here += 1 + usize::from(*message.get(here)?);
    }
    (here == pointer && *message.get(pointer)? >= 192).then_some(pointer)
}

/// What the pointers of the records behind `removed` must be; none where one of them leads to what goes, or would
/// lead too far.
fn moved_pointers(message: &[u8], at: usize, removed: usize, inserted: usize) -> Option<Vec<(usize, u16)>> {
    let mut moved = Vec::new();
    let behind = at + removed;
    let mut fields = Fields::new(message);
    for record in records(message, question_place(message)?.end) {
        let record = record?;
        if !fields.add_sound(message, &record) {
            return None;
        }
        let (starts, count) = data_names(message, &record)?;
        for name in std::iter::once(record.start).chain(starts.into_iter().take(count)) {
            let Some(pointer) = pointer_of(message, name) else { continue };
            let target = usize::from(read_u16(message, pointer)? & !POINTER);
            if target < at {
                continue;
            }
            if target < behind || target >= pointer {
                return None;
            }
            let target = u16::try_from(target - removed + inserted).ok()?;
            if target >= 0x4000 {
                return None;
            }
            moved.push((pointer, POINTER | target));
        }
    }
    Some(moved)
}

/// Puts `bytes` in the place of the `removed` bytes at `at`, and leads every pointer behind them to where it led.
/// The header's counts and the lengths of records are the caller's. False, and nothing is changed, where the message
/// is not sound or a name leads to what goes.
pub(crate) fn splice(message: &mut Vec<u8>, at: usize, removed: usize, bytes: &[u8]) -> bool {
    let end = at + removed;
    let length = message.len() - removed.min(message.len()) + bytes.len();
    if end > message.len() || length > usize::from(u16::MAX) {
        return false;
    }
    let Some(moved) = moved_pointers(message, at, removed, bytes.len()) else { return false };
    for (pointer, value) in moved {
        write_u16(message, pointer, value);
    }
    message.splice(at..end, bytes.iter().copied());
    true
}
