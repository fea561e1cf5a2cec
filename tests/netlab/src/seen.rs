//! A captured frame, and the little of it that tests ask about.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

/// ICMP's protocol number.
pub const ICMP: u8 = 1;
/// TCP's protocol number.
pub const TCP: u8 = 6;
/// UDP's protocol number.
pub const UDP: u8 = 17;
/// ICMPv6's protocol number.
pub const ICMPV6: u8 = 58;

/// One frame as it passed an interface.
#[derive(Clone)]
pub struct Seen {
    /// When the kernel saw it.
    pub at: SystemTime,
    /// Sent by the host whose interface it is, as against arriving there.
    pub outgoing: bool,
    /// The Ethernet type (of a bare IP interface as a TUN device, the type it would have).
    pub ethertype: u16,
    /// Source address; None when it is not IP.
    pub source: Option<IpAddr>,
    /// Destination address; None when it is not IP.
    pub destination: Option<IpAddr>,
    /// The IP protocol, IPv6 extension headers skipped; None when it is not IP.
    pub protocol: Option<u8>,
    /// TCP's or UDP's source port; None for anything else and for later fragments.
    pub source_port: Option<u16>,
    /// TCP's or UDP's destination port; None for anything else and for later fragments.
    pub destination_port: Option<u16>,
    /// The whole frame, from its Ethernet header on if the interface has one.
    pub frame: Vec<u8>,
    /// Where in the frame the IP header begins.
    pub network: usize,
    /// Where in the frame the data after the TCP or UDP header, or after the IP header, begins.
    pub payload: usize,
}

impl Seen {
    /// Reads a frame; `ethernet` tells whether it begins with an Ethernet header.
    pub(crate) fn parse(frame: &[u8], ethernet: bool, outgoing: bool, at: SystemTime) -> Self {
        let network = if ethernet { 14 } else { 0 };
        let ethertype = match frame.first() {
            _ if ethernet => read_u16(frame, 12).unwrap_or_default(),
            Some(first) if first >> 4 == 4 => 0x0800,
            Some(first) if first >> 4 == 6 => 0x86dd,
            _ => 0,
        };
        let mut seen = Self {
            at,
            outgoing,
            ethertype,
            source: None,
            destination: None,
            protocol: None,
            source_port: None,
            destination_port: None,
            frame: frame.to_vec(),
            network,
            payload: network,
        };
        // A damaged header leaves what could be read of it.
        let _read = match ethertype {
            0x0800 => seen.parse_v4(),
            0x86dd => seen.parse_v6(),
            _ => None,
        };
        seen
    }

    fn parse_v4(&mut self) -> Option<()> {
        let at = self.network;
        let first = *self.frame.get(at)?;
        self.source = Some(IpAddr::V4(Ipv4Addr::from(read::<4>(&self.frame, at + 12)?)));
        self.destination = Some(IpAddr::V4(Ipv4Addr::from(read::<4>(&self.frame, at + 16)?)));
        let protocol = *self.frame.get(at + 9)?;
        self.protocol = Some(protocol);
        self.payload = at + usize::from(first & 0xf) * 4;
        let fragment = read_u16(&self.frame, at + 6)? & 0x1fff;
        if fragment == 0 { self.parse_ports(protocol) } else { None }
    }

    fn parse_v6(&mut self) -> Option<()> {
        let at = self.network;
        self.source = Some(IpAddr::V6(Ipv6Addr::from(read::<16>(&self.frame, at + 8)?)));
        self.destination = Some(IpAddr::V6(Ipv6Addr::from(read::<16>(&self.frame, at + 24)?)));
        let mut next = *self.frame.get(at + 6)?;
        self.payload = at + 40;
        // Hop-by-hop, routing, fragment and destination options may stand before the payload.
        while matches!(next, 0 | 43 | 44 | 60) {
            let here = self.payload;
            let fragment = next == 44 && read_u16(&self.frame, here + 2)? & 0xfff8 != 0;
            let length = if next == 44 { 8 } else { (usize::from(*self.frame.get(here + 1)?) + 1) * 8 };
            next = *self.frame.get(here)?;
            self.payload += length;
            if fragment {
                self.protocol = Some(next);
                return None;
            }
        }
        self.protocol = Some(next);
        self.parse_ports(next)
    }

    fn parse_ports(&mut self, protocol: u8) -> Option<()> {
        let at = self.payload;
        let header = match protocol {
            UDP => 8,
            TCP => usize::from(self.frame.get(at + 12)? >> 4) * 4,
            _ => return None,
        };
        self.source_port = Some(read_u16(&self.frame, at)?);
        self.destination_port = Some(read_u16(&self.frame, at + 2)?);
        self.payload = at + header;
        Some(())
    }

    /// Whether `address` is its destination.
    #[must_use]
    pub fn is_to(&self, address: impl Into<IpAddr>) -> bool {
        self.destination == Some(address.into())
    }

    /// Whether `address` is its source.
    #[must_use]
    pub fn is_from(&self, address: impl Into<IpAddr>) -> bool {
        self.source == Some(address.into())
    }

    /// Whether either port is `port`, of the IP protocol `protocol`, as [`UDP`].
    #[must_use]
    pub fn has_port(&self, protocol: u8, port: u16) -> bool {
        self.protocol == Some(protocol)
            && (self.source_port == Some(port) || self.destination_port == Some(port))
    }

    /// The data after the TCP or UDP header, or after the IP header, padding included.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.frame.get(self.payload..).unwrap_or_default()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.outgoing { "out" } else { "in" };
        let (Some(source), Some(destination)) = (self.source, self.destination) else {
            return write!(f, "{way} ethertype {:#06x}, {} bytes", self.ethertype, self.frame.len());
        };
        let port = |port: Option<u16>| port.map(|port| format!(" port {port}")).unwrap_or_default();
        let protocol = match self.protocol {
            Some(ICMP) => "ICMP".to_owned(),
            Some(TCP) => "TCP".to_owned(),
            Some(UDP) => "UDP".to_owned(),
            Some(ICMPV6) => "ICMPv6".to_owned(),
            other => format!("protocol {}", other.unwrap_or_default()),
        };
        let (from, to) = (port(self.source_port), port(self.destination_port));
        write!(f, "{way} {protocol} {source}{from} > {destination}{to}, {} bytes", self.frame.len())
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

fn read<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    read(bytes, at).map(u16::from_be_bytes)
}
