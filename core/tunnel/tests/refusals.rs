//! Every reason for a drop, from what comes by the network and from what is to be sent.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that slips here fails, as it should"
)]

mod common;

use std::time::Duration;

use common::world::{CLIENT_INNER, Link, SERVER_INNER, World, gateway_at};
use common::{anchor, packet};
use proptest::prelude::*;
use weft_model::DropReason;
use weft_packet::{GsoKind, HEAD_ROOM, Offload, Run};
use weft_tunnel::SocketId;

/// A datagram that the gateway sent, but that did not arrive yet.
fn from_gateway(world: &mut World, packet: &[u8]) -> Vec<u8> {
    let mut out = weft_tunnel::Outbox::new();
    let run = Run::from_packet(packet).unwrap();
    let _ = world.gateway.seal(world.peer, run, world.now, &mut out);
    common::datagrams(&out).remove(0).bytes
}

fn plain() -> Vec<u8> {
    packet(SERVER_INNER, CLIENT_INNER, b"plain")
}

/// What one datagram does to the client.
fn outcome(world: &mut World, datagram: &[u8]) -> (usize, Vec<DropReason>) {
    world.client.sink.packets.clear();
    world.client.sink.drops.clear();
    let _ = world.client.receive(gateway_at(2408), datagram, world.now);
    (world.client.sink.packets.len(), world.client.sink.drops.clone())
}

#[test]
fn each_bad_datagram_has_its_reason() {
    let mut world = World::connected(1);
    let good = from_gateway(&mut world, &plain());
    let altered = |at: usize, by: u8| {
        let mut datagram = good.clone();
        datagram[at] ^= by;
        datagram
    };
    let mut last_counter = good.clone();
    last_counter[8..16].copy_from_slice(&(u64::MAX - (1 << 13)).to_le_bytes());
    let mut cookie = vec![0; 64];
    cookie[0] = 3;
    let mut response = vec![0; 92];
    response[0] = 2;
    let mut initiation = vec![0; 148];
    initiation[0] = 1;
    let cases = [
        ("empty", Vec::new(), DropReason::BadDatagram),
        ("short", good[..31].to_vec(), DropReason::BadDatagram),
        ("another type", altered(0, 1), DropReason::BadDatagram),
        ("a reserved byte", altered(2, 1), DropReason::BadDatagram),
        ("another index", altered(5, 1), DropReason::BadSeal),
        ("another counter", altered(8, 1), DropReason::BadSeal),
        ("a counter that is never sent", last_counter, DropReason::BadDatagram),
        ("another byte", altered(20, 1), DropReason::BadSeal),
        ("another tag", altered(good.len() - 1, 0x80), DropReason::BadSeal),
        ("cut", good[..good.len() - 1].to_vec(), DropReason::BadSeal),
        ("a cookie for nobody", cookie, DropReason::BadDatagram),
        ("a response to nothing", response, DropReason::BadDatagram),
        ("an initiation with a bad MAC", initiation, DropReason::BadDatagram),
    ];
    let mut total = 0;
    for (name, datagram, reason) in cases {
        let expected = if datagram.is_empty() { Vec::new() } else { vec![reason] };
        total += expected.len() as u64;
        assert_eq!(outcome(&mut world, &datagram), (0, expected), "{name}");
    }
    assert_eq!(outcome(&mut world, &good), (1, Vec::new()));
    assert_eq!(outcome(&mut world, &good), (0, vec![DropReason::Replay]));
    let counted = world.client.transport.control.stats(world.now).drops;
    assert_eq!(counted.iter().map(|(_, count)| count).sum::<u64>(), total + 1);
}

#[test]
fn what_a_peer_seals_must_be_its_own_packet() {
    let mut world = World::connected(1);
    let mut too_long = plain();
    too_long[3] += 100;
    let mut no_version = plain();
    no_version[0] = 0x25;
    let cases = [
        ("longer than itself", too_long, DropReason::Malformed),
        ("of no version", no_version, DropReason::Malformed),
        ("shorter than a header", vec![0x45; 12], DropReason::Malformed),
        ("from ourselves", packet(CLIENT_INNER, CLIENT_INNER, b""), DropReason::SpoofedSource),
    ];
    for (name, packet, reason) in cases {
        let datagram = from_gateway(&mut world, &packet);
        assert_eq!(outcome(&mut world, &datagram), (0, vec![reason]), "{name}");
    }
    world
        .client
        .send(&packet([10, 9, 9, 9], SERVER_INNER, b"another device's"), world.now)
        .0
        .iter()
        .for_each(|sent| {
            let (mut bytes, len) = (sent.bytes.clone(), sent.bytes.len());
            let from = world.client_at;
            let sink = &mut world.gateway_sink;
            let _ = world.gateway.open(SocketId(2408), from, &mut bytes, len, world.now, sink);
        });
    assert_eq!(world.gateway_sink.drops, [DropReason::SpoofedSource]);
}

