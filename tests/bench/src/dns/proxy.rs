//! The DNS proxies that are measured.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use netlab::{Component, Host, Process, eventually};
use weft_e2e::{weft, weft_gateway, weftd};

use super::configuration;
use super::cores::Cores;
use super::field::{Field, Place, ZONE};
use super::ours;

const START_DEADLINE: Duration = Duration::from_secs(30);
const PROBE_PATIENCE: Duration = Duration::from_millis(500);
/// The proxies' ports on 127.0.0.1, so that all run on one host.
const FIRST_PORT: u16 = 5301;
const WEFT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 2, 2)), 53);

/// A DNS proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Proxy {
    /// weftd, in the mode that tunnels no packets.
    Weft,
    /// PowerDNS's load balancer.
    Dnsdist,
    /// NLnet Labs' resolver.
    Unbound,
    /// Knot Resolver.
    Kresd,
    /// The forwarder of most home routers.
    Dnsmasq,
    /// A forwarder that picks the quickest address.
    Smartdns,
    /// Hickory DNS, in Rust.
    Hickory,
    /// A DoH proxy in Go.
    Dnss,
}

impl Proxy {
    /// Every one, in the order of the turns.
    pub(crate) const ALL: [Self; 8] = [
        Self::Weft,
        Self::Dnsdist,
        Self::Unbound,
        Self::Kresd,
        Self::Dnsmasq,
        Self::Smartdns,
        Self::Hickory,
        Self::Dnss,
    ];

    /// Its name in the table and the results.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Weft => "weft",
            Self::Dnsdist => "dnsdist",
            Self::Unbound => "unbound",
            Self::Kresd => "kresd",
            Self::Dnsmasq => "dnsmasq",
            Self::Smartdns => "smartdns",
            Self::Hickory => "hickory",
            Self::Dnss => "dnss",
        }
    }

    /// Whether it asks its upstream by DoH; by plain DNS otherwise, as it has no DoH over HTTP/2.
    #[must_use]
    pub(crate) fn speaks_doh(self) -> bool {
        matches!(self, Self::Weft | Self::Dnsdist | Self::Hickory | Self::Dnss)
    }

    /// Whether its memory is measured.
    #[must_use]
    pub(crate) fn has_known_memory(self) -> bool {
        // kresd keeps its cache in a file; dnss and hickory are no rivals there, and slow to fill.
        matches!(self, Self::Weft | Self::Dnsdist | Self::Unbound | Self::Dnsmasq | Self::Smartdns)
    }

    fn component(self) -> Option<Component> {
        match self {
            Self::Weft | Self::Hickory => None,
            Self::Dnsdist => Some(Component::Dnsdist),
            Self::Unbound => Some(Component::Unbound),
            Self::Kresd => Some(Component::KnotResolver),
            Self::Dnsmasq => Some(Component::Dnsmasq),
            Self::Smartdns => Some(Component::Smartdns),
            Self::Dnss => Some(Component::Dnss),
        }
    }

    /// Makes its programs known to a host.
    ///
    /// # Errors
    ///
    /// When they are not there; the message says how to get them.
    pub(crate) fn install(self, host: &Host) -> Result<()> {
        match self.component() {
            Some(component) => host.install(&[component]),
            None if self == Self::Hickory => hickory().map(drop),
            None => [weftd, weft, weft_gateway].into_iter().try_for_each(|program| program().map(drop)),
        }
    }

    /// Where its program is, as a host that it is installed on sees it.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub(crate) fn program(self) -> Result<PathBuf> {
        match self.component() {
            Some(component) => Ok(component.program().into()),
            None if self == Self::Hickory => hickory(),
            None => weftd(),
        }
    }

    /// Where it listens.
    #[must_use]
    pub(crate) fn at(self) -> SocketAddr {
        match self {
            Self::Weft => WEFT,
            _ => SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_PORT + self as u16)),
        }
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub(crate) fn start(self, field: &mut Field, place: Place, cores: Cores) -> Result<Running> {
        let started = match self {
            Self::Weft => ours::start(field, place, cores),
            _ => configuration::start(self, field.host(place), cores),
        };
        let process = started.with_context(|| self.to_string())?;
        let (host, running) = (field.host(place), Running { proxy: self, process });
        eventually(START_DEADLINE, format!("an answer of {self}"), || answers(host, self.at()))
            .with_context(|| format!("{}{}", running.process.stdout(), running.process.stderr()))?;
        Ok(running)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A proxy that runs, until it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    /// Which.
    pub(crate) proxy: Proxy,
    process: Process,
}

impl Running {
    /// Its process.
    #[must_use]
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// When it had ended before.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.process.terminate(START_DEADLINE).map(drop)
    }
}

fn hickory() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let program = cache.map(|cache| cache.join("weft/peers/bin/hickory-dns"));
    program
        .filter(|path| Path::new(path).is_file())
        .context("hickory-dns is not built; build-scripts/peers hickory-dns builds it")
}

/// Whether a server answers with an address.
fn answers(host: &Host, at: SocketAddr) -> Result<()> {
    let mut query = b"\x13\x37\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05ready".to_vec();
    for label in ZONE.split('.') {
        query.push(u8::try_from(label.len())?);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(b"\x00\x00\x01\x00\x01");
    host.inside(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(PROBE_PATIENCE))?;
        socket.connect(at)?;
        socket.send(&query)?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer).with_context(|| format!("udp {at}"))?;
        let (code, records) = (answer.get(3).map(|flags| flags & 15), answer.get(6..8));
        ensure!(length > query.len() && code == Some(0) && records == Some(&[0, 1]), "no address from {at}");
        Ok(())
    })?
}
