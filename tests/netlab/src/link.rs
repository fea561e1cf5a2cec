//! Wires between hosts, and switches.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::host::Host;
use crate::lab::Lab;
use crate::segment::Segment;
use crate::sys::ethtool;

/// One end of a link: which host, the interface's name there, and its addresses.
#[derive(Clone, Debug)]
#[must_use]
pub struct End {
    pub(crate) host: Host,
    pub(crate) interface: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) mtu: u32,
    pub(crate) offloads: bool,
}

impl End {
    /// An interface of `host`, with no address, MTU 1500 and offloads on.
    pub fn new(host: &Host, interface: &str) -> Self {
        let interface = interface.to_owned();
        Self { host: host.clone(), interface, addresses: Vec::new(), mtu: 1500, offloads: true }
    }

    /// Adds an address with its prefix length, as `192.168.50.10/24` or `fd50::10/64`.
    pub fn address(mut self, address: &str) -> Self {
        self.addresses.push(address.to_owned());
        self
    }

    /// The interface's MTU in bytes.
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// Makes every frame one that could be on a wire: no segments larger than the MTU, checksums filled in.
    /// For captures that count or read packets of TCP; it costs throughput. [`ImpairedLink`] has it always.
    ///
    /// [`ImpairedLink`]: crate::ImpairedLink
    pub fn without_offloads(mut self) -> Self {
        self.offloads = false;
        self
    }

    /// Gives the interface, which exists and has its name, what it is to have, and switches it on.
    fn configure(&self) -> Result<()> {
        let Self { host, interface, mtu, .. } = self;
        host.run(["ip", "link", "set", "dev", interface, "mtu", &mtu.to_string(), "up"])?;
        for address in &self.addresses {
            host.add_address(interface, address)?;
        }
        if !self.offloads {
            host.inside(|| ethtool::set_offloads(interface, false))?
                .with_context(|| format!("{self}: cannot switch offloads off"))?;
        }
        Ok(())
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.interface)
    }
}

/// A wire between two hosts (a veth pair). Dropping the value leaves the wire; see [`Link::remove`].
#[derive(Clone, Debug)]
pub struct Link {
    a: End,
    b: End,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -- {}", self.a, self.b)
    }
}

impl Link {
    /// Makes the wire and switches both ends on.
    ///
    /// # Errors
    ///
    /// When a host has an interface of that name, or an address or MTU is refused.
    pub fn new(a: End, b: End) -> Result<Self> {
        let link = Self::bare(a, b)?;
        let segment = Segment::default();
        segment.attach(&link.a.host, &link.a.interface);
        segment.attach(&link.b.host, &link.b.interface);
        Ok(link)
    }

    /// The wire alone, on no segment that captures know.
    pub(crate) fn bare(a: End, b: End) -> Result<Self> {
        let link = Self { a, b };
        link.make().with_context(|| format!("cannot make the link {link}"))?;
        Ok(link)
    }

    fn make(&self) -> Result<()> {
        let (a, b) = (&self.a, &self.b);
        let theirs = b.host.netns_path();
        let peer = ["type", "veth", "peer", "name", &b.interface, "netns", &theirs];
        a.host.run(["ip", "link", "add", "name", &a.interface].iter().chain(&peer))?;
        a.configure()?;
        b.configure()
    }

    /// Cuts the wire (both ends lose their carrier) or joins it again. The second end's host loses the routes
    /// that lead through it for good.
    ///
    /// # Errors
    ///
    /// When the wire has been removed.
    pub fn set_up(&self, up: bool) -> Result<()> {
        // The far end of a veth pair loses its carrier with this one's, this one by being switched off.
        let state = if up { "up" } else { "down" };
        self.b.host.run(["ip", "link", "set", "dev", &self.b.interface, state]).map(drop)
    }

    /// Takes the wire away, both interfaces with it.
    ///
    /// # Errors
    ///
    /// When it has been removed before.
    pub fn remove(self) -> Result<()> {
        self.a.host.run(["ip", "link", "delete", "dev", &self.a.interface]).map(drop)
    }
}

/// A switch: the hosts plugged into it are one LAN.
#[derive(Clone)]
pub struct Switch {
    host: Host,
    segment: Segment,
    ports: Arc<AtomicU32>,
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "switch {} ({} ports)", self.host, self.ports.load(Ordering::Relaxed))
    }
}

impl Switch {
    /// A switch with nothing plugged in. Its name must be new among the hosts of the lab.
    ///
    /// # Errors
    ///
    /// When the name is not new, or the kernel has no bridges.
    pub fn new(lab: &Lab, name: &str) -> Result<Self> {
        let host = lab.host(name).build()?;
        host.silence_ipv6()?;
        host.run(["ip", "link", "add", "bridge", "type", "bridge", "stp_state", "0", "mcast_snooping", "0"])?;
        host.run(["ip", "link", "set", "dev", "bridge", "mtu", "65535", "up"])?;
        Ok(Self { host, segment: Segment::default(), ports: Arc::default() })
    }

    /// Plugs a host in, with a wire of its own.
    ///
    /// # Errors
    ///
    /// As [`Link::new`].
    pub fn plug(&self, end: End) -> Result<Link> {
        let port = format!("port{}", self.ports.fetch_add(1, Ordering::Relaxed));
        let own = End { addresses: Vec::new(), host: self.host.clone(), interface: port, ..end.clone() };
        let link = Link::bare(end, own)?;
        self.host.run(["ip", "link", "set", "dev", &link.b.interface, "master", "bridge"])?;
        self.segment.attach(&link.a.host, &link.a.interface);
        Ok(link)
    }
}
