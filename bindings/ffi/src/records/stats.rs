//! Counters at one moment.

/// Packets and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct Counter {
    /// IP packets.
    pub packets: u64,
    /// Bytes of IP packets.
    pub bytes: u64,
}

impl From<weft_model::Counter> for Counter {
    fn from(counter: weft_model::Counter) -> Self {
        let weft_model::Counter { packets, bytes } = counter;
        Self { packets, bytes }
    }
}

/// Packets dropped for one reason.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct DropCount {
    /// The reason, in words.
    pub reason: String,
    /// How many.
    pub packets: u64,
}

/// What the tunnel did since it came up.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct TunnelStats {
    /// The protocol ("WireGuard"); empty while there is no tunnel.
    pub protocol: String,
    /// The endpoint in use, as ADDRESS:PORT.
    pub endpoint: Option<String>,
    /// Milliseconds since the last handshake.
    pub last_handshake_ms: Option<u64>,
    /// The round trip of the last handshake, in microseconds.
    pub handshake_rtt_us: Option<u64>,
    /// Sent into the tunnel.
    pub sent: Counter,
    /// Received from the tunnel.
    pub received: Counter,
    /// Drops; reasons without one are left out.
    pub drops: Vec<DropCount>,
}

/// What the DNS engine did since it came up.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct DnsStats {
    /// Queries taken.
    pub queries: u64,
    /// Answered from the cache.
    pub cached: u64,
    /// Answered from the cache after their time (RFC 8767).
    pub stale: u64,
    /// Sent to fallback resolvers.
    pub fallback: u64,
    /// Sent to the gateway.
    pub upstream: u64,
    /// Refused at once.
    pub refused: u64,
    /// Answered with SERVFAIL because nobody answered in time.
    pub failed: u64,
    /// Queries that wait for an answer at this moment.
    pub in_flight: u64,
    /// Answers that the cache holds at this moment.
    pub cache_entries: u64,
    /// Bytes that the cache takes at this moment.
    pub cache_bytes: u64,
}

/// Both.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Stats {
    /// The tunnel's.
    pub tunnel: TunnelStats,
    /// The DNS engine's.
    pub dns: DnsStats,
}

impl From<&weft_model::Stats> for Stats {
    fn from(stats: &weft_model::Stats) -> Self {
        let weft_model::Stats { tunnel, dns } = stats;
        let drop_count = |(reason, packets): &(weft_model::DropReason, u64)| DropCount {
            reason: reason.to_string(),
            packets: *packets,
        };
        Self {
            tunnel: TunnelStats {
                protocol: tunnel.protocol.clone(),
                endpoint: tunnel.endpoint.map(|endpoint| endpoint.to_string()),
                last_handshake_ms: tunnel.last_handshake_ms,
                handshake_rtt_us: tunnel.handshake_rtt_us,
                sent: tunnel.sent.into(),
                received: tunnel.received.into(),
                drops: tunnel.drops.iter().map(drop_count).collect(),
            },
            dns: DnsStats {
                queries: dns.queries,
                cached: dns.cached,
                stale: dns.stale,
                fallback: dns.fallback,
                upstream: dns.upstream,
                refused: dns.refused,
                failed: dns.failed,
                in_flight: dns.in_flight,
                cache_entries: dns.cache_entries,
                cache_bytes: dns.cache_bytes,
            },
        }
    }
}
