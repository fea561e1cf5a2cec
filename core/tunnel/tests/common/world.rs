//! A client and a gateway in simulated time, over a link that loses, doubles, delays and reorders by a seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use weft_model::DropReason;
use weft_packet::Run;
use weft_tunnel::wireguard::{ClientConfig, Dates, PeerConfig, PeerId, PeerSink, Responder, ResponderConfig};
use weft_tunnel::{Anchor, Nudge, Outbox, Sealed, SocketId, TransportEvent};

use super::{Seeded, Sent, TestClient, anchor, datagrams, key, packet};

pub(crate) const CLIENT_KEY: u8 = 1;
pub(crate) const GATEWAY_KEY: u8 = 2;
pub(crate) const CLIENT_INNER: [u8; 4] = [172, 16, 0, 2];
pub(crate) const SERVER_INNER: [u8; 4] = [10, 0, 0, 1];

pub(crate) fn gateway_at(port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 10], port))
}

pub(crate) fn client_config() -> ClientConfig {
    ClientConfig {
        private_key: key(CLIENT_KEY),
        public_key: key(GATEWAY_KEY).public(),
        preshared_key: None,
        candidates: vec![gateway_at(2408)],
        keepalive: None,
        allowed_ips: Vec::new(),
        own_addresses: vec![IpNet::from(std::net::IpAddr::from(CLIENT_INNER))],
        mtu: 1280,
        dates: Dates::default(),
    }
}

pub(crate) fn peer_config() -> PeerConfig {
    PeerConfig {
        public_key: key(CLIENT_KEY).public(),
        preshared_key: None,
        allowed_ips: vec![IpNet::from(std::net::IpAddr::from(CLIENT_INNER))],
        endpoint: None,
        keepalive: None,
        last_timestamp: None,
    }
}

/// What a link does to datagrams. Percentages.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    pub(crate) loss: u64,
    pub(crate) doubled: u64,
    pub(crate) delay_ms: (u64, u64),
}

impl Link {
    pub(crate) const GOOD: Self = Self { loss: 0, doubled: 0, delay_ms: (20, 20) };
    pub(crate) const DEAD: Self = Self { loss: 100, doubled: 0, delay_ms: (20, 20) };
}

#[derive(Default)]
pub(crate) struct GatewaySink {
    pub(crate) packets: Vec<(PeerId, Vec<u8>)>,
    pub(crate) drops: Vec<DropReason>,
}

impl PeerSink for GatewaySink {
    fn packet(&mut self, peer: PeerId, packet: &mut [u8]) {
        self.packets.push((peer, packet.to_vec()));
    }

    fn dropped(&mut self, reason: DropReason) {
        self.drops.push(reason);
    }
}

