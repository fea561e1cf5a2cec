//! Queries and answers, read by a decoder that shares nothing with the programs under test.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};

/// Numbers of types (RFC 1035 and later).
pub mod kind {
    #![allow(missing_docs, reason = "each is the type's own name")]
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const HINFO: u16 = 13;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const LOC: u16 = 29;
    pub const SRV: u16 = 33;
    pub const NAPTR: u16 = 35;
    pub const DNAME: u16 = 39;
    pub const OPT: u16 = 41;
    pub const DS: u16 = 43;
    pub const SSHFP: u16 = 44;
    pub const RRSIG: u16 = 46;
    pub const NSEC: u16 = 47;
    pub const DNSKEY: u16 = 48;
    pub const NSEC3: u16 = 50;
    pub const NSEC3PARAM: u16 = 51;
    pub const TLSA: u16 = 52;
    pub const SVCB: u16 = 64;
    pub const HTTPS: u16 = 65;
    pub const ANY: u16 = 255;
    pub const URI: u16 = 256;
    pub const CAA: u16 = 257;
}

/// Options that each hop has for itself: NSID (RFC 5001) names the server that was asked, a cookie (RFC 7873) belongs to
/// two addresses, TCP keepalive (RFC 7828) to a connection, and padding (RFC 7830) to a message on its wire.
const HOP_BY_HOP: [u16; 4] = [3, 10, 11, 12];

/// A query before it is written. It asks for recursion, by EDNS with 1,232 bytes, unless it is told otherwise.
#[derive(Clone, Debug)]
#[must_use]
pub struct Query {
    name: Vec<u8>,
    kind: u16,
    class: u16,
    flags: u16,
    edns: Option<Edns>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Edns {
    size: u16,
    version: u8,
    flags: u16,
    options: Vec<(u16, Vec<u8>)>,
}

impl Query {
    /// For a name in text form (no escapes) and a type.
    pub fn new(name: &str, kind: u16) -> Self {
        let edns = Edns { size: 1232, version: 0, flags: 0, options: Vec::new() };
        Self { name: wire_name(name), kind, class: 1, flags: 0x0100, edns: Some(edns) }
    }

    /// In another class than IN.
    pub fn class(mut self, class: u16) -> Self {
        self.class = class;
        self
    }

    /// With further bits of the header's flags, as 0x0010 for CD.
    pub fn flags(mut self, bits: u16) -> Self {
        self.flags |= bits;
        self
    }

    /// Without EDNS.
    pub fn bare(mut self) -> Self {
        self.edns = None;
        self
    }

    /// With DNSSEC's records (DO).
    pub fn dnssec(self) -> Self {
        self.with(|edns| edns.flags |= 0x8000)
    }

    /// Taking so many bytes by UDP.
    pub fn size(self, size: u16) -> Self {
        self.with(|edns| edns.size = size)
    }

    /// In this version of EDNS.
    pub fn version(self, version: u8) -> Self {
        self.with(|edns| edns.version = version)
    }

    /// With an option of EDNS.
    pub fn option(self, code: u16, data: &[u8]) -> Self {
        self.with(|edns| edns.options.push((code, data.to_vec())))
    }

    fn with(mut self, change: impl FnOnce(&mut Edns)) -> Self {
        if let Some(edns) = &mut self.edns {
            change(edns);
        }
        self
    }

