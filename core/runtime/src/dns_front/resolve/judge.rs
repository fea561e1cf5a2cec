//! What a message is to a query.

use weft_dns::message::{self, response_code};

/// What to do with a message that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answers the query.
    Answer,
    /// It answers the query, and was cut.
    Cut,
    /// The resolver does not know this form of the question: ask so.
    Again(Vec<u8>),
    /// It has nothing to do with the query: late, or forged.
    Other,
}

/// Judges by id and question, letter by letter (draft-vixie-dnsext-dns0x20).
///
/// A resolver that knows no EDNS answers FORMERR or NOTIMP, some without the question (RFC 6891, section 7). One that
/// writes names in a case of its own is asked again in lower case; so a forger who knows the id gains one more query,
/// with another port to guess.
pub(super) fn judge(query: &[u8], datagram: &[u8]) -> Verdict {
    if !message::is_answer(datagram) || message::id(datagram) != message::id(query) {
        return Verdict::Other;
    }
    let same = message::has_same_question(query, datagram);
    if (same || datagram.len() == message::HEADER_LEN) && knows_no_edns(query, datagram) {
        let mut plain = query.to_vec();
        message::remove_edns(&mut plain);
        return if plain.len() < query.len() { Verdict::Again(plain) } else { Verdict::Answer };
    }
    if !same {
        return in_lower_case(query, datagram).map_or(Verdict::Other, Verdict::Again);
    }
    if message::is_truncated(datagram) { Verdict::Cut } else { Verdict::Answer }
}

fn knows_no_edns(query: &[u8], answer: &[u8]) -> bool {
    matches!(message::rcode(answer), response_code::FORMAT_ERROR | response_code::NOT_IMPLEMENTED)
        && message::edns(query).is_some()
        && message::edns(answer).is_none()
}

/// The query in lower case, where the answer is to it but for the case, and it is not in lower case already.
fn in_lower_case(query: &[u8], answer: &[u8]) -> Option<Vec<u8>> {
    let asked = message::question(query).ok()?;
    let end = message::HEADER_LEN + asked.name.as_bytes().len();
    let differs = query.get(message::HEADER_LEN..end)? != asked.name.as_bytes();
    if !differs || message::question(answer).as_ref() != Ok(&asked) {
        return None;
    }
    let mut lower = query.to_vec();
    lower.get_mut(message::HEADER_LEN..end)?.copy_from_slice(asked.name.as_bytes());
    Some(lower)
}
