//! Connections that the other side opens.

use std::net::SocketAddr;
use std::time::Duration;

use super::common::{Faults, Pair, Random};
use super::simulation::transfer_between;
use crate::{CloseReason, FlowError, FlowEvent, FlowId, MAX_BACKLOG, Received};

/// Sentinels, of which the first two are the second stack's own addresses and the others are not.
const SENTINELS: [&str; 4] = ["192.0.2.53:53", "[2001:db8::53]:53", "100.64.0.53:53", "[2001:db8::54]:53"];

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn serving(seed: u64, faults: Faults) -> Pair {
    let mut pair = Pair::new(seed, faults);
    for sentinel in SENTINELS {
        pair.stacks[1].listen(at(sentinel)).unwrap();
    }
    pair
}

/// Connects from the first stack, and gives the flow at either end.
fn connect(pair: &mut Pair, to: SocketAddr, port: u16) -> [FlowId; 2] {
    let one = pair.stacks[0].connect(to, port, pair.now).unwrap();
    let mut accepted = None;
    let mut established = false;
    while accepted.is_none() || !established {
        assert!(pair.step(), "no connection");
        established |= pair.events(0).contains(&FlowEvent::Established(one));
        for event in pair.events(1) {
            let FlowEvent::Accepted(two) = event else { panic!("{event:?} before it is accepted") };
            accepted = Some(two);
        }
    }
    let two = accepted.unwrap();
    let (local, remote) = pair.stacks[1].ends(two).unwrap();
    assert_eq!((local, remote.port()), (to, port));
    [one, two]
}

#[test]
fn bytes_arrive_whole_over_served_connections_of_every_kind_of_link() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let faults = Faults {
            lost: random.below(80),
            doubled: random.below(50),
            damaged: random.below(20),
            delay: Duration::from_micros(random.below(60_000)),
            jitter: Duration::from_micros(random.below(20_000)),
        };
        let mut pair = serving(seed, Faults { lost: 0, damaged: 0, ..faults });
        let ids = connect(&mut pair, at(SENTINELS[seed as usize % 4]), 61_000);
        let lengths = [0, 1].map(|_| random.below(100_000) as usize);
        transfer_between(seed, &mut pair, ids, faults, lengths);
    }
}

#[test]
fn handshakes_come_about_over_lossy_links_and_leave_nothing_behind() {
    for seed in 0..40 {
        let faults = Faults { lost: 200, doubled: 100, jitter: Duration::from_millis(30), ..Faults::NONE };
        let mut pair = serving(seed, faults);
        let mut open = Vec::new();
        let asked = (0..8).map(|number: u16| {
            let to = at(SENTINELS[usize::from(number) % 4]);
            pair.stacks[0].connect(to, 61_000 + number, pair.now).unwrap()
        });
        let asked: Vec<FlowId> = asked.collect();
        let mut ends = 0;
        while pair.step() {
            for event in pair.events(1) {
                match event {
                    FlowEvent::Accepted(flow) => open.push(flow),
                    FlowEvent::Closed(flow, _) => pair.stacks[1].release(flow, pair.now),
                    _ => {}
                }
            }
            for event in pair.events(0) {
                match event {
                    FlowEvent::Established(flow) => pair.stacks[0].release(flow, pair.now),
                    FlowEvent::Closed(..) => ends += 1,
                    _ => {}
                }
            }
            for flow in std::mem::take(&mut open) {
                pair.stacks[1].release(flow, pair.now);
            }
        }
        assert_eq!(ends, asked.len(), "seed {seed}");
        assert_eq!(pair.stacks[1].poll_timeout(pair.now), None, "seed {seed}");
        // All that there was is gone, so as many fit again.
        pair.faults = Faults::NONE;
        for number in 0..8 {
            connect(&mut pair, at(SENTINELS[0]), 62_000 + number);
        }
    }
}

#[test]
fn nobody_there_is_refused_at_once_and_elsewhere_is_silence() {
    let mut pair = serving(1, Faults::NONE);
    let start = pair.now;
    for refusing in ["192.0.2.53:54", "[2001:db8::54]:443", "100.64.0.53:80"] {
        let flow = pair.stacks[0].connect(at(refusing), 61_000, pair.now).unwrap();
        while pair.step() {}
        assert!(pair.events(0).contains(&FlowEvent::Closed(flow, CloseReason::Refused)), "{refusing}");
        pair.stacks[0].release(flow, pair.now);
        while pair.step() {}
    }
    assert_eq!(pair.now - start, 3 * 2 * Faults::NONE.delay);
    assert_eq!(pair.events(1), []);
    let before = pair.packets.len();
    pair.stacks[0].connect(at("100.64.0.54:53"), 61_000, pair.now).unwrap();
    while pair.step() {}
    assert!(pair.packets[before..].iter().all(|(from, _)| *from == 0), "an answer for a stranger");
}

