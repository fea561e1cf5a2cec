//! The connections that queries share, and when there is another one.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use weft_dns::RequestId;

use super::DohError;
use super::connection::{Connection, Lease, Room};
use super::open::Opener;
use super::ticket::Ticket;
use crate::http::AbortOnDrop;
use crate::lock::lock;

/// The most connections. With the 100 streams that servers allow at least (RFC 9113, section 6.5.2) and a round trip of
/// 40 ms they carry 20,000 queries a second. More queries wait for a stream.
const MAX_CONNECTIONS: usize = 8;
/// How long a connection beside the first may go unused before it is closed, by the next query.
const SPARE: Duration = Duration::from_secs(10);
/// The pause after a failure; doubles with each, up to [`MAX_PAUSE`]. Queries wait for its end.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest pause: a resolver that comes back is found within it.
const MAX_PAUSE: Duration = Duration::from_millis(400);
/// Connections that a query waits for one after the other, each gone before it could be used.
const MAX_WAITS: usize = 3;

/// How opening a connection ended; none while it goes on.
type Opened = Option<Result<(), DohError>>;

pub(super) struct Pool {
    opener: Arc<Opener>,
    room: Arc<Room>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order in which they were opened; the first with room is taken, so that the others fall idle.
    open: Vec<Connection>,
    openings: Vec<Opening>,
    /// The number of the next one.
    next: u64,
    /// Failures since the last answer.
    failures: u32,
    /// Nothing is opened before.
    not_before: Option<Instant>,
}

struct Opening {
    number: u64,
    opened: watch::Receiver<Opened>,
    /// Opens it; a query that is given up does not stop that, since others wait for it too.
    _task: AbortOnDrop,
}

/// Waits for an opening; for ever where there is none.
async fn opened(opening: Option<watch::Receiver<Opened>>) -> Result<(), DohError> {
    let Some(mut opening) = opening else { return std::future::pending().await };
    let opened = opening.wait_for(Option::is_some).await.map(|opened| opened.clone());
    opened.ok().flatten().unwrap_or_else(|| Err(DohError::Lost("the network is another one".to_owned())))
}

impl Pool {
    pub(super) fn new(opener: Opener) -> Arc<Self> {
        let room = Arc::clone(opener.room());
        Arc::new(Self { opener: Arc::new(opener), room, state: Mutex::default() })
    }

    /// A place on a connection, as soon as there is one. The first connection is opened alone, and all who wait for it
    /// hear if it fails; beside it as many at once are opened as there is need for.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Lease, DohError> {
        let lease = self.lock().lease();
        match lease {
            Some(lease) => Ok(lease),
            None => self.wait_for_lease().await,
        }
    }

    /// Asks a query that nobody waits for, if that can be done at once; else it comes back.
    pub(super) fn ask(&self, ticket: Ticket) -> Result<(), Ticket> {
        match self.lock().with_room() {
            Some(connection) => connection.ask(ticket),
            None => Err(ticket),
        }
    }

    /// Gives up a query that nobody waits for.
    pub(super) fn give_up(&self, id: RequestId) {
        self.lock().open.iter().for_each(|connection| connection.give_up(id));
    }

    async fn wait_for_lease(self: &Arc<Self>) -> Result<Lease, DohError> {
        let _waiter = self.room.enter();
        let mut waits = 0;
        loop {
            let mut freed = std::pin::pin!(self.room.freed());
            freed.as_mut().enable();
            let (is_first, opening) = {
                let mut state = self.lock();
                if let Some(lease) = state.lease() {
                    return Ok(lease);
                }
                let opening = if state.open.len() < MAX_CONNECTIONS { state.opening(self) } else { None };
                (state.open.is_empty(), opening)
            };
            tokio::select! {
                () = freed => {}
                opened = opened(opening) => {
                    if is_first {
                        opened?;
                        waits += 1;
                    }
                }
            }
            if waits == MAX_WAITS {
                return Err(DohError::Lost("it ended as soon as it was open".to_owned()));
            }
        }
    }

    /// A query was answered on this connection.
    pub(super) fn praise(&self, connection: &Connection) {
        if connection.note_answer() {
            let mut state = self.lock();
            (state.failures, state.not_before) = (0, None);
        }
    }

    /// A connection failed a query; it is not used again.
    pub(super) fn blame(&self, connection: &Connection) {
        let mut state = self.lock();
        let before = state.open.len();
        state.open.retain(|other| !other.is(connection));
        if state.open.len() < before {
            state.note_end(connection);
        }
    }

    /// A connection was silent since `since`: it is not used again, nor is any other on which nothing was heard.
    pub(super) fn distrust(&self, since: Instant) {
        let mut state = self.lock();
        let (kept, gone) = state.open.drain(..).partition(|connection| connection.was_heard_since(since));
        state.open = kept;
        let gone: Vec<Connection> = gone;
        gone.iter().for_each(|connection| state.note_end(connection));
    }

    /// Ends every connection: the network is another one.
    pub(super) fn reset(&self) {
        let state = std::mem::take(&mut *self.lock());
        state.open.iter().for_each(Connection::abort);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn opened(&self, number: u64, result: Result<Connection, DohError>) -> Result<(), DohError> {
        let mut state = self.lock();
        state.openings.retain(|opening| opening.number != number);
        match result {
            Ok(connection) => {
                state.open.push(connection);
                drop(state);
                // Those too who wait for another one that is being opened.
                self.room.note_many_free();
                Ok(())
            }
            Err(error) => {
                state.note_failure();
                Err(error)
            }
        }
    }
}