    /// In wire form.
    #[must_use]
    pub fn bytes(&self, id: u16) -> Vec<u8> {
        let counts = [1, 0, 0, u16::from(self.edns.is_some())];
        let mut out: Vec<u8> =
            [id, self.flags].into_iter().chain(counts).flat_map(u16::to_be_bytes).collect();
        out.extend_from_slice(&self.name);
        out.extend([self.kind, self.class].into_iter().flat_map(u16::to_be_bytes));
        if let Some(edns) = &self.edns {
            let option = |(code, data): &(u16, Vec<u8>)| {
                let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
                [code.to_be_bytes().as_slice(), &length.to_be_bytes(), data].concat()
            };
            let options = edns.options.iter().flat_map(option).collect::<Vec<_>>();
            out.push(0);
            out.extend([kind::OPT, edns.size].into_iter().flat_map(u16::to_be_bytes));
            out.extend([0, edns.version]);
            out.extend_from_slice(&edns.flags.to_be_bytes());
            out.extend_from_slice(&u16::try_from(options.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend_from_slice(&options);
        }
        out
    }
}

/// A name in text form (no escapes) as labels.
#[must_use]
pub fn wire_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

/// A record, names in it written out.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// Its owner, in text form and lower case.
    pub name: String,
    /// The number of its type.
    pub kind: u16,
    /// Its class.
    pub class: u16,
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// Its data; names in it without compression.
    pub data: Vec<u8>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, class, ttl, data } = self;
        write!(f, "{name} {ttl} CLASS{class} TYPE{kind} {}", data.escape_ascii())
    }
}

/// A message, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number.
    pub id: u16,
    /// The header's flags, opcode and response code.
    pub flags: u16,
    /// The question section, byte for byte, what is not ASCII escaped.
    pub question: String,
    /// Answer, authority and additional section, the OPT record apart.
    pub sections: [Vec<Record>; 3],
    edns: Option<Edns>,
    extended_code: u8,
}

/// What must be the same by whichever way an answer comes: all but the number, the TTLs, and what belongs to one hop: the
/// UDP size that it takes, and its NSID, cookie, TCP keepalive and padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Essence {
    flags: u16,
    code: u16,
    question: String,
    sections: [Vec<Record>; 3],
    edns: Option<Edns>,
}

