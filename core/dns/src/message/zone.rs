//! Records as lines of a zone file (RFC 1035, section 5.1).

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use weft_model::Civil;

use super::name::Name;
use super::present::{Class, RecordType};
use super::walk::{Record, Section, question_place, records};
use super::{chain::ttl_of, record_type};

/// The records of the answer section, one a line. What cannot be read is left out.
#[must_use]
pub fn answer_lines(answer: &[u8]) -> Vec<String> {
    let Some(question) = question_place(answer) else { return Vec::new() };
    let in_answer = |record: &Record| record.section == Section::Answer;
    let all = records(answer, question.end).flatten().filter(in_answer);
    all.filter_map(|record| record_line(answer, &record)).collect()
}

/// A record: owner, TTL, class, type, data. Data of types without a form of their own here, and data that their type
/// does not fit, are written as RFC 3597 does (section 5). None where the owner's name cannot be read.
#[must_use]
pub fn record_line(message: &[u8], record: &Record) -> Option<String> {
    let owner = dotted(&Name::expand(message, record.start)?.0);
    let mut line = format!("{owner} {} {} {} ", ttl_of(record), Class(record.class), RecordType(record.kind));
    let mut data = Data { message, at: record.data, end: record.end };
    match data.text(record.kind).filter(|_| data.at == data.end) {
        Some(text) => line.push_str(&text),
        None => line.push_str(&generic(message.get(record.data..record.end)?)),
    }
    Some(line)
}

fn generic(data: &[u8]) -> String {
    let mut text = format!("\\# {}", data.len());
    if !data.is_empty() {
        text.push(' ');
        text.push_str(&hex(data));
    }
    text
}

/// With the dot at its end.
fn dotted(name: &Name) -> String {
    let text = name.to_string();
    if text == "." { text } else { text + "." }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02X}");
    }
    text
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut three = [0; 4];
        three.iter_mut().skip(1).zip(chunk).for_each(|(place, byte)| *place = *byte);
        let bits = u32::from_be_bytes(three);
        for (number, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let letter = LETTERS.get((bits >> shift & 63) as usize).copied().unwrap_or(b'=');
            text.push(if number <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// Bytes between quotes.
fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", escaped(bytes))
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = match byte {
            b'"' | b'\\' => write!(text, "\\{}", char::from(*byte)),
            0x20..=0x7e => write!(text, "{}", char::from(*byte)),
            _ => write!(text, "\\{byte:03}"),
        };
    }
    text
}

/// Seconds since 1970 as `YYYYMMDDHHmmSS` (RFC 4034, section 3.2).
fn moment(seconds: u32) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::from_unix(i64::from(seconds));
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

