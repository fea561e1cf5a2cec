//! A device registers, connects, is steered by its profile, and leaves no trace.

use anyhow::Context as _;
use netlab::topology::{DEVICE, DEVICE_V6, GATEWAY, GATEWAY_V6, LAN, LAN_V6, WEB, WEB_V6};
use netlab::{TCP, UDP};
use weft_e2e::Setup;

const EXCLUDE: &str = r#"{"fallback_domains": [{"suffix": "corp", "dns_server": ["192.168.50.20"]}]}"#;
const INCLUDE: &str = r#"{"include": [{"address": "203.0.113.80"}], "fallback_domains": []}"#;

#[test]
fn packets_and_names_go_where_the_profile_says() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, EXCLUDE)?;
        assert!(setup.curl(&["-4", "http://web.example/"])?.contains(&GATEWAY.to_string()));
        assert!(setup.curl(&["-6", "http://web.example/"])?.contains(&GATEWAY_V6.to_string()));
        assert!(setup.curl(&["-4", "http://intranet.corp/"])?.contains(&DEVICE.to_string()));
        assert!(setup.curl(&[&format!("http://{LAN}/")])?.contains(&DEVICE.to_string()));
        assert!(setup.curl(&[&format!("http://[{LAN_V6}]/")])?.contains(&DEVICE_V6.to_string()));

        let asked = setup.topology.lan_dns.count("web.example");
        assert_eq!(asked, 0, "a tunnelled name never reaches the LAN's resolver");
        assert!(setup.topology.lan_dns.count("intranet.corp") > 0);
        let blocked = setup.curl(&["http://blocked.example/"])?;
        assert!(blocked.contains("resolve host"), "{blocked}");
        assert_eq!(setup.topology.web_dns.count("blocked.example"), 0);
        Ok(())
    });
}

#[test]
fn ipv6_goes_through_the_tunnel_too() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, EXCLUDE)?;
        let page = setup.curl(&[&format!("http://[{WEB_V6}]/")])?;
        assert!(page.contains(&GATEWAY_V6.to_string()), "{page}");
        Ok(())
    });
}

#[test]
fn include_mode_tunnels_the_list_and_nothing_else() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, INCLUDE)?;
        assert!(setup.curl(&[&format!("http://{WEB}/")])?.contains(&GATEWAY.to_string()));
        let direct = setup.curl(&[&format!("http://[{WEB_V6}]/")])?;
        assert!(!direct.contains(&GATEWAY_V6.to_string()) && direct.contains("you are"), "{direct}");
        Ok(())
    });
}

#[test]
fn a_disconnect_leaves_no_trace_and_a_connect_works_again() {
    netlab::run(|lab| {
        let setup = Setup::new(lab, EXCLUDE)?;
        let before = setup.device.traces()?;
        setup.device.register(&setup.gateway)?;
        for _ in 0..3 {
            setup.device.connect()?;
            assert_ne!(setup.device.traces()?, before);
            setup.device.disconnect()?;
            assert_eq!(setup.device.traces()?, before);
        }
        Ok(())
    });
}

#[test]
fn while_connected_the_wire_carries_only_the_tunnel() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, EXCLUDE)?;
        let wire = setup.topology.device.capture(netlab::topology::INTERFACE)?;
        setup.curl(&["http://web.example/"])?;
        setup.curl(&[&format!("http://[{WEB_V6}]/")])?;
        wire.settle()?;
        let strays = wire.matching(|seen| {
            let to_gateway = seen.is_to(GATEWAY) && (seen.has_port(UDP, 2408) || seen.has_port(TCP, 443));
            let to_lan = seen.is_to(LAN) || seen.is_to(LAN_V6);
            seen.outgoing
                && seen.destination.is_some()
                && seen.protocol != Some(netlab::ICMPV6)
                && !to_gateway
                && !to_lan
        });
        assert!(strays.is_empty(), "{strays:#?}");
        assert!(wire.count(|seen| seen.has_port(UDP, 2408)) > 0);
        Ok(())
    });
}