impl Message {
    /// Reads one.
    ///
    /// # Errors
    /// It is cut off, has bytes left over, or a name in it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let [id, flags, questions, answers, authorities, additional] = reader.words()?;
        let start = reader.at;
        for _ in 0..questions {
            reader.name()?;
            reader.take(4)?;
        }
        let question = bytes.get(start..reader.at).context("the question section")?.escape_ascii();
        let mut message = Self {
            id,
            flags,
            question: question.to_string(),
            sections: [Vec::new(), Vec::new(), Vec::new()],
            edns: None,
            extended_code: 0,
        };
        for (section, count) in [answers, authorities, additional].into_iter().enumerate() {
            for _ in 0..count {
                let record = reader.record()?;
                if record.kind == kind::OPT {
                    ensure!(message.edns.is_none(), "two OPT records");
                    message.read_opt(&record)?;
                } else if let Some(section) = message.sections.get_mut(section) {
                    section.push(record);
                }
            }
        }
        ensure!(reader.at == bytes.len(), "{} bytes are left over", bytes.len() - reader.at);
        Ok(message)
    }

    fn read_opt(&mut self, record: &Record) -> Result<()> {
        let [extended, version, high, low] = record.ttl.to_be_bytes();
        let mut reader = Reader { bytes: &record.data, at: 0 };
        let mut options = Vec::new();
        while reader.at < record.data.len() {
            let [code, length] = reader.words()?;
            options.push((code, reader.take(length.into())?.to_vec()));
        }
        self.extended_code = extended;
        self.edns =
            Some(Edns { size: record.class, version, flags: u16::from_be_bytes([high, low]), options });
        Ok(())
    }

    /// The response code, its upper bits from EDNS.
    #[must_use]
    pub fn code(&self) -> u16 {
        u16::from(self.extended_code) << 4 | self.flags & 0xf
    }

    /// Whether it was cut (TC).
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.flags & 0x0200 != 0
    }

    /// Whether it was found authentic (AD).
    #[must_use]
    pub fn is_authentic(&self) -> bool {
        self.flags & 0x0020 != 0
    }

    /// The answer section.
    #[must_use]
    pub fn answers(&self) -> &[Record] {
        let [answers, ..] = &self.sections;
        answers
    }

    /// How often its answer section has a type.
    #[must_use]
    pub fn count(&self, kind: u16) -> usize {
        self.answers().iter().filter(|record| record.kind == kind).count()
    }

    /// The data of its EDNS options of a code.
    #[must_use]
    pub fn options(&self, code: u16) -> Vec<&[u8]> {
        let options = self.edns.iter().flat_map(|edns| &edns.options);
        options.filter(|(found, _)| *found == code).map(|(_, data)| data.as_slice()).collect()
    }

    /// Whether it has an OPT record.
    #[must_use]
    pub fn has_edns(&self) -> bool {
        self.edns.is_some()
    }

    /// The codes and texts of its extended errors (RFC 8914).
    #[must_use]
    pub fn errors(&self) -> Vec<(u16, String)> {
        let read = |data: &[u8]| {
            let (code, text) = data.split_first_chunk::<2>()?;
            Some((u16::from_be_bytes(*code), String::from_utf8_lossy(text).into_owned()))
        };
        self.options(15).into_iter().filter_map(read).collect()
    }

    /// What of it must be the same by whichever way it comes.
    #[must_use]
    pub fn essence(&self) -> Essence {
        let timeless = |record: &Record| Record { ttl: 0, ..record.clone() };
        let edns = self.edns.as_ref().map(|edns| {
            let kept = edns.options.iter().filter(|(code, _)| !HOP_BY_HOP.contains(code));
            Edns { size: 0, options: kept.cloned().collect(), ..edns.clone() }
        });
        Essence {
            flags: self.flags,
            code: self.code(),
            question: self.question.clone(),
            sections: self.sections.each_ref().map(|section| section.iter().map(timeless).collect()),
            edns,
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at + length).context("the message is cut off")?;
        self.at += length;
        Ok(taken)
    }

    fn words<const N: usize>(&mut self) -> Result<[u16; N]> {
        let mut words = [0; N];
        for word in &mut words {
            *word = u16::from_be_bytes(self.take(2)?.try_into()?);
        }
        Ok(words)
    }

    /// A name's labels in wire form, written out and in lower case.
    fn name(&mut self) -> Result<Vec<u8>> {
        let (mut out, mut at, mut after) = (Vec::new(), self.at, None);
        loop {
            let length = usize::from(*self.bytes.get(at).context("a name is cut off")?);
            if length & 0xc0 == 0xc0 {
                let low = usize::from(*self.bytes.get(at + 1).context("a pointer is cut off")?);
                let to = (length & 0x3f) << 8 | low;
                ensure!(to < at, "a pointer leads forward");
                after = after.or(Some(at + 2));
                at = to;
                continue;
            }
            let label = self.bytes.get(at..=at + length).context("a label is cut off")?;
            out.extend(label.iter().map(u8::to_ascii_lowercase));
            ensure!(length < 64 && out.len() < 256, "a name is too long");
            at += 1 + length;
            if length == 0 {
                self.at = after.unwrap_or(at);
                return Ok(out);
            }
        }
    }

    fn record(&mut self) -> Result<Record> {
        let name = text_name(&self.name()?);
        let [kind, class, high, low, length] = self.words()?;
        let end = self.at + usize::from(length);
        // Only types of RFC 1035 may have compressed names in their data (RFC 3597, section 4).
        let before_name = match kind {
            kind::NS | kind::CNAME | kind::PTR | kind::SOA => Some(0),
            kind::MX => Some(2),
            _ => None,
        };
        let mut data = Vec::new();
        if let Some(before) = before_name {
            data.extend_from_slice(self.take(before)?);
            data.extend(self.name()?);
            if kind == kind::SOA {
                data.extend(self.name()?);
            }
        }
        if self.at > end {
            bail!("a record's data is longer than it says");
        }
        data.extend_from_slice(self.take(end - self.at)?);
        Ok(Record { name, kind, class, ttl: u32::from(high) << 16 | u32::from(low), data })
    }
}

fn text_name(wire: &[u8]) -> String {
    let (mut rest, mut labels) = (wire, Vec::new());
    while let Some((length, tail)) = rest.split_first() {
        let (label, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        labels.push(label.escape_ascii().to_string());
        rest = tail;
    }
    labels.join(".").trim_end_matches('.').to_owned()
}
