//! Who reaches the DNS proxy at its own addresses.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use netlab::{End, Host, Link};
use socket2::{Domain, Socket, Type};
use weft_dns::DnsConfig;
use weft_runtime::dns_front::{DnsProxy, Resolvers};
use weft_runtime::sockets::SocketFactory;

const PATIENCE: Duration = Duration::from_secs(20);
const PROXY: [&str; 2] = ["127.0.2.2:53", "[fd01:db8:1111::2]:53"];

/// "connectivity-check.weftd A": the proxy answers it by itself.
const QUERY: &[u8] =
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x12connectivity-check\x05weftd\0\0\x01\0\x01";

fn ask_udp(from: IpAddr, to: SocketAddr) {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(QUERY, to).unwrap();
    let mut room = [0; 512];
    let (length, by) = socket.recv_from(&mut room).unwrap_or_else(|error| panic!("{from} {to}: {error}"));
    assert_eq!((by, &room[..2]), (to, &QUERY[..2]));
    assert!(length > QUERY.len(), "{from} {to}");
}

fn ask_tcp(from: IpAddr, to: SocketAddr) {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).unwrap_or_else(|error| panic!("{from} {to}: {error}"));
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&[&[0, QUERY.len() as u8], QUERY].concat()).unwrap();
    let mut head = [0; 4];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[2..], QUERY[..2]);
}

fn start(device: &Host, runtime: &tokio::runtime::Runtime) -> anyhow::Result<DnsProxy> {
    let listen = PROXY.map(|text| text.parse().unwrap());
    let config = DnsConfig {
        self_addresses: listen.map(|address: SocketAddr| address.ip()).to_vec(),
        ..DnsConfig::default()
    };
    Ok(device.inside(|| {
        let _entered = runtime.enter();
        DnsProxy::start(&listen, config, Arc::new(Resolvers::outside(SocketFactory::new())))
    })??)
}

#[test]
fn the_device_itself_is_answered_and_its_neighbours_are_not() {
    netlab::run(|lab| {
        let (device, neighbour) = (lab.host("device").build()?, lab.host("neighbour").build()?);
        Link::new(
            End::new(&device, "eth0").address("192.0.2.1/24").address("fd50::1/64"),
            End::new(&neighbour, "eth0").address("192.0.2.2/24").address("fd50::2/64"),
        )?;
        device.run(["ip", "address", "add", "fd01:db8:1111::2/128", "dev", "lo"])?;
        neighbour.run(["ip", "route", "add", "fd01:db8:1111::2/128", "via", "fd50::1"])?;
        // The kernel hears IPv4's from elsewhere only so.
        device.sysctl("net.ipv4.conf.all.route_localnet", "1")?;
        neighbour.sysctl("net.ipv4.conf.all.route_localnet", "1")?;
        neighbour.run(["ip", "route", "add", "127.0.2.2/32", "via", "192.0.2.1", "table", "9"])?;
        neighbour.run(["ip", "rule", "add", "to", "127.0.2.2", "table", "9", "priority", "1"])?;
        neighbour.run(["ip", "rule", "add", "table", "local", "priority", "2"])?;
        neighbour.run(["ip", "rule", "delete", "priority", "0"])?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let proxy = start(&device, &runtime)?;
        let plain = device.inside(|| UdpSocket::bind("[fd01:db8:1111::2]:54"))??;
        plain.set_read_timeout(Some(PATIENCE))?;

        neighbour.inside(|| {
            let socket = UdpSocket::bind("[::]:0").unwrap();
            socket.send_to(b"?", "[fd01:db8:1111::2]:54").unwrap();
            for (from, to) in [("0.0.0.0:0", PROXY[0]), ("[::]:0", PROXY[1])] {
                let to: SocketAddr = to.parse().unwrap();
                UdpSocket::bind(from).unwrap().send_to(QUERY, to).unwrap();
                let connected = TcpStream::connect_timeout(&to, Duration::from_millis(300));
                assert!(connected.is_err(), "{to}");
            }
        })?;
        assert_eq!(plain.recv(&mut [0])?, 1, "the neighbour finds no way to the address");

        device.inside(|| {
            for (from, to) in [
                ("127.0.0.1", PROXY[0]),
                ("127.0.2.2", PROXY[0]),
                ("192.0.2.1", PROXY[0]),
                ("::1", PROXY[1]),
                ("fd01:db8:1111::2", PROXY[1]),
                ("fd50::1", PROXY[1]),
            ] {
                ask_udp(from.parse().unwrap(), to.parse().unwrap());
                ask_tcp(from.parse().unwrap(), to.parse().unwrap());
            }
        })?;
        assert_eq!(proxy.stats().queries, 12, "the device's alone");
        Ok(())
    });
}
