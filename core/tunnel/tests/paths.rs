//! Sockets, networks that change, and far sides that move.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that slips here fails, as it should"
)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::world::{Link, World, client_config, gateway_at, peer_config};
use common::{TestClient, anchor, packet};
use weft_model::DropReason;
use weft_tunnel::wireguard::AddPeerError;
use weft_tunnel::{Anchor, LostReason, SocketError, SocketId, SocketRequest, TransportEvent};

fn up(port: u16) -> TransportEvent {
    TransportEvent::Up { endpoint: gateway_at(port) }
}

#[test]
fn the_gateway_follows_a_client_whose_address_changes() {
    let mut world = World::connected(1);
    world.client_at = SocketAddr::from(([198, 51, 100, 8], 50_000));
    world.client_sends(b"from elsewhere");
    world.run_ms(100);
    let stats = world.gateway.peer_stats(world.peer, world.now).unwrap();
    assert_eq!(stats.endpoint, Some(world.client_at));
    world.gateway_sends(b"to elsewhere");
    world.run_ms(100);
    assert_eq!(world.client.sink.packets.len(), 1);
    assert_eq!(world.sent_at(false, 1).len(), 1, "no handshake is needed for that");
}

#[test]
fn a_copied_datagram_from_elsewhere_moves_nobody() {
    let mut world = World::connected(1);
    let (sent, _) = world.client.send(&packet([172, 16, 0, 2], [10, 0, 0, 1], b"copy me"), world.now);
    let copy = sent[0].bytes.clone();
    world.client_sent(sent);
    world.run_ms(100);
    let before = world.gateway.peer_stats(world.peer, world.now).unwrap().endpoint;
    let elsewhere = SocketAddr::from(([192, 0, 2, 66], 6));
    for byte in [None, Some(20), Some(9)] {
        let mut copy = copy.clone();
        if let Some(at) = byte {
            copy[at] ^= 1;
        }
        let len = copy.len();
        let _ =
            world.gateway.open(SocketId(500), elsewhere, &mut copy, len, world.now, &mut world.gateway_sink);
    }
    assert_eq!(world.gateway_sink.drops, [DropReason::Replay, DropReason::Replay, DropReason::BadSeal]);
    assert_eq!(world.gateway.peer_stats(world.peer, world.now).unwrap().endpoint, before);
}

#[test]
fn the_gateway_answers_by_the_socket_that_the_client_reached() {
    let mut config = client_config();
    config.candidates = vec![gateway_at(4500)];
    let mut world = World::with(1, config, peer_config(), 1000);
    world.open_ports = vec![4500];
    world.start();
    world.run_ms(200);
    world.gateway_sends(b"hello");
    world.run_ms(200);
    assert_eq!(world.client.sink.packets.len(), 1);
    assert_eq!(
        world.client.events.last(),
        Some(&up(4500)),
        "an answer from another port would have moved it"
    );
}

#[test]
fn the_client_follows_a_gateway_that_moves_and_says_so() {
    let mut world = World::connected(1);
    world.open_ports = vec![9999];
    let moved = gateway_at(9999);
    // The gateway's own packets from its new port.
    let (sent, _) = world.client.send(&packet([172, 16, 0, 2], [10, 0, 0, 1], b"lost"), world.now);
    let mut bytes = sent[0].bytes.clone();
    let (len, client_at) = (bytes.len(), world.client_at);
    let sink = &mut world.gateway_sink;
    let _ = world.gateway.open(SocketId(9999), client_at, &mut bytes, len, world.now, sink);
    world.gateway_sends(b"from the new port");
    world.run_ms(100);
    assert_eq!(world.client.events.last(), Some(&TransportEvent::Up { endpoint: moved }));
    world.client_sends(b"to the new port");
    world.run_ms(100);
    assert_eq!(world.gateway_sink.packets.len(), 2);
}

