//! A phone registers, connects, asks, roams, loses its consent and its process: Android's own classes on a JVM, with the
//! real core and real TUN devices, against a real gateway.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod phone;

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use netlab::topology::{DEVICE, GATEWAY, INTERFACE, LAN, UPLINK, WEB};
use netlab::{DnsServer, End, Host, Lab, Record, Seen, Switch, TCP, Topology, UDP};
use weft_e2e::GatewayServer;

use phone::Phone;

/// The names of `corp` are the business of whatever resolver the network brings.
const PROFILE: &str = r#"{"fallback_domains": [{"suffix": "corp"}]}"#;
/// Where the gateway answers the tunnel: a handshake that takes long goes on to the next.
const TUNNEL_PORTS: [u16; 4] = [2408, 500, 1701, 4500];
/// A second network: its router, which is its resolver, and the phone there.
const CAFE: Ipv4Addr = Ipv4Addr::new(192, 168, 60, 1);
const CAFE_UPLINK: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const PHONE_IN_CAFE: &str = "192.168.60.10/24";
const SECOND: &str = "eth1";
/// How long a test may take: a JVM with a whole Android starts once or twice in each.
const DEADLINE: Duration = Duration::from_secs(300);

/// The standard topology with a gateway; the device is the phone.
struct World {
    topology: Topology,
    gateway: GatewayServer,
}

impl World {
    fn new(lab: &Lab) -> Result<Self> {
        lab.require_tun()?;
        let topology = Topology::standard(lab)?;
        let gateway = GatewayServer::start(&topology.gateway, GATEWAY.into(), PROFILE)?;
        Ok(Self { topology, gateway })
    }

    fn host(&self) -> &Host {
        &self.topology.device
    }

    /// A phone in the LAN that is connected.
    fn connected(&self) -> Result<Phone> {
        let mut phone = Phone::start(self.host())?;
        phone.join(1, INTERFACE, LAN)?;
        phone.enrol(&self.gateway)?;
        phone.connect()?;
        Ok(phone)
    }

    /// What the resolver of that address says of a name.
    fn dig(&self, server: &str, name: &str) -> Result<String> {
        let server = format!("@{server}");
        let words = ["dig", "+short", "+tries=2", "+time=5", &server, name, "A"];
        Ok(self.host().run(words)?.stdout.trim().to_owned())
    }
}

fn is_tunnelled(seen: &Seen) -> bool {
    TUNNEL_PORTS.iter().any(|port| seen.has_port(UDP, *port))
}

/// The phone's first resolver inside the tunnel.
fn sentinel(state: &serde_json::Value) -> Result<String> {
    Ok(state["dns"][0].as_str().context("the tunnel names no resolver")?.to_owned())
}

#[test]
fn a_phone_registers_by_a_link_and_its_packets_and_names_go_where_the_profile_says() {
    netlab::run_within(DEADLINE, |lab| {
        let world = World::new(lab)?;
        let mut phone = world.connected()?;
        let wire = world.host().capture(INTERFACE)?;
        phone.wait_for_page(&format!("http://{WEB}/"), &GATEWAY.to_string())?;
        assert!(phone.page("http://web.example/")?.contains(&GATEWAY.to_string()));
        assert_eq!(world.topology.lan_dns.count("web.example"), 0);

        let resolver = sentinel(&phone.tell("state")?)?;
        assert_eq!(world.dig(&resolver, "web.example")?, WEB.to_string());
        assert_eq!(world.dig(&resolver, "blocked.example")?, "");
        assert_eq!(world.dig(&resolver, "intranet.corp")?, LAN.to_string());
        assert!(world.topology.lan_dns.count("intranet.corp") > 0);
        assert!(phone.page("http://intranet.corp/")?.contains(&DEVICE.to_string()));

        wire.settle()?;
        let strays = wire.matching(|seen| {
            let to_gateway = seen.is_to(GATEWAY) && (is_tunnelled(seen) || seen.has_port(TCP, 443));
            seen.outgoing
                && seen.destination.is_some()
                && !to_gateway
                && !seen.is_to(LAN)
                && seen.protocol != Some(netlab::ICMPV6)
        });
        assert!(strays.is_empty(), "{strays:#?}");
        assert!(wire.count(is_tunnelled) > 0);

        phone.tell("disconnect")?;
        let down = phone
            .wait("everything is taken down", |now| now["service"] == false && now["tunnel"] == false)?;
        assert_eq!(down["wanted"], false, "{down}");
        assert!(phone.page(&format!("http://{WEB}/"))?.contains(&UPLINK.to_string()));
        Ok(())
    });
}

/// A second network with a resolver of its own, which knows other names.
fn cafe(lab: &Lab, world: &World) -> Result<(Switch, DnsServer)> {
    let switch = Switch::new(lab, "cafe-switch")?;
    let router = lab.host("cafe").resolver(WEB.into()).build()?;
    switch.plug(End::new(&router, "lan").address(&format!("{CAFE}/24")))?;
    world.topology.internet.plug(End::new(&router, "wan").address(&format!("{CAFE_UPLINK}/24")))?;
    router.forward()?;
    router.masquerade("wan")?;
    switch.plug(End::new(world.host(), SECOND).address(PHONE_IN_CAFE))?;
    let resolver = DnsServer::start(&router)?;
    resolver.add("till.corp", Record::A(CAFE));
    Ok((switch, resolver))
}

