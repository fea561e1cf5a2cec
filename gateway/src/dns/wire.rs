//! Walking over a DNS message without taking it apart (RFC 1035, section 4), so that it can go on as it is.

/// Bytes of a message's header.
pub const HEADER: usize = 12;
/// The longest message over UDP without EDNS.
pub const PLAIN_UDP: usize = 512;
/// The block that answers are padded to (RFC 8467, 4.1).
const PADDING_BLOCK: usize = 468;
const TYPE_CNAME: u16 = 5;
const TYPE_DNAME: u16 = 39;
const TYPE_OPT: u16 = 41;
const OPTION_PADDING: u16 = 12;
const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_TRUNCATED: u16 = 0x0200;
const OPCODE_MASK: u16 = 0x7800;

/// The message ends too early, or says something of itself that is not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed DNS message")]
pub struct Malformed;

/// Whether a message is a query; nothing where it is too short to be either.
#[must_use]
pub fn is_query(message: &[u8]) -> Option<bool> {
    (message.len() >= HEADER).then(|| u16_at(message, 2).is_ok_and(|flags| flags & FLAG_RESPONSE == 0))
}

/// Whether the sender left something out.
#[must_use]
pub fn is_truncated(message: &[u8]) -> bool {
    u16_at(message, 2).is_ok_and(|flags| flags & FLAG_TRUNCATED != 0)
}

/// The lower four bits of the response code.
#[must_use]
pub fn response_code(message: &[u8]) -> u16 {
    u16_at(message, 2).map_or(0, |flags| flags & 0xf)
}

/// Sets the ID.
pub fn set_id(message: &mut [u8], id: u16) {
    if let Some(field) = message.get_mut(..2) {
        field.copy_from_slice(&id.to_be_bytes());
    }
}

/// The bytes of the only question: name, type and class.
///
/// # Errors
/// [`Malformed`], also where there is not exactly one question or its name is compressed.
pub fn question(message: &[u8]) -> Result<&[u8], Malformed> {
    if u16_at(message, 4)? != 1 {
        return Err(Malformed);
    }
    let mut at = HEADER;
    loop {
        match message.get(at).copied().ok_or(Malformed)? {
            0 => break,
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return Err(Malformed),
        }
    }
    message.get(HEADER..at + 5).ok_or(Malformed)
}

/// Whether `answer` answers the query with this ID and question: names are compared as RFC 4343 says.
#[must_use]
pub fn answers(answer: &[u8], id: u16, asked: &[u8]) -> bool {
    let flags = u16_at(answer, 2).unwrap_or(0);
    u16_at(answer, 0) == Ok(id)
        && flags & (FLAG_RESPONSE | OPCODE_MASK) == FLAG_RESPONSE
        && question(answer).is_ok_and(|question| question.eq_ignore_ascii_case(asked))
}

/// What is to be known of an answer that goes on as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// The shortest time to live of its records but OPT, in seconds; none where it has no records.
    pub min_ttl: Option<u32>,
    /// The names that CNAME and DNAME records of the answer point to, as [`name_text`] writes them.
    pub aliases: Vec<String>,
    /// Where the length field of the OPT record's data is, if that record is the last one.
    last_opt: Option<usize>,
    /// Whether there is an OPT record.
    pub has_opt: bool,
}

/// Walks over all records of an answer.
///
/// # Errors
/// [`Malformed`] where a count, a length or a name is not so.
pub fn summarise(message: &[u8]) -> Result<Summary, Malformed> {
    let mut summary = Summary::default();
    let mut at = HEADER;
    for _ in 0..u16_at(message, 4)? {
        at = skip_name(message, at)? + 4;
    }
    let answers = u32::from(u16_at(message, 6)?);
    let records = answers + u32::from(u16_at(message, 8)?) + u32::from(u16_at(message, 10)?);
    for number in 0..records {
        at = skip_name(message, at)?;
        let kind = u16_at(message, at)?;
        let ttl = u32_at(message, at + 4)?;
        let data = at + 10;
        let end = data + usize::from(u16_at(message, at + 8)?);
        if end > message.len() {
            return Err(Malformed);
        }
        summary.last_opt = (kind == TYPE_OPT).then_some(at + 8);
        if kind == TYPE_OPT {
            summary.has_opt = true;
        } else {
            // RFC 2181, section 8: a time to live with the top bit set is none.
            let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
            summary.min_ttl = Some(summary.min_ttl.map_or(ttl, |least| least.min(ttl)));
        }
        if number < answers && (kind == TYPE_CNAME || kind == TYPE_DNAME) {
            // A name that runs past its record would read differently once padding follows.
            if skip_name(message, data)? != end {
                return Err(Malformed);
            }
            summary.aliases.push(read_name(message, data)?);
        }
        at = end;
    }
    if at == message.len() { Ok(summary) } else { Err(Malformed) }
}

