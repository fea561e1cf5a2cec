//! What entries are found by.

use crate::message::{self, HEADER_LEN, MAX_NAME};

/// What of a query besides its question makes another answer of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct KeyFlags {
    /// It has an OPT record, and so may its answer.
    pub edns: bool,
    /// DO: DNSSEC records are wanted (RFC 3225).
    pub dnssec_ok: bool,
    /// CD: the answer need not be proven (RFC 4035, section 3.2.2).
    pub checking_disabled: bool,
    /// AD: whether the answer is proven is wanted to know (RFC 6840, section 5.7).
    pub authentic_data: bool,
    /// RD: the answer is wanted, not a referral.
    pub recursion_desired: bool,
}

impl KeyFlags {
    /// The flags of a query.
    #[must_use]
    pub fn of(query: &[u8]) -> Self {
        let edns = message::edns(query);
        let high = query.get(2).copied().unwrap_or(0);
        let low = query.get(3).copied().unwrap_or(0);
        Self {
            edns: edns.is_some(),
            dnssec_ok: edns.is_some_and(|edns| edns.dnssec_ok),
            checking_disabled: low & 0x10 != 0,
            authentic_data: low & 0x20 != 0,
            recursion_desired: high & 0x01 != 0,
        }
    }

    /// The flags as the five low bits.
    pub(crate) fn bits(self) -> u8 {
        u8::from(self.edns)
            | u8::from(self.dnssec_ok) << 1
            | u8::from(self.checking_disabled) << 2
            | u8::from(self.authentic_data) << 3
            | u8::from(self.recursion_desired) << 4
    }
}

/// What an entry is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key<'a> {
    /// The name in wire form, in lower case, its empty label included.
    pub name: &'a [u8],
    /// The record type.
    pub kind: u16,
    /// The class.
    pub class: u16,
    /// The rest.
    pub flags: KeyFlags,
}

/// The key of a query, with room of its own for the name, so that a look-up allocates nothing.
#[derive(Debug, Clone)]
pub struct KeyBuf {
    name: [u8; MAX_NAME],
    length: usize,
    kind: u16,
    class: u16,
    flags: KeyFlags,
}

impl KeyBuf {
    /// Reads a query's key; none unless it has exactly one whole question.
    #[must_use]
    pub fn of(query: &[u8]) -> Option<Self> {
        let place = message::question_place(query)?;
        let written = query.get(HEADER_LEN..place.name_end)?;
        let mut name = [0; MAX_NAME];
        let room = name.get_mut(..written.len())?;
        room.copy_from_slice(written);
        // Lengths are below 64 and so no letters.
        room.make_ascii_lowercase();
        let (kind, class) = (place.kind, place.class);
        Some(Self { name, length: written.len(), kind, class, flags: KeyFlags::of(query) })
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> Key<'_> {
        let name = self.name.get(..self.length).unwrap_or_default();
        Key { name, kind: self.kind, class: self.class, flags: self.flags }
    }
}
