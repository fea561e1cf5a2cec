//! What comes over the daemon's socket.

use serde::Serialize;
use serde::de::DeserializeOwned;
use weft_ipc::{FrameBuffer, Hello, Request, Response, frame};

use crate::{Outcome, assert_one_line};

/// A stream of frames, as it comes over the socket in pieces.
pub fn ipc_frame(data: &[u8]) -> Outcome {
    let mut buffer = FrameBuffer::default();
    let (mut taken, mut refused) = (false, false);
    for piece in data.chunks(7) {
        buffer.push(piece);
        loop {
            match buffer.next_frame() {
                Ok(Some(body)) => {
                    let known =
                        message::<Request>(&body) | message::<Hello>(&body) | message::<Response>(&body);
                    taken |= known;
                    refused |= !known;
                }
                Ok(None) => break,
                Err(error) => {
                    // The connection ends here.
                    assert_one_line(&error);
                    return Outcome::Refused;
                }
            }
        }
    }
    (taken && !refused && !buffer.is_partial()).into()
}

fn message<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(body: &[u8]) -> bool {
    match frame::decode::<T>(body) {
        Ok(message) => {
            let written = frame::encode(&message).unwrap_or_else(|error| panic!("written: {error}"));
            let mut buffer = FrameBuffer::default();
            buffer.push(&written);
            let body = buffer.next_frame().ok().flatten().unwrap_or_default();
            assert_eq!(frame::decode::<T>(&body), Ok(message), "a message survives being written");
            true
        }
        Err(error) => {
            assert_one_line(&error);
            false
        }
    }
}
