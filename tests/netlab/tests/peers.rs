//! Each WireGuard program of others, against itself and against the others.
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use netlab::peers::{Implementation, Keys, Remote, WireGuardPeer};
use netlab::{End, Lab, Link, UDP};

const LEFT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const RIGHT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const SOON: Duration = Duration::from_secs(10);

/// A ping through a tunnel that `client` opens to `server`.
fn tunnel(lab: &Lab, client: Implementation, server: Implementation) -> Result<()> {
    lab.require_tun()?;
    let (left, right) = (lab.host("left").build()?, lab.host("right").build()?);
    Link::new(
        End::new(&left, "eth0").address(&format!("{LEFT}/24")),
        End::new(&right, "eth0").address(&format!("{RIGHT}/24")),
    )?;
    let (ours, theirs) = (Keys::generate(&left)?, Keys::generate(&right)?);
    let gateway = WireGuardPeer::new(server, &theirs)
        .listen(2408)
        .address("10.9.0.1/24")
        .remote(Remote::new(&ours.public).allow("10.9.0.2/32"))
        .start(&right)?;
    let device = WireGuardPeer::new(client, &ours)
        .address("10.9.0.2/24")
        .mtu(1280)
        .remote(Remote::new(&theirs.public).allow("10.9.0.0/24").endpoint(SocketAddr::from((RIGHT, 2408))))
        .start(&left)?;
    assert_eq!(gateway.handshakes()?, 0);
    let wire = right.capture("eth0")?;
    left.run(["ping", "-c1", "-W5", "10.9.0.1"])?;
    device.wait_for_handshake(SOON)?;
    gateway.wait_for_handshake(SOON)?;
    wire.settle()?;
    // Two of the handshake, and the ping with its answer.
    assert!(wire.count(|seen| seen.has_port(UDP, 2408)) >= 4, "{wire}");
    assert_eq!(wire.count(|seen| seen.protocol == Some(netlab::ICMP)), 0, "{wire}");
    drop(gateway);
    assert!(!right.attempt(["ip", "link", "show", "dev", "wg0"])?.status.success());
    Ok(())
}

#[test]
fn wireguard_go_to_itself() {
    netlab::run(|lab| tunnel(lab, Implementation::WireGuardGo, Implementation::WireGuardGo));
}

#[test]
fn wireguard_go_to_gotatun() {
    netlab::run(|lab| tunnel(lab, Implementation::WireGuardGo, Implementation::Gotatun));
}

#[test]
fn gotatun_to_boringtun() {
    netlab::run(|lab| tunnel(lab, Implementation::Gotatun, Implementation::Boringtun));
}

#[test]
fn boringtun_to_wireguard_go() {
    netlab::run(|lab| tunnel(lab, Implementation::Boringtun, Implementation::WireGuardGo));
}
