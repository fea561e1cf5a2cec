//! HTTP/2 (RFC 9113) as far as DNS over HTTPS needs it of a client: many small POST requests of one resource side by side,
//! and their answers. Sans-IO.
//!
//! ```text
//! ask() ──► frames ──► output() ──► the server ──► handle_input() ──► poll_answer()
//! ```
//!
//! Nothing that a server sends makes it keep more than an answer for each query that is under way, a begun frame, a head, the
//! table of 4 KiB that heads refer to, and a bounded number of replies.

mod frame;
mod hpack;
mod huffman;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use zeroize::{Zeroize as _, Zeroizing};

use self::frame::{Frame, HEADER, MAX_PAYLOAD, flag, kind};
use self::hpack::{Decoder, Encoder};
use self::stream::{Next, Stream};

/// What a DNS message is called in HTTP (RFC 8484, section 6).
const MEDIA_TYPE: &str = "application/dns-message";
/// The longest answer in bytes.
pub const MAX_ANSWER: usize = 65_535;
/// The longest head in bytes, compressed and with its frames' own.
const MAX_HEAD: usize = 16 << 10;
/// Bytes of answers that may be on their way, over all queries.
const WINDOW: u32 = 1 << 20;
/// What a window is that nobody has set (section 6.9.2).
const DEFAULT_WINDOW: u32 = 65_535;
/// The largest window (section 6.9.1).
const MAX_WINDOW: i64 = (1 << 31) - 1;
/// Unsent bytes over which a server does not read: it is asked nothing more, and one that wants replies is cut off.
const MAX_UNSENT: usize = 1 << 20;
/// The most room that an empty buffer keeps.
const KEPT: usize = 16 << 10;

/// A query on its connection. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u32);

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The server did not look at it (section 8.7): it may be sent again.
    #[error("the server takes no more queries on this connection")]
    Refused,
    /// The server broke it off with this code (section 7).
    #[error("the server broke it off, code {0}")]
    Reset(u32),
    /// The server answered with this status.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The answer is no DNS message.
    #[error("not {MEDIA_TYPE}")]
    NotDns,
    /// The answer is longer than [`MAX_ANSWER`].
    #[error("longer than {MAX_ANSWER} bytes")]
    TooLong,
    /// The answer is no HTTP.
    #[error("no HTTP: {0}")]
    Malformed(&'static str),
}

/// Why a connection is over, and everything on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no HTTP/2: {detail}")]
pub struct ConnectionError {
    code: Code,
    detail: &'static str,
}

impl ConnectionError {
    fn new(code: Code, detail: &'static str) -> Self {
        Self { code, detail }
    }

    fn protocol(detail: &'static str) -> Self {
        Self::new(Code::Protocol, detail)
    }
}

/// Why somebody breaks something off (section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Protocol = 1,
    FlowControl = 3,
    FrameSize = 6,
    Refused = 7,
    Cancel = 8,
    Compression = 9,
    EnhanceYourCalm = 11,
}

impl Code {
    fn to_bytes(self) -> [u8; 4] {
        (self as u32).to_be_bytes()
    }
}

/// A head whose frames have not all come.
struct Block {
    stream: StreamId,
    is_last: bool,
    bytes: Vec<u8>,
    /// With the frames' own.
    length: usize,
}

/// What the server said.
struct Server {
    /// How many queries it takes at a time; any number while it has not said.
    streams: u32,
    window: u32,
    payload: usize,
    has_said: bool,
}

/// The client's end of one connection.
pub struct Client {
    encoder: Encoder,
    decoder: Decoder,
    out: Zeroizing<Vec<u8>>,
    /// How much of `out` has been sent.
    sent: usize,
    /// The beginning of a frame.
    partial: Vec<u8>,
    block: Option<Block>,
    /// In their order.
    streams: Vec<Stream>,
    next: u32,
    server: Server,
    /// How much may be sent yet, over all streams.
    window: i64,
    /// How much came that the server has not been told it may send again.
    received: u32,
    /// Why the server takes no more, as a code (section 7).
    goodbye: Option<u32>,
    /// A ping is under way.
    awaits_pong: bool,
    answers: VecDeque<(StreamId, Result<Vec<u8>, StreamError>)>,
}

