//! One HTTP/2 connection, the queries on it, and whether it lives.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{Request, Response, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_rustls::client::TlsStream;

use super::dial::BoxedStream;
use super::silence::Life;
use super::{DohError, MAX_ANSWER};
use crate::http::{AbortOnDrop, is_of_type};
use crate::tls::{TlsClient, TlsError};

/// What a DNS message is called in HTTP.
pub(super) const MEDIA_TYPE: &str = "application/dns-message";
/// Bytes of headers that an answer may have.
const MAX_HEADERS: u32 = 16 << 10;
/// Bytes of answers that may be on their way, over all queries; a query's own window is an answer's longest.
const WINDOW: u32 = 1 << 20;

/// The longest time that a connection may be silent while a query waits on it, however slowly it was opened.
const MAX_SILENCE: Duration = Duration::from_secs(2);

/// An HTTP/2 connection. Clones share it; with the last one it ends.
#[derive(Clone)]
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    shared: Arc<Shared>,
}

struct Shared {
    life: Arc<Life>,
    answered: AtomicBool,
    room: Arc<Room>,
    driver: AbortOnDrop,
}

/// Streams of a connection whose server has not said yet how many it allows: the fewest that it should (RFC 9113,
/// section 6.5.2).
const STREAMS: usize = 100;

/// What the connections of a pool have in common: who waits for a place on any of them.
pub(super) struct Room {
    waiting: AtomicUsize,
    freed: Notify,
    /// How many streams the server allowed on a connection last.
    streams: AtomicUsize,
}

impl Default for Room {
    fn default() -> Self {
        Self { waiting: AtomicUsize::new(0), freed: Notify::new(), streams: AtomicUsize::new(STREAMS) }
    }
}

impl Room {
    /// Counts somebody who waits until it is dropped.
    pub(super) fn enter(&self) -> Waiter<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Waiter(self)
    }

    /// A place that is given back from now on.
    pub(super) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// How many connections those who wait would fill.
    pub(super) fn connections_wanted(&self) -> usize {
        let streams = self.streams.load(Ordering::Relaxed).max(1);
        self.waiting.load(Ordering::SeqCst).div_ceil(streams)
    }

    /// There are places for many.
    pub(super) fn note_many_free(&self) {
        self.freed.notify_waiters();
    }

    fn note_free(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
    }
}

/// Somebody who waits for a place.
pub(super) struct Waiter<'a>(&'a Room);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A query's place on a connection.
pub(super) struct Lease(Connection);

impl Connection {
    /// Shakes hands over a stream that was begun to be opened at `began`. It may be silent for `silence` at least.
    pub(super) async fn open(
        name: &str,
        tls: &TlsClient,
        stream: BoxedStream,
        began: tokio::time::Instant,
        silence: Duration,
        room: Arc<Room>,
    ) -> Result<Self, DohError> {
        let stream = tls.connect(name, stream).await.map_err(|error| match error {
            TlsError::Handshake(detail) => DohError::Unreachable(detail),
            other => DohError::Untrusted(other.to_string()),
        })?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(DohError::NoHttp2);
        }
        // As long as it took to open it, which is two round trips at least.
        let silence = began.elapsed().min(MAX_SILENCE).max(silence);
        let life = Arc::new(Life::new(silence));
        let stream = Listened { stream, life: Arc::clone(&life) };
        let (sender, mut connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(MAX_ANSWER as u32 + 1)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(MAX_HEADERS)
            .handshake(stream)
            .await
            .map_err(|error| DohError::Unreachable(error.to_string()))?;
        life.set_pings(connection.ping_pong());
        let watched = Arc::clone(&life);
        let driver = AbortOnDrop(tokio::spawn(async move {
            if let Err(error) = watched.watch(connection).await {
                tracing::debug!("the connection to the resolver ended: {error}");
            }
        }));
        let shared = Shared { life, answered: AtomicBool::new(false), room, driver };
        Ok(Self { sender, shared: Arc::new(shared) })
    }

