//! Answers of Weft's own.

use std::net::IpAddr;

use super::edit::set_dnssec_ok;
use super::edns::{add_edns, edns};
use super::walk::question;
use super::{HEADER_LEN, SAFE_UDP_LIMIT, record_type, response_code, write_u16};

/// An answer to `query` that holds nothing but a response code. Empty where the query has no header.
#[must_use]
pub fn error(query: &[u8], response_code: u8) -> Vec<u8> {
    let question_end = question(query).map_or(HEADER_LEN, |question| question.end);
    let Some(head) = query.get(..question_end) else { return Vec::new() };
    let mut answer = head.to_vec();
    for count in [6, 8, 10] {
        write_u16(&mut answer, count, 0);
    }
    if question_end == HEADER_LEN {
        write_u16(&mut answer, 4, 0);
    }
    if let Some(flags) = answer.get_mut(2) {
        // It is an answer (QR), neither authoritative (AA) nor cut (TC); OPCODE and RD stay.
        *flags = (*flags | 0x80) & !0x06;
    }
    if let Some(flags) = answer.get_mut(3) {
        // Recursion is available (RA); checking disabled (CD) stays.
        *flags = (*flags & 0x10) | 0x80 | (response_code & 0x0f);
    }
    if let Some(asked) = edns(query) {
        add_edns(&mut answer, SAFE_UDP_LIMIT);
        set_dnssec_ok(&mut answer, asked.dnssec_ok);
    }
    answer
}

/// "It could not be answered."
#[must_use]
pub fn servfail(query: &[u8]) -> Vec<u8> {
    error(query, response_code::SERVER_FAILURE)
}

/// The most addresses of an answer, the first ones: more no client tries.
const MAX_ADDRESSES: u16 = 64;

/// An answer to `query` of those of `addresses` that it asks for, 64 at most; none of that type is "no such data".
#[must_use]
pub fn addresses(query: &[u8], addresses: &[IpAddr], ttl: u32) -> Vec<u8> {
    let Ok(question) = question(query) else { return error(query, response_code::FORMAT_ERROR) };
    let mut answer = error(query, response_code::NO_ERROR);
    let tail = answer.split_off(question.end);
    let mut count = 0;
    for address in addresses {
        let (kind, data) = match address {
            IpAddr::V4(v4) => (record_type::A, v4.octets().to_vec()),
            IpAddr::V6(v6) => (record_type::AAAA, v6.octets().to_vec()),
        };
        if kind == question.kind && count < MAX_ADDRESSES {
            count += 1;
            // A pointer to the question's name.
            answer.extend_from_slice(&[0xc0, 0x0c]);
            answer.extend_from_slice(&kind.to_be_bytes());
            answer.extend_from_slice(&question.class.to_be_bytes());
            answer.extend_from_slice(&ttl.to_be_bytes());
            answer.extend_from_slice(&u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
            answer.extend_from_slice(&data);
        }
    }
    write_u16(&mut answer, 6, count);
    answer.extend_from_slice(&tail);
    answer
}
