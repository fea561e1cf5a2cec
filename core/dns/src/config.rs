//! What decides whom a query goes to.

use std::net::IpAddr;
use std::time::Duration;

use weft_model::FallbackDomain;
use weft_model::profile::HostPattern;

/// Who answers the names that no fallback rule takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Upstream {
    /// The gateway's DoH resolver.
    Doh,
    /// Plain resolvers through the tunnel, all asked at once.
    Plain(Vec<IpAddr>),
    /// The resolvers that the device had before it connected.
    #[default]
    System,
}

/// What the engine works by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// The DNS proxy's own addresses, which the self-check name ([`weft_model::DNS_SELF_CHECK_NAME`]) resolves to.
    pub self_addresses: Vec<IpAddr>,
    /// The suffixes that other resolvers answer; the longest that matches counts. One without resolvers is answered
    /// by the system's.
    pub fallback: Vec<FallbackDomain>,
    /// Who answers the rest.
    pub upstream: Upstream,
    /// The resolvers that the device had before it connected.
    pub system_resolvers: Vec<IpAddr>,
    /// The split tunnel's host entries: the addresses of names that they match are learnt.
    pub hosts: Vec<HostPattern>,
    /// Whether an answer with learnt addresses is held until it is released; else it goes out at once.
    pub hold: bool,
    /// The most bytes that the cache may take, its index included; 0 switches it off.
    pub cache_bytes: usize,
    /// How long after its time an answer may still be given while nobody can be asked (RFC 8767). None: never.
    pub serve_stale: Option<Duration>,
    /// Whether, of several resolvers asked at once, the first answer with data wins over an earlier one that says
    /// there are none.
    pub prefer_positive: bool,
}

/// Bytes of a cache where nothing else is said: room for some 10,000 answers of usual lengths.
pub const DEFAULT_CACHE_BYTES: usize = 2 << 20;

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            self_addresses: Vec::new(),
            fallback: Vec::new(),
            upstream: Upstream::default(),
            system_resolvers: Vec::new(),
            hosts: Vec::new(),
            hold: true,
            cache_bytes: DEFAULT_CACHE_BYTES,
            serve_stale: None,
            prefer_positive: false,
        }
    }
}
