//! What a hostile far side sends to the core's own flows in the tunnel.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use weft_netstack::{FlowEvent, FlowId, Netstack, Received};
use weft_packet::IpView;
use weft_packet::checksum::Sum;
use weft_packet::view::{protocol, tcp_flags};

use crate::Outcome;
use crate::script::{Step, steps};

const OWN: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
const FAR: Ipv4Addr = Ipv4Addr::new(172, 64, 128, 1);
const TCP_PORT: u16 = 61_001;
const UDP_PORT: u16 = 61_002;
const MTU: u16 = 1280;

/// A stack with a TCP and a UDP flow, and a far side that keeps count of what it saw.
struct Scene {
    stack: Netstack,
    now: Instant,
    tcp: FlowId,
    udp: FlowId,
    /// What the far side is to acknowledge, and what it sends next.
    seen: u32,
    next: u32,
    delivered: usize,
}

/// A script of what the far side sends: 0 = the bytes as a packet, 1 = the bytes as a TCP segment in sequence with
/// the flags that "how" says, 2 = the bytes as a datagram, 3 = "how" seconds pass, 4 = as 1, "how" bytes ahead.
pub fn netstack_packet(data: &[u8]) -> Outcome {
    let Some(mut scene) = Scene::new() else { panic!("the flows are made") };
    for step in steps(data) {
        scene.play(step);
        scene.settle();
    }
    // Whatever came, time ends every retransmission.
    for _ in 0..200 {
        let Some(at) = scene.stack.poll_timeout(scene.now) else { break };
        scene.now = scene.now.max(at);
        scene.settle();
    }
    (scene.delivered > 0 && scene.stack.dropped() == 0).into()
}

impl Scene {
    fn new() -> Option<Self> {
        let now = Instant::now();
        let mut stack = Netstack::new(&[IpNet::from(IpAddr::V4(OWN))], MTU, 7, now);
        let tcp = stack.connect(SocketAddr::from((FAR, 443)), TCP_PORT, now).ok()?;
        let udp = stack.udp_bind(SocketAddr::from((FAR, 53)), UDP_PORT).ok()?;
        stack.udp_send(udp, b"question").ok()?;
        let mut scene = Self { stack, now, tcp, udp, seen: 0, next: 1000, delivered: 0 };
        scene.settle();
        Some(scene)
    }

    fn play(&mut self, step: Step<'_>) {
        match step.what % 5 {
            0 => self.stack.handle_packet(step.bytes, self.now),
            1 => self.segment(step.how, step.bytes, 0),
            2 => self.datagram(step.bytes),
            3 => self.now += Duration::from_secs(step.how.into()),
            _ => self.segment(tcp_flags::ACK, step.bytes, step.how.into()),
        }
    }

    fn segment(&mut self, flags: u8, payload: &[u8], ahead: u32) {
        let sequence = self.next.wrapping_add(ahead).to_be_bytes();
        let mut segment = [443_u16.to_be_bytes(), TCP_PORT.to_be_bytes()].concat();
        segment.extend([sequence, self.seen.to_be_bytes()].concat());
        segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(payload);
        if ahead == 0 {
            let ends = u32::from(flags & tcp_flags::SYN != 0) + u32::from(flags & tcp_flags::FIN != 0);
            let len = u32::try_from(payload.len()).unwrap_or(0);
            self.next = self.next.wrapping_add(len).wrapping_add(ends);
        }
        self.send(protocol::TCP, segment, 16);
    }

    fn datagram(&mut self, payload: &[u8]) {
        let len = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
        let mut datagram = [53_u16, UDP_PORT, len, 0].map(u16::to_be_bytes).concat();
        datagram.extend(payload);
        self.send(protocol::UDP, datagram, 6);
    }

    /// Sends a transport message with its checksum, which stands at `at`.
    fn send(&mut self, number: u8, mut message: Vec<u8>, at: usize) {
        let sum = Sum::pseudo(FAR.into(), OWN.into(), number, message.len()) + Sum::of(&message);
        if let Some(field) = message.get_mut(at..at + 2) {
            field.copy_from_slice(&sum.transport_checksum());
        }
        let Ok(len) = u16::try_from(20 + message.len()) else { return };
        let [len_0, len_1] = len.to_be_bytes();
        let mut head = vec![0x45, 0, len_0, len_1, 0, 0, 0x40, 0, 64, number, 0, 0];
        head.extend(FAR.octets());
        head.extend(OWN.octets());
        let checksum = Sum::of(&head).checksum();
        head.splice(10..12, checksum);
        head.extend(message);
        self.stack.handle_packet(&head, self.now);
    }

    /// Takes what the stack sends, and its events, until there is no more.
    fn settle(&mut self) {
        let (mut sent, mut seen) = (0_usize, self.seen);
        self.stack.poll_packets(self.now, &mut |packet| {
            sent += 1;
            seen = check_sent(packet).unwrap_or(seen);
        });
        assert!(sent < 1000, "one call, a bounded number of packets");
        self.seen = seen;
        while let Some(event) = self.stack.poll_event() {
            match event {
                FlowEvent::Established(flow) => {
                    let _ = self.stack.send(flow, b"GET /cdn-cgi/trace HTTP/1.1\r\n\r\n", self.now);
                }
                FlowEvent::Accepted(_)
                | FlowEvent::Readable(_)
                | FlowEvent::Writable(_)
                | FlowEvent::Closed(..) => {}
            }
        }
        let mut bytes = [0; 2048];
        while let Ok(Received::Bytes(len)) = self.stack.receive(self.tcp, &mut bytes) {
            assert!(len > 0 && len <= bytes.len());
            self.delivered += len;
        }
        while let Some(datagram) = self.stack.udp_receive(self.udp) {
            self.delivered += datagram.len();
        }
    }
}

/// What the stack sends is whole, ours, and no longer than the MTU. The next byte that the far side expects, if it
/// is TCP.
fn check_sent(packet: &[u8]) -> Option<u32> {
    assert!(packet.len() <= usize::from(MTU), "no packet beyond the MTU");
    let view = IpView::parse(packet).unwrap_or_else(|error| panic!("what is sent is no packet: {error}"));
    assert_eq!(view.source(), IpAddr::V4(OWN));
    assert_eq!(view.destination(), IpAddr::V4(FAR), "nobody else is spoken to");
    let tcp = view.tcp().ok()??;
    let ends = u32::from(tcp.flags() & (tcp_flags::SYN | tcp_flags::FIN) != 0);
    let len = u32::try_from(tcp.payload().len()).unwrap_or(0);
    Some(tcp.sequence().wrapping_add(len).wrapping_add(ends))
}
