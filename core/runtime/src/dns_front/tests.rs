use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use weft_dns::{DnsConfig, Target, Upstream, UpstreamError, UpstreamErrorKind, Way, message};

use super::tcp::frame;
use super::{DnsProxy, DnsProxyError, Resolve, Resolvers, Resolving};
use crate::sockets::SocketFactory;

const PATIENCE: Duration = Duration::from_secs(10);

/// "X.example TXT".
fn query(id: u16, name: u8) -> Vec<u8> {
    let mut wire = id.to_be_bytes().to_vec();
    wire.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, name]);
    wire.extend_from_slice(b"\x07example\0\0\x10\0\x01");
    wire
}

/// The answer to it, with one record of `len` bytes of data.
fn answer(query: &[u8], len: u16) -> Vec<u8> {
    let mut wire = query.to_vec();
    wire[2] |= 0x80;
    wire[7] = 1;
    wire.extend_from_slice(&[0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60]);
    wire.extend_from_slice(&len.to_be_bytes());
    wire.resize(wire.len() + usize::from(len), 0x61);
    wire
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Answers every query with a record of `len` bytes once it gets a permit. The name "z" waits for another permit.
struct Scripted {
    len: u16,
    go: Arc<Semaphore>,
    go_z: Arc<Semaphore>,
    asked: Arc<AtomicUsize>,
}

impl Scripted {
    fn new(len: u16) -> Arc<Self> {
        let open = || Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Arc::new(Self { len, go: open(), go_z: open(), asked: Arc::default() })
    }

    fn closed(len: u16) -> Arc<Self> {
        let closed = || Arc::new(Semaphore::new(0));
        Arc::new(Self { len, go: closed(), go_z: closed(), asked: Arc::default() })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Resolve for Scripted {
    fn resolve(&self, _: Target, message: Vec<u8>, _: Instant) -> Resolving {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let go = Arc::clone(if message[13] == b'z' { &self.go_z } else { &self.go });
        let len = self.len;
        Box::pin(async move {
            let _permit = go.acquire().await.map_err(|error| failed(&error))?;
            Ok(answer(&message, len))
        })
    }
}

fn failed(error: &dyn std::fmt::Display) -> UpstreamError {
    UpstreamError::new(UpstreamErrorKind::Unreachable, error.to_string())
}

fn doh() -> DnsConfig {
    DnsConfig { upstream: Upstream::Doh, ..DnsConfig::default() }
}

fn local() -> Vec<SocketAddr> {
    vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()]
}

/// Starts a proxy on ports that the system chooses. A port that is free for UDP may be taken for TCP: then on others.
fn start(resolve: Arc<dyn Resolve>) -> DnsProxy {
    let mut attempts = (0..20).map(|_| DnsProxy::start(&local(), doh(), Arc::clone(&resolve)));
    attempts.find_map(Result::ok).expect("no port is free for both")
}

async fn ask_udp(address: SocketAddr, wire: &[u8]) -> Vec<u8> {
    let any = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(any).await.unwrap();
    // Connected: an answer from another address would not be received.
    socket.connect(address).await.unwrap();
    socket.send(wire).await.unwrap();
    let mut room = vec![0; 65_535];
    let length = timeout(PATIENCE, socket.recv(&mut room)).await.unwrap().unwrap();
    room.truncate(length);
    room
}

fn spawn_udp(address: SocketAddr, wire: Vec<u8>) -> tokio::task::JoinHandle<Vec<u8>> {
    tokio::spawn(async move { ask_udp(address, &wire).await })
}

async fn read_answer(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut answer = vec![0; timeout(PATIENCE, stream.read_u16()).await.unwrap()?.into()];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap()?;
    Ok(answer)
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = soon();
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn queries_are_answered_by_udp_and_tcp_on_every_address() {
    let proxy = start(Scripted::new(10));
    assert_eq!(proxy.addresses().len(), 2);
    for address in proxy.addresses() {
        let wire = query(0x1234, b'a');
        assert_eq!(ask_udp(*address, &wire).await, answer(&wire, 10));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&frame(&wire).unwrap()).await.unwrap();
        assert_eq!(read_answer(&mut stream).await.unwrap(), answer(&wire, 10));
    }
    let stats = proxy.stats();
    assert_eq!((stats.queries, stats.upstream, stats.failed), (4, 4, 0));
}

#[tokio::test]
async fn what_is_too_long_for_udp_is_cut_and_whole_by_tcp() {
    let proxy = start(Scripted::new(2000));
    let wire = query(7, b'a');
    let cut = ask_udp(proxy.addresses()[0], &wire).await;
    assert!(message::is_truncated(&cut) && cut.len() <= 512);
    let mut stream = TcpStream::connect(proxy.addresses()[0]).await.unwrap();
    stream.write_all(&frame(&wire).unwrap()).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.unwrap(), answer(&wire, 2000));
}

#[tokio::test]
async fn queries_of_one_connection_are_answered_as_their_answers_come() {
    let scripted = Scripted::closed(10);
    let proxy = start(Arc::clone(&scripted) as Arc<dyn Resolve>);
    let mut stream = TcpStream::connect(proxy.addresses()[0]).await.unwrap();
    let queries = [query(1, b'z'), query(2, b'a')];
    let framed: Vec<u8> = queries.iter().flat_map(|wire| frame(wire).unwrap()).collect();
    // In pieces of one byte, as a network may bring them.
    for byte in framed {
        stream.write_all(&[byte]).await.unwrap();
    }
    scripted.go.add_permits(1);
    assert_eq!(read_answer(&mut stream).await.unwrap(), answer(&queries[1], 10));
    // The client has no more to ask, and still hears what is under way.
    stream.shutdown().await.unwrap();
    scripted.go_z.add_permits(1);
    assert_eq!(read_answer(&mut stream).await.unwrap(), answer(&queries[0], 10));
    assert!(read_answer(&mut stream).await.is_err(), "then the connection ends");
}

#[tokio::test]
async fn a_connection_has_so_many_queries_under_way_and_waits_with_the_rest() {
    let scripted = Scripted::closed(10);
    let proxy = start(Arc::clone(&scripted) as Arc<dyn Resolve>);
    let mut stream = TcpStream::connect(proxy.addresses()[0]).await.unwrap();
    for id in 0..40 {
        stream.write_all(&frame(&query(id, b'a')).unwrap()).await.unwrap();
    }
    eventually("the first are not asked", || scripted.asked() == 16).await;
    // Another client is not held up.
    let other = spawn_udp(proxy.addresses()[0], query(99, b'z'));
    eventually("another client waits", || scripted.asked() == 17).await;
    scripted.go_z.add_permits(1);
    assert_eq!(other.await.unwrap(), answer(&query(99, b'z'), 10));
    assert_eq!(scripted.asked(), 17);
    scripted.go.add_permits(100);
    for _ in 0..40 {
        read_answer(&mut stream).await.unwrap();
    }
}

#[tokio::test]
async fn over_so_many_connections_the_next_is_closed() {
    let proxy = start(Scripted::new(10));
    let address = proxy.addresses()[0];
    let wire = frame(&query(1, b'a')).unwrap();
    let mut open = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&wire).await.unwrap();
        read_answer(&mut stream).await.unwrap();
        open.push(stream);
    }
    let mut over = TcpStream::connect(address).await.unwrap();
    assert!(over.read_u8().await.is_err());
    open.pop();
    let deadline = soon();
    loop {
        let mut again = TcpStream::connect(address).await.unwrap();
        let _ = again.write_all(&wire).await;
        if read_answer(&mut again).await.is_ok() {
            break;
        }
        assert!(Instant::now() < deadline, "no room after one was closed");
    }
}

