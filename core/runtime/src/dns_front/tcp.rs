//! Queries by a stream (RFC 7766): several on a connection, answered in the order in which their answers come.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::core::{Client, Core};

/// The most connections at once, over all addresses; more are closed at once. Each may be reading a query of 64 KiB,
/// which takes 4 MiB for all.
const MAX_CONNECTIONS: usize = 64;
/// The most queries that one connection has under way; then it is not read. With answers of 64 KiB that nobody takes,
/// all connections together hold 64 MiB, until [`WRITE`] is over.
const MAX_UNDER_WAY: usize = 16;
/// Bytes that are read at once: queries are some 50 bytes each.
const READ_AHEAD: usize = 2048;
/// How long a connection may be open with nothing asked (RFC 7766, section 6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// For the rest of a query whose beginning is there.
const READ: Duration = Duration::from_secs(5);
/// For the answers that are there to be taken.
const WRITE: Duration = Duration::from_secs(5);
/// How long a listener that fails is left alone: out of descriptors, most likely.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Room for connections, shared by all who accept them.
#[derive(Clone)]
pub(super) struct Connections(Arc<Semaphore>);

impl Connections {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CONNECTIONS)))
    }

    /// Room for one more.
    pub(super) fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }
}

/// A listening socket that can be closed while somebody waits for its connections.
pub(super) struct Listener(Mutex<Option<TcpListener>>);

impl Listener {
    pub(super) fn new(socket: TcpListener) -> Self {
        Self(Mutex::new(Some(socket)))
    }

    /// The next connection; none comes any more once it is closed.
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        std::future::poll_fn(|context| {
            let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            socket.as_ref().map_or(Poll::Pending, |socket| socket.poll_accept(context))
        })
        .await
    }

    /// Closes it at once.
    pub(super) fn close(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Takes connections until it is dropped, and all of them with it.
pub(super) async fn serve(listener: Arc<Listener>, core: Arc<Core>, connections: Connections) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                // Answers are written whole; waiting for more to send only delays them.
                let _ = stream.set_nodelay(true);
                if let Some(permit) = connections.take() {
                    open.spawn(converse(stream, Arc::clone(&core), permit));
                }
            }
            Err(error) => {
                tracing::debug!("accepting DNS connections: {error}");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

/// Serves one connection.
pub(super) async fn converse(
    stream: impl AsyncRead + AsyncWrite,
    core: Arc<Core>,
    _permit: OwnedSemaphorePermit,
) {
    let (reader, writer) = tokio::io::split(stream);
    let (answers, inbox) = mpsc::unbounded_channel();
    let mut writing = std::pin::pin!(write(writer, inbox));
    tokio::select! {
        () = read(BufReader::with_capacity(READ_AHEAD, reader), core, answers) => {}
        () = &mut writing => return,
    }
    // Nothing more is asked; what is under way is still answered.
    writing.await;
}

/// Reads queries until the end, or for as long as somebody asks.
async fn read(
    mut reader: impl AsyncRead + Unpin,
    core: Arc<Core>,
    answers: mpsc::UnboundedSender<(Vec<u8>, OwnedSemaphorePermit)>,
) {
    let under_way = Arc::new(Semaphore::new(MAX_UNDER_WAY));
    let mut query = Vec::new();
    while let Ok(permit) = Arc::clone(&under_way).acquire_owned().await {
        let Ok(Ok(first)) = timeout(IDLE, reader.read_u8()).await else { return };
        let Ok(Ok(())) = timeout(READ, read_rest(&mut reader, first, &mut query)).await else { return };
        core.query(&query, Client::Stream { answers: answers.clone(), permit });
        query.clear();
        query.shrink_to(READ_AHEAD);
    }
}

/// Reads a query after the first byte of its length. One that is too long is the engine's to refuse.
async fn read_rest(reader: &mut (impl AsyncRead + Unpin), first: u8, query: &mut Vec<u8>) -> io::Result<()> {
    let length = u16::from_be_bytes([first, reader.read_u8().await?]);
    query.resize(length.into(), 0);
    reader.read_exact(query).await?;
    Ok(())
}

/// Writes answers until nobody has any more, or the client does not take them.
async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut inbox: mpsc::UnboundedReceiver<(Vec<u8>, OwnedSemaphorePermit)>,
) {
    let mut answers = Vec::new();
    while inbox.recv_many(&mut answers, MAX_UNDER_WAY).await > 0 {
        let mut framed = Vec::new();
        for (answer, _) in &answers {
            let _too_long = append(answer, &mut framed);
        }
        if !matches!(timeout(WRITE, writer.write_all(&framed)).await, Ok(Ok(()))) {
            return;
        }
        answers.clear();
    }
    // Says that no more follows; a stream of the system's does so when it is dropped, others need not.
    let _gone = timeout(WRITE, writer.shutdown()).await;
}

/// A message behind its length. None where it is over 65,535 bytes.
pub(super) fn frame(message: &[u8]) -> Option<Vec<u8>> {
    let mut framed = Vec::with_capacity(message.len() + 2);
    append(message, &mut framed).then_some(framed)
}

/// Appends a message behind its length; nothing, and false, where it is over 65,535 bytes.
fn append(message: &[u8], framed: &mut Vec<u8>) -> bool {
    let Ok(length) = u16::try_from(message.len()) else { return false };
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    true
}
