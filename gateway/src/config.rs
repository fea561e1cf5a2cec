//! The configuration file: its values, their defaults and their checks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use serde::Deserialize;
use weft_model::{DomainName, WIREGUARD_PORTS};

use crate::dir::{self, StateDir};

/// Why a configuration is bad. One line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The text is not TOML of the right shape.
    #[error("line {line}: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A value is out of its range.
    #[error("{field}: {problem}")]
    Value {
        /// The value's name.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
}

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The gateway's name in its certificate; may be an address in text form.
    pub name: String,
    /// The addresses that devices reach it at.
    pub public_addresses: Vec<IpAddr>,
    /// The device orchestration API.
    #[serde(default)]
    pub api: ApiConfig,
    /// The tunnel endpoint.
    #[serde(default)]
    pub tunnel: TunnelConfig,
    /// The resolver.
    #[serde(default)]
    pub dns: DnsConfig,
    /// A certificate of one's own in place of the one that `init` made.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Limits.
    #[serde(default)]
    pub limits: Limits,
}

/// The device orchestration API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    /// The TCP port.
    pub port: u16,
    /// The local addresses to listen on.
    pub listen: Vec<IpAddr>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self { port: 443, listen: every_address() }
    }
}

fn every_address() -> Vec<IpAddr> {
    vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
}

/// The tunnel endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TunnelConfig {
    /// The UDP ports, in the order that devices try them.
    pub ports: Vec<u16>,
    /// The local addresses to listen on.
    pub listen: Vec<IpAddr>,
    /// The tunnel interface's name.
    pub interface: String,
    /// The interfaces that devices' packets leave by; empty = those of the default routes.
    pub uplinks: Vec<String>,
    /// The tunnel's MTU in bytes.
    pub mtu: u16,
    /// Whether devices may reach each other.
    pub device_to_device: bool,
    /// Whether devices may reach the gateway's own services beyond resolver and check.
    pub host_access: bool,
    /// Whether devices may reach the private networks (RFC 1918, RFC 4193) that the gateway reaches.
    pub private_networks: bool,
}

impl Default for TunnelConfig {
    fn default() -> Self {
        Self {
            ports: WIREGUARD_PORTS.to_vec(),
            listen: every_address(),
            interface: "weftgw0".to_owned(),
            uplinks: Vec::new(),
            mtu: weft_model::DEFAULT_MTU,
            device_to_device: false,
            host_access: false,
            private_networks: false,
        }
    }
}

/// The resolver.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsConfig {
    /// The resolvers that allowed names are asked of; empty = those of /etc/resolv.conf.
    pub upstreams: Vec<Upstream>,
    /// Milliseconds until a query is given up.
    pub timeout_ms: u64,
    /// Queries that may wait for an upstream at once.
    pub in_flight: usize,
    /// Suffixes that are answered with NXDOMAIN.
    pub block: Vec<DomainName>,
    /// Suffixes that are allowed within blocked ones.
    pub allow: Vec<DomainName>,
    /// Lists that count in addition for the devices of one profile, by its name.
    pub profiles: BTreeMap<String, PolicyLists>,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            upstreams: Vec::new(),
            timeout_ms: 5000,
            in_flight: 256,
            block: Vec::new(),
            allow: Vec::new(),
            profiles: BTreeMap::new(),
        }
    }
}

/// A resolver: an address, on port 53 unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Upstream(pub SocketAddr);

impl TryFrom<String> for Upstream {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let port_53 = |address: IpAddr| SocketAddr::new(address, 53);
        text.parse::<IpAddr>()
            .map(port_53)
            .or_else(|_| text.parse::<SocketAddr>())
            .map(Self)
            .map_err(|_| format!("\"{text}\" is not an address, alone or with a port"))
    }
}

/// The lists of one profile.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyLists {
    /// Suffixes that are answered with NXDOMAIN.
    pub block: Vec<DomainName>,
    /// Suffixes that are allowed within blocked ones.
    pub allow: Vec<DomainName>,
}

/// A certificate of one's own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The chain, PEM, the server's first.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The authority that devices are told to trust, PEM; none = they use their system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

/// Limits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// TCP connections at once, over all.
    pub connections: usize,
    /// TCP connections at once of one address (IPv6: one /64).
    pub connections_per_source: usize,
    /// Bad credentials of one address (IPv6: one /64) before further ones are answered with 429; one is forgiven
    /// every ten seconds.
    pub bad_credentials: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4096, connections_per_source: 64, bad_credentials: 10 }
    }
}