/// A SYN out of a stack that hears nothing more of it.
fn syn(pair: &mut Pair, to: SocketAddr, port: u16) -> Vec<u8> {
    let before = pair.packets.len();
    let flow = pair.stacks[0].connect(to, port, pair.now).unwrap();
    pair.collect();
    let (_, packet) = pair.packets[before].clone();
    pair.stacks[0].abort(flow, pair.now);
    pair.stacks[0].release(flow, pair.now);
    pair.collect();
    packet
}

#[test]
fn who_begins_and_does_not_go_on_holds_room_for_a_while_alone() {
    // Nothing passes but by hand.
    let mut pair = serving(2, Faults { lost: 1000, ..Faults::NONE });
    let mut knocks = 0;
    let mut knock = |pair: &mut Pair| {
        knocks += 1;
        let packet = syn(pair, at(SENTINELS[0]), 60_000 + knocks);
        let dropped = pair.stacks[1].dropped();
        pair.stacks[1].handle_packet(&packet, pair.now);
        pair.collect();
        pair.stacks[1].dropped() == dropped
    };
    for _ in 0..MAX_BACKLOG {
        assert!(knock(&mut pair));
    }
    assert!(!knock(&mut pair), "there is no room for more");
    assert!(pair.packets.len() > MAX_BACKLOG, "they are answered");
    let start = pair.now;
    while pair.step() {}
    assert!(pair.now - start <= Duration::from_secs(16), "after {:?}", pair.now - start);
    assert_eq!(pair.events(1), [], "nobody knew of them");
    assert!(knock(&mut pair), "there is room again");
}

#[test]
fn a_reset_ends_what_has_begun() {
    let mut pair = serving(3, Faults { lost: 1000, ..Faults::NONE });
    for port in 0..3 * MAX_BACKLOG as u16 {
        let opening = syn(&mut pair, at(SENTINELS[1]), 60_000 + port);
        pair.stacks[1].handle_packet(&opening, pair.now);
        pair.collect();
        // The SYN again, as a reset after it.
        let mut reset = opening;
        reset.truncate(60);
        reset[5] = 20;
        reset[40 + 12] = 0x50;
        reset[40 + 13] = 0x04;
        let number = u32::from_be_bytes([reset[44], reset[45], reset[46], reset[47]]).wrapping_add(1);
        reset[44..48].copy_from_slice(&number.to_be_bytes());
        super::hostile::seal_v6(&mut reset);
        let dropped = pair.stacks[1].dropped();
        pair.stacks[1].handle_packet(&reset, pair.now);
        assert_eq!(pair.stacks[1].dropped(), dropped, "there was no room");
        pair.collect();
    }
    assert_eq!(pair.stacks[1].poll_timeout(pair.now), None);
    assert_eq!(pair.events(1), []);
}

#[test]
fn a_server_answers_and_an_idle_one_has_no_timer() {
    let mut pair = serving(4, Faults::NONE);
    assert_eq!(pair.stacks[1].poll_timeout(pair.now), None);
    let [one, two] = connect(&mut pair, at(SENTINELS[2]), 61_000);
    while pair.step() {}
    pair.now += Duration::from_secs(3600);
    pair.stacks[0].send(one, b"question", pair.now).unwrap();
    while pair.step() {}
    let mut room = [0; 32];
    assert_eq!(pair.stacks[1].receive(two, &mut room), Ok(Received::Bytes(8)));
    assert_eq!(pair.stacks[1].receive(two, &mut room), Ok(Received::Nothing));
    pair.stacks[1].send(two, b"answer", pair.now).unwrap();
    while pair.step() {}
    assert_eq!(pair.stacks[0].receive(one, &mut room), Ok(Received::Bytes(6)));
    pair.stacks[0].close(one, pair.now);
    while pair.step() {}
    assert_eq!(pair.events(1), [FlowEvent::Readable(two)]);
    assert_eq!(pair.stacks[1].receive(two, &mut room), Ok(Received::End));
}

#[test]
fn what_cannot_be_listened_on_is_refused_by_name() {
    let mut pair = serving(5, Faults::NONE);
    let stack = &mut pair.stacks[1];
    for unaddressable in ["0.0.0.0:53", "[::]:53", "224.0.0.1:53", "192.0.2.1:0"] {
        assert_eq!(stack.listen(at(unaddressable)), Err(FlowError::Unaddressable), "{unaddressable}");
    }
    assert_eq!(stack.listen(at(SENTINELS[0])), Err(FlowError::PortInUse));
    // Four addresses are there; four more fit.
    for last in 1..=4 {
        stack.listen(SocketAddr::new([10, 0, 0, last].into(), 53)).unwrap();
    }
    assert_eq!(stack.listen(at("10.0.0.5:53")), Err(FlowError::TooManyAddresses));
    assert_eq!(stack.listen(at("10.0.0.4:54")), Ok(()));
}
