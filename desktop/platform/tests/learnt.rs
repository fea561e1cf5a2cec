//! Which way learnt addresses go, with every packet on the wire and in the tunnel counted.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

mod common;

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use common::net::{Net, OWN, SOON, TUNNELLED, ask, blocked, connect, echo, server};
use common::{enforced, learnt, nets, none};
use ipnet::IpNet;
use netlab::{Capture, Lab};
use weft_model::settings::SplitTunnelMode::{self, Exclude, Include};
use weft_model::{FirewallPlan, InterfacePlan, LearntPlan};
use weft_platform::Platform;

/// A device with its tunnel interface up.
struct Tunnelled {
    net: Net,
    platform: Platform,
    firewall: FirewallPlan,
    routes: Vec<IpNet>,
    tunnel: Capture,
    device: OwnedFd,
}

impl Tunnelled {
    /// In Exclude mode [`TUNNELLED`] are in the tunnel, in Include mode outside.
    fn new(lab: &Lab, mode: SplitTunnelMode) -> Result<Self> {
        lab.require_tun()?;
        let net = Net::new(lab)?;
        let (firewall, routes) = match mode {
            Exclude => (blocked(), nets(&["198.0.0.0/7", "2000::/3"])),
            Include => {
                let tunnelled = ["203.0.113.0/24", "2001:db8:2::/48"];
                (enforced(&tunnelled, &[]), nets(&tunnelled))
            }
        };
        let mut platform = net.device.inside(Platform::native)??;
        let plan = InterfacePlan { addresses: nets(&OWN), mtu: 1280, metered: false };
        let device = net.device.inside(|| platform.tun.ensure(&plan))??.context("a new interface")?;
        let tunnel = net.device.capture("weft0")?;
        let mut tunnelled = Self { net, platform, firewall, routes, tunnel, device };
        tunnelled.learn(&none())?;
        Ok(tunnelled)
    }

    /// Brings the learnt addresses in force, in the order that the daemon does.
    fn learn(&mut self, learnt: &LearntPlan) -> Result<()> {
        let Self { net, platform, firewall, routes, .. } = self;
        net.device.inside(|| {
            platform.firewall.apply(firewall, learnt, &nets(&OWN))?;
            platform.routes.apply(routes, learnt)
        })??;
        Ok(())
    }

    /// Sends a datagram from the device to each address and returns how many packets to them were on the wire, and how
    /// many entered the tunnel.
    fn probe(&self, addresses: [&str; 2]) -> Result<(usize, usize)> {
        self.net.wire.clear();
        self.tunnel.clear();
        for address in addresses {
            let to = SocketAddr::new(address.parse()?, 9);
            // What is refused is not sent.
            self.net.device.inside(|| drop(socket_to(to).and_then(|socket| socket.send_to(b"probe", to))))?;
        }
        self.tunnel.settle()?;
        self.net.wire.settle()?;
        let addresses = addresses.map(|address| address.parse::<IpAddr>().unwrap());
        let count =
            |capture: &Capture| capture.count(|seen| addresses.iter().any(|address| seen.is_to(*address)));
        Ok((count(&self.net.wire), count(&self.tunnel)))
    }
}

fn socket_to(to: SocketAddr) -> std::io::Result<UdpSocket> {
    UdpSocket::bind((if to.is_ipv4() { "0.0.0.0" } else { "::" }, 0))
}

#[test]
fn a_learnt_address_of_exclude_mode_is_reached_outside_and_by_nothing_else() {
    netlab::run(|lab| {
        let mut net = Tunnelled::new(lab, Exclude)?;
        assert_eq!(net.probe(TUNNELLED)?, (0, 2));
        for address in TUNNELLED {
            echo(&net.net.remote, address, 53)?;
        }
        for _ in 0..2 {
            net.learn(&learnt(Exclude, &TUNNELLED))?;
            net.net.wire.clear();
            net.tunnel.clear();
            for address in TUNNELLED {
                let _server = server(&net.net.remote, address, 80)?;
                connect(&net.net.device, address, 80, None)?.context(address)?;
                ask(&net.net.device, address, 53, None)?.context(address)?;
                // A container's packets go the same way.
                connect(&net.net.behind, address, 80, None)?.context(address)?;
            }
            net.tunnel.settle()?;
            let address: [IpAddr; 2] = TUNNELLED.map(|text| text.parse().unwrap());
            assert_eq!(net.tunnel.count(|seen| address.iter().any(|one| seen.is_to(*one))), 0);
            assert!(net.net.seen(TUNNELLED)? > 0);
            // Its neighbour stays in the tunnel.
            assert_eq!(net.probe(["198.51.100.2", "2001:db8:1::2"])?, (0, 2));

            net.learn(&none())?;
            assert_eq!(net.probe(TUNNELLED)?, (0, 2));
        }
        Ok(())
    });
}

