//! What passes an interface, captured to memory.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::host::Host;
use crate::poll::eventually;
use crate::seen::Seen;
use crate::segment::Segment;
use crate::sys::packet::PacketSocket;

/// The Ethernet type of marker frames: the first of the two for local experiments.
pub(crate) const MARKER: u16 = 0x88b5;

const SETTLE_DEADLINE: Duration = Duration::from_secs(20);
/// The largest frame there is: a segment of 64 KiB with its Ethernet header.
const LARGEST: usize = 65536 + 64;

/// A running capture. It has every frame that passes the interface, in and out, from the moment it is made
/// until it is dropped; but see [`Capture::settle`].
pub struct Capture {
    host: Host,
    interface: String,
    ethernet: bool,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    socket: PacketSocket,
    stop: std::os::fd::OwnedFd,
    stopped: AtomicBool,
    lost: AtomicU32,
    frames: Mutex<Vec<Seen>>,
    markers: Mutex<Vec<Vec<u8>>>,
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames = lock(&self.shared.frames);
        writeln!(f, "capture on {}:{}: {} frames", self.host, self.interface, frames.len())?;
        frames.iter().try_for_each(|seen| writeln!(f, "  {seen}"))
    }
}

impl Host {
    /// Begins a capture on an interface of the host.
    ///
    /// # Errors
    ///
    /// When there is no such interface.
    pub fn capture(&self, interface: &str) -> Result<Capture> {
        Capture::start(self, interface)
    }
}

impl Capture {
    fn start(host: &Host, interface: &str) -> Result<Self> {
        let problem = || format!("cannot capture on {host}:{interface}");
        let socket = host.inside(|| PacketSocket::open(interface, true))?.with_context(problem)?;
        // A TUN device has no link-layer header.
        let about = host.run(["ip", "-o", "link", "show", "dev", interface])?;
        let ethernet = !about.stdout.contains("link/none");
        let shared = Arc::new(Shared {
            socket,
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            stopped: AtomicBool::new(false),
            lost: AtomicU32::new(0),
            frames: Mutex::default(),
            markers: Mutex::default(),
        });
        let theirs = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("capture".into()).spawn(move || theirs.collect(ethernet))?;
        Ok(Self {
            host: host.clone(),
            interface: interface.to_owned(),
            ethernet,
            shared,
            thread: Some(thread),
        })
    }

    /// Waits until every frame is in this capture that passed the interface before this was called, or was
    /// on its way to it from another interface of the same wire or switch. A packet that another host is
    /// still forwarding has not been sent on this wire yet; settle a capture there first.
    ///
    /// It sends frames of its own, which captures leave out: of Ethernet type 0x88b5, or on a TUN device
    /// IPv4 packets of protocol 253 from and to 127.0.0.1, which the device's reader gets to see.
    ///
    /// # Errors
    ///
    /// When the kernel had no room for some frames, or the interface is down.
    pub fn settle(&self) -> Result<()> {
        let mut ends = vec![(self.host.clone(), self.interface.clone())];
        if let Some(segment) = Segment::of(&self.host, &self.interface) {
            let own = (self.host.name(), self.interface.as_str());
            ends.extend(
                segment.ends().into_iter().filter(|(host, name)| (host.name(), name.as_str()) != own),
            );
        }
        let mut markers = Vec::new();
        for (host, interface) in &ends {
            markers.extend(self.send_markers(host, interface)?);
        }
        eventually(SETTLE_DEADLINE, format!("markers on {}:{}", self.host, self.interface), || {
            let seen = lock(&self.shared.markers);
            markers.iter().all(|marker| seen.contains(marker))
        })?;
        match self.shared.lost.load(Ordering::Acquire) + self.shared.socket.dropped()? {
            0 => Ok(()),
            lost => bail!("the capture on {}:{} has lost {lost} frames", self.host, self.interface),
        }
    }

