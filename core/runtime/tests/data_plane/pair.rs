//! Two hosts, a wire between them, and a data plane on each with its TUN.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use netlab::{End, Host, Lab, Link};
use tokio::sync::mpsc;
use weft_packet::Run;
use weft_runtime::data_plane::{Config, DataPlane, FlowClaims, Verdict, Verdicts, VerdictsInForce};
use weft_runtime::sockets::{SocketFactory, UdpSocket};
use weft_runtime::tun;

use crate::fake::{Fake, FakeInbound, SOCKET};
use crate::sys;

pub(crate) const SOON: Duration = Duration::from_secs(20);

/// How many packets for the core's own flows, and for its servers, may wait.
pub(crate) const OWN_QUEUE: usize = 3;

/// What a pair is to be.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Whether the TUN has the virtio header.
    pub(crate) virtio: bool,
    /// Whether datagrams go over IPv6 outside.
    pub(crate) outer_v6: bool,
    pub(crate) tun_mtu: u32,
    pub(crate) wire_mtu: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self { virtio: true, outer_v6: false, tun_mtu: 1280, wire_mtu: 1500 }
    }
}

/// A judge made of a function.
pub(crate) struct Judge<F>(pub(crate) F);

impl<F: Fn(&Run) -> Verdict + Send + Sync> Verdicts for Judge<F> {
    fn judge(&self, run: &Run) -> Verdict {
        (self.0)(run)
    }
}

pub(crate) struct Side {
    pub(crate) host: Host,
    pub(crate) plane: DataPlane,
    pub(crate) transport: Arc<Fake>,
    pub(crate) verdicts: Arc<VerdictsInForce>,
    pub(crate) claims: Arc<FlowClaims>,
    /// Packets out of the tunnel for claimed ports.
    pub(crate) own: mpsc::Receiver<Vec<u8>>,
    /// Packets of the device for the core's own servers.
    pub(crate) served: mpsc::Receiver<Vec<u8>>,
    /// Inside addresses.
    pub(crate) v4: IpAddr,
    pub(crate) v6: IpAddr,
}

impl Side {
    pub(crate) fn judge(&self, judge: impl Fn(&Run) -> Verdict + Send + Sync + 'static) {
        let judge: Arc<dyn Verdicts> = Arc::new(Judge(judge));
        self.verdicts.store(Arc::new(judge));
    }

    /// A number of the host's `/proc/net/snmp`, such as `("Tcp:", "RetransSegs")`.
    pub(crate) fn snmp(&self, group: &str, name: &str) -> Result<u64> {
        let text = self.host.read_file("/proc/thread-self/net/snmp")?;
        let mut lines = text.lines().filter(|line| line.starts_with(group)).map(str::split_whitespace);
        let (names, values) = (lines.next().context("names")?, lines.next().context("values")?);
        let value = names.zip(values).find(|(other, _)| *other == name).context("no such number")?.1;
        Ok(value.parse()?)
    }
}

pub(crate) struct Pair {
    pub(crate) left: Side,
    pub(crate) right: Side,
}

fn outer(number: u8, v6: bool) -> SocketAddr {
    let text = if v6 { format!("[fd50::{number}]:4000") } else { format!("192.0.2.{number}:4000") };
    text.parse().unwrap()
}

/// A socket for sealed datagrams on a side's wire.
pub(crate) fn socket(host: &Host, local: SocketAddr) -> Result<UdpSocket> {
    Ok(host.inside(|| SocketFactory::new().tunnel_at(local))??)
}

impl Pair {
    pub(crate) fn new(lab: &Lab, shape: Shape) -> Result<Self> {
        lab.require_tun()?;
        let (left, right) = (lab.host("left").build()?, lab.host("right").build()?);
        let end = |host: &Host, number: u8| {
            End::new(host, "eth0")
                .address(&format!("192.0.2.{number}/24"))
                .address(&format!("fd50::{number}/64"))
        };
        Link::new(end(&left, 1), end(&right, 2))?;
        // Less than IPv6 allows as an interface's, so a route's.
        if shape.wire_mtu < 1500 {
            for (host, peer) in [(&left, 2), (&right, 1)] {
                let mtu = shape.wire_mtu.to_string();
                let peer = format!("192.0.2.{peer}/32");
                host.run(["ip", "route", "add", &peer, "dev", "eth0", "mtu", "lock", &mtu])?;
            }
        }
        Ok(Self { left: side(left, 1, 2, shape)?, right: side(right, 2, 1, shape)? })
    }
}

fn side(host: Host, own: u8, peer: u8, shape: Shape) -> Result<Side> {
    let fd = host.inside(|| sys::tun("tun0", shape.virtio))??;
    let (input, output) = tun::open(fd)?;
    host.sh(&format!(
        "echo 0 > /proc/sys/net/ipv6/conf/tun0/router_solicitations
         ip link set tun0 mtu {} up
         ip addr add 10.1.0.{own}/24 dev tun0
         ip -6 addr add fd10::{own}/64 dev tun0 nodad",
        shape.tun_mtu
    ))?;
    let transport = Fake::new(outer(peer, shape.outer_v6));
    let judge: Arc<dyn Verdicts> = Arc::new(Judge(|_: &Run| Verdict::Tunnel));
    let verdicts = Arc::new(ArcSwap::from_pointee(judge));
    let claims = Arc::new(FlowClaims::new());
    let (own_packets, own_queue) = mpsc::channel(OWN_QUEUE);
    let (to_server, served) = mpsc::channel::<Vec<u8>>(OWN_QUEUE);
    let plane = DataPlane::start(Config {
        input: Box::new(input),
        output: Arc::new(output),
        outbound: transport.clone(),
        inbound: Box::new(FakeInbound),
        verdicts: Arc::clone(&verdicts),
        claims: Arc::clone(&claims),
        own_packets,
        served_packets: Arc::new(move |packet| to_server.try_send(packet).is_ok()),
        nudge: Arc::new(|| ()),
    })?;
    plane.add_socket(SOCKET, socket(&host, outer(own, shape.outer_v6))?)?;
    let v4 = format!("10.1.0.{own}").parse()?;
    let v6 = format!("fd10::{own}").parse()?;
    Ok(Side { host, plane, transport, verdicts, claims, own: own_queue, served, v4, v6 })
}
