//! A link between two stacks that loses, delays, reorders and doubles packets, under simulated time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::{CloseReason, FlowEvent, FlowId, Netstack, Received};

/// A small generator (SplitMix64), so that a seed names a run.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Faults {
    /// Of 1000 packets.
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) damaged: u64,
    pub(crate) delay: Duration,
    /// Up to this much more, per packet: reorders.
    pub(crate) jitter: Duration,
}

impl Faults {
    pub(crate) const NONE: Self =
        Self { lost: 0, doubled: 0, damaged: 0, delay: Duration::from_millis(20), jitter: Duration::ZERO };
}

/// Two stacks and what is on its way between them.
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) stacks: [Netstack; 2],
    pub(crate) faults: Faults,
    pub(crate) random: Random,
    /// By arrival, then by a counter.
    wire: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    sent: u64,
    pub(crate) packets: Vec<(usize, Vec<u8>)>,
}

pub(crate) const ADDRESSES: [[&str; 2]; 2] =
    [["172.16.0.2/32", "2001:db8::2/128"], ["192.0.2.53/32", "2001:db8::53/128"]];

impl Pair {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        let now = Instant::now();
        let mut random = Random(seed);
        let stacks = [0, 1].map(|side: usize| {
            let addresses = ADDRESSES[side].map(|text| text.parse().unwrap());
            Netstack::new(&addresses, 1280, random.next(), now)
        });
        Self { now, stacks, faults, random, wire: BTreeMap::new(), sent: 0, packets: Vec::new() }
    }

    /// Takes what the stacks send and puts it on the link.
    pub(crate) fn collect(&mut self) {
        for side in 0..2 {
            let mut made = Vec::new();
            self.stacks[side].poll_packets(self.now, &mut |packet| made.push(packet.to_vec()));
            for packet in made {
                assert!(packet.len() <= 1280, "{} bytes", packet.len());
                self.packets.push((side, packet.clone()));
                self.put(1 - side, packet);
            }
        }
    }

    fn put(&mut self, to: usize, mut packet: Vec<u8>) {
        if self.random.below(1000) < self.faults.lost {
            return;
        }
        if self.random.below(1000) < self.faults.damaged {
            let at = self.random.below(packet.len() as u64) as usize;
            packet[at] ^= 1 << self.random.below(8);
        }
        let copies = if self.random.below(1000) < self.faults.doubled { 2 } else { 1 };
        for _ in 0..copies {
            let jitter = self.faults.jitter.as_micros() as u64;
            let late = Duration::from_micros(if jitter > 0 { self.random.below(jitter) } else { 0 });
            self.sent += 1;
            self.wire.insert((self.now + self.faults.delay + late, self.sent), (to, packet.clone()));
        }
    }

    /// Goes to the next moment at which something happens; false if nothing ever will.
    pub(crate) fn step(&mut self) -> bool {
        self.collect();
        let arrival = self.wire.keys().next().map(|(at, _)| *at);
        let timers = [0, 1].map(|side: usize| self.stacks[side].poll_timeout(self.now));
        let next = timers.into_iter().flatten().chain(arrival).min();
        let Some(next) = next else { return false };
        self.now = self.now.max(next);
        while let Some(entry) = self.wire.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (to, packet) = entry.remove();
            self.stacks[to].handle_packet(&packet, self.now);
        }
        self.collect();
        true
    }

    pub(crate) fn events(&mut self, side: usize) -> Vec<FlowEvent> {
        std::iter::from_fn(|| self.stacks[side].poll_event()).collect()
    }

    /// Connects both sides to each other at once (RFC 9293, section 3.5, simultaneous open).
    pub(crate) fn connect(&mut self, family: usize) -> [FlowId; 2] {
        let at = |side: usize, port| {
            let address = ADDRESSES[side][family].split('/').next().unwrap().parse().unwrap();
            SocketAddr::new(address, port)
        };
        let one = self.stacks[0].connect(at(1, 443), 61_000, self.now).unwrap();
        let two = self.stacks[1].connect(at(0, 61_000), 443, self.now).unwrap();
        [one, two]
    }
}

/// One direction of a transfer.
pub(crate) struct Transfer {
    pub(crate) data: Vec<u8>,
    pub(crate) sent: usize,
    pub(crate) received: Vec<u8>,
    pub(crate) ended: bool,
}

impl Transfer {
    pub(crate) fn new(random: &mut Random, len: usize) -> Self {
        let data = (0..len).map(|_| random.next() as u8).collect();
        Self { data, sent: 0, received: Vec::new(), ended: false }
    }

    /// Sends what the stack takes; closes after the last byte.
    pub(crate) fn send(&mut self, stack: &mut Netstack, id: FlowId, now: Instant) -> Result<(), CloseReason> {
        if self.sent > self.data.len() {
            return Ok(());
        }
        loop {
            let rest = &self.data[self.sent..];
            if rest.is_empty() {
                stack.close(id, now);
                self.sent += 1;
                return Ok(());
            }
            match stack.send(id, rest, now)? {
                0 => return Ok(()),
                taken => self.sent += taken,
            }
        }
    }

    pub(crate) fn receive(&mut self, stack: &mut Netstack, id: FlowId) -> Result<(), CloseReason> {
        let mut room = [0; 3000];
        loop {
            match stack.receive(id, &mut room)? {
                Received::Bytes(taken) => self.received.extend_from_slice(&room[..taken]),
                Received::Nothing => return Ok(()),
                Received::End => {
                    self.ended = true;
                    return Ok(());
                }
            }
        }
    }
}
