//! What passes the firewall, and what does not, with every packet on the wire counted.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::Context as _;
use common::net::{EXCLUDED, GATEWAY, Net, PORT, SOON, TUNNELLED, ask, connect, echo, server};
use common::{nets, none};
use weft_model::{FIREWALL_MARK, InterfacePlan};
use weft_platform::Platform;

#[test]
fn a_tunnelled_destination_is_refused_at_once_and_nothing_leaves() {
    netlab::run(|lab| {
        let net = Net::new(lab)?;
        for (family, address) in TUNNELLED.into_iter().enumerate() {
            let _server = server(&net.remote, address, 80)?;
            echo(&net.remote, address, 53)?;
            // Open, it can be reached.
            connect(&net.device, address, 80, None)?.context("before")?;
            ask(&net.device, address, 53, None)?.context("before")?;
            assert!(net.seen(TUNNELLED)? > 0);
            net.block()?;
            net.wire.clear();

            let refused = connect(&net.device, address, 80, None)?.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{address}");
            let refused = ask(&net.device, address, 53, None)?.unwrap_err();
            assert!(refused.kind() != ErrorKind::WouldBlock, "{address}: {refused}");
            let ping = net.device.attempt(["ping", "-c1", "-W5", address])?;
            assert!(!ping.status.success(), "{}", ping.stdout);
            assert!(ping.stdout.contains("filtered") || ping.stdout.contains("rohibited"), "{}", ping.stdout);
            // Bound to the physical interface, so that no routing table stands in the way.
            let bound = net.device.attempt(["ping", "-c1", "-W1", "-I", "eth0", address])?;
            assert!(!bound.status.success());
            // The mark alone opens nothing.
            assert!(connect(&net.device, address, 80, Some(FIREWALL_MARK))?.is_err());
            assert_eq!(net.seen(TUNNELLED)?, 0, "{}", net.wire);
            assert_eq!(family, usize::from(address.contains(':')));
            common::clear(&net.device)?;
            connect(&net.device, address, 80, None)?.context("after")?;
        }
        Ok(())
    });
}

#[test]
fn what_is_excluded_passes_both_ways() {
    netlab::run(|lab| {
        let net = Net::new(lab)?;
        net.block()?;
        for address in EXCLUDED {
            let _server = server(&net.remote, address, 80)?;
            connect(&net.device, address, 80, None)?.context(address)?;
            net.device.run(["ping", "-c1", "-W5", address])?;
            connect(&net.behind, address, 80, None)?.context(address)?;
            net.remote.run([
                "ping",
                "-c1",
                "-W5",
                "-I",
                address,
                if address.contains(':') { "fd00::2" } else { "10.0.0.2" },
            ])?;
        }
        Ok(())
    });
}

#[test]
fn only_a_marked_socket_passes_and_only_by_an_opening() {
    netlab::run(|lab| {
        let net = Net::new(lab)?;
        net.block()?;
        for address in GATEWAY {
            for port in [PORT, PORT + 1] {
                echo(&net.remote, address, port)?;
            }
            let _servers = [server(&net.remote, address, PORT)?, server(&net.remote, address, PORT + 1)?];
            assert!(ask(&net.device, address, PORT, None)?.is_err());
            assert!(ask(&net.device, address, PORT + 1, Some(FIREWALL_MARK))?.is_err());
            assert!(connect(&net.device, address, PORT, None)?.is_err());
            assert!(connect(&net.device, address, PORT + 1, Some(FIREWALL_MARK))?.is_err());
            assert_eq!(net.seen([address; 2])?, 0, "{}", net.wire);

            ask(&net.device, address, PORT, Some(FIREWALL_MARK))?.context(address)?;
            connect(&net.device, address, PORT, Some(FIREWALL_MARK))?.context(address)?;
            assert!(net.seen([address; 2])? > 0);
        }
        Ok(())
    });
}

