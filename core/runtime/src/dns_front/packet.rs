//! Queries in IP packets: for hosts whose DNS server is a sentinel address that is routed into the TUN.
//!
//! Datagrams are answered one by one, connections by a netstack, whose streams are served as any others are. What is no
//! DNS is refused, as a host without such a service does: a datagram by ICMP, a segment by a reset.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use weft_dns::{Protocol, message};
use weft_netstack::datagram::{self, Datagram};
use weft_packet::{IcmpKind, Run, icmp};

use super::connections::Connections;
use super::core::{Client, Core};
use super::tcp;
use crate::data_plane::{FlowClaims, IcmpLimit};
use crate::flows::{self, TunnelNet};

/// The port of plain DNS.
const PORT: u16 = 53;
/// Packets that may wait; more are refused. 384 KiB at an MTU of 1,500.
const QUEUE: usize = 256;
/// Packets that are taken at once.
const AT_ONCE: usize = 64;

/// Where a front's packets go.
pub type PacketSink = Arc<dyn Fn(Run) + Send + Sync>;

/// What a [`PacketFront`] is made of.
pub struct PacketConfig {
    /// The sentinel addresses, eight at most. Port 53 is served on each.
    pub addresses: Vec<IpAddr>,
    /// The longest packet in bytes, both ways.
    pub mtu: u16,
    /// Takes answers, to be handed to the device. Must not block.
    pub send: PacketSink,
}

/// A front of IP packets. Dropping it ends its connections; the proxy goes on.
pub struct PacketFront {
    packets: mpsc::Sender<Vec<u8>>,
    _tasks: JoinSet<()>,
}

impl std::fmt::Debug for PacketFront {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketFront").finish_non_exhaustive()
    }
}

impl PacketFront {
    pub(super) fn start(core: Arc<Core>, connections: Connections, config: PacketConfig) -> io::Result<Self> {
        let PacketConfig { addresses, mtu, send } = config;
        let (packets, inbox) = mpsc::channel(QUEUE);
        let (segments, segment_inbox) = mpsc::channel(QUEUE);
        let out = Arc::clone(&send);
        let net = TunnelNet::start(
            flows::Config {
                addresses: Vec::new(),
                mtu,
                claims: Arc::new(FlowClaims::new()),
                send: Box::new(move |run| out(run)),
            },
            segment_inbox,
        )?;
        for address in &addresses {
            net.listen(SocketAddr::new(*address, PORT))?;
        }
        let sorter = Sorter {
            core: Arc::clone(&core),
            addresses,
            mtu: mtu.into(),
            segments,
            send,
            icmp: IcmpLimit::new(Instant::now()),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(sorter.run(inbox));
        tasks.spawn(accept(net, core, connections));
        Ok(Self { packets, _tasks: tasks })
    }

    /// Where packets for the sentinel addresses go; what finds it full is lost. It is closed when the front is gone.
    #[must_use]
    pub fn packets(&self) -> mpsc::Sender<Vec<u8>> {
        self.packets.clone()
    }
}

async fn accept(net: TunnelNet, core: Arc<Core>, connections: Connections) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = net.accept() => accepted,
            Some(_) = open.join_next() => continue,
        };
        match accepted {
            Ok(stream) => {
                if let Some(place) = connections.take() {
                    open.spawn(tcp::converse(stream, Arc::clone(&core), place));
                }
            }
            // The packets have ended, and the front with them.
            Err(_) => return,
        }
    }
}

/// Sends each packet its way.
struct Sorter {
    core: Arc<Core>,
    addresses: Vec<IpAddr>,
    mtu: usize,
    segments: mpsc::Sender<Vec<u8>>,
    send: PacketSink,
    icmp: IcmpLimit,
}

/// A query in a datagram, and the room for its answer.
struct Asked {
    from: SocketAddr,
    to: SocketAddr,
    query: Vec<u8>,
    answer: Vec<u8>,
}

impl Sorter {
    async fn run(mut self, mut inbox: mpsc::Receiver<Vec<u8>>) {
        let (mut packets, mut asked) = (Vec::with_capacity(AT_ONCE), Vec::new());
        while inbox.recv_many(&mut packets, AT_ONCE).await > 0 {
            asked.extend(packets.drain(..).filter_map(|packet| self.sort(packet)));
            self.ask(&mut asked);
        }
    }

    /// A query, if the packet is one; else it has been dealt with.
    fn sort(&mut self, packet: Vec<u8>) -> Option<Asked> {
        let Some(Datagram { from, to, payload }) = Datagram::parse(&packet) else {
            // A segment, or nothing that anybody takes. A full queue loses it, and TCP sends it again.
            let _full = self.segments.try_send(packet);
            return None;
        };
        if !self.addresses.contains(&to.ip()) || from.port() == 0 {
            return None;
        }
        if to.port() != PORT {
            self.refuse(&packet);
            return None;
        }
        let mut query = payload.to_vec();
        // The answer must fit a packet, since nobody here makes fragments.
        let longest = datagram::longest(from.ip(), self.mtu);
        message::clamp_payload_size(&mut query, u16::try_from(longest).unwrap_or(u16::MAX));
        Some(Asked { from, to, query, answer: Vec::new() })
    }

    fn ask(&self, asked: &mut Vec<Asked>) {
        if asked.is_empty() {
            return;
        }
        self.core.queries(|state, now| {
            for Asked { from, to, query, answer } in asked.iter_mut() {
                let id = state.next_client();
                let client = || {
                    let reply = Reply { from: *to, to: *from, send: Arc::clone(&self.send) };
                    Some(Client::Packet(reply))
                };
                state.query(id, Protocol::Udp, query, answer, now, client);
            }
        });
        for Asked { from, to, answer, .. } in asked.drain(..).filter(|asked| !asked.answer.is_empty()) {
            Reply { from: to, to: from, send: Arc::clone(&self.send) }.send(&answer);
        }
    }

    /// Says that nobody listens at the port.
    fn refuse(&mut self, packet: &[u8]) {
        let mut bytes = [0; icmp::LONGEST_REPLY];
        if !self.icmp.allows(Instant::now()) {
            return;
        }
        let refusal = Run::from_packet(packet)
            .ok()
            .and_then(|run| icmp::reply(&run, IcmpKind::Port, None, &mut bytes))
            .and_then(|len| bytes.get(..len))
            .and_then(|reply| Run::from_packet(reply).ok());
        if let Some(refusal) = refusal {
            (self.send)(refusal);
        }
    }
}

/// Who asked by a datagram, and how to reach them.
pub(super) struct Reply {
    from: SocketAddr,
    to: SocketAddr,
    send: PacketSink,
}

impl Reply {
    pub(super) fn send(&self, answer: &[u8]) {
        let packet = Datagram { from: self.from, to: self.to, payload: answer }.packet();
        if let Some(run) = packet.and_then(|packet| Run::from_packet(&packet).ok()) {
            (self.send)(run);
        }
    }
}
