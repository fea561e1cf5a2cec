//! Changing a message in place.

use super::edns::{add_edns, edns};
use super::walk::question_place;
use super::{HEADER_LEN, write_u16};

/// Gives a message another id.
pub fn set_id(message: &mut [u8], id: u16) {
    write_u16(message, 0, id);
}

/// The response code, without what EDNS adds to it.
#[must_use]
pub fn rcode(message: &[u8]) -> u8 {
    message.get(3).map_or(0, |flags| flags & 0x0f)
}

/// Whether the message was cut (TC).
#[must_use]
pub fn is_truncated(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

/// Gives an answer the id and the question of its query, letter by letter: some clients compare the case
/// (draft-vixie-dnsext-dns0x20). Both have the same question.
pub fn restore(answer: &mut [u8], query: &[u8]) {
    let Some(question) = question_place(query) else { return };
    if let (Some(room), Some(source)) =
        (answer.get_mut(HEADER_LEN..question.end), query.get(HEADER_LEN..question.end))
    {
        room.copy_from_slice(source);
    }
    if let (Some(room), Some(source)) = (answer.get_mut(..2), query.get(..2)) {
        room.copy_from_slice(source);
    }
}

/// Gives every letter of the question's name a case by chance (draft-vixie-dnsext-dns0x20): one bit a letter, from
/// the lowest of the first byte on; letters that no bit is left for stay as they are. Who forges an answer must
/// guess it too ([`has_same_question`]).
pub fn randomise_case(query: &mut [u8], bits: &[u8]) {
    let Some(place) = question_place(query) else { return };
    let mut chance = bits.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
    for byte in query.get_mut(HEADER_LEN..place.name_end).unwrap_or_default() {
        // Lengths are below 64 and so no letters.
        if byte.is_ascii_alphabetic() {
            match chance.next() {
                Some(true) => byte.make_ascii_uppercase(),
                Some(false) => byte.make_ascii_lowercase(),
                None => return,
            }
        }
    }
}

/// Whether both have the same question, letter by letter.
#[must_use]
pub fn has_same_question(query: &[u8], answer: &[u8]) -> bool {
    bytes_of_question(query).is_some_and(|question| bytes_of_question(answer) == Some(question))
}

fn bytes_of_question(message: &[u8]) -> Option<&[u8]> {
    message.get(HEADER_LEN..question_place(message)?.end)
}

/// Cuts an answer of over `limit` bytes to its header, question and OPT record, and says so (TC): its asker comes
/// again by TCP (RFC 2181, section 9).
pub fn truncate(answer: &mut Vec<u8>, limit: usize) {
    if answer.len() <= limit {
        return;
    }
    let had = edns(answer);
    let end = question_place(answer).map_or(HEADER_LEN, |question| question.end);
    answer.truncate(end);
    for count in [6, 8, 10] {
        write_u16(answer, count, 0);
    }
    if let Some(flags) = answer.get_mut(2) {
        *flags |= 0x02;
    }
    if let Some(had) = had {
        add_edns(answer, had.payload_size);
        set_dnssec_ok(answer, had.dnssec_ok);
    }
}

/// Sets DO in an OPT record that has no options and was just appended.
pub(crate) fn set_dnssec_ok(message: &mut [u8], dnssec_ok: bool) {
    let flags = message.len().checked_sub(4).and_then(|at| message.get_mut(at));
    if let Some(flags) = flags.filter(|_| dnssec_ok) {
        *flags |= 0x80;
    }
}
