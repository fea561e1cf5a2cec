//! What a session does with a proxy while it runs.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::time::timeout;
use weft_dns::{DnsConfig, Request, Target, Upstream, message};
use weft_model::profile::HostPattern;

use super::bench::{
    Bench, By, Datagrams, Device, PATIENCE, Peer, SENTINELS, Scripted, answer, answers, doh, query, soon,
    start,
};
use crate::dns_front::{Answers, DnsProxy, Resolve, Resolving};
use crate::testing::eventually;

#[tokio::test]
async fn rules_and_means_change_while_it_runs() {
    let proxy = start(&Scripted::new(10));
    let peer = Peer::Address(proxy.addresses()[0]);
    proxy.set_resolve(Arc::new(By(Scripted::new(20))));
    answers(&peer.ask(&query(1, "a")).await, &query(1, "a"), 20);
    proxy.set_config(DnsConfig::default());
    assert_eq!(message::rcode(&peer.ask(&query(1, "b")).await), 2, "nobody to ask");
    proxy.set_config(doh());
    let script = Scripted::closed(10);
    proxy.set_resolve(Arc::new(By(Arc::clone(&script))));
    let waiting = peer.datagrams().await;
    waiting.send(&query(1, "c")).await;
    eventually("it is not asked", || script.asked() == 1).await;
    proxy.flush();
    assert_eq!(message::rcode(&waiting.receive().await), 2, "a flush answers what is in flight");
    // What was under way has been given up: its permit is there for the next.
    script.go.add_permits(1);
    answers(&peer.ask(&query(2, "d")).await, &query(2, "d"), 10);
}

/// The first of two resolvers answers; the other never does.
struct OneOfTwo(Arc<AtomicUsize>);

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Resolve for OneOfTwo {
    fn resolve(&self, Request { to, message, .. }: Request, _: &Weak<dyn Answers>) -> Option<Resolving> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let under_way = Counted(Arc::clone(&self.0));
        let answers = matches!(to, Target::Plain { server, .. } if server.to_string().ends_with(".1"));
        Some(Box::pin(async move {
            let _under_way = under_way;
            if answers { Ok(answer(&message, 30)) } else { std::future::pending().await }
        }))
    }
}

#[tokio::test]
async fn the_first_answer_gives_the_other_requests_up() {
    let proxy = start(&Scripted::new(10));
    let peer = Peer::Address(proxy.addresses()[0]);
    let under_way = Arc::new(AtomicUsize::new(0));
    proxy.set_resolve(Arc::new(OneOfTwo(Arc::clone(&under_way))));
    let servers = ["10.0.0.2", "10.0.0.1", "10.0.0.3"].map(|text| text.parse().unwrap());
    proxy.set_config(DnsConfig { upstream: Upstream::Plain(servers.to_vec()), ..doh() });
    for (id, name) in [(1, "a"), (2, "b")] {
        answers(&peer.ask(&query(id, name)).await, &query(id, name), 30);
    }
    eventually("the others go on", || under_way.load(Ordering::SeqCst) == 0).await;
}

/// "NAME.example A".
fn address_query(name: &str) -> Vec<u8> {
    let mut wire = query(1, name);
    let kind = wire.len() - 3;
    wire[kind] = 1;
    wire
}

