//! EDNS(0) (RFC 6891): sizes, padding (RFC 7830, RFC 8467) and which options go how far.

use std::time::Duration;

use super::splice::splice;
use super::walk::{Record, Section, counts, question_place, records};
use super::{PLAIN_UDP_LIMIT, read_u16, record_type, write_u16};

/// Option codes (IANA, "DNS EDNS0 Option Codes").
pub mod option_code {
    /// A cookie between two hosts (RFC 7873).
    pub const COOKIE: u16 = 10;
    /// How long a TCP connection stays (RFC 7828).
    pub const TCP_KEEPALIVE: u16 = 11;
    /// Padding (RFC 7830).
    pub const PADDING: u16 = 12;
    /// An extended error (RFC 8914).
    pub const EXTENDED_ERROR: u16 = 15;
}

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

/// The OPT record: its owner is the root.
pub(crate) fn is_opt(record: &Record) -> bool {
    record.kind == record_type::OPT && record.data == record.start + OPT_LEN
}

pub(crate) fn find(message: &[u8]) -> Option<Record> {
    let question = question_place(message)?;
    records(message, question.end)
        .flatten()
        .find(|record| record.section == Section::Additional && is_opt(record))
}

/// Reads the OPT record; none where there is none.
#[must_use]
pub fn edns(message: &[u8]) -> Option<Edns> {
    let record = find(message)?;
    let [_, version, flags, _] = record.ttl.to_be_bytes();
    Some(Edns { payload_size: record.class, version, dnssec_ok: flags & 0x80 != 0 })
}

/// Whether the options of the OPT record fill it, where there is one.
#[must_use]
pub fn has_whole_options(message: &[u8]) -> bool {
    find(message).is_none_or(|record| {
        let (start, end) = (record.data, record.end);
        options(message, record).last().map_or(start, |(_, _, end)| end) == end
    })
}

/// The longest UDP answer that the sender of `query` takes, in bytes.
#[must_use]
pub fn udp_limit(query: &[u8]) -> usize {
    edns(query).map_or(PLAIN_UDP_LIMIT, |edns| PLAIN_UDP_LIMIT.max(edns.payload_size.into())).min(MAX_UDP)
}

/// Lowers the size that a query asks for to `limit` bytes; one without EDNS stays as it is.
pub fn clamp_payload_size(query: &mut [u8], limit: u16) {
    if let Some(record) = find(query)
        && record.class > limit
    {
        write_u16(query, record.start + 3, limit);
    }
}

/// Pads a query to a multiple of `block` bytes (RFC 8467, section 4.1), with an OPT record of `payload_size` where
/// it has none. A query that already has padding stays as it is.
///
/// Says whether an OPT record was added, so that the answer's is taken out again ([`remove_edns`]).
pub fn pad(query: &mut Vec<u8>, block: usize, payload_size: u16) -> bool {
    let found = find(query);
    let added = found.is_none() && add_edns(query, payload_size);
    let Some(record) = found.or_else(|| find(query)) else { return added };
    if block == 0 || options(query, record).any(|(code, ..)| code == option_code::PADDING) {
        return added;
    }
    let length = (query.len() + OPTION_LEN).next_multiple_of(block) - query.len() - OPTION_LEN;
    let mut option = vec![0; OPTION_LEN + length];
    write_u16(&mut option, 0, option_code::PADDING);
    write_u16(&mut option, 2, u16::try_from(length).unwrap_or(u16::MAX));
    add_whole_option(query, &option);
    added
}

/// Whether who asks by TCP asks how long the connection stays open (RFC 7828).
#[must_use]
pub fn asks_keepalive(query: &[u8]) -> bool {
    find(query)
        .is_some_and(|record| options(query, record).any(|(code, ..)| code == option_code::TCP_KEEPALIVE))
}

