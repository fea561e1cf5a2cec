//! Finding one's way in a message.

use super::name::Name;
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

/// One record, as places in its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// Where its name begins.
    pub(crate) start: usize,
    pub(crate) kind: u16,
    /// Where its data begin; the fixed fields stand in the 10 bytes before.
    pub(crate) data: usize,
    pub(crate) end: usize,
}

/// The counts of a header.
pub(crate) struct Counts {
    pub(crate) questions: u16,
    /// Answers, authority and additional records together.
    pub(crate) records: u32,
    pub(crate) additional: u16,
}

pub(crate) fn counts(message: &[u8]) -> Option<Counts> {
    let additional = read_u16(message, 10)?;
    let records = u32::from(read_u16(message, 6)?) + u32::from(read_u16(message, 8)?) + u32::from(additional);
    Some(Counts { questions: read_u16(message, 4)?, records, additional })
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
    let counts = counts(message).ok_or(MessageError::NotAQuery)?;
    if counts.questions != 1 {
        return Err(MessageError::Question);
    }
    let (name, end) = Name::read(message, HEADER_LEN).ok_or(MessageError::Question)?;
    let kind = read_u16(message, end).ok_or(MessageError::Question)?;
    let class = read_u16(message, end + 2).ok_or(MessageError::Question)?;
    Ok(Question { name, kind, class, end: end + 4 })
}

/// Whether there is one question and every record that the header counts, and nothing else.
#[must_use]
pub fn is_well_formed(message: &[u8]) -> bool {
    let end = question(message).ok().and_then(|question| {
        records(message, question.end).try_fold(question.end, |_, record| record.map(|record| record.end))
    });
    end == Some(message.len())
}

/// The records behind the question; `None` once where one does not lie within the message.
pub(crate) fn records(message: &[u8], question_end: usize) -> impl Iterator<Item = Option<Record>> {
    let mut left = counts(message).map_or(0, |counts| counts.records);
    let mut at = question_end;
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let record = record(message, at);
        match record {
            Some(record) => at = record.end,
            None => left = 0,
        }
        Some(record)
    })
}

fn record(message: &[u8], start: usize) -> Option<Record> {
    let fields = skip_name(message, start)?;
    let kind = read_u16(message, fields)?;
    let length = usize::from(read_u16(message, fields + 8)?);
    let data = fields + 10;
    let end = data + length;
    (end <= message.len()).then_some(Record { start, kind, data, end })
}

/// The offset behind a name that may end in a pointer.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
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
