use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Config, TunnelNet, TunnelStream};
use crate::data_plane::{FlowClaims, OWN_PORTS, Protocol};
use crate::testing::eventually;

const ADDRESSES: [[&str; 2]; 2] =
    [["172.16.0.2/32", "2001:db8::2/128"], ["192.0.2.53/32", "2001:db8::53/128"]];
const PATIENCE: Duration = Duration::from_secs(10);

/// Two nets whose packets go straight to each other, and what stops them.
pub(crate) struct Pair {
    pub(crate) nets: [TunnelNet; 2],
    pub(crate) claims: [Arc<FlowClaims>; 2],
    /// Drop one to take that side's tunnel away.
    pub(crate) links: [Option<mpsc::Sender<Vec<u8>>>; 2],
}

pub(crate) fn pair() -> Pair {
    let channels = [(); 2].map(|()| mpsc::channel::<Vec<u8>>(1024));
    let [(to_zero, at_zero), (to_one, at_one)] = channels;
    let claims = [(); 2].map(|()| Arc::new(FlowClaims::new()));
    let start = |side: usize, packets, other: mpsc::WeakSender<Vec<u8>>| {
        let config = Config {
            addresses: ADDRESSES[side].iter().map(|text| text.parse().unwrap()).collect(),
            mtu: 1280,
            claims: Arc::clone(&claims[side]),
            send: Box::new(move |run| {
                // A full queue drops, as a network does.
                let _ = other.upgrade().map(|other| other.try_send(run.packet().to_vec()));
            }),
        };
        TunnelNet::start(config, packets).unwrap()
    };
    let nets = [start(0, at_zero, to_one.downgrade()), start(1, at_one, to_zero.downgrade())];
    Pair { nets, claims, links: [Some(to_zero), Some(to_one)] }
}

fn at(side: usize, family: usize, port: u16) -> SocketAddr {
    SocketAddr::new(ADDRESSES[side][family].split('/').next().unwrap().parse().unwrap(), port)
}

/// Connects the two to each other at once: the one that would listen is a stack of the same kind.
pub(crate) async fn connect(pair: &Pair, family: usize) -> [TunnelStream; 2] {
    let ports = [0, 1].map(|side: usize| pair.nets[side].shared.claim_port(Protocol::Tcp).unwrap());
    let one = pair.nets[0].connect_from(ports[0], at(1, family, ports[1]));
    let two = pair.nets[1].connect_from(ports[1], at(0, family, ports[0]));
    let (one, two) = timeout(PATIENCE, async { tokio::join!(one, two) }).await.unwrap();
    [one.unwrap(), two.unwrap()]
}

