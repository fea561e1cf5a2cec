//! EDNS(0) (RFC 6891): sizes and padding (RFC 7830, RFC 8467).

use super::walk::{Record, counts, question_place, records};
use super::{PLAIN_UDP_LIMIT, read_u16, record_type, write_u16};

/// The option code of padding (RFC 7830).
const PADDING: u16 = 12;
/// Bytes of the longest payload of a UDP datagram over IPv4.
const MAX_UDP: usize = 65_507;
/// Bytes of an OPT record without options, and of one option without its value.
const OPT_LEN: usize = 11;
const OPTION_LEN: usize = 4;

/// What a message says by EDNS(0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// The longest UDP message that its sender takes, in bytes.
    pub payload_size: u16,
    /// The version; 0 is the only one.
    pub version: u8,
    /// Whether DNSSEC records are wanted (DO).
    pub dnssec_ok: bool,
}

fn find(message: &[u8]) -> Option<Record> {
    let question = question_place(message)?;
    records(message, question.end).flatten().find(|record| {
        // Its name is the root.
        record.kind == record_type::OPT && record.data == record.start + OPT_LEN
    })
}

/// Reads the OPT record; none where there is none.
#[must_use]
pub fn edns(message: &[u8]) -> Option<Edns> {
    let record = find(message)?;
    let payload_size = read_u16(message, record.start + 3)?;
    let version = *message.get(record.start + 6)?;
    let dnssec_ok = message.get(record.start + 7)? & 0x80 != 0;
    Some(Edns { payload_size, version, dnssec_ok })
}

/// The longest UDP answer that the sender of `query` takes, in bytes.
#[must_use]
pub fn udp_limit(query: &[u8]) -> usize {
    edns(query).map_or(PLAIN_UDP_LIMIT, |edns| PLAIN_UDP_LIMIT.max(edns.payload_size.into())).min(MAX_UDP)
}

/// Lowers the size that a query asks for to `limit` bytes; one without EDNS stays as it is.
pub fn clamp_payload_size(query: &mut [u8], limit: u16) {
    if let Some(record) = find(query)
        && read_u16(query, record.start + 3).is_some_and(|size| size > limit)
    {
        write_u16(query, record.start + 3, limit);
    }
}

/// Pads a query to a multiple of `block` bytes (RFC 8467, section 4.1), with an OPT record of `payload_size` where
/// it has none. A query that already has padding, or whose OPT record is not its last, stays as it is.
///
/// Says whether an OPT record was added, so that the answer's is taken out again ([`remove_edns`]).
pub fn pad(query: &mut Vec<u8>, block: usize, payload_size: u16) -> bool {
    let found = find(query);
    let added = found.is_none() && add_edns(query, payload_size);
    let Some(record) = found.or_else(|| find(query)) else { return added };
    let padded = options(query, record).any(|(code, ..)| code == PADDING);
    if padded || record.end != query.len() || block == 0 {
        return added;
    }
    let length = (query.len() + OPTION_LEN).next_multiple_of(block) - query.len() - OPTION_LEN;
    let data = record.end - record.data + OPTION_LEN + length;
    if let (Ok(value), Ok(data)) = (u16::try_from(length), u16::try_from(data)) {
        write_u16(query, record.data - 2, data);
        query.extend_from_slice(&PADDING.to_be_bytes());
        query.extend_from_slice(&value.to_be_bytes());
        query.resize(query.len() + length, 0);
    }
    added
}

/// Takes padding out of an answer, so that it is not sent on to who did not ask for it. An answer whose OPT record
/// is not its last stays as it is, since names behind it may be pointed at.
pub fn remove_padding(answer: &mut Vec<u8>) {
    let Some(record) = find(answer).filter(|record| record.end == answer.len()) else { return };
    let mut kept = Vec::new();
    for (code, start, end) in options(answer, record) {
        if code != PADDING {
            kept.extend_from_slice(answer.get(start..end).unwrap_or_default());
        }
    }
    if kept.len() < record.end - record.data {
        write_u16(answer, record.data - 2, u16::try_from(kept.len()).unwrap_or(0));
        answer.truncate(record.data);
        answer.extend_from_slice(&kept);
    }
}

/// Takes the OPT record out of an answer to who sent none. Not where it is not the last record.
pub fn remove_edns(answer: &mut Vec<u8>) {
    let Some(record) = find(answer).filter(|record| record.end == answer.len()) else { return };
    let additional = counts(answer).map_or(0, |counts| counts.additional);
    if let Some(fewer) = additional.checked_sub(1) {
        answer.truncate(record.start);
        write_u16(answer, 10, fewer);
    }
}

/// Appends an OPT record without options.
pub(crate) fn add_edns(message: &mut Vec<u8>, payload_size: u16) -> bool {
    let additional = counts(message).map_or(u16::MAX, |counts| counts.additional);
    let Some(more) = additional.checked_add(1) else { return false };
    write_u16(message, 10, more);
    message.push(0);
    message.extend_from_slice(&record_type::OPT.to_be_bytes());
    message.extend_from_slice(&payload_size.to_be_bytes());
    // The extended response code, the version, the flags and the length of the options.
    message.extend_from_slice(&[0; 6]);
    true
}

/// The options of an OPT record: code, start and end of the whole option. Ends at the first that does not fit.
fn options(message: &[u8], record: Record) -> impl Iterator<Item = (u16, usize, usize)> {
    let mut at = record.data;
    std::iter::from_fn(move || {
        let code = read_u16(message, at)?;
        let start = at;
        let end = start + OPTION_LEN + usize::from(read_u16(message, at + 2)?);
        at = end;
        (end <= record.end).then_some((code, start, end))
    })
}
