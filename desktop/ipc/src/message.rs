//! What the two sides say to each other.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use weft_model::{
    DnsLog, DnsLogNews, DnsLookup, DomainName, PublicKey, RegistrationSource, Secret, ServiceMode, Settings,
    Stats, Status, UserError,
};

use crate::dns::{DnsFallback, DnsStatus};

/// The first frame of each side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The number of the protocol, [`crate::PROTOCOL_VERSION`].
    pub weft: u32,
    /// The program's version, for people.
    pub version: String,
}

impl Hello {
    /// This build's.
    #[must_use]
    pub fn ours() -> Self {
        Self { weft: crate::PROTOCOL_VERSION, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// What a request needs of its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It only looks.
    Read,
    /// It changes the device's state; the daemon logs who asked.
    Write,
}

/// What a client asks of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Bring the tunnel up and keep it up, also over a restart. Answered once it is under way.
    Connect,
    /// Take the tunnel down and put the network back. Answered once it is under way.
    Disconnect,
    /// Choose a service mode, where the profile lets the user.
    SetMode {
        /// The mode.
        mode: ServiceMode,
    },
    /// The present state.
    Status,
    /// The present state, then each later one; a reader that is too slow misses those in between.
    Subscribe,
    /// The values in force, with their origins.
    Settings,
    /// Fetch the profile now. Answered once it is under way.
    RefreshProfile,
    /// The counters.
    Stats,
    /// Register this device with a gateway.
    Register {
        /// The gateway's address: `https://HOST[:PORT]`.
        url: String,
        /// The enrolment token that the gateway's administrator handed out.
        token: Secret,
        /// The SHA-256 of the gateway's certificate authority, in hex; none = a certificate the system trusts.
        ca_fingerprint: Option<String>,
        /// The device's name at the gateway; none = the host's name.
        name: Option<String>,
    },
    /// Take a wg-quick file for a registration.
    ImportRegistration {
        /// The registration's name.
        name: String,
        /// The file's text. A secret, since it holds the private key.
        text: Secret,
    },
    /// Who this device is, without its secrets.
    Registration,
    /// Disconnect, tell the gateway, and forget the registration.
    DeleteRegistration,
    /// What a report of a problem needs, without secrets.
    Diagnostics,
    /// The newest lines of the daemon's log.
    Log {
        /// How many lines at most.
        lines: u32,
        /// Whether to go on with each new line.
        follow: bool,
    },
    /// How names are answered at this moment, and why so.
    DnsStatus,
    /// The names that private resolvers answer.
    DnsFallback,
    /// Ask for a name as a program would, and say who answered it and why.
    DnsLookup {
        /// The name.
        name: DomainName,
        /// The number of the record type (RFC 1035, section 3.2.2).
        kind: u16,
    },
    /// The log of DNS queries; names are private.
    DnsLog {
        /// Switch it on or off first; off empties it.
        enable: Option<bool>,
    },
    /// What the log of DNS queries holds, then what is new in it; a reader that is too slow misses entries, and is told
    /// how many.
    DnsLogFollow {
        /// How many of the entries that are there, the newest.
        entries: u32,
    },
    /// Forget every DNS answer that is kept.
    DnsFlush,
}

impl Request {
    /// What the request needs of its peer.
    #[must_use]
    pub fn permission(&self) -> Permission {
        match self {
            Self::Status
            | Self::Subscribe
            | Self::Settings
            | Self::Stats
            | Self::Registration
            | Self::Diagnostics
            | Self::DnsStatus
            | Self::DnsFallback
            | Self::Log { .. } => Permission::Read,
            Self::Connect
            | Self::Disconnect
            | Self::SetMode { .. }
            | Self::RefreshProfile
            | Self::Register { .. }
            | Self::ImportRegistration { .. }
            | Self::DeleteRegistration
            | Self::DnsLookup { .. }
            | Self::DnsLog { .. }
            | Self::DnsLogFollow { .. }
            | Self::DnsFlush => Permission::Write,
        }
    }

    /// How long the answer may take at most; a client gives up then.
    #[must_use]
    pub fn answer_within(&self) -> Duration {
        Duration::from_secs(match self {
            Self::Register { .. } | Self::DeleteRegistration => 90,
            Self::Connect | Self::Disconnect | Self::SetMode { .. } | Self::ImportRegistration { .. } => 30,
            Self::Diagnostics | Self::DnsLookup { .. } => 30,
            _ => 10,
        })
    }

