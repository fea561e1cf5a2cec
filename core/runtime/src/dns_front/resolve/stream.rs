//! A TCP connection to a resolver that queries share (RFC 7766): several under way, answered in any order.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use weft_dns::message;

use crate::doh::BoxedStream;
use crate::http::AbortOnDrop;
use crate::lock::lock;

/// The most queries that a connection has under way; more are refused.
const MAX_UNDER_WAY: usize = 128;
/// After how long without a query a connection is not used again: resolvers close theirs after 10 s and more, and a
/// query sent into a connection that is being closed is lost.
const IDLE: Duration = Duration::from_secs(5);
/// For a query to be taken by a connection.
const WRITE: Duration = Duration::from_secs(5);

/// A connection that is being opened.
pub(super) type Connecting = Pin<Box<dyn Future<Output = io::Result<BoxedStream>> + Send>>;

/// The place of a connection, there or not.
#[derive(Default)]
pub(super) struct StreamSlot {
    current: Mutex<Option<Shared>>,
    heard: Arc<AtomicU64>,
}

#[derive(Clone)]
struct Shared {
    queries: mpsc::Sender<Asked>,
    used: Instant,
    /// Whether a query was answered on it, or may be.
    fresh: bool,
    _task: Arc<AbortOnDrop>,
}

/// A query and who waits for its answer.
struct Asked {
    query: Vec<u8>,
    answered: oneshot::Sender<io::Result<Vec<u8>>>,
}

impl StreamSlot {
    /// Asks over the connection, which `connect` opens where there is none. One that was there and ends before it
    /// answers is replaced once.
    pub(super) async fn ask(&self, connect: impl Fn() -> Connecting, query: &[u8]) -> io::Result<Vec<u8>> {
        let shared = self.shared(&connect);
        match exchange(&shared, query).await {
            Err(_) if !shared.fresh => {
                self.forget(&shared);
                exchange(&self.shared(&connect), query).await
            }
            result => result,
        }
    }

    /// How often something was heard on its connections so far.
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Uses the connection for no further query.
    pub(super) fn reset(&self) {
        self.lock().take();
    }

    fn shared(&self, connect: &impl Fn() -> Connecting) -> Shared {
        let mut current = self.lock();
        let now = Instant::now();
        if let Some(shared) = &mut *current
            && !shared.queries.is_closed()
            && now.duration_since(shared.used) < IDLE
        {
            (shared.used, shared.fresh) = (now, false);
            return shared.clone();
        }
        let (queries, inbox) = mpsc::channel(MAX_UNDER_WAY);
        let task = Arc::new(AbortOnDrop(tokio::spawn(converse(connect(), inbox, Arc::clone(&self.heard)))));
        current.insert(Shared { queries, used: now, fresh: true, _task: task }).clone()
    }

    fn forget(&self, shared: &Shared) {
        let mut current = self.lock();
        if current.as_ref().is_some_and(|current| current.queries.same_channel(&shared.queries)) {
            *current = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Shared>> {
        lock(&self.current)
    }
}

async fn exchange(shared: &Shared, query: &[u8]) -> io::Result<Vec<u8>> {
    let (answered, answer) = oneshot::channel();
    let ended = || io::Error::new(io::ErrorKind::ConnectionAborted, "the connection has ended");
    let asked = Asked { query: query.to_vec(), answered };
    shared.queries.send(asked).await.map_err(|_| ended())?;
    answer.await.unwrap_or_else(|_| Err(ended()))
}

/// Opens a connection and carries queries until it ends or nobody can ask any more.
async fn converse(connecting: Connecting, mut inbox: mpsc::Receiver<Asked>, heard: Arc<AtomicU64>) {
    match connecting.await {
        Ok(stream) => Conversation::new(stream, heard).run(inbox).await,
        Err(error) => {
            inbox.close();
            while let Some(asked) = inbox.recv().await {
                // Who has given up wants no reason.
                let _gone = asked.answered.send(Err(io::Error::new(error.kind(), error.to_string())));
            }
        }
    }
}

struct Conversation {
    reading: ReadHalf<BoxedStream>,
    writing: WriteHalf<BoxedStream>,
    received: BytesMut,
    /// By the id that the query has on this connection.
    under_way: HashMap<u16, Asked>,
    heard: Arc<AtomicU64>,
}

impl Conversation {
    fn new(stream: BoxedStream, heard: Arc<AtomicU64>) -> Self {
        let (reading, writing) = tokio::io::split(stream);
        Self { reading, writing, received: BytesMut::new(), under_way: HashMap::new(), heard }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Asked>) {
        loop {
            tokio::select! {
                asked = inbox.recv() => match asked {
                    Some(asked) => match self.send(asked).await {
                        Ok(()) => {}
                        Err(_) => return,
                    },
                    None => return,
                },
                read = self.reading.read_buf(&mut self.received) => match read {
                    Ok(1..) => {
                        self.heard.fetch_add(1, Ordering::Relaxed);
                        self.take_answers();
                    }
                    _ => return,
                },
            }
        }
    }

    /// Sends a query, by another id where its own is under way already.
    async fn send(&mut self, asked: Asked) -> io::Result<()> {
        if self.under_way.len() >= MAX_UNDER_WAY {
            self.under_way.retain(|_, asked| !asked.answered.is_closed());
        }
        let own = message::id(&asked.query).ok_or(io::ErrorKind::InvalidInput)?;
        let free = (0..=u16::MAX).map(|step| own.wrapping_add(step));
        let id = free.take(MAX_UNDER_WAY).find(|id| !self.under_way.contains_key(id));
        let Some(id) = id.filter(|_| self.under_way.len() < MAX_UNDER_WAY) else {
            // Dropped, it tells the asker that nothing comes.
            return Ok(());
        };
        let mut framed = super::super::tcp::frame(&asked.query).ok_or(io::ErrorKind::InvalidInput)?;
        message::set_id(framed.get_mut(2..).unwrap_or_default(), id);
        self.under_way.insert(id, asked);
        timeout(WRITE, self.writing.write_all(&framed)).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// Hands over every answer that is whole. What answers nothing that was asked is passed over.
    fn take_answers(&mut self) {
        while let Some(length) = self.received.first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if self.received.len() < 2 + length {
                return;
            }
            self.received.advance(2);
            let mut answer = self.received.split_to(length).to_vec();
            let asked = message::id(&answer).and_then(|id| self.under_way.remove(&id));
            let Some(Asked { query, answered }) = asked else { continue };
            message::set_id(&mut answer, message::id(&query).unwrap_or_default());
            let fits = message::is_answer(&answer) && message::asks_the_same(&answer, &query);
            let result = if fits { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) };
            // Who has given up wants no answer.
            let _gone = answered.send(result);
        }
    }
}
