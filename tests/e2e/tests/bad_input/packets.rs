//! Datagrams and packets that are none: each is counted, and traffic goes on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use netlab::Host;
use netlab::topology::{DEVICE, GATEWAY, WEB, WEB_V6};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use weft_e2e::{PATIENCE, Setup};

use crate::{Standing, assert_carries};

/// IPPROTO_RAW: the caller writes the IP header.
const RAW: i32 = 255;

/// Datagrams that are no WireGuard message, or none that anybody sealed for the receiver.
fn datagrams() -> Vec<Vec<u8>> {
    let message = |kind: [u8; 4], length: usize| {
        let mut message = vec![0xa5; length];
        message[..4].copy_from_slice(&kind);
        message
    };
    vec![
        vec![0],
        vec![1, 0, 0],
        vec![4, 0, 0, 0],
        message([1, 0, 0, 0], 147),
        message([1, 0, 0, 0], 148),
        message([1, 0, 0, 0], 149),
        message([1, 0, 0, 1], 148),
        message([2, 0, 0, 0], 91),
        message([2, 0, 0, 0], 92),
        message([3, 0, 0, 0], 63),
        message([3, 0, 0, 0], 64),
        message([4, 0, 0, 0], 31),
        message([4, 0, 0, 0], 32),
        message([4, 0, 0, 0], 33),
        message([4, 0, 0, 0], 1472),
        message([5, 0, 0, 0], 148),
        vec![0xff; 1472],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ]
}

/// How many packets were dropped for one of these reasons.
fn dropped(tunnel: &Value, reasons: &[&str]) -> Result<u64> {
    let drops = tunnel["drops"].as_array().context("no drops")?;
    let counts = drops.iter().filter(|drop| reasons.iter().any(|reason| drop[0] == *reason));
    Ok(counts.filter_map(|drop| drop[1].as_u64()).sum())
}

fn at_device(setup: &Setup) -> Result<Value> {
    Ok(serde_json::from_str(&setup.device.weft(&["tunnel", "stats", "--json"])?)?)
}

fn at_gateway(setup: &Setup) -> Result<Value> {
    let status = setup.gateway.command(&["status", "--json"])?.stdout;
    Ok(serde_json::from_str::<Value>(&status)?["tunnel"].clone())
}

const NO_MESSAGE: [&str; 2] = ["bad_datagram", "bad_seal"];

/// Waits until exactly `more` drops for these reasons have been added to `before`.
fn assert_counted(
    read: impl Fn() -> Result<Value>,
    reasons: &[&str],
    before: u64,
    more: usize,
) -> Result<()> {
    let wanted = before + u64::try_from(more)?;
    netlab::eventually(PATIENCE, format!("{wanted} drops are counted"), || -> Result<()> {
        let tunnel = read()?;
        anyhow::ensure!(dropped(&tunnel, reasons)? >= wanted, "{tunnel}");
        Ok(())
    })?;
    assert_eq!(dropped(&read()?, reasons)?, wanted);
    Ok(())
}

#[test]
fn datagrams_that_are_no_message_are_counted_at_the_gateway() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, "{}")?;
        let standing = Standing::of(&setup.device)?;
        let before = dropped(&at_gateway(&setup)?, &NO_MESSAGE)?;
        let socket = setup.topology.web.inside(|| UdpSocket::bind((WEB, 0)))??;
        let ports = [2408, 500, 1701, 4500];
        for port in ports {
            for datagram in datagrams() {
                socket.send_to(&datagram, (GATEWAY, port))?;
            }
        }
        assert_counted(|| at_gateway(&setup), &NO_MESSAGE, before, ports.len() * datagrams().len())?;
        assert_eq!(Standing::of(&setup.device)?, standing);
        assert_carries(&setup)
    });
}

/// An IPv4 packet with a UDP datagram. The kernel fills the header's checksum in.
fn udp_packet(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), datagram: &[u8]) -> Vec<u8> {
    let length = |headers: usize| u16::try_from(headers + datagram.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0];
    packet.extend(length(28));
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    packet.extend(from.1.to_be_bytes());
    packet.extend(to.1.to_be_bytes());
    packet.extend(length(8));
    packet.extend([0, 0]);
    packet.extend(datagram);
    packet
}

