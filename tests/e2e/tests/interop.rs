//! Weft and programs that nobody here wrote: WireGuard gateways and clients, and curl as a DoH client.

use anyhow::{Context, Result};
use netlab::peers::{Implementation, Keys, Remote, WireGuardPeer};
use netlab::topology::{GATEWAY, INTERFACE, LAN, WEB};
use netlab::{Lab, Topology};
use weft_e2e::{Device, GatewayServer, INNER_RESOLVER, PATIENCE};

/// A peer that is not built is a skip, or a failure where the run is to have them all.
fn require(implementation: Implementation) -> Result<()> {
    match implementation.find() {
        Ok(_) => Ok(()),
        Err(error) if std::env::var_os("WEFT_REQUIRE_PEERS").is_some() => anyhow::bail!("{error:#}"),
        Err(error) => Err(error),
    }
}

fn curl(host: &netlab::Host, words: &[&str]) -> Result<String> {
    let mut command = host.command("curl");
    command.args(["--silent", "--show-error", "--max-time", "10"]).args(words);
    let output = host.finish(command, PATIENCE)?;
    Ok(format!("{}{}", output.stdout, output.stderr))
}

/// A foreign WireGuard server on the gateway's host, and a device of ours that has only its wg-quick file.
fn import_from(lab: &Lab, implementation: Implementation) -> Result<()> {
    lab.require_tun()?;
    require(implementation)?;
    let topology = Topology::standard(lab)?;
    let (server, client) = (Keys::generate(&topology.gateway)?, Keys::generate(&topology.device)?);
    let psk = topology.device.run(["wg", "genpsk"])?.stdout.trim().to_owned();
    let _peer = WireGuardPeer::new(implementation, &server)
        .listen(51820)
        .address("10.99.0.1/24")
        .remote(Remote::new(&client.public).allow("10.99.0.2/32").preshared_key(&psk))
        .start(&topology.gateway)?;
    topology.gateway.forward()?;
    topology.gateway.masquerade(INTERFACE)?;

    let device = Device::start(&topology.device)?;
    let before = device.traces()?;
    let file = format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.99.0.2/32\nDNS = {WEB}, corp.example\nMTU = 1380\n\n\
         [Peer]\nPublicKey = {}\nPresharedKey = {psk}\nAllowedIPs = 0.0.0.0/0\nEndpoint = {GATEWAY}:51820\n\
         PersistentKeepalive = 25\n",
        client.private, server.public
    );
    topology.device.write_file("/run/wg0.conf", file)?;
    device.weft(&["registration", "import", "/run/wg0.conf"])?;
    device.connect()?;

    let page = curl(&topology.device, &["http://web.example/"])?;
    assert!(page.contains(&GATEWAY.to_string()), "{page}");
    assert_eq!(topology.lan_dns.count("web.example"), 0, "names are asked through the tunnel");
    assert!(topology.web_dns.count("web.example") > 0);
    assert!(curl(&topology.device, &[&format!("http://{LAN}/")])?.contains("192.168.50.10"));
    let shown = topology.device.run(["ip", "link", "show", "dev", "weft0"])?.stdout;
    assert!(shown.contains("mtu 1380"), "{shown}");
    assert!(topology.device.read_file("/etc/resolv.conf")?.contains("corp.example"));
    device.disconnect()?;
    assert_eq!(device.traces()?, before);
    Ok(())
}

#[test]
fn a_device_with_a_wg_quick_file_for_wireguard_go() {
    netlab::run(|lab| import_from(lab, Implementation::WireGuardGo));
}

#[test]
fn a_device_with_a_wg_quick_file_for_gotatun() {
    netlab::run(|lab| import_from(lab, Implementation::Gotatun));
}

/// The value of a line "NAME = VALUE".
fn value<'a>(file: &'a str, name: &str) -> Result<&'a str> {
    let line = file.lines().find(|line| line.split('=').next().is_some_and(|head| head.trim() == name));
    line.and_then(|line| line.split_once('=')).map(|(_, value)| value.trim()).context(name.to_owned())
}

/// A gateway of ours, with wireguard-go as its client on the device's host.
fn foreign_client(lab: &Lab) -> Result<(Topology, GatewayServer, netlab::peers::RunningPeer)> {
    lab.require_tun()?;
    require(Implementation::WireGuardGo)?;
    let topology = Topology::standard(lab)?;
    let gateway = GatewayServer::start(&topology.gateway, GATEWAY.into(), "{}")?;
    let keys = Keys::generate(&topology.device)?;
    let file = gateway.command(&["device", "add", "--name", "router", "--key", &keys.public])?.stdout;
    let v4 = value(&file, "Address")?.split(',').next().context("an address")?.trim();
    let remote = Remote::new(value(&file, "PublicKey")?)
        .allow(&format!("{WEB}/32"))
        .allow(&format!("{INNER_RESOLVER}/32"))
        .endpoint(value(&file, "Endpoint")?.parse()?);
    let peer = WireGuardPeer::new(Implementation::WireGuardGo, &keys)
        .address(v4)
        .mtu(value(&file, "MTU")?.parse()?)
        .remote(remote)
        .start(&topology.device)?;
    Ok((topology, gateway, peer))
}

#[test]
fn wireguard_go_as_a_client_of_the_gateway() {
    netlab::run(|lab| {
        let (topology, _gateway, peer) = foreign_client(lab)?;
        let page = curl(&topology.device, &[&format!("http://{WEB}/")])?;
        assert!(page.contains(&GATEWAY.to_string()), "{page}");
        let size =
            ["--output", "/dev/null", "--write-out", "%{size_download}", "http://203.0.113.80/bytes/3000000"];
        assert_eq!(curl(&topology.device, &size)?, "3000000");
        assert_eq!(peer.handshakes()?, 1);
        let trace = curl(&topology.device, &[&format!("http://{INNER_RESOLVER}/cdn-cgi/trace")])?;
        assert!(trace.contains("weft=on"), "{trace}");
        Ok(())
    });
}

#[test]
fn curl_as_a_client_of_the_gateways_doh_resolver() {
    netlab::run(|lab| {
        let (topology, gateway, _peer) = foreign_client(lab)?;
        let authority = gateway.host().read_file("/var/lib/weft-gateway/ca.pem")?;
        topology.device.write_file("/run/ca.pem", authority)?;
        let doh = format!("https://{INNER_RESOLVER}/dns-query");
        let by_doh = |url: &str| curl(&topology.device, &["--cacert", "/run/ca.pem", "--doh-url", &doh, url]);
        let page = by_doh("http://web.example/")?;
        assert!(page.contains(&GATEWAY.to_string()), "{page}");
        assert_eq!(topology.lan_dns.count("web.example"), 0);
        let blocked = by_doh("http://blocked.example/")?;
        assert!(blocked.contains("resolve host"), "{blocked}");
        assert_eq!(topology.web_dns.count("blocked.example"), 0);
        Ok(())
    });
}
