//! Names as messages carry them, in one case.

use std::fmt;

use weft_model::DomainName;
use weft_policy::domains;

use super::read_u16;
use super::splice::sound_name_end;
use super::walk::plain_name_end;

/// A name in wire form (RFC 1035, section 3.1): labels with their lengths, the empty one last, ASCII in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(Vec<u8>);

/// The longest name in wire form, in bytes.
pub const MAX_NAME: usize = 255;

impl Name {
    /// Reads the uncompressed name at `at`; gives it with the offset behind it.
    pub(crate) fn read(message: &[u8], at: usize) -> Option<(Self, usize)> {
        let end = plain_name_end(message, at)?;
        // Lengths are below 64 and so no letters: the whole can be put in lower case.
        Some((Self(message.get(at..end)?.to_ascii_lowercase()), end))
    }

    /// Reads the name at `at`, which may end in pointers; gives it with the offset behind where it stands. None
    /// unless it is whole (RFC 1035, section 4.1.4).
    #[must_use]
    pub fn expand(message: &[u8], at: usize) -> Option<(Self, usize)> {
        let behind = sound_name_end(message, at)?;
        let mut bytes = Vec::new();
        let mut here = at;
        loop {
            let length = usize::from(*message.get(here)?);
            if length > 63 {
                here = usize::from(read_u16(message, here)? & 0x3fff);
                continue;
            }
            bytes.extend_from_slice(message.get(here..here + 1 + length)?);
            if length == 0 {
                bytes.make_ascii_lowercase();
                return Some((Self(bytes), behind));
            }
            here += 1 + length;
        }
    }

    /// Reads a name in presentation form (RFC 1035, section 5.1): labels between dots, `\.` and `\DDD` for bytes
    /// that cannot stand there, with or without the dot at its end. None where it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = Vec::new();
        let mut label = Vec::new();
        let mut rest = if text == "." { "" } else { text }.bytes();
        let mut ends = true;
        while let Some(byte) = rest.next() {
            ends = byte == b'.';
            match byte {
                b'.' => push_label(&mut bytes, &mut label)?,
                b'\\' => label.push(unescape(&mut rest)?),
                _ => label.push(byte.to_ascii_lowercase()),
            }
        }
        if !ends {
            push_label(&mut bytes, &mut label)?;
        }
        bytes.push(0);
        (bytes.len() <= MAX_NAME).then_some(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name itself, then the name without its first label, and so on; the root, which ends all, is left out.
    pub fn suffixes(&self) -> impl Iterator<Item = &[u8]> {
        domains::suffixes(&self.0)
    }
}

fn push_label(bytes: &mut Vec<u8>, label: &mut Vec<u8>) -> Option<()> {
    bytes.push(u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?);
    bytes.append(label);
    Some(())
}

/// What a backslash stands before: three digits, or one character that stands for itself.
fn unescape(rest: &mut std::str::Bytes<'_>) -> Option<u8> {
    let first = rest.next()?;
    if !first.is_ascii_digit() {
        return Some(first.to_ascii_lowercase());
    }
    let digits = [first, rest.next()?, rest.next()?];
    let number = std::str::from_utf8(&digits).ok()?.parse::<u8>().ok()?;
    Some(number.to_ascii_lowercase())
}

impl fmt::Display for Name {
    /// In presentation form, without the dot at its end; the root is that dot.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() <= 1 {
            return f.write_str(".");
        }
        for (number, suffix) in self.suffixes().enumerate() {
            let length = usize::from(suffix.first().copied().unwrap_or(0));
            if number > 0 {
                f.write_str(".")?;
            }
            for byte in suffix.get(1..=length).unwrap_or_default() {
                match byte {
                    b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => {
                        write!(f, "\\{}", char::from(*byte))?
                    }
                    0x21..=0x7e => write!(f, "{}", char::from(*byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl From<&DomainName> for Name {
    fn from(name: &DomainName) -> Self {
        Self(domains::wire(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_in_lower_case_with_all_its_suffixes() {
        let wire = b"\x03WwW\x07Example\x00rest";
        let (name, end) = Name::read(wire, 0).unwrap();
        assert_eq!(end, 13);
        assert_eq!(name, Name::from(&"www.example".parse().unwrap()));
        let suffixes: Vec<_> = name.suffixes().collect();
        assert_eq!(suffixes, [&b"\x03www\x07example\x00"[..], b"\x07example\x00"]);
    }

    #[test]
    fn what_is_no_whole_name_is_not_read() {
        let long: Vec<u8> = [&[60; 61][..]].repeat(5).concat();
        for wire in [&b""[..], b"\x03ww", b"\x03www", b"\xc0\x0c", b"\x40aaaa\x00", &long] {
            assert_eq!(Name::read(wire, 0), None, "{wire:?}");
        }
    }
}
