//! WireGuard's timers in simulated time: what happens when, and that nothing happens when nothing has to.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that slips here fails, as it should"
)]

mod common;

use common::world::{Link, World, client_config, gateway_at, peer_config};
use weft_tunnel::{LostReason, TransportEvent};

const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const DATA: u8 = 4;

/// Lengths of data messages that carry nothing.
const EMPTY: usize = 32;

fn keepalives(world: &World, by_gateway: bool) -> Vec<f64> {
    let of_side = world
        .wire
        .iter()
        .filter(|(_, gateway, kind, len)| (*gateway, *kind, *len) == (by_gateway, DATA, EMPTY));
    of_side.map(|(at, ..)| at.as_secs_f64()).collect()
}

fn assert_near(times: &[f64], expected: &[f64]) {
    let near = times.len() == expected.len()
        && times.iter().zip(expected).all(|(time, expected)| (time - expected).abs() < 0.05);
    assert!(near, "{times:?} instead of {expected:?}");
}

#[test]
fn a_connected_tunnel_that_nobody_uses_has_no_deadline() {
    let mut world = World::connected(1);
    world.run_secs(60);
    assert_eq!(world.client.deadline(), None);
    assert_eq!(world.gateway.poll_timeout(), None);
    let (sent, wakes) = (world.wire.len(), world.client_wakes + world.gateway_wakes);
    world.run_secs(3600);
    assert_eq!((world.wire.len(), world.client_wakes + world.gateway_wakes), (sent, wakes));
    assert!(world.lost().is_empty(), "silence after silence stays connected");
}

#[test]
fn traffic_both_ways_leaves_no_deadline_once_it_ends() {
    let mut world = World::connected(1);
    for _ in 0..50 {
        world.client_sends(b"question");
        world.run_ms(50);
        world.gateway_sends(b"answer");
        world.run_ms(50);
    }
    world.run_secs(40);
    assert_eq!((world.client.deadline(), world.gateway.poll_timeout()), (None, None));
    assert!(world.client_wakes <= 4, "{}", world.client_wakes);
    assert!(world.client.nudges <= 5, "{}", world.client.nudges);
}

#[test]
fn a_packet_after_an_hour_of_silence_makes_a_session_and_arrives() {
    let mut world = World::connected(1);
    world.run_secs(3600);
    assert!(world.client_sends(b"late"));
    world.run_ms(100);
    assert_eq!(world.gateway_sink.packets.len(), 1);
    assert_eq!(world.sent_at(false, INITIATION).len(), 2);
    assert!(world.lost().is_empty());
    assert_eq!(world.client.ups(), 1, "it never went down");
}

#[test]
fn data_without_an_answer_gets_a_keepalive_after_ten_seconds() {
    let mut world = World::connected(1);
    for _ in 0..40 {
        world.client_sends(b"one way");
        world.run_secs(1);
    }
    let first = world.wire.iter().find(|(_, _, kind, len)| *kind == DATA && *len > EMPTY).unwrap();
    let start = first.0.as_secs_f64() + 0.02;
    // The next packet after a keepalive starts the ten seconds again.
    assert_near(&keepalives(&world, true), &[start + 10.0, start + 21.0, start + 32.0]);
    assert_eq!(world.sent_at(false, INITIATION).len(), 1, "the far side was never silent");
}

#[test]
fn a_far_side_that_falls_silent_is_called_after_15_seconds_and_lost_after_30() {
    let mut world = World::connected(1);
    world.link = Link::DEAD;
    let start = world.elapsed().as_secs_f64();
    world.client_sends(b"anybody?");
    world.run_secs(14);
    assert_eq!(world.sent_at(false, INITIATION).len(), 1);
    world.run_secs(15);
    let calls = world.sent_at(false, INITIATION);
    assert_near(&calls[1..2], &[start + 15.0]);
    assert!(calls.windows(2).skip(1).all(|pair| (5.0..5.4).contains(&(pair[1] - pair[0]))), "{calls:?}");
    assert!(world.lost().is_empty());
    world.run_secs(2);
    assert_eq!(world.lost(), [&TransportEvent::Lost(LostReason::Silent)]);
    world.link = Link::GOOD;
    world.run_secs(6);
    assert_eq!(world.client.ups(), 2);
}

