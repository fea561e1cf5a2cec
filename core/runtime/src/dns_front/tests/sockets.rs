//! What the system's sockets bring with them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use weft_dns::{DnsConfig, MAX_IN_FLIGHT, message};

use super::bench::{
    By, Peer, Scripted, answers, doh, local, query, read_answer, send, soon, start, start_with,
};
use crate::dns_front::connections::MAX_CONNECTIONS;
use crate::dns_front::tcp::frame;
use crate::dns_front::{DnsProxy, DnsProxyError};
use crate::sleep::Sleep;
use crate::testing::eventually;

/// Asks `count` queries at `address`, up to `window` at once, and sees that each gets its own answer.
async fn ask_many(address: SocketAddr, who: u16, count: u16, window: u16) {
    let Ok(socket) = UdpSocket::bind(if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).await else {
        panic!("no port is left")
    };
    socket.connect(address).await.unwrap();
    let name = |id: u16| format!("q{who}-{id}");
    let mut room = [0; 512];
    for first in (0..count).step_by(window.into()) {
        let ids: Vec<u16> = (first..count.min(first + window)).collect();
        for id in &ids {
            socket.send(&query(*id, &name(*id))).await.unwrap();
        }
        let mut heard = Vec::new();
        while heard.len() < ids.len() {
            let received = tokio::time::timeout_at(soon().into(), socket.recv(&mut room));
            let length = received.await.expect("an answer is lost").unwrap();
            let id = message::id(&room[..length]).unwrap();
            answers(&room[..length], &query(id, &name(id)), 10);
            heard.push(id);
        }
        heard.sort_unstable();
        assert_eq!(heard, ids);
    }
}

#[tokio::test]
async fn thousands_of_queries_over_every_socket_get_each_its_own_answer() {
    let script = Scripted::new(10);
    let proxy = start(&script);
    assert_eq!(proxy.addresses().len(), 4);
    let asking: Vec<_> = (0..8)
        .map(|who| tokio::spawn(ask_many(proxy.addresses()[usize::from(who) % 4], who, 600, 50)))
        .collect();
    for asked in asking {
        asked.await.unwrap();
    }
    let stats = proxy.stats();
    assert_eq!((stats.queries, stats.refused, stats.failed), (4800, 0, 0));
}

/// Asks the same as fast as it can, for as long as this lives.
struct Flood {
    ends: Arc<AtomicBool>,
    asking: Option<JoinHandle<()>>,
}

impl Flood {
    fn over(address: SocketAddr) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let asking = std::thread::spawn(move || {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            while !ended.load(Ordering::Relaxed) {
                drop(socket.send_to(&query(1, "flood"), address));
            }
        });
        Self { ends, asking: Some(asking) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        drop(self.asking.take().map(JoinHandle::join));
    }
}

#[tokio::test]
async fn who_asks_without_end_keeps_nobody_from_his_answer() {
    let proxy = start_with(&Scripted::new(10), DnsConfig { cache_bytes: 1 << 20, ..doh() });
    let (flooded, other) = (proxy.addresses()[0], proxy.addresses()[1]);
    let _flood = Flood::over(flooded);
    eventually("it is not flooded", || proxy.stats().cached > 1000).await;
    ask_many(other, 0, 20, 1).await;
    let mut stream = TcpStream::connect(flooded).await.unwrap();
    for id in 0..20 {
        let wire = query(id, "by-tcp");
        send(&mut stream, &wire).await;
        answers(&read_answer(&mut stream).await.unwrap(), &wire, 10);
    }
}

#[tokio::test]
async fn over_its_bound_the_proxy_says_so_at_once() {
    let script = Scripted::closed(10);
    let proxy = start(&script);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(proxy.addresses()[0]).await.unwrap();
    let mut room = [0; 512];
    for id in 0..MAX_IN_FLIGHT as u16 {
        socket.send(&query(id, &format!("a{id}"))).await.unwrap();
        if id % 32 == 31 {
            // A burst of any length would do, were the receive buffer of any length.
            eventually("queries are lost", || script.asked() > usize::from(id)).await;
        }
    }
    socket.send(&query(5000, "over")).await.unwrap();
    let length = tokio::time::timeout_at(soon().into(), socket.recv(&mut room)).await.unwrap().unwrap();
    assert_eq!((message::id(&room[..length]), message::rcode(&room[..length])), (Some(5000), 2));
    for _ in 0..MAX_IN_FLIGHT {
        // One by one, since the client's receive buffer is no longer than the proxy's.
        script.go.add_permits(1);
        let length = tokio::time::timeout_at(soon().into(), socket.recv(&mut room)).await.unwrap().unwrap();
        let id = message::id(&room[..length]).unwrap();
        answers(&room[..length], &query(id, &format!("a{id}")), 10);
    }
}

