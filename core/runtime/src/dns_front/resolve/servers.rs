//! The plain resolvers that were asked, and how much each may have.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

use super::stream::StreamSlot;

/// The most UDP sockets at once, over all resolvers: one a query, so that each has a port of its own. Half of the 1,024
/// descriptors that programs have where nobody allowed them more.
const MAX_SOCKETS: usize = 512;
/// The most of them for one resolver, so that one that does not answer leaves room for the others. At a round trip of
/// 40 ms they are good for 3,200 queries a second.
const MAX_SOCKETS_EACH: usize = 128;
/// The most resolvers that are remembered, and so the most TCP connections to them.
const MAX_SERVERS: usize = 64;

/// A resolver and the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Path {
    pub(super) server: SocketAddr,
    pub(super) inside: bool,
}

/// What is shared by the queries to one resolver.
pub(super) struct Server {
    sockets: Semaphore,
    pub(super) stream: StreamSlot,
}

pub(super) struct Servers {
    sockets: Semaphore,
    known: Mutex<HashMap<Path, Arc<Server>>>,
    mismatched: AtomicU64,
}

impl Default for Servers {
    fn default() -> Self {
        Self { sockets: Semaphore::new(MAX_SOCKETS), known: Mutex::default(), mismatched: AtomicU64::new(0) }
    }
}

impl Servers {
    pub(super) fn of(&self, path: Path) -> Arc<Server> {
        let mut known = self.lock();
        if known.len() >= MAX_SERVERS && !known.contains_key(&path) {
            known.retain(|_, server| Arc::strong_count(server) > 1);
        }
        let new = || Server { sockets: Semaphore::new(MAX_SOCKETS_EACH), stream: StreamSlot::default() };
        if known.len() >= MAX_SERVERS && !known.contains_key(&path) {
            return Arc::new(new());
        }
        Arc::clone(known.entry(path).or_insert_with(|| Arc::new(new())))
    }

    /// Waits for room for one more socket.
    ///
    /// # Errors
    /// There was none until the deadline.
    pub(super) async fn socket<'a>(
        &'a self,
        server: &'a Server,
        deadline: Instant,
    ) -> io::Result<[SemaphorePermit<'a>; 2]> {
        let room = timeout_at(deadline.into(), async {
            Ok::<_, tokio::sync::AcquireError>([
                server.sockets.acquire().await?,
                self.sockets.acquire().await?,
            ])
        });
        let full = || io::Error::new(io::ErrorKind::TimedOut, "too many queries wait for it");
        room.await.ok().and_then(Result::ok).ok_or_else(full)
    }

    pub(super) fn note_mismatch(&self) {
        self.mismatched.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn take_mismatched(&self) -> u64 {
        self.mismatched.swap(0, Ordering::Relaxed)
    }

    pub(super) fn reset(&self) {
        self.lock().values().for_each(|server| server.stream.reset());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Path, Arc<Server>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