struct Delivery {
    to_gateway: bool,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

pub(crate) struct World {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) client: TestClient,
    pub(crate) gateway: Responder,
    pub(crate) gateway_sink: GatewaySink,
    pub(crate) peer: PeerId,
    pub(crate) link: Link,
    /// Where the gateway sees the client.
    pub(crate) client_at: SocketAddr,
    /// The ports that reach the gateway.
    pub(crate) open_ports: Vec<u16>,
    /// Every datagram that a side sent: when, by the gateway or not, its type and length.
    pub(crate) wire: Vec<(Duration, bool, u8, usize)>,
    /// How often each side's timers were called.
    pub(crate) client_wakes: usize,
    pub(crate) gateway_wakes: usize,
    chance: Seeded,
    under_way: BTreeMap<(Instant, u64), Delivery>,
    sequence: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, client_config(), peer_config(), 1000)
    }

    pub(crate) fn with(seed: u64, client: ClientConfig, peer: PeerConfig, handshakes: u32) -> Self {
        let anchor = anchor();
        let gateway = gateway(anchor, seed, handshakes);
        let peer = gateway.add_peer(&peer).expect("a new peer");
        Self {
            start: anchor.instant,
            now: anchor.instant,
            client: TestClient::new(client, anchor, seed),
            gateway,
            gateway_sink: GatewaySink::default(),
            peer,
            link: Link::GOOD,
            client_at: SocketAddr::from(([198, 51, 100, 7], 40_000)),
            open_ports: vec![2408],
            wire: Vec::new(),
            client_wakes: 0,
            gateway_wakes: 0,
            chance: Seeded(seed ^ 0xabcd),
            under_way: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub(crate) fn start(&mut self) {
        let sent = self.client.start(self.now);
        self.client_sent(sent);
    }

    /// Starts and lets the first handshake come to its end.
    pub(crate) fn connected(seed: u64) -> Self {
        let mut world = Self::new(seed);
        world.start();
        world.run_ms(200);
        assert_eq!(world.client.ups(), 1);
        world
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn throw(&mut self, delivery: impl Fn() -> Delivery) {
        let copies = match () {
            () if self.chance.below(100) < self.link.loss => 0,
            () if self.chance.below(100) < self.link.doubled => 2,
            () => 1,
        };
        for _ in 0..copies {
            let (least, most) = self.link.delay_ms;
            let delay = least + self.chance.below(most - least + 1);
            self.sequence += 1;
            let at = self.now + Duration::from_millis(delay);
            self.under_way.insert((at, self.sequence), delivery());
        }
    }

    pub(crate) fn client_sent(&mut self, sent: Vec<Sent>) {
        for Sent { to, bytes, .. } in sent {
            self.wire.push((self.elapsed(), false, bytes[0], bytes.len()));
            let from = self.client_at;
            self.throw(|| Delivery { to_gateway: true, from, to, bytes: bytes.clone() });
        }
    }

    pub(crate) fn gateway_sent(&mut self, out: &Outbox) {
        for Sent { socket, to, bytes } in datagrams(out) {
            self.wire.push((self.elapsed(), true, bytes[0], bytes.len()));
            let from = gateway_at(u16::try_from(socket.0).expect("sockets are numbered by port"));
            self.throw(|| Delivery { to_gateway: false, from, to, bytes: bytes.clone() });
        }
    }

    fn gateway_control(&mut self) {
        loop {
            let mut out = Outbox::new();
            let nudge = self.gateway.handle_control(self.now, &mut out);
            self.gateway_sent(&out);
            if nudge == Nudge::None {
                return;
            }
        }
    }

    fn deliver(&mut self, mut delivery: Delivery) {
        if !delivery.to_gateway {
            if delivery.to == self.client_at {
                let sent = self.client.receive(delivery.from, &delivery.bytes, self.now);
                self.client_sent(sent);
            }
            return;
        }
        let port = delivery.to.port();
        if !self.open_ports.contains(&port) || delivery.to != gateway_at(port) {
            return;
        }
        let stride = delivery.bytes.len();
        let (socket, data) = (SocketId(port.into()), &mut delivery.bytes);
        let nudge = self.gateway.open(socket, delivery.from, data, stride, self.now, &mut self.gateway_sink);
        if nudge == Nudge::Control {
            self.gateway_control();
        }
    }

    /// Lets time pass until `end`, and everything happen that is due until then.
    pub(crate) fn run_until(&mut self, end: Instant) {
        loop {
            let delivery = self.under_way.keys().next().map(|(at, _)| *at);
            let client = self.client.deadline();
            let gateway = self.gateway.poll_timeout().map(|deadline| deadline.at);
            let Some(next) = [delivery, client, gateway].into_iter().flatten().min() else { break };
            if next > end {
                break;
            }
            assert!(self.wire.len() + self.client_wakes + self.gateway_wakes < 1_000_000, "it spins");
            self.now = self.now.max(next);
            if delivery == Some(next) {
                if let Some((_, delivery)) = self.under_way.pop_first() {
                    self.deliver(delivery);
                }
            } else if client == Some(next) {
                self.client_wakes += 1;
                let sent = self.client.timeout(self.now);
                self.client_sent(sent);
            } else {
                self.gateway_wakes += 1;
                self.gateway_control();
            }
        }
        self.now = end;
    }

    pub(crate) fn run_ms(&mut self, millis: u64) {
        self.run_until(self.now + Duration::from_millis(millis));
    }

    pub(crate) fn run_secs(&mut self, secs: u64) {
        self.run_ms(secs * 1000);
    }

    /// The client sends a packet with this payload.
    pub(crate) fn client_sends(&mut self, payload: &[u8]) -> bool {
        let (sent, taken) = self.client.send(&packet(CLIENT_INNER, SERVER_INNER, payload), self.now);
        self.client_sent(sent);
        taken
    }

    /// The gateway sends a packet with this payload to the client.
    pub(crate) fn gateway_sends(&mut self, payload: &[u8]) -> bool {
        let run = Run::from_packet(&packet(SERVER_INNER, CLIENT_INNER, payload)).expect("a short packet");
        let mut out = Outbox::new();
        let (nudge, taken) = match self.gateway.seal(self.peer, run, self.now, &mut out) {
            Sealed::Done(_, nudge) | Sealed::Held(nudge) => (nudge, true),
            Sealed::Dropped(_, _, nudge) => (nudge, false),
            Sealed::Blocked(_) => panic!("WireGuard is no stream"),
        };
        self.gateway_sent(&out);
        if nudge == Nudge::Control {
            self.gateway_control();
        }
        taken
    }

    pub(crate) fn change_network(&mut self) {
        self.client.transport.control.handle_network_change(self.now);
        let sent = self.client.settle(self.now);
        self.client_sent(sent);
    }

    /// When messages of a type went out, in seconds since the start.
    pub(crate) fn sent_at(&self, by_gateway: bool, kind: u8) -> Vec<f64> {
        let of_kind =
            self.wire.iter().filter(|(_, gateway, sent, _)| (*gateway, *sent) == (by_gateway, kind));
        of_kind.map(|(at, ..)| at.as_secs_f64()).collect()
    }

    pub(crate) fn lost(&self) -> Vec<&TransportEvent> {
        self.client.events.iter().filter(|event| matches!(event, TransportEvent::Lost(_))).collect()
    }
}

pub(crate) fn gateway(anchor: Anchor, seed: u64, handshakes_per_second: u32) -> Responder {
    let config = ResponderConfig { private_key: key(GATEWAY_KEY), mtu: 1280, handshakes_per_second };
    Responder::new(&config, anchor, Box::new(Seeded(seed ^ 0x5555)))
}