#[tokio::test]
async fn over_so_many_connections_the_next_takes_the_place_of_the_idlest() {
    let script = Scripted::closed(10);
    let proxy = start(&script);
    let address = proxy.addresses()[0];
    let connect = || async { TcpStream::connect(address).await.unwrap() };
    let mut busy = connect().await;
    send(&mut busy, &query(1, "z")).await;
    eventually("the first is not asked", || script.asked() == 1).await;
    script.go.add_permits(1000);
    let wire = query(2, "a");
    let mut idle = Vec::new();
    for _ in 1..MAX_CONNECTIONS {
        let mut stream = connect().await;
        send(&mut stream, &wire).await;
        answers(&read_answer(&mut stream).await.unwrap(), &wire, 10);
        idle.push(stream);
    }
    // The first of the idle ones is idle no longer than the others now.
    send(&mut idle[0], &wire).await;
    answers(&read_answer(&mut idle[0]).await.unwrap(), &wire, 10);
    for evicted in [1, 2] {
        let mut next = connect().await;
        send(&mut next, &wire).await;
        answers(&read_answer(&mut next).await.unwrap(), &wire, 10);
        assert!(read_answer(&mut idle[evicted]).await.is_err(), "it is still open");
        idle.push(next);
    }
    for kept in [0, 3] {
        send(&mut idle[kept], &wire).await;
        answers(&read_answer(&mut idle[kept]).await.unwrap(), &wire, 10);
    }
    // Who waits for an answer is not put out for somebody else.
    script.go_z.add_permits(1);
    answers(&read_answer(&mut busy).await.unwrap(), &query(1, "z"), 10);
}

#[tokio::test]
async fn over_so_many_connections_that_wait_the_next_is_closed() {
    let script = Scripted::closed(10);
    let proxy = start(&script);
    let address = proxy.addresses()[0];
    let mut waiting = Vec::new();
    for id in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        send(&mut stream, &query(id as u16, &format!("a{id}"))).await;
        waiting.push(stream);
    }
    eventually("they wait", || script.asked() == MAX_CONNECTIONS).await;
    let mut over = TcpStream::connect(address).await.unwrap();
    assert!(over.read_u8().await.is_err());
    // As soon as one of them has its answer, there is room.
    script.go.add_permits(1000);
    for (id, stream) in waiting.iter_mut().enumerate() {
        answers(&read_answer(stream).await.unwrap(), &query(id as u16, &format!("a{id}")), 10);
    }
    let mut next = TcpStream::connect(address).await.unwrap();
    send(&mut next, &query(7, "a")).await;
    answers(&read_answer(&mut next).await.unwrap(), &query(7, "a"), 10);
}