/// Pads an answer to a multiple of 468 bytes (RFC 7830, RFC 8467), if its OPT record is the last one.
pub fn pad(message: &mut Vec<u8>, summary: &Summary) {
    let Some(at) = summary.last_opt else { return };
    let Ok(length) = u16_at(message, at) else { return };
    let needed = (message.len() + 4).next_multiple_of(PADDING_BLOCK) - message.len() - 4;
    let (Ok(padding), Ok(total)) = (u16::try_from(needed), u16::try_from(usize::from(length) + needed + 4))
    else {
        return;
    };
    if message.len() + 4 + needed > usize::from(u16::MAX) {
        return;
    }
    message.extend(OPTION_PADDING.to_be_bytes());
    message.extend(padding.to_be_bytes());
    message.resize(message.len() + needed, 0);
    if let Some(field) = message.get_mut(at..at + 2) {
        field.copy_from_slice(&total.to_be_bytes());
    }
}

/// What is left of an answer that is too long for its way: header and question, marked as truncated.
///
/// # Errors
/// [`Malformed`] where it has not one question.
pub fn truncate(message: &[u8]) -> Result<Vec<u8>, Malformed> {
    let question = question(message)?;
    let mut short = message.get(..4).ok_or(Malformed)?.to_vec();
    if let Some(flags) = short.get_mut(2) {
        *flags |= (FLAG_TRUNCATED >> 8) as u8;
    }
    short.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    short.extend_from_slice(question);
    Ok(short)
}

/// Writes a name's labels in lower case with dots between them. What is no letter, digit, hyphen or underscore is
/// written as \DDD, so that no label can pass for two.
#[must_use]
pub fn name_text<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut text = String::new();
    for label in labels {
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label {
            if byte.is_ascii_alphanumeric() || b"-_".contains(byte) {
                text.push(byte.to_ascii_lowercase().into());
            } else {
                text.push_str(&format!("\\{byte:03}"));
            }
        }
    }
    text
}

fn read_name(message: &[u8], mut at: usize) -> Result<String, Malformed> {
    let mut labels = Vec::new();
    // A pointer must point backwards, so the walk ends; 127 labels are the most that 255 bytes hold.
    let mut before = at;
    while labels.len() <= 127 {
        match message.get(at).copied().ok_or(Malformed)? {
            0 => return Ok(name_text(labels)),
            length @ 1..=63 => {
                let end = at + 1 + usize::from(length);
                labels.push(message.get(at + 1..end).ok_or(Malformed)?);
                at = end;
            }
            0xc0.. => {
                at = usize::from(u16_at(message, at)? & 0x3fff);
                if at >= before {
                    return Err(Malformed);
                }
                before = at;
            }
            _ => return Err(Malformed),
        }
    }
    Err(Malformed)
}

