//! Frames (RFC 9113, section 4.1).

use super::{Code, ConnectionError};

/// Bytes before the payload.
pub(super) const HEADER: usize = 9;
/// The longest payload that anybody sends here, and that everybody takes (section 4.2).
pub(super) const MAX_PAYLOAD: usize = 16_384;

/// What a frame is (section 6).
pub(super) mod kind {
    pub(in crate::http2) const DATA: u8 = 0;
    pub(in crate::http2) const HEADERS: u8 = 1;
    pub(in crate::http2) const RST_STREAM: u8 = 3;
    pub(in crate::http2) const SETTINGS: u8 = 4;
    pub(in crate::http2) const PUSH_PROMISE: u8 = 5;
    pub(in crate::http2) const PING: u8 = 6;
    pub(in crate::http2) const GOAWAY: u8 = 7;
    pub(in crate::http2) const WINDOW_UPDATE: u8 = 8;
    pub(in crate::http2) const CONTINUATION: u8 = 9;
}

/// What is said of a frame; its meaning is the kind's.
pub(super) mod flag {
    pub(in crate::http2) const ACK: u8 = 0x1;
    pub(in crate::http2) const END_STREAM: u8 = 0x1;
    pub(in crate::http2) const END_HEADERS: u8 = 0x4;
    pub(in crate::http2) const PADDED: u8 = 0x8;
    pub(in crate::http2) const PRIORITY: u8 = 0x20;
}

/// A frame that came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Takes the first frame off `input`; none where it is not whole yet.
    pub(super) fn take(input: &mut &'a [u8]) -> Result<Option<Self>, ConnectionError> {
        let Some((&[a, b, c, kind, flags, d, e, f, g], rest)) = input.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
        if length > MAX_PAYLOAD {
            return Err(ConnectionError::new(Code::FrameSize, "a frame is too long"));
        }
        let Some((payload, rest)) = rest.split_at_checked(length) else { return Ok(None) };
        *input = rest;
        Ok(Some(Self { kind, flags, stream: u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff, payload }))
    }

    /// Refuses a frame of a stream where it speaks of the connection.
    pub(super) fn must_be_of_connection(&self) -> Result<(), ConnectionError> {
        let wrong = ConnectionError::new(Code::Protocol, "a stream speaks for the connection");
        if self.stream == 0 { Ok(()) } else { Err(wrong) }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What is left of the payload of a DATA or HEADERS frame without its padding and priority.
    pub(super) fn content(&self) -> Result<&'a [u8], ConnectionError> {
        let too_short = || ConnectionError::new(Code::Protocol, "a frame is shorter than its padding");
        let mut content = self.payload;
        let mut padding = 0;
        if self.has(flag::PADDED) {
            let (length, rest) = content.split_first().ok_or_else(too_short)?;
            (padding, content) = (usize::from(*length), rest);
        }
        if self.kind == kind::HEADERS && self.has(flag::PRIORITY) {
            content = content.get(5..).ok_or_else(too_short)?;
        }
        let end = content.len().checked_sub(padding).ok_or_else(too_short)?;
        content.get(..end).ok_or_else(too_short)
    }

    /// The payload, which is a number.
    pub(super) fn number(&self) -> Result<u32, ConnectionError> {
        let bytes = self.payload.try_into();
        let bytes = bytes
            .map_err(|_| ConnectionError::new(Code::FrameSize, "a frame has another length than its kind"))?;
        Ok(u32::from_be_bytes(bytes))
    }
}

/// Appends the header of a frame; the payload of `length` bytes is for the caller to append.
pub(super) fn put_header(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, length: usize) {
    let [_, a, b, c] = u32::try_from(length).unwrap_or_default().to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, d, e, f, g]);
}

/// Appends a frame.
pub(super) fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    put_header(out, kind, flags, stream, payload.len());
    out.extend_from_slice(payload);
}

/// Sets the length in the header that begins at `header`: everything after it is the payload.
pub(super) fn set_length(out: &mut [u8], header: usize) {
    let length = out.len().saturating_sub(header + HEADER);
    let [_, length @ ..] = u32::try_from(length).unwrap_or_default().to_be_bytes();
    if let Some(place) = out.get_mut(header..header + length.len()) {
        place.copy_from_slice(&length);
    }
}
