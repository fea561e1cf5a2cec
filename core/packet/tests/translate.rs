//! Addresses change and checksums stay right.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod build;

use std::net::Ipv4Addr;

use build::{Ip, Tcp, bytes, checksums_are_right};
use proptest::prelude::*;
use weft_packet::translate::{rewrite_destination, rewrite_source};
use weft_packet::{Malformed, Offload, PartialChecksum};

fn with_source(ip: &Ip, new: Ipv4Addr) -> Ip {
    let mut ip = ip.clone();
    ip.source.set_ip(new.into());
    ip
}

fn with_destination(ip: &Ip, new: Ipv4Addr) -> Ip {
    let mut ip = ip.clone();
    ip.destination.set_ip(new.into());
    ip
}

#[test]
fn a_datagram_without_a_checksum_stays_without() {
    let mut packet = Ip::v4().udp(&bytes(50, 0));
    packet[26..28].fill(0);
    rewrite_source(&mut packet, Offload::default(), Ipv4Addr::new(100, 96, 0, 7)).unwrap();
    assert_eq!(packet[26..28], [0, 0]);
    assert_eq!(packet[12..16], [100, 96, 0, 7]);
}

#[test]
fn a_later_fragments_bytes_are_no_header() {
    let mut packet = Ip { dont_fragment: false, ..Ip::v4() }.udp(&bytes(50, 0));
    packet[7] = 9;
    let payload = packet[20..].to_vec();
    rewrite_source(&mut packet, Offload::default(), Ipv4Addr::new(100, 96, 0, 7)).unwrap();
    assert_eq!(packet[20..], payload);
}

#[test]
fn what_is_not_ipv4_is_refused_unchanged() {
    let packet = Ip::v6().udp(&[1]);
    let mut same = packet.clone();
    assert_eq!(rewrite_source(&mut same, Offload::default(), Ipv4Addr::LOCALHOST), Err(Malformed::Version));
    assert_eq!(same, packet);
    assert!(rewrite_source(&mut [0x45; 12], Offload::default(), Ipv4Addr::LOCALHOST).is_err());
}

/// The error's quoted packet is translated the other way: its sender must know it again.
#[test]
fn the_packet_that_an_error_quotes_is_translated_too() {
    let device = Ip::between("172.16.0.2:4000", "192.0.2.7:443");
    let outside = Ipv4Addr::new(100, 96, 0, 7);
    for (sent, quoted) in [
        (device.udp(&bytes(40, 1)), with_source(&device, outside).udp(&bytes(40, 1))),
        (
            device.tcp(&Tcp::at(9), &bytes(40, 1)),
            with_source(&device, outside).tcp(&Tcp::at(9), &bytes(40, 1)),
        ),
        (
            device.icmp(&[8, 0, 0, 0, 1, 2, 3, 4]),
            with_source(&device, outside).icmp(&[8, 0, 0, 0, 1, 2, 3, 4]),
        ),
    ] {
        let error = |quoted: &[u8], len: usize, to: &str| {
            let message = [&[3, 3, 0, 0, 0, 0, 0, 0], &quoted[..len]].concat();
            Ip::between("198.51.100.1:0", to).icmp(&message)
        };
        // From outside in: whole quotes, and the shortest that routers make.
        for len in [sent.len(), 28] {
            let mut packet = error(&quoted, len, "100.96.0.7:0");
            rewrite_destination(&mut packet, Offload::default(), Ipv4Addr::new(172, 16, 0, 2)).unwrap();
            assert_eq!(packet, error(&sent, len, "172.16.0.2:0"));
            assert!(checksums_are_right(&packet));
        }
    }
    // From the device out: it quotes a packet that was for it.
    let inbound = Ip::between("192.0.2.7:443", "172.16.0.2:4000");
    let error = |quoted: Vec<u8>, from: &str| {
        Ip::between(from, "192.0.2.7:0").icmp(&[&[3, 3, 0, 0, 0, 0, 0, 0], &quoted[..]].concat())
    };
    let mut packet = error(inbound.udp(&[1, 2, 3]), "172.16.0.2:0");
    rewrite_source(&mut packet, Offload::default(), outside).unwrap();
    assert_eq!(packet, error(with_destination(&inbound, outside).udp(&[1, 2, 3]), "100.96.0.7:0"));
}

#[test]
fn a_quote_of_another_flow_is_left_alone() {
    let quoted = Ip::between("10.1.1.1:1", "10.2.2.2:2").udp(&[5; 9]);
    let message = [&[11, 0, 0, 0, 0, 0, 0, 0], &quoted[..]].concat();
    let ip = Ip::between("198.51.100.1:0", "100.96.0.7:0");
    let mut packet = ip.icmp(&message);
    rewrite_destination(&mut packet, Offload::default(), Ipv4Addr::new(172, 16, 0, 2)).unwrap();
    assert_eq!(packet, with_destination(&ip, Ipv4Addr::new(172, 16, 0, 2)).icmp(&message));
}

proptest! {
    #[test]
    fn a_translated_packet_is_the_packet_of_the_other_address(
        new in any::<u32>(),
        payload in prop::collection::vec(any::<u8>(), 0..100),
        tcp in any::<bool>(),
        source in any::<bool>(),
    ) {
        let new = Ipv4Addr::from(new);
        let old = Ip::v4();
        let build = |ip: &Ip| if tcp { ip.tcp(&Tcp::at(77), &payload) } else { ip.udp(&payload) };
        let mut packet = build(&old);
        let expected = if source {
            rewrite_source(&mut packet, Offload::default(), new).unwrap();
            build(&with_source(&old, new))
        } else {
            rewrite_destination(&mut packet, Offload::default(), new).unwrap();
            build(&with_destination(&old, new))
        };
        prop_assert!(checksums_are_right(&packet));
        // Zero has two forms in ones' complement; all else is equal.
        let at = if tcp { 36 } else { 26 };
        if packet[at..at + 2] != [0, 0] {
            prop_assert_eq!(packet, expected);
        }
    }

    #[test]
    fn a_partial_checksum_stays_one(new in any::<u32>(), len in 0usize..100) {
        let new = Ipv4Addr::from(new);
        let old = Ip::v4();
        let payload = bytes(len, 1);
        let mut packet = old.udp(&payload);
        let sum = !build::checksum(&[&build::pseudo(old.source.ip(), old.destination.ip(), 17, len + 8)]);
        packet[26..28].copy_from_slice(&sum.to_be_bytes());
        let partial = PartialChecksum { start: 20, offset: 6 };
        let offload = Offload { checksum: Some(partial), ..Offload::default() };
        rewrite_source(&mut packet, offload, new).unwrap();
        prop_assert!(weft_packet::checksum::complete(&mut packet, partial));
        prop_assert!(checksums_are_right(&packet));
    }

    #[test]
    fn any_bytes_are_translated_or_refused(packet in prop::collection::vec(any::<u8>(), 0..120), icmp in any::<bool>()) {
        let mut packet = packet;
        if packet.len() >= 24 {
            packet[0] = 0x45;
            let len = packet.len() as u16;
            packet[2..4].copy_from_slice(&len.to_be_bytes());
            if icmp {
                packet[6..10].copy_from_slice(&[0, 0, 64, 1]);
                packet[20] = 3;
            }
        }
        let before = packet.clone();
        match rewrite_destination(&mut packet, Offload::default(), Ipv4Addr::new(1, 2, 3, 4)) {
            Ok(()) => prop_assert_eq!(&packet[16..20], &[1, 2, 3, 4]),
            Err(_) => prop_assert_eq!(packet, before),
        }
    }
}