#[test]
fn initiations_are_repeated_for_ninety_seconds_and_again_when_there_is_something_to_send() {
    let mut world = World::new(1);
    world.link = Link::DEAD;
    world.start();
    assert!(world.client_sends(b"waits"));
    world.run_secs(14);
    assert!(world.lost().is_empty());
    world.run_secs(2);
    assert_eq!(world.lost(), [&TransportEvent::Lost(LostReason::Unreachable)]);
    world.run_secs(100);
    let calls = world.sent_at(false, INITIATION);
    assert!((17..=18).contains(&calls.len()), "{calls:?}");
    assert!(*calls.last().unwrap() < 90.0);
    assert!(calls.windows(2).all(|pair| (5.0..=5.333).contains(&(pair[1] - pair[0]))), "{calls:?}");
    assert!(calls.windows(2).any(|pair| pair[1] - pair[0] > 5.01), "there is jitter: {calls:?}");
    assert_eq!(world.client.deadline(), None, "it has given up");
    world.link = Link::GOOD;
    assert!(world.client_sends(b"again"));
    world.run_secs(1);
    assert_eq!(world.client.ups(), 1);
    let received: Vec<_> =
        world.gateway_sink.packets.iter().map(|(_, packet)| packet[20..].to_vec()).collect();
    assert_eq!(received, [b"again"], "what waited was given up too");
}

#[test]
fn the_initiator_renews_a_session_of_two_minutes_when_it_sends() {
    let mut world = World::connected(1);
    for _ in 0..500 {
        world.client_sends(b"question");
        world.run_ms(500);
        world.gateway_sends(b"answer");
        world.run_ms(500);
    }
    let calls = world.sent_at(false, INITIATION);
    assert_eq!(calls.len(), 5, "{calls:?}");
    assert!(calls.windows(2).all(|pair| (119.9..121.5).contains(&(pair[1] - pair[0]))), "{calls:?}");
    assert!(world.sent_at(true, INITIATION).is_empty(), "the responder leaves it to the initiator");
    assert_eq!(world.gateway_sink.packets.len(), 500);
    assert_eq!(world.client.sink.packets.len(), 500);
}

#[test]
fn the_initiator_renews_a_session_that_it_only_receives_by_before_it_ends() {
    let mut world = World::connected(1);
    for _ in 0..400 {
        world.gateway_sends(b"one way");
        world.run_secs(1);
    }
    // The keepalives that the client answers with count as sending.
    let calls = world.sent_at(false, INITIATION);
    assert_eq!(calls.len(), 4, "{calls:?}");
    assert!(calls.windows(2).all(|pair| (120.0..131.0).contains(&(pair[1] - pair[0]))), "{calls:?}");
    assert_eq!(world.client.sink.packets.len(), 400);
}

#[test]
fn a_silent_receiver_renews_at_165_seconds() {
    let mut world = World::connected(1);
    // Nothing comes or goes until the session is 165 seconds old; what comes then is reason enough.
    world.run_secs(164);
    world.gateway_sends(b"early");
    world.run_secs(2);
    assert_eq!(world.sent_at(false, INITIATION).len(), 1);
    world.gateway_sends(b"late");
    world.run_ms(200);
    assert_eq!(world.sent_at(false, INITIATION).len(), 2);
}

#[test]
fn the_gateway_calls_when_it_has_data_and_no_session() {
    let mut world = World::connected(1);
    world.run_secs(400);
    assert!(world.gateway_sends(b"hello"));
    world.run_ms(200);
    assert_eq!(world.sent_at(true, INITIATION).len(), 1);
    assert_eq!(world.client.sink.packets.len(), 1);
    assert!(world.client_sends(b"good day"));
    world.run_ms(200);
    assert_eq!(world.gateway_sink.packets.len(), 1);
    assert_eq!(world.sent_at(false, INITIATION).len(), 1, "their session serves us too");
}

