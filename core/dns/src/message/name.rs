//! Names as messages carry them, in one case.

use weft_model::DomainName;

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

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name itself, then the name without its first label, and so on; the root, which ends all, is left out.
    pub fn suffixes(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let length = usize::from(*rest.first()?);
            if length == 0 {
                return None;
            }
            let suffix = rest;
            rest = rest.get(1 + length..)?;
            Some(suffix)
        })
    }
}

impl From<&DomainName> for Name {
    fn from(name: &DomainName) -> Self {
        let mut bytes = Vec::with_capacity(name.as_str().len() + 2);
        for label in name.as_str().split('.') {
            // A domain name's labels are of 63 bytes at most.
            bytes.push(u8::try_from(label.len()).unwrap_or(0));
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        Self(bytes)
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
