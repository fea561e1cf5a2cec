//! One HTTP/2 connection, the queries on it, and whether it lives.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_rustls::client::TlsStream;
use weft_dns::RequestId;
use weft_dns::http2::Client;

use super::DohError;
use super::dial::BoxedStream;
use super::link::{Ending, Link};
use super::silence::Life;
use super::ticket::{Sent, Ticket};
use crate::http::AbortOnDrop;

/// An HTTP/2 connection. Clones share it; with the last one it ends.
#[derive(Clone)]
pub(super) struct Connection(Arc<Shared>);

struct Shared {
    link: Arc<Link>,
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

/// A query's place on a connection that it does not keep open.
pub(super) struct WeakLease(Weak<Shared>);

impl WeakLease {
    /// The place with the connection; none where that has gone.
    pub(super) fn upgrade(mut self) -> Option<Lease> {
        std::mem::take(&mut self.0).upgrade().map(|shared| Lease(Connection(shared)))
    }
}

impl Drop for WeakLease {
    fn drop(&mut self) {
        drop(self.0.upgrade().map(|shared| Lease(Connection(shared))));
    }
}

impl Connection {
    /// Speaks HTTP/2 over a stream, which may be silent for `silence` while a query waits.
    pub(super) fn new(
        client: Client,
        stream: TlsStream<BoxedStream>,
        silence: Duration,
        room: Arc<Room>,
    ) -> Self {
        let link = Link::new(client);
        let life = Arc::new(Life::new(silence, Arc::clone(&link)));
        let (driven, watched) = (Ending(Arc::clone(&link)), Arc::clone(&life));
        let driver = AbortOnDrop(tokio::spawn(async move {
            let why = watched.watch(driven.0.drive(stream, || watched.note_heard())).await;
            driven.0.end(&why);
            tracing::debug!("the connection to the resolver ended: {why}");
        }));
        Self(Arc::new(Shared { link, life, answered: AtomicBool::new(false), room, driver }))
    }

    /// Whether the two are one.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether no other query can be asked on it.
    pub(super) fn is_closing(&self) -> bool {
        self.0.link.is_closing()
    }

    /// Ends it at once, and every query on it.
    pub(super) fn abort(&self) {
        self.0.driver.0.abort();
    }

    /// Whether the server allows another stream.
    pub(super) fn has_room(&self) -> bool {
        let streams = if let Some(streams) = self.0.link.max_streams() {
            self.0.room.streams.store(streams, Ordering::Relaxed);
            streams
        } else {
            self.0.room.streams.load(Ordering::Relaxed).min(STREAMS)
        };
        self.0.life.under_way() < streams
    }

    /// Whether there was no query on it for `time`.
    pub(super) fn is_unused_for(&self, time: Duration) -> bool {
        self.0.life.is_unused_for(time)
    }

    /// Notes that it gave an answer; whether that is the first.
    pub(super) fn note_answer(&self) -> bool {
        !self.has_answered() && !self.0.answered.swap(true, Ordering::Relaxed)
    }

    /// Whether it ever gave an answer.
    pub(super) fn has_answered(&self) -> bool {
        self.0.answered.load(Ordering::Relaxed)
    }

    /// Whether something was heard on it since `moment`.
    pub(super) fn was_heard_since(&self, moment: Instant) -> bool {
        self.0.life.last_heard() >= moment
    }

    /// Asks a query that nobody waits for. It comes back where the connection has not shown that it lives, or takes no more.
    pub(super) fn ask(&self, ticket: Ticket) -> Result<(), Ticket> {
        if !self.has_answered() || self.0.life.is_silent() {
            return Err(ticket);
        }
        self.0.life.begin();
        let place = WeakLease(Arc::downgrade(&self.0));
        self.0.link.send(Sent { ticket, place }).map_err(|sent| sent.ticket)
    }

    /// Gives up a query that nobody waits for.
    pub(super) fn give_up(&self, id: RequestId) {
        self.0.link.give_up(id);
    }

    /// A place on it, to be given back by dropping it.
    pub(super) fn lease(&self) -> Lease {
        self.0.life.begin();
        Lease(self.clone())
    }
}

impl Lease {
    pub(super) fn connection(&self) -> &Connection {
        &self.0
    }

    /// Asks a query.
    ///
    /// # Errors
    /// The connection takes no more queries, or it fails the query.
    pub(super) async fn ask(&self, query: &[u8]) -> Result<Vec<u8>, DohError> {
        self.0.0.link.ask(query)?.await
    }

    /// Waits for an answer while the connection lives. Else the moment since when it owes a sign of life.
    pub(super) async fn listen<T>(&self, answer: Pin<&mut impl Future<Output = T>>) -> Result<T, Instant> {
        let mut silent = std::pin::pin!(self.0.0.life.silent());
        tokio::select! {
            biased;
            result = answer => Ok(result),
            since = &mut silent => Err(since),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let shared = &self.0.0;
        shared.life.end();
        shared.room.note_free();
    }
}
