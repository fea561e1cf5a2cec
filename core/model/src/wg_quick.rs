//! Reads a wg-quick file (wg-quick(8), wg(8)) as a registration: the way in for users of any WireGuard server.
//!
//! What Weft cannot carry out is refused by name, so that no line is silently without effect: the commands (PreUp,
//! PostUp, PreDown, PostDown), Table, FwMark, SaveConfig and a second peer. Nothing is looked up: an endpoint that
//! is given by name comes back as that name.
//!
//! The text holds a private key; whoever read the file keeps it in [`zeroize::Zeroizing`]. No error quotes a value.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::str::FromStr;

use ipnet::IpNet;

use crate::domain::DomainName;
use crate::key::{PresharedKey, PrivateKey, PublicKey};
use crate::registration::{DnsUpstream, Gateway, Registration, RegistrationSource, TunnelEndpoint};

/// The largest file that is read, in bytes.
pub const MAX_FILE: usize = 64 * 1024;

/// What a file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// The registration. Where the endpoint is given by name, its tunnel has no address yet.
    pub registration: Registration,
    /// The endpoint's name and port, where it is not an address: to be resolved outside the tunnel before the
    /// registration is used, see [`Import::resolved`].
    pub endpoint_host: Option<(String, u16)>,
    /// What was left out of account, one line each.
    pub notes: Vec<String>,
}

impl Import {
    /// The registration with the addresses that the endpoint's name stands for. They replace those of the file.
    #[must_use]
    pub fn resolved(mut self, addresses: &[IpAddr]) -> Registration {
        for gateway in &mut self.registration.gateways {
            gateway.tunnel.addresses = addresses.to_vec();
        }
        self.registration
    }
}