fn skip_name(message: &[u8], mut at: usize) -> Result<usize, Malformed> {
    loop {
        match message.get(at).copied().ok_or(Malformed)? {
            0 => return Ok(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return Ok(at + 2),
            _ => return Err(Malformed),
        }
    }
}

fn u16_at(message: &[u8], at: usize) -> Result<u16, Malformed> {
    message.get(at..).and_then(<[u8]>::first_chunk).copied().map(u16::from_be_bytes).ok_or(Malformed)
}

fn u32_at(message: &[u8], at: usize) -> Result<u32, Malformed> {
    message.get(at..).and_then(<[u8]>::first_chunk).copied().map(u32::from_be_bytes).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
    use hickory_proto::rr::rdata::{A, CNAME};
    use hickory_proto::rr::{Name, RData, Record, RecordType};
    use proptest::prelude::*;

    use super::*;

    fn answer(edns: bool) -> Message {
        let name = Name::from_str("www.example.").unwrap();
        let target = Name::from_str("Edge.CDN.example.").unwrap();
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        message.add_query(Query::query(name.clone(), RecordType::A));
        message.add_answer(Record::from_rdata(name, 300, RData::CNAME(CNAME(target.clone()))));
        message.add_answer(Record::from_rdata(target, 60, RData::A(A::new(192, 0, 2, 1))));
        if edns {
            message.set_edns(Edns::new());
        }
        message
    }

    /// Found by fuzzing: the alias's last label reached into the next record, so that padding changed the alias.
    #[test]
    fn an_alias_ends_with_its_record() {
        let mut message = answer(false).to_vec().unwrap();
        assert!(summarise(&message).is_ok());
        let labels = b"\x04edge\x03cdn";
        let at =
            message.windows(labels.len()).position(|window| window.eq_ignore_ascii_case(labels)).unwrap();
        // The first label swallows all that is left of its record, and one byte more.
        let length = u16_at(&message, at - 2).unwrap();
        message[at] = u8::try_from(length).unwrap();
        assert!(summarise(&message).is_err());
    }

    #[test]
    fn a_walk_finds_the_least_ttl_the_aliases_and_the_opt_record() {
        let bytes = answer(true).to_vec().unwrap();
        let summary = summarise(&bytes).unwrap();
        assert_eq!(summary.min_ttl, Some(60));
        assert_eq!(summary.aliases, ["edge.cdn.example"]);
        assert!(summary.has_opt && summary.last_opt.is_some());
        assert!(!summarise(&answer(false).to_vec().unwrap()).unwrap().has_opt);
    }

    #[test]
    fn a_padded_answer_says_the_same() {
        let mut bytes = answer(true).to_vec().unwrap();
        let summary = summarise(&bytes).unwrap();
        pad(&mut bytes, &summary);
        assert_eq!(bytes.len() % 468, 0);
        let padded = Message::from_vec(&bytes).unwrap();
        assert_eq!(padded.answers, answer(true).answers);
        assert!(summarise(&bytes).is_ok());

        let mut bare = answer(false).to_vec().unwrap();
        let before = bare.clone();
        let summary = summarise(&bare).unwrap();
        pad(&mut bare, &summary);
        assert_eq!(bare, before);
    }

    #[test]
    fn an_answer_belongs_to_its_id_and_question() {
        let bytes = answer(false).to_vec().unwrap();
        let mut asked = question(&bytes).unwrap().to_vec();
        assert!(answers(&bytes, 7, &asked));
        asked[1] = asked[1].to_ascii_uppercase();
        assert!(answers(&bytes, 7, &asked));
        assert!(!answers(&bytes, 8, &asked));
        asked[1] = b'x';
        assert!(!answers(&bytes, 7, &asked));
        let mut query = bytes.clone();
        query[2] &= 0x7f;
        assert!(!answers(&query, 7, question(&bytes).unwrap()));
    }

    #[test]
    fn a_truncated_answer_is_header_and_question() {
        let bytes = answer(true).to_vec().unwrap();
        let short = truncate(&bytes).unwrap();
        assert!(is_truncated(&short) && !is_truncated(&bytes));
        let message = Message::from_vec(&short).unwrap();
        assert_eq!(message.queries, answer(true).queries);
        assert!(message.answers.is_empty());
    }

    #[test]
    fn a_label_never_passes_for_two() {
        assert_eq!(name_text([b"a.b".as_slice(), b"Corp"]), "a\\046b.corp");
        assert_eq!(name_text([]), "");
    }

    #[test]
    fn a_pointer_that_turns_in_a_circle_is_malformed() {
        let mut bytes = vec![0, 7, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        bytes.extend([0, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 23]);
        assert_eq!(summarise(&bytes), Err(Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = question(&bytes);
            let _ = truncate(&bytes);
            if let Ok(summary) = summarise(&bytes) {
                let mut padded = bytes.clone();
                pad(&mut padded, &summary);
            }
        }

        #[test]
        fn a_damaged_answer_never_panics_and_what_it_takes_for_whole_is_whole(
            edns in any::<bool>(),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = answer(edns).to_vec().unwrap();
            for (index, byte) in damage {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Ok(summary) = summarise(&bytes) {
                let mut padded = bytes.clone();
                pad(&mut padded, &summary);
                prop_assert!(padded.starts_with(&bytes[..2]));
                prop_assert!(summarise(&padded).is_ok());
            }
        }
    }
}
