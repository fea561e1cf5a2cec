//! The seam between the engine, the runtime and a tunnel protocol.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use weft_model::{DropReason, TunnelStats};
use weft_packet::Run;

use crate::outbox::Outbox;

/// A socket that a transport asked for. Chosen by the transport, unique within it, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// Ties the monotonic clock to the calendar at one moment, for protocols whose messages carry a date
/// (WireGuard's TAI64N). Taken once; what is derived from it never runs backwards.
#[derive(Debug, Clone, Copy)]
pub struct Anchor {
    /// The moment on the monotonic clock.
    pub instant: Instant,
    /// The same moment as time since the Unix epoch.
    pub unix: Duration,
}

/// A source of random bytes fit for keys.
pub trait Entropy: Send {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// A moment at which a part wants [`Control::handle_timeout`], and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The moment.
    pub at: Instant,
    /// What for, as `weft status` shows it.
    pub reason: &'static str,
}

/// A tunnel protocol to one far side, ready to be run.
pub struct Transport {
    /// Seals what leaves; shared between the TUN's thread and the core's own flows.
    pub outbound: Arc<dyn Outbound>,
    /// Opens what arrives; owned by the thread that reads the sockets.
    pub inbound: Box<dyn Inbound>,
    /// The rest; owned by the engine.
    pub control: Box<dyn Control>,
}

/// Whether a data-path call left something for [`Control`] to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub enum Nudge {
    /// No.
    #[default]
    None,
    /// Yes: call [`Control::handle_nudge`] soon. Raised on changes only, never once a packet.
    Control,
}

/// What became of a run.
#[derive(Debug)]
#[must_use]
pub enum Sealed {
    /// It is in the outbox, all of it. The buffer comes back; the packet in it is spent.
    Done(Run, Nudge),
    /// The transport keeps the run, buffer and all, until it can be sent or is given up (bounded). The buffer does
    /// not come back: a pool replaces it.
    Held(Nudge),
    /// The stream takes no more: keep the run and offer it again after the socket was writable.
    Blocked(Run),
    /// It cannot be sent; every segment counts as dropped for this reason.
    Dropped(Run, DropReason, Nudge),
}

/// Seals what leaves.
pub trait Outbound: Send + Sync {
    /// Splits `run` at its segments and seals each into `out`. Completes its checksums.
    ///
    /// Concurrent callers are allowed; what they seal may interleave, packets of one call keep their order.
    fn seal(&self, run: Run, now: Instant, out: &mut Outbox) -> Sealed;

    /// The longest IP packet that can be sealed at the moment, in bytes.
    fn mtu(&self) -> usize;
}

/// What a socket gave.
#[derive(Debug)]
pub enum Received<'a> {
    /// Datagrams of one sender, laid end to end: each `stride` bytes long, the last may be shorter.
    Datagrams {
        /// The socket.
        socket: SocketId,
        /// Who sent them.
        from: SocketAddr,
        /// The bytes; opened in place.
        data: &'a mut [u8],
        /// Bytes of each datagram but the last; never 0.
        stride: usize,
    },
    /// The next bytes of a stream.
    Bytes {
        /// The socket.
        socket: SocketId,
        /// The bytes.
        data: &'a mut [u8],
    },
}

/// Takes the packets that a transport opened.
pub trait PacketSink {
    /// One IP packet, whole, from the far side. Its source has been checked to be the far side's to use.
    fn packet(&mut self, packet: &mut [u8]);
    /// One datagram or packet was dropped.
    fn dropped(&mut self, reason: DropReason);
}

/// What [`Inbound::open`] left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct Opened {
    /// Whether control has something to do.
    pub nudge: Nudge,
}