    /// Sends markers out of an interface and returns them. Each processor has its own queue of arriving
    /// frames, so one goes through each.
    fn send_markers(&self, host: &Host, interface: &str) -> Result<Vec<Vec<u8>>> {
        let ethernet = self.ethernet;
        let send = || {
            let socket = PacketSocket::open(interface, false)?;
            let processors = rustix::thread::sched_getaffinity(None)?;
            let mut markers = Vec::new();
            for processor in 0..rustix::thread::CpuSet::MAX_CPU {
                if processors.is_set(processor) {
                    let mut only = rustix::thread::CpuSet::new();
                    only.set(processor);
                    rustix::thread::sched_setaffinity(None, &only)?;
                    let marker = new_marker(ethernet);
                    socket.send(&marker)?;
                    markers.push(marker);
                }
            }
            Ok::<_, std::io::Error>(markers)
        };
        host.inside(send)?.with_context(|| format!("cannot send a marker on {host}:{interface}"))
    }

    /// All frames so far but markers, in their order.
    #[must_use]
    pub fn packets(&self) -> Vec<Seen> {
        lock(&self.shared.frames).clone()
    }

    /// The frames so far that `wanted` accepts.
    pub fn matching(&self, mut wanted: impl FnMut(&Seen) -> bool) -> Vec<Seen> {
        lock(&self.shared.frames).iter().filter(|seen| wanted(seen)).cloned().collect()
    }

    /// How many frames so far `wanted` accepts.
    pub fn count(&self, mut wanted: impl FnMut(&Seen) -> bool) -> usize {
        lock(&self.shared.frames).iter().filter(|seen| wanted(seen)).count()
    }

    /// Waits for a frame that `wanted` accepts, past or to come, and returns the first.
    ///
    /// # Errors
    ///
    /// When there is none by the deadline; the message lists what there was.
    pub fn wait_for(&self, deadline: Duration, mut wanted: impl FnMut(&Seen) -> bool) -> Result<Seen> {
        let find = || lock(&self.shared.frames).iter().find(|seen| wanted(seen)).cloned();
        eventually(deadline, "a certain frame", find).with_context(|| self.to_string())
    }

    /// Forgets all frames so far.
    pub fn clear(&self) {
        lock(&self.shared.frames).clear();
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        let _counted = rustix::io::write(&self.shared.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl Shared {
    fn collect(&self, ethernet: bool) {
        let mut buffer = vec![0; LARGEST];
        while !self.stopped.load(Ordering::Acquire) {
            let mut waiting =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
            let _interrupted = poll(&mut waiting, None);
            // Any other error is of the interface's going away, with which the frames end.
            while let Ok(Some(received)) = self.socket.receive(&mut buffer) {
                let frame = buffer.get(..received.length).unwrap_or_default();
                if is_marker(frame, ethernet) {
                    lock(&self.markers).push(frame.to_vec());
                } else {
                    let seen = Seen::parse(frame, ethernet, received.outgoing, received.at);
                    lock(&self.frames).push(seen);
                }
            }
            if let Ok(lost) = self.socket.dropped() {
                self.lost.fetch_add(lost, Ordering::AcqRel);
            }
        }
    }
}

/// A frame that no other is like: to everybody, so that a switch passes it on everywhere, and of a type that
/// no host understands. On a bare IP interface it is an IPv4 packet of an unused protocol to this host.
fn new_marker(ethernet: bool) -> Vec<u8> {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let mut frame = Vec::with_capacity(60);
    if ethernet {
        frame.extend_from_slice(&[0xff; 6]);
        frame.extend_from_slice(&[0x02, 0, 0, 0, 0, 1]);
        frame.extend_from_slice(&MARKER.to_be_bytes());
        frame.extend_from_slice(&number);
        frame.resize(60, 0);
    } else {
        frame.extend_from_slice(&[0x45, 0, 0, 28, 0, 0, 0, 0, 1, 253, 0, 0]);
        frame.extend_from_slice(&[127, 0, 0, 1, 127, 0, 0, 1]);
        frame.extend_from_slice(&number);
    }
    frame
}

/// Whether a frame is one of those that [`Capture::settle`] sends.
pub(crate) fn is_marker(frame: &[u8], ethernet: bool) -> bool {
    if ethernet {
        frame.get(12..14) == Some(&MARKER.to_be_bytes())
    } else {
        frame.get(9) == Some(&253) && frame.get(12..16) == Some(&[127, 0, 0, 1])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
