//! Seeds that are packets.

use std::net::IpAddr;

use weft_packet::checksum::Sum;
use weft_packet::view::protocol;

use crate::Seeds;

const OWN_V4: &str = "172.16.0.2";
const OWN_V6: &str = "2606:4700:cf1:1000::2";
const FAR_V4: &str = "198.51.100.7";
const FAR_V6: &str = "2001:db8::7";

fn octets(address: &str) -> Vec<u8> {
    match address.parse().unwrap() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn be(value: usize) -> [u8; 2] {
    u16::try_from(value).unwrap().to_be_bytes()
}

/// An IP packet; `id` is IPv4's identification.
fn ip(source: &str, destination: &str, number: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = if source.contains(':') {
        [&[0x60, 0, 0, 0][..], &be(payload.len()), &[number, 64]].concat()
    } else {
        let mut head =
            [&[0x45, 0][..], &be(20 + payload.len()), &id.to_be_bytes(), &[0x40, 0, 64, number, 0, 0]]
                .concat();
        let sum = Sum::of(&head) + Sum::of(&octets(source)) + Sum::of(&octets(destination));
        head[10..12].copy_from_slice(&sum.checksum());
        head
    };
    packet.extend(octets(source));
    packet.extend(octets(destination));
    packet.extend(payload);
    packet
}

/// The transport's checksum at `at` of `segment`, complete.
fn sealed(source: &str, destination: &str, number: u8, mut segment: Vec<u8>, at: usize) -> Vec<u8> {
    let (from, to) = (source.parse().unwrap(), destination.parse().unwrap());
    let sum = Sum::pseudo(from, to, number, segment.len()) + Sum::of(&segment);
    segment[at..at + 2].copy_from_slice(&sum.transport_checksum());
    segment
}

pub(crate) fn udp(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let header = [&be(40000)[..], &be(443), &be(8 + payload.len()), &[0, 0]].concat();
    let segment = sealed(source, destination, protocol::UDP, [&header[..], payload].concat(), 6);
    ip(source, destination, protocol::UDP, 7, &segment)
}

fn tcp(source: &str, destination: &str, sequence: u32, id: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment =
        [&be(40000)[..], &be(443), &sequence.to_be_bytes(), &[0, 0, 0, 9, 0x80, flags, 1, 0]].concat();
    // Checksum, urgent pointer, and the timestamps option behind two of padding.
    segment.extend([0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    segment.extend(payload);
    let segment = sealed(source, destination, protocol::TCP, segment, 16);
    ip(source, destination, protocol::TCP, id, &segment)
}

pub(crate) fn echo(source: &str, destination: &str) -> Vec<u8> {
    if source.contains(':') {
        let message = vec![128, 0, 0, 0, 0, 1, 0, 1, b'w', b'e'];
        let message = sealed(source, destination, protocol::ICMPV6, message, 2);
        ip(source, destination, protocol::ICMPV6, 0, &message)
    } else {
        let mut message = vec![8, 0, 0, 0, 0, 1, 0, 1, b'w', b'e'];
        let sum = Sum::of(&message).checksum();
        message[2..4].copy_from_slice(&sum);
        ip(source, destination, protocol::ICMP, 1, &message)
    }
}

/// "Fragmentation needed" about a packet that the device sent.
pub(crate) fn too_big() -> Vec<u8> {
    let quoted = &udp(OWN_V4, FAR_V4, b"question")[..28];
    let mut message = [&[3, 4, 0, 0, 0, 0, 5, 0][..], quoted].concat();
    let sum = Sum::of(&message).checksum();
    message[2..4].copy_from_slice(&sum);
    ip(FAR_V4, OWN_V4, protocol::ICMP, 3, &message)
}

/// A first fragment over IPv6, behind a hop-by-hop header.
fn fragment_v6() -> Vec<u8> {
    let inner = &udp(FAR_V6, OWN_V6, b"answer")[40..];
    let extensions = [&[44, 0, 5, 2, 0, 0, 1, 0][..], &[protocol::UDP, 0, 0, 1, 0, 0, 0, 9], inner].concat();
    ip(FAR_V6, OWN_V6, 0, 0, &extensions)
}

/// A later fragment over IPv4.
fn fragment_v4() -> Vec<u8> {
    let mut packet = ip(FAR_V4, OWN_V4, protocol::UDP, 9, b"the rest of it");
    packet[6..8].copy_from_slice(&[0x20, 0x10]);
    packet[10..12].copy_from_slice(&[0, 0]);
    let sum = Sum::of(&packet[..20]).checksum();
    packet[10..12].copy_from_slice(&sum);
    packet
}

fn cut(mut packet: Vec<u8>, len: usize) -> Vec<u8> {
    packet.truncate(len);
    packet
}

pub(crate) fn changed(mut packet: Vec<u8>, at: usize, to: u8) -> Vec<u8> {
    packet[at] = to;
    packet
}

pub(crate) fn view() -> Seeds {
    vec![
        ("ok-udp-v4", udp(OWN_V4, FAR_V4, b"question")),
        ("ok-udp-v6", udp(OWN_V6, FAR_V6, b"question")),
        ("ok-tcp-v4", tcp(OWN_V4, FAR_V4, 1000, 1, 0x18, b"GET / HTTP/1.1\r\n")),
        ("ok-tcp-v6", tcp(OWN_V6, FAR_V6, 1000, 1, 0x10, b"")),
        ("ok-echo-v4", echo(OWN_V4, FAR_V4)),
        ("ok-echo-v6", echo(OWN_V6, FAR_V6)),
        ("ok-too-big", too_big()),
        ("ok-fragment-v4", fragment_v4()),
        ("ok-fragment-v6", fragment_v6()),
        ("bad-empty", Vec::new()),
        ("bad-version", changed(udp(OWN_V4, FAR_V4, b"x"), 0, 0x55)),
        ("bad-cut-v4", cut(udp(OWN_V4, FAR_V4, b"question"), 30)),
        ("bad-cut-v6", cut(udp(OWN_V6, FAR_V6, b"question"), 47)),
        ("bad-udp-length", changed(udp(OWN_V4, FAR_V4, b"x"), 25, 3)),
        ("bad-tcp-offset", changed(tcp(OWN_V4, FAR_V4, 1, 1, 0, b""), 32, 0xf0)),
        ("bad-extensions", ip(OWN_V6, FAR_V6, 60, 0, &[60, 0, 1, 4, 0, 0, 0, 0].repeat(12))),
    ]
}

pub(crate) fn verdict() -> Seeds {
    vec![
        ("ok-udp-v4", udp(OWN_V4, FAR_V4, b"question")),
        ("ok-tcp-v6", tcp(OWN_V6, FAR_V6, 1, 1, 2, b"")),
        ("ok-inner", udp(OWN_V4, "172.64.128.1", b"")),
        ("bad-source", udp("192.168.1.5", FAR_V4, b"question")),
        ("bad-endpoint", udp(OWN_V4, "203.0.113.10", b"")),
        ("bad-excluded", udp(OWN_V4, "192.168.1.1", b"")),
        ("bad-multicast", udp(OWN_V4, "239.255.255.250", b"M-SEARCH")),
        ("bad-link-local", udp(OWN_V6, "fe80::1", b"")),
        ("bad-too-big", udp(OWN_V6, FAR_V6, &[0; 1300])),
        ("bad-length", changed(udp(OWN_V4, FAR_V4, b""), 3, 99)),
    ]
}

pub(crate) fn icmp() -> Seeds {
    let about = |pick: u8, packet: Vec<u8>| [vec![pick], packet].concat();
    vec![
        ("ok-too-big-v4", about(0, udp(OWN_V4, FAR_V4, &[7; 1400]))),
        ("ok-too-big-v6", about(0, udp(OWN_V6, FAR_V6, &[7; 1400]))),
        ("ok-prohibited-tcp", about(1, tcp(OWN_V4, FAR_V4, 1, 1, 2, b""))),
        ("ok-no-route-echo", about(2, echo(OWN_V6, FAR_V6))),
        ("ok-port", about(3, udp(OWN_V4, FAR_V4, b""))),
        ("bad-about-an-error", about(0, too_big())),
        ("bad-later-fragment", about(1, fragment_v4())),
        ("bad-multicast", about(2, udp(OWN_V4, "224.0.0.251", b""))),
        ("bad-nobody", about(2, udp("0.0.0.0", FAR_V4, b""))),
        ("bad-cut", about(0, cut(udp(OWN_V4, FAR_V4, b"question"), 15))),
    ]
}

pub(crate) fn translate() -> Seeds {
    vec![
        ("ok-udp", udp(OWN_V4, FAR_V4, b"question")),
        ("ok-tcp", tcp(OWN_V4, FAR_V4, 1, 1, 2, b"")),
        ("ok-too-big", too_big()),
        ("ok-fragment", fragment_v4()),
        ("bad-v6", udp(OWN_V6, FAR_V6, b"")),
        ("bad-cut", cut(tcp(OWN_V4, FAR_V4, 1, 1, 2, b""), 19)),
    ]
}

/// A virtio header: flags, kind, segment size, where the checksum starts and stands. The rest is a hint.
fn virtio(flags: u8, kind: u8, size: u16, start: u16, offset: u16) -> Vec<u8> {
    let words = [0, size, start, offset].map(u16::to_ne_bytes).concat();
    [&[flags, kind][..], &words].concat()
}

pub(crate) fn split() -> Seeds {
    let (tcp_v4, tcp_v6) =
        (tcp(OWN_V4, FAR_V4, 1, 1, 0x98, &[7; 700]), tcp(OWN_V6, FAR_V6, 1, 1, 0x11, &[7; 700]));
    let datagrams = udp(OWN_V4, FAR_V4, &[7; 700]);
    let with = |header: Vec<u8>, packet: &[u8]| [&header[..], packet].concat();
    vec![
        ("ok-single", with(virtio(0, 0, 0, 0, 0), &udp(OWN_V4, FAR_V4, b"question"))),
        ("ok-single-partial", with(virtio(1, 0, 0, 20, 6), &udp(OWN_V4, FAR_V4, b"question"))),
        ("ok-tcp-v4", with(virtio(1, 0x81, 200, 20, 16), &tcp_v4)),
        ("ok-tcp-v6", with(virtio(1, 4, 333, 40, 16), &tcp_v6)),
        ("ok-udp", with(virtio(1, 5, 100, 20, 6), &datagrams)),
        ("bad-short", vec![0; 9]),
        ("bad-kind", with(virtio(1, 3, 100, 20, 6), &datagrams)),
        ("bad-version", with(virtio(1, 4, 100, 20, 16), &tcp_v4)),
        ("bad-size", with(virtio(1, 1, 0, 20, 16), &tcp_v4)),
        ("bad-checksum", with(virtio(1, 0, 0, 0xfff0, 0xfff0), &datagrams)),
        ("bad-no-checksum", with(virtio(0, 1, 200, 20, 16), &tcp_v4)),
    ]
}

pub(crate) fn coalesce() -> Seeds {
    let stream = |packets: &[Vec<u8>]| -> Vec<u8> {
        packets.iter().flat_map(|packet| [&be(packet.len())[..], packet].concat()).collect()
    };
    let segment = |index: u16, flags: u8, len: usize| {
        tcp(FAR_V4, OWN_V4, 1000 + 100 * u32::from(index), index, flags, &vec![7; len])
    };
    let segment_v6 = |index: u16| tcp(FAR_V6, OWN_V6, 100 * u32::from(index), 0, 0x10, &[7; 100]);
    let datagram = |fill: u8, len: usize| udp(FAR_V6, OWN_V6, &vec![fill; len]);
    vec![
        ("ok-tcp", stream(&[segment(0, 0x10, 100), segment(1, 0x10, 100), segment(2, 0x18, 50)])),
        ("ok-tcp-v6", stream(&[segment_v6(0), segment_v6(1), segment_v6(2)])),
        ("ok-udp", stream(&[datagram(1, 80), datagram(2, 80), datagram(3, 20), datagram(4, 80)])),
        (
            "ok-mixed",
            stream(&[
                segment(0, 0x10, 100),
                datagram(1, 80),
                echo(FAR_V4, OWN_V4),
                segment(1, 0x10, 100),
                fragment_v6(),
                datagram(2, 80),
                segment(2, 0x11, 0),
            ]),
        ),
        ("ok-gap", stream(&[segment(0, 0x10, 100), segment(2, 0x10, 100), segment(1, 0x10, 100)])),
        ("ok-damaged", stream(&[segment(0, 0x10, 100), changed(segment(1, 0x10, 100), 90, 0)])),
        ("bad-cut", stream(&[segment(0, 0x10, 100), cut(segment(1, 0x10, 100), 60)])),
        ("bad-nothing", Vec::new()),
    ]
}
