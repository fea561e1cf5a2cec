//! Which packets are answered by an ICMP error, and by which.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod build;

use build::{Ip, Tcp, bytes, checksums_are_right};
use proptest::prelude::*;
use weft_packet::icmp::{IcmpKind, LONGEST_REPLY, reply};
use weft_packet::{GsoKind, HEAD_ROOM, IpView, Offload, PartialChecksum, Run};

fn answer(packet: &[u8], kind: IcmpKind) -> Option<Vec<u8>> {
    let mut out = [0; LONGEST_REPLY];
    let len = reply(&Run::from_packet(packet).unwrap(), kind, None, &mut out)?;
    Some(out[..len].to_vec())
}

#[test]
fn type_code_and_mtu() {
    let v4 = Ip::v4().udp(&bytes(100, 0));
    let v6 = Ip::v6().udp(&bytes(100, 0));
    let table = [
        (IcmpKind::TooBig { mtu: 1280 }, [3, 4], [0, 0, 5, 0], [2, 0], [0, 0, 5, 0]),
        (IcmpKind::TooBig { mtu: 900 }, [3, 4], [0, 0, 3, 132], [2, 0], [0, 0, 5, 0]),
        (IcmpKind::Prohibited, [3, 13], [0; 4], [1, 1], [0; 4]),
        (IcmpKind::NoRoute, [3, 0], [0; 4], [1, 0], [0; 4]),
        (IcmpKind::Port, [3, 3], [0; 4], [1, 4], [0; 4]),
    ];
    for (kind, v4_type, v4_rest, v6_type, v6_rest) in table {
        let reply = answer(&v4, kind).unwrap();
        assert_eq!((&reply[20..22], &reply[24..28]), (&v4_type[..], &v4_rest[..]), "{kind:?}");
        assert!(checksums_are_right(&reply));
        assert_eq!(reply[28..], v4);
        let reply = answer(&v6, kind).unwrap();
        assert_eq!((&reply[40..42], &reply[44..48]), (&v6_type[..], &v6_rest[..]), "{kind:?}");
        assert!(checksums_are_right(&reply));
        assert_eq!(reply[48..], v6);
    }
}

#[test]
fn the_answer_comes_from_the_packets_aim_or_from_the_given_address() {
    for (ip, own, other) in [(Ip::v4(), "10.9.9.9", "::9"), (Ip::v6(), "::9", "10.9.9.9")] {
        let run = Run::from_packet(&ip.udp(&[1])).unwrap();
        let aim = ip.destination.ip();
        let own = own.parse().unwrap();
        for (source, from) in [(None, aim), (Some(own), own), (Some(other.parse().unwrap()), aim)] {
            let mut out = [0; LONGEST_REPLY];
            let len = reply(&run, IcmpKind::NoRoute, source, &mut out).unwrap();
            let view = IpView::parse(&out[..len]).unwrap();
            assert_eq!((view.source(), view.destination()), (from, ip.source.ip()));
            assert!(checksums_are_right(&out[..len]));
        }
    }
}

#[test]
fn answers_stay_short() {
    let reply = answer(&Ip::v4().udp(&bytes(3000, 0)), IcmpKind::Prohibited).unwrap();
    assert_eq!(reply.len(), 576);
    let reply = answer(&Ip::v6().udp(&bytes(3000, 0)), IcmpKind::Prohibited).unwrap();
    assert_eq!(reply.len(), 1280);
    let run = Run::from_packet(&Ip::v4().udp(&[])).unwrap();
    assert_eq!(super_short(&run), None);
}

fn super_short(run: &Run) -> Option<usize> {
    reply(run, IcmpKind::NoRoute, None, &mut [0; 27])
}

