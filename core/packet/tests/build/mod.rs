//! Builds packets for tests, by the plain definitions and apart from the code under test.

#![allow(dead_code, reason = "no test uses all of it")]

use std::net::{IpAddr, SocketAddr};

pub(crate) const ACK: u8 = 0x10;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const CWR: u8 = 0x80;

/// The Internet checksum by its definition.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

pub(crate) fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let tail = [&[0, protocol][..], &(len as u16).to_be_bytes()].concat();
            [&source.octets()[..], &destination.octets(), &tail].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let tail = [&(len as u32).to_be_bytes()[..], &[0, 0, 0, protocol]].concat();
            [&source.octets()[..], &destination.octets(), &tail].concat()
        }
        _ => panic!("two families"),
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Ip {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    pub(crate) dont_fragment: bool,
}

impl Ip {
    pub(crate) fn v4() -> Self {
        Self::between("10.0.0.1:5000", "192.0.2.7:443")
    }

    pub(crate) fn v6() -> Self {
        Self::between("[2001:db8::1]:5000", "[2001:db8:7::2]:443")
    }

    pub(crate) fn between(source: &str, destination: &str) -> Self {
        Self {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            tos: 0,
            ttl: 64,
            id: 100,
            dont_fragment: true,
        }
    }

    pub(crate) fn header_len(&self) -> usize {
        if self.source.is_ipv4() { 20 } else { 40 }
    }

    pub(crate) fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = vec![0x45, self.tos];
                header.extend((payload.len() as u16 + 20).to_be_bytes());
                header.extend(self.id.to_be_bytes());
                header.extend([if self.dont_fragment { 0x40 } else { 0 }, 0, self.ttl, protocol, 0, 0]);
                header.extend(source.octets());
                header.extend(destination.octets());
                let sum = checksum(&[&header]);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                header
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut header = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 0];
                header.extend((payload.len() as u16).to_be_bytes());
                header.extend([protocol, self.ttl]);
                header.extend(source.octets());
                header.extend(destination.octets());
                header
            }
            _ => panic!("two families"),
        };
        packet.extend(payload);
        packet
    }

    fn pseudo(&self, protocol: u8, len: usize) -> Vec<u8> {
        pseudo(self.source.ip(), self.destination.ip(), protocol, len)
    }

    pub(crate) fn tcp(&self, tcp: &Tcp, payload: &[u8]) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(self.source.port().to_be_bytes());
        segment.extend(self.destination.port().to_be_bytes());
        segment.extend(tcp.sequence.to_be_bytes());
        segment.extend(tcp.acknowledgement.to_be_bytes());
        segment.extend([((20 + tcp.options.len()) as u8 / 4) << 4, tcp.flags]);
        segment.extend(tcp.window.to_be_bytes());
        segment.extend([0, 0, 0, 0]);
        segment.extend(&tcp.options);
        segment.extend(payload);
        let sum = checksum(&[&self.pseudo(6, segment.len()), &segment]);
        let sum = if sum == 0 { 0xffff } else { sum };
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        self.packet(6, &segment)
    }

    pub(crate) fn udp(&self, payload: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::new();
        datagram.extend(self.source.port().to_be_bytes());
        datagram.extend(self.destination.port().to_be_bytes());
        datagram.extend((payload.len() as u16 + 8).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        let sum = checksum(&[&self.pseudo(17, datagram.len()), &datagram]);
        let sum = if sum == 0 { 0xffff } else { sum };
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        self.packet(17, &datagram)
    }

    /// An ICMP message of the family's own kind; `message` has the type, the code, two bytes for the checksum.
    pub(crate) fn icmp(&self, message: &[u8]) -> Vec<u8> {
        let mut message = message.to_vec();
        message[2..4].fill(0);
        let (number, pseudo) =
            if self.source.is_ipv4() { (1, Vec::new()) } else { (58, self.pseudo(58, message.len())) };
        let sum = checksum(&[&pseudo, &message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.packet(number, &message)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Tcp {
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) options: Vec<u8>,
}

impl Tcp {
    pub(crate) fn at(sequence: u32) -> Self {
        // No-operation twice, then a timestamp.
        let options = vec![1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8];
        Self { sequence, acknowledgement: 7, flags: ACK, window: 500, options }
    }
}

/// Whether the header and the transport checksums of an IP packet are right, by their definitions.
pub(crate) fn checksums_are_right(packet: &[u8]) -> bool {
    let view = weft_packet::IpView::parse(packet).unwrap();
    let payload = view.payload();
    let header_right = view.is_v6() || checksum(&[&packet[..view.payload_offset()]]) == 0;
    let pseudo = match view.protocol() {
        1 => Vec::new(),
        protocol => pseudo(view.source(), view.destination(), protocol, payload.len()),
    };
    header_right && checksum(&[&pseudo, payload]) == 0
}

pub(crate) fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}