/// Opens what arrives.
pub trait Inbound: Send {
    /// Opens `received` and hands its packets to `sink`, in order.
    fn open(&mut self, received: Received<'_>, now: Instant, sink: &mut dyn PacketSink) -> Opened;
}

/// A wish for a socket. The runtime makes every one from its factory, outside the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketRequest {
    /// A UDP socket for datagrams to `remote`; it may hear others (a roaming far side).
    Udp {
        /// Where datagrams go at first; says which family to bind.
        remote: SocketAddr,
    },
    /// A TLS 1.3 stream over TCP.
    Tls {
        /// Where to.
        remote: SocketAddr,
        /// The name to ask for (SNI) and to verify.
        name: String,
        /// The protocols to offer (ALPN).
        alpn: Vec<Vec<u8>>,
        /// The far side's pinned key: SHA-256 of its SubjectPublicKeyInfo.
        pinned_key: Option<[u8; 32]>,
    },
}

/// Why a socket is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    /// The system said so.
    #[error("{0}")]
    System(String),
    /// The far side closed the stream.
    #[error("closed by the far side")]
    Closed,
    /// The far side is not who it should be.
    #[error("the far side's certificate is not the pinned one")]
    Untrusted,
}

/// Why a transport is no longer up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LostReason {
    /// No endpoint answered the handshake.
    #[error("no endpoint answers")]
    Unreachable,
    /// What was sent went unanswered beyond its deadline.
    #[error("the far side does not answer any more")]
    Silent,
    /// The far side refused.
    #[error("the far side refused: {0}")]
    Refused(String),
    /// A socket is gone.
    #[error("socket: {0}")]
    Socket(SocketError),
}

/// What a transport tells the engine and the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransportEvent {
    /// Make this socket, then call [`Control::handle_socket`].
    Open(SocketId, SocketRequest),
    /// Close this socket; nothing more is said of it.
    Close(SocketId),
    /// Packets can pass. Said again after a change of endpoint, and once the far side is proven after
    /// [`Control::handle_network_change`].
    Up {
        /// The far side's address.
        endpoint: SocketAddr,
    },
    /// Packets cannot pass; the transport goes on trying unless the engine drops it.
    Lost(LostReason),
    /// The longest IP packet has another length now, in bytes.
    Mtu(usize),
    /// The far side gave these addresses to the device (RFC 9484, ADDRESS_ASSIGN). Replaces earlier ones.
    Addresses(Vec<IpNet>),
    /// The far side carries these destinations (RFC 9484, ROUTE_ADVERTISEMENT). Replaces earlier ones.
    Routes(Vec<IpNet>),
}

/// The handshake, the timers and the wishes for sockets.
///
/// After any `handle_*` call, poll [`poll_event`](Self::poll_event), then
/// [`poll_transmit`](Self::poll_transmit), then [`poll_timeout`](Self::poll_timeout).
pub trait Control: Send {
    /// Begins: asks for sockets and starts the handshake.
    fn start(&mut self, now: Instant);
    /// A socket that was asked for is there, bound to this local address, or is gone.
    fn handle_socket(&mut self, socket: SocketId, state: Result<SocketAddr, SocketError>, now: Instant);
    /// A stream that had blocked takes bytes again.
    fn handle_writable(&mut self, socket: SocketId, now: Instant);
    /// A data-path call raised [`Nudge::Control`].
    fn handle_nudge(&mut self, now: Instant);
    /// The moment of [`poll_timeout`](Self::poll_timeout) has come. Calling it early is harmless.
    fn handle_timeout(&mut self, now: Instant);
    /// The primary path changed, or the device woke: bind anew and prove the far side.
    fn handle_network_change(&mut self, now: Instant);
    /// The next event; `None` until the next `handle_*` call.
    fn poll_event(&mut self) -> Option<TransportEvent>;
    /// Puts what control wants to send into `out`, runs held for want of a session included.
    fn poll_transmit(&mut self, now: Instant, out: &mut Outbox);
    /// The next deadline. None: the transport sleeps until something is sent or arrives.
    fn poll_timeout(&self) -> Option<Deadline>;
    /// Counters at this moment. Every drop of the transport's own is among them, those too that a caller was told of
    /// ([`Sealed::Dropped`], [`PacketSink::dropped`]): nobody else counts them.
    fn stats(&self, now: Instant) -> TunnelStats;
}
