//! Many peers behind a few sockets: the gateway's end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use weft_model::{Counter, DropReason, PresharedKey, PrivateKey, PublicKey};
use weft_packet::Run;

use self::control::ResponderControl;
use super::cookie::Mac1Check;
use super::handshake::{Dates, Timestamp};
use super::inbox::{Front, Inbox, Mail, split_front};
use super::link::{DropCounts, Link, Path, Roaming, either};
use super::message::Kind;
use super::negotiator::OwnSide;
use super::packet::SourceCheck;
use super::{lock, read, write};
use crate::outbox::Outbox;
use crate::transport::{Anchor, Deadline, Entropy, Nudge, PacketSink, Sealed, SocketId};

mod control;
mod peer;

/// The most handshake messages that wait for control.
const INBOX: usize = 4096;

/// What a responder needs to know of itself.
#[derive(Debug, Clone)]
pub struct ResponderConfig {
    /// The gateway's key.
    pub private_key: PrivateKey,
    /// The longest IP packet that is carried, in bytes.
    pub mtu: usize,
    /// How many handshake messages a second are answered without a proof of their sender's address (a cookie).
    pub handshakes_per_second: u32,
}

/// What a responder needs to know of a peer.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// The peer's key.
    pub public_key: PublicKey,
    /// The pre-shared key of the pair.
    pub preshared_key: Option<PresharedKey>,
    /// The sources that the peer's packets may have; empty = none.
    pub allowed_ips: Vec<IpNet>,
    /// Where the peer is, until it moves, and the socket that reaches it. None = unknown until it calls.
    pub endpoint: Option<(SocketId, SocketAddr)>,
    /// Seconds between persistent keepalives; none or 0 = none are sent.
    pub keepalive: Option<u16>,
    /// The date of the newest initiation that the peer made, as [`Responder::last_timestamp`] gave it in an earlier
    /// run: older ones are repetitions.
    pub last_timestamp: Option<Timestamp>,
}

/// A peer of one responder; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(u64);

/// Why a peer was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddPeerError {
    /// There is one with the same key.
    #[error("a peer with this key is there already: remove it first")]
    Exists,
    /// The key makes no secret, or is the responder's own.
    #[error("the peer's public key is not one that a handshake can be made with")]
    UnusableKey,
}

/// What passed between the responder and a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStats {
    /// Where the peer is.
    pub endpoint: Option<SocketAddr>,
    /// The time since the last handshake.
    pub last_handshake: Option<Duration>,
    /// Sent to the peer.
    pub sent: Counter,
    /// Received from the peer.
    pub received: Counter,
    /// Drops by reason; reasons without a drop are left out.
    pub drops: Vec<(DropReason, u64)>,
}

/// Takes the packets that a responder opened.
pub trait PeerSink {
    /// One IP packet, whole, from a peer. Its source has been checked to be the peer's to use.
    fn packet(&mut self, peer: PeerId, packet: &mut [u8]);
    /// One datagram or packet was dropped.
    fn dropped(&mut self, reason: DropReason);
}

/// What the data path and control know of a peer together.
struct Entry {
    id: PeerId,
    link: Link,
}

/// A peer's packets for a [`PeerSink`].
struct FromPeer<'a> {
    peer: PeerId,
    sink: &'a mut dyn PeerSink,
}

impl PacketSink for FromPeer<'_> {
    fn packet(&mut self, packet: &mut [u8]) {
        self.sink.packet(self.peer, packet);
    }

    fn dropped(&mut self, reason: DropReason) {
        self.sink.dropped(reason);
    }
}