#[test]
fn a_profile_that_changes_reaches_the_connected_device() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, EXCLUDE)?;
        let page = setup.curl(&[&format!("http://[{WEB_V6}]/")])?;
        assert!(page.contains(&GATEWAY_V6.to_string()), "{page}");
        setup.gateway.set_profile(INCLUDE)?;
        setup.device.weft(&["settings", "--refresh"])?;
        netlab::eventually(weft_e2e::PATIENCE, "the device follows the new profile", || {
            setup
                .curl(&[&format!("http://[{WEB_V6}]/")])
                .is_ok_and(|page| page.contains("you are") && !page.contains(&GATEWAY_V6.to_string()))
        })?;
        Ok(())
    });
}

#[test]
fn dns_only_mode_answers_names_and_leaves_packets_alone() {
    netlab::run(|lab| {
        let profile = r#"{"service_mode_v2": {"mode": "1dot1"}}"#;
        let setup = Setup::connected(lab, profile)?;
        let page = setup.curl(&["-4", "http://web.example/"])?;
        assert!(page.contains("you are") && !page.contains(&GATEWAY.to_string()), "{page}");
        assert_eq!(setup.topology.lan_dns.count("web.example"), 0);
        assert!(setup.curl(&["http://blocked.example/"])?.contains("resolve host"));
        assert!(!setup.device.traces()?.links.contains("weft0"));
        Ok(())
    });
}

#[test]
fn traffic_only_mode_leaves_names_alone() {
    netlab::run(|lab| {
        let profile = r#"{"service_mode_v2": {"mode": "tunnelonly"}}"#;
        let setup = Setup::new(lab, profile)?;
        let before = setup.device.traces()?;
        setup.device.register(&setup.gateway)?;
        setup.device.connect()?;
        assert_eq!(setup.device.traces()?.resolv_conf, before.resolv_conf);
        assert!(setup.curl(&["-4", "http://web.example/"])?.contains(&GATEWAY.to_string()));
        assert!(setup.topology.lan_dns.count("web.example") > 0);
        Ok(())
    });
}

#[test]
fn an_interface_that_somebody_deletes_comes_back() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, EXCLUDE)?;
        let wire = setup.topology.device.capture(netlab::topology::INTERFACE)?;
        setup.device.host().run(["ip", "link", "del", "weft0"])?;
        netlab::eventually(weft_e2e::PATIENCE, "the tunnel carries again", || {
            setup
                .curl(&["--max-time", "1", &format!("http://{WEB}/")])
                .is_ok_and(|page| page.contains("you are"))
        })?;
        setup.device.wait_for_state("connected")?;
        wire.settle()?;
        assert_eq!(wire.count(|seen| seen.is_to(WEB)), 0);
        Ok(())
    });
}

#[test]
fn a_device_that_loses_its_network_and_finds_it_again_goes_on() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, EXCLUDE)?;
        let host = setup.device.host();
        let wire = setup.topology.device.capture(netlab::topology::INTERFACE)?;
        let route = format!("default via {}", netlab::topology::ROUTER);
        for _ in 0..2 {
            host.sh(&format!("ip route del {route}; ip route flush cache"))?;
            let lost = setup.curl(&["--max-time", "1", &format!("http://{WEB}/")])?;
            assert!(lost.contains("curl:"), "{lost}");
            // What a DHCP client does when the network is back.
            host.write_file("/etc/resolv.conf", format!("nameserver {LAN}\n"))?;
            host.sh(&format!("ip route add {route}"))?;
            netlab::eventually(weft_e2e::PATIENCE, "pages come again", || {
                setup
                    .curl(&["--max-time", "1", &format!("http://{WEB}/")])
                    .is_ok_and(|page| page.contains("you are"))
            })?;
            netlab::eventually(weft_e2e::PATIENCE, "the system asks Weft again", || {
                host.read_file("/etc/resolv.conf").is_ok_and(|text| text.contains("127.0.2.2"))
            })?;
            setup.device.wait_for_state("connected")?;
        }
        wire.settle()?;
        assert_eq!(wire.count(|seen| seen.is_to(WEB)), 0);
        setup.device.disconnect()?;
        assert_eq!(host.read_file("/etc/resolv.conf")?, format!("nameserver {LAN}\n"));
        Ok(())
    });
}

