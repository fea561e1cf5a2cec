//! A proxy with every front, clients of each, and the messages that they exchange.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use weft_dns::{DnsConfig, Request, Upstream, UpstreamError, UpstreamErrorKind, message};
use weft_netstack::datagram::Datagram;

use crate::data_plane::FlowClaims;
use crate::dns_front::tcp::frame;
use crate::dns_front::{Answers, DnsProxy, PacketConfig, PacketFront, Resolve, Resolving};
use crate::flows::{self, TunnelNet};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// "NAME.example TXT".
pub(super) fn query(id: u16, name: &str) -> Vec<u8> {
    let mut wire = id.to_be_bytes().to_vec();
    wire.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8]);
    wire.extend_from_slice(name.as_bytes());
    wire.extend_from_slice(b"\x07example\0\0\x10\0\x01");
    wire
}

/// The answer to a query without EDNS, with one record of `len` bytes of data.
pub(super) fn answer(query: &[u8], len: u16) -> Vec<u8> {
    let end = message::question_place(query).unwrap().end;
    let mut wire = query[..end].to_vec();
    wire[2] |= 0x80;
    wire[7] = 1;
    wire[8..12].fill(0);
    wire.extend_from_slice(&[0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60]);
    wire.extend_from_slice(&len.to_be_bytes());
    wire.resize(wire.len() + usize::from(len), 0x61);
    wire
}

/// Checks that `got` is the whole answer to `query`, with `len` bytes of data.
#[track_caller]
pub(super) fn answers(got: &[u8], query: &[u8], len: u16) {
    assert!(message::is_answer(got) && message::rcode(got) == 0, "{got:?}");
    assert_eq!(message::id(got), message::id(query));
    assert_eq!(message::question(got).unwrap(), message::question(query).unwrap());
    assert!(got.ends_with(&vec![0x61; len.into()]) && !message::is_truncated(got), "{got:?}");
}

/// Answers every query with a record of `len` bytes once it gets a permit. Names that begin with "z" wait for another
/// permit.
pub(super) struct Scripted {
    len: u16,
    pub(super) go: Semaphore,
    pub(super) go_z: Semaphore,
    asked: AtomicUsize,
}

impl Scripted {
    pub(super) fn new(len: u16) -> Arc<Self> {
        let open = || Semaphore::new(Semaphore::MAX_PERMITS);
        Arc::new(Self { len, go: open(), go_z: open(), asked: AtomicUsize::new(0) })
    }

