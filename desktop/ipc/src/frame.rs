//! Frames: a length of four bytes, big-endian, then that many bytes of JSON. Pure: bytes in, bytes out.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use zeroize::{Zeroize, Zeroizing};

/// The most bytes of JSON that one frame holds.
pub const MAX_FRAME: usize = 1 << 20;
/// The bytes of a frame's length.
const HEADER: usize = 4;

/// Why bytes are no frame of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is beyond [`MAX_FRAME`].
    #[error("a frame of {0} bytes; a frame holds at most {MAX_FRAME}")]
    TooLong(u64),
    /// The frame is not JSON of the expected shape.
    #[error("a frame that is no message of the protocol: {0}")]
    Malformed(String),
}

/// One message as a frame.
///
/// # Errors
/// [`FrameError::TooLong`] where the message does not fit.
pub fn encode<T: Serialize>(message: &T) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    let mut frame = Zeroizing::new(vec![0; HEADER]);
    serde_json::to_writer(&mut *frame, message).map_err(|error| malformed(&error))?;
    let length = frame.len().saturating_sub(HEADER);
    let header = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME);
    let header = header.ok_or(FrameError::TooLong(length as u64))?;
    frame.iter_mut().zip(header.to_be_bytes()).for_each(|(place, byte)| *place = byte);
    Ok(frame)
}

/// Reads a frame's JSON.
///
/// # Errors
/// [`FrameError::Malformed`] on one line, without a byte of what the frame held.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(body).map_err(|error| malformed(&error))
}

/// What is wrong and where. A parser's own words may quote what it read, which may be a token or a key.
fn malformed(error: &serde_json::Error) -> FrameError {
    let what = match error.classify() {
        Category::Io => "it cannot be read or written",
        Category::Syntax => "it is not JSON",
        Category::Data => "it is JSON of another shape",
        Category::Eof => "its JSON is cut short",
    };
    FrameError::Malformed(format!("{what} (line {}, column {})", error.line(), error.column()))
}

/// The bytes received and not read yet. Holds one frame and what came along with it at most, and wipes what it held.
#[derive(Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
}

impl FrameBuffer {
    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        let length = self.bytes.len();
        if self.bytes.capacity() < length + bytes.len() {
            // A vector that grows by itself leaves its former bytes behind.
            let mut grown = Vec::with_capacity((length + bytes.len()).next_power_of_two());
            grown.extend_from_slice(&self.bytes);
            self.bytes.zeroize();
            self.bytes = grown;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame's JSON; none while it is still on its way.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] as soon as the length is known: the body of such a frame is never waited for.
    pub fn next_frame(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, FrameError> {
        let Some((header, rest)) = self.bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_be_bytes(*header);
        let wanted = usize::try_from(length).ok().filter(|wanted| *wanted <= MAX_FRAME);
        let wanted = wanted.ok_or(FrameError::TooLong(length.into()))?;
        let Some((body, _)) = rest.split_at_checked(wanted) else { return Ok(None) };
        let frame = Zeroizing::new(body.to_vec());
        let left = self.bytes.len().saturating_sub(HEADER + wanted);
        self.bytes.copy_within(HEADER + wanted.., 0);
        if let Some(stale) = self.bytes.get_mut(left..) {
            stale.zeroize();
        }
        self.bytes.truncate(left);
        Ok(Some(frame))
    }

    /// Whether a frame has begun and is not whole.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.bytes.is_empty()
    }
}

impl Drop for FrameBuffer {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_cuts_them(
            messages in prop::collection::vec(".{0,200}", 0..8),
            cuts in prop::collection::vec(1usize..40, 1..20),
        ) {
            let stream: Vec<u8> =
                messages.iter().flat_map(|message| encode(message).unwrap().to_vec()).collect();
            let (mut buffer, mut seen, mut rest) = (FrameBuffer::default(), Vec::new(), stream.as_slice());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                buffer.push(now);
                rest = later;
                while let Some(frame) = buffer.next_frame().unwrap() {
                    seen.push(decode::<String>(&frame).unwrap());
                }
            }
            prop_assert_eq!(seen, messages);
            prop_assert!(!buffer.is_partial());
        }

        #[test]
        fn bytes_of_any_kind_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let mut buffer = FrameBuffer::default();
            buffer.push(&bytes);
            while let Ok(Some(frame)) = buffer.next_frame() {
                if let Err(error) = decode::<crate::Request>(&frame) {
                    prop_assert!(!error.to_string().contains('\n'));
                }
            }
        }
    }

    #[test]
    fn what_a_frame_held_is_not_repeated() {
        let cases = [
            (r#"{"register":"TOKEN-SECRET"}"#, "of another shape (line 1, column "),
            (r#""TOKEN-SECRET""#, "of another shape (line 1, column "),
            (r#"{"TOKEN-SECRET":{}}"#, "of another shape (line 1, column "),
            (r#"{"register":{"url":"x","token":["TOKEN-SECRET"]}}"#, "of another shape (line 1, column "),
            (r#"{"register":TOKEN-SECRET}"#, "not JSON (line 1, column "),
            (r#"{"register":{"token":"TOKEN-SECRET"#, "cut short (line 1, column "),
        ];
        for (frame, named) in cases {
            let error = decode::<crate::Request>(frame.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
            assert!(!error.contains("SECRET") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_frame_too_long_is_refused_before_its_body_comes() {
        let mut buffer = FrameBuffer::default();
        buffer.push(&(MAX_FRAME as u32 + 1).to_be_bytes());
        assert_eq!(buffer.next_frame(), Err(FrameError::TooLong(MAX_FRAME as u64 + 1)));
        assert_eq!(
            encode(&"x".repeat(MAX_FRAME - 1)).unwrap_err(),
            FrameError::TooLong(MAX_FRAME as u64 + 1)
        );
        let longest = encode(&"x".repeat(MAX_FRAME - 2)).unwrap();
        let mut buffer = FrameBuffer::default();
        buffer.push(&longest);
        assert_eq!(buffer.next_frame().unwrap().unwrap().len(), MAX_FRAME);
    }
}