impl Client {
    /// A client that asks the resource `path` of `authority`, both of which must be valid in a URI, with a bearer token
    /// where there is one. Its first words are in [`output`](Self::output). None where such a head is longer than a server has
    /// to take.
    #[must_use]
    pub fn new(authority: &str, path: &str, token: Option<&str>) -> Option<Self> {
        let length = authority.len() + path.len() + token.map_or(0, str::len);
        if length > MAX_PAYLOAD / 2 {
            return None;
        }
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let mut settings = Vec::new();
        // No push, and the streams' window (section 6.5.2).
        for (setting, value) in [(2_u16, 0), (4, stream::WINDOW), (6, MAX_HEAD as u32)] {
            settings.extend_from_slice(&setting.to_be_bytes());
            settings.extend_from_slice(&value.to_be_bytes());
        }
        frame::put(&mut out, kind::SETTINGS, 0, 0, &settings);
        frame::put(&mut out, kind::WINDOW_UPDATE, 0, 0, &(WINDOW - DEFAULT_WINDOW).to_be_bytes());
        Some(Self {
            encoder: Encoder::new(authority, path, token),
            decoder: Decoder::new(),
            out: Zeroizing::new(out),
            sent: 0,
            partial: Vec::new(),
            block: None,
            streams: Vec::new(),
            next: 1,
            server: Server {
                streams: u32::MAX,
                window: DEFAULT_WINDOW,
                payload: MAX_PAYLOAD,
                has_said: false,
            },
            window: DEFAULT_WINDOW.into(),
            received: 0,
            goodbye: None,
            awaits_pong: false,
            answers: VecDeque::new(),
        })
    }

    /// How many queries the server takes at a time; none while it has not said. It refuses those beyond.
    #[must_use]
    pub fn max_streams(&self) -> Option<u32> {
        self.server.has_said.then_some(self.server.streams)
    }

