//! What every socket outside the tunnel has in common.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use netlab::{End, Host, Lab, Link, eventually};
use socket2::SockRef;
use weft_runtime::sockets::{Protect, ReceiveBuffers, SocketFactory};

const MARK: u32 = 0x100cf;

#[derive(Default)]
struct Protector {
    calls: AtomicUsize,
    refuses: bool,
}

impl Protect for Protector {
    fn protect(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        // Neither bound nor connected, and marked already.
        let socket = SockRef::from(&socket);
        assert_eq!(socket.local_addr()?.as_socket().map(|local| local.port()), Some(0));
        assert_eq!(socket.mark()?, MARK);
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.refuses { Err(io::Error::other("not now")) } else { Ok(()) }
    }
}

fn hosts(lab: &Lab) -> anyhow::Result<(Host, Host)> {
    let (left, right) = (lab.host("left").build()?, lab.host("right").build()?);
    Link::new(
        End::new(&left, "eth0").address("192.0.2.1/24").address("fd50::1/64"),
        End::new(&right, "eth0").address("192.0.2.2/24").address("fd50::2/64"),
    )?;
    Ok((left, right))
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn check(socket: &impl AsFd) {
    let fd = socket.as_fd();
    let socket = SockRef::from(&fd);
    assert_eq!(socket.mark().unwrap(), MARK);
    assert_eq!(socket.device().unwrap().as_deref(), Some(&b"eth0"[..]));
}

#[test]
fn every_kind_is_marked_bound_and_protected() {
    netlab::run(|lab| {
        let (left, right) = hosts(lab)?;
        let protector = Arc::new(Protector::default());
        let protect = Arc::clone(&protector) as Arc<dyn Protect>;
        let factory = SocketFactory::new().with_mark(MARK).with_interface("eth0").with_protect(protect);
        for remote in ["192.0.2.2:0", "[fd50::2]:0"] {
            let remote: SocketAddr = remote.parse()?;
            let listener = right.inside(|| TcpListener::bind(remote))??;
            let remote = listener.local_addr()?;
            left.inside(|| {
                let tunnel = factory.tunnel(remote).unwrap();
                check(&tunnel);
                assert_eq!(tunnel.local_addr().unwrap().is_ipv4(), remote.is_ipv4());
                block_on(async {
                    let datagrams = factory.datagrams(remote).unwrap();
                    check(&datagrams);
                    assert_eq!(datagrams.peer_addr().unwrap(), remote);
                    let stream = factory.connect(remote).await.unwrap();
                    check(&stream);
                    assert!(stream.nodelay().unwrap());
                });
            })?;
            listener.accept()?;
        }
        assert_eq!(protector.calls.load(Ordering::Relaxed), 6);
        Ok(())
    });
}

#[test]
fn a_socket_that_cannot_be_kept_outside_is_not_used() {
    netlab::run(|lab| {
        let (left, _right) = hosts(lab)?;
        let remote: SocketAddr = "192.0.2.2:9".parse()?;
        let protect = Arc::new(Protector { refuses: true, ..Protector::default() });
        let refusing = SocketFactory::new().with_mark(MARK).with_protect(protect);
        let nowhere = SocketFactory::new().with_interface("eth7");
        for (factory, says) in [
            (refusing, "cannot protect a socket: not now"),
            (nowhere, "cannot bind a socket to interface eth7"),
        ] {
            left.inside(|| {
                let connected = block_on(async { factory.connect(remote).await.map(drop) });
                let datagrams = block_on(async { factory.datagrams(remote).map(drop) });
                for result in [connected, datagrams, factory.tunnel(remote).map(drop)] {
                    let error = result.unwrap_err().to_string();
                    assert!(error.starts_with(says), "{error}");
                }
            })?;
        }
        Ok(())
    });
}

/// A card or a path that takes no segmentation still gets every datagram, in order.
#[test]
fn datagrams_that_cannot_be_segmented_go_one_by_one() {
    const SEGMENT: usize = 1400;
    netlab::run(|lab| {
        let (left, right) = hosts(lab)?;
        left.run(["ip", "route", "add", "192.0.2.2/32", "dev", "eth0", "mtu", "lock", "1000"])?;
        let factory = SocketFactory::new();
        let sender = left.inside(|| factory.tunnel_at("192.0.2.1:0".parse().unwrap()))??;
        let receiver = right.inside(|| factory.tunnel_at("192.0.2.2:0".parse().unwrap()))??;
        let contents: Vec<u8> = (0..SEGMENT * 9 + 5).map(|at| (at / 100) as u8).collect();
        sender.send(receiver.local_addr()?, None, &contents, SEGMENT)?;
        let (mut buffers, mut got) = (ReceiveBuffers::new(), Vec::new());
        eventually(std::time::Duration::from_secs(20), "all datagrams", || {
            for arrival in receiver.receive(&mut buffers).into_iter().flatten() {
                assert!(arrival.stride == SEGMENT || arrival.data.len() <= SEGMENT);
                got.extend_from_slice(arrival.data);
            }
            got.len() >= contents.len()
        })?;
        assert_eq!(got, contents);
        Ok(())
    });
}