#[test]
fn a_phone_that_roams_goes_on_and_asks_the_resolvers_of_the_network_that_it_is_on() {
    netlab::run_within(DEADLINE, |lab| {
        let world = World::new(lab)?;
        let (_network, resolver) = cafe(lab, &world)?;
        let mut phone = world.connected()?;
        let url = format!("http://{WEB}/");
        phone.wait_for_page(&url, &GATEWAY.to_string())?;
        let before = phone.tell("state")?;
        assert_eq!(before["underlying"], serde_json::json!([1]), "{before}");
        let wire = world.host().capture(SECOND)?;

        world
            .host()
            .sh(&format!("ip link set {INTERFACE} down; ip route replace default via {CAFE} dev {SECOND}"))?;
        phone.join(2, SECOND, CAFE)?;
        phone.wait_for_page(&url, &GATEWAY.to_string())?;
        let after = phone.wait_for("CONNECTED")?;
        assert_eq!(after["underlying"], serde_json::json!([2]), "{after}");
        assert_eq!(after["interfaces"], before["interfaces"], "the programs keep their interface");
        assert_eq!(world.dig(&sentinel(&after)?, "till.corp")?, CAFE.to_string());
        assert_eq!(resolver.count("till.corp"), 1);
        wire.settle()?;
        assert!(wire.count(|seen| seen.is_to(GATEWAY) && is_tunnelled(seen)) > 0);
        assert_eq!(wire.count(|seen| seen.is_to(WEB)), 0);
        Ok(())
    });
}

#[test]
fn a_process_that_is_killed_comes_back_to_what_it_was_at_without_a_new_registration() {
    netlab::run_within(DEADLINE, |lab| {
        let world = World::new(lab)?;
        let phone = world.connected()?;
        phone.wait_for_page(&format!("http://{WEB}/"), &GATEWAY.to_string())?;
        let devices = world.gateway.command(&["device", "list", "--json"])?.stdout;
        phone.kill9()?;
        let links = world.host().run(["ip", "-o", "link"])?.stdout;
        assert!(!links.contains("tun"), "the interface went with the process: {links}");

        let mut phone = Phone::start(world.host())?;
        phone.join(1, INTERFACE, LAN)?;
        let state = phone.tell("restart")?;
        assert_eq!(state["wanted"], true, "{state}");
        phone.wait_for("CONNECTED")?;
        phone.wait_for_page(&format!("http://{WEB}/"), &GATEWAY.to_string())?;
        let again = world.gateway.command(&["device", "list", "--json"])?.stdout;
        let ids = |text: &str| -> Result<Vec<String>> {
            let devices: Vec<serde_json::Value> = serde_json::from_str(text)?;
            Ok(devices.iter().map(|device| device["id"].to_string()).collect())
        };
        assert_eq!(ids(&again)?, ids(&devices)?);
        Ok(())
    });
}

#[test]
fn a_phone_whose_consent_is_taken_away_lets_go_and_connects_again_when_it_is_asked_to() {
    netlab::run_within(DEADLINE, |lab| {
        let world = World::new(lab)?;
        let mut phone = world.connected()?;
        let url = format!("http://{WEB}/");
        phone.wait_for_page(&url, &GATEWAY.to_string())?;
        phone.tell("revoke")?;
        let state = phone.wait_for("DISCONNECTED")?;
        assert_eq!(
            (&state["wanted"], &state["service"], &state["tunnel"]),
            (&false.into(), &false.into(), &false.into())
        );
        assert_eq!(state["problem"], "Revoked");
        phone.wait_for_page(&url, &UPLINK.to_string())?;

        // The system starts it again, because somebody made it the always-on VPN.
        phone.tell("always-on")?;
        phone.wait_for("CONNECTED")?;
        phone.wait_for_page(&url, &GATEWAY.to_string())?;
        Ok(())
    });
}

#[test]
fn a_plan_that_comes_while_no_service_runs_starts_one() {
    netlab::run_within(DEADLINE, |lab| {
        let world = World::new(lab)?;
        let mut phone = world.connected()?;
        assert_eq!(phone.tell("destroy")?["service"], false);
        world.gateway.set_profile(r#"{"include": [{"address": "203.0.113.80"}]}"#)?;
        phone.tell("refresh")?;
        let state = phone.wait("the service runs again", |now| now["service"] == true)?;
        phone.wait_for_page(&format!("http://{WEB}/"), &GATEWAY.to_string())?;
        phone.wait("the plan is in force", |now| {
            now["interfaces"].as_u64() > state["interfaces"].as_u64() || now["excluded"] == 0
        })?;
        Ok(())
    });
}
