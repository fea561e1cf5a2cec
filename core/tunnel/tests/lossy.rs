//! Client and gateway over links that lose, double, delay and reorder: what arrives is what was sent, once, and the
//! tunnel holds.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that slips here fails, as it should"
)]

mod common;

use std::collections::HashSet;

use common::world::{Link, World, client_config, gateway_at, peer_config};
use weft_model::DropReason;
use weft_tunnel::TransportEvent;

/// Two minutes and more of traffic at random times; the world afterwards.
fn talk(seed: u64, link: Link) -> World {
    let mut config = client_config();
    config.candidates = [2408, 500].map(gateway_at).to_vec();
    let mut world = World::with(seed, config, peer_config(), 1000);
    world.open_ports = vec![2408, 500];
    world.link = link;
    world.start();
    let mut pause = seed;
    for number in 0_u32..2000 {
        pause = pause.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        world.run_ms(pause >> 56);
        if pause & 1 == 0 {
            world.client_sends(&number.to_be_bytes());
        } else {
            world.gateway_sends(&number.to_be_bytes());
        }
    }
    world.run_secs(10);
    world
}

fn numbers<'a>(packets: impl Iterator<Item = &'a Vec<u8>>) -> Vec<u32> {
    packets.map(|packet| u32::from_be_bytes(packet[20..24].try_into().unwrap())).collect()
}

#[test]
fn nothing_arrives_twice_and_losses_do_not_end_the_tunnel() {
    let links = [
        Link { loss: 0, doubled: 50, delay_ms: (1, 300) },
        Link { loss: 10, doubled: 10, delay_ms: (5, 100) },
        Link { loss: 30, doubled: 5, delay_ms: (50, 400) },
    ];
    for (seed, link) in (0..12).flat_map(|seed| links.map(|link| (seed, link))) {
        let world = talk(seed, link);
        let ways = [
            numbers(world.gateway_sink.packets.iter().map(|(_, packet)| packet)),
            numbers(world.client.sink.packets.iter()),
        ];
        for arrived in ways {
            let distinct: HashSet<_> = arrived.iter().collect();
            assert_eq!(distinct.len(), arrived.len(), "seed {seed}: something came twice");
            let least = 1000 * (95 - 2 * link.loss as usize) / 100 - 50;
            assert!(arrived.len() >= least, "seed {seed}: {} of about 1000 arrived", arrived.len());
        }
        let last = world
            .client
            .events
            .iter()
            .rev()
            .find(|event| matches!(event, TransportEvent::Up { .. } | TransportEvent::Lost(_)));
        assert!(matches!(last, Some(TransportEvent::Up { .. })), "seed {seed}: {last:?}");
        let reasons = world.gateway_sink.drops.iter().chain(&world.client.sink.drops);
        for reason in reasons {
            // An answer to an initiation that another one has overtaken is an answer to nothing.
            let expected = [DropReason::Replay, DropReason::BadSeal, DropReason::BadDatagram];
            assert!(expected.contains(reason), "seed {seed}: {reason:?}");
        }
    }
}

#[test]
fn a_link_that_only_reorders_loses_nothing() {
    for seed in 0..12 {
        let world = talk(seed, Link { loss: 0, doubled: 0, delay_ms: (1, 250) });
        let arrived = world.gateway_sink.packets.len() + world.client.sink.packets.len();
        let waited_for_the_gateway = world.client.transport.control.stats(world.now).drops;
        // The gateway drops what it has before it knows where the client is.
        assert!(arrived >= 1995, "seed {seed}: {arrived}, {waited_for_the_gateway:?}");
    }
}

#[test]
fn outages_end_without_help() {
    for seed in 0..8 {
        let mut world = World::connected(seed);
        for outage in [3, 20, 50, 120, 400] {
            world.link = Link::DEAD;
            for _ in 0..outage {
                world.client_sends(b"while it is dead");
                world.run_secs(1);
            }
            world.link = Link { loss: 5, doubled: 5, delay_ms: (5, 50) };
            for _ in 0..12 {
                world.client_sends(b"afterwards");
                world.run_secs(1);
            }
            world.gateway_sink.packets.clear();
            for _ in 0..10 {
                world.client_sends(b"after that");
            }
            world.run_ms(100);
            let arrived = world.gateway_sink.packets.len();
            assert!(arrived >= 6, "seed {seed}, after {outage} s: {arrived} of 10");
        }
    }
}
