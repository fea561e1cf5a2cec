//! Header compression (RFC 7541), as far as queries and their answers need it: one head that every query has, and of an
//! answer's head what decides whether a DNS message follows.

use std::collections::VecDeque;

use zeroize::Zeroizing;

use super::huffman;

/// The size of the table of headers that both sides keep, unless one says otherwise (RFC 9113, section 6.5.2).
const TABLE: usize = 4096;
/// What an entry takes beside its name and value (section 4.1).
const ENTRY: usize = 32;
/// The last entry of the table that nobody changes (appendix A).
const STATIC: usize = 61;
/// The lengths of its names.
#[rustfmt::skip]
const STATIC_NAMES: [u8; STATIC] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27,
    3, 5, 13, 13, 19, 16, 16, 14, 16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17,
    13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3,
    16,
];
/// The statuses that it holds, from entry 8 on.
const STATIC_STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];

/// What is wrong with a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// What an answer's head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Head {
    /// The status; none where there is none, as in trailers, or it is no number.
    pub(super) status: Option<u16>,
    /// Whether a DNS message follows.
    pub(super) is_dns: bool,
    /// How many bytes it says that follow.
    pub(super) length: Option<usize>,
}

/// What a header is, of those that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Status,
    Type,
    Length,
    Other,
}

impl Name {
    fn of(name: &[u8]) -> Self {
        match name {
            b":status" => Self::Status,
            b"content-type" => Self::Type,
            b"content-length" => Self::Length,
            _ => Self::Other,
        }
    }

    /// The header with this value.
    fn with(self, value: &[u8]) -> Field {
        let is_number = value.iter().all(u8::is_ascii_digit);
        let digits = std::str::from_utf8(value).ok().filter(|_| is_number);
        match self {
            Self::Status => {
                Field::Status(digits.filter(|text| text.len() == 3).and_then(|text| text.parse().ok()))
            }
            Self::Type => Field::Type { is_dns: is_dns(value) },
            Self::Length => Field::Length(digits.and_then(|text| text.parse().ok())),
            Self::Other => Field::Other,
        }
    }
}

/// A header, of those that count with what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Status(Option<u16>),
    Type { is_dns: bool },
    Length(Option<usize>),
    Other,
}

/// Whether this is the type of a DNS message, parameters aside (RFC 9110, section 8.3).
fn is_dns(value: &[u8]) -> bool {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(super::MEDIA_TYPE.as_bytes())
}

/// An entry of the table. What it holds is kept for the headers that count alone; its size has to be right for all.
#[derive(Debug, Clone, Copy)]
struct Entry {
    name: Name,
    name_len: usize,
    field: Field,
    size: usize,
}

/// Reads the heads of answers.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The newest first.
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
    /// Where names and values are decoded.
    text: Vec<u8>,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::new(), size: 0, most: TABLE, text: Vec::new() }
    }

    /// Reads one head.
    pub(super) fn decode(&mut self, block: &[u8]) -> Result<Head, Malformed> {
        let (mut head, mut input) = (Head::default(), Input(block));
        let mut fields = 0;
        while let Some(first) = input.peek() {
            let field = match first {
                0x80.. => self.indexed(input.integer(7)?)?,
                0x40.. => {
                    let entry = self.literal(input.integer(6)?, &mut input)?;
                    self.insert(entry);
                    entry.field
                }
                0x20.. => {
                    // Before the first header alone (section 4.2).
                    if fields > 0 {
                        return Err(Malformed);
                    }
                    self.resize(input.integer(5)?)?;
                    continue;
                }
                _ => self.literal(input.integer(4)?, &mut input)?.field,
            };
            fields += 1;
            match field {
                Field::Status(status) => head.status = status,
                Field::Type { is_dns } => head.is_dns = is_dns,
                Field::Length(length) => head.length = length,
                Field::Other => {}
            }
        }
        Ok(head)
    }

    fn indexed(&self, index: usize) -> Result<Field, Malformed> {
        match index {
            0 => Err(Malformed),
            8..=14 => Ok(Field::Status(STATIC_STATUSES.get(index - 8).copied())),
            // Names without a value, which say nothing.
            1..=STATIC => Ok(Field::Other),
            _ => self.entry(index).map(|entry| entry.field),
        }
    }

    fn entry(&self, index: usize) -> Result<&Entry, Malformed> {
        self.entries.get(index.checked_sub(STATIC + 1).ok_or(Malformed)?).ok_or(Malformed)
    }

    /// A header whose value is spelt out, and its name too where `index` is 0.
    fn literal(&mut self, index: usize, input: &mut Input<'_>) -> Result<Entry, Malformed> {
        let (name, name_len) = match index {
            0 => {
                input.string(&mut self.text)?;
                (Name::of(&self.text), self.text.len())
            }
            1..=STATIC => {
                let name = match index {
                    8..=14 => Name::Status,
                    28 => Name::Length,
                    31 => Name::Type,
                    _ => Name::Other,
                };
                (name, static_name_len(index))
            }
            _ => self.entry(index).map(|entry| (entry.name, entry.name_len))?,
        };
        input.string(&mut self.text)?;
        let size = name_len + self.text.len() + ENTRY;
        Ok(Entry { name, name_len, field: name.with(&self.text), size })
    }

    fn insert(&mut self, entry: Entry) {
        self.shrink_to(self.most.saturating_sub(entry.size));
        if entry.size <= self.most {
            self.size += entry.size;
            self.entries.push_front(entry);
        }
    }

    fn resize(&mut self, most: usize) -> Result<(), Malformed> {
        if most > TABLE {
            return Err(Malformed);
        }
        self.most = most;
        self.shrink_to(most);
        Ok(())
    }

    fn shrink_to(&mut self, size: usize) {
        while self.size > size
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size;
        }
    }
}

