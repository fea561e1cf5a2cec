//! Why a name or an address goes the way it goes, for people who ask.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::dns::DnsSource;
use crate::domain::DomainName;
use crate::profile::HostPattern;
use crate::settings::SplitTunnelMode;

/// Which way packets to a destination go while the device is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Into the tunnel.
    Tunnel,
    /// As they would without Weft.
    Outside,
    /// Nowhere: the tunnel alone may carry them, and cannot.
    Blocked,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tunnel => "in the tunnel",
            Self::Outside => "outside the tunnel",
            Self::Blocked => "blocked",
        })
    }
}

/// By whom a name is resolved, and which way its addresses go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostExplanation {
    /// The name.
    pub name: DomainName,
    /// Who answers for it; none where the system's own resolvers do, past Weft.
    pub source: Option<DnsSource>,
    /// What the split-tunnel lists mean.
    pub mode: SplitTunnelMode,
    /// The entry that matches it.
    pub entry: Option<HostPattern>,
    /// Which way its addresses go, once they are learnt; none where each goes by its own range.
    pub way: Option<Way>,
    /// The reasons, a sentence each, the deciding one last.
    pub why: Vec<String>,
}

/// Which way an address goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressExplanation {
    /// The address.
    pub address: IpAddr,
    /// What the split-tunnel lists mean.
    pub mode: SplitTunnelMode,
    /// The narrowest entry that has it in.
    pub entry: Option<IpNet>,
    /// Whether it was learnt from an answer for a host entry.
    pub learnt: bool,
    /// Which way it goes.
    pub way: Way,
    /// The reasons, a sentence each, the deciding one last.
    pub why: Vec<String>,
}