    /// The request's name, for logs: no parameter is in it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::SetMode { .. } => "set mode",
            Self::Status => "status",
            Self::Subscribe => "subscribe",
            Self::Settings => "settings",
            Self::RefreshProfile => "refresh profile",
            Self::Stats => "stats",
            Self::Register { .. } => "register",
            Self::ImportRegistration { .. } => "import registration",
            Self::Registration => "show registration",
            Self::DeleteRegistration => "delete registration",
            Self::Diagnostics => "diagnostics",
            Self::Log { .. } => "log",
            Self::DnsStatus => "DNS status",
            Self::DnsFallback => "DNS fallback list",
            Self::DnsLookup { .. } => "DNS query",
            Self::DnsLog { .. } | Self::DnsLogFollow { .. } => "DNS log",
            Self::DnsFlush => "DNS flush",
        }
    }
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Response {
    /// It is done, or under way.
    Done,
    /// It is done, and the user should know this of it, one line each.
    Noted(Vec<String>),
    /// The state; of [`Request::Status`] and [`Request::Subscribe`].
    Status(Box<Status>),
    /// The values in force.
    Settings(Box<Settings>),
    /// The counters.
    Stats(Box<Stats>),
    /// Who this device is.
    Registration(Box<RegistrationSummary>),
    /// What a report of a problem needs.
    Diagnostics(Box<Diagnostics>),
    /// Lines of the log, oldest first.
    Log(Vec<LogLine>),
    /// How names are answered.
    DnsStatus(Box<DnsStatus>),
    /// The names that private resolvers answer.
    DnsFallback(Box<DnsFallback>),
    /// What became of a name.
    DnsLookup(Box<DnsLookup>),
    /// The log of DNS queries; of what does not fit a frame, the newest.
    DnsLog(Box<DnsLog>),
    /// What is new in the log of DNS queries.
    DnsLogNews(Box<DnsLogNews>),
    /// It was not done.
    Failure(Failure),
}

/// Why the daemon does not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "failure")]
pub enum Failure {
    /// The frame is none of the protocol. The connection ends.
    #[error("the daemon could not read the request: {detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
    /// The two programs are of different versions. The connection ends.
    #[error("weftd is version {version} and speaks another protocol: install weft and weftd of one version")]
    Version {
        /// The daemon's version.
        version: String,
    },
    /// The peer may not do that. The connection ends.
    #[error("permission denied: run as root, or as a member of the group {group}")]
    Denied {
        /// The group whose members may.
        group: String,
    },
    /// There are too many connections, or the peer was silent for too long. The connection ends.
    #[error("the daemon is busy: {detail}")]
    Busy {
        /// With what.
        detail: String,
    },
    /// The daemon is going down.
    #[error("the daemon is going down")]
    ShuttingDown,
    /// The device has a registration already.
    #[error("this device is registered already: `weft registration delete` forgets that registration")]
    Registered,
    /// The wg-quick file is refused.
    #[error("the wg-quick file is refused: {detail}")]
    File {
        /// What is wrong with it.
        detail: String,
    },
    /// What was asked cannot be done.
    #[error("{error}")]
    User {
        /// Why.
        error: UserError,
    },
}

impl From<UserError> for Failure {
    fn from(error: UserError) -> Self {
        Self::User { error }
    }
}

/// Who this device is, without a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationSummary {
    /// The device's identifier at the gateway; of an imported one, its name.
    pub id: String,
    /// Where it came from.
    pub source: RegistrationSource,
    /// The device's public tunnel key.
    pub public_key: PublicKey,
    /// The tunnel interface's addresses.
    pub addresses: Vec<IpNet>,
    /// The gateways, in order of preference.
    pub gateways: Vec<GatewaySummary>,
    /// The profile's name, where a gateway delivers one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// One gateway of a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewaySummary {
    /// The name of its orchestration API, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// The tunnel's far end: every address with every port, in the order they are tried.
    pub endpoints: Vec<SocketAddr>,
    /// The gateway's public tunnel key.
    pub public_key: PublicKey,
    /// Who answers the names that no fallback rule takes.
    pub dns: DnsSummary,
}

/// Who answers the names that no fallback rule takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum DnsSummary {
    /// The gateway's DoH resolver.
    Doh {
        /// Its name and path.
        url: String,
    },
    /// Plain resolvers through the tunnel.
    Plain {
        /// Their addresses.
        servers: Vec<IpAddr>,
    },
    /// The resolvers the device had before.
    System,
}

impl fmt::Display for DnsSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Doh { url } => f.write_str(url),
            Self::Plain { servers } => {
                let servers: Vec<_> = servers.iter().map(IpAddr::to_string).collect();
                write!(f, "{} through the tunnel", servers.join(", "))
            }
            Self::System => f.write_str("the system's resolvers"),
        }
    }
}

/// What a report of a problem needs, without a key or a token in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostics {
    /// The daemon's version.
    pub version: String,
    /// The system: kernel and architecture.
    pub system: String,
    /// The state.
    pub status: Status,
    /// The values in force.
    pub settings: Settings,
    /// The counters.
    pub stats: Stats,
    /// Who the device is; none = not registered.
    pub registration: Option<RegistrationSummary>,
    /// What the system holds: routes, rules, firewall, DNS settings.
    pub sections: Vec<DiagnosticSection>,
    /// The newest lines of the log.
    pub log: Vec<LogLine>,
}

/// One piece of the system's state, as its own tools print it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosticSection {
    /// The command or the file.
    pub source: String,
    /// What it said, line by line.
    pub lines: Vec<String>,
}

/// One line of the daemon's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When, in milliseconds since 1970 (UTC).
    pub unix_ms: u64,
    /// ERROR, WARN, INFO, DEBUG or TRACE.
    pub level: String,
    /// The part of the program.
    pub target: String,
    /// What it said.
    pub text: String,
}