#[tokio::test]
async fn nonsense_is_refused_and_the_next_query_answered() {
    let proxy = start(Scripted::new(10));
    let address = proxy.addresses()[0];
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(address).await.unwrap();
    let mut many = query(5, b'a');
    many[5] = 2;
    let mut long = query(5, b'a');
    long.resize(6000, 0);
    for bad in [&b""[..], b"x", &answer(&query(5, b'a'), 3)] {
        socket.send(bad).await.unwrap();
    }
    for bad in [many, long] {
        let refused = ask_udp(address, &bad).await;
        assert_eq!(message::rcode(&refused), 1);
    }
    let mut room = [0; 512];
    socket.send(&query(6, b'a')).await.unwrap();
    let length = timeout(PATIENCE, socket.recv(&mut room)).await.unwrap().unwrap();
    assert_eq!(
        room[..length],
        answer(&query(6, b'a'), 10),
        "the first answer to this socket is the good one's"
    );
    // A length that no query has ends the connection.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&[0xff; 2]).await.unwrap();
    assert!(read_answer(&mut stream).await.is_err());
    assert_eq!(proxy.stats().refused, 5);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let taken = udp.local_addr().unwrap();
    let refused = DnsProxy::start(&[taken], doh(), Scripted::new(0)).unwrap_err();
    assert!(matches!(&refused, DnsProxyError::Taken { address, protocol: "UDP" } if *address == taken));
    assert!(refused.to_string().contains(&taken.to_string()), "{refused}");
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = tcp.local_addr().unwrap();
    let refused = DnsProxy::start(&[taken], doh(), Scripted::new(0)).unwrap_err();
    assert!(matches!(refused, DnsProxyError::Taken { address, protocol: "TCP" } if address == taken));
    assert!(matches!(DnsProxy::start(&[], doh(), Scripted::new(0)), Err(DnsProxyError::Nowhere)));
    // What was bound before is free again.
    drop((udp, tcp));
    DnsProxy::start(&[taken], doh(), Scripted::new(0)).unwrap();
}

