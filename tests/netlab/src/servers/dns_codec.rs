//! As much of the DNS message format as an authoritative server of a test needs.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The type of IPv4 addresses.
pub const A: u16 = 1;
/// The type of aliases.
pub const CNAME: u16 = 5;
/// The type of texts.
pub const TXT: u16 = 16;
/// The type of IPv6 addresses.
pub const AAAA: u16 = 28;

const SOA: u16 = 6;
const OPT: u16 = 41;
const ANY: u16 = 255;
const IN: u16 = 1;
/// What we say that we take by UDP.
const OUR_SIZE: u16 = 1232;

pub(crate) const NO_ERROR: u8 = 0;
pub(crate) const SERVER_FAILURE: u8 = 2;
pub(crate) const NAME_ERROR: u8 = 3;

/// What a name has in a [`DnsServer`](crate::DnsServer)'s zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// The name that this one is an alias of.
    Cname(String),
    /// One character string of up to 255 bytes; what is longer is cut off.
    Txt(String),
    /// Any other type: its number and the bytes of its data.
    Other(u16, Vec<u8>),
}

impl Record {
    /// The number of its type.
    #[must_use]
    pub fn kind(&self) -> u16 {
        match self {
            Self::A(_) => A,
            Self::Aaaa(_) => AAAA,
            Self::Cname(_) => CNAME,
            Self::Txt(_) => TXT,
            Self::Other(kind, _) => *kind,
        }
    }

    pub(crate) fn answers(&self, question: u16) -> bool {
        question == ANY || question == self.kind()
    }

    fn data(&self) -> Vec<u8> {
        match self {
            Self::A(address) => address.octets().to_vec(),
            Self::Aaaa(address) => address.octets().to_vec(),
            Self::Cname(name) => wire_name(name),
            Self::Txt(text) => label(text.as_bytes(), 255),
            Self::Other(_, data) => data.clone(),
        }
    }
}

/// A question, with what of its message the answer has to repeat.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Question {
    id: [u8; 2],
    recursion_desired: bool,
    /// The question section as it came: letter case must come back.
    section: Vec<u8>,
    /// In lower case, without the dot at its end.
    pub(crate) name: String,
    pub(crate) kind: u16,
    /// How much the client takes by UDP, where it says so by EDNS.
    size: Option<u16>,
}

/// An answer before it is written.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) code: u8,
    pub(crate) authoritative: bool,
    /// Owner and record, in the order in which they are to be read.
    pub(crate) records: Vec<(String, Record)>,
    /// Seconds that the records may be kept.
    pub(crate) ttl: u32,
}

/// Reads a query; None for what is not one question in class IN.
pub(crate) fn parse(message: &[u8]) -> Option<Question> {
    let id = message.get(..2)?.try_into().ok()?;
    let flags = *message.get(2)?;
    // A standard query (opcode 0), not an answer, one question.
    if flags & 0xf8 != 0 || read_u16(message, 4)? != 1 {
        return None;
    }
    let (name, after) = read_name(message, 12)?;
    let kind = read_u16(message, after)?;
    if read_u16(message, after + 2)? != IN {
        return None;
    }
    let section = message.get(12..after + 4)?.to_vec();
    let mut question = Question { id, recursion_desired: flags & 1 != 0, section, name, kind, size: None };
    let records =
        [6, 8, 10].iter().try_fold(0_u32, |sum, at| Some(sum + u32::from(read_u16(message, *at)?)))?;
    let mut at = after + 4;
    for _ in 0..records {
        let (_, owner_end) = read_name(message, at)?;
        if read_u16(message, owner_end)? == OPT {
            question.size = Some(read_u16(message, owner_end + 2)?.max(512));
        }
        at = owner_end + 10 + usize::from(read_u16(message, owner_end + 8)?);
    }
    Some(question)
}

impl Question {
    /// Writes an answer to it; by UDP, as long as the client takes it, else without records and marked as
    /// truncated.
    pub(crate) fn answer(&self, answer: &Answer, udp: bool) -> Vec<u8> {
        let whole = self.write(answer, false);
        if udp && whole.len() > usize::from(self.size.unwrap_or(512)) {
            return self.write(&Answer { records: Vec::new(), ..*answer }, true);
        }
        whole
    }

