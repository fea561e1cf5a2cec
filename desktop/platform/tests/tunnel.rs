//! The tunnel interface, its routes and its rule, in a lab.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

mod common;

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result};
use common::{learnt, nets, none};
use ipnet::IpNet;
use netlab::{End, Host, Lab, Link};
use weft_model::InterfacePlan;
use weft_model::settings::SplitTunnelMode::{Exclude, Include};
use weft_platform::{Platform, PlatformError, TunOptions};

const SOON: Duration = Duration::from_secs(10);

fn plan(addresses: &[&str], mtu: u16) -> InterfacePlan {
    InterfacePlan { addresses: nets(addresses), mtu, metered: false }
}

/// A host with a TUN device, or a skip where there are none.
fn device(lab: &Lab) -> Result<(Host, Host)> {
    lab.require_tun()?;
    let host = lab.host("device").build()?;
    let router = lab.host("router").build()?;
    Link::new(
        End::new(&host, "eth0").address("192.0.2.2/24"),
        End::new(&router, "eth0").address("192.0.2.1/24"),
    )?;
    host.run(["ip", "route", "add", "default", "via", "192.0.2.1"])?;
    Ok((host, router))
}

fn lines(host: &Host, command: &str) -> Result<Vec<String>> {
    let output = host.sh(command)?;
    Ok(output.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
}

fn addresses(host: &Host) -> Result<Vec<String>> {
    let lines = lines(host, "ip -o addr show dev weft0")?;
    Ok(lines.iter().map(|line| line.split(' ').nth(3).unwrap_or_default().to_owned()).collect())
}

fn routes(host: &Host) -> Result<Vec<String>> {
    lines(
        host,
        "ip route show table 65743 2>/dev/null || true; ip -6 route show table 65743 2>/dev/null || true",
    )
}

fn rules(host: &Host) -> Result<Vec<String>> {
    lines(host, "(ip rule; ip -6 rule) | grep -v -E '^(0|32766|32767):' || true")
}

/// Runs a step on the host with a platform of its own.
fn on<R: Send>(
    host: &Host,
    step: impl FnOnce(&mut Platform) -> Result<R, PlatformError> + Send,
) -> Result<R> {
    Ok(host.inside(|| step(&mut Platform::native()?))??)
}

fn ensure(host: &Host, platform: &mut Platform, plan: &InterfacePlan) -> Result<Option<OwnedFd>> {
    Ok(host.inside(|| platform.tun.ensure(plan))??)
}

fn preflight(host: &Host, platform: &mut Platform) -> Result<()> {
    Ok(host.inside(move || platform.preflight())??)
}

#[test]
fn the_interface_is_exactly_the_plans_and_goes() {
    netlab::run(|lab| {
        let (host, _router) = device(lab)?;
        let mut platform = host.inside(Platform::native)??;
        let first = plan(&["172.16.0.2/32", "2606:4700:cf1:1000::1/128"], 1280);
        let device = ensure(&host, &mut platform, &first)?.context("a new interface")?;
        assert_eq!(addresses(&host)?, ["172.16.0.2/32", "2606:4700:cf1:1000::1/128"]);
        let about = host.run(["ip", "-d", "link", "show", "weft0"])?.stdout;
        for part in ["mtu 1280", ",UP", "tun type tun pi off vnet_hdr on persist off", "addrgenmode none"] {
            assert!(about.contains(part), "{part} is not in {about}");
        }
        // No route but those of the plan: neither of a prefix nor of a link-local address.
        assert_eq!(lines(&host, "ip route show dev weft0; ip -6 route show dev weft0")?, [""; 0]);

        assert!(ensure(&host, &mut platform, &first)?.is_none());
        let second = plan(&["172.16.0.2/32", "100.96.0.7/12"], 1420);
        assert!(ensure(&host, &mut platform, &second)?.is_none());
        assert_eq!(addresses(&host)?, ["172.16.0.2/32", "100.96.0.7/12"]);
        assert!(host.run(["ip", "link", "show", "weft0"])?.stdout.contains("mtu 1420"));

        host.inside(|| platform.tun.remove())??;
        assert!(!host.attempt(["ip", "link", "show", "weft0"])?.status.success());
        host.inside(|| platform.tun.remove())??;
        drop(device);

        // Gone behind the platform's back, as after a suspend, it is made anew.
        let device = ensure(&host, &mut platform, &first)?.context("a new interface")?;
        host.run(["ip", "link", "del", "weft0"])?;
        assert!(ensure(&host, &mut platform, &first)?.is_some());
        drop(device);
        Ok(())
    });
}

#[test]
fn the_interface_goes_with_its_descriptor() {
    netlab::run(|lab| {
        let (host, _router) = device(lab)?;
        let mut platform = host.inside(Platform::native)??;
        let device = ensure(&host, &mut platform, &plan(&["172.16.0.2/32"], 1280))?;
        drop(device);
        assert!(!host.attempt(["ip", "link", "show", "weft0"])?.status.success());
        Ok(())
    });
}

#[test]
fn without_ipv6_the_rest_works() {
    netlab::run(|lab| {
        let (host, _router) = device(lab)?;
        host.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        host.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
        let mut platform = host.inside(Platform::native)??;
        let _device =
            ensure(&host, &mut platform, &plan(&["172.16.0.2/32", "2606:4700:cf1:1000::1/128"], 1280))?;
        assert_eq!(addresses(&host)?, ["172.16.0.2/32"]);
        host.inside(|| platform.routes.apply(&nets(&["0.0.0.0/1", "2000::/3"]), &none()))??;
        assert_eq!(routes(&host)?, ["0.0.0.0/1 dev weft0 proto static scope link"]);
        // An address that stays outside needs no IPv6 in the tunnel, one that is to go in has no route.
        let addresses = ["198.51.100.7", "2001:db8:1::7"];
        for (mode, number) in [(Exclude, 3), (Include, 2)] {
            host.inside(|| {
                platform.routes.apply(&nets(&["0.0.0.0/1", "2000::/3"]), &learnt(mode, &addresses))
            })??;
            assert_eq!(routes(&host)?.len(), number, "{mode:?}: {:?}", routes(&host)?);
        }
        host.inside(|| platform.routes.clear())??;
        assert_eq!((routes(&host)?.len(), rules(&host)?.len()), (0, 0));
        assert_eq!(host.inside(|| platform.dns.claim_addresses())??.len(), 2);
        Ok(())
    });
}

#[test]
fn an_mtu_too_small_for_ipv6_leaves_it_out_until_it_grows() {
    netlab::run(|lab| {
        let (host, _router) = device(lab)?;
        let mut platform = host.inside(Platform::native)??;
        let all = ["172.16.0.2/32", "2606:4700:cf1:1000::1/128"];
        let _device = ensure(&host, &mut platform, &plan(&all, 1200))?;
        assert_eq!(addresses(&host)?, ["172.16.0.2/32"]);
        ensure(&host, &mut platform, &plan(&all, 1280))?;
        assert_eq!(addresses(&host)?, all);
        Ok(())
    });
}

#[test]
fn the_longest_run_of_segments_can_be_set() {
    netlab::run(|lab| {
        let (host, _router) = device(lab)?;
        let options = TunOptions { gso_max_size: Some(16384) };
        let mut platform = host.inside(|| Platform::native_with(options))??;
        let _device = ensure(&host, &mut platform, &plan(&["172.16.0.2/32"], 1280))?;
        let about = host.run(["ip", "-d", "link", "show", "weft0"])?.stdout;
        assert!(about.contains("gso_max_size 16384"), "{about}");
        Ok(())
    });
}

#[test]
fn an_interface_of_another_program_is_named_and_left() {
    netlab::run(|lab| {
        let (host, _router) = device(lab)?;
        host.run(["ip", "link", "add", "weft0", "type", "veth", "peer", "name", "other"])?;
        let error = on(&host, |platform| platform.tun.ensure(&plan(&["172.16.0.2/32"], 1280))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the interface weft0 belongs to another program (its kind is veth): stop it or rename its interface"
        );
        assert!(on(&host, |platform| platform.preflight()).is_err());
        on(&host, |platform| platform.tun.remove())?;
        assert!(host.run(["ip", "-d", "link", "show", "weft0"])?.stdout.contains("veth"));
        host.run(["ip", "link", "del", "weft0"])?;

        let mut other = host.inside(Platform::native)??;
        let _device = ensure(&host, &mut other, &plan(&["172.16.0.2/32"], 1280))?;
        let error = on(&host, |platform| platform.preflight()).unwrap_err().to_string();
        assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
        Ok(())
    });
}

#[test]
fn routes_and_rule_are_exactly_the_plans_and_go() {
    netlab::run(|lab| {
        let (host, _router) = device(lab)?;
        let mut platform = host.inside(Platform::native)??;
        let _device =
            ensure(&host, &mut platform, &plan(&["172.16.0.2/32", "2606:4700:cf1:1000::1/128"], 1280))?;
        let first = nets(&["0.0.0.0/5", "8.0.0.0/7", "2000::/3"]);
        let v4 = |net: &str| format!("{net} dev weft0 proto static scope link");
        let v6 = |net: &str| format!("{net} dev weft0 proto static metric 1024 pref medium");
        let rule = "5000: not from all fwmark 0x100cf lookup 65743";
        for _ in 0..2 {
            host.inside(|| platform.routes.apply(&first, &none()))??;
            assert_eq!(routes(&host)?, [v4("0.0.0.0/5"), v4("8.0.0.0/7"), v6("2000::/3")]);
            assert_eq!(rules(&host)?, [rule, rule]);
        }
        preflight(&host, &mut platform)?;

        let events = host.spawn(host.command_of(["ip", "monitor", "route"])?)?;
        let mut probes = 0;
        netlab::eventually(SOON, "the monitor runs", || {
            // One that is there already is no event.
            probes += 1;
            host.sh(&format!("ip route add 198.51.100.0/24 dev eth0 metric {probes}")).ok()?;
            events.stdout().contains("198.51").then_some(())
        })?;
        host.inside(|| {
            platform.routes.apply(&nets(&["8.0.0.0/7", "64.0.0.0/2", "2000::/3", "0.0.0.0/0"]), &none())
        })??;
        assert_eq!(routes(&host)?, [v4("default"), v4("8.0.0.0/7"), v4("64.0.0.0/2"), v6("2000::/3")]);
        netlab::eventually(SOON, "the changes are seen", || events.stdout().contains("Deleted 0.0.0.0/5"))?;
        let changed: Vec<_> =
            events.stdout().lines().filter(|line| line.contains("65743")).map(str::to_owned).collect();
        assert_eq!(changed.len(), 3, "only the difference is applied: {changed:?}");

        // Marked sockets go by the main table, everything else by the tunnel, but for the device's own addresses.
        assert!(host.run(["ip", "route", "get", "9.9.9.9"])?.stdout.contains("dev weft0"));
        assert!(host.run(["ip", "route", "get", "9.9.9.9", "mark", "0x100cf"])?.stdout.contains("dev eth0"));
        assert!(host.run(["ip", "route", "get", "192.0.2.2"])?.stdout.contains("dev lo"));

        // Another process takes back what this one did.
        on(&host, |platform| platform.routes.clear())?;
        assert_eq!((routes(&host)?.len(), rules(&host)?.len()), (0, 0));
        on(&host, |platform| platform.routes.clear())?;
        Ok(())
    });
}

/// The routes of single learnt addresses, each as "throw ADDRESS" or "ADDRESS dev weft0".
fn learnt_routes(host: &Host) -> Result<Vec<String>> {
    let single = |line: &String| line.contains("198.51.100.") || line.contains("2001:db8:1::");
    let words = |line: String| {
        line.split(' ').take(if line.starts_with("throw") { 2 } else { 3 }).collect::<Vec<_>>().join(" ")
    };
    Ok(routes(host)?.into_iter().filter(single).map(words).collect())
}

#[test]
fn a_learnt_address_is_one_route_and_goes_with_it() {
    netlab::run(|lab| {
        let (host, _router) = device(lab)?;
        let mut platform = host.inside(Platform::native)??;
        let addresses = ["172.16.0.2/32", "2606:4700:cf1:1000::1/128"];
        let device = ensure(&host, &mut platform, &plan(&addresses, 1280))?.context("a new interface")?;
        let net = nets(&["0.0.0.0/0", "2000::/3"]);
        let (four, six, other) = ("198.51.100.7", "2001:db8:1::7", "198.51.100.8");
        for (mode, way) in [(Exclude, ["throw ", ""]), (Include, ["", " dev weft0"])] {
            let way = |address: &str| way.join(address);
            let mut learn = |addresses: &[&str]| {
                Ok::<_, anyhow::Error>(
                    host.inside(|| platform.routes.apply(&net, &learnt(mode, addresses)))??,
                )
            };
            learn(&[four, six])?;
            assert_eq!(learnt_routes(&host)?, [way(four), way(six)]);
            assert_eq!(routes(&host)?.len(), 4);

            let events = host.spawn(host.command_of(["ip", "monitor", "route"])?)?;
            let mut probes = 0;
            netlab::eventually(SOON, "the monitor runs", || {
                probes += 1;
                host.sh(&format!("ip route add 192.0.3.0/24 dev eth0 metric {probes}")).ok()?;
                events.stdout().contains("192.0.3.").then_some(())
            })?;
            learn(&[four, other, six])?;
            assert_eq!(learnt_routes(&host)?, [way(four), way(other), way(six)]);
            learn(&[four, other])?;
            assert_eq!(learnt_routes(&host)?, [way(four), way(other)]);
            netlab::eventually(SOON, "the changes are seen", || {
                events.stdout().contains("Deleted").then_some(())
            })?;
            let changed = events.stdout().lines().filter(|line| line.contains("65743")).count();
            assert_eq!(changed, 2, "only the difference is changed: {}", events.stdout());
            drop(events);
            host.run(["ip", "route", "flush", "192.0.3.0/24"])?;

            // Whatever another program takes away is there again with the next that does not fit, or that is the same.
            host.sh("ip route flush table 65743")?;
            learn(&[four])?;
            assert_eq!((learnt_routes(&host)?, routes(&host)?.len()), (vec![way(four)], 3));
            host.sh("ip route del default table 65743")?;
            learn(&[four])?;
            assert_eq!((learnt_routes(&host)?, routes(&host)?.len()), (vec![way(four)], 3));
        }
        // What leads into no interface outlives the tunnel's, and is no hindrance to the next process.
        host.inside(|| platform.routes.apply(&net, &learnt(Exclude, &[four, six])))??;
        drop(device);
        assert_eq!(routes(&host)?.len(), 2);
        on(&host, |platform| platform.routes.preflight())?;
        on(&host, |platform| platform.routes.clear())?;
        assert_eq!((routes(&host)?.len(), rules(&host)?.len()), (0, 0));
        Ok(())
    });
}

#[test]
fn an_interface_made_anew_gets_its_routes_with_the_next_learnt_address() {
    netlab::run(|lab| {
        let (host, _router) = device(lab)?;
        let mut platform = host.inside(Platform::native)??;
        let device = ensure(&host, &mut platform, &plan(&["172.16.0.2/32"], 1280))?;
        let net = nets(&["0.0.0.0/0"]);
        host.inside(|| platform.routes.apply(&net, &learnt(Exclude, &["198.51.100.7"])))??;
        drop(device);
        let _device =
            ensure(&host, &mut platform, &plan(&["172.16.0.2/32"], 1280))?.context("a new interface")?;
        host.inside(|| platform.routes.apply(&net, &learnt(Exclude, &["198.51.100.8"])))??;
        assert_eq!(
            routes(&host)?,
            ["default dev weft0 proto static scope link", "throw 198.51.100.8 proto static"]
        );
        Ok(())
    });
}

#[test]
fn two_thousand_routes_are_applied_and_changed() {
    netlab::run(|lab| {
        let (host, _router) = device(lab)?;
        let mut platform = host.inside(Platform::native)??;
        let _device =
            ensure(&host, &mut platform, &plan(&["172.16.0.2/32", "2606:4700:cf1:1000::1/128"], 1280))?;
        let many = |third: u8| -> Vec<IpNet> {
            (0..1000u32)
                .flat_map(|number| {
                    let (high, low) = (number / 250, number % 250);
                    [format!("{}.{low}.{third}.0/24", 20 + high), format!("2001:db8:{number:x}:{third}::/64")]
                })
                .map(|text| text.parse().unwrap())
                .collect()
        };
        for third in [1, 2] {
            host.inside(|| platform.routes.apply(&many(third), &none()))??;
            let present = routes(&host)?;
            assert_eq!(present.len(), 2000);
            assert!(present.contains(&format!("23.249.{third}.0/24 dev weft0 proto static scope link")));
        }
        host.inside(|| platform.routes.clear())??;
        assert_eq!(routes(&host)?.len(), 0);
        Ok(())
    });
}

#[test]
fn the_routes_of_another_program_are_named_and_left() {
    netlab::run(|lab| {
        let (host, _router) = device(lab)?;
        let mut platform = host.inside(Platform::native)??;
        host.run(["ip", "route", "add", "10.9.0.0/16", "dev", "eth0", "table", "65743"])?;
        let expected = "the routing table 65743 belongs to another program, which has the route 10.9.0.0/16 dev eth0 \
                        there: remove it";
        assert_eq!(preflight(&host, &mut platform).unwrap_err().to_string(), expected);
        let _device = ensure(&host, &mut platform, &plan(&["172.16.0.2/32"], 1280))?;
        let all = nets(&["0.0.0.0/0"]);
        assert_eq!(host.inside(|| platform.routes.apply(&all, &none()))?.unwrap_err().to_string(), expected);
        host.inside(|| platform.routes.clear())??;
        assert_eq!(routes(&host)?, ["10.9.0.0/16 dev eth0 scope link"]);
        host.run(["ip", "route", "flush", "table", "65743"])?;

        for foreign in [["pref", "5000", "lookup", "100"], ["pref", "900", "lookup", "65743"]] {
            host.run(["ip", "rule", "add"].iter().chain(&foreign))?;
            let error = host.inside(|| platform.routes.apply(&all, &none()))?.unwrap_err();
            assert!(matches!(error, PlatformError::RuleHeld { .. }), "{error}");
            host.inside(|| platform.routes.clear())??;
            assert_eq!(rules(&host)?.len(), 1, "{:?}", rules(&host)?);
            host.run(["ip", "rule", "del"].iter().chain(&foreign))?;
        }
        host.inside(|| platform.routes.apply(&all, &none()))??;
        Ok(())
    });
}

#[test]
fn routes_without_the_interface_are_refused_and_change_nothing() {
    netlab::run(|lab| {
        let (host, _router) = device(lab)?;
        let error = on(&host, |platform| platform.routes.apply(&nets(&["0.0.0.0/0"]), &none())).unwrap_err();
        assert_eq!(error.to_string(), "the interface weft0 is not there");
        assert_eq!((routes(&host)?.len(), rules(&host)?.len()), (0, 0));
        on(&host, |platform| platform.routes.apply(&[], &none()))?;
        Ok(())
    });
}