/// WireGuard for many peers. Any thread may call anything at any time; [`open`](Self::open) and
/// [`seal`](Self::seal) never wait for handshakes.
///
/// Where `open` or `seal` left a [`Nudge::Control`], and at the moment of
/// [`poll_timeout`](Self::poll_timeout), [`handle_control`](Self::handle_control) is to be called.
pub struct Responder {
    peers: RwLock<HashMap<PeerId, Arc<Entry>>>,
    /// Whose session or handshake an index is.
    indices: RwLock<HashMap<u32, Arc<Entry>>>,
    mac1: Mac1Check,
    inbox: Inbox,
    /// Peers with something for control to see to.
    nudged: Mutex<Vec<PeerId>>,
    /// Drops that belong to no peer.
    drops: DropCounts,
    mtu: usize,
    epoch: Instant,
    control: Mutex<ResponderControl>,
}

impl Responder {
    /// A responder without peers. `anchor` lies before every later moment; `entropy` makes its keys.
    #[must_use]
    pub fn new(config: &ResponderConfig, anchor: Anchor, entropy: Box<dyn Entropy>) -> Self {
        let own = OwnSide::new(
            &config.private_key,
            (anchor, Dates::default()),
            entropy,
            config.handshakes_per_second,
        );
        Self {
            peers: RwLock::default(),
            indices: RwLock::default(),
            mac1: Mac1Check::new(&own.identity.public),
            inbox: Inbox::new(INBOX),
            nudged: Mutex::default(),
            drops: DropCounts::default(),
            mtu: config.mtu,
            epoch: anchor.instant,
            control: Mutex::new(ResponderControl::new(own)),
        }
    }

    /// Adds a peer.
    ///
    /// # Errors
    /// [`AddPeerError`] where the key is taken or of no use.
    pub fn add_peer(&self, config: &PeerConfig) -> Result<PeerId, AddPeerError> {
        let sources = SourceCheck::only(&config.allowed_ips);
        let link = Link::new(sources, self.mtu, Roaming::SocketAndEndpoint, self.epoch, config.keepalive);
        link.set_path(config.endpoint.map(|(socket, endpoint)| Path { socket, endpoint }));
        let entry = lock(&self.control).add(config, link)?;
        let id = entry.id;
        write(&self.peers).insert(id, entry);
        Ok(id)
    }

    /// Removes a peer; its sessions end at once. Whether it was there.
    pub fn remove_peer(&self, peer: PeerId) -> bool {
        let Some(entry) = write(&self.peers).remove(&peer) else { return false };
        let mut control = lock(&self.control);
        write(&self.indices).retain(|_, other| other.id != peer);
        control.remove(peer);
        entry.link.close();
        true
    }

    /// Opens datagrams of one sender, laid end to end, each `stride` bytes long, the last maybe shorter. Data goes
    /// to `sink`, in order; handshake messages wait for [`handle_control`](Self::handle_control).
    pub fn open(
        &self,
        socket: SocketId,
        from: SocketAddr,
        data: &mut [u8],
        stride: usize,
        now: Instant,
        sink: &mut dyn PeerSink,
    ) -> Nudge {
        let from = Path { socket, endpoint: from };
        let stride = stride.max(1);
        let mut nudge = Nudge::None;
        let mut rest = data;
        while !rest.is_empty() {
            let (front, head, tail) = split_front(rest, stride);
            rest = tail;
            let raised = match front {
                Front::Data(index) => self.open_data(index, from, (head, stride), now, sink),
                Front::Handshake(kind) => self.take_handshake(kind, from, head, sink),
                Front::Bad => {
                    self.count_drop(DropReason::BadDatagram, sink);
                    Nudge::None
                }
            };
            nudge = either(nudge, raised);
        }
        nudge
    }

    fn open_data(
        &self,
        index: u32,
        from: Path,
        (data, stride): (&mut [u8], usize),
        now: Instant,
        sink: &mut dyn PeerSink,
    ) -> Nudge {
        let entry = read(&self.indices).get(&index).cloned();
        let session = entry.as_ref().and_then(|entry| entry.link.keys(|keys| keys.find(index, now).cloned()));
        let (Some(entry), Some(session)) = (entry, session) else {
            data.chunks(stride).for_each(|_| self.count_drop(DropReason::BadSeal, sink));
            return Nudge::None;
        };
        let mut sink = FromPeer { peer: entry.id, sink };
        let nudge = entry.link.open(&session, from, (data, stride), now, &mut sink);
        self.note(entry.id, nudge);
        nudge
    }