#[tokio::test]
async fn who_does_not_read_holds_nobody_up_and_is_left() {
    let script = Scripted::new(60_000);
    let proxy = start(&script);
    let address = proxy.addresses()[0];
    let mut deaf = TcpStream::connect(address).await.unwrap();
    // More than every buffer on the way holds.
    let asking = tokio::spawn(async move {
        for id in (0..u16::MAX).cycle() {
            if deaf.write_all(&frame(&query(id, &format!("a{id}"))).unwrap()).await.is_err() {
                return;
            }
        }
    });
    eventually("it is not asked", || script.asked() > 16).await;
    let mut other = TcpStream::connect(address).await.unwrap();
    let wire = query(1, "other");
    send(&mut other, &wire).await;
    answers(&read_answer(&mut other).await.unwrap(), &wire, 60_000);
    tokio::time::timeout_at(soon().into(), asking).await.expect("it is served for ever").unwrap();
    send(&mut other, &wire).await;
    answers(&read_answer(&mut other).await.unwrap(), &wire, 60_000);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let script = Scripted::new(0);
    let start = |listen: &[SocketAddr]| DnsProxy::start(listen, doh(), Arc::new(By(Arc::clone(&script))));
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let taken = udp.local_addr().unwrap();
    let refused = start(&[taken]).unwrap_err();
    assert!(matches!(&refused, DnsProxyError::Taken { address, protocol: "UDP" } if *address == taken));
    assert!(refused.to_string().contains(&taken.to_string()), "{refused}");
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = tcp.local_addr().unwrap();
    let refused = start(&[taken]).unwrap_err();
    assert!(matches!(refused, DnsProxyError::Taken { address, protocol: "TCP" } if address == taken));
    // What was bound before is free again.
    drop((udp, tcp));
    start(&[taken]).unwrap();
}

#[tokio::test]
async fn a_dropped_proxy_leaves_neither_address_nor_task() {
    let script = Scripted::closed(10);
    // The last is an address that no interface has, to which no datagram finds its way.
    let mut listen = local();
    listen.push("[2001:db8:53::53]:0".parse().unwrap());
    let proxy = (0..20).find_map(|_| DnsProxy::start(&listen, doh(), Arc::new(By(Arc::clone(&script)))).ok());
    let proxy = proxy.expect("no port is free for both");
    assert_eq!(proxy.addresses().len(), 5);
    let address = proxy.addresses()[0];
    let udp = Peer::Address(address).datagrams().await;
    udp.send(&query(1, "a")).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    send(&mut stream, &query(2, "b")).await;
    eventually("they are not asked", || script.asked() == 2).await;
    // Each task holds the core; a look-up holds it no longer than the proxy does.
    let core = Arc::downgrade(&proxy.core);
    let looking = tokio::spawn(proxy.lookup(&"c.example".parse().unwrap(), 16));
    eventually("it is not asked", || script.asked() == 3).await;
    drop(proxy);
    assert!(stream.read_u8().await.is_err());
    assert_eq!(looking.await.unwrap(), None);
    eventually("a task is left", || core.strong_count() == 0).await;
    DnsProxy::start(&[address], doh(), Arc::new(By(script))).unwrap();
}

#[tokio::test]
async fn the_addresses_of_a_dropped_proxy_are_free_at_once() {
    let script = Scripted::new(10);
    let former = start(&script);
    let addresses = former.addresses().to_vec();
    let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
    send(&mut stream, &query(1, "a")).await;
    read_answer(&mut stream).await.unwrap();
    drop(former);
    // Nothing has been waited for meanwhile, so that no task of the former's has ended.
    DnsProxy::start(&addresses, doh(), Arc::new(By(script))).unwrap();
}

#[tokio::test]
async fn a_look_at_the_hosts_file_holds_nobody_up() {
    let proxy = start(&Scripted::new(10));
    let core = Arc::clone(&proxy.core);
    let (held, begun) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let looking = std::thread::spawn(move || {
        let _look = core.hosts.lock().unwrap();
        held.send(()).unwrap();
        let _ended = ended.recv();
    });
    begun.recv().unwrap();
    ask_many(proxy.addresses()[0], 0, 1, 1).await;
    drop(end);
    looking.join().unwrap();
}

#[tokio::test]
async fn what_was_kept_before_a_sleep_is_asked_for_again() {
    static ASLEEP: AtomicU64 = AtomicU64::new(0);
    let script = Scripted::new(10);
    let proxy = start_with(&script, DnsConfig { cache_bytes: 1 << 20, ..doh() });
    let asleep = || Duration::from_secs(ASLEEP.load(Ordering::SeqCst));
    proxy.core.with(|state, _| state.sleep = Sleep::new(asleep));
    for (total, asked) in [(0, 1), (0, 1), (3600, 2), (3600, 2)] {
        ASLEEP.store(total, Ordering::SeqCst);
        ask_many(proxy.addresses()[0], 0, 1, 1).await;
        assert_eq!(script.asked(), asked, "after {total} s of sleep");
    }
}
