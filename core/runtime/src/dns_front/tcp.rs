//! Queries by a stream (RFC 7766): several on a connection, answered in the order in which their answers come.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use weft_dns::message;

use super::connections::{Connections, Place, UnderWay};
use super::core::{Client, Core};
use crate::lock::lock;

/// Bytes that are read at once: queries are some 50 bytes each.
const READ_AHEAD: usize = 2048;
/// The most answers that are written at once.
const AT_ONCE: usize = 16;
/// How long a connection may be open with nothing asked (RFC 7766, section 6.2.3); who asks for it is told so (RFC 7828).
const IDLE: Duration = Duration::from_secs(10);
/// For the rest of a query whose beginning is there.
const READ: Duration = Duration::from_secs(5);
/// For the answers that are there to be taken.
const WRITE: Duration = Duration::from_secs(5);
/// How long a listener that fails is left alone: out of descriptors, most likely.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// A query that came by a stream.
pub(super) struct Asked {
    /// It asks how long the connection stays open.
    keeps_alive: bool,
    _under_way: UnderWay,
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
            let socket = lock(&self.0);
            socket.as_ref().map_or(Poll::Pending, |socket| socket.poll_accept(context))
        })
        .await
    }

    /// Closes it at once.
    pub(super) fn close(&self) {
        drop(lock(&self.0).take());
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
                if let Some(place) = connections.take() {
                    open.spawn(converse(stream, Arc::clone(&core), place));
                }
            }
            Err(error) => {
                tracing::debug!("accepting DNS connections: {error}");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

/// Serves one connection, until its place is somebody else's.
pub(super) async fn converse(stream: impl AsyncRead + AsyncWrite, core: Arc<Core>, place: Place) {
    let (reader, writer) = tokio::io::split(stream);
    let (answers, inbox) = mpsc::unbounded_channel();
    let mut writing = std::pin::pin!(write(writer, inbox));
    tokio::select! {
        () = read(BufReader::with_capacity(READ_AHEAD, reader), core, answers, &place) => {}
        () = &mut writing => return,
        () = place.evicted() => return,
    }
    // Nothing more is asked; what is under way is still answered.
    writing.await;
}

/// Reads queries until the end, or for as long as somebody asks.
async fn read(
    mut reader: impl AsyncRead + Unpin,
    core: Arc<Core>,
    answers: mpsc::UnboundedSender<(Vec<u8>, Asked)>,
    place: &Place,
) {
    let mut query = Vec::new();
    while let Some(room) = place.room().await {
        let Ok(Ok(first)) = timeout(IDLE, reader.read_u8()).await else { return };
        let Ok(Ok(())) = timeout(READ, read_rest(&mut reader, first, &mut query)).await else { return };
        let asked = Asked { keeps_alive: message::asks_keepalive(&query), _under_way: place.begin(room) };
        core.query(&query, Client::Stream { answers: answers.clone(), asked });
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
async fn write(mut writer: impl AsyncWrite + Unpin, mut inbox: mpsc::UnboundedReceiver<(Vec<u8>, Asked)>) {
    let mut answers = Vec::new();
    while inbox.recv_many(&mut answers, AT_ONCE).await > 0 {
        let mut framed = Vec::new();
        for (answer, asked) in &mut answers {
            if asked.keeps_alive {
                message::add_keepalive(answer, IDLE);
            }
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