    pub(super) fn closed(len: u16) -> Arc<Self> {
        let closed = || Semaphore::new(0);
        Arc::new(Self { len, go: closed(), go_z: closed(), asked: AtomicUsize::new(0) })
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// What the proxy is given, so that a test may keep the script.
pub(super) struct By(pub(super) Arc<Scripted>);

impl Resolve for By {
    fn resolve(&self, request: Request, _: &Weak<dyn Answers>) -> Option<Resolving> {
        let (script, message) = (Arc::clone(&self.0), request.message);
        script.asked.fetch_add(1, Ordering::SeqCst);
        Some(Box::pin(async move {
            let waits = message[13].eq_ignore_ascii_case(&b'z');
            let go = if waits { &script.go_z } else { &script.go };
            let stopped = |_| UpstreamError::new(UpstreamErrorKind::Unreachable, "stopped");
            go.acquire().await.map_err(stopped)?.forget();
            let mut answer = answer(&message, script.len);
            if message::edns(&message).is_some() {
                answer[11] = 1;
                answer.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
            }
            Ok(answer)
        }))
    }
}

/// Everything to DoH, nothing kept.
pub(super) fn doh() -> DnsConfig {
    DnsConfig { upstream: Upstream::Doh, cache_bytes: 0, ..DnsConfig::default() }
}

pub(super) fn local() -> Vec<SocketAddr> {
    ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0", "127.0.0.3:0"].map(|text| text.parse().unwrap()).to_vec()
}

/// Starts a proxy on ports that the system chooses. A port that is free for UDP may be taken for TCP: then on others.
pub(super) fn start(script: &Arc<Scripted>) -> DnsProxy {
    start_with(script, doh())
}

pub(super) fn start_with(script: &Arc<Scripted>, config: DnsConfig) -> DnsProxy {
    let mut attempts =
        (0..20).map(|_| DnsProxy::start(&local(), config.clone(), Arc::new(By(Arc::clone(script)))));
    attempts.find_map(Result::ok).expect("no port is free for both")
}

/// What a client asks at: an address of the system's, or a sentinel behind a TUN.
pub(super) enum Peer {
    Address(SocketAddr),
    Sentinel(Arc<Device>, SocketAddr),
}

/// One way to ask a proxy of its own, which answers by `script`.
pub(super) struct Bench {
    pub(super) proxy: DnsProxy,
    pub(super) peer: Peer,
    _front: Option<PacketFront>,
}

/// The sentinels.
pub(super) const SENTINELS: [&str; 2] = ["192.0.2.53", "2001:db8::53"];

impl Bench {
    /// One for each front and family.
    pub(super) fn each(script: impl Fn() -> Arc<Scripted>) -> Vec<(Self, Arc<Scripted>)> {
        let sockets = [0, 2].map(|place| {
            let script = script();
            let proxy = start(&script);
            let peer = Peer::Address(proxy.addresses()[place]);
            (Self { proxy, peer, _front: None }, script)
        });
        let packets = SENTINELS.map(|sentinel| {
            let script = script();
            let proxy = DnsProxy::start(&[], doh(), Arc::new(By(Arc::clone(&script)))).unwrap();
            let (device, front) = Device::new(&proxy);
            let peer = Peer::Sentinel(device, SocketAddr::new(sentinel.parse().unwrap(), 53));
            (Self { proxy, peer, _front: Some(front) }, script)
        });
        sockets.into_iter().chain(packets).collect()
    }
}

/// Packets from and to programs behind a TUN.
pub(super) struct Device {
    to_front: mpsc::Sender<Vec<u8>>,
    net: TunnelNet,
    /// Packets that the front gave and that are of no connection.
    others: Arc<Mutex<mpsc::UnboundedReceiver<Vec<u8>>>>,
    next_port: AtomicUsize,
}

impl Device {
    pub(super) fn new(proxy: &DnsProxy) -> (Arc<Self>, PacketFront) {
        let (to_net, at_net) = mpsc::channel(1024);
        let (to_others, others) = mpsc::unbounded_channel();
        let front = proxy
            .packets(PacketConfig {
                addresses: SENTINELS.iter().map(|text| text.parse().unwrap()).collect(),
                mtu: 1280,
                send: Arc::new(move |run| {
                    let packet = run.packet().to_vec();
                    assert!(packet.len() <= 1280);
                    let is_tcp = if packet[0] >> 4 == 4 { packet[9] } else { packet[6] } == 6;
                    // A full queue drops, as a network does.
                    if is_tcp { drop(to_net.try_send(packet)) } else { drop(to_others.send(packet)) }
                }),
            })
            .unwrap();
        let to_front = front.packets();
        let out = to_front.clone();
        let net = TunnelNet::start(
            flows::Config {
                addresses: ["172.16.0.2/32", "2001:db8::2/128"].map(|text| text.parse().unwrap()).to_vec(),
                mtu: 1280,
                claims: Arc::new(FlowClaims::new()),
                send: Box::new(move |run| drop(out.try_send(run.packet().to_vec()))),
            },
            at_net,
        )
        .unwrap();
        let others = Arc::new(Mutex::new(others));
        (Arc::new(Self { to_front, net, others, next_port: AtomicUsize::new(2000) }), front)
    }

    pub(super) async fn packet(&self, packet: Vec<u8>) {
        self.to_front.send(packet).await.unwrap();
    }

    /// The next packet that is of no connection.
    pub(super) async fn other(&self) -> Vec<u8> {
        let next = std::future::poll_fn(|context| self.others.lock().unwrap().poll_recv(context));
        timeout(PATIENCE, next).await.unwrap().unwrap()
    }

    pub(super) fn packets(&self) -> mpsc::Sender<Vec<u8>> {
        self.to_front.clone()
    }

    /// Why a connection cannot be had, if it cannot.
    pub(super) async fn connect(&self, to: SocketAddr) -> Option<std::io::ErrorKind> {
        self.net.connect_tcp(to).await.err().map(|error| error.kind())
    }

    pub(super) fn address(&self, peer: IpAddr) -> IpAddr {
        if peer.is_ipv4() { "172.16.0.2" } else { "2001:db8::2" }.parse().unwrap()
    }
}

/// A socket for datagrams to a proxy.
pub(super) enum Datagrams {
    Socket(UdpSocket),
    Packets { device: Arc<Device>, from: SocketAddr, to: SocketAddr },
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Peer {
    pub(super) async fn datagrams(&self) -> Datagrams {
        match self {
            Self::Address(address) => {
                let any = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
                let socket = UdpSocket::bind(any).await.unwrap();
                // Connected: an answer from another address would not be received.
                socket.connect(address).await.unwrap();
                Datagrams::Socket(socket)
            }
            Self::Sentinel(device, to) => {
                let port = device.next_port.fetch_add(1, Ordering::Relaxed) as u16;
                let from = SocketAddr::new(device.address(to.ip()), port);
                Datagrams::Packets { device: Arc::clone(device), from, to: *to }
            }
        }
    }

    pub(super) async fn connect(&self) -> Box<dyn Stream> {
        match self {
            Self::Address(address) => Box::new(TcpStream::connect(address).await.unwrap()),
            Self::Sentinel(device, to) => Box::new(device.net.connect_tcp(*to).await.unwrap()),
        }
    }

    pub(super) async fn ask(&self, wire: &[u8]) -> Vec<u8> {
        let datagrams = self.datagrams().await;
        datagrams.send(wire).await;
        datagrams.receive().await
    }
}

impl Datagrams {
    pub(super) async fn send(&self, payload: &[u8]) {
        match self {
            Self::Socket(socket) => drop(socket.send(payload).await.unwrap()),
            Self::Packets { device, from, to } => {
                let packet = Datagram { from: *from, to: *to, payload }.packet().unwrap();
                device.packet(packet).await;
            }
        }
    }

    /// The next answer. There is one asker at a time behind a TUN.
    pub(super) async fn receive(&self) -> Vec<u8> {
        match self {
            Self::Socket(socket) => {
                let mut room = vec![0; 65_535];
                let length = timeout(PATIENCE, socket.recv(&mut room)).await.unwrap().unwrap();
                room.truncate(length);
                room
            }
            Self::Packets { device, from, to } => {
                let packet = device.other().await;
                let answer = Datagram::parse(&packet).unwrap();
                assert_eq!((answer.from, answer.to), (*to, *from));
                answer.payload.to_vec()
            }
        }
    }
}

pub(super) async fn send(stream: &mut (impl AsyncWrite + Unpin + ?Sized), message: &[u8]) {
    stream.write_all(&frame(message).unwrap()).await.unwrap();
}

pub(super) async fn read_answer(stream: &mut (impl AsyncRead + Unpin + ?Sized)) -> std::io::Result<Vec<u8>> {
    let mut answer = vec![0; timeout(PATIENCE, stream.read_u16()).await.unwrap()?.into()];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap()?;
    Ok(answer)
}