impl Config {
    /// Reads the configuration of a gateway and checks it.
    ///
    /// # Errors
    /// One line that names the file and the first thing that is wrong.
    pub fn load(dir: &StateDir) -> anyhow::Result<Self> {
        let path = dir.config();
        Self::parse(&dir::read(&path)?).with_context(|| path.display().to_string())
    }

    /// Reads a configuration and checks it.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            line: line_of(text, error.span().map_or(0, |span| span.start)),
            message: error.message().replace('\n', " "),
        })?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let bad = |field, problem: &str| Err(ConfigError::Value { field, problem: problem.to_owned() });
        check_name(&self.name)?;
        if self.public_addresses.is_empty() {
            return bad("public_addresses", "give at least one address");
        }
        if self.public_addresses.iter().any(|address| address.is_unspecified() || address.is_multicast()) {
            return bad("public_addresses", "devices cannot reach such an address");
        }
        if self.api.port == 0 || self.api.listen.is_empty() {
            return bad("api", "give a port that is not 0 and an address to listen on");
        }
        if self.tunnel.ports.is_empty() || self.tunnel.ports.contains(&0) || self.tunnel.ports.len() > 16 {
            return bad("tunnel.ports", "give 1 to 16 ports, none of them 0");
        }
        if self.tunnel.listen.is_empty() {
            return bad("tunnel.listen", "give an address to listen on");
        }
        if !(1280..=1500).contains(&self.tunnel.mtu) {
            return bad("tunnel.mtu", "give 1280 to 1500 bytes");
        }
        check_interface("tunnel.interface", &self.tunnel.interface)?;
        self.tunnel.uplinks.iter().try_for_each(|name| check_interface("tunnel.uplinks", name))?;
        if !(100..=60_000).contains(&self.dns.timeout_ms) {
            return bad("dns.timeout_ms", "give 100 to 60000 milliseconds");
        }
        if !(1..=65_536).contains(&self.dns.in_flight) {
            return bad("dns.in_flight", "give 1 to 65536 queries");
        }
        if self.limits.connections == 0 || self.limits.connections_per_source == 0 {
            return bad("limits", "at least one connection must be allowed");
        }
        Ok(())
    }

    /// The API's addresses, as devices reach them.
    #[must_use]
    pub fn api_endpoints(&self) -> Vec<SocketAddr> {
        self.public_addresses.iter().map(|address| SocketAddr::new(*address, self.api.port)).collect()
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// Checks that a name can stand in a certificate: an address or a domain name.
///
/// # Errors
/// [`ConfigError::Value`].
pub fn check_name(name: &str) -> Result<(), ConfigError> {
    if name.parse::<IpAddr>().is_ok() || name.parse::<DomainName>().is_ok() {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(ConfigError::Value { field: "name", problem: format!("{shown:?} is no domain name and no address") })
}

/// Checks that this can be an interface's name; nothing else reaches the firewall's script.
///
/// # Errors
/// [`ConfigError::Value`].
pub fn check_interface(field: &'static str, name: &str) -> Result<(), ConfigError> {
    let good = (1..=15).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        && ![".", ".."].contains(&name);
    if good {
        return Ok(());
    }
    let shown: String = name.chars().take(20).collect();
    let problem =
        format!("{shown:?}: an interface's name has 1 to 15 letters, digits, \".\", \"-\" or \"_\"");
    Err(ConfigError::Value { field, problem })
}

/// What `init` knows when it writes the file.
#[derive(Debug, Clone)]
pub struct Initial {
    /// The gateway's name.
    pub name: String,
    /// The addresses that devices reach it at.
    pub public_addresses: Vec<IpAddr>,
    /// The API's port.
    pub api_port: u16,
    /// The interfaces that devices' packets leave by.
    pub uplinks: Vec<String>,
}

/// The text of a new configuration file, every value documented.
#[must_use]
pub fn template(initial: &Initial) -> String {
    let quoted = |items: Vec<String>| {
        items.into_iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ")
    };
    include_str!("config.template.toml")
        .replace("@NAME@", &initial.name)
        .replace("@PUBLIC@", &quoted(initial.public_addresses.iter().map(ToString::to_string).collect()))
        .replace("@API_PORT@", &initial.api_port.to_string())
        .replace("@UPLINKS@", &quoted(initial.uplinks.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = "name = \"gw.example\"\npublic_addresses = [\"203.0.113.10\"]\n";

    #[test]
    fn what_init_writes_is_what_run_reads() {
        let initial = Initial {
            name: "gw.example".to_owned(),
            public_addresses: vec!["203.0.113.10".parse().unwrap(), "2001:db8::10".parse().unwrap()],
            api_port: 8443,
            uplinks: vec!["eth0".to_owned()],
        };
        let config = Config::parse(&template(&initial)).unwrap();
        assert_eq!(config.name, initial.name);
        assert_eq!(config.public_addresses, initial.public_addresses);
        assert_eq!(config.api.port, 8443);
        assert_eq!(config.tunnel, TunnelConfig { uplinks: initial.uplinks, ..TunnelConfig::default() });
        assert_eq!(config.dns, DnsConfig::default());
        assert_eq!(config.limits, Limits::default());
    }

    #[test]
    fn every_commented_value_of_the_template_is_a_value_that_can_be_set() {
        let initial = Initial {
            name: "gw.example".to_owned(),
            public_addresses: vec!["203.0.113.10".parse().unwrap()],
            api_port: 443,
            uplinks: Vec::new(),
        };
        // A line "#word = ..." or "#[table]" is a value, "# text" is a remark.
        let all: String = template(&initial)
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#'])).unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect();
        let config = Config::parse(&all).unwrap();
        assert!(config.tls.is_some() && !config.dns.profiles.is_empty());
    }

    #[test]
    fn absent_values_have_their_defaults() {
        let config = Config::parse(SMALLEST).unwrap();
        assert_eq!(config.tunnel.ports, [2408, 500, 1701, 4500]);
        assert_eq!(config.api_endpoints(), ["203.0.113.10:443".parse().unwrap()]);
        assert!(!config.tunnel.device_to_device && !config.tunnel.host_access);
        assert!(!config.tunnel.private_networks);
    }

    #[test]
    fn a_bad_configuration_is_refused_by_name_and_line() {
        let cases = [
            ("", "name"),
            ("name = 3", "line 1"),
            ("name = \"gw\"\npublic_addresses = [\"203.0.113.300\"]", "line 2"),
            ("name = \"gw\"\npublic_addresses = []", "public_addresses"),
            ("name = \"gw\"\npublic_addresses = [\"0.0.0.0\"]", "public_addresses"),
            ("name = \"g w\"\npublic_addresses = [\"203.0.113.1\"]", "g w"),
            ("name = \"gw\"\npublic_addresses = [\"203.0.113.1\"]\nnmae = 1", "nmae"),
            ("name = \"gw\"\npublic_addresses = [\"203.0.113.1\"]\n[tunnel]\nports = []", "tunnel.ports"),
            ("name = \"gw\"\npublic_addresses = [\"203.0.113.1\"]\n[tunnel]\nmtu = 100", "tunnel.mtu"),
            (
                "name = \"gw\"\npublic_addresses = [\"203.0.113.1\"]\n[tunnel]\ninterface = \"a b\"",
                "interface",
            ),
            (
                "name = \"gw\"\npublic_addresses = [\"203.0.113.1\"]\n[tunnel]\nuplinks = [\"e\\\"\"]",
                "interface",
            ),
            ("name = \"gw\"\npublic_addresses = [\"203.0.113.1\"]\n[dns]\nupstreams = [\"dns\"]", "\"dns\""),
            ("name = \"gw\"\npublic_addresses = [\"203.0.113.1\"]\n[dns]\nblock = [\"a..b\"]", "a..b"),
            ("name = \"gw\"\npublic_addresses = [\"203.0.113.1\"]\n[dns]\ntimeout_ms = 1", "timeout_ms"),
            ("name = \"gw\"\npublic_addresses = [\"203.0.113.1\"]\n[limits]\nconnections = 0", "limits"),
        ];
        for (text, named) in cases {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn an_upstream_is_an_address_alone_or_with_a_port() {
        let read = |text: &str| Upstream::try_from(text.to_owned()).map(|upstream| upstream.0.to_string());
        assert_eq!(read("192.0.2.1").unwrap(), "192.0.2.1:53");
        assert_eq!(read("192.0.2.1:5353").unwrap(), "192.0.2.1:5353");
        assert_eq!(read("2001:db8::1").unwrap(), "[2001:db8::1]:53");
        assert_eq!(read("[2001:db8::1]:5353").unwrap(), "[2001:db8::1]:5353");
        assert!(read("resolver.example").is_err());
    }
}
