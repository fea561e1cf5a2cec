//! A device that asks a sentinel address by its own stack, through its TUN.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use anyhow::{Context, Result};
use netlab::Host;
use weft_dns::{DnsConfig, Request, Upstream, message};
use weft_packet::IpView;
use weft_runtime::data_plane::Verdict;
use weft_runtime::dns_front::{Answers, DnsProxy, PacketConfig, Resolve, Resolving};

use crate::pair::{Pair, SOON, Shape, Side};
use crate::traffic::udp;

/// "a.example TXT".
const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x10\0\x01";

/// Answers with a record of so many bytes.
struct Long(u16);

impl Resolve for Long {
    fn resolve(&self, request: Request, _: &Weak<dyn Answers>) -> Option<Resolving> {
        let (length, query) = (self.0, request.message);
        Some(Box::pin(async move {
            let end = message::question_place(&query).unwrap().end;
            let mut wire = query[..end].to_vec();
            wire[2] |= 0x80;
            wire[7] = 1;
            wire[8..12].fill(0);
            wire.extend_from_slice(&[0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60]);
            wire.extend_from_slice(&length.to_be_bytes());
            wire.resize(wire.len() + usize::from(length), 0x61);
            Ok(wire)
        }))
    }
}

/// Asks by a stream, pipelined, and gives the lengths of the answers.
fn ask_stream(host: &Host, sentinel: SocketAddr, queries: u16) -> Result<Vec<usize>> {
    host.inside(|| -> Result<Vec<usize>> {
        let mut stream = TcpStream::connect_timeout(&sentinel, SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        for id in 0..queries {
            let mut framed = u16::try_from(QUERY.len())?.to_be_bytes().to_vec();
            framed.extend_from_slice(QUERY);
            framed[2..4].copy_from_slice(&id.to_be_bytes());
            stream.write_all(&framed)?;
        }
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        let (mut rest, mut lengths) = (heard.as_slice(), Vec::new());
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            rest = after.get(length..).context("an answer is cut")?;
            lengths.push(length);
        }
        Ok(lengths)
    })?
}

/// Runs `ask` while packets pass between a side's data plane and a DNS front on `sentinels`.
fn with_front<T>(
    side: &mut Side,
    sentinels: [SocketAddr; 2],
    ask: impl FnOnce(&Host) -> T + Send,
) -> Result<T>
where
    T: Send,
{
    side.judge(move |run| {
        let to = IpView::parse(run.packet()).unwrap().destination();
        if sentinels.iter().any(|sentinel| sentinel.ip() == to) { Verdict::Own } else { Verdict::Tunnel }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _entered = runtime.enter();
    let config = DnsConfig { upstream: Upstream::Doh, cache_bytes: 0, ..DnsConfig::default() };
    let proxy = DnsProxy::start(&[], config, Arc::new(Long(20_000)))?;
    let (given, answers) = std::sync::mpsc::channel();
    let front = proxy.packets(PacketConfig {
        addresses: sentinels.map(|sentinel| sentinel.ip()).to_vec(),
        mtu: 1280,
        send: Arc::new(move |run| drop(given.send(run))),
    })?;
    let (packets, done) = (front.packets(), AtomicBool::new(false));
    let (host, plane, served) = (&side.host, &side.plane, &mut side.served);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let result = ask(host);
            done.store(true, Ordering::Release);
            result
        });
        while !done.load(Ordering::Acquire) && !asking.is_finished() {
            while let Ok(packet) = served.try_recv() {
                packets.blocking_send(packet).context("the front is gone")?;
            }
            if let Ok(run) = answers.recv_timeout(std::time::Duration::from_millis(1)) {
                plane.write_own(run);
            }
        }
        Ok(asking.join().unwrap())
    })
}

#[test]
fn a_device_asks_its_sentinels_by_datagram_and_by_stream() {
    netlab::run(|lab| {
        let Pair { mut left, right } = Pair::new(lab, Shape::default())?;
        let sentinels = [right.v4, right.v6].map(|address| SocketAddr::new(address, 53));
        let own = [left.v4, left.v6];
        with_front(&mut left, sentinels, |host| {
            for (sentinel, own) in sentinels.into_iter().zip(own) {
                let client = udp(host, (own, 0))?;
                client.connect(sentinel)?;
                client.send(QUERY)?;
                let mut room = [0; 2048];
                let length = client.recv(&mut room)?;
                let answer = &room[..length];
                assert!(message::is_truncated(answer) && message::id(answer) == Some(0x1234));
                let lengths = ask_stream(host, sentinel, 30)?;
                assert_eq!(lengths, [QUERY.len() + 12 + 20_000; 30]);
                // Nobody listens there.
                let refused = |port: u16| SocketAddr::new(sentinel.ip(), port);
                let connected = host.inside(|| TcpStream::connect_timeout(&refused(80), SOON))?;
                assert_eq!(connected.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
                let client = udp(host, (own, 0))?;
                client.connect(refused(5353))?;
                client.send(b"x")?;
                assert_eq!(client.recv(&mut room).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
            }
            Ok(())
        })?
    });
}