    /// Whether the two are one.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.shared.driver.0.is_finished()
    }

    /// Ends it at once, and every query on it.
    pub(super) fn abort(&self) {
        self.shared.driver.0.abort();
    }

    /// Whether the server allows another stream. The first that it says on a connection is how many.
    pub(super) fn has_room(&self) -> bool {
        let streams = if self.shared.life.has_heard() {
            let streams = self.sender.current_max_send_streams();
            self.shared.room.streams.store(streams, Ordering::Relaxed);
            streams
        } else {
            self.shared.room.streams.load(Ordering::Relaxed).min(STREAMS)
        };
        self.shared.life.under_way() < streams
    }

    /// Whether there was no query on it for `time`.
    pub(super) fn is_unused_for(&self, time: Duration) -> bool {
        self.shared.life.is_unused_for(time)
    }

    /// Notes that it gave an answer; whether that is the first.
    pub(super) fn note_answer(&self) -> bool {
        !self.has_answered() && !self.shared.answered.swap(true, Ordering::Relaxed)
    }

    /// Whether it ever gave an answer.
    pub(super) fn has_answered(&self) -> bool {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Whether something was heard on it since `moment`.
    pub(super) fn was_heard_since(&self, moment: Instant) -> bool {
        self.shared.life.last_heard() >= moment
    }

    /// A place on it, to be given back by dropping it.
    pub(super) fn lease(&self) -> Lease {
        self.shared.life.begin();
        Lease(self.clone())
    }
}

impl Lease {
    pub(super) fn connection(&self) -> &Connection {
        &self.0
    }

    /// Sends a query and takes its answer. Head and body are handed over together, so that they leave together.
    pub(super) async fn exchange(&self, head: Request<()>, body: Bytes) -> Result<Vec<u8>, DohError> {
        let lost = |error: h2::Error| DohError::Lost(error.to_string());
        let mut sender = self.0.sender.clone().ready().await.map_err(lost)?;
        let (response, mut stream) = sender.send_request(head, false).map_err(lost)?;
        stream.send_data(body, true).map_err(failure)?;
        receive(response.await.map_err(failure)?).await
    }

    /// Waits for an exchange while the connection lives. Else the moment since when it owes a sign of life.
    pub(super) async fn listen<T>(&self, exchange: Pin<&mut impl Future<Output = T>>) -> Result<T, Instant> {
        let mut silent = std::pin::pin!(self.0.shared.life.silent());
        tokio::select! {
            biased;
            result = exchange => Ok(result),
            since = &mut silent => Err(since),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let shared = &self.0.shared;
        shared.life.end();
        shared.room.note_free();
    }
}

/// Checks an answer's head and takes its body.
async fn receive(response: Response<RecvStream>) -> Result<Vec<u8>, DohError> {
    if response.status() != StatusCode::OK {
        return Err(DohError::Status(response.status().as_u16()));
    }
    if !is_of_type(response.headers(), MEDIA_TYPE) {
        return Err(DohError::NotDns);
    }
    let length = response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length = length.and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    if length > MAX_ANSWER {
        return Err(DohError::TooLong);
    }
    let mut body = response.into_body();
    let mut answer = Vec::with_capacity(length);
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(failure)?;
        if answer.len() + chunk.len() > MAX_ANSWER {
            return Err(DohError::TooLong);
        }
        answer.extend_from_slice(&chunk);
        body.flow_control().release_capacity(chunk.len()).map_err(failure)?;
    }
    Ok(answer)
}

/// Whether one stream was broken off, or all of them.
fn failure(error: h2::Error) -> DohError {
    // A refused stream was not looked at (RFC 9113, section 8.7).
    if error.reason() == Some(h2::Reason::REFUSED_STREAM) {
        DohError::Busy
    } else if error.is_reset() {
        DohError::Broken(error.to_string())
    } else {
        DohError::Lost(error.to_string())
    }
}

/// A stream that notes when something comes.
struct Listened {
    stream: TlsStream<BoxedStream>,
    life: Arc<Life>,
}

impl AsyncRead for Listened {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            this.life.note_heard();
        }
        polled
    }
}

impl AsyncWrite for Listened {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
