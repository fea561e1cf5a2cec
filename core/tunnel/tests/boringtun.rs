//! Our side against boringtun's, which is nobody's of us: both ways, with and without a pre-shared key.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that slips here fails, as it should"
)]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;
use common::world::{GatewaySink, gateway};
use common::{Sent, TestClient, anchor, datagrams, key, packet};
use weft_model::PresharedKey;
use weft_packet::Run;
use weft_tunnel::wireguard::{ClientConfig, Dates, PeerConfig, PeerId, Responder};
use weft_tunnel::{Nudge, Outbox, Sealed, SocketId, TransportEvent};

const OURS: u8 = 1;
const THEIRS: u8 = 2;

fn endpoint() -> SocketAddr {
    "203.0.113.10:2408".parse().unwrap()
}

fn config(preshared: Option<u8>) -> ClientConfig {
    ClientConfig {
        private_key: key(OURS),
        public_key: key(THEIRS).public(),
        preshared_key: preshared.map(|byte| PresharedKey::from([byte; 32])),
        candidates: vec![endpoint()],
        keepalive: None,
        allowed_ips: Vec::new(),
        own_addresses: Vec::new(),
        mtu: 1280,
        dates: Dates::default(),
    }
}

fn theirs(preshared: Option<u8>, limiter: Option<Arc<RateLimiter>>) -> Tunn {
    let public = x25519::PublicKey::from(*key(OURS).public().as_bytes());
    let preshared = preshared.map(|byte| [byte; 32]);
    Tunn::new(x25519::StaticSecret::from([THEIRS; 32]), public, preshared, None, 7, limiter)
}

/// What boringtun makes of a datagram: datagrams back, and packets out.
fn theirs_receive(tunn: &mut Tunn, datagram: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let from: IpAddr = "198.51.100.7".parse().unwrap();
    let (mut back, mut packets) = (Vec::new(), Vec::new());
    let mut input = datagram;
    loop {
        let mut room = vec![0; 65_536];
        match tunn.decapsulate(Some(from), input, &mut room) {
            TunnResult::WriteToNetwork(bytes) => back.push(bytes.to_vec()),
            TunnResult::WriteToTunnelV4(bytes, _) | TunnResult::WriteToTunnelV6(bytes, _) => {
                packets.push(bytes.to_vec());
                break;
            }
            TunnResult::Done => break,
            TunnResult::Err(error) => panic!("{error:?}"),
        }
        input = &[];
    }
    (back, packets)
}

/// Carries datagrams between the two until both are silent; gives the packets that boringtun let out.
fn exchange(ours: &mut TestClient, tunn: &mut Tunn, sent: Vec<Sent>, now: Instant) -> Vec<Vec<u8>> {
    let mut to_them: Vec<_> = sent.into_iter().map(|sent| sent.bytes).collect();
    let mut out = Vec::new();
    while !to_them.is_empty() {
        let mut to_us = Vec::new();
        for datagram in to_them.drain(..) {
            let (back, packets) = theirs_receive(tunn, &datagram);
            to_us.extend(back);
            out.extend(packets);
        }
        for datagram in to_us {
            to_them.extend(ours.receive(endpoint(), &datagram, now).into_iter().map(|sent| sent.bytes));
        }
    }
    out
}

