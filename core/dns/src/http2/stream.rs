//! One query and its answer.

use super::hpack::Head;
use super::{Code, MAX_ANSWER, StreamError, StreamId};

/// What a server may send of an answer before it hears that more may come: the longest answer, with room for padding.
pub(super) const WINDOW: u32 = 1 << 17;

/// The most room that is made for an answer on its head's word.
const USUAL: usize = 4096;

/// A query that has not been answered.
pub(super) struct Stream {
    pub(super) id: StreamId,
    /// How much of the query may be sent yet; less than nothing where the server took some of it back.
    pub(super) window: i64,
    /// What of the query has not been sent.
    pub(super) unsent: Vec<u8>,
    /// How much of the answer has come, with padding.
    received: u32,
    has_head: bool,
    /// How long its head says that the answer is.
    length: Option<usize>,
    answer: Vec<u8>,
}

/// What becomes of a stream.
pub(super) enum Next {
    /// More is to come.
    More,
    /// It is over, and the server knows.
    Over(Result<Vec<u8>, StreamError>),
    /// It is over, and the server has to be told why.
    Reset(Code, StreamError),
}

impl Stream {
    pub(super) fn new(id: StreamId, window: i64) -> Self {
        Self {
            id,
            window,
            unsent: Vec::new(),
            received: 0,
            has_head: false,
            length: None,
            answer: Vec::new(),
        }
    }

    /// Takes a head, or trailers.
    pub(super) fn head(&mut self, head: Head, is_last: bool) -> Next {
        if self.has_head {
            return if is_last { self.end() } else { malformed("trailers before the end") };
        }
        let error = match head.status {
            Some(100..200) if !is_last => return Next::More,
            Some(200) if !head.is_dns => StreamError::NotDns,
            Some(200) if head.length.is_some_and(|length| length > MAX_ANSWER) => StreamError::TooLong,
            Some(200) => {
                (self.has_head, self.length) = (true, head.length);
                self.answer.reserve_exact(head.length.unwrap_or_default().min(USUAL));
                return if is_last { self.end() } else { Next::More };
            }
            Some(status) => StreamError::Status(status),
            None => return malformed("no status"),
        };
        if is_last { Next::Over(Err(error)) } else { Next::Reset(Code::Cancel, error) }
    }

    /// Takes a part of the answer, which came in `length` bytes.
    pub(super) fn data(&mut self, data: &[u8], length: u32, is_last: bool) -> Next {
        self.received = self.received.saturating_add(length);
        if !self.has_head {
            return malformed("an answer without a head");
        }
        if self.answer.len() + data.len() > MAX_ANSWER {
            return Next::Reset(Code::Cancel, StreamError::TooLong);
        }
        if self.received > WINDOW {
            return Next::Reset(Code::FlowControl, StreamError::Malformed("more than there is room for"));
        }
        self.answer.extend_from_slice(data);
        if is_last { self.end() } else { Next::More }
    }

    fn end(&mut self) -> Next {
        // RFC 9113, section 8.1.1.
        if self.length.is_some_and(|length| length != self.answer.len()) {
            return Next::Over(Err(StreamError::Malformed("another length than it said")));
        }
        Next::Over(Ok(std::mem::take(&mut self.answer)))
    }
}

fn malformed(why: &'static str) -> Next {
    Next::Reset(Code::Protocol, StreamError::Malformed(why))
}