#[tokio::test]
async fn rules_and_means_change_while_it_runs() {
    let proxy = start(Scripted::new(10));
    let address = proxy.addresses()[0];
    proxy.set_resolve(Scripted::new(20));
    assert_eq!(ask_udp(address, &query(1, b'a')).await, answer(&query(1, b'a'), 20));
    proxy.set_config(DnsConfig::default());
    assert_eq!(message::rcode(&ask_udp(address, &query(1, b'a')).await), 2, "nobody to ask");
    proxy.set_config(doh());
    let scripted = Scripted::closed(10);
    proxy.set_resolve(Arc::clone(&scripted) as Arc<dyn Resolve>);
    let waiting = spawn_udp(address, query(1, b'a'));
    eventually("it is not asked", || scripted.asked() == 1).await;
    proxy.flush();
    assert_eq!(message::rcode(&waiting.await.unwrap()), 2, "a flush answers what is in flight");
}

#[tokio::test]
async fn dropping_the_proxy_frees_its_addresses() {
    let proxy = start(Scripted::closed(10));
    let address = proxy.addresses()[0];
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&frame(&query(1, b'a')).unwrap()).await.unwrap();
    drop(proxy);
    assert!(stream.read_u8().await.is_err());
    let deadline = soon();
    while let Err(error) = DnsProxy::start(&[address], doh(), Scripted::new(10)) {
        assert!(Instant::now() < deadline, "{error}");
        tokio::task::yield_now().await;
    }
}

mod plain {
    use super::*;

    /// A resolver on loopback, UDP and TCP, that treats its nth datagram as the nth function says.
    struct Server {
        address: SocketAddr,
        datagrams: Arc<AtomicUsize>,
    }

    type Treats = fn(&[u8]) -> Vec<Vec<u8>>;

    async fn server(script: Vec<Treats>, by_tcp: bool) -> Server {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let datagrams = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&datagrams);
        tokio::spawn(async move {
            let mut room = [0; 1500];
            while let Ok((length, from)) = udp.recv_from(&mut room).await {
                let index = counted.fetch_add(1, Ordering::SeqCst).min(script.len() - 1);
                for datagram in script[index](&room[..length]) {
                    udp.send_to(&datagram, from).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                if by_tcp {
                    let query = read_answer(&mut stream).await.unwrap();
                    stream.write_all(&frame(&answer(&query, 3000)).unwrap()).await.unwrap();
                }
            }
        });
        Server { address, datagrams }
    }

    fn cut(query: &[u8]) -> Vec<u8> {
        let mut cut = message::error(query, 0);
        cut[2] |= 0x02;
        cut
    }

