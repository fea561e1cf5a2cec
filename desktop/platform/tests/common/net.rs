//! A device, a host behind it, and a remote host with every address that matters.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::Result;
use netlab::{Capture, End, Host, Lab, Link, Seen};
use socket2::{Domain, Socket, Type};
use weft_model::{FirewallPlan, Protocol};

use super::{apply, enforced};

pub(crate) const SOON: Duration = Duration::from_secs(5);
/// Addresses of the one remote host: tunnelled, excluded, and the gateway's, which is tunnelled but for an opening.
pub(crate) const TUNNELLED: [&str; 2] = ["198.51.100.1", "2001:db8:1::1"];
pub(crate) const EXCLUDED: [&str; 2] = ["192.168.9.1", "fd00:9::1"];
pub(crate) const GATEWAY: [&str; 2] = ["203.0.113.1", "2001:db8:2::1"];
pub(crate) const PORT: u16 = 2408;
/// The addresses of the tunnel interface.
pub(crate) const OWN: [&str; 2] = ["172.16.0.2/32", "2001:db8:3::3/128"];

/// A device, a host behind it as a container is, and the remote host with every address that matters.
pub(crate) struct Net {
    pub(crate) device: Host,
    pub(crate) behind: Host,
    pub(crate) remote: Host,
    pub(crate) wire: Capture,
}

impl Net {
    pub(crate) fn new(lab: &Lab) -> Result<Self> {
        let device = lab.host("device").strict_rp_filter().build()?;
        let (behind, remote) = (lab.host("behind").build()?, lab.host("remote").build()?);
        let mut end = End::new(&remote, "eth0").address("10.0.0.1/24").address("fd00::1/64");
        for address in [TUNNELLED, EXCLUDED, GATEWAY] {
            end = end.address(&format!("{}/32", address[0])).address(&format!("{}/128", address[1]));
        }
        Link::new(End::new(&device, "eth0").address("10.0.0.2/24").address("fd00::2/64"), end)?;
        Link::new(
            End::new(&device, "eth1").address("172.17.0.1/24").address("fd00:17::1/64"),
            End::new(&behind, "eth0").address("172.17.0.2/24").address("fd00:17::2/64"),
        )?;
        for (host, gateways) in [(&device, ["10.0.0.1", "fd00::1"]), (&behind, ["172.17.0.1", "fd00:17::1"])]
        {
            for gateway in gateways {
                host.run(["ip", "route", "add", "default", "via", gateway])?;
            }
        }
        remote.run(["ip", "route", "add", "172.16.0.0/12", "via", "10.0.0.2"])?;
        remote.run(["ip", "route", "add", "fd00:17::/64", "via", "fd00::2"])?;
        device.sysctl("net.ipv4.ip_forward", "1")?;
        device.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        let wire = remote.capture("eth0")?;
        Ok(Self { device, behind, remote, wire })
    }

    /// Puts [`blocked`] in force.
    pub(crate) fn block(&self) -> Result<()> {
        apply(&self.device, &blocked(), &OWN)
    }

    /// How many packets to or from these addresses were on the wire.
    pub(crate) fn seen(&self, addresses: [&str; 2]) -> Result<usize> {
        self.wire.settle()?;
        let addresses = addresses.map(|address| address.parse::<IpAddr>().unwrap());
        Ok(self.wire.count(|seen: &Seen| {
            addresses.iter().any(|address| seen.is_to(*address) || seen.is_from(*address))
        }))
    }
}

/// Exclude mode: everything but private ranges is for the tunnel alone, but for the gateway's port.
pub(crate) fn blocked() -> FirewallPlan {
    let gateway = GATEWAY.map(|address| SocketAddr::new(address.parse().unwrap(), PORT).to_string());
    let openings = [
        (Protocol::Udp, gateway[0].as_str()),
        (Protocol::Tcp, gateway[0].as_str()),
        (Protocol::Udp, gateway[1].as_str()),
        (Protocol::Tcp, gateway[1].as_str()),
    ];
    let tunnelled = ["11.0.0.0/8", "128.0.0.0/3", "193.0.0.0/8", "198.0.0.0/7", "200.0.0.0/5", "2000::/3"];
    enforced(&tunnelled, &openings)
}

pub(crate) fn server(host: &Host, address: &str, port: u16) -> Result<TcpListener> {
    let address = SocketAddr::new(address.parse()?, port);
    Ok(host.inside(move || TcpListener::bind(address))??)
}

pub(crate) fn connect(
    host: &Host,
    address: &str,
    port: u16,
    mark: Option<u32>,
) -> Result<Result<TcpStream, std::io::Error>> {
    let address = SocketAddr::new(address.parse()?, port);
    host.inside(move || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if let Some(mark) = mark {
            socket.set_mark(mark)?;
        }
        socket.connect_timeout(&address.into(), SOON)?;
        Ok(TcpStream::from(socket))
    })
}

/// A datagram there and back; none = the system refused to send it, or nothing came back.
pub(crate) fn ask(host: &Host, address: &str, port: u16, mark: Option<u32>) -> Result<std::io::Result<()>> {
    let address = SocketAddr::new(address.parse()?, port);
    host.inside(move || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        if let Some(mark) = mark {
            socket.set_mark(mark)?;
        }
        socket.set_read_timeout(Some(SOON))?;
        socket.connect(&address.into())?;
        socket.send(b"ask")?;
        let mut socket = socket;
        socket.read_exact(&mut [0; 3])
    })
}

/// Answers datagrams to any of the host's addresses for as long as the host lives.
pub(crate) fn echo(host: &Host, address: &str, port: u16) -> Result<()> {
    let address = SocketAddr::new(address.parse()?, port);
    let socket = host.inside(move || UdpSocket::bind(address))??;
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if socket.send_to(&buffer[..length], from).is_err() {
                break;
            }
        }
    });
    Ok(())
}
