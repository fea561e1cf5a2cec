//! A client and a responder with a network between them that may do anything.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use weft_model::{DropReason, PrivateKey};
use weft_packet::{IpView, Offload};
use weft_tunnel::wireguard::{
    Client, ClientConfig, Dates, PeerConfig, PeerId, PeerSink, Responder, ResponderConfig,
};
use weft_tunnel::{
    Anchor, Entropy, Nudge, Outbox, PacketSink, Received, Sealed, SocketId, Transport, TransportEvent,
};

use crate::Outcome;
use crate::packet::run_of;
use crate::script::{Seeded, Step, steps};

const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 1], 1000);
const GATEWAY: ([u8; 4], u16) = ([203, 0, 113, 10], 2408);
const OWN: [u8; 4] = [172, 16, 0, 2];

/// Keys that nobody but the test's seed decides.
struct Keys(Seeded);

impl Entropy for Keys {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// What came out of a tunnel.
#[derive(Default)]
struct Out {
    packets: Vec<Vec<u8>>,
    drops: usize,
}

impl PacketSink for Out {
    fn packet(&mut self, packet: &mut [u8]) {
        self.packets.push(packet.to_vec());
    }

    fn dropped(&mut self, _reason: DropReason) {
        self.drops += 1;
    }
}

impl PeerSink for Out {
    fn packet(&mut self, _peer: PeerId, packet: &mut [u8]) {
        self.packets.push(packet.to_vec());
    }

    fn dropped(&mut self, _reason: DropReason) {
        self.drops += 1;
    }
}

/// The packet as WireGuard seals it: a header that claims more may claim the padding too.
fn padded(packet: &[u8]) -> Vec<u8> {
    let mut padded = packet.to_vec();
    padded.resize(packet.len().next_multiple_of(16), 0);
    padded
}

/// A datagram under way, and whether it is for the client.
type Flying = (bool, Vec<u8>);

struct Scene {
    now: Instant,
    client: Transport,
    socket: SocketId,
    gateway: Responder,
    peer: PeerId,
    under_way: VecDeque<Flying>,
    last: Option<Flying>,
    at_client: Out,
    at_gateway: Out,
    /// What was sealed and has not come out yet.
    sealed_by_client: Vec<Vec<u8>>,
    sealed_by_gateway: Vec<Vec<u8>>,
    delivered: usize,
}

/// A script of what happens between the two: 0 and 1 = the bytes as a datagram to the client, to the gateway; 2 and 3
/// = the bytes as a packet that the client, the gateway sends; 4 = the bytes are added to the next datagram under way,
/// from byte "how" on; 5 = it is lost; 6 = the last one comes again; 7 = "how" seconds pass; 8 = all under way arrives.
pub fn wireguard_session(data: &[u8]) -> Outcome {
    let Some(mut scene) = Scene::new() else { panic!("the two are made") };
    let mut disturbed = false;
    for step in steps(data) {
        disturbed |= !matches!(step.what % 9, 2 | 3 | 7 | 8);
        scene.play(step);
    }
    scene.deliver_all();
    let drops = scene.at_client.drops + scene.at_gateway.drops;
    (scene.delivered > 0 && drops == 0 && !disturbed).into()
}

impl Scene {
    fn new() -> Option<Self> {
        let now = Instant::now();
        let anchor = Anchor { instant: now, unix: Duration::from_secs(1_750_000_000) };
        let (own, far) = (PrivateKey::from([7; 32]), PrivateKey::from([8; 32]));
        let config = ClientConfig {
            private_key: own.clone(),
            public_key: far.public(),
            preshared_key: None,
            candidates: vec![SocketAddr::from(GATEWAY)],
            keepalive: None,
            allowed_ips: Vec::new(),
            own_addresses: vec![IpAddr::from(OWN).into()],
            mtu: 1280,
            dates: Dates::default(),
        };
        let mut client = Client::transport(config, anchor, Box::new(Keys(Seeded(1))));
        let config = ResponderConfig { private_key: far, mtu: 1280, handshakes_per_second: 100 };
        let gateway = Responder::new(&config, anchor, Box::new(Keys(Seeded(2))));
        let peer = PeerConfig {
            public_key: own.public(),
            preshared_key: None,
            allowed_ips: vec![IpAddr::from(OWN).into()],
            endpoint: None,
            keepalive: None,
            last_timestamp: None,
        };
        let peer = gateway.add_peer(&peer).ok()?;
        client.control.start(now);
        let mut scene = Self {
            now,
            client,
            socket: SocketId(0),
            gateway,
            peer,
            under_way: VecDeque::new(),
            last: None,
            at_client: Out::default(),
            at_gateway: Out::default(),
            sealed_by_client: Vec::new(),
            sealed_by_gateway: Vec::new(),
            delivered: 0,
        };
        scene.settle_client();
        Some(scene)
    }