    /// Whether no other query can be asked on this connection: the server said goodbye, or does not read. Those under way may
    /// still be answered.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.goodbye.is_some() || self.next > u32::MAX >> 1 || self.output().len() > MAX_UNSENT
    }

    /// The code (section 7) with which the server said goodbye; 0 where nothing was wrong.
    #[must_use]
    pub fn goodbye(&self) -> Option<u32> {
        self.goodbye
    }

    /// Asks a query. None where the connection [is closing](Self::is_closing).
    pub fn ask(&mut self, query: &[u8]) -> Option<StreamId> {
        if self.is_closing() {
            return None;
        }
        let id = StreamId(self.next);
        self.next += 2;
        let head = self.out.len();
        let flags = flag::END_HEADERS | if query.is_empty() { flag::END_STREAM } else { 0 };
        frame::put_header(&mut self.out, kind::HEADERS, flags, id.0, 0);
        self.encoder.encode(query.len(), &mut self.out);
        frame::set_length(&mut self.out, head);
        let mut stream = Stream::new(id, self.server.window.into());
        let sent = send(&mut self.out, &mut stream, &mut self.window, self.server.payload, query);
        stream.unsent = query.get(sent..).unwrap_or_default().to_vec();
        self.streams.push(stream);
        Some(id)
    }

    /// Gives a query up. Nothing is heard of it any more.
    pub fn give_up(&mut self, id: StreamId) {
        if let Some(place) = self.place(id) {
            self.streams.remove(place);
            self.reset(id, Code::Cancel);
        }
    }

    /// Asks for a sign of life, unless one is awaited. Whatever comes is one.
    pub fn ping(&mut self) {
        if !std::mem::replace(&mut self.awaits_pong, true) {
            frame::put(&mut self.out, kind::PING, 0, 0, &[0; 8]);
        }
    }

    /// What is to be sent.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.out.get(self.sent..).unwrap_or_default()
    }

    /// So many bytes of [`output`](Self::output) have been sent.
    pub fn handle_sent(&mut self, count: usize) {
        let before = self.sent;
        self.sent = self.out.len().min(before + count);
        // Of the credential in it nothing stays.
        if let Some(sent) = self.out.get_mut(before..self.sent) {
            sent.zeroize();
        }
        if self.sent >= self.out.len() {
            self.out.clear();
            self.out.shrink_to(KEPT);
            self.sent = 0;
        } else if self.sent > KEPT {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// The next query that is over, and its answer.
    pub fn poll_answer(&mut self) -> Option<(StreamId, Result<Vec<u8>, StreamError>)> {
        self.answers.pop_front()
    }

    /// Takes what came. Answers that came whole before an error are there.
    ///
    /// # Errors
    /// The server does not keep to HTTP/2. Nothing more is to be asked or taken; what is left to send tells it why.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        let taken = if self.partial.is_empty() {
            let mut input = bytes;
            let taken = self.take_frames(&mut input);
            self.partial.extend_from_slice(input);
            taken
        } else {
            self.partial.extend_from_slice(bytes);
            let partial = std::mem::take(&mut self.partial);
            let mut input = &*partial;
            let taken = self.take_frames(&mut input);
            let used = partial.len() - input.len();
            self.partial = partial;
            self.partial.drain(..used);
            taken
        };
        self.partial.shrink_to(KEPT);
        if let Err(error) = &taken {
            let last = [0; 4];
            frame::put(&mut self.out, kind::GOAWAY, 0, 0, &[last, error.code.to_bytes()].concat());
        }
        taken
    }

    fn take_frames(&mut self, input: &mut &[u8]) -> Result<(), ConnectionError> {
        while let Some(frame) = Frame::take(input)? {
            self.take(frame)?;
        }
        Ok(())
    }

    fn take(&mut self, frame: Frame<'_>) -> Result<(), ConnectionError> {
        let goes_on = |block: &Block| frame.kind == kind::CONTINUATION && frame.stream == block.stream.0;
        if self.block.as_ref().is_some_and(|block| !goes_on(block)) {
            return Err(ConnectionError::protocol("a head is interrupted"));
        }
        if !self.server.has_said && frame.kind != kind::SETTINGS {
            return Err(ConnectionError::protocol("it does not begin with settings"));
        }
        match frame.kind {
            kind::DATA => self.take_data(frame),
            kind::HEADERS => self.take_headers(frame),
            kind::CONTINUATION => self.take_continuation(frame),
            kind::RST_STREAM => self.take_reset(frame),
            kind::SETTINGS => self.take_settings(frame),
            kind::PUSH_PROMISE => Err(ConnectionError::protocol("a push, though there are to be none")),
            kind::PING => self.take_ping(frame),
            kind::GOAWAY => self.take_goodbye(frame),
            kind::WINDOW_UPDATE => self.take_window(frame),
            // PRIORITY, which says nothing any more, and what this does not know (sections 5.3 and 4.1).
            _ => Ok(()),
        }
    }

    fn take_data(&mut self, frame: Frame<'_>) -> Result<(), ConnectionError> {
        let id = self.stream_of(frame)?;
        let content = frame.content()?;
        let length = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
        self.received = self.received.saturating_add(length);
        if self.received > WINDOW {
            return Err(ConnectionError::new(Code::FlowControl, "more than there is room for"));
        }
        let is_last = frame.has(flag::END_STREAM);
        self.with(id, |stream| stream.data(content, length, is_last));
        if self.received > WINDOW / 2 {
            let received = std::mem::take(&mut self.received);
            self.reply(kind::WINDOW_UPDATE, 0, &received.to_be_bytes())?;
        }
        Ok(())
    }

    fn take_headers(&mut self, frame: Frame<'_>) -> Result<(), ConnectionError> {
        let (stream, is_last) = (self.stream_of(frame)?, frame.has(flag::END_STREAM));
        let content = frame.content()?;
        if frame.has(flag::END_HEADERS) {
            return self.take_head(stream, is_last, content);
        }
        self.block = Some(Block { stream, is_last, bytes: content.to_vec(), length: HEADER + content.len() });
        Ok(())
    }

    fn take_continuation(&mut self, frame: Frame<'_>) -> Result<(), ConnectionError> {
        let nothing = ConnectionError::protocol("a head goes on that did not begin");
        let mut block = self.block.take().ok_or(nothing)?;
        block.length += HEADER + frame.payload.len();
        // The connection's end, since what it would say of other heads is lost with this one.
        if block.length > MAX_HEAD {
            return Err(ConnectionError::new(Code::EnhanceYourCalm, "a head is too long"));
        }
        block.bytes.extend_from_slice(frame.payload);
        if frame.has(flag::END_HEADERS) {
            return self.take_head(block.stream, block.is_last, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    fn take_head(&mut self, id: StreamId, is_last: bool, bytes: &[u8]) -> Result<(), ConnectionError> {
        // Of streams that are over too: the heads that follow may name its headers.
        let head = self.decoder.decode(bytes);
        let head = head.map_err(|_| ConnectionError::new(Code::Compression, "a head cannot be read"))?;
        self.with(id, |stream| stream.head(head, is_last));
        Ok(())
    }

    fn take_reset(&mut self, frame: Frame<'_>) -> Result<(), ConnectionError> {
        let (id, code) = (self.stream_of(frame)?, frame.number()?);
        let refused = code == Code::Refused as u32;
        let error = if refused { StreamError::Refused } else { StreamError::Reset(code) };
        if let Some(place) = self.place(id) {
            self.streams.remove(place);
            self.answers.push_back((id, Err(error)));
        }
        Ok(())
    }

    fn take_settings(&mut self, frame: Frame<'_>) -> Result<(), ConnectionError> {
        let (settings, rest) = frame.payload.as_chunks::<6>();
        frame.must_be_of_connection()?;
        if !rest.is_empty() || frame.has(flag::ACK) && !settings.is_empty() {
            return Err(ConnectionError::new(Code::FrameSize, "settings that are none"));
        }
        if frame.has(flag::ACK) {
            return Ok(());
        }
        self.server.has_said = true;
        for [a, b, value @ ..] in settings {
            self.set(u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value))?;
        }
        self.reply(kind::SETTINGS, flag::ACK, &[])?;
        self.send_rest();
        Ok(())
    }

    /// Takes one setting (section 6.5.2).
    fn set(&mut self, setting: u16, value: u32) -> Result<(), ConnectionError> {
        match setting {
            1 => self.encoder.set_table(value),
            3 => self.server.streams = value,
            4 => {
                let change = i64::from(value) - i64::from(self.server.window);
                self.server.window = value;
                for stream in &mut self.streams {
                    stream.window += change;
                }
                if self.streams.iter().any(|stream| stream.window > MAX_WINDOW)
                    || i64::from(value) > MAX_WINDOW
                {
                    return Err(ConnectionError::new(Code::FlowControl, "a window is too large"));
                }
            }
            5 => {
                let value = usize::try_from(value).unwrap_or(usize::MAX);
                if !(MAX_PAYLOAD..1 << 24).contains(&value) {
                    return Err(ConnectionError::protocol("a frame cannot be so long"));
                }
                self.server.payload = value;
            }
            _ => {}
        }
        Ok(())
    }

    fn take_ping(&mut self, frame: Frame<'_>) -> Result<(), ConnectionError> {
        frame.must_be_of_connection()?;
        if frame.payload.len() != 8 {
            return Err(ConnectionError::new(Code::FrameSize, "a ping that is none"));
        }
        if frame.has(flag::ACK) {
            self.awaits_pong = false;
            return Ok(());
        }
        self.reply(kind::PING, flag::ACK, frame.payload)
    }

    /// The server takes no more; what it did not look at is over.
    fn take_goodbye(&mut self, frame: Frame<'_>) -> Result<(), ConnectionError> {
        frame.must_be_of_connection()?;
        let Some((&[a, b, c, d, code @ ..], _debug)) = frame.payload.split_first_chunk::<8>() else {
            return Err(ConnectionError::new(Code::FrameSize, "a goodbye that is none"));
        };
        self.goodbye = Some(u32::from_be_bytes(code));
        let last = StreamId(u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff);
        let first = self.streams.partition_point(|stream| stream.id <= last);
        let refused = self.streams.drain(first..).map(|stream| (stream.id, Err(StreamError::Refused)));
        self.answers.extend(refused);
        Ok(())
    }

    fn take_window(&mut self, frame: Frame<'_>) -> Result<(), ConnectionError> {
        let more = i64::from(frame.number()? & 0x7fff_ffff);
        if more == 0 {
            return Err(ConnectionError::protocol("a window grows by nothing"));
        }
        let window = if frame.stream == 0 {
            Some(&mut self.window)
        } else {
            let id = self.stream_of(frame)?;
            self.place(id).and_then(|place| self.streams.get_mut(place)).map(|stream| &mut stream.window)
        };
        let Some(window) = window else { return Ok(()) };
        *window += more;
        if *window > MAX_WINDOW {
            return Err(ConnectionError::new(Code::FlowControl, "a window is too large"));
        }
        self.send_rest();
        Ok(())
    }

    /// The stream that a frame is of, which was begun once.
    fn stream_of(&self, frame: Frame<'_>) -> Result<StreamId, ConnectionError> {
        if frame.stream % 2 == 1 && frame.stream < self.next {
            Ok(StreamId(frame.stream))
        } else {
            Err(ConnectionError::protocol("a stream that nobody began"))
        }
    }

    fn place(&self, id: StreamId) -> Option<usize> {
        self.streams.binary_search_by_key(&id, |stream| stream.id).ok()
    }

    /// Does something with a stream, unless it is over.
    fn with(&mut self, id: StreamId, act: impl FnOnce(&mut Stream) -> Next) {
        let Some(place) = self.place(id) else { return };
        let Some(stream) = self.streams.get_mut(place) else { return };
        let result = match act(stream) {
            Next::More => return,
            Next::Over(result) => {
                // The server may answer before it has heard the whole query, and does not want the rest then.
                if !stream.unsent.is_empty() {
                    self.reset(id, Code::Cancel);
                }
                result
            }
            Next::Reset(code, error) => {
                self.reset(id, code);
                Err(error)
            }
        };
        self.streams.remove(place);
        self.answers.push_back((id, result));
    }

    fn reset(&mut self, id: StreamId, code: Code) {
        frame::put(&mut self.out, kind::RST_STREAM, 0, id.0, &code.to_bytes());
    }

    /// Sends what the server asked for, unless it does not read.
    fn reply(&mut self, kind: u8, flags: u8, payload: &[u8]) -> Result<(), ConnectionError> {
        if self.output().len() > MAX_UNSENT {
            return Err(ConnectionError::new(Code::EnhanceYourCalm, "it takes no replies"));
        }
        frame::put(&mut self.out, kind, flags, 0, payload);
        Ok(())
    }

    /// Sends what the windows had no room for.
    fn send_rest(&mut self) {
        for stream in self.streams.iter_mut().filter(|stream| !stream.unsent.is_empty()) {
            let unsent = std::mem::take(&mut stream.unsent);
            let sent = send(&mut self.out, stream, &mut self.window, self.server.payload, &unsent);
            stream.unsent = unsent;
            stream.unsent.drain(..sent);
        }
    }
}

/// Sends of `rest`, the end of a query, what there is room for, and gives how much that is.
fn send(out: &mut Vec<u8>, stream: &mut Stream, window: &mut i64, payload: usize, rest: &[u8]) -> usize {
    let mut sent = 0;
    while let Some(left) = rest.get(sent..).filter(|left| !left.is_empty()) {
        let room = usize::try_from(stream.window.min(*window)).unwrap_or_default().min(payload);
        let Some((part, after)) =
            left.split_at_checked(room.min(left.len())).filter(|(part, _)| !part.is_empty())
        else {
            break;
        };
        let flags = if after.is_empty() { flag::END_STREAM } else { 0 };
        frame::put(out, kind::DATA, flags, stream.id.0, part);
        let count = i64::try_from(part.len()).unwrap_or_default();
        stream.window -= count;
        *window -= count;
        sent += part.len();
    }
    sent
}
