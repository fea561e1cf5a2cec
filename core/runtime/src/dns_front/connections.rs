//! Room for the connections of those who ask by a stream, and who has to go when there is none left.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::lock::lock;

/// The most connections at once, over all addresses. Each may be reading a query of 64 KiB, which takes 4 MiB for all.
pub(super) const MAX_CONNECTIONS: usize = 64;
/// The most queries that one connection has under way; then it is not read. With answers of 64 KiB that nobody takes,
/// all connections together hold 64 MiB until the time for taking them is over.
const MAX_UNDER_WAY: usize = 16;

/// Room for connections, shared by all who accept them.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<Vec<Arc<Slot>>>>);

struct Slot {
    under_way: Arc<Semaphore>,
    queries: AtomicUsize,
    /// When it was opened, or a query of it was answered last.
    last: Mutex<Instant>,
    evicted: Notify,
}

impl Connections {
    /// Room for one more. Where there is none, the connection goes on which nothing is under way and nothing was for
    /// longest: a server may close idle connections at any time (RFC 7766, section 6.2.3). None where all are busy.
    pub(super) fn take(&self) -> Option<Place> {
        let mut open = lock(&self.0);
        if open.len() >= MAX_CONNECTIONS {
            let idle = open.iter().enumerate().filter(|(_, slot)| slot.queries.load(Ordering::SeqCst) == 0);
            let (idlest, _) = idle.min_by_key(|(_, slot)| *lock(&slot.last))?;
            open.swap_remove(idlest).evicted.notify_one();
        }
        let slot = Arc::new(Slot {
            under_way: Arc::new(Semaphore::new(MAX_UNDER_WAY)),
            queries: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
            evicted: Notify::new(),
        });
        open.push(Arc::clone(&slot));
        Some(Place { connections: self.clone(), slot })
    }
}

/// A connection's place, to be given back by dropping it.
pub(super) struct Place {
    connections: Connections,
    slot: Arc<Slot>,
}

impl Place {
    /// Waits until one more query may be under way on it.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slot.under_way).acquire_owned().await.ok()
    }

    /// A query is there, in the room that was waited for.
    pub(super) fn begin(&self, room: OwnedSemaphorePermit) -> UnderWay {
        self.slot.queries.fetch_add(1, Ordering::SeqCst);
        UnderWay { slot: Arc::clone(&self.slot), _room: room }
    }

    /// Resolves when the place is somebody else's.
    pub(super) async fn evicted(&self) {
        self.slot.evicted.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.connections.0).retain(|slot| !Arc::ptr_eq(slot, &self.slot));
    }
}

/// A query that a connection has under way, until it is dropped.
pub(super) struct UnderWay {
    slot: Arc<Slot>,
    _room: OwnedSemaphorePermit,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        *lock(&self.slot.last) = Instant::now();
        self.slot.queries.fetch_sub(1, Ordering::SeqCst);
    }
}