    fn write(&self, answer: &Answer, truncated: bool) -> Vec<u8> {
        let mut out = self.id.to_vec();
        let bit = |set: bool, value: u8| if set { value } else { 0 };
        out.push(0x80 | bit(answer.authoritative, 4) | bit(truncated, 2) | bit(self.recursion_desired, 1));
        // Recursion is available: stub resolvers distrust servers that say otherwise.
        out.push(0x80 | answer.code);
        let negative = answer.records.is_empty() && !truncated && answer.code != SERVER_FAILURE;
        let counts = [1, answer.records.len(), usize::from(negative), usize::from(self.size.is_some())];
        for count in counts {
            push_u16(&mut out, u16::try_from(count).unwrap_or(u16::MAX));
        }
        out.extend_from_slice(&self.section);
        for (owner, record) in &answer.records {
            push_record(&mut out, owner, record.kind(), answer.ttl, &record.data());
        }
        if negative {
            // Its own zone, so that a resolver may remember that there is nothing.
            let mut data = wire_name("ns.invalid");
            data.extend(wire_name("hostmaster.invalid"));
            for value in [1, 3600, 600, 86400, answer.ttl] {
                data.extend(value.to_be_bytes());
            }
            let zone = self.name.rsplit('.').next().unwrap_or_default();
            push_record(&mut out, zone, SOA, answer.ttl, &data);
        }
        if self.size.is_some() {
            out.push(0);
            push_u16(&mut out, OPT);
            push_u16(&mut out, OUR_SIZE);
            out.extend_from_slice(&[0; 6]);
        }
        out
    }
}

fn push_record(out: &mut Vec<u8>, owner: &str, kind: u16, ttl: u32, data: &[u8]) {
    out.extend(wire_name(owner));
    push_u16(out, kind);
    push_u16(out, IN);
    out.extend(ttl.to_be_bytes());
    push_u16(out, u16::try_from(data.len()).unwrap_or(u16::MAX));
    out.extend_from_slice(data);
}

/// Names as they are compared: lower case, no dot at the end.
pub(crate) fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn wire_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|part| !part.is_empty());
    let mut out: Vec<u8> = labels.flat_map(|part| label(part.as_bytes(), 63)).collect();
    out.push(0);
    out
}

fn label(bytes: &[u8], longest: u8) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap_or(longest).min(longest);
    let mut out = vec![length];
    out.extend(bytes.iter().take(usize::from(length)));
    out
}

/// The name at `at`, and where what follows it begins. Queries need no compression, so it is refused.
fn read_name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        match length {
            0 => return Some((canonical(&labels.join(".")), at)),
            1..=63 => labels.push(String::from_utf8_lossy(message.get(at..at + length)?).into_owned()),
            _ => return None,
        }
        at += length;
    }
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn push_u16(out: &mut Vec<u8>, value: u16) {
    out.extend(value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> Vec<u8> {
        let mut query = vec![7, 8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend(b"\x03WWW\x07example\0\0\x01\0\x01");
        query
    }

    #[test]
    fn a_question_is_read() {
        let question = parse(&query()).unwrap();
        assert_eq!((question.name.as_str(), question.kind, question.size), ("www.example", A, None));
    }

    #[test]
    fn what_is_cut_short_is_no_question() {
        let query = query();
        for length in 0..query.len() {
            assert_eq!(parse(&query[..length]), None);
        }
    }

    #[test]
    fn what_does_not_fit_is_truncated() {
        let question = parse(&query()).unwrap();
        let records = vec![("www.example".to_owned(), Record::A(Ipv4Addr::LOCALHOST)); 100];
        let answer = Answer { records, ..Answer::default() };
        let udp = question.answer(&answer, true);
        assert_eq!((udp[2] & 2, udp[7]), (2, 0));
        assert_eq!(question.answer(&answer, false)[7], 100);
    }
}
