//! How fast one core seals and opens a TSO run of 60 KB through the whole data path, beside the AEAD alone.
//!
//! `cargo run --release -p weft-tunnel --example seal_speed`
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program that measures: it prints, and stops where something is wrong"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use weft_model::{DropReason, PrivateKey};
use weft_packet::{GsoKind, HEAD_ROOM, Offload, PartialChecksum, Run};
use weft_tunnel::wireguard::{Client, ClientConfig, Dates};
use weft_tunnel::{
    Anchor, Entropy, Outbox, PacketSink, Received, Sealed, SocketId, Transport, TransportEvent,
};

const RUN_PAYLOAD: usize = 60_000;
const ROUND: Duration = Duration::from_millis(2);
const ROUNDS: usize = 500;

struct Counting(u64);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = self.0.to_be_bytes()[0];
        }
    }
}

#[derive(Default)]
struct Count(usize);

impl PacketSink for Count {
    fn packet(&mut self, packet: &mut [u8]) {
        self.0 += packet.len();
    }

    fn dropped(&mut self, reason: DropReason) {
        panic!("{reason}");
    }
}

fn side(own: u8, other: u8, anchor: Anchor, mtu: usize) -> (Transport, SocketId) {
    let config = ClientConfig {
        private_key: PrivateKey::from([own; 32]),
        public_key: PrivateKey::from([other; 32]).public(),
        preshared_key: None,
        candidates: vec![address(other)],
        keepalive: None,
        allowed_ips: Vec::new(),
        own_addresses: Vec::new(),
        mtu,
        dates: Dates::default(),
    };
    let mut transport = Client::transport(config, anchor, Box::new(Counting(own.into())));
    transport.control.start(anchor.instant);
    let mut id = SocketId(0);
    while let Some(event) = transport.control.poll_event() {
        if let TransportEvent::Open(socket, _) = event {
            id = socket;
            transport.control.handle_socket(socket, Ok(address(own)), anchor.instant);
        }
    }
    (transport, id)
}

fn address(of: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, of], 2408))
}

/// One side hands what it wants sent to the other.
fn carry(from: &mut Transport, (to, socket, at): (&mut Transport, SocketId, SocketAddr), now: Instant) {
    let mut out = Outbox::new();
    from.control.poll_transmit(now, &mut out);
    for transmit in out.transmits() {
        let mut data = transmit.contents().to_vec();
        let received = Received::Datagrams { socket, from: at, data: &mut data, stride: transmit.segment };
        let _ = to.inbound.open(received, now, &mut Count::default());
        to.control.handle_nudge(now);
    }
}

/// Two sides with a session that `alice` began.
fn connected(mtu: usize) -> (Transport, Transport, SocketId, Instant) {
    let anchor = Anchor { instant: Instant::now(), unix: Duration::from_secs(1_750_000_000) };
    let (mut alice, alice_socket) = side(1, 2, anchor, mtu);
    let (mut bob, bob_socket) = side(2, 1, anchor, mtu);
    let now = anchor.instant;
    bob.control.poll_transmit(now, &mut Outbox::new());
    carry(&mut alice, (&mut bob, bob_socket, address(1)), now);
    carry(&mut bob, (&mut alice, alice_socket, address(2)), now);
    carry(&mut alice, (&mut bob, bob_socket, address(1)), now);
    (alice, bob, bob_socket, now)
}

/// A TCP run of [`RUN_PAYLOAD`] bytes, as a TUN device with segmentation offload hands it out.
fn tso_run(mtu: usize) -> Run {
    let mut header = [0; 40];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&u16::try_from(40 + RUN_PAYLOAD).expect("below 65,536").to_be_bytes());
    header[8] = 64;
    header[9] = 6;
    header[12..16].copy_from_slice(&[172, 16, 0, 2]);
    header[16..20].copy_from_slice(&[10, 0, 0, 1]);
    header[32] = 0x50;
    header[33] = 0x10;
    let len = header.len() + RUN_PAYLOAD;
    let mut buffer = vec![0xa5; Run::buffer_len(len)].into_boxed_slice();
    buffer[HEAD_ROOM..HEAD_ROOM + header.len()].copy_from_slice(&header);
    let offload = Offload {
        kind: GsoKind::TcpV4,
        gso_size: u16::try_from(mtu - header.len()).expect("below 65,536"),
        header_len: 40,
        checksum: Some(PartialChecksum { start: 20, offset: 16 }),
    };
    Run::new(buffer, len, offload).expect("a run that fits")
}

/// One thing to measure: does it once and says how long that took.
type Work<'a> = Box<dyn FnMut() -> Duration + 'a>;