#[test]
fn who_is_never_answered() {
    let silent = |packet: Vec<u8>| assert_eq!(answer(&packet, IcmpKind::NoRoute), None, "{packet:x?}");
    for kind in [3, 4, 5, 11, 12] {
        silent(Ip::v4().icmp(&[kind, 0, 0, 0, 0, 0, 0, 0]));
    }
    for kind in [1, 2, 3, 4, 100, 127, 137] {
        silent(Ip::v6().icmp(&[kind, 0, 0, 0, 0, 0, 0, 0]));
    }
    for (source, destination) in [
        ("10.0.0.1:1", "224.0.0.251:5353"),
        ("10.0.0.1:1", "255.255.255.255:68"),
        ("0.0.0.0:68", "192.0.2.1:67"),
        ("127.0.0.1:1", "192.0.2.1:1"),
        ("239.1.1.1:1", "192.0.2.1:1"),
        ("[2001:db8::1]:1", "[ff02::fb]:5353"),
        ("[::]:1", "[2001:db8::1]:1"),
        ("[ff02::1]:1", "[2001:db8::1]:1"),
        ("[::1]:1", "[2001:db8::1]:1"),
    ] {
        silent(Ip::between(source, destination).udp(&[0; 8]));
    }
    let mut fragment = Ip::v4().udp(&[0; 64]);
    fragment[7] = 3;
    silent(fragment);
    silent(vec![0x45, 0, 0]);
    silent(Ip::v4().packet(1, &[8, 0]));
}

#[test]
fn echoes_and_first_fragments_are_answered() {
    assert!(answer(&Ip::v4().icmp(&[8, 0, 0, 0, 0, 1, 0, 1]), IcmpKind::NoRoute).is_some());
    assert!(answer(&Ip::v6().icmp(&[128, 0, 0, 0, 0, 1, 0, 1]), IcmpKind::NoRoute).is_some());
    let mut first = Ip::v4().udp(&[0; 64]);
    first[6] = 0x20;
    assert!(answer(&first, IcmpKind::NoRoute).is_some());
}

/// Checksums that the device left to its hardware are complete in what is quoted.
#[test]
fn quotes_are_of_whole_packets() {
    for ip in [Ip::v4(), Ip::v6()] {
        let start = ip.header_len();
        let payload = bytes(300, 1);
        let whole = ip.tcp(&Tcp::at(5), &payload);
        let single = Offload {
            checksum: Some(PartialChecksum { start: start as u16, offset: 16 }),
            ..Offload::default()
        };
        let kind = if ip.source.is_ipv4() { GsoKind::TcpV4 } else { GsoKind::TcpV6 };
        let several = Offload { kind, gso_size: 100, header_len: start as u16 + 32, ..single };
        let first = ip.tcp(&Tcp::at(5), &payload[..100]);
        for (offload, expected) in [(single, whole.clone()), (several, first)] {
            let mut packet = whole.clone();
            let pseudo = build::pseudo(ip.source.ip(), ip.destination.ip(), 6, packet.len() - start);
            let partial = !build::checksum(&[&pseudo]);
            packet[start + 16..start + 18].copy_from_slice(&partial.to_be_bytes());
            let mut buffer = vec![0; Run::buffer_len(packet.len())].into_boxed_slice();
            buffer[HEAD_ROOM..HEAD_ROOM + packet.len()].copy_from_slice(&packet);
            let run = Run::new(buffer, packet.len(), offload).unwrap();
            let mut out = [0; LONGEST_REPLY];
            let len = reply(&run, IcmpKind::TooBig { mtu: 1280 }, None, &mut out).unwrap();
            assert!(checksums_are_right(&out[..len]));
            assert_eq!(out[start + 8..len], expected);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_get_a_right_answer_or_none(packet in prop::collection::vec(any::<u8>(), 0..200), v6 in any::<bool>()) {
        let mut packet = packet;
        if let Some(first) = packet.first_mut() {
            *first = if v6 { 0x60 } else { 0x45 };
        }
        let len = packet.len() as u16;
        if v6 && packet.len() >= 40 {
            packet[4..6].copy_from_slice(&(len - 40).to_be_bytes());
        } else if packet.len() >= 20 {
            packet[2..4].copy_from_slice(&len.to_be_bytes());
        }
        if let Some(reply) = answer(&packet, IcmpKind::Prohibited) {
            prop_assert!(checksums_are_right(&reply));
        }
    }
}
