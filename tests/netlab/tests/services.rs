//! Services that others have written, each started for real.
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use netlab::services::{Authority, Denial, Zone};
use netlab::topology::{LAN, LAN_V6, WEB};
use netlab::{Component, Topology, eventually};

const SOON: Duration = Duration::from_secs(10);
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5353);

#[test]
fn resolved_answers_by_its_stub_from_the_links_resolver() {
    netlab::run(|lab| {
        let topology = Topology::standard(lab)?;
        let host = &topology.device;
        let bus = host.dbus(&[Component::Resolved])?;
        let mut resolved = bus.resolved("")?;
        resolved.set_link("eth0", &[LAN.into()], &["corp"])?;
        for _ in 0..2 {
            let said = host.run(["resolvectl", "query", "intranet.corp"])?.stdout;
            assert!(said.contains(&LAN.to_string()) && said.contains(&LAN_V6.to_string()), "{said}");
            assert!(host.run(["getent", "ahosts", "intranet"])?.stdout.contains(&LAN.to_string()));
            assert!(host.read_file("/etc/resolv.conf")?.contains("127.0.0.53"));
            resolved.restart()?;
        }
        Ok(())
    });
}

#[test]
fn network_manager_owns_the_link_and_its_resolvers() {
    netlab::run(|lab| {
        let topology = Topology::standard(lab)?;
        let host = &topology.device;
        let bus = host.dbus(&[Component::NetworkManager])?;
        let mut manager = bus.network_manager("dns=default\nrc-manager=file")?;
        let address = ["ipv4.method", "manual", "ipv4.addresses", "192.168.50.10/24"];
        let rest = ["ipv4.gateway", "192.168.50.1", "ipv4.dns", "192.168.50.20", "ipv4.dns-search", "corp"];
        manager.connect("eth0", &[address.as_slice(), &rest].concat())?;
        eventually(SOON, "NetworkManager writes its resolvers", || {
            let text = host.read_file("/etc/resolv.conf")?;
            anyhow::ensure!(
                text.contains("nameserver 192.168.50.20") && text.contains("search corp"),
                "{text}"
            );
            Ok(())
        })?;
        assert!(host.run(["getent", "ahosts", "intranet"])?.stdout.contains(&LAN.to_string()));
        manager.restart()?;
        manager.wait_connected("eth0")?;
        manager.modify("eth0", &["ipv4.dns", "192.168.50.1"])?;
        eventually(SOON, "NetworkManager writes the new resolver", || {
            host.read_file("/etc/resolv.conf").is_ok_and(|text| text.contains("nameserver 192.168.50.1\n"))
        })
    });
}

#[test]
fn network_manager_hands_its_resolvers_to_resolved() {
    netlab::run(|lab| {
        let topology = Topology::standard(lab)?;
        let host = &topology.device;
        let bus = host.dbus(&[Component::Resolved, Component::NetworkManager])?;
        let _resolved = bus.resolved("")?;
        let manager = bus.network_manager("dns=systemd-resolved")?;
        let address = ["ipv4.method", "manual", "ipv4.addresses", "192.168.50.10/24"];
        let rest = ["ipv4.gateway", "192.168.50.1", "ipv4.dns", "192.168.50.20"];
        manager.connect("eth0", &[address.as_slice(), &rest].concat())?;
        eventually(SOON, "resolved answers", || host.run(["resolvectl", "query", "printer.lan"]).map(drop))
    });
}

#[test]
fn either_resolvconf_writes_what_it_is_told() {
    netlab::run(|lab| {
        for (name, component) in [("open", Component::Openresolv), ("debian", Component::Resolvconf)] {
            let host = lab.host(name).build()?;
            host.install(&[component])?;
            // Debian's own is off until its package's script has run.
            host.sh("mkdir -p /run/resolvconf/interface && ln -sfn /run/resolvconf/resolv.conf /etc/resolv.conf && \
                     touch /run/resolvconf/enable-updates")?;
            host.sh("echo 'nameserver 10.0.0.53' | resolvconf -a eth0.dhcp")?;
            let listed = host.sh("grep -r 10.0.0.53 /run/resolvconf /etc/resolv.conf")?.stdout;
            assert!(listed.contains("10.0.0.53"), "{listed}");
        }
        Ok(())
    });
}

#[test]
fn bind_signs_unbound_validates_and_either_serves_doh() {
    netlab::run(|lab| {
        let topology = Topology::standard(lab)?;
        let host = &topology.gateway;
        let records = "a IN A 192.0.2.7\n* IN TXT \"wild\"";
        let zones = [
            Zone::new("nsec.test", Ipv4Addr::LOCALHOST, records).signed(Denial::Nsec),
            Zone::new("nsec3.test", Ipv4Addr::LOCALHOST, records).signed(Denial::Nsec3),
            Zone::new("plain.test", Ipv4Addr::LOCALHOST, records),
        ];
        let named = host.named(LOCAL, "", &zones)?;
        assert_eq!(named.trust_anchors().len(), 2);
        let authority = Authority::new(host)?;
        let at = IpAddr::from(netlab::topology::GATEWAY);
        let identity = authority.certify(host, at)?;
        let anchors = named.trust_anchors().iter().map(|key| format!(" trust-anchor: \"{key}\"\n"));
        let unbound = format!(
            " interface: {at}@53\n interface: {at}@443\n access-control: 0.0.0.0/0 allow\n https-port: 443\n \
             tls-service-key: {}\n tls-service-pem: {}\n local-zone: test. nodefault\n domain-insecure: plain.test\n\
             {}stub-zone:\n name: test\n stub-addr: 127.0.0.1@5353\n stub-prime: no\n",
            identity.key,
            identity.certificate,
            anchors.collect::<String>(),
        );
        let running = host.unbound(&[(at, 53).into(), (at, 443).into()], &unbound)?;
        topology.web.write_file("/run/ca.pem", authority.pem())?;
        let dig = |name: &str| {
            topology.web.run(["dig", &format!("@{at}"), "+dnssec", name, "A"]).map(|out| out.stdout)
        };
        for zone in ["nsec.test", "nsec3.test"] {
            let said = dig(&format!("a.{zone}"))?;
            assert!(said.contains("192.0.2.7") && said.contains("flags: qr rd ra ad"), "{said}");
        }
        assert!(dig("a.plain.test")?.contains("192.0.2.7"));
        doh_answers(&topology)?;
        running.stop()?;

        let dnsdist = format!(
            "addDOHLocal('{at}:443', '{}', '{}')\nsetACL('0.0.0.0/0')\n\
             newServer({{address='127.0.0.1:5353', healthCheckMode='up'}})",
            identity.certificate, identity.key
        );
        let _dnsdist = host.dnsdist(&[(at, 443).into()], &dnsdist)?;
        doh_answers(&topology)
    });
}

/// A DoH client that nobody here wrote gets the answer, which names a host that answers pages.
fn doh_answers(topology: &Topology) -> Result<()> {
    let url = format!("https://{}/dns-query", netlab::topology::GATEWAY);
    let query = "AAABAAABAAAAAAAAAWEEbnNlYwR0ZXN0AAABAAE"; // a.nsec.test. A
    let said = topology.web.sh(&format!(
        "curl -sS --http2 --cacert /run/ca.pem '{url}?dns={query}' | od -An -tu1 | tr -s ' \\n' ' '"
    ))?;
    assert!(said.stdout.contains(" 192 0 2 7"), "{said:?} {WEB}");
    Ok(())
}