/// Says in an answer how long its connection stays open with nothing asked (RFC 7828, section 3.1), in steps of 100 ms
/// and less than two hours. An answer without an OPT record stays as it is.
pub fn add_keepalive(answer: &mut Vec<u8>, idle: Duration) {
    let timeout = u16::try_from(idle.as_millis() / 100).unwrap_or(u16::MAX);
    add_option(answer, option_code::TCP_KEEPALIVE, &timeout.to_be_bytes());
}

/// Takes padding out of an answer, so that it is not sent on to who did not ask for it.
pub fn remove_padding(answer: &mut Vec<u8>) {
    keep_options(answer, |code| code != option_code::PADDING);
}

/// Takes the OPT record out of an answer to who sent none.
pub fn remove_edns(answer: &mut Vec<u8>) {
    let Some(record) = find(answer) else { return };
    let additional = counts(answer).map_or(0, |counts| counts.additional);
    if let Some(fewer) = additional.checked_sub(1)
        && splice(answer, record.start, record.end - record.start, &[])
    {
        write_u16(answer, 10, fewer);
    }
}

/// Whether an option matters between two neighbours alone, and so goes no further than to Weft.
fn is_hop_by_hop(code: u16) -> bool {
    matches!(code, option_code::COOKIE | option_code::TCP_KEEPALIVE | option_code::PADDING)
}

/// Whether a query has options that matter to who answers it (a client subnet, NSID, any that is not known here).
/// Its answer is for it alone: it comes from no cache and goes into none.
#[must_use]
pub fn has_end_to_end_options(query: &[u8]) -> bool {
    find(query).is_some_and(|record| options(query, record).any(|(code, ..)| !is_hop_by_hop(code)))
}

/// Takes the options out of a query that matter between it and Weft alone: cookie, keep-alive and padding. Others
/// stay; says whether there are any, as [`has_end_to_end_options`] does.
pub fn strip_hop_options(query: &mut Vec<u8>) -> bool {
    keep_options(query, |code| !is_hop_by_hop(code));
    has_end_to_end_options(query)
}

/// Takes the options out of the OPT record whose code `keep` refuses.
pub(crate) fn keep_options(message: &mut Vec<u8>, keep: impl Fn(u16) -> bool) {
    let Some(record) = find(message) else { return };
    if options(message, record).all(|(code, ..)| keep(code)) {
        return;
    }
    let mut kept = Vec::new();
    for (code, start, end) in options(message, record) {
        if keep(code) {
            kept.extend_from_slice(message.get(start..end).unwrap_or_default());
        }
    }
    if splice(message, record.data, record.end - record.data, &kept) {
        write_u16(message, record.data - 2, u16::try_from(kept.len()).unwrap_or(0));
    }
}

/// Adds an option behind those of the OPT record. False, and nothing is changed, where there is no such record or
/// the message would get too long.
pub(crate) fn add_option(message: &mut Vec<u8>, code: u16, value: &[u8]) -> bool {
    let Ok(length) = u16::try_from(value.len()) else { return false };
    add_whole_option(message, &[&code.to_be_bytes(), &length.to_be_bytes(), value].concat())
}

/// Adds an option as [`add_option`] does, its code and length in front of it.
fn add_whole_option(message: &mut Vec<u8>, option: &[u8]) -> bool {
    let Some(record) = find(message) else { return false };
    let Ok(data) = u16::try_from(record.end - record.data + option.len()) else { return false };
    if !splice(message, record.end, 0, option) {
        return false;
    }
    write_u16(message, record.data - 2, data);
    true
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
pub(crate) fn options(message: &[u8], record: Record) -> impl Iterator<Item = (u16, usize, usize)> {
    let mut at = record.data;
    std::iter::from_fn(move || {
        let code = read_u16(message, at)?;
        let start = at;
        let end = start + OPTION_LEN + usize::from(read_u16(message, at + 2)?);
        at = end;
        (end <= record.end).then_some((code, start, end))
    })
}
