//! What goes in and out of the engine.

use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Who asked. Chosen by the front, which knows what it stands for; one a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// How a query came, and so how long its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Up to what the query's EDNS says, else 512 bytes.
    Udp,
    /// Up to 65,535 bytes.
    Tcp,
}

/// A request of the engine's; unique, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    pub(super) ask: u64,
    pub(super) index: usize,
}

/// Which way a plain resolver is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// Through the tunnel.
    Tunnel,
    /// Through the tunnel if the resolver's address is tunnelled, else outside.
    ByAddress,
    /// Outside, whatever its address: a captive portal is open.
    Outside,
}

/// Whom a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The gateway's DoH resolver, inside or outside the tunnel as the service mode says.
    Doh,
    /// A plain resolver, port 53: by UDP, and again by TCP where the answer is cut.
    Plain {
        /// Its address.
        server: IpAddr,
        /// Which way.
        way: Way,
    },
}

/// Ask this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// To be given back with the answer.
    pub id: RequestId,
    /// Whom to ask.
    pub to: Target,
    /// The query. Its id is 0 for DoH (RFC 8484, section 4.1), else random.
    pub message: Vec<u8>,
    /// When the answer is of no more use.
    pub deadline: Instant,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct UpstreamError {
    /// What kind of failure: decides the extended error that the client is told (RFC 8914).
    pub kind: UpstreamErrorKind,
    /// What happened, for the log: one line. Clients are not told.
    pub detail: String,
}

impl UpstreamError {
    /// An error of `kind`; `detail` is for the log.
    pub fn new(kind: UpstreamErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// The kinds of [`UpstreamError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamErrorKind {
    /// The resolver cannot be reached: no route, connection refused, TLS failed. EDE 23, Network Error.
    Unreachable,
    /// There was no answer in time. EDE 22, No Reachable Authority.
    TimedOut,
    /// What leads to the resolver is not there yet: the tunnel is not up. EDE 14, Not Ready.
    NotReady,
    /// The resolver does not answer this device: the HTTP status. EDE 18, Prohibited, for 401 and 403; else 0, Other.
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// What came is no DNS answer. EDE 0, Other.
    Garbage,
}

/// What became of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// The answer stands in the caller's buffer, ready to be sent.
    Answered,
    /// An answer follows by [`poll_answer`](super::Engine::poll_answer), sooner or later.
    Waiting,
    /// It cannot be answered; nothing follows.
    Dropped,
}

/// An answer that waits for its addresses; unique, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldId(pub u64);

/// Addresses that an answer for a split-tunnel host name holds. The answer goes out once it is released
/// ([`release`](super::Engine::release)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learnt {
    /// To be given back.
    pub hold: HoldId,
    /// The addresses: of A and AAAA records and of hints in SVCB and HTTPS records.
    pub addresses: Vec<LearntAddress>,
}

/// An address of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearntAddress {
    /// The address.
    pub address: IpAddr,
    /// What is left of its record's time to live.
    pub ttl: Duration,
}
