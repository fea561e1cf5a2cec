//! Packets that nobody sane would send.

use std::time::Duration;

use super::common::{Faults, Pair, Random};
use crate::{FlowEvent, Received};
use proptest::collection::vec;
use proptest::prelude::*;

/// Completes the IPv4 and TCP checksums, so that a bent packet is looked at all the way.
fn seal(packet: &mut [u8]) {
    use smoltcp::wire::{IpAddress, Ipv4Packet, TcpPacket};
    if packet.len() < 40 || packet[0] != 0x45 {
        return;
    }
    let total = packet.len() as u16;
    let mut ip = Ipv4Packet::new_unchecked(packet);
    ip.set_total_len(total);
    ip.fill_checksum();
    let (source, destination) = (IpAddress::from(ip.src_addr()), IpAddress::from(ip.dst_addr()));
    TcpPacket::new_unchecked(ip.payload_mut()).fill_checksum(&source, &destination);
}

/// Completes the TCP checksum of an IPv6 packet.
pub(super) fn seal_v6(packet: &mut [u8]) {
    use smoltcp::wire::{IpAddress, Ipv6Packet, TcpPacket};
    let mut ip = Ipv6Packet::new_unchecked(packet);
    let (source, destination) = (IpAddress::from(ip.src_addr()), IpAddress::from(ip.dst_addr()));
    TcpPacket::new_unchecked(ip.payload_mut()).fill_checksum(&source, &destination);
}

#[test]
fn packets_of_no_flow_do_nothing_at_all() {
    let mut pair = Pair::new(1, Faults::NONE);
    let mut other = Pair::new(2, Faults::NONE);
    other.connect(0);
    other.collect();
    for (_, packet) in other.packets.clone() {
        pair.stacks[1].handle_packet(&packet, pair.now);
    }
    assert_eq!(pair.stacks[1].dropped(), 2);
    pair.collect();
    assert!(pair.packets.is_empty());
    assert_eq!(pair.stacks[1].poll_timeout(pair.now), None);
}

#[test]
fn bent_segments_never_break_the_stack_nor_the_bytes() {
    for seed in 0..60 {
        let mut pair = Pair::new(seed, Faults { delay: Duration::from_millis(1), ..Faults::NONE });
        let mut random = Random(seed ^ 0xbad);
        let ids = pair.connect(0);
        for _ in 0..60 {
            let _ = pair.stacks[0].send(ids[0], b"0123456789", pair.now);
            pair.step();
            let Some((from, packet)) = pair.packets.last().cloned() else { continue };
            let mut bent = packet;
            for _ in 0..random.below(4) {
                let at = 20 + random.below(bent.len() as u64 - 20) as usize;
                // The ports stay, so that the flow sees it.
                if at >= 24 {
                    bent[at] = random.next() as u8;
                }
            }
            let cut = random.below(3) as usize;
            bent.truncate(bent.len() - cut);
            seal(&mut bent);
            pair.stacks[1 - from].handle_packet(&bent, pair.now);
        }
        let mut room = [0; 1024];
        let _ = pair.stacks[1].receive(ids[1], &mut room);
    }
}

#[test]
fn a_reset_with_a_wrong_number_is_not_believed() {
    let mut pair = Pair::new(5, Faults::NONE);
    let ids = pair.connect(0);
    while pair.step() {}
    pair.events(1);
    let (_, mut forged) = pair.packets.iter().rfind(|(from, _)| *from == 0).cloned().unwrap();
    forged.truncate(40);
    forged[32] = 0x50;
    forged[33] = 0x04;
    forged[24] ^= 0x40;
    seal(&mut forged);
    pair.stacks[1].handle_packet(&forged, pair.now);
    while pair.step() {}
    assert!(!pair.events(1).iter().any(|event| matches!(event, FlowEvent::Closed(..))));
    pair.stacks[0].send(ids[0], b"still here", pair.now).unwrap();
    while pair.step() {}
    assert_eq!(pair.stacks[1].receive(ids[1], &mut [0; 32]), Ok(Received::Bytes(10)));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(packets in vec(vec(any::<u8>(), 0..200), 0..20)) {
        let mut pair = Pair::new(3, Faults::NONE);
        pair.connect(0);
        pair.stacks[0].listen("192.0.2.1:53".parse().unwrap()).unwrap();
        for packet in packets {
            pair.stacks[0].handle_packet(&packet, pair.now);
        }
        pair.collect();
    }
}