#[test]
fn a_connection_from_before_is_cut() {
    netlab::run(|lab| {
        let net = Net::new(lab)?;
        for address in TUNNELLED {
            let server = server(&net.remote, address, 80)?;
            let mut client = connect(&net.device, address, 80, None)?.context("before")?;
            let (mut peer, _) = server.accept()?;
            client.write_all(b"before")?;
            peer.read_exact(&mut [0; 6])?;
            net.block()?;
            net.wire.clear();
            client.set_read_timeout(Some(SOON))?;
            // The first write meets the reset, what follows the closed connection.
            let cut = client.write_all(b"after").and_then(|()| client.read(&mut [0; 1]).map(drop));
            assert!(cut.is_err_and(|error| error.kind() != ErrorKind::WouldBlock), "{address}");
            drop(client);
            assert_eq!(net.seen(TUNNELLED)?, 0, "{}", net.wire);
            common::clear(&net.device)?;
        }
        Ok(())
    });
}

#[test]
fn what_is_forwarded_to_a_tunnelled_destination_is_refused() {
    netlab::run(|lab| {
        let net = Net::new(lab)?;
        for address in TUNNELLED {
            let _server = server(&net.remote, address, 80)?;
            connect(&net.behind, address, 80, None)?.context("before")?;
            net.block()?;
            net.wire.clear();
            let refused = connect(&net.behind, address, 80, None)?.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{address}");
            let ping = net.behind.attempt(["ping", "-c1", "-W5", address])?;
            assert!(!ping.status.success() && ping.stdout.contains("From"), "{}", ping.stdout);
            assert_eq!(net.seen(TUNNELLED)?, 0, "{}", net.wire);
            common::clear(&net.device)?;
        }
        Ok(())
    });
}

#[test]
fn with_the_tunnel_up_its_packets_go_there_and_nowhere_else() {
    netlab::run(|lab| {
        lab.require_tun()?;
        let net = Net::new(lab)?;
        net.block()?;
        let mut platform = net.device.inside(Platform::native)??;
        let plan = InterfacePlan {
            addresses: nets(&["172.16.0.2/32", "2001:db8:3::3/128"]),
            mtu: 1280,
            metered: false,
        };
        let device = net.device.inside(|| platform.tun.ensure(&plan))??.context("a new interface")?;
        net.device.inside(|| platform.routes.apply(&nets(&["198.0.0.0/7", "2000::/3"]), &none()))??;
        let tunnel = net.device.capture("weft0")?;
        for (address, behind) in TUNNELLED.into_iter().zip(["172.17.0.2", "fd00:17::2"]) {
            let address: IpAddr = address.parse()?;
            net.device.inside(|| {
                let socket = UdpSocket::bind((if address.is_ipv4() { "0.0.0.0" } else { "::" }, 0))?;
                socket.send_to(b"in the tunnel", (address, 53))
            })??;
            let seen = tunnel.wait_for(SOON, |seen| seen.is_to(address))?;
            assert!(
                nets(&["172.16.0.2/32", "2001:db8:3::3/128"])
                    .iter()
                    .any(|own| Some(own.addr()) == seen.source)
            );
            let bind = SocketAddr::new(behind.parse()?, 0);
            net.behind.inside(|| UdpSocket::bind(bind)?.send_to(b"in the tunnel", (address, 53)))??;
            tunnel.wait_for(SOON, |seen| seen.is_to(address) && seen.is_from(bind.ip()))?;
        }
        // The way round the routing table stays closed.
        for address in TUNNELLED {
            assert!(!net.device.attempt(["ping", "-c1", "-W1", "-I", "eth0", address])?.status.success());
        }
        assert_eq!(net.seen(TUNNELLED)?, 0, "{}", net.wire);
        // The gateway is reached outside, under strict reverse-path filtering, although its range is tunnelled.
        net.device.inside(|| platform.routes.apply(&nets(&["198.0.0.0/7"]), &none()))??;
        for address in GATEWAY {
            echo(&net.remote, address, PORT)?;
            ask(&net.device, address, PORT, Some(FIREWALL_MARK))?.context(address)?;
        }
        drop(device);
        // Without the interface everything to the tunnel is refused again.
        for address in TUNNELLED {
            assert!(connect(&net.device, address, 80, None)?.is_err());
        }
        assert_eq!(net.seen(TUNNELLED)?, 0, "{}", net.wire);
        Ok(())
    });
}