#[test]
fn a_learnt_address_of_include_mode_enters_the_tunnel_or_goes_nowhere() {
    netlab::run(|lab| {
        let mut net = Tunnelled::new(lab, Include)?;
        assert_eq!(net.probe(TUNNELLED)?, (2, 0));
        net.learn(&learnt(Include, &TUNNELLED))?;
        assert_eq!(net.probe(TUNNELLED)?, (0, 2));
        for address in TUNNELLED {
            // The way round the routing table, and that of a container.
            assert!(!net.net.device.attempt(["ping", "-c1", "-W1", "-I", "eth0", address])?.status.success());
            let to = SocketAddr::new(address.parse()?, 9);
            let sent = net.net.behind.inside(|| socket_to(to)?.send_to(b"forwarded", to))?;
            sent.context("sent")?;
            net.tunnel.wait_for(SOON, |seen| seen.is_to(to.ip()) && seen.has_port(netlab::UDP, 9))?;
        }
        assert_eq!(net.net.seen(TUNNELLED)?, 0, "{}", net.net.wire);
        assert_eq!(net.probe(["198.51.100.2", "2001:db8:1::2"])?, (2, 0));
        net.learn(&none())?;
        assert_eq!(net.probe(TUNNELLED)?, (2, 0));

        // The interface goes, as with a daemon that was killed: the firewall stays.
        net.learn(&learnt(Include, &TUNNELLED))?;
        net.net.wire.clear();
        let Tunnelled { net, device, .. } = net;
        drop(device);
        for address in TUNNELLED {
            assert!(connect(&net.device, address, 80, None)?.is_err());
        }
        assert_eq!(net.seen(TUNNELLED)?, 0, "{}", net.wire);
        Ok(())
    });
}

#[test]
fn a_learnt_ipv6_address_that_the_tunnel_cannot_carry_is_refused() {
    netlab::run(|lab| {
        let mut net = Tunnelled::new(lab, Include)?;
        net.net.device.sysctl("net.ipv6.conf.weft0.disable_ipv6", "1")?;
        net.learn(&learnt(Include, &TUNNELLED))?;
        net.net.wire.clear();
        let refused = connect(&net.net.device, TUNNELLED[1], 80, None)?.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        assert_eq!(net.probe(TUNNELLED)?, (0, 1));
        Ok(())
    });
}

#[test]
fn a_learnt_address_stands_above_a_route_to_it_and_gives_way_to_it() {
    netlab::run(|lab| {
        let mut net = Tunnelled::new(lab, Exclude)?;
        net.routes = nets(&["198.0.0.0/7", "2000::/3", "198.51.100.1/32", "2001:db8:1::1/128"]);
        for _ in 0..2 {
            net.learn(&learnt(Exclude, &["198.51.100.2", "2001:db8:1::2"]))?;
            assert_eq!(net.probe(TUNNELLED)?, (0, 2));
            net.learn(&learnt(Exclude, &TUNNELLED))?;
            assert_eq!(net.probe(TUNNELLED)?.1, 0);
            // Asked for once more, it is compared with what the kernel has.
            net.learn(&learnt(Exclude, &TUNNELLED))?;
            assert_eq!(net.probe(TUNNELLED)?.1, 0);
        }
        net.learn(&none())?;
        assert_eq!(net.probe(TUNNELLED)?, (0, 2));
        Ok(())
    });
}

/// How many times the learnt addresses change, and how many packets the flood sends to each address meanwhile, each
/// time. Between batches the captures are waited for, so that what they have not taken yet never exceeds their room.
const CHANGES: u16 = 500;
const BATCH: u16 = 10;
const ROUNDS: usize = 4;
/// Never learnt, always learnt, and learnt every other time.
const NEVER: [&str; 2] = ["198.51.100.100", "2001:db8:1::100"];
const ALWAYS: [&str; 2] = ["198.51.100.200", "2001:db8:1::200"];
const CHANGING: [&str; 2] = ["198.51.100.101", "2001:db8:1::101"];
/// The ports that packets to [`CHANGING`] are sent to while it is learnt, and while it is not.
const LEARNT: u16 = 1001;
const UNLEARNT: u16 = 1002;