#[test]
fn a_network_change_binds_anew_and_proves_the_far_side_at_once() {
    let mut world = World::connected(1);
    let before = world.client.events.len();
    world.run_secs(2);
    world.client_at = SocketAddr::from(([198, 51, 100, 99], 1));
    world.change_network();
    assert_eq!(
        world.client.events[before..],
        [
            TransportEvent::Close(SocketId(1)),
            TransportEvent::Open(SocketId(2), SocketRequest::Udp { remote: gateway_at(2408) })
        ]
    );
    world.client_sends(b"goes out before the handshake is answered");
    world.run_ms(30);
    assert_eq!(world.gateway_sink.packets.len(), 1);
    world.run_ms(100);
    assert_eq!(world.client.events.last(), Some(&up(2408)));
    assert_eq!(world.sent_at(false, 1).len(), 2);
    world.link = Link::DEAD;
    world.change_network();
    world.run_secs(14);
    assert!(world.lost().is_empty());
    world.run_secs(2);
    assert_eq!(world.lost(), [&TransportEvent::Lost(LostReason::Silent)]);
}

#[test]
fn sockets_are_asked_for_by_family_and_the_other_ones_is_closed() {
    let v6: SocketAddr = "[2001:db8::10]:2408".parse().unwrap();
    let mut config = client_config();
    config.candidates = vec![v6, gateway_at(2408)];
    let mut world = World::with(1, config, peer_config(), 1000);
    world.start();
    world.run_secs(2);
    assert_eq!(
        world.client.events,
        [
            TransportEvent::Open(SocketId(1), SocketRequest::Udp { remote: v6 }),
            TransportEvent::Open(SocketId(2), SocketRequest::Udp { remote: gateway_at(2408) }),
            TransportEvent::Close(SocketId(1)),
            up(2408)
        ]
    );
}

#[test]
fn a_family_without_a_socket_is_passed_over_at_once() {
    let v6: SocketAddr = "[2001:db8::10]:2408".parse().unwrap();
    let mut config = client_config();
    config.candidates = vec![v6, gateway_at(2408)];
    let anchor = anchor();
    let now = anchor.instant;
    let mut client = TestClient::new(config, anchor, 1);
    let control = &mut client.transport.control;
    control.start(now);
    assert!(matches!(control.poll_event(), Some(TransportEvent::Open(SocketId(1), _))));
    control.handle_socket(SocketId(1), Err(SocketError::System("no IPv6".to_owned())), now);
    let sent = client.settle(now);
    assert_eq!(sent.iter().map(|sent| sent.to).collect::<Vec<_>>(), [gateway_at(2408)]);
}

#[test]
fn without_any_socket_the_reason_is_told_and_the_search_does_not_spin() {
    let anchor = anchor();
    let mut world = World::with(1, client_config(), peer_config(), 1000);
    world.client.refuse_sockets = true;
    world.start();
    world.run_secs(80);
    let error = SocketError::System("no network".to_owned());
    assert_eq!(world.lost(), [&TransportEvent::Lost(LostReason::Socket(error))]);
    let asked = world.client.events.iter().filter(|event| matches!(event, TransportEvent::Open(..))).count();
    assert!((10..=20).contains(&asked), "{asked}");
    world.client.refuse_sockets = false;
    world.change_network();
    world.run_secs(1);
    assert_eq!(world.client.events.last(), Some(&up(2408)));
    assert!(world.now > anchor.instant);
}

/// The gateway takes 50 initiations a second of one peer, each with a later date than the one before.
#[test]
fn a_tunnel_made_anew_is_up_at_once_however_soon_it_comes() {
    let config = client_config();
    let mut world = World::with(1, config.clone(), peer_config(), 1000);
    world.link = Link { delay_ms: (1, 1), ..Link::GOOD };
    world.start();
    for (round, pause) in [3, 4, 5, 10, 15, 19, 25, 39].into_iter().enumerate() {
        world.run_ms(pause);
        let unix = Duration::from_secs(1_750_000_000) + world.elapsed();
        world.client = TestClient::new(config.clone(), Anchor { instant: world.now, unix }, 2 + round as u64);
        world.start();
        world.run_ms(45);
        assert_eq!(world.client.ups(), 1, "{pause} ms after the one before");
    }
}

