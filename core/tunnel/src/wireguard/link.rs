//! One peer's data path: what the threads that carry packets share with the control side.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use weft_model::{Counter, DropReason};
use weft_packet::{Run, split};

use super::message::DATA_OVERHEAD;
use super::packet::SourceCheck;
use super::session::{Keyring, Session, padded_len};
use super::timers::{Activity, Flag};
use super::{lock, read, write};
use crate::outbox::Outbox;
use crate::transport::{Nudge, PacketSink, Sealed, SocketId};

/// The most runs that wait for a session.
pub(crate) const MAX_HELD_RUNS: usize = 64;
/// The most bytes of packets that wait for a session.
pub(crate) const MAX_HELD_BYTES: usize = 256 * 1024;

/// The way to a peer: the socket it is reached by, and its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) socket: SocketId,
    pub(crate) endpoint: SocketAddr,
}

/// What of a path follows the far side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roaming {
    /// The address alone: control chooses the socket.
    Endpoint,
    /// Answers leave by the socket that the far side reached last.
    SocketAndEndpoint,
}

/// Runs that wait for a session.
#[derive(Default)]
struct Held {
    runs: VecDeque<Run>,
    bytes: usize,
}

/// A [`Counter`] that threads add to.
#[derive(Default)]
struct SharedCounter {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl SharedCounter {
    fn add(&self, packets: usize, bytes: usize) {
        self.packets.fetch_add(packets as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn get(&self) -> Counter {
        Counter { packets: self.packets.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

/// Drops by reason.
#[derive(Default)]
pub(crate) struct DropCounts([AtomicU64; DropReason::ALL.len()]);

impl DropCounts {
    pub(crate) fn add(&self, reason: DropReason, packets: usize) {
        if let Some(count) = self.0.get(reason as usize) {
            count.fetch_add(packets as u64, Ordering::Relaxed);
        }
    }

    /// The reasons that there were drops for.
    pub(crate) fn get(&self) -> Vec<(DropReason, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        DropReason::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}

/// One peer's data path.
pub(crate) struct Link {
    keys: RwLock<Keyring>,
    path: RwLock<Option<Path>>,
    held: Mutex<Held>,
    sources: SourceCheck,
    mtu: usize,
    roaming: Roaming,
    pub(crate) activity: Activity,
    sent: SharedCounter,
    received: SharedCounter,
    pub(crate) drops: DropCounts,
}

impl Link {
    /// `epoch` is a moment before every other that the link is told; `keepalive` is in seconds.
    pub(crate) fn new(
        sources: SourceCheck,
        mtu: usize,
        roaming: Roaming,
        epoch: Instant,
        keepalive: Option<u16>,
    ) -> Self {
        let interval =
            keepalive.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.into()));
        Self {
            keys: RwLock::default(),
            path: RwLock::default(),
            held: Mutex::default(),
            sources,
            mtu,
            roaming,
            activity: Activity::new(epoch, interval),
            sent: SharedCounter::default(),
            received: SharedCounter::default(),
            drops: DropCounts::default(),
        }
    }

    pub(crate) fn mtu(&self) -> usize {
        self.mtu
    }

    pub(crate) fn path(&self) -> Option<Path> {
        *read(&self.path)
    }

    pub(crate) fn set_path(&self, path: Option<Path>) {
        *write(&self.path) = path;
    }

    pub(crate) fn sent(&self) -> Counter {
        self.sent.get()
    }

    pub(crate) fn received(&self) -> Counter {
        self.received.get()
    }

    /// Looks at the sessions.
    pub(crate) fn keys<T>(&self, look: impl FnOnce(&Keyring) -> T) -> T {
        look(&read(&self.keys))
    }

    /// Changes the sessions.
    pub(crate) fn change_keys<T>(&self, change: impl FnOnce(&mut Keyring) -> T) -> T {
        change(&mut write(&self.keys))
    }

    fn ready(&self, now: Instant) -> Option<(Arc<Session>, Path)> {
        let path = self.path()?;
        let session = self.keys(|keys| keys.sending(now).cloned())?;
        Some((session, path))
    }

    /// Whether packets can be sent at once.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        self.ready(now).is_some()
    }

    /// See [`crate::Outbound::seal`].
    pub(crate) fn seal(&self, mut run: Run, now: Instant, out: &mut Outbox) -> Sealed {
        if run.longest_packet() > self.mtu {
            return self.refuse(run, DropReason::TooBig, Nudge::None);
        }
        match self.ready(now) {
            Some((session, path)) => match self.seal_ready(&mut run, &session, path, now, out) {
                Ok(nudge) => Sealed::Done(run, nudge),
                Err(DropReason::NoSession) => self.hold(run, now),
                Err(reason) => self.refuse(run, reason, Nudge::None),
            },
            None => self.hold(run, now),
        }
    }

    fn refuse(&self, run: Run, reason: DropReason, nudge: Nudge) -> Sealed {
        self.drops.add(reason, run.segments());
        Sealed::Dropped(run, reason, nudge)
    }

    /// Splits and seals, which spends the run's packet. On an error nothing was written.
    fn seal_ready(
        &self,
        run: &mut Run,
        session: &Session,
        path: Path,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<Nudge, DropReason> {
        let segments = run.segments();
        let mut counter = session.reserve(segments as u64).ok_or(DropReason::NoSession)?;
        let mut bytes = 0;
        let cut = split::cut_in_place(run, |packet| {
            let padded = padded_len(packet.len(), self.mtu);
            let datagram = out.datagram(path.socket, path.endpoint, padded + DATA_OVERHEAD);
            if padded == packet.len() {
                session.seal_from(counter, packet, datagram);
            } else {
                session.seal_padded(counter, packet, datagram);
            }
            counter += 1;
            bytes += packet.len();
        });
        if !cut {
            return Err(DropReason::Malformed);
        }
        self.sent.add(segments, bytes);
        let nudge = self.activity.sent(now, true);
        Ok(either(nudge, self.refresh_if(session.is_stale_for_sending(now))))
    }

    fn refresh_if(&self, stale: bool) -> Nudge {
        if stale { self.activity.raise(Flag::Handshake) } else { Nudge::None }
    }

    /// Keeps a run until there is a session.
    fn hold(&self, run: Run, now: Instant) -> Sealed {
        let len = run.packet().len();
        let refused = {
            let mut held = lock(&self.held);
            if held.runs.len() < MAX_HELD_RUNS && held.bytes + len <= MAX_HELD_BYTES {
                held.bytes += len;
                held.runs.push_back(run);
                None
            } else {
                Some(run)
            }
        };
        // A session may have come since it was looked for; its control has flushed by then.
        let flag = if self.is_ready(now) { Flag::Flush } else { Flag::Handshake };
        let nudge = self.activity.raise(flag);
        match refused {
            Some(run) => self.refuse(run, DropReason::NoSession, nudge),
            None => Sealed::Held(nudge),
        }
    }

    /// Seals the runs that waited, in order, if they can be; whether any was.
    pub(crate) fn flush(&self, now: Instant, out: &mut Outbox) -> bool {
        let Some((session, path)) = self.ready(now) else { return false };
        let runs = {
            let mut held = lock(&self.held);
            held.bytes = 0;
            std::mem::take(&mut held.runs)
        };
        let mut flushed = false;
        for mut run in runs {
            match self.seal_ready(&mut run, &session, path, now, out) {
                Ok(_) => flushed = true,
                Err(reason) => self.drops.add(reason, run.segments()),
            }
        }
        flushed
    }

    /// Gives up the runs that wait.
    pub(crate) fn drop_held(&self) {
        let runs = {
            let mut held = lock(&self.held);
            held.bytes = 0;
            std::mem::take(&mut held.runs)
        };
        for run in runs {
            self.drops.add(DropReason::NoSession, run.segments());
        }
    }

    /// Seals an empty packet; whether it could.
    pub(crate) fn keepalive(&self, now: Instant, out: &mut Outbox) -> bool {
        let Some((session, path)) = self.ready(now) else { return false };
        let Some(counter) = session.reserve(1) else { return false };
        session.seal_from(counter, &[], out.datagram(path.socket, path.endpoint, DATA_OVERHEAD));
        // The caller looks at the flags and works out its next deadline anyway.
        let _ = (self.activity.sent(now, false), self.refresh_if(session.is_stale_for_sending(now)));
        true
    }

    /// Opens data messages of one session that came from one place, laid end to end.
    pub(crate) fn open(
        &self,
        session: &Session,
        from: Path,
        (data, stride): (&mut [u8], usize),
        now: Instant,
        sink: &mut dyn PacketSink,
    ) -> Nudge {
        let mut opener = session.opener();
        let (mut authentic, mut packets, mut bytes) = (false, 0, 0);
        for datagram in data.chunks_mut(stride) {
            let plaintext = match opener.open(datagram) {
                Ok(plaintext) => plaintext,
                Err(reason) => {
                    self.drop_received(reason, sink);
                    continue;
                }
            };
            authentic = true;
            if plaintext.is_empty() {
                continue;
            }
            match self.sources.packet(plaintext) {
                Ok(packet) => {
                    packets += 1;
                    bytes += packet.len();
                    sink.packet(packet);
                }
                Err(reason) => self.drop_received(reason, sink),
            }
        }
        drop(opener);
        if !authentic {
            return Nudge::None;
        }
        self.received.add(packets, bytes);
        self.note_authentic(session, from, now, packets > 0)
    }

    /// Counts a datagram or a packet out of one as dropped.
    pub(crate) fn drop_received(&self, reason: DropReason, sink: &mut dyn PacketSink) {
        self.drops.add(reason, 1);
        sink.dropped(reason);
    }

    fn note_authentic(&self, session: &Session, from: Path, now: Instant, data: bool) -> Nudge {
        let mut nudge = self.activity.received(now, data);
        if self.keys(|keys| keys.awaits(session.local))
            && self.change_keys(|keys| keys.confirm(session.local))
        {
            nudge = either(nudge, self.activity.raise(Flag::Confirmed));
        }
        if self.path() != Some(from) && self.move_to(from) {
            nudge = either(nudge, self.activity.raise(Flag::Moved));
        }
        either(nudge, self.refresh_if(session.is_stale_for_receiving(now)))
    }

    /// Follows the far side to where an authentic message came from; whether anything changed. Where control chooses
    /// the socket, what comes by another than the present one was under way when that changed.
    fn move_to(&self, from: Path) -> bool {
        let mut path = write(&self.path);
        let follows = match self.roaming {
            Roaming::Endpoint => path.is_some_and(|path| path.socket == from.socket),
            Roaming::SocketAndEndpoint => true,
        };
        if follows {
            *path = Some(from);
        }
        follows
    }

    /// Ends everything: keys, runs that wait, the way to the peer.
    pub(crate) fn close(&self) {
        self.change_keys(Keyring::clear);
        self.set_path(None);
        self.drop_held();
        self.activity.reset();
    }
}

/// A nudge if either is one.
pub(crate) fn either(one: Nudge, other: Nudge) -> Nudge {
    if one == Nudge::Control { one } else { other }
}
