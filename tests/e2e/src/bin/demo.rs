//! The demo: a device connects through a gateway, in a lab of namespaces, and shows what that means.
//!
//! Every step prints the commands that show it, what they said, and a verdict of one line. The exit code is 0 where
//! every verdict is good.

use std::process::ExitCode;

use anyhow::Result;
use netlab::topology::{DEVICE, GATEWAY, INTERFACE, LAN, WEB};
use netlab::{Lab, Topology};
use weft_e2e::{Device, GatewayServer, weft};

/// Everything is tunnelled but private ranges, and one suffix is the LAN resolver's.
const PROFILE: &str = r#"{
  "name": "Demo",
  "fallback_domains": [{"suffix": "corp", "dns_server": ["192.168.50.20"]}]
}"#;

fn main() -> Result<ExitCode> {
    let lab = netlab::enter()?;
    lab.require_tun()?;
    let mut demo = Demo::raise(&lab)?;
    let before = demo.device.traces()?;

    demo.registers()?;
    demo.connects()?;
    demo.shows_the_tunnel()?;
    demo.fetches_pages()?;
    demo.resolves_names()?;
    demo.shows_the_system()?;
    demo.disconnects(&before)?;

    let bad = demo.report();
    if std::env::var("KEEP").is_ok_and(|keep| !keep.is_empty() && keep != "0") {
        demo.device.connect()?;
        println!(
            "\nThe lab stays up and the device is connected: try `weft status`, `curl http://web.example/`."
        );
        println!("Leave the shell to end it.");
        lab.shell(demo.device.host(), weft()?.parent())?;
    }
    Ok(ExitCode::from(u8::from(bad > 0)))
}

struct Demo {
    /// Keeps the hosts and their servers alive.
    topology: Topology,
    gateway: GatewayServer,
    device: Device,
    verdicts: Vec<(bool, String)>,
}

impl Demo {
    fn raise(lab: &Lab) -> Result<Self> {
        println!("A device ({DEVICE}) in a LAN with a private resolver and a web server ({LAN}), a gateway");
        println!("({GATEWAY}) and a web server ({WEB}) in the internet: each a host of namespaces.");
        let topology = Topology::standard(lab)?;
        let gateway = GatewayServer::start(&topology.gateway, GATEWAY.into(), PROFILE)?;
        let device = Device::start(&topology.device)?;
        // So that the commands below read as a user types them.
        let programs = weft()?;
        let _link = topology.device.run(["ln", "-sf", &programs.to_string_lossy(), "/run/weft-cli"])?;
        Ok(Self { topology, gateway, device, verdicts: Vec::new() })
    }

    fn title(&self, text: &str) {
        println!("\n== {text}");
    }

    /// Runs a line on the device as its user would, and shows both.
    fn show(&self, line: &str) -> Result<String> {
        println!("$ {line}");
        let line = format!("weft() {{ /run/weft-cli \"$@\"; }}; {line}");
        let output = self.device.host().attempt(["bash", "-c", &line])?;
        let text = format!("{}{}", output.stdout, output.stderr);
        for line in text.lines() {
            println!("  {line}");
        }
        Ok(text)
    }

    fn verdict(&mut self, good: bool, text: &str) {
        println!("{} {text}", if good { "  ok:" } else { "  NOT SO:" });
        self.verdicts.push((good, text.to_owned()));
    }

    fn registers(&mut self) -> Result<()> {
        self.title("The device registers with the gateway");
        let token = self.gateway.token()?;
        let (url, fingerprint) = (self.gateway.url(), self.gateway.fingerprint().to_owned());
        self.show(&format!("weft registration new {url} --token {token} --ca-fingerprint {fingerprint}"))?;
        let shown = self.show("weft registration show")?;
        self.verdict(shown.contains("172.16.0.2"), "the device is registered");
        Ok(())
    }

    fn connects(&mut self) -> Result<()> {
        self.title("It connects");
        self.show("weft connect --wait")?;
        let status = self.show("weft status")?;
        self.verdict(status.contains("Connected"), "the device is connected and the checks have passed");
        Ok(())
    }

