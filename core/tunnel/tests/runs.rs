//! Runs of several segments, and several threads at once.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that slips here fails, as it should"
)]

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use common::world::{CLIENT_INNER, SERVER_INNER, World, gateway_at};
use common::{Sent, datagrams, packet};
use weft_packet::checksum::Sum;
use weft_packet::view::protocol;
use weft_packet::{GsoKind, HEAD_ROOM, IpView, Offload, PartialChecksum, Run};
use weft_tunnel::wireguard::OVERHEAD;
use weft_tunnel::{Outbound, Outbox, Sealed, SocketId};

/// A TCP run over IPv4 whose payload counts up.
fn tcp_run(payload: usize, gso_size: u16) -> Run {
    let mut bytes = packet(CLIENT_INNER, SERVER_INNER, &[0; 20]);
    bytes[2..4].copy_from_slice(&u16::try_from(40 + payload).unwrap().to_be_bytes());
    bytes[9] = protocol::TCP;
    bytes[32] = 0x50;
    bytes[33] = 0x18;
    bytes.extend((0..payload).map(|at| at as u8));
    let mut buffer = vec![0; Run::buffer_len(bytes.len())].into_boxed_slice();
    buffer[HEAD_ROOM..HEAD_ROOM + bytes.len()].copy_from_slice(&bytes);
    let checksum = Some(PartialChecksum { start: 20, offset: 16 });
    let offload = Offload { kind: GsoKind::TcpV4, gso_size, header_len: 40, checksum };
    Run::new(buffer, bytes.len(), offload).unwrap()
}

/// Checks that `packets` are whole TCP segments in order, and gives their payload.
fn payload_of(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut all = Vec::new();
    for packet in packets {
        let view = IpView::parse(packet).unwrap();
        assert_eq!(view.packet().len(), packet.len());
        assert!(Sum::of(&packet[..20]).verifies());
        let pseudo = Sum::pseudo(view.source(), view.destination(), protocol::TCP, packet.len() - 20);
        assert!((pseudo + Sum::of(view.payload())).verifies());
        let tcp = view.tcp().unwrap().unwrap();
        assert_eq!(tcp.sequence() as usize, all.len());
        all.extend(tcp.payload());
    }
    all
}

#[test]
fn a_run_is_split_into_equal_datagrams_for_segmentation_offload() {
    for (payload, gso_size, mtu) in
        [(60_000, 1240, 1280), (2480, 1240, 1280), (5000, 1380, 1420), (7, 1000, 1280)]
    {
        let mut config = common::world::client_config();
        config.mtu = mtu;
        let mut world = World::with(1, config, common::world::peer_config(), 1000);
        world.start();
        world.run_ms(200);
        let mut out = Outbox::new();
        let run = tcp_run(payload, gso_size);
        let segments = run.segments();
        let Sealed::Done(_, _) = world.client.transport.outbound.seal(run, world.now, &mut out) else {
            panic!("there is a session")
        };
        let full = usize::from(gso_size) + 40;
        assert!(
            out.transmits().all(|transmit| transmit.segment <= full.next_multiple_of(16).min(mtu) + OVERHEAD)
        );
        for transmit in out.transmits() {
            let mut data = transmit.contents().to_vec();
            let (from, sink) = (world.client_at, &mut world.gateway_sink);
            let _ = world.gateway.open(SocketId(2408), from, &mut data, transmit.segment, world.now, sink);
        }
        let packets: Vec<_> = world.gateway_sink.packets.drain(..).map(|(_, packet)| packet).collect();
        assert_eq!(packets.len(), segments);
        let sent: Vec<_> = (0..payload).map(|at| at as u8).collect();
        assert_eq!(payload_of(&packets), sent);
        assert!(packets.iter().rev().skip(1).all(|packet| packet.len() == full));
        let stats = world.client.transport.control.stats(world.now);
        assert_eq!(
            (stats.sent.packets, stats.sent.bytes),
            (segments as u64, (payload + 40 * segments) as u64)
        );
    }
}

