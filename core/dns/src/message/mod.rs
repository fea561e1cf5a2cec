//! DNS messages as bytes (RFC 1035): looked at, bent and made without a full parse.
//!
//! A forwarder changes little of what passes: an id, an EDNS size, padding. Doing that in place keeps everything
//! else as it was, unknown types and options included (RFC 3597).

mod edit;
mod edns;
mod make;
mod name;
mod walk;

pub use edit::{is_truncated, rcode, restore, set_id, truncate};
pub use edns::{Edns, clamp_payload_size, edns, pad, remove_edns, remove_padding, udp_limit};
pub use make::{addresses, error, servfail};
pub use name::{MAX_NAME, Name};
pub use walk::{
    MessageError, Question, QuestionPlace, Record, Section, id, is_answer, is_well_formed, opcode, question,
    question_place, records,
};

/// Bytes of a header.
pub const HEADER_LEN: usize = 12;
/// Bytes of the longest UDP message to or from who says nothing of EDNS.
pub const PLAIN_UDP_LIMIT: usize = 512;
/// Bytes that pass every path in one UDP packet: IPv6's least MTU less its headers. What plain resolvers are asked
/// to stay within, so that no answer comes in fragments.
pub const SAFE_UDP_LIMIT: u16 = 1232;

/// Response codes (RFC 1035, section 4.1.1; RFC 2136).
pub mod response_code {
    /// No error.
    pub const NO_ERROR: u8 = 0;
    /// The query could not be read.
    pub const FORMAT_ERROR: u8 = 1;
    /// The query could not be answered.
    pub const SERVER_FAILURE: u8 = 2;
    /// There is no such name.
    pub const NAME_ERROR: u8 = 3;
    /// The kind of query is not known here.
    pub const NOT_IMPLEMENTED: u8 = 4;
    /// The query is not answered here.
    pub const REFUSED: u8 = 5;
}

/// Record types (RFC 1035, 1995, 3596, 6891).
pub mod record_type {
    /// An IPv4 address.
    pub const A: u16 = 1;
    /// An IPv6 address.
    pub const AAAA: u16 = 28;
    /// EDNS(0)'s pseudo record.
    pub const OPT: u16 = 41;
    /// A part of a zone.
    pub const IXFR: u16 = 251;
    /// A whole zone.
    pub const AXFR: u16 = 252;
}

/// Two bytes at `at`, big-endian.
pub(crate) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(pair.try_into().ok()?))
}

/// Writes two bytes at `at`, big-endian; nothing where they lie outside.
pub(crate) fn write_u16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(room) = at.checked_add(2).and_then(|end| bytes.get_mut(at..end)) {
        room.copy_from_slice(&value.to_be_bytes());
    }
}