    fn play(&mut self, step: Step<'_>) {
        match step.what % 9 {
            0 => self.arrive((true, step.bytes.to_vec())),
            1 => self.arrive((false, step.bytes.to_vec())),
            2 => {
                self.deliver_all();
                self.client_sends(step.bytes);
            }
            3 => {
                self.deliver_all();
                self.gateway_sends(step.bytes);
            }
            4 => {
                if let Some((_, datagram)) = self.under_way.front_mut() {
                    let places = datagram.iter_mut().skip(step.how.into());
                    places.zip(step.bytes).for_each(|(place, byte)| *place ^= byte);
                }
                self.deliver();
            }
            5 => drop(self.under_way.pop_front()),
            6 => self.last.clone().into_iter().for_each(|last| self.arrive(last)),
            7 => {
                self.now += Duration::from_secs(step.how.into());
                self.client.control.handle_timeout(self.now);
                self.settle_client();
                self.settle_gateway();
            }
            _ => self.deliver_all(),
        }
        self.check();
    }

    /// What came out went in on the other side, once.
    fn check(&mut self) {
        let sides = [
            (&mut self.at_client, &mut self.sealed_by_gateway, false),
            (&mut self.at_gateway, &mut self.sealed_by_client, true),
        ];
        for (out, sealed, from_client) in sides {
            for packet in out.packets.drain(..) {
                let place = sealed.iter().position(|sent| sent.starts_with(&packet));
                let Some(place) = place else {
                    panic!("a packet that nobody sent, or one twice: {packet:02x?}")
                };
                sealed.remove(place);
                let view = IpView::parse(&packet).unwrap_or_else(|error| panic!("no packet: {error}"));
                assert_eq!(view.packet().len(), packet.len(), "padding is cut off");
                assert_eq!(
                    view.source() == IpAddr::from(OWN),
                    from_client,
                    "the source is its sender's to use"
                );
                self.delivered += 1;
            }
        }
    }

    fn client_sends(&mut self, packet: &[u8]) {
        let Some(run) = run_of(packet, Offload::default()) else { return };
        let mut out = Outbox::new();
        match self.client.outbound.seal(run, self.now, &mut out) {
            Sealed::Done(_, nudge) | Sealed::Held(nudge) => {
                self.sealed_by_client.push(padded(packet));
                self.nudge_client(nudge);
            }
            Sealed::Dropped(_, _, nudge) => self.nudge_client(nudge),
            Sealed::Blocked(_) => panic!("WireGuard is no stream"),
        }
        self.put_under_way(&out, false);
    }

    fn gateway_sends(&mut self, packet: &[u8]) {
        let Some(run) = run_of(packet, Offload::default()) else { return };
        let mut out = Outbox::new();
        if matches!(self.gateway.seal(self.peer, run, self.now, &mut out), Sealed::Done(..) | Sealed::Held(_))
        {
            self.sealed_by_gateway.push(padded(packet));
        }
        self.put_under_way(&out, true);
        self.settle_gateway();
    }

    fn put_under_way(&mut self, out: &Outbox, to_client: bool) {
        for transmit in out.transmits() {
            let datagrams = transmit.contents().chunks(transmit.segment.max(1));
            self.under_way.extend(datagrams.map(|datagram| (to_client, datagram.to_vec())));
        }
    }

    fn nudge_client(&mut self, nudge: Nudge) {
        if nudge == Nudge::Control {
            self.client.control.handle_nudge(self.now);
            self.settle_client();
        }
    }

    fn settle_client(&mut self) {
        while let Some(event) = self.client.control.poll_event() {
            if let TransportEvent::Open(socket, _) = event {
                self.socket = socket;
                self.client.control.handle_socket(socket, Ok(SocketAddr::from(CLIENT)), self.now);
            }
        }
        let mut out = Outbox::new();
        self.client.control.poll_transmit(self.now, &mut out);
        self.put_under_way(&out, false);
    }

    fn settle_gateway(&mut self) {
        let mut out = Outbox::new();
        for _ in 0..100 {
            if self.gateway.handle_control(self.now, &mut out) == Nudge::None {
                break;
            }
        }
        self.put_under_way(&out, true);
    }

    fn arrive(&mut self, (to_client, mut datagram): Flying) {
        let stride = datagram.len().max(1);
        self.last = Some((to_client, datagram.clone()));
        if to_client {
            let from = SocketAddr::from(GATEWAY);
            let received = Received::Datagrams { socket: self.socket, from, data: &mut datagram, stride };
            let opened = self.client.inbound.open(received, self.now, &mut self.at_client);
            self.nudge_client(opened.nudge);
        } else {
            let (from, sink) = (SocketAddr::from(CLIENT), &mut self.at_gateway);
            let _ = self.gateway.open(SocketId(0), from, &mut datagram, stride, self.now, sink);
            self.settle_gateway();
        }
    }

    fn deliver(&mut self) {
        if let Some(datagram) = self.under_way.pop_front() {
            self.arrive(datagram);
        }
    }

    fn deliver_all(&mut self) {
        for _ in 0..1000 {
            if self.under_way.is_empty() {
                self.check();
                return;
            }
            self.deliver();
        }
        panic!("the two never come to rest");
    }
}
