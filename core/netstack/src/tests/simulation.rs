//! Two stacks back to back over links that are good, bad and worse.

use std::time::Duration;

use super::common::{Faults, Pair, Random, Transfer};
use crate::{CloseReason, FlowError, FlowEvent, FlowId, Received};

/// Sends `lengths` bytes each way and closes; what arrives is what was sent.
fn transfer(seed: u64, faults: Faults, family: usize, lengths: [usize; 2]) {
    let mut pair = Pair::new(seed, Faults::NONE);
    let ids = establish(&mut pair, family);
    transfer_between(seed, &mut pair, ids, faults, lengths);
}

/// The same between flows that are established.
pub(super) fn transfer_between(
    seed: u64,
    pair: &mut Pair,
    ids: [FlowId; 2],
    faults: Faults,
    lengths: [usize; 2],
) {
    pair.faults = faults;
    // transfers[side] is sent by that side.
    let mut transfers = lengths.map(|len| Transfer::new(&mut pair.random, len));
    for round in 0.. {
        assert!(round < 200_000, "seed {seed}: no end after {round} steps");
        for side in 0..2 {
            let (stack, id, now) = (&mut pair.stacks[side], ids[side], pair.now);
            transfers[side].send(stack, id, now).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            transfers[1 - side].receive(stack, id).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        if transfers.iter().all(|transfer| transfer.ended) {
            break;
        }
        assert!(pair.step(), "seed {seed}: stuck");
    }
    for transfer in &transfers {
        assert!(transfer.received == transfer.data, "seed {seed}: other bytes arrived");
    }
    while pair.step() {}
    for (side, id) in ids.into_iter().enumerate() {
        let events = pair.events(side);
        let closed = events.iter().find(|event| matches!(event, FlowEvent::Closed(..)));
        // Where the last acknowledgement is lost, the far side's TIME-WAIT may be over when the FIN comes again.
        let lossy = faults.lost > 0 && closed == Some(&FlowEvent::Closed(id, CloseReason::Reset));
        let orderly = closed == Some(&FlowEvent::Closed(id, CloseReason::Finished));
        assert!(orderly || lossy, "seed {seed}: {closed:?}");
    }
}

#[test]
fn bytes_arrive_whole_over_a_good_link() {
    for family in [0, 1] {
        transfer(1, Faults::NONE, family, [300_000, 500]);
        transfer(2, Faults::NONE, family, [0, 300_000]);
    }
}

#[test]
fn bytes_arrive_whole_over_links_that_lose_reorder_double_and_damage() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let faults = Faults {
            lost: random.below(80),
            doubled: random.below(50),
            damaged: random.below(20),
            delay: Duration::from_micros(random.below(60_000)),
            jitter: Duration::from_micros(random.below(20_000)),
        };
        let lengths = [0, 1].map(|_| random.below(100_000) as usize);
        transfer(seed, faults, seed as usize % 2, lengths);
    }
}

/// Steps until both sides are established.
fn establish(pair: &mut Pair, family: usize) -> [FlowId; 2] {
    let ids = pair.connect(family);
    for (side, id) in ids.into_iter().enumerate() {
        while !pair.events(side).contains(&FlowEvent::Established(id)) {
            assert!(pair.step(), "no connection");
        }
    }
    ids
}

#[test]
fn an_idle_connection_has_no_timer_and_sends_nothing() {
    let mut pair = Pair::new(3, Faults::NONE);
    let ids = establish(&mut pair, 0);
    while pair.step() {}
    // step() came to rest, so neither has a timer; an hour later a byte still passes.
    pair.now += Duration::from_secs(3600);
    let before = pair.packets.len();
    pair.collect();
    assert_eq!(pair.packets.len(), before);
    assert_eq!(pair.stacks[0].send(ids[0], b"x", pair.now), Ok(1));
    while pair.step() {}
    assert_eq!(pair.stacks[1].receive(ids[1], &mut [0; 8]), Ok(Received::Bytes(1)));
    // Even an end after an hour is an orderly one.
    pair.now += Duration::from_secs(3600);
    pair.stacks[0].close(ids[0], pair.now);
    while pair.step() {}
    assert_eq!(pair.stacks[1].receive(ids[1], &mut [0; 8]), Ok(Received::End));
}

