//! The far side of the tests' tunnels, a resolver, and the messages to ask it.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use weft_model::{
    DnsUpstream, Gateway, PrivateKey, Profile, Registration, RegistrationSource, TunnelEndpoint,
};
use weft_packet::Run;
use weft_runtime::session::Host;
use weft_runtime::transport_maker::{SystemEntropy, anchor};
use weft_tunnel::wireguard::{PeerConfig, PeerId, PeerSink, Responder, ResponderConfig};
use weft_tunnel::{Outbox, SocketId};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const FAR_SIDE: &str = "127.0.0.1:2408";
pub(crate) const RESOLVER: &str = "127.0.0.9:53";
/// The first byte of a handshake initiation (WireGuard, section 5.4.2).
const HANDSHAKE_INITIATION: u8 = 1;

/// What the far side and the resolver have heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) handshakes: AtomicUsize,
    pub(crate) queries: AtomicUsize,
}

impl Heard {
    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Acquire)
    }

    pub(crate) fn queries(&self) -> usize {
        self.queries.load(Ordering::Acquire)
    }
}

/// Starts both on the host that this thread is in.
pub(crate) fn serve() -> Result<Arc<Heard>> {
    let heard = Arc::<Heard>::default();
    for (address, serve) in [(FAR_SIDE, respond as fn(&UdpSocket, &Heard)), (RESOLVER, resolve)] {
        let (socket, heard) = (UdpSocket::bind(address)?, Arc::clone(&heard));
        std::thread::spawn(move || serve(&socket, &heard));
    }
    Ok(heard)
}

pub(crate) fn resolver() -> SocketAddr {
    RESOLVER.parse().unwrap()
}

/// A host that keeps nothing.
pub(crate) struct Nothing;

impl Host for Nothing {
    fn store(
        &self,
        _: &Registration,
        _: Option<&Profile>,
        _: &weft_model::settings::UserChoices,
    ) -> std::io::Result<()> {
        Ok(())
    }
}

/// Sends IPv4 packets back whence they came, by the tunnel.
#[derive(Default)]
struct Echo(Vec<(PeerId, Run)>);

impl PeerSink for Echo {
    fn packet(&mut self, peer: PeerId, packet: &mut [u8]) {
        if packet[0] >> 4 == 4 {
            let (source, destination) = packet[12..20].split_at_mut(4);
            source.swap_with_slice(destination);
            self.0.push((peer, Run::from_packet(packet).unwrap()));
        }
    }

    fn dropped(&mut self, _: weft_model::DropReason) {}
}

pub(crate) fn registration() -> Registration {
    let tunnel = TunnelEndpoint {
        public_key: PrivateKey::from([2; 32]).public(),
        preshared_key: None,
        addresses: vec!["127.0.0.1".parse().unwrap()],
        ports: vec![2408],
        keepalive: None,
        mtu: None,
        allowed_ips: Vec::new(),
    };
    let dns = DnsUpstream::Plain { servers: vec!["10.99.0.1".parse().unwrap()], search: Vec::new() };
    Registration {
        id: "device".to_owned(),
        source: RegistrationSource::Orchestrated,
        token: None,
        private_key: PrivateKey::from([1; 32]),
        addresses: vec!["172.16.0.2/32".parse().unwrap()],
        gateways: vec![Gateway { api: None, tunnel, dns, checks: None }],
    }
}

/// The gateway's end of the tunnel.
fn respond(socket: &UdpSocket, heard: &Heard) {
    let config =
        ResponderConfig { private_key: PrivateKey::from([2; 32]), mtu: 1280, handshakes_per_second: 1000 };
    let responder = Responder::new(&config, anchor(), Box::new(SystemEntropy));
    let peer = PeerConfig {
        public_key: PrivateKey::from([1; 32]).public(),
        preshared_key: None,
        allowed_ips: vec!["172.16.0.2/32".parse().unwrap()],
        endpoint: None,
        keepalive: None,
        last_timestamp: None,
    };
    responder.add_peer(&peer).unwrap();
    let (mut room, mut out, mut echo) = ([0; 2048], Outbox::new(), Echo::default());
    while let Ok((length, from)) = socket.recv_from(&mut room) {
        if room[0] == HANDSHAKE_INITIATION {
            heard.handshakes.fetch_add(1, Ordering::AcqRel);
        }
        let now = Instant::now();
        let _nudge = responder.open(SocketId(0), from, &mut room[..length], length, now, &mut echo);
        for (peer, run) in echo.0.drain(..) {
            drop(responder.seal(peer, run, now, &mut out));
        }
        let _nudge = responder.handle_control(now, &mut out);
        for transmit in out.transmits() {
            socket.send_to(transmit.contents(), from).unwrap();
        }
        out.clear();
    }
}

/// Answers every question with 198.51.100.7 for a minute.
fn resolve(socket: &UdpSocket, heard: &Heard) {
    let mut room = [0; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut room) {
        heard.queries.fetch_add(1, Ordering::AcqRel);
        socket.send_to(&answer(&room[..length]), from).unwrap();
    }
}

/// Where the question of a message ends.
fn question_end(message: &[u8]) -> usize {
    let mut at = 12;
    while message[at] != 0 {
        at += usize::from(message[at]) + 1;
    }
    at + 5
}

fn answer(query: &[u8]) -> Vec<u8> {
    let mut answer = query[..question_end(query)].to_vec();
    answer[2] |= 0x80;
    // One answer, and nothing of the query's other sections.
    answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 51, 100, 7]);
    answer
}

pub(crate) fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}