fn claimed(claims: &FlowClaims) -> usize {
    let count = |protocol| OWN_PORTS.filter(|port| claims.is_claimed(protocol, *port)).count();
    count(Protocol::Tcp) + count(Protocol::Udp)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_the_end_is_seen() {
    for family in [0, 1] {
        let pair = pair();
        let [mut one, mut two] = connect(&pair, family).await;
        let data: Vec<u8> = (0..1_000_000_u32).map(|number| ((number * 31) >> 3) as u8).collect();
        let sent = data.clone();
        let sender = tokio::spawn(async move {
            one.write_all(&sent).await.unwrap();
            one.shutdown().await.unwrap();
            let mut back = Vec::new();
            one.read_to_end(&mut back).await.unwrap();
            back
        });
        let mut received = Vec::new();
        timeout(PATIENCE, two.read_to_end(&mut received)).await.unwrap().unwrap();
        assert!(received == data);
        two.write_all(b"thanks").await.unwrap();
        drop(two);
        assert_eq!(timeout(PATIENCE, sender).await.unwrap().unwrap(), b"thanks");
    }
}

#[tokio::test]
async fn a_writer_waits_for_the_reader() {
    let pair = pair();
    let [mut one, mut two] = connect(&pair, 0).await;
    let mut sent = 0;
    while let Ok(count) = timeout(Duration::from_millis(200), one.write(&[5; 10_000])).await {
        sent += count.unwrap();
        assert!(sent < 1 << 20, "nothing held the writer back");
    }
    let mut received = vec![0; sent];
    timeout(PATIENCE, two.read_exact(&mut received)).await.unwrap().unwrap();
    timeout(PATIENCE, one.write_all(b"more")).await.unwrap().unwrap();
}

#[tokio::test]
async fn ports_are_claimed_while_flows_live_and_given_back() {
    let pair = pair();
    let [one, two] = connect(&pair, 0).await;
    assert_eq!((claimed(&pair.claims[0]), claimed(&pair.claims[1])), (1, 1));
    // The one that closes second has no TIME-WAIT.
    drop(one);
    let mut end = [0; 1];
    let mut two = two;
    assert_eq!(timeout(PATIENCE, two.read(&mut end)).await.unwrap().unwrap(), 0);
    drop(two);
    eventually("the port stays claimed", || claimed(&pair.claims[1]) == 0).await;
}

#[tokio::test]
async fn nobody_there_is_refused_or_times_out() {
    let pair = pair();
    let none: SocketAddr = "203.0.113.1:443".parse().unwrap();
    let connecting = timeout(Duration::from_millis(50), pair.nets[0].connect_tcp(none)).await;
    assert!(connecting.is_err(), "it waits");
    eventually("an abandoned connection keeps its port", || claimed(&pair.claims[0]) == 0).await;
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = pair.nets[0].udp_exchange_where(none, b"?", deadline, |_| true).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(claimed(&pair.claims[0]), 0);
    let long = pair.nets[0].udp_exchange_where(none, &[0; 1300], deadline, |_| true).await.unwrap_err();
    assert_eq!(long.kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn an_exchange_takes_the_first_datagram_that_fits() {
    let pair = pair();
    let [asker, server] = &pair.nets;
    let port = server.shared.claim_port(Protocol::Udp).unwrap();
    let asked = tokio::spawn({
        let asker = asker.clone();
        async move {
            let fits = |datagram: &[u8]| datagram.starts_with(b"answer");
            asker.udp_exchange_where(at(1, 0, port), b"question", Instant::now() + PATIENCE, fits).await
        }
    });
    eventually("no port is claimed", || claimed(&pair.claims[0]) == 1).await;
    let from = OWN_PORTS.into_iter().find(|port| pair.claims[0].is_claimed(Protocol::Udp, *port)).unwrap();
    let flow = super::shared::Datagrams::bind(Arc::clone(&server.shared), port, at(0, 0, from)).unwrap();
    flow.send(b"forged").unwrap();
    flow.send(b"answer 1").unwrap();
    assert_eq!(timeout(PATIENCE, asked).await.unwrap().unwrap().unwrap(), b"answer 1");
    assert_eq!(claimed(&pair.claims[0]), 0);
}

#[tokio::test]
async fn when_the_tunnel_goes_its_flows_end_with_an_error() {
    let mut pair = pair();
    let [mut one, _two] = connect(&pair, 0).await;
    let reading = tokio::spawn(async move { one.read(&mut [0; 8]).await });
    tokio::task::yield_now().await;
    pair.links[0] = None;
    let error = timeout(PATIENCE, reading).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    let refused = pair.nets[0].connect_tcp(at(1, 0, 443)).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::NotConnected);
    eventually("a port stays claimed", || claimed(&pair.claims[0]) == 0).await;
}

#[tokio::test]
async fn a_flow_whose_port_the_system_takes_says_so() {
    let pair = pair();
    let [mut one, _two] = connect(&pair, 0).await;
    let port = OWN_PORTS.into_iter().find(|port| pair.claims[0].is_claimed(Protocol::Tcp, *port)).unwrap();
    pair.claims[0].release(Protocol::Tcp, port);
    let error = one.write_all(b"x").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
}