#[test]
fn the_gateway_gives_up_on_a_peer_that_is_gone() {
    let mut world = World::connected(1);
    world.run_secs(400);
    world.link = Link::DEAD;
    world.gateway_sends(b"hello");
    world.run_secs(200);
    let calls = world.sent_at(true, INITIATION);
    assert!((17..=18).contains(&calls.len()), "{calls:?}");
    assert_eq!(world.gateway.poll_timeout(), None);
}

#[test]
fn persistent_keepalives_go_out_when_nothing_else_does() {
    let mut config = client_config();
    config.keepalive = Some(25);
    let mut world = World::with(1, config, peer_config(), 1000);
    world.start();
    world.run_secs(110);
    let start = keepalives(&world, false)[0];
    assert_near(
        &keepalives(&world, false),
        &[start, start + 25.0, start + 50.0, start + 75.0, start + 100.0],
    );
    for _ in 0..30 {
        world.client_sends(b"data");
        world.run_secs(1);
        world.gateway_sends(b"data");
        world.run_secs(1);
    }
    assert_eq!(keepalives(&world, false).len(), 5 + world.sent_at(false, INITIATION).len() - 1);
    world.link = Link::DEAD;
    world.run_secs(600);
    world.link = Link::GOOD;
    world.run_secs(60);
    assert!(
        matches!(world.client.events.last(), Some(TransportEvent::Up { .. })),
        "it calls again by itself"
    );
}

#[test]
fn the_port_that_works_is_found_soon_and_remembered() {
    let mut config = client_config();
    config.candidates = [2408, 500, 1701, 4500].map(gateway_at).to_vec();
    let mut world = World::with(1, config, peer_config(), 1000);
    world.open_ports = vec![1701];
    world.start();
    world.run_secs(3);
    assert_eq!(world.client.events.last(), Some(&TransportEvent::Up { endpoint: gateway_at(1701) }));
    assert_near(&world.sent_at(false, INITIATION), &[0.0, 1.0, 2.0]);
    world.run_secs(400);
    world.client_sends(b"later");
    world.run_ms(200);
    assert_eq!(world.gateway_sink.packets.len(), 1, "the first try went to the right port");
    assert_eq!(world.client.ups(), 1);
}

#[test]
fn candidates_do_not_hinder_a_far_side_that_takes_two_seconds_to_answer() {
    let mut config = client_config();
    config.candidates = [2408, 500, 1701, 4500].map(gateway_at).to_vec();
    let mut world = World::with(1, config, peer_config(), 1000);
    world.open_ports = vec![2408, 500, 1701, 4500];
    world.link.delay_ms = (1000, 1000);
    world.start();
    world.run_secs(8);
    assert!(world.client.ups() >= 1);
    world.client_sends(b"by satellite");
    world.run_secs(2);
    assert_eq!(world.gateway_sink.packets.len(), 1);
    world.gateway_sends(b"and back");
    world.run_secs(2);
    assert_eq!(world.client.sink.packets.len(), 1);
}

#[test]
fn a_search_that_begins_while_connected_tries_the_other_ports() {
    let mut config = client_config();
    config.candidates = [2408, 500].map(gateway_at).to_vec();
    let mut world = World::with(1, config, peer_config(), 1000);
    world.open_ports = vec![2408, 500];
    world.start();
    world.run_secs(1);
    world.open_ports = vec![500];
    for _ in 0..20 {
        world.client_sends(b"question");
        world.run_secs(1);
    }
    assert_eq!(world.client.events.last(), Some(&TransportEvent::Up { endpoint: gateway_at(500) }));
    assert!(world.lost().is_empty());
}

#[test]
fn senders_prove_their_address_when_there_are_too_many_handshakes() {
    let mut world = World::with(1, client_config(), peer_config(), 0);
    world.start();
    world.run_secs(4);
    assert_eq!((world.client.ups(), world.sent_at(true, 3).len()), (0, 1), "a cookie instead of a session");
    assert!(world.sent_at(true, RESPONSE).is_empty());
    world.run_secs(2);
    assert_eq!(world.client.ups(), 1);
    assert_eq!(world.sent_at(true, RESPONSE).len(), 1);
}
