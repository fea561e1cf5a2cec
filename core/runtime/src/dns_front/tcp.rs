//! Queries by TCP (RFC 7766): several on a connection, answered in the order in which their answers come.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use weft_dns::MAX_QUERY;

use super::core::{Client, Core};

/// The most connections at once, over all addresses; more are closed at once.
const MAX_CONNECTIONS: usize = 64;
/// The most queries that one connection has under way; then it is not read. With answers of 64 KiB that nobody takes,
/// all connections together hold 64 MiB, until [`WRITE`] is over.
const MAX_UNDER_WAY: usize = 16;
/// How long a connection may be open with nothing asked (RFC 7766, section 6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// For the rest of a query whose beginning is there.
const READ: Duration = Duration::from_secs(5);
/// For one answer to be taken.
const WRITE: Duration = Duration::from_secs(5);
/// How long a listener that fails is left alone: out of descriptors, most likely.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Room for connections, shared by the listeners.
#[derive(Clone)]
pub(super) struct Connections(Arc<Semaphore>);

impl Connections {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CONNECTIONS)))
    }
}

/// Takes connections until it is dropped, and all of them with it.
pub(super) async fn serve(listener: TcpListener, core: Arc<Core>, connections: Connections) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                if let Ok(permit) = Arc::clone(&connections.0).try_acquire_owned() {
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
async fn converse(stream: TcpStream, core: Arc<Core>, _permit: OwnedSemaphorePermit) {
    // Answers are written whole; waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let (answers, inbox) = mpsc::unbounded_channel();
    let mut writing = std::pin::pin!(write(writer, inbox));
    tokio::select! {
        () = read(reader, core, answers) => {}
        () = &mut writing => return,
    }
    // Nothing more is asked; what is under way is still answered.
    writing.await;
}

/// Reads queries until the end, an idle time or nonsense.
async fn read(
    mut reader: OwnedReadHalf,
    core: Arc<Core>,
    answers: mpsc::UnboundedSender<(Vec<u8>, OwnedSemaphorePermit)>,
) {
    let under_way = Arc::new(Semaphore::new(MAX_UNDER_WAY));
    while let Ok(permit) = Arc::clone(&under_way).acquire_owned().await {
        let Ok(Ok(first)) = timeout(IDLE, reader.read_u8()).await else { return };
        let Ok(Ok(query)) = timeout(READ, read_rest(&mut reader, first)).await else { return };
        core.query(Client::Tcp { answers: answers.clone(), permit }, &query);
    }
}

/// Reads a query after the first byte of its length.
async fn read_rest(reader: &mut OwnedReadHalf, first: u8) -> io::Result<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([first, reader.read_u8().await?]));
    if length > MAX_QUERY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut query = vec![0; length];
    reader.read_exact(&mut query).await?;
    Ok(query)
}

/// Writes answers until nobody has any more, or the client does not take them.
async fn write(
    mut writer: OwnedWriteHalf,
    mut inbox: mpsc::UnboundedReceiver<(Vec<u8>, OwnedSemaphorePermit)>,
) {
    while let Some((answer, _permit)) = inbox.recv().await {
        let Some(framed) = frame(&answer) else { continue };
        if !matches!(timeout(WRITE, writer.write_all(&framed)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// A message behind its length. None where it is over 65,535 bytes.
pub(super) fn frame(message: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(message.len()).ok()?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    Some(framed)
}
