//! A wire that is not perfect.

mod shaper;

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::lab::Lab;
use crate::link::{End, Link};
use crate::segment::Segment;
use crate::sys::packet::PacketSocket;
use shaper::Shaper;
pub use shaper::{Counts, Impairment};

/// The largest frame: the largest MTU of an interface with its Ethernet header.
const LARGEST: usize = 65536 + 64;
/// Frames that are read at a time before those are sent on whose time has come.
const BURST: usize = 64;

/// A direction of a link, by the order in which its ends were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first end to the second.
    Forward,
    /// From the second end to the first.
    Backward,
}

/// A wire between two hosts that delays, loses, duplicates and reorders what it carries, each as told, by a
/// random sequence that is the same for the same seed. Perfect at first. Its interfaces have no offloads, so
/// that each packet meets its own fate. Dropping the value breaks the wire.
///
/// It is two wires to a host of its own in the middle, where a thread for each direction reads frames from
/// packet sockets and sends them on. The same fate befalls the same IP packets in the same order; neighbour
/// discovery (ARP, and ICMPv6 of that sort) is delayed but never lost, duplicated or reordered, as it comes
/// when it likes.
pub struct ImpairedLink {
    name: String,
    ways: [Way; 2],
}

struct Way {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    from: Arc<PacketSocket>,
    to: Arc<PacketSocket>,
    stop: OwnedFd,
    stopped: AtomicBool,
    knobs: Mutex<Impairment>,
    counts: Mutex<Counts>,
}

impl fmt::Debug for ImpairedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for ImpairedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [there, back] = [Direction::Forward, Direction::Backward].map(|way| self.counts(way));
        write!(f, "{} (forward: {there}; backward: {back})", self.name)
    }
}

impl ImpairedLink {
    /// Makes the wire and switches both ends on.
    ///
    /// # Errors
    ///
    /// As [`Link::new`].
    pub fn new(lab: &Lab, a: End, b: End, seed: u64) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{a} ~~ {b}");
        let middle = lab.host(&format!("wire-{}", NUMBER.fetch_add(1, Ordering::Relaxed))).build()?;
        middle.silence_ipv6()?;
        let segment = Segment::default();
        let mut sockets = Vec::new();
        for (end, port) in [(a, "a"), (b, "b")] {
            let end = end.without_offloads();
            let own = End::new(&middle, port).mtu(end.mtu).without_offloads();
            segment.attach(&end.host, &end.interface);
            Link::bare(end, own)?;
            let socket = middle.inside(|| PacketSocket::open(port, false))?;
            sockets.push(Arc::new(socket.with_context(|| format!("cannot tap {name}"))?));
        }
        let [a, b] = <[_; 2]>::try_from(sockets).map_err(|_| anyhow::anyhow!("a wire has two ends"))?;
        let ways = [Way::start(&a, &b, seed)?, Way::start(&b, &a, !seed)?];
        Ok(Self { name, ways })
    }

    /// Treats frames in both directions like this from now on; those under way keep their fate.
    pub fn set(&self, impairment: Impairment) {
        for way in &self.ways {
            *lock(&way.shared.knobs) = impairment;
        }
    }

    /// Treats frames in one direction like this from now on; those under way keep their fate.
    pub fn set_direction(&self, direction: Direction, impairment: Impairment) {
        *lock(&self.way(direction).shared.knobs) = impairment;
    }

    /// What has happened so far in one direction.
    #[must_use]
    pub fn counts(&self, direction: Direction) -> Counts {
        *lock(&self.way(direction).shared.counts)
    }

    fn way(&self, direction: Direction) -> &Way {
        let [forward, backward] = &self.ways;
        match direction {
            Direction::Forward => forward,
            Direction::Backward => backward,
        }
    }
}

impl Way {
    fn start(from: &Arc<PacketSocket>, to: &Arc<PacketSocket>, seed: u64) -> Result<Self> {
        let shared = Arc::new(Shared {
            from: Arc::clone(from),
            to: Arc::clone(to),
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            stopped: AtomicBool::new(false),
            knobs: Mutex::default(),
            counts: Mutex::default(),
        });
        let theirs = Arc::clone(&shared);
        let relay = move || theirs.relay(Shaper::new(seed));
        let thread = std::thread::Builder::new().name("wire".into()).spawn(relay)?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        let _counted = rustix::io::write(&self.shared.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl Shared {
    fn relay(&self, mut shaper: Shaper) {
        let mut buffer = vec![0; LARGEST];
        while !self.stopped.load(Ordering::Acquire) {
            let timeout = shaper.next().map(|due| {
                let left = due.saturating_duration_since(Instant::now());
                Timespec::try_from(left).unwrap_or_default()
            });
            let mut waiting =
                [PollFd::new(&self.from, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
            let _interrupted = poll(&mut waiting, timeout.as_ref());
            let knobs = *lock(&self.knobs);
            for _ in 0..BURST {
                // Any error is of the interface's going away, with which the frames end.
                let Ok(Some(received)) = self.from.receive(&mut buffer) else { break };
                let frame = buffer.get(..received.length).unwrap_or_default();
                shaper.accept(Instant::now(), &knobs, frame);
            }
            while let Some(frame) = shaper.release(Instant::now()) {
                // A far end that is switched off hears nothing, as on any wire.
                let _unheard = self.to.send(&frame);
            }
            let mut counts = lock(&self.counts);
            let unread = counts.unread + u64::from(self.from.dropped().unwrap_or(0));
            *counts = Counts { unread, ..shaper.counts() };
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