#[test]
fn the_local_network_cannot_find_the_tunnels_address() {
    netlab::run(|lab| {
        lab.require_tun()?;
        let net = Net::new(lab)?;
        let mut platform = net.device.inside(Platform::native)??;
        let plan = InterfacePlan {
            addresses: nets(&["172.16.0.2/32", "2001:db8:3::3/128"]),
            mtu: 1280,
            metered: false,
        };
        let _device = net.device.inside(|| platform.tun.ensure(&plan))??;
        net.remote.run(["ip", "route", "add", "2001:db8:3::3/128", "via", "fd00::2"])?;
        let own = ["172.16.0.2", "2001:db8:3::3"];
        for (address, source) in own.into_iter().zip(EXCLUDED) {
            net.remote.run(["ping", "-c1", "-W5", "-I", source, address])?;
        }
        net.block()?;
        net.wire.clear();
        for (address, source) in own.into_iter().zip(EXCLUDED) {
            assert!(!net.remote.attempt(["ping", "-c1", "-W1", "-I", source, address])?.status.success());
        }
        net.wire.settle()?;
        for address in own {
            let address: IpAddr = address.parse()?;
            assert_eq!(net.wire.count(|seen| seen.is_from(address)), 0, "{}", net.wire);
        }
        Ok(())
    });
}

#[test]
fn nothing_comes_in_from_a_tunnelled_address() {
    netlab::run(|lab| {
        let net = Net::new(lab)?;
        net.block()?;
        for (source, to) in TUNNELLED.into_iter().zip(["10.0.0.2", "fd00::2"]) {
            let address = SocketAddr::new(to.parse()?, 7000);
            let socket = net.device.inside(|| UdpSocket::bind(address))??;
            for source in [source, EXCLUDED[usize::from(to.contains(':'))]] {
                let from = SocketAddr::new(source.parse()?, 0);
                net.remote.inside(|| UdpSocket::bind(from)?.send_to(source.as_bytes(), address))??;
            }
            // The second was sent behind the first.
            socket.set_read_timeout(Some(SOON))?;
            let mut buffer = [0; 64];
            let (length, from) = socket.recv_from(&mut buffer)?;
            assert_eq!(from.ip().to_string(), EXCLUDED[usize::from(to.contains(':'))]);
            assert_eq!(&buffer[..length], from.ip().to_string().as_bytes());
        }
        Ok(())
    });
}

#[test]
fn a_packet_that_another_program_reroutes_is_caught() {
    netlab::run(|lab| {
        lab.require_tun()?;
        let net = Net::new(lab)?;
        net.block()?;
        let mut platform = net.device.inside(Platform::native)??;
        let addresses = nets(&["172.16.0.2/32", "2001:db8:3::3/128"]);
        let plan = InterfacePlan { addresses, mtu: 1280, metered: false };
        let _device = net.device.inside(|| platform.tun.ensure(&plan))??;
        net.device.inside(|| platform.routes.apply(&nets(&["198.0.0.0/7", "2000::/3"]), &none()))??;
        // It takes packets away from the tunnel by the mark, after their first route was found.
        net.device.run([
            "nft",
            "add table inet other; \
             add chain inet other output { type route hook output priority -150; }; \
             add rule inet other output udp dport 53 meta mark set 0x100cf",
        ])?;
        for address in TUNNELLED {
            let address: IpAddr = address.parse()?;
            net.device.inside(|| {
                let socket = UdpSocket::bind((if address.is_ipv4() { "0.0.0.0" } else { "::" }, 0))?;
                // Refused here or lost later, it must not get out.
                let _ = socket.send_to(b"astray", (address, 53));
                Ok::<_, std::io::Error>(())
            })??;
        }
        assert_eq!(net.seen(TUNNELLED)?, 0, "{}", net.wire);
        let description = net.device.inside(move || platform.firewall.describe())??;
        assert_eq!(description.matches("rerouted: stopped 1 packets").count(), 2, "{description}");
        Ok(())
    });
}
