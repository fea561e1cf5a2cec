//! DNS messages as bytes (RFC 1035): looked at, bent and made without a full parse.
//!
//! A forwarder changes little of what passes: an id, an EDNS size, padding. Doing that in place keeps everything
//! else as it was, unknown types and options included (RFC 3597).

mod chain;
mod edit;
mod edns;
mod extended;
mod make;
mod name;
mod present;
mod splice;
mod walk;
mod zone;

#[cfg(test)]
mod tests;

pub use chain::{Resolved, may_lead_on, remove_hints, resolved};
pub use edit::{has_same_question, is_truncated, randomise_case, rcode, restore, set_id, truncate};
pub use edns::{
    Edns, add_keepalive, asks_keepalive, clamp_payload_size, edns, has_end_to_end_options, has_whole_options,
    option_code, pad, remove_edns, remove_padding, strip_hop_options, udp_limit,
};
pub use extended::{add_extended_error, extended_errors, info_code};
pub use make::{addresses, error, servfail};
pub use name::{MAX_NAME, Name};
pub use present::{Class, RecordType, ResponseCode};
pub use walk::{
    MessageError, Question, QuestionPlace, Record, Section, asks_the_same, id, is_answer, is_well_formed,
    opcode, question, question_place, records,
};
pub use zone::{answer_lines, record_line};

pub(crate) use chain::{cap_ttls, ttl_of};
pub(crate) use edit::set_dnssec_ok;
pub(crate) use edns::{add_edns, is_opt, options};
pub(crate) use splice::Fields;
pub use splice::is_sound;
pub(crate) use walk::{plain_name_end, record_at};

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

/// Record types (IANA, "Resource Record (RR) TYPEs") that are treated by what they are.
pub mod record_type {
    /// An IPv4 address.
    pub const A: u16 = 1;
    /// A name server.
    pub const NS: u16 = 2;
    /// A mail destination (obsolete).
    pub const MD: u16 = 3;
    /// A mail forwarder (obsolete).
    pub const MF: u16 = 4;
    /// The canonical name.
    pub const CNAME: u16 = 5;
    /// The start of a zone.
    pub const SOA: u16 = 6;
    /// A mailbox.
    pub const MB: u16 = 7;
    /// A member of a mail group.
    pub const MG: u16 = 8;
    /// A renamed mailbox.
    pub const MR: u16 = 9;
    /// A name that is pointed at.
    pub const PTR: u16 = 12;
    /// Who is responsible for a mailbox.
    pub const MINFO: u16 = 14;
    /// A mail exchange.
    pub const MX: u16 = 15;
    /// Text.
    pub const TXT: u16 = 16;
    /// A responsible person.
    pub const RP: u16 = 17;
    /// A server of AFS.
    pub const AFSDB: u16 = 18;
    /// A host to route through.
    pub const RT: u16 = 21;
    /// A signature (RFC 2535).
    pub const SIG: u16 = 24;
    /// Names of X.400.
    pub const PX: u16 = 26;
    /// An IPv6 address.
    pub const AAAA: u16 = 28;
    /// What there is not (obsolete).
    pub const NXT: u16 = 30;
    /// Where a service is.
    pub const SRV: u16 = 33;
    /// A rule to rewrite a name by.
    pub const NAPTR: u16 = 35;
    /// A key exchanger.
    pub const KX: u16 = 36;
    /// Where a whole subtree is.
    pub const DNAME: u16 = 39;
    /// EDNS(0)'s pseudo record.
    pub const OPT: u16 = 41;
    /// The digest of a zone's key.
    pub const DS: u16 = 43;
    /// A signature.
    pub const RRSIG: u16 = 46;
    /// What there is not.
    pub const NSEC: u16 = 47;
    /// A zone's key.
    pub const DNSKEY: u16 = 48;
    /// How a service is reached.
    pub const SVCB: u16 = 64;
    /// How an HTTPS service is reached.
    pub const HTTPS: u16 = 65;
    /// A key agreed on.
    pub const TKEY: u16 = 249;
    /// A signature of the whole message.
    pub const TSIG: u16 = 250;
    /// A part of a zone.
    pub const IXFR: u16 = 251;
    /// A whole zone.
    pub const AXFR: u16 = 252;
    /// Every type.
    pub const ANY: u16 = 255;
    /// Who may issue certificates.
    pub const CAA: u16 = 257;
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

/// Writes four bytes at `at`, big-endian; nothing where they lie outside.
pub(crate) fn write_u32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(room) = at.checked_add(4).and_then(|end| bytes.get_mut(at..end)) {
        room.copy_from_slice(&value.to_be_bytes());
    }
}