#[test]
fn two_devices_with_one_address_each_get_their_own_replies() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, EXCLUDE)?;
        let second_host = setup.topology.add_device("second", 11)?;
        let second = weft_e2e::Device::start(&second_host)?;
        second.register(&setup.gateway)?;
        second.connect()?;
        for host in [setup.device.host(), &second_host] {
            let addresses = host.run(["ip", "addr", "show", "dev", "weft0"])?.stdout;
            assert!(addresses.contains("172.16.0.2/32"), "{addresses}");
        }
        // Each fetches bodies of a length of its own, at the same time.
        let fetch = |host: &netlab::Host, bytes: usize| {
            let url = format!("http://{WEB}/bytes/{bytes}");
            let words = ["curl", "--silent", "--max-time", "20", "--output", "/dev/null", "--write-out"];
            let mut command = host.command_of(words)?;
            command.args(["%{size_download}", &url]);
            host.spawn(command)
        };
        for round in 0..5 {
            let (one, two) = (400_000 + round, 700_000 + round);
            let first = fetch(setup.device.host(), one)?;
            let other = fetch(&second_host, two)?;
            assert_eq!(first.output(weft_e2e::PATIENCE)?.success()?.stdout, one.to_string());
            assert_eq!(other.output(weft_e2e::PATIENCE)?.success()?.stdout, two.to_string());
        }
        Ok(())
    });
}

#[test]
fn a_revoked_device_is_cut_off_and_stays_blocked() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, EXCLUDE)?;
        setup.gateway.command(&["device", "revoke", &device_id(&setup)?])?;
        let wire = setup.topology.device.capture(netlab::topology::INTERFACE)?;
        netlab::eventually(weft_e2e::PATIENCE, "the gateway drops the device's packets", || {
            setup
                .curl(&["--max-time", "1", &format!("http://{WEB}/")])
                .is_ok_and(|said| said.contains("curl:"))
        })?;
        setup.device.weft(&["settings", "--refresh"])?;
        setup.device.wait_for_state("unable")?;
        assert!(setup.curl(&[&format!("http://{WEB}/")])?.contains("curl:"));
        wire.settle()?;
        assert_eq!(wire.count(|seen| seen.is_to(WEB)), 0);
        Ok(())
    });
}

#[test]
fn a_revoked_device_may_leave_though_its_users_may_not() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, r#"{"allowed_to_leave": false}"#)?;
        let refused = setup.device.attempt(&["registration", "delete"])?;
        assert!(refused.stderr.contains("does not let users leave"), "{}", refused.stderr);
        setup.gateway.command(&["device", "revoke", &device_id(&setup)?])?;
        setup.device.weft(&["registration", "delete"])?;
        setup.device.wait_for_state("disconnected")?;
        setup.device.register(&setup.gateway)?;
        setup.device.connect()?;
        assert!(setup.curl(&[&format!("http://{WEB}/")])?.contains(&GATEWAY.to_string()));
        Ok(())
    });
}

/// What the gateway calls the one device that it has.
fn device_id(setup: &Setup) -> anyhow::Result<String> {
    let devices = setup.gateway.command(&["device", "list", "--json"])?.stdout;
    let devices: serde_json::Value = serde_json::from_str(&devices)?;
    let id = devices.pointer("/0/id").and_then(serde_json::Value::as_str);
    Ok(id.context("the gateway lists no device")?.to_owned())
}