/// Sends whole IP packets, headers and all.
fn send_raw(host: &Host, to: IpAddr, packets: &[Vec<u8>]) -> Result<()> {
    let domain = Domain::for_address(SocketAddr::new(to, 0));
    let socket = host.inside(|| Socket::new(domain, Type::RAW, Some(Protocol::from(RAW))))??;
    for packet in packets {
        let sent = socket.send_to(packet, &SocketAddr::new(to, 0).into());
        sent.with_context(|| format!("the kernel refuses {packet:02x?}"))?;
    }
    Ok(())
}

/// The port of the device's tunnel.
fn tunnel_port(setup: &Setup) -> Result<u16> {
    let sockets = setup.device.host().run(["ss", "-Huanp"])?.stdout;
    let ours = sockets.lines().filter(|line| line.contains("\"weftd\""));
    let ports =
        ours.filter_map(|line| line.split_whitespace().nth(3)?.rsplit(':').next()?.parse::<u16>().ok());
    ports.into_iter().find(|port| *port != 53).with_context(|| format!("no tunnel socket: {sockets}"))
}

#[test]
fn datagrams_that_are_no_message_are_counted_at_the_device() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, "{}")?;
        let standing = Standing::of(&setup.device)?;
        let before = dropped(&at_device(&setup)?, &NO_MESSAGE)?;
        let to = (DEVICE, tunnel_port(&setup)?);
        // As if they came from the gateway, as somebody on the way can make them.
        let packets: Vec<_> = datagrams().iter().map(|body| udp_packet((GATEWAY, 2408), to, body)).collect();
        send_raw(&setup.topology.lan, DEVICE.into(), &packets)?;
        assert_counted(|| at_device(&setup), &NO_MESSAGE, before, packets.len())?;
        assert_eq!(Standing::of(&setup.device)?, standing);
        assert_carries(&setup)
    });
}

#[test]
fn packets_with_a_foreign_source_are_counted_and_go_nowhere() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, "{}")?;
        let standing = Standing::of(&setup.device)?;
        let before = dropped(&at_device(&setup)?, &["foreign_source"])?;
        let beyond = setup.topology.gateway.capture(netlab::topology::INTERFACE)?;
        let wire = setup.topology.device.capture(netlab::topology::INTERFACE)?;
        let socket = setup.device.host().inside(|| UdpSocket::bind((DEVICE, 0)))??;
        for _ in 0..5 {
            socket.send_to(b"x", (WEB, 9))?;
        }
        assert_counted(|| at_device(&setup), &["foreign_source"], before, 5)?;
        beyond.settle()?;
        wire.settle()?;
        assert_eq!(beyond.count(|seen| seen.is_to(WEB) && seen.has_port(netlab::UDP, 9)), 0);
        assert_eq!(wire.count(|seen| seen.is_to(WEB)), 0);
        assert_eq!(Standing::of(&setup.device)?, standing);
        assert_carries(&setup)
    });
}

/// Bytes of 40 and more, which the kernel takes for an IPv6 packet without a look at them.
fn no_packets() -> Vec<Vec<u8>> {
    let v6 = |payload: u16, length: usize| {
        let mut packet = vec![0_u8; length];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&payload.to_be_bytes());
        packet[6..8].copy_from_slice(&[17, 64]);
        packet[8..24].copy_from_slice(&WEB_V6.octets());
        packet[24..40].copy_from_slice(&WEB_V6.octets());
        packet
    };
    let v4 = |start: [u8; 4]| [start.as_slice(), &[0; 44]].concat();
    vec![
        vec![0; 40],
        vec![0xff; 40],
        vec![0x50; 1200],
        // A payload that is longer than what is there.
        v6(1, 40),
        v6(u16::MAX, 48),
        // IPv4 whose header, or whose whole, is longer than what is there, or shorter than a header.
        v4([0x4f, 0, 0, 61]),
        v4([0x45, 0, 0xff, 0xff]),
        v4([0x44, 0, 0, 48]),
        v4([0x45, 0, 0, 19]),
    ]
}

#[test]
fn packets_that_are_none_are_counted() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, "{}")?;
        let standing = Standing::of(&setup.device)?;
        let before = dropped(&at_device(&setup)?, &["malformed"])?;
        send_raw(setup.device.host(), WEB_V6.into(), &no_packets())?;
        assert_counted(|| at_device(&setup), &["malformed"], before, no_packets().len())?;
        assert_eq!(Standing::of(&setup.device)?, standing);
        assert_carries(&setup)
    });
}