#[test]
fn small_writes_go_out_at_once_and_are_acknowledged_at_once() {
    let mut pair = Pair::new(4, Faults::NONE);
    let ids = establish(&mut pair, 0);
    while pair.step() {}
    let (start, before) = (pair.now, pair.packets.len());
    for _ in 0..3 {
        assert_eq!(pair.stacks[0].send(ids[0], b"query", pair.now), Ok(5));
        pair.collect();
    }
    assert_eq!(pair.packets.len(), before + 3);
    while pair.step() {}
    // There and back, once: neither Nagle nor a delayed acknowledgement held anything.
    assert_eq!(pair.now - start, 2 * Faults::NONE.delay);
}

#[test]
fn a_full_buffer_pushes_back_until_the_reader_reads() {
    let mut pair = Pair::new(5, Faults::NONE);
    let ids = establish(&mut pair, 0);
    let bytes = vec![7; 1 << 20];
    let mut sent = 0;
    for _ in 0..2000 {
        sent += pair.stacks[0].send(ids[0], &bytes[sent..], pair.now).unwrap();
        pair.step();
    }
    let most = crate::SEND_BUFFER + crate::RECEIVE_BUFFER;
    assert!(sent > most / 2 && sent <= most, "{sent} bytes were taken");
    assert!(!pair.events(0).iter().any(|event| matches!(event, FlowEvent::Closed(..))));
    let mut transfer = Transfer { data: bytes, sent, received: Vec::new(), ended: false };
    while !transfer.ended {
        transfer.send(&mut pair.stacks[0], ids[0], pair.now).unwrap();
        transfer.receive(&mut pair.stacks[1], ids[1]).unwrap();
        assert!(pair.step() || transfer.ended);
    }
    assert!(transfer.received == transfer.data);
}

#[test]
fn silence_ends_a_connection_only_while_something_waits() {
    let mut pair = Pair::new(6, Faults::NONE);
    let ids = establish(&mut pair, 1);
    pair.faults.lost = 1000;
    let start = pair.now;
    pair.stacks[0].send(ids[0], b"anybody?", pair.now).unwrap();
    while pair.step() {}
    assert!(pair.events(0).contains(&FlowEvent::Closed(ids[0], CloseReason::TimedOut)));
    assert_eq!(pair.now - start, Duration::from_secs(100));
    assert_eq!(pair.stacks[0].send(ids[0], b"x", pair.now), Err(CloseReason::TimedOut));
    assert_eq!(pair.stacks[0].receive(ids[0], &mut [0; 8]), Err(CloseReason::TimedOut));
    assert!(!pair.events(1).iter().any(|event| matches!(event, FlowEvent::Closed(..))));
}

#[test]
fn a_connection_to_nobody_times_out() {
    let mut pair = Pair::new(7, Faults { lost: 1000, ..Faults::NONE });
    let start = pair.now;
    let id = pair.stacks[0].connect("192.0.2.53:443".parse().unwrap(), 61_000, start).unwrap();
    while pair.step() {}
    assert!(pair.events(0).contains(&FlowEvent::Closed(id, CloseReason::TimedOut)));
    assert_eq!(pair.now - start, Duration::from_secs(15));
    assert!(pair.packets.len() > 2, "it asked {} times", pair.packets.len());
}

#[test]
fn an_abort_resets_the_other_side_and_frees_the_port() {
    let mut pair = Pair::new(8, Faults::NONE);
    let ids = establish(&mut pair, 0);
    let remote = "192.0.2.53:443".parse().unwrap();
    assert_eq!(pair.stacks[0].connect(remote, 61_000, pair.now), Err(FlowError::PortInUse));
    pair.stacks[0].abort(ids[0], pair.now);
    pair.stacks[0].release(ids[0], pair.now);
    while pair.step() {}
    assert!(pair.events(1).contains(&FlowEvent::Closed(ids[1], CloseReason::Reset)));
    assert_eq!(pair.stacks[1].receive(ids[1], &mut [0; 8]), Err(CloseReason::Reset));
    assert!(pair.stacks[0].connect(remote, 61_000, pair.now).is_ok());
}

#[test]
fn a_released_connection_delivers_what_it_took_and_ends() {
    let mut pair = Pair::new(9, Faults { lost: 100, ..Faults::NONE });
    let ids = establish(&mut pair, 0);
    let bytes = vec![9; 20_000];
    assert_eq!(pair.stacks[0].send(ids[0], &bytes, pair.now), Ok(bytes.len()));
    pair.stacks[0].release(ids[0], pair.now);
    let mut transfer = Transfer { data: bytes, sent: usize::MAX, received: Vec::new(), ended: false };
    while !transfer.ended {
        assert!(pair.step());
        transfer.receive(&mut pair.stacks[1], ids[1]).unwrap();
    }
    assert!(transfer.received == transfer.data);
    pair.stacks[1].close(ids[1], pair.now);
    while pair.step() {}
    assert!(pair.events(0).contains(&FlowEvent::Closed(ids[0], CloseReason::Finished)));
}

