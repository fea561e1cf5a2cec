//! Counters, as plain numbers at one moment.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::dns::DnsStats;

/// Why a packet was dropped. Every drop on the packet path is counted under exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum DropReason {
    /// Not an IP packet, or its header lies about its length.
    Malformed,
    /// The source is not an address of the tunnel interface.
    ForeignSource,
    /// The destination stays outside the tunnel; the packet took a wrong way.
    NotTunnelled,
    /// Longer than the tunnel's MTU.
    TooBig,
    /// Multicast, broadcast or link-local, which a tunnel does not carry.
    NotUnicast,
    /// The tunnel cannot carry it: it has no address of that family, or the far side does not take the
    /// destination. The sender is told by ICMP.
    Unreachable,
    /// The tunnel is not up and its queue is full.
    NoSession,
    /// A datagram that is no message of the transport.
    BadDatagram,
    /// A datagram whose seal does not open.
    BadSeal,
    /// A datagram seen before, or too old.
    Replay,
    /// A packet from the tunnel whose source is not the far side's to use.
    SpoofedSource,
    /// A packet from the tunnel whose destination is not this device.
    NotForUs,
    /// A queue was full.
    QueueFull,
    /// The system refused the packet.
    SystemError,
}

impl DropReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Malformed,
        Self::ForeignSource,
        Self::NotTunnelled,
        Self::TooBig,
        Self::NotUnicast,
        Self::Unreachable,
        Self::NoSession,
        Self::BadDatagram,
        Self::BadSeal,
        Self::Replay,
        Self::SpoofedSource,
        Self::NotForUs,
        Self::QueueFull,
        Self::SystemError,
    ];
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed",
            Self::ForeignSource => "foreign source",
            Self::NotTunnelled => "not tunnelled",
            Self::TooBig => "too big",
            Self::NotUnicast => "not unicast",
            Self::Unreachable => "unreachable",
            Self::NoSession => "no session",
            Self::BadDatagram => "bad datagram",
            Self::BadSeal => "bad seal",
            Self::Replay => "replay",
            Self::SpoofedSource => "spoofed source",
            Self::NotForUs => "not for us",
            Self::QueueFull => "queue full",
            Self::SystemError => "system error",
        })
    }
}

/// Packets and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counter {
    /// IP packets.
    pub packets: u64,
    /// Bytes of IP packets, without the transport's overhead.
    pub bytes: u64,
}

/// What the tunnel did since it came up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TunnelStats {
    /// "WireGuard", later "MASQUE (HTTP/3)" and "MASQUE (HTTP/2)".
    pub protocol: String,
    /// The endpoint in use.
    pub endpoint: Option<SocketAddr>,
    /// Milliseconds since the last handshake.
    pub last_handshake_ms: Option<u64>,
    /// The round trip of the last handshake, in microseconds.
    pub handshake_rtt_us: Option<u64>,
    /// Sent into the tunnel.
    pub sent: Counter,
    /// Received from the tunnel.
    pub received: Counter,
    /// Drops by reason; reasons without a drop are left out.
    pub drops: Vec<(DropReason, u64)>,
}

/// Both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stats {
    /// The tunnel's.
    pub tunnel: TunnelStats,
    /// The DNS proxy's.
    pub dns: DnsStats,
}
