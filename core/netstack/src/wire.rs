//! IP headers: what is taken in, and what datagrams are put into.

use std::net::{IpAddr, SocketAddr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IpAddress, IpProtocol, IpRepr, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, TcpPacket, TcpSeqNumber,
    UdpPacket, UdpRepr,
};

/// Hop limit of what is sent (RFC 1700).
const HOP_LIMIT: u8 = 64;
/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;

/// A whole packet whose IP header holds, looked at as far as its ports.
pub(crate) struct Incoming<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) kind: Kind<'a>,
}

/// What a packet carries.
pub(crate) enum Kind<'a> {
    /// A TCP segment whose checksum holds.
    Tcp {
        /// The bytes of its IP packet.
        whole: &'a [u8],
        /// What it acknowledges, where it does nothing else: no payload, no SYN, FIN or RST.
        bare_ack: Option<TcpSeqNumber>,
        /// Whether it asks for a connection: a SYN that acknowledges nothing.
        opens: bool,
    },
    /// A UDP payload whose checksum holds.
    Udp(&'a [u8]),
}

/// Looks at a packet. Nothing where it is malformed, a fragment, has extension headers or carries something else.
pub(crate) fn parse(packet: &[u8]) -> Option<Incoming<'_>> {
    let checksums = ChecksumCapabilities::default();
    let (ip, payload, total) = match packet.first()? >> 4 {
        4 => {
            let view = Ipv4Packet::new_checked(packet).ok()?;
            let repr = Ipv4Repr::parse(&view, &checksums).ok()?;
            if view.more_frags() || view.frag_offset() != 0 {
                return None;
            }
            (IpRepr::Ipv4(repr), view.payload(), usize::from(view.total_len()))
        }
        6 => {
            let view = Ipv6Packet::new_checked(packet).ok()?;
            let repr = Ipv6Repr::parse(&view).ok()?;
            (IpRepr::Ipv6(repr), view.payload(), view.total_len())
        }
        _ => return None,
    };
    let (source, destination) = (ip.src_addr(), ip.dst_addr());
    let (from_port, to_port, kind) = match ip.next_header() {
        IpProtocol::Tcp => {
            let segment = TcpPacket::new_checked(payload).ok()?;
            if !segment.verify_checksum(&source, &destination) {
                return None;
            }
            let bare = segment.segment_len() == 0 && segment.ack() && !segment.rst();
            let bare_ack = bare.then(|| segment.ack_number());
            let opens = segment.syn() && !segment.ack() && !segment.rst() && !segment.fin();
            let whole = packet.get(..total)?;
            (segment.src_port(), segment.dst_port(), Kind::Tcp { whole, bare_ack, opens })
        }
        IpProtocol::Udp => {
            let datagram = UdpPacket::new_checked(payload).ok()?;
            // RFC 8200, section 8.1: over IPv6 the checksum is not optional.
            if datagram.checksum() == 0 && matches!(source, IpAddress::Ipv6(_)) {
                return None;
            }
            let repr = UdpRepr::parse(&datagram, &source, &destination, &checksums).ok()?;
            (repr.src_port, repr.dst_port, Kind::Udp(datagram.payload()))
        }
        _ => return None,
    };
    let from = SocketAddr::new(IpAddr::from(source), from_port);
    let to = SocketAddr::new(IpAddr::from(destination), to_port);
    is_unicast(from.ip()).then_some(Incoming { from, to, kind })
}

/// Whether an address is one host's.
pub(crate) fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    }
}

/// The longest UDP payload that one packet of `mtu` bytes carries to `remote`.
pub(crate) fn max_datagram(remote: IpAddr, mtu: usize) -> usize {
    let header = if remote.is_ipv4() { 20 } else { 40 };
    mtu.saturating_sub(header + UDP_HEADER)
}

/// Makes the packet of one datagram. Both addresses are of one family, and the payload fits.
pub(crate) fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let checksums = ChecksumCapabilities::default();
    let (source, destination) = (IpAddress::from(from.ip()), IpAddress::from(to.ip()));
    let ip = IpRepr::new(source, destination, IpProtocol::Udp, UDP_HEADER + payload.len(), HOP_LIMIT);
    let mut packet = vec![0; ip.buffer_len()];
    ip.emit(packet.as_mut_slice(), &checksums);
    if let Some(body) = packet.get_mut(ip.header_len()..) {
        let udp = UdpRepr { src_port: from.port(), dst_port: to.port() };
        let fill = |room: &mut [u8]| room.copy_from_slice(payload);
        let mut view = UdpPacket::new_unchecked(body);
        udp.emit(&mut view, &source, &destination, payload.len(), fill, &checksums);
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload_of(packet: &[u8]) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        let incoming = parse(packet)?;
        let Kind::Udp(payload) = incoming.kind else { return None };
        Some((incoming.from, incoming.to, payload.to_vec()))
    }

    #[test]
    fn a_datagram_made_here_is_read_here() {
        for (from, to) in
            [("172.16.0.2:61000", "192.0.2.53:53"), ("[2001:db8::2]:61000", "[2001:db8::53]:53")]
        {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            assert_eq!(payload_of(&datagram(from, to, b"hello")), Some((from, to, b"hello".to_vec())));
        }
    }

    #[test]
    fn what_is_damaged_cut_or_a_fragment_is_not_read() {
        let whole = datagram("172.16.0.2:61000".parse().unwrap(), "192.0.2.53:53".parse().unwrap(), b"hello");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            assert_eq!(payload_of(&damaged), None, "byte {at} damaged");
            assert_eq!(payload_of(&whole[..at]), None, "cut at {at}");
        }
        let mut fragment = whole;
        fragment[6] = 0x20;
        let mut view = Ipv4Packet::new_unchecked(&mut fragment[..]);
        view.fill_checksum();
        assert_eq!(payload_of(&fragment), None);
    }

    #[test]
    fn an_ipv6_datagram_without_a_checksum_is_not_read() {
        let mut packet =
            datagram("[2001:db8::2]:1".parse().unwrap(), "[2001:db8::53]:2".parse().unwrap(), b"x");
        packet[46..48].copy_from_slice(&[0, 0]);
        assert_eq!(payload_of(&packet), None);
    }
}
