//! Whether a connection lives: one that is silent while queries wait on it is asked for a sign of life.
//!
//! A timer a query would wake the event loop for each of them. There is one a connection, kept by who drives it, and set
//! anew only when it has run out: it asks what the connection did meanwhile.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::Sleep;

use super::link::Link;
use crate::lock::lock;

/// For how long nothing may have been heard on a connection before its next query asks for a sign of life at once.
/// Networks forget connections after half a minute of silence at the earliest.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// What is known of a connection's life.
pub(super) struct Life {
    /// Moments are milliseconds from here.
    opened: Instant,
    /// How long it may be silent while a query waits on it, and then again after it was asked for a sign of life.
    silence: Duration,
    /// How often something was heard.
    heard: AtomicU64,
    last_heard: AtomicU64,
    under_way: AtomicUsize,
    /// When the first of those under way began.
    busy_since: AtomicU64,
    /// When the last query ended.
    used: AtomicU64,
    /// Where signs of life are asked for.
    link: Arc<Link>,
    pings: Mutex<Pings>,
    fell_silent: Notify,
}

#[derive(Default)]
struct Pings {
    /// The sign of life that is awaited.
    awaited: Option<Awaited>,
    /// The last one stayed out.
    is_silent: bool,
}

#[derive(Clone, Copy)]
struct Awaited {
    at: u64,
    /// [`Life::heard`] when it was asked for.
    heard: u64,
}

impl Life {
    pub(super) fn new(silence: Duration, link: Arc<Link>) -> Self {
        Self {
            opened: Instant::now(),
            silence,
            heard: AtomicU64::new(0),
            last_heard: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            busy_since: AtomicU64::new(0),
            used: AtomicU64::new(0),
            link,
            pings: Mutex::default(),
            fell_silent: Notify::new(),
        }
    }

    /// Something came.
    pub(super) fn note_heard(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        self.last_heard.store(self.now(), Ordering::Relaxed);
    }

    /// When something came last.
    pub(super) fn last_heard(&self) -> Instant {
        self.opened + Duration::from_millis(self.last_heard.load(Ordering::Relaxed))
    }

    /// A query begins.
    pub(super) fn begin(&self) {
        let now = self.now();
        if self.under_way.fetch_add(1, Ordering::SeqCst) == 0 {
            self.busy_since.store(now, Ordering::Relaxed);
        }
        let unheard = now.saturating_sub(self.last_heard.load(Ordering::Relaxed));
        if Duration::from_millis(unheard) > FORGOTTEN {
            let mut pings = self.lock();
            if pings.awaited.is_none() {
                self.ping(&mut pings);
            }
        }
    }

    /// A query ends.
    pub(super) fn end(&self) {
        self.used.store(self.now(), Ordering::Relaxed);
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }

    /// Queries that have begun and not ended.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// Whether there was no query for `time`.
    pub(super) fn is_unused_for(&self, time: Duration) -> bool {
        let unused = self.now().saturating_sub(self.used.load(Ordering::Relaxed));
        self.under_way() == 0 && Duration::from_millis(unused) > time
    }

    /// Resolves when the connection stays silent although it was asked for a sign of life, with the moment of that.
    pub(super) async fn silent(&self) -> Instant {
        loop {
            let mut falls_silent = std::pin::pin!(self.fell_silent.notified());
            falls_silent.as_mut().enable();
            if let Some(since) = self.silent_since() {
                return since;
            }
            falls_silent.await;
        }
    }

    /// Whether it was silent although it was asked for a sign of life.
    pub(super) fn is_silent(&self) -> bool {
        self.lock().is_silent
    }

    fn silent_since(&self) -> Option<Instant> {
        let pings = self.lock();
        let ping = pings.awaited.filter(|_| pings.is_silent)?;
        Some(self.opened + Duration::from_millis(ping.at))
    }

    /// Drives a connection, and listens for its signs of life while queries wait on it.
    pub(super) async fn watch<C: Future>(&self, connection: C) -> C::Output {
        let mut connection = std::pin::pin!(connection);
        let mut timer = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        let mut armed = false;
        std::future::poll_fn(|context| {
            // What begins a query wakes the connection, which has its request to send.
            if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                return Poll::Ready(ended);
            }
            self.poll_timer(timer.as_mut(), &mut armed, context);
            Poll::Pending
        })
        .await
    }

    fn poll_timer(&self, mut timer: Pin<&mut Sleep>, armed: &mut bool, context: &mut Context<'_>) {
        loop {
            if !*armed {
                let Some(next) = self.look() else { return };
                timer.as_mut().reset((self.opened + next).into());
                *armed = true;
            }
            if timer.as_mut().poll(context).is_pending() {
                return;
            }
            *armed = false;
        }
    }

    /// Sees whether the connection is silent, and asks for a sign of life if it is. Gives the moment of the next look,
    /// counted from its opening; none while nobody waits.
    fn look(&self) -> Option<Duration> {
        let mut pings = self.lock();
        let heard = self.heard.load(Ordering::Relaxed);
        if pings.awaited.is_some_and(|ping| ping.heard != heard) {
            (pings.awaited, pings.is_silent) = (None, false);
        }
        if self.under_way() == 0 || pings.is_silent {
            return None;
        }
        let now = self.now();
        let silence = u64::try_from(self.silence.as_millis()).unwrap_or(u64::MAX).max(1);
        let last = self.last_heard.load(Ordering::Relaxed).max(self.busy_since.load(Ordering::Relaxed));
        let since = pings.awaited.map_or(last, |ping| ping.at);
        let mut next = since.saturating_add(silence);
        if next <= now && pings.awaited.is_none() {
            self.ping(&mut pings);
            next = now.saturating_add(silence);
        } else if next <= now {
            pings.is_silent = true;
            drop(pings);
            self.fell_silent.notify_waiters();
            self.link.fall_silent(self.opened + Duration::from_millis(since));
            return None;
        }
        Some(Duration::from_millis(next))
    }

    /// Asks for a sign of life (RFC 9113, section 6.7). One at a time is under way.
    fn ping(&self, pings: &mut Pings) {
        pings.awaited = Some(Awaited { at: self.now(), heard: self.heard.load(Ordering::Relaxed) });
        self.link.ping();
    }

    fn lock(&self) -> MutexGuard<'_, Pings> {
        lock(&self.pings)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
