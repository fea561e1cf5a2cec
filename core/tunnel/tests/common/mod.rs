//! What the tests of the tunnel share: chance from a seed, packets, and a client with its sockets.
#![allow(dead_code, reason = "each test file uses its own part of this")]
#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test that slips here fails, as it should"
)]

pub(crate) mod world;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weft_model::{DropReason, PrivateKey};
use weft_packet::Run;
use weft_tunnel::wireguard::{Client, ClientConfig};
use weft_tunnel::{
    Anchor, Entropy, Nudge, Outbox, PacketSink, Received, Sealed, SocketError, SocketId, Transport,
    TransportEvent,
};

/// Chance that a seed decides (splitmix64).
#[derive(Clone)]
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

pub(crate) fn key(seed: u8) -> PrivateKey {
    PrivateKey::from([seed; 32])
}

pub(crate) fn anchor() -> Anchor {
    Anchor { instant: Instant::now(), unix: Duration::from_secs(1_750_000_000) }
}

/// An IPv4 packet (protocol 253, for experiments) with `payload` as its payload.
pub(crate) fn packet(source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).expect("a short payload");
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 253, 0, 0];
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet.extend(source);
    packet.extend(destination);
    packet.extend(payload);
    packet
}

/// Keeps the packets and the drops that a transport hands out.
#[derive(Default)]
pub(crate) struct Sink {
    pub(crate) packets: Vec<Vec<u8>>,
    pub(crate) drops: Vec<DropReason>,
}

impl PacketSink for Sink {
    fn packet(&mut self, packet: &mut [u8]) {
        self.packets.push(packet.to_vec());
    }

    fn dropped(&mut self, reason: DropReason) {
        self.drops.push(reason);
    }
}

/// A datagram on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) socket: SocketId,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// The datagrams of an outbox, one by one.
pub(crate) fn datagrams(out: &Outbox) -> Vec<Sent> {
    let mut sent = Vec::new();
    for transmit in out.transmits() {
        let (Some(socket), Some(to)) = (transmit.socket, transmit.destination) else { continue };
        for bytes in transmit.contents().chunks(transmit.segment) {
            sent.push(Sent { socket, to, bytes: bytes.to_vec() });
        }
    }
    sent
}

/// A client whose sockets are always given at once, unless told otherwise.
pub(crate) struct TestClient {
    pub(crate) transport: Transport,
    pub(crate) events: Vec<TransportEvent>,
    pub(crate) sink: Sink,
    pub(crate) sockets: Vec<SocketId>,
    /// Refuse every socket.
    pub(crate) refuse_sockets: bool,
    pub(crate) nudges: usize,
    outbox: Outbox,
    deadline: Option<Instant>,
}

impl TestClient {
    pub(crate) fn new(config: ClientConfig, anchor: Anchor, seed: u64) -> Self {
        Self {
            transport: Client::transport(config, anchor, Box::new(Seeded(seed))),
            events: Vec::new(),
            sink: Sink::default(),
            sockets: Vec::new(),
            refuse_sockets: false,
            nudges: 0,
            outbox: Outbox::new(),
            deadline: None,
        }
    }

    pub(crate) fn start(&mut self, now: Instant) -> Vec<Sent> {
        self.transport.control.start(now);
        self.settle(now)
    }

    /// Takes events and what is to be sent, until there is no more.
    pub(crate) fn settle(&mut self, now: Instant) -> Vec<Sent> {
        while let Some(event) = self.transport.control.poll_event() {
            match &event {
                TransportEvent::Open(socket, _) => {
                    let state = if self.refuse_sockets {
                        Err(SocketError::System("no network".to_owned()))
                    } else {
                        self.sockets.push(*socket);
                        Ok(SocketAddr::from(([192, 0, 2, 1], 1000)))
                    };
                    self.transport.control.handle_socket(*socket, state, now);
                }
                TransportEvent::Close(socket) => self.sockets.retain(|open| open != socket),
                _ => {}
            }
            self.events.push(event);
        }
        self.outbox.clear();
        self.transport.control.poll_transmit(now, &mut self.outbox);
        self.deadline = self.transport.control.poll_timeout().map(|deadline| deadline.at);
        datagrams(&self.outbox)
    }

    fn nudged(&mut self, nudge: Nudge, now: Instant) -> Vec<Sent> {
        if nudge == Nudge::None {
            return Vec::new();
        }
        self.nudges += 1;
        self.transport.control.handle_nudge(now);
        self.settle(now)
    }

    /// Sends a packet; gives every datagram that goes out, and whether the packet was taken.
    pub(crate) fn send(&mut self, packet: &[u8], now: Instant) -> (Vec<Sent>, bool) {
        self.send_run(Run::from_packet(packet).expect("a short packet"), now)
    }

    pub(crate) fn send_run(&mut self, run: Run, now: Instant) -> (Vec<Sent>, bool) {
        let mut out = Outbox::new();
        let (nudge, taken) = match self.transport.outbound.seal(run, now, &mut out) {
            Sealed::Done(_, nudge) | Sealed::Held(nudge) => (nudge, true),
            Sealed::Dropped(_, reason, nudge) => {
                self.sink.drops.push(reason);
                (nudge, false)
            }
            Sealed::Blocked(_) => panic!("WireGuard is no stream"),
        };
        let mut sent = datagrams(&out);
        sent.extend(self.nudged(nudge, now));
        (sent, taken)
    }

    pub(crate) fn receive(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) -> Vec<Sent> {
        let socket = self.sockets.last().copied().unwrap_or(SocketId(0));
        self.receive_on(socket, from, bytes, bytes.len().max(1), now)
    }

    pub(crate) fn receive_on(
        &mut self,
        socket: SocketId,
        from: SocketAddr,
        bytes: &[u8],
        stride: usize,
        now: Instant,
    ) -> Vec<Sent> {
        let mut data = bytes.to_vec();
        let received = Received::Datagrams { socket, from, data: &mut data, stride };
        let opened = self.transport.inbound.open(received, now, &mut self.sink);
        self.nudged(opened.nudge, now)
    }

    pub(crate) fn timeout(&mut self, now: Instant) -> Vec<Sent> {
        self.transport.control.handle_timeout(now);
        self.settle(now)
    }

    /// What the control sleeps to: asked for after each of its calls, as a runtime does.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn ups(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, TransportEvent::Up { .. })).count()
    }
}
