//! Plain resolvers on loopback that behave as they are asked to.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use weft_dns::{
    ClientId, DnsConfig, Engine, Protocol, RequestId, Taken, Upstream, UpstreamError, UpstreamErrorKind, Way,
    message,
};

use super::judge::{Verdict, judge};
use super::{Resolve, Resolvers};
use crate::dns_front::entropy::SystemIds;
use crate::doh::{Answered, Answers, Resolving};
use crate::sockets::SocketFactory;
use crate::testing::eventually;

/// "Xx.example A" with EDNS or without.
fn query(id: u16, name: &[u8; 2], edns: bool) -> Vec<u8> {
    let mut wire = id.to_be_bytes().to_vec();
    wire.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns), 2, name[0], name[1]]);
    wire.extend_from_slice(b"\x07example\0\0\x01\0\x01");
    if edns {
        wire.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    }
    wire
}

/// The answer without records.
fn answer(query: &[u8]) -> Vec<u8> {
    let mut wire = query.to_vec();
    wire[2] |= 0x80;
    wire
}

fn with_rcode(mut wire: Vec<u8>, rcode: u8) -> Vec<u8> {
    wire[3] |= rcode;
    wire
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// What a resolver sees and answers: the datagrams for each that comes.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    ports: Arc<Mutex<HashSet<u16>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// By UDP it answers with `by_udp`; by TCP, with `by_tcp` of every query that came so far, once that is some.
    async fn start(by_udp: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static, by_tcp: ByTcp) -> Self {
        let (socket, listener) = loop {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // The port may be taken for TCP.
            if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
                break (socket, listener);
            }
        };
        let server = Self {
            address: socket.local_addr().unwrap(),
            asked: Arc::default(),
            ports: Arc::default(),
            connections: Arc::default(),
        };
        let (asked, ports) = (Arc::clone(&server.asked), Arc::clone(&server.ports));
        tokio::spawn(async move {
            let mut room = [0; 65_535];
            loop {
                let (length, from) = socket.recv_from(&mut room).await.unwrap();
                asked.fetch_add(1, Ordering::SeqCst);
                ports.lock().unwrap().insert(from.port());
                for datagram in by_udp(&room[..length]) {
                    // Who has given up has closed its port.
                    let _refused = socket.send_to(&datagram, from).await;
                }
            }
        });
        let connections = Arc::clone(&server.connections);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(converse(stream, by_tcp));
            }
        });
        server
    }

    fn resolvers(&self) -> Resolvers {
        Resolvers::outside(SocketFactory::new()).with_port(self.address.port())
    }

    fn ask(&self, resolvers: &Resolvers, query: &[u8], deadline: Instant) -> Asking {
        tokio::spawn(resolvers.clone().ask(self.address.ip(), Way::ByAddress, query.to_vec(), deadline))
    }
}

