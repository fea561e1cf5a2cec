//! The core's own flows beside the device's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;
use netlab::eventually;
use tokio::sync::mpsc;
use weft_model::DropReason;
use weft_packet::checksum::Sum;
use weft_packet::{IpView, Run, UdpView};
use weft_runtime::data_plane::{Protocol, Verdict};

use crate::pair::{OWN_QUEUE, Pair, SOON, Shape, Side};
use crate::traffic::udp;

const OWN_PORT: u16 = 62_000;

fn datagram(packet: &[u8]) -> (IpView<'_>, UdpView<'_>) {
    let view = IpView::parse(packet).unwrap();
    let pseudo = Sum::pseudo(view.source(), view.destination(), 17, view.payload().len());
    assert!((pseudo + Sum::of(view.payload())).verifies(), "the checksum is complete");
    (view, view.udp().unwrap().unwrap())
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => panic!("an IPv4 address"),
    }
}

fn packet(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Run {
    let udp = 8 + payload.len() as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet[2..4].copy_from_slice(&(20 + udp).to_be_bytes());
    packet.extend(v4(from.ip()).octets());
    packet.extend(v4(to.ip()).octets());
    let sum = Sum::of(&packet).checksum();
    packet[10..12].copy_from_slice(&sum);
    packet.extend([from.port().to_be_bytes(), to.port().to_be_bytes(), udp.to_be_bytes(), [0; 2]].concat());
    packet.extend(payload);
    let sum = Sum::pseudo(from.ip(), to.ip(), 17, udp.into()) + Sum::of(&packet[20..]);
    packet[26..28].copy_from_slice(&sum.transport_checksum());
    Run::from_packet(&packet).unwrap()
}

fn next(queue: &mut mpsc::Receiver<Vec<u8>>) -> Result<Vec<u8>> {
    eventually(SOON, "a packet of the core's own", || queue.try_recv().ok())
}

#[test]
fn packets_for_a_claimed_port_are_the_cores_and_its_own_go_out() {
    netlab::run(|lab| {
        let Pair { mut left, right } = Pair::new(lab, Shape::default())?;
        assert!(left.claims.claim(Protocol::Udp, OWN_PORT));
        let far = udp(&right.host, (right.v4, 0))?;
        let near = SocketAddr::new(left.v4, OWN_PORT);
        far.send_to(b"question", near)?;
        let got = next(&mut left.own)?;
        let (view, udp) = datagram(&got);
        assert_eq!(udp.payload(), b"question");
        assert_eq!(SocketAddr::new(view.source(), udp.source_port()), far.local_addr()?);

        left.plane.send_own(packet(near, far.local_addr()?, b"answer"));
        let mut bytes = [0; 100];
        let (len, from) = far.recv_from(&mut bytes)?;
        assert_eq!((&bytes[..len], from), (&b"answer"[..], near));

        left.claims.release(Protocol::Udp, OWN_PORT);
        let device = udp_at(&left, OWN_PORT)?;
        far.send_to(b"for the device", near)?;
        let len = device.recv(&mut bytes)?;
        assert_eq!(&bytes[..len], b"for the device");
        Ok(())
    });
}

fn udp_at(side: &Side, port: u16) -> Result<std::net::UdpSocket> {
    udp(&side.host, (side.v4, port))
}

#[test]
fn a_port_that_a_program_uses_is_no_longer_the_cores() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape::default())?;
        assert!(left.claims.claim(Protocol::Udp, OWN_PORT));
        udp_at(&left, OWN_PORT)?.send_to(b"mine", (right.v4, 9))?;
        eventually(SOON, "the port's return", || !left.claims.is_claimed(Protocol::Udp, OWN_PORT))
    });
}

/// A DNS front on a sentinel address: questions come from the device, answers go to it.
#[test]
fn a_sentinel_hears_and_answers_the_device() {
    netlab::run(|lab| {
        let Pair { mut left, right } = Pair::new(lab, Shape::default())?;
        let sentinel = SocketAddr::new(right.v4, 53);
        left.judge(move |run| {
            let to = IpView::parse(run.packet()).unwrap().destination();
            if to == sentinel.ip() { Verdict::Own } else { Verdict::Tunnel }
        });
        let client = udp(&left.host, (left.v4, 0))?;
        client.send_to(b"who?", sentinel)?;
        let got = next(&mut left.served)?;
        let (view, udp) = datagram(&got);
        assert_eq!(udp.payload(), b"who?");
        let asker = SocketAddr::new(view.source(), udp.source_port());
        left.plane.write_own(packet(sentinel, asker, b"me"));
        let mut bytes = [0; 100];
        let (len, from) = client.recv_from(&mut bytes)?;
        assert_eq!((&bytes[..len], from), (&b"me"[..], sentinel));
        assert_eq!(left.plane.counters().sent.packets, 0);
        assert!(left.own.try_recv().is_err(), "the core's own flows hear nothing of it");
        Ok(())
    });
}

#[test]
fn a_full_queue_to_the_core_drops_and_counts() {
    netlab::run(|lab| {
        let Pair { mut left, right } = Pair::new(lab, Shape::default())?;
        left.judge(|run| match IpView::parse(run.packet()).unwrap().udp() {
            Ok(Some(_)) => Verdict::Own,
            _ => Verdict::Tunnel,
        });
        let client = udp(&left.host, (left.v4, 0))?;
        for _ in 0..OWN_QUEUE + 4 {
            client.send_to(b"?", (right.v4, 53))?;
        }
        eventually(SOON, "four drops", || left.plane.counters().dropped(DropReason::QueueFull) == 4)?;
        for _ in 0..OWN_QUEUE {
            next(&mut left.served)?;
        }
        client.send_to(b"again", (right.v4, 53))?;
        assert_eq!(datagram(&next(&mut left.served)?).1.payload(), b"again");
        Ok(())
    });
}
