//! Finding one's way in a message.

use super::name::{MAX_NAME, Name};
use super::{HEADER_LEN, read_u16};

/// Why bytes are no query that can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// There is not even a header, or it is no query: nothing can be answered.
    #[error("not a DNS query")]
    NotAQuery,
    /// There is not exactly one whole question.
    #[error("a query must have one whole question")]
    Question,
}

/// The one question of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name that is asked for.
    pub name: Name,
    /// The record type that is asked for.
    pub kind: u16,
    /// Its class; 1 is the Internet.
    pub class: u16,
    /// Where the question ends: bytes from the start of the message.
    pub end: usize,
}

/// Where the one question of a message stands, and what it asks for but the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuestionPlace {
    /// Where the name ends that begins behind the header.
    pub name_end: usize,
    /// The record type that is asked for.
    pub kind: u16,
    /// Its class; 1 is the Internet.
    pub class: u16,
    /// Where the question ends: bytes from the start of the message.
    pub end: usize,
}

/// A part of a message that holds records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    /// What was asked for.
    Answer,
    /// Who answers for it.
    Authority,
    /// What goes with it.
    Additional,
}

/// One record, as places in its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub section: Section,
    /// Where its owner's name begins.
    pub start: usize,
    /// Its type.
    pub kind: u16,
    /// Its class; an OPT record has its payload size there.
    pub class: u16,
    /// Its TTL in seconds as it stands there, the top bit included; an OPT record has its flags there.
    pub ttl: u32,
    /// Where its data begin; the fixed fields stand in the 10 bytes before.
    pub data: usize,
    /// Where its data end, and it ends.
    pub end: usize,
}

/// The counts of a header.
#[derive(Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) questions: u16,
    pub(crate) answers: u16,
    pub(crate) authority: u16,
    pub(crate) additional: u16,
}

pub(crate) fn counts(message: &[u8]) -> Option<Counts> {
    Some(Counts {
        questions: read_u16(message, 4)?,
        answers: read_u16(message, 6)?,
        authority: read_u16(message, 8)?,
        additional: read_u16(message, 10)?,
    })
}

/// The id; none where there is no header.
#[must_use]
pub fn id(message: &[u8]) -> Option<u16> {
    read_u16(message, 0).filter(|_| message.len() >= HEADER_LEN)
}

/// Whether the message says that it is an answer (QR).
#[must_use]
pub fn is_answer(message: &[u8]) -> bool {
    message.len() >= HEADER_LEN && message.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

/// The kind of query (OPCODE); 0 is a standard query.
#[must_use]
pub fn opcode(message: &[u8]) -> u8 {
    message.get(2).map_or(0, |flags| (flags >> 3) & 0x0f)
}

/// Reads the question.
///
/// # Errors
/// [`MessageError::NotAQuery`] without a header, [`MessageError::Question`] unless there is exactly one whole one.
pub fn question(message: &[u8]) -> Result<Question, MessageError> {
    if message.len() < HEADER_LEN {
        return Err(MessageError::NotAQuery);
    }
    let place = question_place(message).ok_or(MessageError::Question)?;
    let (name, _) = Name::read(message, HEADER_LEN).ok_or(MessageError::Question)?;
    Ok(Question { name, kind: place.kind, class: place.class, end: place.end })
}

/// Whether both have one whole question, which is the same but for the case of its name (RFC 4343).
#[must_use]
pub fn asks_the_same(one: &[u8], other: &[u8]) -> bool {
    let name = |message, place: QuestionPlace| <[u8]>::get(message, HEADER_LEN..place.name_end);
    let (Some(a), Some(b)) = (question_place(one), question_place(other)) else { return false };
    // Lengths are below 64 and so no letters.
    let same_name = name(one, a).zip(name(other, b)).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
    same_name && (a.kind, a.class) == (b.kind, b.class)
}

/// Finds the question, as [`question`] does, without making anything of its name. None unless there is exactly one
/// whole one.
#[must_use]
pub fn question_place(message: &[u8]) -> Option<QuestionPlace> {
    if counts(message)?.questions != 1 {
        return None;
    }
    let name_end = plain_name_end(message, HEADER_LEN)?;
    let kind = read_u16(message, name_end)?;
    let class = read_u16(message, name_end + 2)?;
    Some(QuestionPlace { name_end, kind, class, end: name_end + 4 })
}

/// Whether there is one question and every record that the header counts, and nothing else.
#[must_use]
pub fn is_well_formed(message: &[u8]) -> bool {
    let end = question_place(message).and_then(|question| {
        records(message, question.end).try_fold(question.end, |_, record| record.map(|record| record.end))
    });
    end == Some(message.len())
}

/// The records behind the question, which ends at `question_end`; `None` once, and then no more, where one does not
/// lie within the message. Their names may still point anywhere.
pub fn records(message: &[u8], question_end: usize) -> impl Iterator<Item = Option<Record>> {
    let mut left =
        counts(message).map_or([0; 3], |counts| [counts.answers, counts.authority, counts.additional]);
    let mut at = question_end;
    std::iter::from_fn(move || {
        let sections = [Section::Answer, Section::Authority, Section::Additional];
        let (count, section) = left.iter_mut().zip(sections).find(|(count, _)| **count > 0)?;
        *count -= 1;
        let record = record(message, at, section);
        match record {
            Some(record) => at = record.end,
            None => left = [0; 3],
        }
        Some(record)
    })
}

fn record(message: &[u8], start: usize, section: Section) -> Option<Record> {
    let fields = skip_name(message, start)?;
    let fixed: &[u8; 10] = message.get(fields..)?.first_chunk()?;
    let [kind_0, kind_1, class_0, class_1, ttl_0, ttl_1, ttl_2, ttl_3, length_0, length_1] = *fixed;
    let data = fields + fixed.len();
    let end = data + usize::from(u16::from_be_bytes([length_0, length_1]));
    let record = Record {
        section,
        start,
        kind: u16::from_be_bytes([kind_0, kind_1]),
        class: u16::from_be_bytes([class_0, class_1]),
        ttl: u32::from_be_bytes([ttl_0, ttl_1, ttl_2, ttl_3]),
        data,
        end,
    };
    (end <= message.len()).then_some(record)
}

/// The record that begins at `start`, whatever its section.
pub(crate) fn record_at(message: &[u8], start: usize) -> Option<Record> {
    record(message, start, Section::Answer)
}

/// The offset behind an uncompressed name of at most [`MAX_NAME`] bytes.
pub(crate) fn plain_name_end(message: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    loop {
        let length = usize::from(*message.get(end)?);
        // Two bits mark a pointer; a question, which comes first, has nothing to point at.
        if length > 63 {
            return None;
        }
        end += 1 + length;
        if end - at > MAX_NAME {
            return None;
        }
        if length == 0 {
            return Some(end);
        }
    }
}

/// The offset behind a name that may end in a pointer.
pub(crate) fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + length,
            192.. => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}
