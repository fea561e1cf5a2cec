//! The network monitor in a lab: every other network is told once, and nothing else is.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

mod common;

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context as _, Result};
use common::{nets, none};
use netlab::{End, Host, Lab, Link};
use weft_model::{InterfacePlan, NetworkState};
use weft_platform::{Platform, Watch, network_monitor};

const SOON: Duration = Duration::from_secs(10);

fn state(interface: &str, gateway: &str, has_v4: bool, has_v6: bool) -> NetworkState {
    let interface = (!interface.is_empty()).then(|| interface.to_owned());
    NetworkState { interface, gateway: gateway.parse().ok(), has_v4, has_v6 }
}

fn watch(host: &Host) -> Result<(Watch, Receiver<NetworkState>)> {
    let (tell, told) = channel();
    let watch =
        host.inside(|| network_monitor().watch(Box::new(move |state| tell.send(state).unwrap())))??;
    Ok((watch, told))
}

/// A device on two networks, with no default route yet.
fn device(lab: &Lab) -> Result<(Host, Host)> {
    let (host, router) = (lab.host("device").build()?, lab.host("router").build()?);
    Link::new(
        End::new(&host, "eth0").address("192.0.2.2/24").address("2001:db8::2/64"),
        End::new(&router, "eth0").address("192.0.2.1/24").address("2001:db8::1/64"),
    )?;
    Link::new(
        End::new(&host, "wlan0").address("198.51.100.2/24"),
        End::new(&router, "wlan0").address("198.51.100.1/24"),
    )?;
    Ok((host, router))
}

#[test]
fn each_other_network_is_told_once() {
    netlab::run(|lab| {
        let (host, _router) = device(lab)?;
        let (watch, told) = watch(&host)?;
        let next = || told.recv_timeout(SOON).context("nothing was told");
        assert_eq!(next()?, NetworkState::default());
        let steps: [(&str, NetworkState); 7] = [
            ("ip route add default via 192.0.2.1 metric 100", state("eth0", "192.0.2.1", true, false)),
            ("ip -6 route add default via 2001:db8::1", state("eth0", "192.0.2.1", true, true)),
            ("ip route add default via 198.51.100.1 metric 50", state("wlan0", "198.51.100.1", true, true)),
            ("ip link set wlan0 down", state("eth0", "192.0.2.1", true, true)),
            ("ip route del default", state("eth0", "2001:db8::1", false, true)),
            ("ip link set eth0 down", NetworkState::default()),
            ("ip link set wlan0 up; ip route add default dev wlan0", state("wlan0", "", true, false)),
        ];
        for (command, expected) in steps {
            host.sh(command)?;
            assert_eq!(next()?, expected, "{command}");
            assert_eq!(host.inside(|| network_monitor().state())??, expected);
        }
        drop(watch);
        host.sh("ip route del default")?;
        assert!(told.recv_timeout(SOON).is_err(), "told after the end");
        Ok(())
    });
}

#[test]
fn wefts_own_interface_and_routes_are_no_event() {
    netlab::run(|lab| {
        lab.require_tun()?;
        let (host, _router) = device(lab)?;
        host.sh("ip route add default via 192.0.2.1")?;
        let (_watch, told) = watch(&host)?;
        let first = told.recv_timeout(SOON)?;
        assert_eq!(first, state("eth0", "192.0.2.1", true, false));
        let mut platform = host.inside(Platform::native)??;
        let plan = InterfacePlan { addresses: nets(&["172.16.0.2/32"]), mtu: 1280, metered: false };
        let _device = host.inside(|| platform.tun.ensure(&plan))??;
        let many: Vec<String> =
            (0..2000u32).map(|number| format!("20.{}.{}.0/26", number / 250, number % 250)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        host.inside(|| platform.routes.apply(&nets(&many), &none()))??;
        host.sh("ip route add default dev weft0 metric 1")?;
        host.inside(|| platform.routes.clear())??;
        host.inside(|| platform.tun.remove())??;
        // The next thing that is told is a change that matters.
        host.sh("ip link set eth0 down")?;
        assert_eq!(told.recv_timeout(SOON)?, NetworkState::default());
        assert!(told.try_recv().is_err());
        Ok(())
    });
}

#[test]
fn several_next_hops_count_as_the_first_that_works() {
    netlab::run(|lab| {
        let (host, _router) = device(lab)?;
        host.sh("ip route add default nexthop via 192.0.2.1 nexthop via 198.51.100.1")?;
        let now = || host.inside(|| network_monitor().state());
        assert_eq!(now()??, state("eth0", "192.0.2.1", true, false));
        host.sh("ip link set eth0 down")?;
        assert_eq!(now()??, state("wlan0", "198.51.100.1", true, false));
        Ok(())
    });
}

#[test]
fn a_watch_may_end_from_its_own_callback() {
    netlab::run(|lab| {
        let (host, _router) = device(lab)?;
        let (tell, told) = channel();
        let slot = std::sync::Arc::new(std::sync::Mutex::new(None::<Watch>));
        let own = slot.clone();
        let callback = Box::new(move |state: NetworkState| {
            if state.is_online() {
                drop(own.lock().unwrap().take());
                tell.send(()).unwrap();
            }
        });
        *slot.lock().unwrap() = Some(host.inside(|| network_monitor().watch(callback))??);
        host.sh("ip route add default via 192.0.2.1")?;
        told.recv_timeout(SOON)?;
        // The callback is gone with the thread, and with it the sending end.
        assert!(
            told.recv_timeout(SOON)
                .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Disconnected)
        );
        Ok(())
    });
}
