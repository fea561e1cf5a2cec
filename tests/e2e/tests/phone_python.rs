//! The boundary to phones, driven from Python: a phone's app in a few lines, against a real gateway.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use netlab::topology::{DEVICE, DEVICE_V6, GATEWAY, GATEWAY_V6, LAN, UPLINK, WEB};
use netlab::{Lab, Topology};
use weft_e2e::{GatewayServer, INNER_RESOLVER, program};

/// The names of `corp` are the business of whatever resolver the network brings.
const PROFILE: &str = r#"{"fallback_domains": [{"suffix": "corp"}]}"#;
/// Says that there is time for all packets.
const LONG: &str = "WEFT_LONG_PHONE";
/// How long a program in Python may take.
const DEADLINE: Duration = Duration::from_secs(900);

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
        // Answers come by the interface that the rules show to protected sockets alone, as on Android.
        topology.device.sysctl("net.ipv4.conf.all.rp_filter", "2")?;
        Ok(Self { topology, gateway })
    }

    /// Links to enrol by, each for one device.
    fn links(&self, count: usize) -> Result<String> {
        let pinned = |link| format!("{link}&ca={}", self.gateway.fingerprint());
        Ok((0..count).map(|_| self.public_link().map(pinned)).collect::<Result<Vec<_>>>()?.join(" "))
    }

    /// A link to a gateway that the system's authorities are to vouch for.
    fn public_link(&self) -> Result<String> {
        Ok(format!("weft://enrol?url={}&token={}", self.gateway.url(), self.gateway.token()?))
    }

    fn python(&self, words: &[&str]) -> Result<Command> {
        let module = program("python/weft_ffi.py").context("build-scripts/python-bindings makes it")?;
        let module = module.parent().context("a folder")?.display().to_string();
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
        let mut command = self.topology.device.command("python3");
        command.args(["-B", "-X", "faulthandler"]).args(words).current_dir(&scripts);
        let path = format!("{module}:{}", scripts.display());
        command.env("PYTHONPATH", path).env("WEFT_LAN_RESOLVER", LAN.to_string());
        for (name, address) in
            [("GATEWAY", GATEWAY), ("DEVICE", DEVICE), ("WEB", WEB), ("LAN", LAN), ("UPLINK", UPLINK)]
        {
            command.env(format!("WEFT_{name}"), address.to_string());
        }
        for (name, address) in [("GATEWAY", GATEWAY_V6), ("DEVICE", DEVICE_V6)] {
            command.env(format!("WEFT_{name}_V6"), address.to_string());
        }
        Ok(command)
    }

    /// Runs a program to its end, which must be a success, and shows what it said.
    fn run(&self, command: Command) -> Result<()> {
        let output = self.topology.device.finish(command, DEADLINE)?;
        println!("{}{}", output.stdout, output.stderr);
        output.success().map(drop)
    }
}

#[test]
fn a_phone_in_python_is_steered_by_its_profile_by_a_descriptor_and_by_packets() {
    netlab::run_within(2 * DEADLINE, |lab| {
        let world = World::new(lab)?;
        let mut command = world.python(&["-m", "unittest", "-v", "test_phone"])?;
        command.env("WEFT_LINKS", world.links(4)?);
        world.run(command)?;
        assert_eq!(world.topology.lan_dns.count("web.example"), 0, "a tunnelled name left the tunnel");
        assert!(world.topology.lan_dns.count("intranet.corp") > 0);
        Ok(())
    });
}

#[test]
fn a_revoked_phone_is_set_up_again_or_leaves_though_its_users_may_not() {
    netlab::run_within(2 * DEADLINE, |lab| {
        let world = World::new(lab)?;
        world.gateway.set_profile(r#"{"allowed_to_leave": false}"#)?;
        let mut command = world.python(&["-u", "revoked.py"])?;
        command.env("WEFT_LINKS", world.links(2)?);
        let phone = world.topology.device.spawn(command)?;
        for line in ["first ", "second "] {
            let line = phone.wait_for_line(line, DEADLINE)?;
            let id = line.rsplit(' ').next().context("an id")?;
            world.gateway.command(&["device", "revoke", id])?;
        }
        phone.wait_for_line("gone", DEADLINE).map(drop)
    });
}

#[test]
fn a_gateway_of_the_systems_authorities_needs_no_fingerprint() {
    const AUTHORITIES: &str = "/run/authorities.pem";
    netlab::run_within(2 * DEADLINE, |lab| {
        let world = World::new(lab)?;
        world.topology.device.write_file(AUTHORITIES, world.gateway.authority()?)?;
        let test = "test_phone.ByDescriptor.test_pages_and_names_go_where_the_profile_says";
        let mut command = world.python(&["-m", "unittest", "-v", test])?;
        command.env("WEFT_LINKS", world.public_link()?).env("SSL_CERT_FILE", AUTHORITIES);
        world.run(command)
    });
}

#[test]
fn every_error_crosses_as_a_typed_exception_and_leaves_nothing() {
    netlab::run_within(2 * DEADLINE, |lab| {
        let world = World::new(lab)?;
        let mut command = world.python(&["-m", "unittest", "-v", "test_errors"])?;
        command.env("WEFT_ERROR_LINKS", world.links(3)?);
        world.run(command)
    });
}

#[test]
fn a_million_packets_in_and_out_take_no_more_memory_than_a_tenth_of_them() {
    netlab::run_within(2 * DEADLINE, |lab| {
        let world = World::new(lab)?;
        let mut command = world.python(&["million.py"])?;
        // Unoptimised and with the gateway on the same machine, a million take most of a minute.
        let packets = if std::env::var_os(LONG).is_some() { 1_000_000 } else { 100_000 };
        command.env("WEFT_PACKETS", packets.to_string());
        command.env("WEFT_LINKS", world.links(1)?).env("WEFT_ECHO", INNER_RESOLVER);
        world.run(command)
    });
}