    fn shows_the_tunnel(&mut self) -> Result<()> {
        self.title("The tunnel's interface and the two ways");
        let addresses = self.show("ip addr show dev weft0")?;
        self.verdict(addresses.contains("172.16.0.2/32"), "weft0 holds the tunnel's address");
        let tunnelled = self.show(&format!("ip route get {WEB}"))?;
        self.verdict(tunnelled.contains("dev weft0"), "a tunnelled destination goes into weft0");
        let excluded = self.show(&format!("ip route get {LAN}"))?;
        self.verdict(
            excluded.contains(&format!("dev {INTERFACE}")),
            "an excluded destination goes out as it always did",
        );
        Ok(())
    }

    fn fetches_pages(&mut self) -> Result<()> {
        self.title("A page through the tunnel, and one from the LAN");
        self.topology.web_server.clear();
        let page = self.show("curl --silent --show-error --max-time 10 -4 http://web.example/")?;
        self.verdict(
            page.contains(&GATEWAY.to_string()),
            "the web server, found by the name that DoH resolved, saw the gateway's address",
        );
        let page = self.show("curl --silent --show-error --max-time 10 -4 http://intranet.corp/")?;
        self.verdict(
            page.contains(&DEVICE.to_string()),
            "the LAN's server, found by its private name, saw the device's own address",
        );
        Ok(())
    }

    fn resolves_names(&mut self) -> Result<()> {
        self.title("A name that the gateway's policy blocks");
        let before = self.topology.web_dns.count("blocked.example");
        let answer = self.show("dig +tries=1 blocked.example A")?;
        let asked = self.topology.web_dns.count("blocked.example") - before;
        let refused = answer.contains("NXDOMAIN") || answer.contains("REFUSED") || answer.contains("0.0.0.0");
        self.verdict(refused && asked == 0, "the name is blocked, and nobody beyond the gateway was asked");
        self.show("weft dns stats")?;
        Ok(())
    }

    fn shows_the_system(&mut self) -> Result<()> {
        self.title("What is different in the system meanwhile");
        let resolv_conf = self.show("cat /etc/resolv.conf")?;
        self.verdict(resolv_conf.contains("127.0.2.2"), "the system asks Weft for names");
        let rules = self.show("nft list table inet weft")?;
        self.verdict(rules.contains("weft0"), "the firewall keeps tunnelled destinations in the tunnel");
        let bypass = self.show(&format!(
            "curl --silent --show-error --max-time 5 --interface {INTERFACE} http://{WEB}/"
        ))?;
        self.verdict(bypass.contains("curl:"), "a program that goes around the routes is refused");
        Ok(())
    }

    fn disconnects(&mut self, before: &weft_e2e::Traces) -> Result<()> {
        self.title("It disconnects, and everything is as before");
        self.show("weft disconnect")?;
        self.device.wait_for_state("disconnected")?;
        self.show("weft status")?;
        self.show("cat /etc/resolv.conf; ip rule; ip route; nft list ruleset")?;
        let after = self.device.traces()?;
        self.verdict(after.resolv_conf == before.resolv_conf, "resolv.conf is the former one, byte for byte");
        self.verdict(after.routes == before.routes, "so are the routes");
        self.verdict(after.rules == before.rules, "so are the rules");
        self.verdict(after.nft == before.nft, "so is the firewall");
        self.verdict(after.links == before.links, "and so are the interfaces");
        Ok(())
    }

    /// Prints every verdict again and gives the number of bad ones.
    fn report(&self) -> usize {
        println!("\n== Verdict");
        for (good, text) in &self.verdicts {
            println!("{} {text}", if *good { "ok      " } else { "NOT SO  " });
        }
        let bad = self.verdicts.iter().filter(|(good, _)| !good).count();
        println!("{} of {} steps are as they should be", self.verdicts.len() - bad, self.verdicts.len());
        bad
    }
}
