//! One HTTP/2 connection and the queries on it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{Request, Response, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::dial::BoxedStream;
use super::{DohError, MAX_ANSWER};
use crate::http::{AbortOnDrop, is_of_type};
use crate::tls::{TlsClient, TlsError};

/// What a DNS message is called in HTTP.
pub(super) const MEDIA_TYPE: &str = "application/dns-message";
/// Bytes of headers that an answer may have.
const MAX_HEADERS: u32 = 16 << 10;
/// Bytes of answers that may be on their way, over all queries; a query's own window is an answer's longest.
const WINDOW: u32 = 1 << 20;

/// An HTTP/2 connection. Clones share it; with the last one it ends.
#[derive(Clone)]
pub(super) struct Connection {
    /// Tells it from others.
    pub(super) number: u64,
    sender: SendRequest<Bytes>,
    heard: Arc<AtomicU64>,
    driver: Arc<AbortOnDrop>,
}

impl Connection {
    /// Shakes hands over a stream.
    pub(super) async fn open(
        number: u64,
        name: &str,
        tls: &TlsClient,
        stream: BoxedStream,
    ) -> Result<Self, DohError> {
        let stream = tls.connect(name, stream).await.map_err(|error| match error {
            TlsError::Handshake(detail) => DohError::Unreachable(detail),
            other => DohError::Untrusted(other.to_string()),
        })?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(DohError::NoHttp2);
        }
        let heard = Arc::new(AtomicU64::new(0));
        let stream = Listened { stream, heard: Arc::clone(&heard) };
        let (sender, connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(MAX_ANSWER as u32 + 1)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(MAX_HEADERS)
            .handshake(stream)
            .await
            .map_err(|error| DohError::Unreachable(error.to_string()))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("the connection to the resolver ended: {error}");
            }
        });
        Ok(Self { number, sender, heard, driver: Arc::new(AbortOnDrop(driver)) })
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.driver.0.is_finished()
    }

    /// Ends it at once, and every query on it.
    pub(super) fn abort(&self) {
        self.driver.0.abort();
    }

    /// How often something was heard on it.
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Sends a query and takes its answer.
    pub(super) async fn exchange(&self, head: Request<()>, body: Bytes) -> Result<Vec<u8>, DohError> {
        let lost = |error: h2::Error| DohError::Lost(error.to_string());
        let mut sender = self.sender.clone().ready().await.map_err(lost)?;
        let (response, mut stream) = sender.send_request(head, false).map_err(lost)?;
        stream.send_data(body, true).map_err(failure)?;
        receive(response.await.map_err(failure)?).await
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

/// A stream that counts how often something comes.
struct Listened {
    stream: TlsStream<BoxedStream>,
    heard: Arc<AtomicU64>,
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
            this.heard.fetch_add(1, Ordering::Relaxed);
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
