//! Packets that do not go into the tunnel.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};

use netlab::eventually;
use weft_model::DropReason;
use weft_packet::IcmpKind;
use weft_runtime::data_plane::Verdict;

use crate::pair::{Pair, SOON, Shape};
use crate::traffic::{stream, udp};

#[test]
fn a_refused_connection_fails_at_once() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape::default())?;
        for (kind, v4, v6) in [
            (IcmpKind::Prohibited, ErrorKind::HostUnreachable, ErrorKind::PermissionDenied),
            (IcmpKind::NoRoute, ErrorKind::NetworkUnreachable, ErrorKind::NetworkUnreachable),
            (IcmpKind::Port, ErrorKind::ConnectionRefused, ErrorKind::ConnectionRefused),
        ] {
            left.judge(move |_| Verdict::Refuse(kind));
            for (address, expected) in [(right.v4, v4), (right.v6, v6)] {
                let target = SocketAddr::new(address, 80);
                let error = left.host.inside(|| TcpStream::connect_timeout(&target, SOON))?.unwrap_err();
                assert_eq!(error.kind(), expected, "{kind:?} {error}");
            }
        }
        let counters = left.plane.counters();
        assert!(counters.dropped(DropReason::Unreachable) >= 6, "{counters:?}");
        assert_eq!(counters.sent.packets, 0);
        Ok(())
    });
}

#[test]
fn a_narrower_tunnel_than_the_interface_says_so_and_streams_pass() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape { tun_mtu: 1420, ..Shape::default() })?;
        for side in [&left, &right] {
            side.judge(|run| match run.longest_packet() {
                ..=1280 => Verdict::Tunnel,
                _ => Verdict::Refuse(IcmpKind::TooBig { mtu: 1280 }),
            });
        }
        for address in [right.v4, right.v6] {
            stream(&left.host, &right.host, address, 4 << 20)?;
            let route = left.host.run(["ip", "route", "get", &address.to_string()])?;
            assert!(route.stdout.contains("mtu 1280"), "{}", route.stdout);
        }
        assert!(left.plane.counters().dropped(DropReason::TooBig) >= 2);
        Ok(())
    });
}

#[test]
fn what_is_dropped_is_counted_by_reason_and_segment() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape::default())?;
        let sender = udp(&left.host, (left.v4, 0))?;
        left.judge(|_| Verdict::Drop(DropReason::NotTunnelled));
        let before = left.plane.counters().dropped(DropReason::NotTunnelled);
        for _ in 0..5 {
            sender.send_to(&[1], (right.v4, 9))?;
        }
        eventually(SOON, "five drops", || {
            left.plane.counters().dropped(DropReason::NotTunnelled) >= before + 5
        })?;
        assert_eq!(left.plane.counters().sent.packets, 0);
        Ok(())
    });
}

/// Datagrams that are no message of the transport reach nobody and are the transport's to count; what opens to no
/// packet is counted here.
#[test]
fn what_opens_to_no_packet_is_counted() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape::default())?;
        let stranger = udp(&left.host, "192.0.2.1:0".parse::<SocketAddr>()?)?;
        stranger.send_to(b"nonsense", "192.0.2.2:4000")?;
        stranger.send_to(b"", "192.0.2.2:4000")?;
        stranger.send_to(b"weft but not a packet", "192.0.2.2:4000")?;
        eventually(SOON, "a drop", || right.plane.counters().dropped(DropReason::Malformed) == 1)?;
        assert_eq!(right.plane.counters().dropped(DropReason::BadDatagram), 0);
        assert_eq!(right.plane.failure(), None);
        Ok(())
    });
}