/// What is left of a head.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1)?.first().copied().ok_or(Malformed)
    }

    /// An integer that begins in the last `bits` of a byte (section 5.1).
    fn integer(&mut self, bits: u32) -> Result<usize, Malformed> {
        let most = (1 << bits) - 1;
        let mut value = usize::from(self.byte()? & most);
        if value < usize::from(most) {
            return Ok(value);
        }
        // Nothing here is longer than three such bytes say.
        for shift in [0, 7, 14] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// A string, which replaces what is in `text` (section 5.2).
    fn string(&mut self, text: &mut Vec<u8>) -> Result<(), Malformed> {
        let is_coded = self.peek().ok_or(Malformed)? & 0x80 != 0;
        let length = self.integer(7)?;
        let coded = self.take(length)?;
        text.clear();
        if !is_coded {
            text.extend_from_slice(coded);
        } else if !huffman::decode(coded, text) {
            return Err(Malformed);
        }
        Ok(())
    }
}

/// Appends an integer whose first byte has `flags` before its last `bits`.
fn put_integer(out: &mut Vec<u8>, flags: u8, bits: u32, value: usize) {
    let most = (1_usize << bits) - 1;
    let low = |value: usize| u8::try_from(value & 0x7f).unwrap_or_default();
    match u8::try_from(value) {
        Ok(short) if value < most => out.push(flags | short),
        _ => {
            out.push(flags | u8::try_from(most).unwrap_or_default());
            let mut rest = value - most;
            while rest > 0x7f {
                out.push(0x80 | low(rest));
                rest >>= 7;
            }
            out.push(low(rest));
        }
    }
}

/// Appends a header whose name is an entry of the static table.
fn put_literal(out: &mut Vec<u8>, flags: u8, bits: u32, name: usize, value: &[u8]) {
    put_integer(out, flags, bits, name);
    put_integer(out, 0, 7, value.len());
    out.extend_from_slice(value);
}

/// Writes the heads of queries, which are all the same but for the length: the first one has the server keep their
/// headers, which the others name.
pub(super) struct Encoder {
    kept: [(usize, Vec<u8>); 4],
    /// Never kept by anybody (section 7.1.3).
    token: Option<Zeroizing<Vec<u8>>>,
    table: Table,
    update: Update,
}

/// What the server keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    /// Nothing yet.
    Empty,
    /// The headers of a query.
    Filled,
    /// Nothing, for good.
    Unused,
}

/// Whether the server is told that it need keep nothing, which it has to hear when it has less room than is usual
/// (section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Update {
    NotOwed,
    Owed,
    Sent,
}

impl Encoder {
    pub(super) fn new(authority: &str, path: &str, token: Option<&str>) -> Self {
        let media_type = || super::MEDIA_TYPE.as_bytes().to_vec();
        // :authority, :path, accept and content-type.
        let kept = [
            (1, authority.as_bytes().to_vec()),
            (4, path.as_bytes().to_vec()),
            (19, media_type()),
            (31, media_type()),
        ];
        let size: usize = kept.iter().map(|(name, value)| static_name_len(*name) + value.len() + ENTRY).sum();
        let table = if size > TABLE { Table::Unused } else { Table::Empty };
        let token = token.map(|token| Zeroizing::new([b"Bearer ", token.as_bytes()].concat()));
        Self { kept, token, table, update: Update::NotOwed }
    }

    /// The server says how much it keeps. With less than is usual nothing is kept.
    pub(super) fn set_table(&mut self, size: u32) {
        if usize::try_from(size).is_ok_and(|size| size < TABLE) && self.update == Update::NotOwed {
            (self.table, self.update) = (Table::Unused, Update::Owed);
        }
    }

    /// Appends the head of a query of `length` bytes.
    pub(super) fn encode(&mut self, length: usize, out: &mut Vec<u8>) {
        if self.update == Update::Owed {
            put_integer(out, 0x20, 5, 0);
            self.update = Update::Sent;
        }
        // POST, https.
        out.extend_from_slice(&[0x83, 0x87]);
        for (place, (name, value)) in self.kept.iter().enumerate() {
            match self.table {
                Table::Filled => put_integer(out, 0x80, 7, STATIC + self.kept.len() - place),
                Table::Empty => put_literal(out, 0x40, 6, *name, value),
                Table::Unused => put_literal(out, 0, 4, *name, value),
            }
        }
        if self.table == Table::Empty {
            self.table = Table::Filled;
        }
        put_literal(out, 0, 4, 28, decimal(length, &mut [0; 20]));
        if let Some(token) = &self.token {
            put_literal(out, 0x10, 4, 23, token);
        }
    }
}

/// A number in decimal digits, of which 20 are enough for any.
fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        start -= 1;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    digits.get(start..).unwrap_or_default()
}

/// The length of the name of an entry of the static table, counted from 1.
fn static_name_len(index: usize) -> usize {
    index.checked_sub(1).and_then(|place| STATIC_NAMES.get(place)).copied().map_or(0, usize::from)
}

#[cfg(test)]
mod tests;
