//! What people and programs are told of the DNS proxy.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::profile::HostPattern;

/// What the DNS proxy did since it came up. Every query is counted in `queries` and then under exactly one of `local`,
/// `hosts`, `cached`, `stale`, `fallback`, `upstream`, `portal`, `refused`; `joined` and what follows count besides.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsStats {
    /// Queries taken.
    pub queries: u64,
    /// Answered by Weft itself: the self-check name, and names that never leave a device.
    pub local: u64,
    /// Answered from the hosts file.
    pub hosts: u64,
    /// Answered from the cache.
    pub cached: u64,
    /// Answered from the cache after their time, because nobody could be asked (RFC 8767).
    pub stale: u64,
    /// Sent to fallback resolvers.
    pub fallback: u64,
    /// Sent to the upstream.
    pub upstream: u64,
    /// Sent to the resolvers of before, while a captive portal was open.
    pub portal: u64,
    /// Refused at once, because too many were in flight or the message was malformed.
    pub refused: u64,
    /// Waited for the answer to the same query of somebody else.
    pub joined: u64,
    /// Fetched before their time ended, because they are asked for often.
    pub prefetched: u64,
    /// Answered with SERVFAIL because nobody answered in time.
    pub failed: u64,
    /// Answers that no query of Weft's asked for: a wrong id, name, source or case.
    pub mismatched: u64,
    /// Answers that were held back until their addresses led the right way.
    pub held: u64,
    /// Held answers that came to nothing, because the plan was not applied in time.
    pub hold_failures: u64,
    /// Queries that wait for an answer at this moment.
    pub in_flight: u64,
    /// Answers that the cache holds at this moment.
    pub cache_entries: u64,
    /// Bytes that the cache takes at this moment, its index included.
    pub cache_bytes: u64,
}

/// Who gave an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "source")]
pub enum DnsSource {
    /// Weft itself: the self-check name.
    Local,
    /// The hosts file.
    Hosts,
    /// The cache.
    Cache {
        /// Whether its time was over (RFC 8767).
        stale: bool,
    },
    /// The resolvers of a fallback suffix.
    Fallback {
        /// The suffix, without a dot in front.
        suffix: String,
        /// Those asked, all at once.
        servers: Vec<IpAddr>,
    },
    /// The gateway's DoH resolver.
    Doh,
    /// Plain resolvers through the tunnel.
    Plain {
        /// Those asked, all at once.
        servers: Vec<IpAddr>,
    },
    /// The resolvers that the device had before Weft.
    System {
        /// Those asked, all at once.
        servers: Vec<IpAddr>,
    },
    /// The resolvers of before, for a captive portal.
    Portal {
        /// Those asked, all at once.
        servers: Vec<IpAddr>,
    },
    /// Nobody: it was refused at once.
    Refused,
}

impl fmt::Display for DnsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("Weft itself"),
            Self::Hosts => f.write_str("the hosts file"),
            Self::Cache { stale: false } => f.write_str("the cache"),
            Self::Cache { stale: true } => f.write_str("the cache, after its time"),
            Self::Fallback { suffix, servers } => {
                write!(f, "Local Domain Fallback, suffix {suffix}: {}", Servers(servers))
            }
            Self::Doh => f.write_str("the gateway, by DoH"),
            Self::Plain { servers } => write!(f, "resolvers in the tunnel: {}", Servers(servers)),
            Self::System { servers } => write!(f, "the resolvers of before: {}", Servers(servers)),
            Self::Portal { servers } => write!(f, "a captive portal's resolvers: {}", Servers(servers)),
            Self::Refused => f.write_str("nobody: refused at once"),
        }
    }
}

struct Servers<'a>(&'a [IpAddr]);

impl fmt::Display for Servers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none known");
        }
        for (at, server) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{server}")?;
        }
        Ok(())
    }
}

/// An extended error of an answer (RFC 8914).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendedError {
    /// The INFO-CODE.
    pub code: u16,
    /// The EXTRA-TEXT, without control characters; may be empty.
    pub text: String,
}

/// One line of the DNS log, which is off unless somebody switches it on: names are private.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsLogEntry {
    /// When it was answered; in JSON `unix_ms`, milliseconds since 1970 (UTC), as in the daemon's log.
    #[serde(rename = "unix_ms", with = "unix_ms")]
    pub at: SystemTime,
    /// The name asked for, in presentation form (RFC 1035, section 5.1), without the dot at its end.
    pub name: String,
    /// The type asked for ("A", "AAAA", "TYPE65280").
    pub kind: String,
    /// Who gave the answer.
    pub source: DnsSource,
    /// The response code's mnemonic ("NOERROR", "NXDOMAIN").
    pub rcode: String,
    /// Microseconds from the query to its answer.
    pub micros: u64,
    /// The first extended error of the answer.
    pub error: Option<ExtendedError>,
}

/// A moment as a number of milliseconds since 1970 (UTC); one before is 0.
mod unix_ms {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        serializer.serialize_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let since = Duration::from_millis(u64::deserialize(deserializer)?);
        let out_of_range = || serde::de::Error::custom("a time out of range");
        UNIX_EPOCH.checked_add(since).ok_or_else(out_of_range)
    }
}

/// The DNS log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DnsLog {
    /// Whether it is switched on.
    pub on: bool,
    /// What it holds, the oldest first.
    pub entries: Vec<DnsLogEntry>,
}

/// What is new in the DNS log, for whoever follows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DnsLogNews {
    /// Whether the log is switched on.
    pub on: bool,
    /// How many entries came since the last news and are gone already: the log holds the newest alone.
    pub missed: u64,
    /// Those that are there, the oldest first.
    pub entries: Vec<DnsLogEntry>,
}

/// What became of one name, and why: `weft dns query`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsLookup {
    /// The name asked for.
    pub name: String,
    /// The type asked for.
    pub kind: String,
    /// Who gave the answer.
    pub source: DnsSource,
    /// The split-tunnel entry that the name itself, or a name of its CNAME chain, matches.
    pub host_entry: Option<HostPattern>,
    /// The response code's mnemonic.
    pub rcode: String,
    /// Every extended error of the answer.
    pub errors: Vec<ExtendedError>,
    /// The answer section, one record a line as in a zone file.
    pub answers: Vec<String>,
    /// Microseconds from the query to its answer.
    pub micros: u64,
    /// The answer as it came, in wire form.
    pub message: Vec<u8>,
}