#[test]
fn a_released_connection_resets_who_goes_on_sending() {
    let mut pair = Pair::new(10, Faults::NONE);
    let ids = establish(&mut pair, 0);
    pair.stacks[0].release(ids[0], pair.now);
    pair.stacks[1].send(ids[1], b"more", pair.now).unwrap();
    while pair.step() {}
    assert!(pair.events(1).contains(&FlowEvent::Closed(ids[1], CloseReason::Reset)));
}

#[test]
fn bytes_left_unread_survive_time_wait() {
    let mut pair = Pair::new(11, Faults::NONE);
    let ids = establish(&mut pair, 0);
    pair.stacks[0].close(ids[0], pair.now);
    pair.stacks[1].send(ids[1], b"the last word", pair.now).unwrap();
    pair.stacks[1].close(ids[1], pair.now);
    while pair.step() {}
    let mut room = [0; 32];
    assert_eq!(pair.stacks[0].receive(ids[0], &mut room), Ok(Received::Bytes(13)));
    assert_eq!(&room[..13], b"the last word");
    assert_eq!(pair.stacks[0].receive(ids[0], &mut room), Ok(Received::End));
}

#[test]
fn datagrams_pass_between_the_ports_that_were_bound() {
    for (family, here, there) in
        [(0, "172.16.0.2:61000", "192.0.2.53:53"), (1, "[2001:db8::2]:61000", "[2001:db8::53]:53")]
    {
        let mut pair = Pair::new(12, Faults::NONE);
        let one = pair.stacks[0].udp_bind(there.parse().unwrap(), 61_000).unwrap();
        let two = pair.stacks[1].udp_bind(here.parse().unwrap(), 53).unwrap();
        let other = pair.stacks[0].udp_bind(there.parse().unwrap(), 61_001).unwrap();
        assert_eq!(pair.stacks[0].udp_receive(one), None);
        pair.stacks[0].udp_send(one, b"question").unwrap();
        while pair.step() {}
        assert_eq!(pair.stacks[1].udp_receive(two).as_deref(), Some(&b"question"[..]));
        pair.stacks[1].udp_send(two, b"answer").unwrap();
        while pair.step() {}
        assert_eq!(pair.events(0), [FlowEvent::Readable(one)], "family {family}");
        assert_eq!(pair.stacks[0].udp_receive(one).as_deref(), Some(&b"answer"[..]));
        assert_eq!(pair.stacks[0].udp_receive(other), None);
        pair.stacks[0].release(one, pair.now);
        pair.stacks[1].udp_send(two, b"too late").unwrap();
        while pair.step() {}
        assert_eq!(pair.stacks[0].udp_receive(one), None);
        assert_eq!(pair.stacks[0].dropped(), 1);
    }
}

#[test]
fn what_cannot_be_sent_is_refused_by_name() {
    let mut pair = Pair::new(13, Faults::NONE);
    let stack = &mut pair.stacks[0];
    let flow = stack.udp_bind("192.0.2.53:53".parse().unwrap(), 61_000).unwrap();
    assert_eq!(stack.udp_send(flow, &[0; 1253]), Err(FlowError::TooLong { len: 1253, max: 1252 }));
    assert_eq!(stack.udp_bind("192.0.2.53:53".parse().unwrap(), 61_000), Err(FlowError::PortInUse));
    for remote in ["0.0.0.0:53", "224.0.0.1:53", "192.0.2.1:0", "[::]:53", "[ff02::1]:53"] {
        let refused = Err(FlowError::Unaddressable);
        assert_eq!(stack.udp_bind(remote.parse().unwrap(), 61_000), refused, "{remote}");
        assert_eq!(stack.connect(remote.parse().unwrap(), 61_000, pair.now), refused, "{remote}");
    }
    let only = ["172.16.0.2/32".parse().unwrap()];
    let mut stack = crate::Netstack::new(&only, 1280, 1, pair.now);
    let six = "[2001:db8::53]:53".parse().unwrap();
    assert_eq!(stack.udp_bind(six, 61_000), Err(FlowError::NoAddress));
}
