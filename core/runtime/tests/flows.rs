//! The core's own flows against the system's TCP and UDP, over a TUN device that loses packets.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

#[path = "data_plane/sys.rs"]
mod sys;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use netlab::{Host, Lab};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use weft_runtime::data_plane::FlowClaims;
use weft_runtime::flows::{Config, TunnelNet};

const SYSTEM: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const CORE: [&str; 2] = ["192.0.2.2/32", "2001:db8::2/128"];
const PATIENCE: Duration = Duration::from_secs(60);

/// Decides which packets are lost: one in `of`, by a generator whose seed names the run. 0 loses none.
struct Losses {
    state: AtomicU64,
    of: u64,
}

impl Losses {
    fn loses(&self) -> bool {
        let state = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        self.of != 0 && (mixed >> 32).is_multiple_of(self.of)
    }
}

/// A host whose TUN device leads to the core's flows.
fn far_host(lab: &Lab, name: &str) -> Result<(Host, OwnedFd)> {
    let host = lab.host(name).build()?;
    let tun = host.inside(|| sys::tun("tun0", false))??;
    host.run(["ip", "addr", "add", "192.0.2.1/24", "dev", "tun0"])?;
    host.run(["ip", "-6", "addr", "add", "2001:db8::1/64", "dev", "tun0", "nodad"])?;
    host.run(["ip", "link", "set", "tun0", "mtu", "1280", "up"])?;
    let flags = rustix::fs::fcntl_getfl(&tun)?;
    rustix::fs::fcntl_setfl(&tun, flags | OFlags::NONBLOCK)?;
    Ok((host, tun))
}

/// Flows whose packets go to and come from `tun`.
fn net(tun: OwnedFd, of: u64) -> TunnelNet {
    let tun = Arc::new(tun);
    let losses = Arc::new(Losses { state: AtomicU64::new(of), of });
    let (packets, inbox) = mpsc::channel(256);
    let (from, lost) = (Arc::clone(&tun), Arc::clone(&losses));
    std::thread::spawn(move || {
        let mut room = [0; 2048];
        // The flows take no more when their runtime is gone.
        while !packets.is_closed() {
            let moment = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            let mut fds = [PollFd::new(&from, PollFlags::IN)];
            if poll(&mut fds, Some(&moment)).unwrap() == 0 {
                continue;
            }
            let length = rustix::io::read(&from, &mut room).unwrap();
            if !lost.loses() && packets.blocking_send(room[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    let config = Config {
        addresses: CORE.map(|text| text.parse().unwrap()).to_vec(),
        mtu: 1280,
        claims: Arc::new(FlowClaims::new()),
        send: Box::new(move |run| {
            if !losses.loses() {
                rustix::io::write(&tun, run.packet()).unwrap();
            }
        }),
    };
    TunnelNet::start(config, inbox).unwrap()
}

fn block_on<R>(work: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.expect("it takes too long") })
}

/// Sends back what comes, then closes.
fn echo(listener: TcpListener) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = stream.try_clone().unwrap();
        std::io::copy(&mut reader, &mut stream).unwrap();
    })
}

fn transfer(of: u64, length: usize) {
    netlab::run(|lab| {
        for (address, name) in SYSTEM.into_iter().zip(["far4", "far6"]) {
            let (host, tun) = far_host(lab, name)?;
            let listener = host.inside(|| TcpListener::bind((address, 0)))??;
            let remote = listener.local_addr()?;
            let echo = echo(listener);
            let data: Vec<u8> = (0..length).map(|at| (at * 7 + at / 251) as u8).collect();
            let received = block_on(async {
                let stream = net(tun, of).connect_tcp(remote).await.unwrap();
                let (mut reader, mut writer) = tokio::io::split(stream);
                let writing = async {
                    writer.write_all(&data).await.unwrap();
                    writer.shutdown().await.unwrap();
                };
                let mut received = Vec::new();
                let (read, ()) = tokio::join!(reader.read_to_end(&mut received), writing);
                read.unwrap();
                received
            });
            assert!(received == data, "{address}: other bytes came back");
            echo.join().unwrap();
        }
        Ok(())
    });
}

#[test]
fn bytes_pass_to_the_systems_tcp_and_back() {
    transfer(0, 3_000_000);
}

#[test]
fn bytes_pass_although_packets_are_lost() {
    transfer(50, 150_000);
}

#[test]
fn a_closed_port_refuses() {
    netlab::run(|lab| {
        let (host, tun) = far_host(lab, "far")?;
        let listener = host.inside(|| TcpListener::bind((SYSTEM[0], 0)))??;
        let remote = listener.local_addr()?;
        drop(listener);
        let error = block_on(async { net(tun, 0).connect_tcp(remote).await.unwrap_err() });
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        Ok(())
    });
}

#[test]
fn datagrams_are_exchanged_with_the_systems_udp() {
    netlab::run(|lab| {
        for (address, name) in SYSTEM.into_iter().zip(["far4", "far6"]) {
            let (host, tun) = far_host(lab, name)?;
            let socket = host.inside(|| UdpSocket::bind((address, 0)))??;
            let remote: SocketAddr = socket.local_addr()?;
            let server = std::thread::spawn(move || {
                let mut room = [0; 2000];
                let (length, from) = socket.recv_from(&mut room).unwrap();
                room[..length].reverse();
                socket.send_to(&room[..length], from).unwrap();
            });
            let asked: Vec<u8> = (0..1200_u32).map(|at| at as u8).collect();
            let answer = block_on(async {
                net(tun, 0)
                    .udp_exchange_where(remote, &asked, Instant::now() + PATIENCE, |_| true)
                    .await
                    .unwrap()
            });
            assert!(answer.iter().rev().eq(&asked), "{address}");
            server.join().unwrap();
        }
        Ok(())
    });
}
