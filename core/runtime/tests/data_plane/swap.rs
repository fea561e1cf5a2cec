//! A device that takes another's place under a running data plane.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, ensure};
use netlab::{Host, eventually};
use weft_packet::IpView;
use weft_runtime::tun::{self, PacketQueue};

use crate::pair::{Pair, SOON, Shape, Side};
use crate::sys;
use crate::traffic::{stream, udp};

/// Makes an interface as a system does that knows no change of one: the new one stands before the old one goes.
fn replace(side: &Side, former: &str, name: &str, virtio: bool) -> Result<()> {
    let fd = side.host.inside(|| sys::tun(name, virtio))??;
    let (input, output) = tun::open(fd)?;
    side.host.sh(&format!(
        "echo 0 > /proc/sys/net/ipv6/conf/{name}/router_solicitations
         ip link set {name} mtu 1280 up
         ip addr add {}/24 dev {name}
         ip -6 addr add {}/64 dev {name} nodad",
        side.v4, side.v6
    ))?;
    side.plane.replace_device(Box::new(input), Arc::new(output));
    side.host.sh(&format!("ip addr flush dev {former} 2>/dev/null || ! test -e /sys/class/net/{former}"))?;
    Ok(())
}

fn exists(host: &Host, name: &str) -> bool {
    host.sh(&format!("ip link show {name}")).is_ok()
}

#[test]
fn a_stream_goes_on_over_every_new_interface() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape::default())?;
        let (from, to, address) = (&left.host, &right.host, right.v4);
        thread::scope(|scope| -> Result<()> {
            let streaming = scope.spawn(move || stream(from, to, address, 64 << 20));
            for round in 0..4u8 {
                let before = left.plane.counters().sent.bytes;
                // In the midst of the stream, unless it was that fast.
                eventually(SOON, "more of the stream", || {
                    streaming.is_finished() || left.plane.counters().sent.bytes > before + (4 << 20)
                })?;
                let (former, name) = (format!("tun{round}"), format!("tun{}", round + 1));
                replace(&left, &former, &name, round % 2 == 1)?;
                eventually(SOON, "the end of the former interface", || !exists(&left.host, &former))?;
                ensure!(exists(&left.host, &name), "{name} is gone");
            }
            streaming.join().expect("the stream")
        })?;
        assert_eq!(left.plane.failure(), None);
        stream(&right.host, &left.host, left.v6, 1 << 20)
    });
}

#[test]
fn a_new_interface_heals_a_data_plane_whose_own_has_gone() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape::default())?;
        left.host.run(["ip", "link", "delete", "tun0"])?;
        eventually(SOON, "the failure", || left.plane.failure())?;
        replace(&left, "tun0", "tun1", true)?;
        stream(&left.host, &right.host, right.v4, 1 << 20)?;
        assert_eq!(left.plane.failure(), None);
        Ok(())
    });
}

/// A UDP datagram over IPv4 without a checksum, which is none's business here (RFC 768).
fn datagram(from: (IpAddr, u16), to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(28 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    for address in [from.0, to.ip()] {
        let IpAddr::V4(address) = address else { panic!("IPv4") };
        packet.extend(address.octets());
    }
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[10..12].copy_from_slice(&folded.to_be_bytes());
    packet.extend(from.1.to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend((total - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

#[test]
fn a_host_that_owns_its_packets_talks_to_a_host_with_an_interface() {
    const DATAGRAMS: usize = 5000;
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape::default())?;
        let queue = PacketQueue::new()?;
        let (input, output) = queue.ends();
        left.plane.replace_device(Box::new(input), Arc::new(output));
        let server = udp(&right.host, (right.v4, 0))?;
        let to = server.local_addr()?;
        thread::scope(|scope| -> Result<()> {
            let echo = scope.spawn(move || -> Result<()> {
                let mut room = [0; 2048];
                for _ in 0..DATAGRAMS {
                    let (length, from) = server.recv_from(&mut room).context("a datagram is missing")?;
                    server.send_to(&room[..length], from)?;
                }
                Ok(())
            });
            let mut back = 0usize;
            for batch in (0..DATAGRAMS).collect::<Vec<_>>().chunks(50) {
                let (mut packets, mut offsets) = (Vec::new(), vec![0]);
                for number in batch {
                    packets.extend(datagram((left.v4, 4000), to, &number.to_be_bytes()));
                    offsets.push(u32::try_from(packets.len())?);
                }
                ensure!(queue.send(&packets, &offsets)? == batch.len(), "the queue is full");
                // Each batch comes back before the next goes, so that nothing on the way is too small for it.
                let mut missing = batch.len();
                while missing > 0 {
                    let batch = queue.receive_blocking(SOON)?;
                    ensure!(!batch.is_empty(), "{missing} datagrams do not come back");
                    for packet in batch.iter() {
                        let view = IpView::parse(packet)?;
                        // The system says a word of its own now and then.
                        if view.payload().get(8..) == Some(&back.to_be_bytes()[..]) {
                            back += 1;
                            missing -= 1;
                        }
                    }
                }
            }
            echo.join().expect("the echo")
        })?;
        // And the interface may come back.
        queue.close();
        eventually(SOON, "the end of the queue", || left.plane.failure())?;
        let fd = left.host.inside(|| sys::tun("tun9", true))??;
        let (input, output) = tun::open(fd)?;
        left.plane.replace_device(Box::new(input), Arc::new(output));
        left.host.sh(&format!("ip link set tun9 mtu 1280 up; ip addr add {}/24 dev tun9", left.v4))?;
        stream(&left.host, &right.host, right.v4, 1 << 20)
    });
}
