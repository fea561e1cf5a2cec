//! The plain resolvers that were asked, and how much each may have.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::time::timeout_at;

use super::stream::StreamSlot;
use crate::lock::lock;

/// The most UDP sockets at once, over all resolvers: one a query, so that each has a port of its own. Half of the 1,024
/// descriptors that programs have where nobody allowed them more. No resolver has more of them than are free, and the
/// last [`MAX_SERVERS`] are for those that have none, so that resolvers that do not answer leave room for one that does.
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
#[derive(Default)]
pub(super) struct Server {
    /// Sockets in use.
    used: AtomicUsize,
    /// Who waits first: the others wait for it, so that a socket that is free wakes one a resolver.
    turn: tokio::sync::Mutex<()>,
    pub(super) stream: StreamSlot,
}

pub(super) struct Servers {
    /// Sockets in use, of all resolvers.
    used: Mutex<usize>,
    freed: Notify,
    known: Mutex<HashMap<Path, Arc<Server>>>,
    mismatched: AtomicU64,
}

impl Default for Servers {
    fn default() -> Self {
        Self {
            used: Mutex::default(),
            freed: Notify::new(),
            known: Mutex::default(),
            mismatched: AtomicU64::new(0),
        }
    }
}

impl Servers {
    pub(super) fn of(&self, path: Path) -> Arc<Server> {
        let mut known = lock(&self.known);
        if known.len() >= MAX_SERVERS && !known.contains_key(&path) {
            known.retain(|_, server| Arc::strong_count(server) > 1);
        }
        let new = Server::default;
        if known.len() >= MAX_SERVERS && !known.contains_key(&path) {
            return Arc::new(new());
        }
        Arc::clone(known.entry(path).or_insert_with(|| Arc::new(new())))
    }

    /// Waits for room for one more socket.
    ///
    /// # Errors
    /// There was none until the deadline.
    pub(super) async fn socket<'a>(&'a self, server: &'a Server, deadline: Instant) -> io::Result<Room<'a>> {
        let room = timeout_at(deadline.into(), async {
            let _turn = server.turn.lock().await;
            loop {
                let freed = self.freed.notified();
                tokio::pin!(freed);
                freed.as_mut().enable();
                if let Some(room) = self.take(server) {
                    return room;
                }
                freed.await;
            }
        });
        room.await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "too many queries wait for it"))
    }

    fn take<'a>(&'a self, server: &'a Server) -> Option<Room<'a>> {
        let mut all = lock(&self.used);
        let own = server.used.load(Ordering::Relaxed);
        let free = MAX_SOCKETS.saturating_sub(*all);
        let left = if own == 0 { free } else { free.saturating_sub(MAX_SERVERS) };
        if own >= MAX_SOCKETS_EACH || own >= left {
            return None;
        }
        *all += 1;
        server.used.fetch_add(1, Ordering::Relaxed);
        Some(Room { servers: self, server })
    }

    pub(super) fn note_mismatch(&self) {
        self.mismatched.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn take_mismatched(&self) -> u64 {
        self.mismatched.swap(0, Ordering::Relaxed)
    }

    pub(super) fn reset(&self) {
        lock(&self.known).values().for_each(|server| server.stream.reset());
    }
}

/// Room for one socket.
pub(super) struct Room<'a> {
    servers: &'a Servers,
    server: &'a Server,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut all = lock(&self.servers.used);
        *all = all.saturating_sub(1);
        self.server.used.fetch_sub(1, Ordering::Relaxed);
        drop(all);
        self.servers.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn resolvers_that_do_not_answer_leave_room_for_one_that_does() {
        let servers = Servers::default();
        let path = |port| Path { server: ([192, 0, 2, 1], port).into(), inside: false };
        let dead: Vec<_> = (0..40).map(|port| servers.of(path(port))).collect();
        let mut held = Vec::new();
        for server in &dead {
            while let Some(room) = servers.take(server) {
                held.push(room);
            }
        }
        assert!(held.len() < MAX_SOCKETS, "{}", held.len());
        let healthy = servers.of(path(100));
        let soon = || Instant::now() + Duration::from_secs(10);
        let room = servers.socket(&healthy, soon()).await;
        assert!(room.is_ok());
        // Who waits goes on once one is free.
        let (waited, ()) = tokio::join!(servers.socket(&dead[0], soon()), async {
            tokio::task::yield_now().await;
            held.clear();
        });
        assert!(waited.is_ok());
        drop((waited, room));
        assert_eq!(*lock(&servers.used), 0);
    }
}
