//! What a device's programs send to the DNS front of packets: datagrams, streams in pieces, and packets of any kind. The
//! fronts of sockets serve streams and take datagrams by the same code.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use ipnet::IpNet;
use tokio::sync::mpsc;
use weft_dns::{DnsConfig, Request, Upstream, message};
use weft_netstack::datagram::Datagram;
use weft_netstack::{FlowId, Netstack, Received};
use weft_runtime::dns_front::{Answers, DnsProxy, PacketConfig, PacketFront, Resolve, Resolving};

use crate::Outcome;
use crate::script::{Step, steps};

const OWN: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
const SENTINEL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53)), 53);
const MTU: u16 = 1280;

/// Streams that one script opens; a front serves more.
const MAX_STREAMS: u16 = 8;
/// Rounds of packets after which both sides must have come to rest.
const ROUNDS: usize = 10_000;
/// How often the event loop may turn without a packet before everything counts as done.
const TURNS: usize = 12;

/// A query for "a.example", type A.
const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01";

/// Answers every query with no data.
struct Nothing;

impl Resolve for Nothing {
    fn resolve(&self, request: Request, _: &Weak<dyn Answers>) -> Option<Resolving> {
        Some(Box::pin(async move { Ok(message::error(&request.message, message::response_code::NO_ERROR)) }))
    }
}

/// A script of what a device sends: 0 = the bytes as a packet, 1 = the bytes as a datagram, 2 = the bytes down a stream,
/// which is opened where there is none, in pieces of "how" bytes, 3 = the stream's end, 4 = its reset. A query of its own
/// by either way is answered whatever came before it.
pub fn dns_front(data: &[u8]) -> Outcome {
    // Without the input and output of sockets: everything happens when it is told to.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let Ok(runtime) = runtime else { panic!("an event loop is made") };
    runtime.block_on(async {
        let mut scene = Scene::new();
        for step in steps(data) {
            scene.play(step).await;
        }
        scene.datagram(QUERY);
        scene.settle().await;
        assert_eq!(scene.datagrams.last().map(|answer| message::id(answer)), Some(Some(0x1234)));
        scene.stream = None;
        scene.send(&[&[0, QUERY.len().to_be_bytes()[7]], QUERY].concat(), usize::MAX).await;
        assert!(scene.whole_answers() > 0, "a stream of its own is served");
        (scene.proxy.stats().refused == 0).into()
    })
}

struct Scene {
    proxy: DnsProxy,
    front: PacketFront,
    /// What the front gave and nobody has taken yet.
    given: Arc<Mutex<Vec<Vec<u8>>>>,
    stack: Netstack,
    to_front: mpsc::Sender<Vec<u8>>,
    stream: Option<FlowId>,
    opened: u16,
    /// What came down the stream.
    heard: Vec<u8>,
    datagrams: Vec<Vec<u8>>,
}

impl Scene {
    fn new() -> Self {
        let config = DnsConfig { upstream: Upstream::Doh, cache_bytes: 0, ..DnsConfig::default() };
        let proxy = DnsProxy::start(&[], config, Arc::new(Nothing));
        let Ok(proxy) = proxy else { panic!("a proxy without sockets starts") };
        let given = Arc::new(Mutex::new(Vec::new()));
        let out = Arc::clone(&given);
        let front = proxy.packets(PacketConfig {
            addresses: vec![SENTINEL.ip()],
            mtu: MTU,
            send: Arc::new(move |run| {
                out.lock().unwrap_or_else(PoisonError::into_inner).push(run.packet().to_vec());
            }),
        });
        let Ok(front) = front else { panic!("a front starts") };
        let stack = Netstack::new(&[IpNet::from(IpAddr::V4(OWN))], MTU, 7, Instant::now());
        let to_front = front.packets();
        Self {
            proxy,
            front,
            given,
            stack,
            to_front,
            stream: None,
            opened: 0,
            heard: Vec::new(),
            datagrams: Vec::new(),
        }
    }

    async fn play(&mut self, step: Step<'_>) {
        match step.what % 5 {
            0 => drop(self.to_front.try_send(step.bytes.to_vec())),
            1 => self.datagram(step.bytes),
            2 => self.send(step.bytes, step.how.into()).await,
            3 => self.stream.into_iter().for_each(|flow| self.stack.close(flow, Instant::now())),
            _ => self.stream.take().into_iter().for_each(|flow| self.stack.abort(flow, Instant::now())),
        }
        self.settle().await;
    }

    fn datagram(&mut self, payload: &[u8]) {
        let from = SocketAddr::new(OWN.into(), 4000);
        if let Some(packet) = (Datagram { from, to: SENTINEL, payload }).packet() {
            let _full = self.to_front.try_send(packet);
        }
    }

    async fn send(&mut self, bytes: &[u8], piece: usize) {
        if self.stream.is_none() && self.opened <= MAX_STREAMS {
            self.heard.clear();
            self.stream = self.stack.connect(SENTINEL, 61_000 + self.opened, Instant::now()).ok();
            self.opened += 1;
            self.settle().await;
        }
        let Some(flow) = self.stream else { return };
        // As many pieces as nobody minds waiting for.
        for piece in bytes.chunks(piece.max(bytes.len() / 64).max(1)) {
            if self.stack.send(flow, piece, Instant::now()) != Ok(piece.len()) {
                return;
            }
            self.settle().await;
        }
    }

    /// Passes packets until neither side has any more.
    async fn settle(&mut self) {
        let mut still = 0;
        for _ in 0..ROUNDS {
            let mut packets = Vec::new();
            self.stack.poll_packets(Instant::now(), &mut |packet| packets.push(packet.to_vec()));
            while self.stack.poll_event().is_some() {}
            let mut moved = !packets.is_empty();
            packets.into_iter().for_each(|packet| drop(self.to_front.try_send(packet)));
            tokio::task::yield_now().await;
            let given = std::mem::take(&mut *self.given.lock().unwrap_or_else(PoisonError::into_inner));
            moved |= !given.is_empty();
            given.iter().for_each(|packet| self.take(packet));
            still = if moved { 0 } else { still + 1 };
            if still == TURNS {
                return;
            }
        }
        panic!("the front never comes to rest");
    }

    fn take(&mut self, packet: &[u8]) {
        assert!(packet.len() <= usize::from(MTU), "no packet beyond the MTU");
        match Datagram::parse(packet) {
            Some(answer) => {
                assert_eq!(answer.from, SENTINEL, "nobody else speaks");
                assert!(message::is_answer(answer.payload), "an answer says that it is one");
                self.datagrams.push(answer.payload.to_vec());
            }
            None => self.stack.handle_packet(packet, Instant::now()),
        }
        let mut room = [0; 4096];
        if let Some(flow) = self.stream {
            while let Ok(Received::Bytes(len)) = self.stack.receive(flow, &mut room) {
                self.heard.extend(room.iter().take(len));
            }
        }
        self.whole_answers();
    }

    /// How many answers came down the stream. Each is one, behind its length.
    fn whole_answers(&self) -> usize {
        let (mut rest, mut answers) = (self.heard.as_slice(), 0);
        while let Some(([high, low], after)) = rest.split_first_chunk() {
            let Some((answer, after)) = after.split_at_checked(u16::from_be_bytes([*high, *low]).into())
            else {
                break;
            };
            assert!(message::is_answer(answer), "an answer says that it is one");
            (rest, answers) = (after, answers + 1);
        }
        answers
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        assert!(!self.front.packets().is_closed() || std::thread::panicking(), "the front goes on");
    }
}