fn encapsulate(tunn: &mut Tunn, packet: &[u8]) -> Vec<u8> {
    let mut room = vec![0; 65_536];
    match tunn.encapsulate(packet, &mut room) {
        TunnResult::WriteToNetwork(bytes) => bytes.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn packet_out(len: usize) -> Vec<u8> {
    packet([172, 16, 0, 2], [10, 0, 0, 1], &vec![0xab; len])
}

fn packet_in(len: usize) -> Vec<u8> {
    packet([10, 0, 0, 1], [172, 16, 0, 2], &vec![0xcd; len])
}

#[test]
fn we_begin_and_data_of_every_length_passes_both_ways() {
    for preshared in [None, Some(9)] {
        let anchor = anchor();
        let now = anchor.instant;
        let mut ours = TestClient::new(config(preshared), anchor, 1);
        let mut tunn = theirs(preshared, None);
        let first = ours.start(now);
        exchange(&mut ours, &mut tunn, first, now);
        assert_eq!(ours.events.last(), Some(&TransportEvent::Up { endpoint: endpoint() }));
        for len in (0..64).chain([1259, 1260]) {
            let (sent, _) = ours.send(&packet_out(len), now);
            assert_eq!(sent.len(), 1);
            assert_eq!(
                sent[0].bytes.len(),
                (20 + len).next_multiple_of(16).min(1280) + 32,
                "padding of {len}"
            );
            assert_eq!(exchange(&mut ours, &mut tunn, sent, now), [packet_out(len)]);
            let datagram = encapsulate(&mut tunn, &packet_in(len));
            ours.receive(endpoint(), &datagram, now);
            assert_eq!(ours.sink.packets.pop(), Some(packet_in(len)));
        }
        assert!(ours.sink.drops.is_empty());
    }
}

#[test]
fn they_begin_and_data_passes_both_ways() {
    for preshared in [None, Some(9)] {
        let anchor = anchor();
        let now = anchor.instant;
        let mut ours = TestClient::new(config(preshared), anchor, 1);
        let mut tunn = theirs(preshared, None);
        // Our own first initiation is lost; theirs comes.
        ours.start(now);
        let initiation = encapsulate(&mut tunn, &packet_in(100));
        let response = ours.receive(endpoint(), &initiation, now);
        assert_eq!((response.len(), ours.ups()), (1, 0), "not before their session is confirmed");
        assert!(exchange(&mut ours, &mut tunn, response, now).is_empty());
        assert_eq!(ours.ups(), 1);
        assert_eq!(ours.sink.packets, [packet_in(100)], "the packet that waited at their side");
        let (sent, _) = ours.send(&packet_out(100), now);
        assert_eq!(exchange(&mut ours, &mut tunn, sent, now), [packet_out(100)]);
    }
}

#[test]
fn another_preshared_key_gives_no_session() {
    let anchor = anchor();
    let mut ours = TestClient::new(config(Some(9)), anchor, 1);
    let mut tunn = theirs(Some(8), None);
    let first = ours.start(anchor.instant);
    exchange(&mut ours, &mut tunn, first, anchor.instant);
    assert_eq!(ours.ups(), 0);
}

#[test]
fn packets_that_waited_for_the_session_go_out_in_order() {
    let anchor = anchor();
    let now = anchor.instant;
    let mut ours = TestClient::new(config(None), anchor, 1);
    let mut tunn = theirs(None, None);
    let first = ours.start(now);
    for len in 0..10 {
        assert_eq!(ours.send(&packet_out(len), now), (Vec::new(), true));
    }
    let expected: Vec<_> = (0..10).map(packet_out).collect();
    assert_eq!(exchange(&mut ours, &mut tunn, first, now), expected);
}

#[test]
fn after_two_minutes_a_sender_renews_the_session() {
    let anchor = anchor();
    let mut now = anchor.instant;
    let mut ours = TestClient::new(config(None), anchor, 1);
    let mut tunn = theirs(None, None);
    let first = ours.start(now);
    exchange(&mut ours, &mut tunn, first, now);
    now += Duration::from_secs(119);
    assert_eq!(ours.send(&packet_out(1), now).0.len(), 1);
    now += Duration::from_secs(1);
    let (sent, _) = ours.send(&packet_out(2), now);
    let kinds: Vec<_> = sent.iter().map(|sent| sent.bytes[0]).collect();
    assert_eq!(kinds, [4, 1], "the packet under the old session, then an initiation");
    assert_eq!(exchange(&mut ours, &mut tunn, sent, now), [packet_out(2)]);
    let (sent, _) = ours.send(&packet_out(3), now + Duration::from_secs(100));
    assert_eq!(sent.len(), 1, "the new session is young");
    assert_eq!(exchange(&mut ours, &mut tunn, sent, now), [packet_out(3)]);
}

#[test]
fn their_cookie_lets_our_next_initiation_pass() {
    let anchor = anchor();
    let now = anchor.instant;
    let public = x25519::PublicKey::from(*key(THEIRS).public().as_bytes());
    let mut ours = TestClient::new(config(None), anchor, 1);
    // A limit of none: every handshake message must prove its address.
    let mut tunn = theirs(None, Some(Arc::new(RateLimiter::new(&public, 0))));
    let first = ours.start(now);
    let (back, _) = theirs_receive(&mut tunn, &first[0].bytes);
    assert_eq!(back[0][0], 3, "a cookie reply");
    assert!(ours.receive(endpoint(), &back[0], now).is_empty(), "the cookie serves the next initiation");
    let later = ours.deadline().unwrap();
    assert!(later >= now + Duration::from_secs(5));
    let second = ours.timeout(later);
    assert_eq!(second[0].bytes[0], 1);
    exchange(&mut ours, &mut tunn, second, later);
    assert_eq!(ours.ups(), 1);
}

/// boringtun as a client of our responder.
struct AtGateway {
    gateway: Responder,
    peer: PeerId,
    tunn: Tunn,
    sink: GatewaySink,
    now: Instant,
}

impl AtGateway {
    fn new(preshared: Option<u8>, handshakes_per_second: u32) -> Self {
        let anchor = anchor();
        let gateway = gateway(anchor, 1, handshakes_per_second);
        let config = PeerConfig {
            public_key: key(OURS).public(),
            preshared_key: preshared.map(|byte| PresharedKey::from([byte; 32])),
            allowed_ips: vec!["172.16.0.2/32".parse().unwrap()],
            endpoint: None,
            keepalive: None,
            last_timestamp: None,
        };
        let peer = gateway.add_peer(&config).unwrap();
        let public = x25519::PublicKey::from(*key(THEIRS).public().as_bytes());
        let preshared = preshared.map(|byte| [byte; 32]);
        let tunn = Tunn::new(x25519::StaticSecret::from([OURS; 32]), public, preshared, None, 7, None);
        Self { gateway, peer, tunn, sink: GatewaySink::default(), now: anchor.instant }
    }

    /// Carries datagrams to the gateway and back until both are silent; gives what boringtun let out.
    fn exchange(&mut self, to_gateway: Vec<Vec<u8>>, to_tunn: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let from = "198.51.100.7:40000".parse().unwrap();
        let (mut to_gateway, mut to_tunn, mut packets) = (to_gateway, to_tunn, Vec::new());
        while !to_gateway.is_empty() || !to_tunn.is_empty() {
            let mut out = Outbox::new();
            for mut bytes in to_gateway.drain(..) {
                let len = bytes.len();
                let sink = &mut self.sink;
                if self.gateway.open(SocketId(1), from, &mut bytes, len, self.now, sink) == Nudge::Control {
                    let _ = self.gateway.handle_control(self.now, &mut out);
                }
            }
            to_tunn.extend(datagrams(&out).into_iter().map(|sent| sent.bytes));
            for bytes in to_tunn.drain(..) {
                let (back, let_out) = theirs_receive(&mut self.tunn, &bytes);
                to_gateway.extend(back);
                packets.extend(let_out);
            }
        }
        packets
    }

    fn initiation(&mut self) -> Vec<u8> {
        let mut room = vec![0; 256];
        match self.tunn.format_handshake_initiation(&mut room, true) {
            TunnResult::WriteToNetwork(bytes) => bytes.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    fn check_data(&mut self) {
        let datagram = encapsulate(&mut self.tunn, &packet_out(300));
        self.exchange(vec![datagram], Vec::new());
        assert_eq!(self.sink.packets.pop(), Some((self.peer, packet_out(300))));
        let mut out = Outbox::new();
        let run = Run::from_packet(&packet_in(301)).unwrap();
        assert!(matches!(self.gateway.seal(self.peer, run, self.now, &mut out), Sealed::Done(..)));
        let datagrams = datagrams(&out).into_iter().map(|sent| sent.bytes).collect();
        assert_eq!(self.exchange(Vec::new(), datagrams), [packet_in(301)]);
    }
}

#[test]
fn our_responder_serves_them_and_their_renewals() {
    for preshared in [None, Some(9)] {
        let mut world = AtGateway::new(preshared, 100);
        for _ in 0..4 {
            let initiation = world.initiation();
            world.exchange(vec![initiation], Vec::new());
            world.check_data();
            // boringtun dates its messages by the machine's clock; ours takes them as they come.
            world.now += Duration::from_secs(120);
        }
        assert!(world.gateway.drops().is_empty(), "{:?}", world.gateway.drops());
    }
}

#[test]
fn they_take_our_cookie_and_come_back_with_it() {
    let mut world = AtGateway::new(None, 0);
    let initiation = world.initiation();
    world.exchange(vec![initiation], Vec::new());
    assert_eq!(world.gateway.peer_stats(world.peer, world.now).unwrap().endpoint, None);
    let initiation = world.initiation();
    world.exchange(vec![initiation], Vec::new());
    world.check_data();
}
