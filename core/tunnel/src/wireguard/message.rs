//! The four messages of WireGuard as they lie on the wire (paper, section 5.4): types, lengths, fields.

use std::ops::Range;

/// Bytes of a handshake initiation.
pub(crate) const INITIATION_LEN: usize = 148;
/// Bytes of a handshake response.
pub(crate) const RESPONSE_LEN: usize = 92;
/// Bytes of a cookie reply.
pub(crate) const COOKIE_REPLY_LEN: usize = 64;
/// Bytes in front of a data message's ciphertext.
pub(crate) const DATA_HEADER_LEN: usize = 16;
/// Bytes that a data message is longer than its padded packet.
pub(crate) const DATA_OVERHEAD: usize = DATA_HEADER_LEN + super::crypto::TAG_LEN;

/// A handshake initiation.
pub(crate) type Initiation = [u8; INITIATION_LEN];
/// A handshake response.
pub(crate) type Response = [u8; RESPONSE_LEN];
/// A cookie reply.
pub(crate) type CookieReply = [u8; COOKIE_REPLY_LEN];

/// The fields of an [`Initiation`].
pub(crate) mod initiation {
    use super::Range;
    pub(crate) const EPHEMERAL: Range<usize> = 8..40;
    pub(crate) const STATIC: Range<usize> = 40..88;
    pub(crate) const TIMESTAMP: Range<usize> = 88..116;
}

/// The fields of a [`Response`].
pub(crate) mod response {
    use super::Range;
    pub(crate) const RECEIVER: Range<usize> = 8..12;
    pub(crate) const EPHEMERAL: Range<usize> = 12..44;
    pub(crate) const NOTHING: Range<usize> = 44..60;
}

/// The fields of a [`CookieReply`].
pub(crate) mod cookie_reply {
    use super::Range;
    pub(crate) const NONCE: Range<usize> = 8..32;
    pub(crate) const COOKIE: Range<usize> = 32..64;
}

/// What a datagram claims to be; its length fits the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Initiation,
    Response,
    CookieReply,
    Data,
}

impl Kind {
    /// The first four bytes of a message: its type and three reserved bytes, which are zero.
    pub(crate) const fn tag(self) -> [u8; 4] {
        match self {
            Self::Initiation => [1, 0, 0, 0],
            Self::Response => [2, 0, 0, 0],
            Self::CookieReply => [3, 0, 0, 0],
            Self::Data => [4, 0, 0, 0],
        }
    }

    /// Reads type, reserved bytes and length; nothing where they are no message's.
    pub(crate) fn of(datagram: &[u8]) -> Option<Self> {
        match (datagram.first_chunk()?, datagram.len()) {
            ([4, 0, 0, 0], DATA_OVERHEAD..) => Some(Self::Data),
            ([1, 0, 0, 0], INITIATION_LEN) => Some(Self::Initiation),
            ([2, 0, 0, 0], RESPONSE_LEN) => Some(Self::Response),
            ([3, 0, 0, 0], COOKIE_REPLY_LEN) => Some(Self::CookieReply),
            _ => None,
        }
    }
}

fn word(message: &[u8], at: usize) -> u32 {
    message.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// The sender's index of an initiation or a response.
pub(crate) fn sender(message: &[u8]) -> u32 {
    word(message, 4)
}

/// The receiver's index of a response, a cookie reply or a data message.
pub(crate) fn receiver(kind: Kind, message: &[u8]) -> u32 {
    word(message, if kind == Kind::Response { response::RECEIVER.start } else { 4 })
}

/// The counter of a data message.
pub(crate) fn counter(message: &[u8]) -> u64 {
    message.get(8..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The header of a data message.
pub(crate) fn data_header(receiver: u32, counter: u64) -> [u8; DATA_HEADER_LEN] {
    let mut header = [0; DATA_HEADER_LEN];
    header[..4].copy_from_slice(&Kind::Data.tag());
    header[4..8].copy_from_slice(&receiver.to_le_bytes());
    header[8..].copy_from_slice(&counter.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_reserved_bytes_and_length_decide_what_a_datagram_is() {
        let cases: [(&[u8], usize, Option<Kind>); 17] = [
            (&[1, 0, 0, 0], 148, Some(Kind::Initiation)),
            (&[1, 0, 0, 0], 147, None),
            (&[1, 0, 0, 0], 149, None),
            (&[1, 1, 0, 0], 148, None),
            (&[1, 0, 1, 0], 148, None),
            (&[1, 0, 0, 1], 148, None),
            (&[2, 0, 0, 0], 92, Some(Kind::Response)),
            (&[2, 0, 0, 0], 148, None),
            (&[3, 0, 0, 0], 64, Some(Kind::CookieReply)),
            (&[3, 0, 0, 0], 65, None),
            (&[4, 0, 0, 0], 31, None),
            (&[4, 0, 0, 0], 32, Some(Kind::Data)),
            (&[4, 0, 0, 0], 65_507, Some(Kind::Data)),
            (&[4, 7, 0, 0], 64, None),
            (&[0, 0, 0, 0], 64, None),
            (&[5, 0, 0, 0], 64, None),
            (&[4, 0, 0], 3, None),
        ];
        for (head, len, expected) in cases {
            let mut datagram = head.to_vec();
            datagram.resize(len, 0);
            assert_eq!(Kind::of(&datagram), expected, "{head:?} of {len}");
        }
        assert_eq!(Kind::of(&[]), None);
    }

    #[test]
    fn a_data_header_reads_back() {
        let mut message = data_header(0x0102_0304, 0x0506_0708_090a_0b0c).to_vec();
        message.resize(DATA_OVERHEAD, 0);
        assert_eq!(Kind::of(&message), Some(Kind::Data));
        assert_eq!(receiver(Kind::Data, &message), 0x0102_0304);
        assert_eq!(counter(&message), 0x0506_0708_090a_0b0c);
    }
}