#[test]
fn a_socket_that_dies_is_replaced() {
    let mut world = World::connected(1);
    let error = Err(SocketError::System("gone".to_owned()));
    world.client.transport.control.handle_socket(SocketId(1), error, world.now);
    let sent = world.client.settle(world.now);
    world.client_sent(sent);
    world.client_sends(b"by the new socket");
    world.run_ms(100);
    assert_eq!(world.gateway_sink.packets.len(), 1);
    assert!(world.lost().is_empty());
}

#[test]
fn a_removed_peer_is_gone_at_once() {
    let mut world = World::connected(1);
    let (sent, _) = world.client.send(&packet([172, 16, 0, 2], [10, 0, 0, 1], b"too late"), world.now);
    assert!(world.gateway.remove_peer(world.peer));
    assert!(!world.gateway.remove_peer(world.peer));
    world.client_sent(sent);
    world.run_ms(100);
    assert_eq!(world.gateway_sink.packets.len(), 0);
    assert_eq!(world.gateway_sink.drops, [DropReason::BadSeal]);
    assert!(!world.gateway_sends(b"nobody there"));
    assert_eq!(world.gateway.peer_stats(world.peer, world.now), None);
    world.run_secs(100);
    assert_eq!(world.gateway.poll_timeout(), None);
    assert!(world.sent_at(true, 2).len() == 1, "its initiations are not answered");
    let again = world.gateway.add_peer(&peer_config()).unwrap();
    assert_ne!(again, world.peer);
}

#[test]
fn a_peer_is_added_once_and_needs_a_key_that_makes_secrets() {
    let world = World::new(1);
    assert_eq!(world.gateway.add_peer(&peer_config()), Err(AddPeerError::Exists));
    let mut config = peer_config();
    config.public_key = [0; 32].into();
    assert_eq!(world.gateway.add_peer(&config), Err(AddPeerError::UnusableKey));
    config.public_key = common::key(common::world::GATEWAY_KEY).public();
    assert_eq!(world.gateway.add_peer(&config), Err(AddPeerError::UnusableKey));
}

#[test]
fn an_initiation_is_taken_once_even_after_a_restart() {
    let mut world = World::new(1);
    let first = world.client.start(world.now);
    let copy = first[0].bytes.clone();
    world.client_sent(first);
    world.run_ms(200);
    let kept = world.gateway.last_timestamp(world.peer);
    assert!(kept.is_some());
    let mut config = peer_config();
    config.last_timestamp = kept;
    world.gateway.remove_peer(world.peer);
    world.peer = world.gateway.add_peer(&config).unwrap();
    let mut out = weft_tunnel::Outbox::new();
    let (len, mut bytes) = (copy.len(), copy);
    let from = world.client_at;
    let _ = world.gateway.open(SocketId(2408), from, &mut bytes, len, world.now, &mut world.gateway_sink);
    let _ = world.gateway.handle_control(world.now, &mut out);
    assert!(out.is_empty());
    assert_eq!(world.gateway.drops(), [(DropReason::Replay, 1)]);
}

#[test]
fn an_answer_by_a_socket_of_the_network_before_proves_nothing() {
    let mut world = World::connected(1);
    world.run_secs(2);
    world.change_network();
    world.run_ms(30);
    let ups = world.client.ups();
    // The answer comes while the next initiation waits for its time.
    world.change_network();
    world.run_ms(15);
    assert_eq!(world.client.ups(), ups);
    world.run_ms(100);
    assert_eq!((world.sent_at(false, 1).len(), world.client.ups()), (3, ups + 1));
}