#[test]
fn an_expired_session_neither_seals_nor_opens() {
    let mut world = World::connected(1);
    let early = from_gateway(&mut world, &plain());
    world.link = Link::DEAD;
    world.now += Duration::from_secs(179);
    let late = from_gateway(&mut world, &plain());
    assert_eq!(outcome(&mut world, &early).0, 1);
    world.now += Duration::from_secs(1);
    assert_eq!(outcome(&mut world, &late), (0, vec![DropReason::BadSeal]));
    let sent = world.wire.len();
    assert!(world.client_sends(b"waits for a session"));
    assert_eq!(world.wire.len(), sent, "nothing goes out under old keys");
}

#[test]
fn what_waits_is_bounded_by_count_and_by_size() {
    for (len, fits) in [(0, 64), (1200, 64), (60_000, 4)] {
        let mut config = common::world::client_config();
        config.mtu = 65_000;
        let mut client = common::TestClient::new(config, anchor(), 1);
        let now = anchor().instant;
        client.start(now);
        let taken = (0..80)
            .filter(|_| client.send(&packet(CLIENT_INNER, SERVER_INNER, &vec![0; len]), now).1)
            .count();
        assert_eq!(taken, fits, "{len}");
        assert_eq!(client.sink.drops, vec![DropReason::NoSession; 80 - fits]);
    }
}

#[test]
fn a_run_that_cannot_be_sent_leaves_nothing_in_the_outbox() {
    let mut world = World::connected(1);
    let too_big = packet(CLIENT_INNER, SERVER_INNER, &[0; 1261]);
    assert_eq!(world.client.send(&too_big, world.now), (Vec::new(), false));
    // It claims to be of IPv6 and is not.
    let bytes = packet(CLIENT_INNER, SERVER_INNER, &[0; 400]);
    let mut buffer = vec![0; Run::buffer_len(bytes.len())].into_boxed_slice();
    buffer[HEAD_ROOM..HEAD_ROOM + bytes.len()].copy_from_slice(&bytes);
    let offload = Offload { kind: GsoKind::TcpV6, gso_size: 100, header_len: 60, checksum: None };
    let run = Run::new(buffer, bytes.len(), offload).unwrap();
    assert_eq!(world.client.send_run(run, world.now), (Vec::new(), false));
    assert_eq!(world.client.sink.drops, [DropReason::TooBig, DropReason::Malformed]);
    let (sent, taken) = world.client.send(&packet(CLIENT_INNER, SERVER_INNER, b"fine"), world.now);
    assert_eq!((sent.len(), taken), (1, true));
}

#[test]
fn a_flood_of_initiations_fills_a_queue_and_nothing_else() {
    let mut world = World::new(1);
    let initiation = world.client.start(world.now).remove(0);
    let mut sink = common::world::GatewaySink::default();
    for _ in 0..5000 {
        let (mut bytes, len) = (initiation.bytes.clone(), initiation.bytes.len());
        let _ = world.gateway.open(SocketId(2408), world.client_at, &mut bytes, len, world.now, &mut sink);
    }
    assert_eq!(sink.drops, vec![DropReason::QueueFull; 5000 - 4096]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn arbitrary_bytes_pass_nothing_and_change_nothing(
        mut bytes in prop::collection::vec(any::<u8>(), 1..400),
        kind in 0_u8..6,
        stride in 1_usize..500,
    ) {
        let mut world = World::connected(1);
        if bytes.len() >= 4 {
            bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        }
        let sent = world.client.receive_on(SocketId(1), gateway_at(2408), &bytes, stride, world.now);
        prop_assert!(sent.is_empty() && world.client.sink.packets.is_empty());
        let from = world.client_at;
        let sink = &mut world.gateway_sink;
        let _ = world.gateway.open(SocketId(2408), from, &mut bytes, stride, world.now, sink);
        prop_assert!(world.gateway_sink.packets.is_empty());
        prop_assert!(world.client_sends(b"still there"));
        world.run_ms(100);
        prop_assert_eq!(world.gateway_sink.packets.len(), 1);
    }
}
