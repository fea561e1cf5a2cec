//! What the DNS engine tells of names.

use std::net::IpAddr;
use std::time::UNIX_EPOCH;

/// Who gave an answer.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum DnsSource {
    /// Weft itself.
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
        /// The suffix.
        suffix: String,
        /// Those asked, all at once.
        servers: Vec<String>,
    },
    /// The gateway's DoH resolver.
    Doh,
    /// Plain resolvers through the tunnel.
    Plain {
        /// Those asked, all at once.
        servers: Vec<String>,
    },
    /// The resolvers of the network that the device is on.
    System {
        /// Those asked, all at once.
        servers: Vec<String>,
    },
    /// The same, for a captive portal.
    Portal {
        /// Those asked, all at once.
        servers: Vec<String>,
    },
    /// Nobody: it was refused at once.
    Refused,
}

fn texts(addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

impl From<&weft_model::DnsSource> for DnsSource {
    fn from(source: &weft_model::DnsSource) -> Self {
        use weft_model::DnsSource as Source;
        match source {
            Source::Local => Self::Local,
            Source::Hosts => Self::Hosts,
            Source::Cache { stale } => Self::Cache { stale: *stale },
            Source::Fallback { suffix, servers } => {
                Self::Fallback { suffix: suffix.clone(), servers: texts(servers) }
            }
            Source::Doh => Self::Doh,
            Source::Plain { servers } => Self::Plain { servers: texts(servers) },
            Source::System { servers } => Self::System { servers: texts(servers) },
            Source::Portal { servers } => Self::Portal { servers: texts(servers) },
            Source::Refused => Self::Refused,
        }
    }
}

/// An extended error of an answer (RFC 8914).
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ExtendedError {
    /// The INFO-CODE.
    pub code: u16,
    /// The EXTRA-TEXT; may be empty.
    pub text: String,
}

impl From<&weft_model::ExtendedError> for ExtendedError {
    fn from(error: &weft_model::ExtendedError) -> Self {
        Self { code: error.code, text: error.text.clone() }
    }
}

/// What became of one name, and why.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct DnsLookup {
    /// The name asked for.
    pub name: String,
    /// The type asked for.
    pub record_type: String,
    /// Who gave the answer.
    pub source: DnsSource,
    /// The same in words.
    pub source_text: String,
    /// The split-tunnel entry that the name itself, or a name of its CNAME chain, matches.
    pub host_entry: Option<String>,
    /// The response code's mnemonic ("NOERROR", "NXDOMAIN").
    pub rcode: String,
    /// Every extended error of the answer.
    pub errors: Vec<ExtendedError>,
    /// The answer section, one record a line as in a zone file.
    pub answers: Vec<String>,
    /// Microseconds from the query to its answer.
    pub micros: u64,
}

impl From<&weft_model::DnsLookup> for DnsLookup {
    fn from(lookup: &weft_model::DnsLookup) -> Self {
        Self {
            name: lookup.name.clone(),
            record_type: lookup.kind.clone(),
            source: (&lookup.source).into(),
            source_text: lookup.source.to_string(),
            host_entry: lookup.host_entry.as_ref().map(ToString::to_string),
            rcode: lookup.rcode.clone(),
            errors: lookup.errors.iter().map(ExtendedError::from).collect(),
            answers: lookup.answers.clone(),
            micros: lookup.micros,
        }
    }
}

/// One line of the DNS log.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct DnsLogEntry {
    /// When it was answered, in milliseconds since 1970 began.
    pub at_ms: u64,
    /// The name asked for.
    pub name: String,
    /// The type asked for.
    pub record_type: String,
    /// Who gave the answer.
    pub source: DnsSource,
    /// The same in words.
    pub source_text: String,
    /// The response code's mnemonic.
    pub rcode: String,
    /// Microseconds from the query to its answer.
    pub micros: u64,
    /// The first extended error of the answer.
    pub error: Option<ExtendedError>,
}

/// The DNS log, which is off unless somebody switches it on: names are private.
#[derive(Debug, Clone, PartialEq, Eq, Default, uniffi::Record)]
pub struct DnsLog {
    /// Whether it is switched on.
    pub on: bool,
    /// What it holds, the oldest first.
    pub entries: Vec<DnsLogEntry>,
}

impl From<&weft_model::DnsLog> for DnsLog {
    fn from(log: &weft_model::DnsLog) -> Self {
        let entry = |entry: &weft_model::DnsLogEntry| {
            let since = entry.at.duration_since(UNIX_EPOCH).unwrap_or_default();
            DnsLogEntry {
                at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
                name: entry.name.clone(),
                record_type: entry.kind.clone(),
                source: (&entry.source).into(),
                source_text: entry.source.to_string(),
                rcode: entry.rcode.clone(),
                micros: entry.micros,
                error: entry.error.as_ref().map(ExtendedError::from),
            }
        };
        Self { on: log.on, entries: log.entries.iter().map(entry).collect() }
    }
}