    fn resolvers(address: SocketAddr) -> Resolvers {
        Resolvers::outside(SocketFactory::new()).with_port(address.port())
    }

    fn to(address: IpAddr, way: Way) -> Target {
        Target::Plain { server: address, way }
    }

    async fn ask(server: &Server) -> Result<Vec<u8>, UpstreamError> {
        let target = to(server.address.ip(), Way::ByAddress);
        resolvers(server.address).resolve(target, query(0x5678, b'a'), soon()).await
    }

    #[tokio::test]
    async fn only_the_answer_to_this_query_counts() {
        let forged: Treats = |query| {
            let bend = |at: usize| {
                let mut bent = answer(query, 4);
                bent[at] ^= 1;
                bent
            };
            vec![bend(1), bend(13), query.to_vec(), b"x".to_vec(), answer(query, 5)]
        };
        assert_eq!(ask(&server(vec![forged], false).await).await, Ok(answer(&query(0x5678, b'a'), 5)));
    }

    #[tokio::test]
    async fn a_lost_query_is_sent_again() {
        let script: Vec<Treats> = vec![|_| Vec::new(), |query| vec![answer(query, 5)]];
        let server = server(script, false).await;
        assert!(ask(&server).await.is_ok());
        assert_eq!(server.datagrams.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_cut_answer_is_asked_for_again_by_tcp() {
        let script: Vec<Treats> = vec![|query| vec![cut(query)]];
        let wire = query(0x5678, b'a');
        assert_eq!(ask(&server(script.clone(), true).await).await, Ok(answer(&wire, 3000)));
        // Where TCP comes to nothing, the cut answer is all there is.
        assert_eq!(ask(&server(script, false).await).await, Ok(cut(&wire)));
    }

    #[tokio::test]
    async fn who_is_not_there_is_named_at_once_or_at_the_deadline() {
        let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let target = to(gone.ip(), Way::ByAddress);
        let error = resolvers(gone).resolve(target, query(1, b'a'), soon()).await.unwrap_err();
        assert!(error.to_string().contains(&gone.to_string()), "{error}");
        let silent = server(vec![|_| Vec::new()], false).await;
        let deadline = Instant::now() + Duration::from_millis(50);
        let target = to(silent.address.ip(), Way::ByAddress);
        assert!(resolvers(silent.address).resolve(target, query(1, b'a'), deadline).await.is_err());
    }

    #[tokio::test]
    async fn what_belongs_into_the_tunnel_never_leaves_outside_it() {
        let server = server(vec![|query| vec![answer(query, 5)]], false).await;
        let address = server.address.ip();
        let mut resolvers = resolvers(server.address);
        let target = to(address, Way::Tunnel);
        assert!(resolvers.resolve(target, query(1, b'a'), soon()).await.is_err());
        resolvers.is_tunnelled = Arc::new(move |ip| ip == address);
        let target = to(address, Way::ByAddress);
        assert!(resolvers.resolve(target, query(1, b'a'), soon()).await.is_err());
        assert!(resolvers.resolve(Target::Doh, query(1, b'a'), soon()).await.is_err());
        assert_eq!(server.datagrams.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn inside_the_tunnel_a_resolver_is_asked_from_the_tunnels_address() {
        let pair = crate::flows::tests::pair();
        let seen = Arc::new(Mutex::new(None));
        let resolver = crate::flows::tests::answering_server(&pair, {
            let seen = Arc::clone(&seen);
            move |from, query| {
                *seen.lock().unwrap() = Some(from);
                answer(query, 5)
            }
        });
        let mut resolvers = Resolvers::outside(SocketFactory::new()).with_port(resolver.port());
        resolvers.net = Some(pair.nets[0].clone());
        let target = to(resolver.ip(), Way::Tunnel);
        let given = resolvers.resolve(target, query(0x5678, b'a'), soon()).await;
        assert_eq!(given, Ok(answer(&query(0x5678, b'a'), 5)));
        let from: SocketAddr = seen.lock().unwrap().unwrap();
        assert_eq!(from.ip(), "172.16.0.2".parse::<IpAddr>().unwrap());
    }
}