/// Data of a record, read from the front.
struct Data<'a> {
    message: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Data<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.end)?;
        let bytes = self.message.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn rest(&mut self) -> Option<&'a [u8]> {
        self.take(self.end - self.at)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn long(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn name(&mut self) -> Option<String> {
        let (name, end) = Name::expand(self.message, self.at)?;
        self.at = end;
        (end <= self.end).then(|| dotted(&name))
    }

    /// A text with its length in front.
    fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.byte()?;
        self.take(length.into())
    }

    fn text(&mut self, kind: u16) -> Option<String> {
        use record_type as t;
        Some(match kind {
            t::A => Ipv4Addr::from(<[u8; 4]>::try_from(self.rest()?).ok()?).to_string(),
            t::AAAA => Ipv6Addr::from(<[u8; 16]>::try_from(self.rest()?).ok()?).to_string(),
            t::NS | t::CNAME | t::PTR | t::DNAME => self.name()?,
            t::MX => format!("{} {}", self.short()?, self.name()?),
            t::SRV => format!("{} {} {} {}", self.short()?, self.short()?, self.short()?, self.name()?),
            t::SOA => self.start_of_zone()?,
            t::TXT => self.texts()?,
            t::CAA => self.authority()?,
            t::DS => {
                format!("{} {} {} {}", self.short()?, self.byte()?, self.byte()?, hex(self.rest()?))
            }
            t::DNSKEY => {
                format!("{} {} {} {}", self.short()?, self.byte()?, self.byte()?, base64(self.rest()?))
            }
            t::RRSIG => self.signature()?,
            t::NSEC => {
                let next = self.name()?;
                next + &self.types()?
            }
            t::SVCB | t::HTTPS => self.service()?,
            _ => return None,
        })
    }

    fn start_of_zone(&mut self) -> Option<String> {
        let mut text = format!("{} {}", self.name()?, self.name()?);
        for _ in 0..5 {
            let _ = write!(text, " {}", self.long()?);
        }
        Some(text)
    }

    fn texts(&mut self) -> Option<String> {
        let mut all = vec![quoted(self.counted()?)];
        while self.at < self.end {
            all.push(quoted(self.counted()?));
        }
        Some(all.join(" "))
    }

    /// RFC 8659, section 4.1.
    fn authority(&mut self) -> Option<String> {
        let flags = self.byte()?;
        let tag = self.counted()?;
        let is_tag = !tag.is_empty() && tag.iter().all(u8::is_ascii_alphanumeric);
        let tag = std::str::from_utf8(tag).ok().filter(|_| is_tag)?;
        Some(format!("{flags} {tag} {}", quoted(self.rest()?)))
    }

    fn signature(&mut self) -> Option<String> {
        let covered = RecordType(self.short()?);
        let (algorithm, labels, ttl) = (self.byte()?, self.byte()?, self.long()?);
        let (until, from) = (moment(self.long()?), moment(self.long()?));
        let (tag, signer) = (self.short()?, self.name()?);
        let signature = base64(self.rest()?);
        Some(format!("{covered} {algorithm} {labels} {ttl} {until} {from} {tag} {signer} {signature}"))
    }

    /// The types of a bit map (RFC 4034, section 4.1.2), each with a space in front.
    fn types(&mut self) -> Option<String> {
        let mut text = String::new();
        while self.at < self.end {
            let window = self.byte()?;
            for (number, byte) in self.counted()?.iter().enumerate() {
                for bit in (0..8).filter(|bit| byte & (0x80 >> bit) != 0) {
                    let low = u8::try_from(number * 8 + bit).ok()?;
                    let _ = write!(text, " {}", RecordType(u16::from_be_bytes([window, low])));
                }
            }
        }
        Some(text)
    }

    /// RFC 9460, section 2.1.
    fn service(&mut self) -> Option<String> {
        let mut text = format!("{} {}", self.short()?, self.name()?);
        while self.at < self.end {
            let key = self.short()?;
            let length = self.short()?;
            let value = self.take(length.into())?;
            text.push(' ');
            text.push_str(&parameter(key, value)?);
        }
        Some(text)
    }
}

/// The name of a service parameter's key (RFC 9460, section 14.3.2; RFC 9461).
fn parameter_key(key: u16) -> String {
    const NAMES: [&str; 8] =
        ["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath"];
    NAMES.get(usize::from(key)).map_or_else(|| format!("key{key}"), |name| (*name).to_owned())
}

fn parameter(key: u16, value: &[u8]) -> Option<String> {
    let name = parameter_key(key);
    let list = |items: Vec<String>| format!("{name}={}", items.join(","));
    Some(match key {
        0 => {
            let (keys, rest) = value.as_chunks::<2>();
            rest.is_empty()
                .then(|| list(keys.iter().map(|key| parameter_key(u16::from_be_bytes(*key))).collect()))?
        }
        1 => {
            let mut data = Data { message: value, at: 0, end: value.len() };
            let mut items = Vec::new();
            while data.at < data.end {
                // A comma within an item is escaped twice: as of the list, and as of the text (appendix A.1).
                let item = data.counted()?;
                items.push(escaped(item).replace('\\', "\\\\").replace(',', "\\\\,"));
            }
            format!("{name}=\"{}\"", items.join(","))
        }
        2 => value.is_empty().then_some(name)?,
        3 => format!("{name}={}", u16::from_be_bytes(value.try_into().ok()?)),
        4 => {
            let (hints, rest) = value.as_chunks::<4>();
            rest.is_empty()
                .then(|| list(hints.iter().map(|hint| Ipv4Addr::from(*hint).to_string()).collect()))?
        }
        5 => format!("{name}=\"{}\"", base64(value)),
        6 => {
            let (hints, rest) = value.as_chunks::<16>();
            rest.is_empty()
                .then(|| list(hints.iter().map(|hint| Ipv6Addr::from(*hint).to_string()).collect()))?
        }
        _ if value.is_empty() => name,
        _ => format!("{name}={}", quoted(value)),
    })
}
