//! How the system's own DNS settings lead to the DNS proxy, as people and programs are told.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::plan::Protocol;

/// By what means a system's DNS settings are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DnsMode {
    /// systemd-resolved, on Weft's own link alone: it takes every name that no other link claims.
    ResolvedLink,
    /// systemd-resolved, by a drop-in that holds for all links.
    ResolvedGlobal,
    /// NetworkManager's global DNS settings.
    NetworkManager,
    /// resolvconf(8): openresolv's or Debian's.
    Resolvconf,
    /// The file resolv.conf, replaced whole.
    File,
    /// The file resolv.conf, written over because nothing can be renamed to its place.
    FileInPlace,
    /// Nothing is changed.
    None,
}

impl DnsMode {
    /// Every mode.
    pub const ALL: [Self; 7] = [
        Self::ResolvedLink,
        Self::ResolvedGlobal,
        Self::NetworkManager,
        Self::Resolvconf,
        Self::File,
        Self::FileInPlace,
        Self::None,
    ];

    /// The mode's name in JSON and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ResolvedLink => "resolved-link",
            Self::ResolvedGlobal => "resolved-global",
            Self::NetworkManager => "network-manager",
            Self::Resolvconf => "resolvconf",
            Self::File => "file",
            Self::FileInPlace => "file-in-place",
            Self::None => "none",
        }
    }
}

impl fmt::Display for DnsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DnsMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|mode| mode.as_str()).collect();
            format!("no such mode; there are {}", names.join(", "))
        })
    }
}

/// What the system's DNS settings are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsDescription {
    /// By what means they are changed.
    pub mode: DnsMode,
    /// Why it is this mode: what was looked at, in order, and what was found.
    pub trace: Vec<String>,
    /// The program that keeps them, as far as it can be told ("systemd-resolved", "NetworkManager"); none where
    /// nobody claims them.
    pub owner: Option<String>,
    /// Where they stand ("/etc/resolv.conf", "the link weft0").
    pub place: String,
    /// Whether they are what Weft made them.
    pub ours: bool,
    /// The nameservers in force there, in order, Weft's own among them.
    pub servers: Vec<IpAddr>,
    /// The search domains in force there, in order.
    pub search: Vec<String>,
    /// What could not be made sense of, and what keeps names from the proxy; one line each.
    pub warnings: Vec<String>,
    /// Who has the DNS proxy's port open on its addresses, besides the one who asks.
    pub port_holders: Vec<PortHolder>,
}

/// Who has a port open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortHolder {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The address and port it is bound to.
    pub local: SocketAddr,
    /// The program's name and process number, where they can be found out.
    pub process: Option<(String, u32)>,
}

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        };
        match &self.process {
            Some((name, pid)) => write!(f, "{protocol} {} is held by {name} (process {pid})", self.local),
            None => write!(f, "{protocol} {} is held by another program", self.local),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_has_one_name_everywhere() {
        for mode in DnsMode::ALL {
            assert_eq!(mode.as_str().parse(), Ok(mode));
            assert_eq!(serde_json::to_string(&mode).unwrap(), format!("\"{mode}\""));
        }
        let error = "resolved".parse::<DnsMode>().unwrap_err();
        assert!(error.ends_with("there are resolved-link, resolved-global, network-manager, resolvconf, file, file-in-place, none"), "{error}");
    }
}
