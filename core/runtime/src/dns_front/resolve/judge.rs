//! What a message is to a query.

use weft_dns::message::{self, response_code};

/// What to do with a message that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answers the query.
    Answer,
    /// It answers the query, and was cut.
    Cut,
    /// The resolver knows no EDNS: ask so.
    Again(Vec<u8>),
    /// It has nothing to do with the query: late, or forged.
    Other,
}

/// Judges by id and question. What the case of the question says is for the engine to judge, which chose it.
///
/// A resolver that knows no EDNS answers FORMERR or NOTIMP, some without the question (RFC 6891, section 7).
pub(super) fn judge(query: &[u8], datagram: &[u8]) -> Verdict {
    if !message::is_answer(datagram) || message::id(datagram) != message::id(query) {
        return Verdict::Other;
    }
    let same = message::asks_the_same(datagram, query);
    if (same || datagram.len() == message::HEADER_LEN) && knows_no_edns(query, datagram) {
        let mut plain = query.to_vec();
        message::remove_edns(&mut plain);
        return if plain.len() < query.len() { Verdict::Again(plain) } else { Verdict::Answer };
    }
    if !same {
        return Verdict::Other;
    }
    if message::is_truncated(datagram) { Verdict::Cut } else { Verdict::Answer }
}

fn knows_no_edns(query: &[u8], answer: &[u8]) -> bool {
    matches!(message::rcode(answer), response_code::FORMAT_ERROR | response_code::NOT_IMPLEMENTED)
        && message::edns(query).is_some()
        && message::edns(answer).is_none()
}