#[test]
fn udp_runs_and_partial_checksums_are_completed() {
    let mut world = World::connected(1);
    let mut bytes = packet(CLIENT_INNER, SERVER_INNER, &[0; 8]);
    bytes[9] = protocol::UDP;
    bytes.extend((0..2500).map(|at| at as u8));
    let len = u16::try_from(bytes.len()).unwrap();
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    let mut buffer = vec![0; Run::buffer_len(bytes.len())].into_boxed_slice();
    buffer[HEAD_ROOM..HEAD_ROOM + bytes.len()].copy_from_slice(&bytes);
    let checksum = Some(PartialChecksum { start: 20, offset: 6 });
    let offload = Offload { kind: GsoKind::Udp, gso_size: 1000, header_len: 28, checksum };
    let (sent, _) = world.client.send_run(Run::new(buffer, bytes.len(), offload).unwrap(), world.now);
    world.client_sent(sent);
    world.run_ms(100);
    let lengths: Vec<_> = world.gateway_sink.packets.iter().map(|(_, packet)| packet.len()).collect();
    assert_eq!(lengths, [1028, 1028, 528]);
    for (_, packet) in &world.gateway_sink.packets {
        let view = IpView::parse(packet).unwrap();
        let pseudo = Sum::pseudo(view.source(), view.destination(), protocol::UDP, packet.len() - 20);
        assert!((pseudo + Sum::of(view.payload())).verifies());
        assert_eq!(view.udp().unwrap().unwrap().len(), packet.len() - 20);
    }
}

fn seal_many(outbound: &dyn Outbound, thread: u8, now: Instant) -> Vec<Sent> {
    let mut sent = Vec::new();
    let mut out = Outbox::new();
    for number in 0..500_u32 {
        out.clear();
        let run = if number % 5 == 0 {
            tcp_run(6200, 1240)
        } else {
            let payload = [&[thread][..], &number.to_be_bytes()].concat();
            Run::from_packet(&packet(CLIENT_INNER, SERVER_INNER, &payload)).unwrap()
        };
        let Sealed::Done(..) = outbound.seal(run, now, &mut out) else { panic!("there is a session") };
        sent.extend(datagrams(&out));
    }
    sent
}

#[test]
fn threads_that_seal_at_once_share_no_counter_and_all_of_it_opens() {
    let mut world = World::connected(1);
    let (outbound, now) = (Arc::clone(&world.client.transport.outbound), world.now);
    let sent: Vec<Sent> = std::thread::scope(|scope| {
        let outbound = outbound.as_ref();
        let threads: Vec<_> =
            (0..4).map(|thread| scope.spawn(move || seal_many(outbound, thread, now))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
    });
    assert_eq!(sent.len(), 4 * (400 + 100 * 5));
    let counters: HashSet<&[u8]> = sent.iter().map(|sent| &sent.bytes[8..16]).collect();
    assert_eq!(counters.len(), sent.len());
    for Sent { bytes, .. } in &sent {
        let (mut bytes, len) = (bytes.clone(), bytes.len());
        let (from, sink) = (world.client_at, &mut world.gateway_sink);
        let _ = world.gateway.open(SocketId(2408), from, &mut bytes, len, now, sink);
    }
    assert_eq!(world.gateway_sink.packets.len(), sent.len());
    assert!(world.gateway_sink.drops.is_empty());
}

#[test]
fn opening_sealing_and_control_may_happen_at_once() {
    let world = World::connected(1);
    let sent: Vec<Sent> = seal_many(world.client.transport.outbound.as_ref(), 0, world.now);
    let (gateway, peer, now, from) = (&world.gateway, world.peer, world.now, world.client_at);
    let halves: Vec<_> = sent.chunks(sent.len() / 2 + 1).collect();
    let opened: usize = std::thread::scope(|scope| {
        let openers: Vec<_> = halves
            .iter()
            .map(|half| {
                scope.spawn(move || {
                    let mut sink = common::world::GatewaySink::default();
                    for Sent { bytes, .. } in *half {
                        let (mut bytes, len) = (bytes.clone(), bytes.len());
                        let _ = gateway.open(SocketId(2408), from, &mut bytes, len, now, &mut sink);
                    }
                    sink.packets.len()
                })
            })
            .collect();
        scope.spawn(move || {
            for number in 0..200_u32 {
                let packet = packet(SERVER_INNER, CLIENT_INNER, &number.to_be_bytes());
                let run = Run::from_packet(&packet).unwrap();
                let mut out = Outbox::new();
                let Sealed::Done(..) = gateway.seal(peer, run, now, &mut out) else {
                    panic!("there is a session")
                };
                let _ = gateway.handle_control(now, &mut out);
                let _ = gateway.peer_stats(peer, now);
            }
        });
        openers.into_iter().map(|opener| opener.join().expect("a thread")).sum()
    });
    assert_eq!(opened, sent.len());
    assert_eq!(world.gateway.peer_stats(peer, now).unwrap().sent.packets, 200);
    assert_eq!(world.client.events.len(), 2, "it was connected all the time to {}", gateway_at(2408));
}