    fn take_handshake(&self, kind: Kind, from: Path, message: &[u8], sink: &mut dyn PeerSink) -> Nudge {
        if !self.mac1.admits(kind, message, |index| read(&self.indices).contains_key(&index)) {
            self.count_drop(DropReason::BadDatagram, sink);
            return Nudge::None;
        }
        self.inbox.push(Mail::new(kind, from, message)).unwrap_or_else(|| {
            self.count_drop(DropReason::QueueFull, sink);
            Nudge::None
        })
    }

    fn count_drop(&self, reason: DropReason, sink: &mut dyn PeerSink) {
        self.drops.add(reason, 1);
        sink.dropped(reason);
    }

    /// Remembers whom control is nudged for.
    fn note(&self, peer: PeerId, nudge: Nudge) {
        if nudge == Nudge::Control {
            lock(&self.nudged).push(peer);
        }
    }

    /// Splits `run` at its segments and seals each into `out`, for where the peer is. Without a session the run
    /// waits for one (bounded); without an endpoint it is dropped.
    pub fn seal(&self, peer: PeerId, run: Run, now: Instant, out: &mut Outbox) -> Sealed {
        let entry = read(&self.peers).get(&peer).cloned();
        let Some(entry) = entry.filter(|entry| entry.link.path().is_some()) else {
            self.drops.add(DropReason::NoSession, run.segments());
            return Sealed::Dropped(run, DropReason::NoSession, Nudge::None);
        };
        let sealed = entry.link.seal(run, now, out);
        if let Sealed::Done(_, nudge) | Sealed::Held(nudge) | Sealed::Dropped(_, _, nudge) = &sealed {
            self.note(peer, *nudge);
        }
        sealed
    }

    /// Answers handshake messages, sees to nudged peers and to those whose deadline has come, and puts what that
    /// makes into `out`. A [`Nudge::Control`] says that more is waiting: send `out`, then call again.
    pub fn handle_control(&self, now: Instant, out: &mut Outbox) -> Nudge {
        const AT_A_TIME: usize = 64;
        let mut control = lock(&self.control);
        for _ in 0..AT_A_TIME {
            let Some(mail) = self.inbox.pop() else { break };
            if let Err(error) = control.take_mail(&mail, &self.indices, now, out) {
                self.drops.add(error.into(), 1);
            }
        }
        let nudged = std::mem::take(&mut *lock(&self.nudged));
        for peer in nudged {
            control.attend(peer, &self.indices, now, out);
        }
        control.attend_due(&self.indices, now, out);
        if self.inbox.is_empty() { Nudge::None } else { Nudge::Control }
    }

    /// The next deadline over all peers.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        lock(&self.control).next_deadline()
    }

    /// Counters of a peer at this moment.
    pub fn peer_stats(&self, peer: PeerId, now: Instant) -> Option<PeerStats> {
        let entry = read(&self.peers).get(&peer).cloned()?;
        let done = lock(&self.control).last_handshake(peer);
        Some(PeerStats {
            endpoint: entry.link.path().map(|path| path.endpoint),
            last_handshake: done.map(|at| now.saturating_duration_since(at)),
            sent: entry.link.sent(),
            received: entry.link.received(),
            drops: entry.link.drops.get(),
        })
    }

    /// Drops that belong to no peer, by reason; reasons without a drop are left out.
    pub fn drops(&self) -> Vec<(DropReason, u64)> {
        self.drops.get()
    }

    /// The date of the newest initiation taken from a peer, to be kept for the next run
    /// ([`PeerConfig::last_timestamp`]).
    pub fn last_timestamp(&self, peer: PeerId) -> Option<Timestamp> {
        lock(&self.control).last_timestamp(peer)
    }
}