#[tokio::test]
async fn a_hosts_file_is_answered_from_and_seen_to_change() {
    let folder = std::env::temp_dir().join(format!("weft-proxy-hosts-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("hosts");
    let holds = |answer: &[u8], last: u8| answer.ends_with(&[4, 192, 0, 2, last][1..]);
    std::fs::write(&path, "192.0.2.7 known.example\n").unwrap();
    let script = Scripted::new(10);
    let proxy = start(&script);
    let peer = Peer::Address(proxy.addresses()[0]);
    proxy.set_hosts_file(Some(path.clone()));
    assert!(holds(&peer.ask(&address_query("known")).await, 7));
    assert_eq!((script.asked(), proxy.stats().hosts), (0, 1));
    std::fs::write(folder.join("new"), "192.0.2.8 known.example\n").unwrap();
    std::fs::rename(folder.join("new"), &path).unwrap();
    let deadline = soon();
    while !holds(&peer.ask(&address_query("known")).await, 8) {
        assert!(Instant::now() < deadline, "the change is not seen");
    }
    proxy.set_hosts_file(None);
    assert!(!holds(&peer.ask(&address_query("known")).await, 8));
    assert_eq!(script.asked(), 1);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_lookup_goes_the_way_of_any_query() {
    for (bench, script) in Bench::each(|| Scripted::new(10)) {
        let lookup = bench.proxy.lookup(&"a.example".parse().unwrap(), 16).await.unwrap();
        assert_eq!(
            (lookup.name.as_str(), lookup.kind.as_str(), lookup.rcode.as_str()),
            ("a.example", "TXT", "NOERROR")
        );
        assert_eq!(message::rcode(&lookup.message), 0);
        assert_eq!((script.asked(), bench.proxy.stats().queries), (1, 1));
    }
}

#[tokio::test]
async fn sockets_and_packets_share_one_engine() {
    let script = Scripted::new(10);
    let proxy = start(&script);
    let (device, front) = Device::new(&proxy);
    let sentinel = Peer::Sentinel(Arc::clone(&device), format!("{}:53", SENTINELS[0]).parse().unwrap());
    for peer in [&sentinel, &Peer::Address(proxy.addresses()[0])] {
        answers(&peer.ask(&query(1, "a")).await, &query(1, "a"), 10);
    }
    assert_eq!(proxy.stats().queries, 2);
    // Without the front the proxy goes on.
    drop(front);
    let packets = device.packets();
    eventually("the front takes packets still", || packets.is_closed()).await;
    answers(&Peer::Address(proxy.addresses()[0]).ask(&query(1, "a")).await, &query(1, "a"), 10);
}

#[tokio::test]
async fn what_is_no_dns_is_refused_on_a_sentinel() {
    let proxy = DnsProxy::start(&[], doh(), Arc::new(By(Scripted::new(10)))).unwrap();
    let (device, _front) = Device::new(&proxy);
    for sentinel in SENTINELS {
        let to =
            format!("{}:443", if sentinel.contains(':') { format!("[{sentinel}]") } else { sentinel.into() });
        let peer = Peer::Sentinel(Arc::clone(&device), to.parse().unwrap());
        let Datagrams::Packets { device, .. } = &peer.datagrams().await else { panic!("a sentinel") };
        peer.datagrams().await.send(b"hello").await;
        // Port unreachable (RFC 792, RFC 4443, section 3.1), from the sentinel.
        let refusal = device.other().await;
        let kind = if sentinel.contains(':') {
            (refusal[6], refusal[40], refusal[41])
        } else {
            (refusal[9], refusal[20], refusal[21])
        };
        assert_eq!(kind, if sentinel.contains(':') { (58, 1, 4) } else { (1, 3, 3) });
        assert_eq!(device.connect(to.parse().unwrap()).await, Some(std::io::ErrorKind::ConnectionRefused));
        // What nobody takes at all changes nothing.
        for packet in [&b""[..], b"x", &[0x45; 20], &[0x60; 60]] {
            device.packet(packet.to_vec()).await;
        }
        let dns = Peer::Sentinel(Arc::clone(device), to.replace("443", "53").parse().unwrap());
        answers(&dns.ask(&query(1, "a")).await, &query(1, "a"), 10);
    }
}

/// Answers with the address 192.0.2.1.
struct Address;

impl Resolve for Address {
    fn resolve(&self, request: Request, _: &Weak<dyn Answers>) -> Option<Resolving> {
        Some(Box::pin(async move {
            let mut wire = answer(&request.message, 4);
            let record = wire.len() - 14;
            wire[record + 1] = 1;
            wire.truncate(record + 10);
            wire.extend_from_slice(&[192, 0, 2, 1]);
            Ok(wire)
        }))
    }
}

#[tokio::test]
async fn answers_of_split_tunnel_names_wait_for_their_release() {
    let entry = HostPattern::Exact("a.example".parse().unwrap());
    let config = DnsConfig { hosts: vec![entry], ..doh() };
    let proxy = DnsProxy::start(&["127.0.0.1:0".parse().unwrap()], config, Arc::new(Address)).unwrap();
    let peer = Peer::Address(proxy.addresses()[0]);
    // Dropped unfinished, it loses nothing.
    drop(proxy.learnt());
    for released in [Ok(()), Err("no plan".to_owned())] {
        let waiting = peer.datagrams().await;
        waiting.send(&address_query("a")).await;
        let learnt = timeout(PATIENCE, proxy.learnt()).await.unwrap();
        assert_eq!(learnt.len(), 1);
        let addresses: Vec<IpAddr> = learnt[0].addresses.iter().map(|learnt| learnt.address).collect();
        assert_eq!(addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        let Datagrams::Socket(socket) = &waiting else { panic!("a socket") };
        assert!(socket.try_recv(&mut [0; 512]).is_err(), "it is held");
        proxy.release(&[learnt[0].hold], &released);
        let got = waiting.receive().await;
        assert_eq!(message::rcode(&got), if released.is_ok() { 0 } else { 2 });
        assert_eq!(got.ends_with(&[192, 0, 2, 1]), released.is_ok());
    }
}