/// Why a file is no wg-quick file that Weft can carry out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WgQuickError {
    /// It is too long.
    #[error("the file is larger than 64 KiB: this is no wg-quick file")]
    TooLarge,
    /// A line is wrong.
    #[error("line {line}: {problem}")]
    Line {
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: WgQuickProblem,
    },
    /// A section is missing.
    #[error("there is no [{0}] section")]
    NoSection(&'static str),
    /// A key is missing.
    #[error("{key} is missing in [{section}]")]
    Missing {
        /// The section.
        section: &'static str,
        /// The key.
        key: &'static str,
    },
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WgQuickProblem {
    /// It is not text.
    #[error("this is not UTF-8 text")]
    NotText,
    /// It is neither a section nor a key with a value.
    #[error("this is neither a [section] nor \"key = value\"")]
    Syntax,
    /// The section is not one of the two.
    #[error("the sections are [Interface] and [Peer]")]
    UnknownSection,
    /// A key stands above every section.
    #[error("this stands before [Interface] and [Peer]")]
    OutsideSection,
    /// A second `[Interface]`.
    #[error("a second [Interface]: there may be one")]
    SecondInterface,
    /// A second `[Peer]`.
    #[error("a second [Peer]: Weft takes files with one")]
    SecondPeer,
    /// wg-quick does not know the key in this section. Not named where it does not look like a key's name.
    #[error("unknown key{}", .0.as_ref().map(|key| format!(" {key}")).unwrap_or_default())]
    UnknownKey(Option<String>),
    /// wg-quick knows the key and Weft does not carry it out.
    #[error("{key} is not supported: {why}; remove the line")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// The key is given twice.
    #[error("{0} is given twice")]
    Duplicate(&'static str),
    /// The value is wrong.
    #[error("{key} must be {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What its value has to be.
        expected: &'static str,
    },
}

use WgQuickProblem as Problem;

const COMMANDS: &str = "Weft runs no commands of a file";
const UNSUPPORTED: [(&str, &str); 7] = [
    ("PreUp", COMMANDS),
    ("PostUp", COMMANDS),
    ("PreDown", COMMANDS),
    ("PostDown", COMMANDS),
    ("Table", "Weft has a routing table of its own"),
    ("FwMark", "Weft has a mark of its own"),
    ("SaveConfig", "Weft never writes to the file"),
];

/// Reads a wg-quick file. `id` becomes the registration's identifier: the file's name.
///
/// # Errors
/// A [`WgQuickError`] that names the first line that is wrong, or what is missing.
pub fn parse(id: &str, file: &[u8]) -> Result<Import, WgQuickError> {
    if file.len() > MAX_FILE {
        return Err(WgQuickError::TooLarge);
    }
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let mut reader = Reader::default();
    for (index, line) in file.split(|byte| *byte == b'\n').enumerate() {
        let at_line = |problem| WgQuickError::Line { line: index + 1, problem };
        let text = std::str::from_utf8(line).map_err(|_| at_line(Problem::NotText))?;
        reader.line(text.split('#').next().unwrap_or_default().trim()).map_err(at_line)?;
    }
    reader.finish(id)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Interface,
    Peer,
}

/// The far side as a file gives it.
enum Endpoint {
    Address(SocketAddr),
    Host(String, u16),
}

#[derive(Default)]
struct Reader {
    section: Option<Section>,
    has_interface: bool,
    has_peer: bool,
    private_key: Option<PrivateKey>,
    addresses: Vec<IpNet>,
    resolvers: Vec<IpAddr>,
    search: Vec<DomainName>,
    mtu: Option<u16>,
    listen_port: Option<u16>,
    public_key: Option<PublicKey>,
    preshared_key: Option<PresharedKey>,
    allowed_ips: Vec<IpNet>,
    endpoint: Option<Endpoint>,
    /// The outer is whether the key was given; the inner is none for "off".
    keepalive: Option<Option<u16>>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), Problem> {
        if line.is_empty() {
            return Ok(());
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return self.begin(name.trim());
        }
        let (key, value) = line.split_once('=').ok_or(Problem::Syntax)?;
        let (key, value) = (key.trim(), value.trim());
        match self.section.ok_or(Problem::OutsideSection)? {
            Section::Interface => self.interface_key(key, value),
            Section::Peer => self.peer_key(key, value),
        }
    }

    fn begin(&mut self, name: &str) -> Result<(), Problem> {
        if name.eq_ignore_ascii_case("Interface") {
            self.section = Some(Section::Interface);
            once_more(&mut self.has_interface, Problem::SecondInterface)
        } else if name.eq_ignore_ascii_case("Peer") {
            self.section = Some(Section::Peer);
            once_more(&mut self.has_peer, Problem::SecondPeer)
        } else {
            Err(Problem::UnknownSection)
        }
    }

    fn interface_key(&mut self, key: &str, value: &str) -> Result<(), Problem> {
        let is = |name: &str| key.eq_ignore_ascii_case(name);
        if is("PrivateKey") {
            set(&mut self.private_key, "PrivateKey", secret(value, "PrivateKey")?)
        } else if is("Address") {
            self.addresses.extend(list(value, "Address", INTERFACE_ADDRESS, interface_address)?);
            Ok(())
        } else if is("DNS") {
            list(value, "DNS", RESOLVER, |text| self.dns_entry(text)).map(drop)
        } else if is("MTU") {
            let mtu = number(value).filter(|mtu| (576..=9000).contains(mtu));
            set(&mut self.mtu, "MTU", mtu.ok_or(bad("MTU", "a number of bytes from 576 to 9000"))?)
        } else if is("ListenPort") {
            set(&mut self.listen_port, "ListenPort", number(value).ok_or(bad("ListenPort", "a port"))?)
        } else if let Some((key, why)) = UNSUPPORTED.into_iter().find(|(name, _)| is(name)) {
            Err(Problem::Unsupported { key, why })
        } else {
            Err(unknown_key(key))
        }
    }

    fn dns_entry(&mut self, text: &str) -> Option<()> {
        match text.parse::<IpAddr>() {
            Ok(address) => self.resolvers.push(Some(address).filter(|address| is_host(*address))?),
            Err(_) => self.search.push(domain_name(text)?),
        }
        Some(())
    }

    fn peer_key(&mut self, key: &str, value: &str) -> Result<(), Problem> {
        let is = |name: &str| key.eq_ignore_ascii_case(name);
        if is("PublicKey") {
            set(&mut self.public_key, "PublicKey", secret(value, "PublicKey")?)
        } else if is("PresharedKey") {
            set(&mut self.preshared_key, "PresharedKey", secret(value, "PresharedKey")?)
        } else if is("AllowedIPs") {
            let networks = list(value, "AllowedIPs", CIDRS, |text| network(text).map(|net| net.trunc()))?;
            self.allowed_ips.extend(networks);
            Ok(())
        } else if is("Endpoint") {
            set(&mut self.endpoint, "Endpoint", endpoint(value).ok_or(bad("Endpoint", ENDPOINT))?)
        } else if is("PersistentKeepalive") {
            let seconds = if value.eq_ignore_ascii_case("off") { Some(0) } else { number(value) };
            let seconds = seconds.ok_or(bad("PersistentKeepalive", "off or 0 to 65535 seconds"))?;
            set(&mut self.keepalive, "PersistentKeepalive", Some(seconds).filter(|seconds| *seconds > 0))
        } else {
            Err(unknown_key(key))
        }
    }

    fn finish(self, id: &str) -> Result<Import, WgQuickError> {
        if !self.has_interface {
            return Err(WgQuickError::NoSection("Interface"));
        }
        let interface = |key| WgQuickError::Missing { section: "Interface", key };
        let private_key = self.private_key.ok_or(interface("PrivateKey"))?;
        if self.addresses.is_empty() {
            return Err(interface("Address"));
        }
        if !self.has_peer {
            return Err(WgQuickError::NoSection("Peer"));
        }
        let peer = |key| WgQuickError::Missing { section: "Peer", key };
        let public_key = self.public_key.ok_or(peer("PublicKey"))?;
        if self.allowed_ips.is_empty() {
            return Err(peer("AllowedIPs"));
        }
        let (addresses, port, endpoint_host) = match self.endpoint.ok_or(peer("Endpoint"))? {
            Endpoint::Address(address) => (vec![address.ip()], address.port(), None),
            Endpoint::Host(name, port) => (Vec::new(), port, Some((name, port))),
        };
        let dns = match self.resolvers.is_empty() {
            true => DnsUpstream::System,
            false => DnsUpstream::Plain { servers: self.resolvers, search: self.search.clone() },
        };
        let mut notes = Vec::new();
        if self.listen_port.is_some() {
            notes.push("ListenPort is left out of account: the system chooses the port".to_owned());
        }
        if dns == DnsUpstream::System && !self.search.is_empty() {
            notes.push("DNS names search domains but no resolver: they are left out of account".to_owned());
        }
        let tunnel = TunnelEndpoint {
            public_key,
            preshared_key: self.preshared_key,
            addresses,
            ports: vec![port],
            keepalive: self.keepalive.flatten(),
            mtu: self.mtu,
            allowed_ips: self.allowed_ips,
        };
        let registration = Registration {
            id: id.to_owned(),
            source: RegistrationSource::Imported,
            token: None,
            private_key,
            addresses: self.addresses,
            gateways: vec![Gateway { api: None, tunnel, dns, checks: None }],
        };
        Ok(Import { registration, endpoint_host, notes })
    }
}