/// Nanoseconds that each of `works` takes: the best mean of some rounds, in turns, since the others met somebody
/// else on the machine.
fn measure(works: &mut [Work<'_>]) -> Vec<f64> {
    let mut best = vec![f64::MAX; works.len()];
    for _ in 0..ROUNDS {
        for (work, best) in works.iter_mut().zip(&mut best) {
            let (mut spent, mut count) = (Duration::ZERO, 0);
            while spent < ROUND {
                spent += work();
                count += 1;
            }
            *best = best.min(spent.as_nanos() as f64 / f64::from(count));
        }
    }
    best
}

fn raw_key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).expect("a key of 32 bytes"))
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// The AEAD alone over as many segments as the run has, each in memory of its own: sealing, opening.
fn raw<'a>(mtu: usize, segments: usize) -> [Work<'a>; 2] {
    let key = raw_key();
    let stride = mtu + 32;
    let mut room = vec![0xa5; segments * stride];
    let mut counter = 0;
    let seal = move || {
        let start = Instant::now();
        for datagram in room.chunks_mut(stride) {
            counter += 1;
            let (text, tag_room) = datagram[16..].split_at_mut(mtu);
            let tag = key.seal_in_place_separate_tag(nonce(counter), Aad::empty(), text).expect("short");
            tag_room.copy_from_slice(tag.as_ref());
        }
        start.elapsed()
    };
    let key = raw_key();
    let mut sealed = vec![0xa5; segments * stride];
    for datagram in sealed.chunks_mut(stride) {
        let (text, tag_room) = datagram[16..].split_at_mut(mtu);
        let tag = key.seal_in_place_separate_tag(nonce(0), Aad::empty(), text).expect("short");
        tag_room.copy_from_slice(tag.as_ref());
    }
    let mut room = sealed.clone();
    let open = move || {
        room.copy_from_slice(&sealed);
        let start = Instant::now();
        for datagram in room.chunks_mut(stride) {
            let (text, tag) = datagram[16..].split_at_mut(mtu);
            key.open_in_place_separate_tag(nonce(0), Aad::empty(), tag, text).expect("authentic");
        }
        start.elapsed()
    };
    [Box::new(seal), Box::new(open)]
}

fn seal(alice: &Transport, run: &mut Option<Run>, now: Instant, out: &mut Outbox) -> Duration {
    out.clear();
    let start = Instant::now();
    match alice.outbound.seal(run.take().expect("it comes back"), now, out) {
        Sealed::Done(back, _) => *run = Some(back),
        other => panic!("{other:?}"),
    }
    start.elapsed()
}

/// The whole data path: sealing, opening.
fn ours<'a>(mtu: usize) -> [Work<'a>; 2] {
    let (alice, _, _, now) = connected(mtu);
    let (mut out, mut run) = (Outbox::new(), Some(tso_run(mtu)));
    let seals = move || seal(&alice, &mut run, now, &mut out);
    let (alice, mut bob, socket, now) = connected(mtu);
    let (mut out, mut run) = (Outbox::new(), Some(tso_run(mtu)));
    let mut room = Vec::new();
    let opens = move || {
        seal(&alice, &mut run, now, &mut out);
        let mut spent = Duration::ZERO;
        for transmit in out.transmits() {
            room.clear();
            room.extend_from_slice(transmit.contents());
            let received =
                Received::Datagrams { socket, from: address(1), data: &mut room, stride: transmit.segment };
            let start = Instant::now();
            let _ = bob.inbound.open(received, now, &mut Count::default());
            spent += start.elapsed();
        }
        spent
    };
    [Box::new(seals), Box::new(opens)]
}

fn main() {
    println!("GB/s of IP packets, one core     seal      AEAD    share      open      AEAD    share");
    for mtu in [1280, 1420] {
        let segments = RUN_PAYLOAD.div_ceil(mtu - 40);
        let (bytes, raw_bytes) = ((RUN_PAYLOAD + 40 * segments) as f64, (segments * mtu) as f64);
        let [seal, open] = ours(mtu);
        let [raw_seal, raw_open] = raw(mtu, segments);
        let nanos = measure(&mut [seal, raw_seal, open, raw_open]);
        let (seal, raw_seal) = (bytes / nanos[0], raw_bytes / nanos[1]);
        let (open, raw_open) = (bytes / nanos[2], raw_bytes / nanos[3]);
        println!(
            "{mtu} bytes, {segments} segments        {seal:9.3} {raw_seal:9.3} {:7.1} % {open:9.3} {raw_open:9.3} {:7.1} %",
            100.0 * seal / raw_seal,
            100.0 * open / raw_open
        );
    }
}