/// Sends [`ROUNDS`] of packets each time that a change begins.
fn flood(sockets: &[(UdpSocket, SocketAddr)], changes: mpsc::Receiver<()>) -> Result<()> {
    for () in changes {
        for (socket, to) in (0..ROUNDS).flat_map(|_| sockets) {
            socket.send_to(b"flood", to)?;
        }
    }
    Ok(())
}

/// Takes packets out of the tunnel until the device is gone, so that its queue has room.
fn drain(device: OwnedFd) {
    let mut device = std::fs::File::from(device);
    while device.read(&mut [0; 2048]).is_ok() {}
}

/// Changes the learnt addresses again and again, each time followed at once by a packet to the changed ones.
fn change(net: &mut Tunnelled, mode: SplitTunnelMode, begins: mpsc::SyncSender<()>) -> Result<()> {
    let always = learnt(mode, &ALWAYS);
    let with = learnt(mode, &[CHANGING, ALWAYS].concat());
    let targets = CHANGING.map(|text| text.parse::<IpAddr>().unwrap());
    let Tunnelled { net, platform, firewall, routes, tunnel, .. } = net;
    let sockets = net.device.inside(|| targets.map(|to| socket_to(SocketAddr::new(to, 0)).unwrap()))?;
    for batch in 0..CHANGES / BATCH {
        net.device.inside(|| {
            for number in batch * BATCH..(batch + 1) * BATCH {
                let (plan, port) = if number % 2 == 0 { (&with, LEARNT) } else { (&always, UNLEARNT) };
                begins.send(())?;
                platform.firewall.apply(firewall, plan, &nets(&OWN))?;
                platform.routes.apply(routes, plan)?;
                for (socket, to) in sockets.iter().zip(targets) {
                    socket.send_to(b"at once", (to, port))?;
                }
            }
            Ok::<_, anyhow::Error>(())
        })??;
        net.wire.settle()?;
        tunnel.settle()?;
    }
    Ok(())
}

fn race(mode: SplitTunnelMode) {
    netlab::run(|lab| {
        let mut net = Tunnelled::new(lab, mode)?;
        net.learn(&learnt(mode, &ALWAYS))?;
        let addresses = [NEVER, ALWAYS].concat();
        let sockets = net.net.device.inside(|| {
            addresses
                .iter()
                .map(|text| {
                    let to = SocketAddr::new(text.parse().unwrap(), 9);
                    Ok((socket_to(to)?, to))
                })
                .collect::<std::io::Result<Vec<_>>>()
        })??;
        let (begins, changes) = mpsc::sync_channel(1);
        let device = net.device.try_clone()?;
        thread::spawn(move || drain(device));
        thread::scope(|scope| {
            let flood = scope.spawn(|| flood(&sockets, changes));
            let changed = change(&mut net, mode, begins);
            let flooded = flood.join().map_err(|_| anyhow!("the flood ended"));
            changed.and(flooded?)
        })?;
        net.net.wire.settle()?;
        net.tunnel.settle()?;
        judge(&net, mode);
        Ok(())
    });
}

/// Not one packet went the wrong way, and each went the right one.
fn judge(net: &Tunnelled, mode: SplitTunnelMode) {
    let count = |capture: &Capture, addresses: [&str; 2], port| {
        let addresses = addresses.map(|text| text.parse::<IpAddr>().unwrap());
        capture.count(|seen| {
            addresses.iter().any(|address| seen.is_to(*address)) && seen.has_port(netlab::UDP, port)
        })
    };
    let (wire, tunnel) = (&net.net.wire, &net.tunnel);
    let (of_learnt, of_others) = match mode {
        Exclude => (wire, tunnel),
        Include => (tunnel, wire),
    };
    let changing = usize::from(CHANGES);
    let flooded = ALWAYS.len() * ROUNDS * changing;
    let expected = [
        (ALWAYS, 9, of_learnt, of_others, flooded),
        (NEVER, 9, of_others, of_learnt, flooded),
        (CHANGING, LEARNT, of_learnt, of_others, changing),
        (CHANGING, UNLEARNT, of_others, of_learnt, changing),
    ];
    for (addresses, port, right, wrong, number) in expected {
        assert_eq!(count(wrong, addresses, port), 0, "{addresses:?} port {port} went the wrong way");
        assert_eq!(count(right, addresses, port), number, "{addresses:?} port {port}");
    }
}

#[test]
fn not_one_packet_goes_the_wrong_way_while_excluded_addresses_change() {
    race(Exclude);
}

#[test]
fn not_one_packet_goes_the_wrong_way_while_included_addresses_change() {
    race(Include);
}
