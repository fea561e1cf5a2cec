//! What goes in at one TUN comes out at the other, whole, and in long runs.

use std::net::SocketAddr;

use anyhow::Result;
use netlab::eventually;
use weft_packet::GsoKind;
use weft_runtime::sockets::{ReceiveBuffers, SocketFactory};
use weft_tunnel::SocketId;

use crate::fake::SOCKET;
use crate::pair::{Pair, SOON, Shape, Side, socket};
use crate::traffic::{pattern, stream, udp};

const LONG: usize = 24 << 20;

fn nothing_was_damaged(side: &Side) -> Result<()> {
    assert_eq!(side.snmp("Tcp:", "InCsumErrors")?, 0);
    assert_eq!(side.snmp("Udp:", "InCsumErrors")?, 0);
    assert_eq!(side.plane.failure(), None);
    Ok(())
}

#[test]
fn streams_pass_both_ways_in_long_runs() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape::default())?;
        for (from, to, kind) in [(&left, &right, GsoKind::TcpV4), (&right, &left, GsoKind::TcpV6)] {
            let address = if kind == GsoKind::TcpV4 { to.v4 } else { to.v6 };
            let (sent, received) = (from.plane.counters(), to.plane.counters());
            stream(&from.host, &to.host, address, LONG)?;
            let (sent_after, received_after) = (from.plane.counters(), to.plane.counters());
            let packets = sent_after.sent.packets - sent.sent.packets;
            let runs = sent_after.sent_runs - sent.sent_runs;
            assert!(packets > 4 * runs, "{packets} packets left in {runs} runs");
            let packets = received_after.received.packets - received.received.packets;
            let runs = received_after.received_runs - received.received_runs;
            assert!(packets > 4 * runs, "{packets} packets were handed over in {runs} runs");
            assert!(from.transport.sealed(kind) > 0);
            let (again, all) = (from.snmp("Tcp:", "RetransSegs")?, from.snmp("Tcp:", "OutSegs")?);
            assert!(again * 50 < all, "{again} of {all} segments were sent again");
        }
        for side in [&left, &right] {
            nothing_was_damaged(side)?;
        }
        Ok(())
    });
}

#[test]
fn streams_pass_over_ipv6_outside() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape { outer_v6: true, ..Shape::default() })?;
        stream(&left.host, &right.host, right.v4, LONG)?;
        stream(&right.host, &left.host, left.v6, LONG)?;
        nothing_was_damaged(&left)?;
        nothing_was_damaged(&right)
    });
}

#[test]
fn a_device_without_the_virtio_header_gives_and_takes_single_packets() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape { virtio: false, ..Shape::default() })?;
        stream(&left.host, &right.host, right.v4, 4 << 20)?;
        stream(&right.host, &left.host, left.v6, 4 << 20)?;
        for side in [&left, &right] {
            let counters = side.plane.counters();
            assert_eq!(counters.sent.packets, counters.sent_runs);
            assert_eq!(counters.received.packets, counters.received_runs);
            nothing_was_damaged(side)?;
        }
        Ok(())
    });
}

#[test]
fn packets_pass_a_path_that_is_narrower_than_the_tunnel() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape { wire_mtu: 1000, ..Shape::default() })?;
        stream(&left.host, &right.host, right.v4, 2 << 20)?;
        let fragments = left.snmp("Ip:", "FragCreates")?;
        assert!(fragments > 1000, "{fragments} fragments");
        nothing_was_damaged(&right)
    });
}

#[test]
fn datagrams_pass_as_they_were() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape::default())?;
        for (from, to) in [(left.v4, right.v4), (left.v6, right.v6)] {
            let (sender, receiver) = (udp(&left.host, (from, 0))?, udp(&right.host, (to, 0))?);
            sender.connect(receiver.local_addr()?)?;
            for len in [0, 1, 2, 3, 100, 1000, 1200, 1201, 4000, 9001] {
                sender.send(&pattern(len, len))?;
                let mut bytes = vec![0; 10_000];
                let got = receiver.recv(&mut bytes)?;
                assert_eq!(bytes[..got], pattern(len, len));
            }
        }
        nothing_was_damaged(&right)
    });
}

/// Datagrams of a sender with segmentation offload, as QUIC's are.
#[test]
fn runs_of_datagrams_pass_as_runs() {
    const SEGMENT: usize = 1200;
    const SEGMENTS: usize = 40;
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape::default())?;
        let contents = pattern(0, SEGMENT * SEGMENTS - 7);
        for (from, to) in [(left.v4, right.v4), (left.v6, right.v6)] {
            let make = |address| SocketFactory::new().tunnel_at(SocketAddr::new(address, 0));
            let sender = left.host.inside(|| make(from))??;
            let receiver = right.host.inside(|| make(to))??;
            sender.send(receiver.local_addr()?, None, &contents, SEGMENT)?;
            let mut buffers = ReceiveBuffers::new();
            let mut got = Vec::new();
            eventually(SOON, "all datagrams", || {
                for arrival in receiver.receive(&mut buffers).into_iter().flatten() {
                    assert_eq!(arrival.from, sender.local_addr().unwrap());
                    assert_eq!(arrival.to, Some(to));
                    got.extend_from_slice(arrival.data);
                }
                got.len() >= contents.len()
            })?;
            assert_eq!(got, contents);
        }
        let (sent, received) = (left.plane.counters(), right.plane.counters());
        assert!(left.transport.sealed(GsoKind::Udp) >= 2, "the kernel gives runs of UDP (Linux 6.2)");
        assert!(sent.sent_runs < 40 && received.received_runs < 40, "{sent:?} {received:?}");
        nothing_was_damaged(&right)
    });
}

#[test]
fn sockets_change_while_packets_pass() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape::default())?;
        std::thread::scope(|scope| {
            let passing = scope.spawn(|| stream(&left.host, &right.host, right.v4, LONG));
            let mut id = SOCKET.0;
            while !passing.is_finished() {
                id += 1;
                left.plane.add_socket(SocketId(id), socket(&left.host, "192.0.2.1:0".parse()?)?)?;
                left.transport.path.lock().unwrap().0 = SocketId(id);
                // The far side sends to the first one all along.
                if id - 1 != SOCKET.0 {
                    left.plane.remove_socket(SocketId(id - 1));
                }
                // Each change loses what was sealed for the socket before; without progress in between nothing
                // would be left to lose.
                let before = right.plane.counters().received.packets;
                eventually(SOON, "packets after a change", || {
                    passing.is_finished() || right.plane.counters().received.packets > before
                })?;
            }
            assert!(id > SOCKET.0 + 3, "{id} sockets");
            passing.join().expect("the stream")
        })?;
        nothing_was_damaged(&right)
    });
}

#[test]
fn a_socket_too_many_or_of_a_known_id_is_refused() {
    netlab::run(|lab| {
        let Pair { left, right: _right } = Pair::new(lab, Shape::default())?;
        let another = || socket(&left.host, "192.0.2.1:0".parse().unwrap());
        assert!(left.plane.add_socket(SOCKET, another()?).is_err());
        for id in 1..weft_runtime::data_plane::MAX_SOCKETS as u32 {
            left.plane.add_socket(SocketId(100 + id), another()?)?;
        }
        assert!(left.plane.add_socket(SocketId(200), another()?).is_err());
        left.plane.remove_socket(SocketId(101));
        left.plane.add_socket(SocketId(200), another()?)?;
        Ok(())
    });
}