impl State {
    /// A place on an open connection where the server allows another stream.
    fn lease(&mut self) -> Option<Lease> {
        self.with_room().map(Connection::lease)
    }

    /// An open connection where the server allows another stream.
    fn with_room(&mut self) -> Option<&Connection> {
        self.close_unused();
        self.open.iter().find(|connection| connection.has_room())
    }

    fn close_unused(&mut self) {
        let ended = |connection: &Connection| connection.is_closing();
        while let Some(index) = self.open.iter().position(ended) {
            let connection = self.open.remove(index);
            self.note_end(&connection);
        }
        if self.open.len() > 1 {
            let first = self.open.first().cloned();
            let is_first = |connection: &Connection| first.as_ref().is_some_and(|first| first.is(connection));
            self.open.retain(|connection| is_first(connection) || !connection.is_unused_for(SPARE));
        }
    }

    /// An opening that is under way, of as many as those who wait need.
    fn opening(&mut self, pool: &Arc<Pool>) -> Option<watch::Receiver<Opened>> {
        let wanted = match self.open.len() {
            0 => 1,
            open => pool.room.connections_wanted().clamp(1, MAX_CONNECTIONS.saturating_sub(open)),
        };
        while self.openings.len() < wanted {
            let opening = self.begin(pool);
            self.openings.push(opening);
        }
        self.openings.last().map(|opening| opening.opened.clone())
    }

    fn begin(&mut self, pool: &Arc<Pool>) -> Opening {
        let (number, not_before) = (self.next, self.not_before);
        self.next += 1;
        let (opener, pool) = (Arc::clone(&pool.opener), Arc::downgrade(pool));
        let (tell, opened) = watch::channel(None);
        let task = tokio::spawn(async move {
            if let Some(moment) = not_before {
                tokio::time::sleep_until(moment.into()).await;
            }
            let result = opener.open().await;
            if let Some(pool) = pool.upgrade() {
                tell.send_replace(Some(pool.opened(number, result)));
            }
        });
        Opening { number, opened, _task: AbortOnDrop(task) }
    }

    /// A connection that never gave an answer counts as a failure.
    fn note_end(&mut self, connection: &Connection) {
        if !connection.has_answered() {
            self.note_failure();
        }
    }

    fn note_failure(&mut self) {
        let pause = PAUSE.saturating_mul(1 << self.failures.min(8)).min(MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + pause);
    }
}