/// What to answer of the queries that came and are not answered yet; none closes the connection.
type ByTcp = fn(&mut Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>>;
type Asking = JoinHandle<Result<Vec<u8>, UpstreamError>>;

/// Closes where the answers are none.
async fn converse(mut stream: TcpStream, by_tcp: ByTcp) {
    let mut queries = Vec::new();
    while let Ok(length) = stream.read_u16().await {
        let mut query = vec![0; length.into()];
        stream.read_exact(&mut query).await.unwrap();
        queries.push(query);
        let Some(answers) = by_tcp(&mut queries) else { return };
        for answer in answers {
            stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    }
}

fn cut(query: &[u8]) -> Vec<Vec<u8>> {
    let mut cut = answer(query);
    cut[2] |= 0x02;
    vec![cut]
}

fn at_once(queries: &mut Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    Some(queries.drain(..).map(|query| answer(&query)).collect())
}

#[test]
fn messages_are_judged_by_id_question_and_case() {
    let asked = query(7, b"Ab", true);
    let plain = query(7, b"Ab", false);
    let lower = query(7, b"ab", true);
    let mut cut = answer(&asked);
    cut[2] |= 2;
    let mut refused = with_rcode(answer(&plain), 1);
    let mut header = with_rcode(answer(&asked)[..12].to_vec(), 4);
    header[4..].fill(0);
    let cases = [
        ("right", answer(&asked), Verdict::Answer),
        ("cut", cut, Verdict::Cut),
        ("another id", answer(&query(8, b"Ab", true)), Verdict::Other),
        ("another name", answer(&query(7, b"Ac", true)), Verdict::Other),
        ("a query", asked.clone(), Verdict::Other),
        ("nothing", Vec::new(), Verdict::Other),
        ("another case", answer(&lower), Verdict::Answer),
        ("no EDNS here", refused.clone(), Verdict::Again(plain.clone())),
        ("no EDNS here, in short", header, Verdict::Again(plain.clone())),
        ("malformed it says, with EDNS", with_rcode(answer(&asked), 1), Verdict::Answer),
        ("no such name", with_rcode(answer(&plain), 3), Verdict::Answer),
    ];
    for (what, message, verdict) in cases {
        assert_eq!(judge(&asked, &message), verdict, "{what}");
    }
    refused[12..].copy_from_slice(&plain[12..]);
    assert_eq!(judge(&plain, &refused), Verdict::Answer, "there was no EDNS to leave out");
}

#[tokio::test]
async fn what_is_no_answer_is_passed_over_and_counted() {
    let forged = |query: &[u8]| {
        let mut id = answer(query);
        id[0] ^= 1;
        let mut name = answer(query);
        name[14] ^= 1;
        vec![vec![1, 2, 3], id, name, query.to_vec(), answer(query)]
    };
    let server = Server::start(forged, at_once).await;
    let resolvers = server.resolvers();
    let asked = query(7, b"ab", true);
    assert_eq!(server.ask(&resolvers, &asked, soon()).await.unwrap(), Ok(answer(&asked)));
    assert_eq!((resolvers.take_mismatched(), resolvers.take_mismatched()), (4, 0));
}

#[tokio::test]
async fn a_resolver_without_edns_is_asked_in_its_form_and_its_case_is_left_to_the_engine() {
    let old = |query: &[u8]| {
        let question = message::question(query).unwrap();
        let mut own = query.to_vec();
        own[12..question.end - 4].copy_from_slice(question.name.as_bytes());
        match message::edns(query) {
            Some(_) => vec![with_rcode(answer(&query[..12]), 1)],
            None => vec![answer(&own)],
        }
    };
    let server = Server::start(old, at_once).await;
    let asked = server.ask(&server.resolvers(), &query(7, b"aB", true), soon()).await.unwrap();
    assert_eq!(asked, Ok(answer(&query(7, b"ab", false))));
    assert_eq!(server.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn only_so_many_guesses_are_heard() {
    let forged = |query: &[u8]| {
        let mut all = vec![with_id_off(query); 16];
        all.push(answer(query));
        all
    };
    let server = Server::start(forged, at_once).await;
    let resolvers = server.resolvers();
    let error = server.ask(&resolvers, &query(7, b"ab", true), soon()).await.unwrap().unwrap_err();
    assert_eq!((error.kind, resolvers.take_mismatched()), (UpstreamErrorKind::Garbage, 16), "{error:?}");
}

fn with_id_off(query: &[u8]) -> Vec<u8> {
    let mut wire = answer(query);
    wire[0] ^= 1;
    wire
}

#[tokio::test]
async fn a_resolver_that_knows_no_form_at_all_ends_in_time() {
    let server = Server::start(|query| vec![with_rcode(answer(&query[..12]), 1)], at_once).await;
    let deadline = Instant::now() + Duration::from_millis(1500);
    let error = server.ask(&server.resolvers(), &query(7, b"ab", true), deadline).await.unwrap();
    assert_eq!(error.unwrap_err().kind, UpstreamErrorKind::TimedOut);
}

#[tokio::test]
async fn cut_answers_come_whole_over_one_connection_in_any_order() {
    // By TCP it waits for three queries, and answers them from the last to the first.
    let server = Server::start(cut, |queries| {
        let whole = if queries.len() == 3 { queries.drain(..).rev().collect() } else { Vec::new() };
        Some(whole.iter().map(|query: &Vec<u8>| answer(query)).collect())
    })
    .await;
    let resolvers = server.resolvers();
    for _ in 0..2 {
        // Two of them have the same id.
        let asked = [query(7, b"ab", true), query(7, b"ac", true), query(9, b"ad", true)];
        let asking: Vec<_> = asked.iter().map(|query| server.ask(&resolvers, query, soon())).collect();
        for (query, asking) in asked.iter().zip(asking) {
            assert_eq!(asking.await.unwrap(), Ok(answer(query)));
        }
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    resolvers.reset();
    let _third = server.ask(&resolvers, &query(1, b"ab", true), soon());
    eventually("another network has another connection", || server.connections.load(Ordering::SeqCst) == 2)
        .await;
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_replaced() {
    let server = Server::start(cut, |queries| (queries.len() == 1).then(|| vec![answer(&queries[0])])).await;
    let resolvers = server.resolvers();
    for name in [b"ab", b"ac", b"ad"] {
        let asked = query(7, name, false);
        assert_eq!(server.ask(&resolvers, &asked, soon()).await.unwrap(), Ok(answer(&asked)));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn without_tcp_the_cut_answer_is_better_than_none() {
    let server = Server::start(cut, |_| None).await;
    let asked = query(7, b"ab", true);
    let got = server.ask(&server.resolvers(), &asked, soon()).await.unwrap();
    assert_eq!(got, Ok(cut(&asked).remove(0)));
    assert_eq!(
        server.connections.load(Ordering::SeqCst),
        1,
        "a new connection that fails is not tried again"
    );
}

#[tokio::test]
async fn a_silent_resolver_holds_few_sockets_and_ends_in_time() {
    let silent = Server::start(|_| Vec::new(), at_once).await;
    let resolvers = silent.resolvers();
    let deadline = Instant::now() + Duration::from_millis(700);
    let many: Vec<_> =
        (0..1000).map(|id| silent.ask(&resolvers, &query(id, b"ab", true), deadline)).collect();
    for asking in many {
        let error = asking.await.unwrap().unwrap_err();
        assert_eq!(error.kind, UpstreamErrorKind::TimedOut, "{error:?}");
    }
    let ports = silent.ports.lock().unwrap().len();
    assert!((64..=128).contains(&ports), "{ports} ports");
}

#[tokio::test]
async fn who_cannot_be_asked_is_named_by_kind() {
    let resolvers = Resolvers::outside(SocketFactory::new()).with_port(1);
    let local = vec!["127.0.0.1".parse().unwrap()];
    let cases = [
        (Upstream::Doh, UpstreamErrorKind::NotReady),
        (Upstream::Plain(local.clone()), UpstreamErrorKind::NotReady),
        (Upstream::System, UpstreamErrorKind::Unreachable),
    ];
    for (upstream, kind) in cases {
        let mut engine = Engine::new(Box::new(SystemIds::default()));
        let config = DnsConfig { upstream, system_resolvers: local.clone(), ..DnsConfig::default() };
        engine.set_config(config, Instant::now());
        let wire = query(1, b"ab", true);
        let taken = engine.handle_query(ClientId(0), Protocol::Udp, &wire, &mut Vec::new(), Instant::now());
        assert_eq!(taken, Taken::Waiting);
        let nobody: Weak<Nobody> = Weak::new();
        let resolving = resolvers.resolve(engine.poll_request().unwrap(), &(nobody as Weak<dyn Answers>));
        let error = resolving.unwrap().await.unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
    }
}

struct Nobody;

impl Answers for Nobody {
    fn answered(&self, _: Vec<Answered>) {
        unreachable!("it is not there");
    }

    fn go_on(&self, _: RequestId, _: Resolving) {
        unreachable!("it is not there");
    }
}