const INTERFACE_ADDRESS: &str = "addresses of this device, such as 10.8.0.2/24, with commas between them";
const RESOLVER: &str = "addresses of resolvers or search domains, with commas between them";
const CIDRS: &str = "CIDR ranges, such as 10.0.0.0/8, with commas between them";
const ENDPOINT: &str = "address:port, [IPv6 address]:port or name:port";

fn once_more(seen: &mut bool, problem: Problem) -> Result<(), Problem> {
    if std::mem::replace(seen, true) { Err(problem) } else { Ok(()) }
}

fn set<T>(slot: &mut Option<T>, key: &'static str, value: T) -> Result<(), Problem> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::Duplicate(key)),
    }
}

fn bad(key: &'static str, expected: &'static str) -> Problem {
    Problem::Value { key, expected }
}

/// A key in base64 ends in "=", so that one which stands alone on its line reads as a key's name.
fn unknown_key(key: &str) -> Problem {
    let is_name = (1..=24).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    Problem::UnknownKey(is_name.then(|| key.to_owned()))
}

fn secret<T: FromStr>(value: &str, key: &'static str) -> Result<T, Problem> {
    value.parse().map_err(|_| bad(key, "32 bytes in base64 (44 characters)"))
}

fn list<T>(
    value: &str,
    key: &'static str,
    expected: &'static str,
    mut one: impl FnMut(&str) -> Option<T>,
) -> Result<Vec<T>, Problem> {
    // "AllowedIPs =" without a value is an empty list to wg(8).
    let entries = value.split(',').map(str::trim).filter(|_| !value.is_empty());
    entries.map(|text| one(text).ok_or(bad(key, expected))).collect()
}

/// A number as wg(8) reads it: digits alone, without a sign.
fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn network(text: &str) -> Option<IpNet> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address)),
        Err(_) => text.parse().ok(),
    }
}

fn interface_address(text: &str) -> Option<IpNet> {
    network(text).filter(|network| network.prefix_len() > 0 && is_host(network.addr()))
}

/// Whether packets can be sent to the address of one host beyond this one.
fn is_host(address: IpAddr) -> bool {
    let no_host = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    let link = match address {
        IpAddr::V4(address) => address.is_broadcast() || address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !no_host && !link
}

fn endpoint(text: &str) -> Option<Endpoint> {
    let (host, port) = text.rsplit_once(':')?;
    let port = number(port).filter(|port| *port > 0)?;
    let address = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?),
        None => match format!("{host}:{port}").parse::<SocketAddrV4>() {
            Ok(address) => IpAddr::V4(*address.ip()),
            Err(_) => return domain_name(host).map(|name| Endpoint::Host(name.to_string(), port)),
        },
    };
    // The loopback address is a far side of its own kind: a forwarder on this device.
    let usable = is_host(address) || address.is_loopback();
    usable.then(|| Endpoint::Address(SocketAddr::new(address, port)))
}

/// A name that is meant as one: what ends in a number would be a mistyped address (RFC 1123, section 2.1).
fn domain_name(text: &str) -> Option<DomainName> {
    let name: DomainName = text.parse().ok()?;
    let last = name.as_str().rsplit('.').next()?;
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit());
    (!numeric).then_some(name)
}

#[cfg(test)]
mod tests;
