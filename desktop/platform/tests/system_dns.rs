//! The programs that keep a system's DNS settings, each running for real: led to Weft's proxy, and back.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

mod common;

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, ensure};
use common::proxy::Proxy;
use netlab::services::{Bus, NetworkManager, Resolved};
use netlab::topology::{LAN, ROUTER};
use netlab::{Component, Host, Topology, eventually};
use weft_model::{DNS_PROXY_ADDRESSES, DnsPlan, InterfacePlan};
use weft_platform::{
    Before, DnsChange, DnsDescription, DnsMode, DnsRecord, DnsStanding, FileChange, Platform, Restored,
    SystemDns, Watch,
};

const SOON: Duration = Duration::from_secs(20);
const RESOLV_CONF: &str = "/etc/resolv.conf";
const DROP_IN: &str = "/run/systemd/resolved.conf.d/90-weft.conf";

fn plan() -> DnsPlan {
    DnsPlan { servers: DNS_PROXY_ADDRESSES.to_vec(), search: vec!["branch.example".parse().unwrap()] }
}

fn lan() -> IpAddr {
    LAN.into()
}

/// What is made with the umask of weftd's service must be for others to read all the same.
fn as_service<T>(work: impl FnOnce() -> T) -> T {
    let former = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let result = work();
    rustix::process::umask(former);
    result
}

/// A device of the lab as weftd sees it.
struct Device {
    host: Host,
    platform: Platform,
}

impl Device {
    fn new(host: &Host) -> Result<Self> {
        let platform = host.inside(Platform::native)??;
        Ok(Self { host: host.clone(), platform })
    }

    fn system(&self, record: Option<&DnsRecord>) -> Result<SystemDns> {
        Ok(self.host.inside(|| Platform::native()?.dns.system(record))??)
    }

    fn snapshot(&mut self) -> Result<DnsRecord> {
        let dns = &mut self.platform.dns;
        Ok(self.host.inside(move || dns.snapshot())??)
    }

    fn apply(&mut self, record: &mut DnsRecord) -> Result<()> {
        let dns = &mut self.platform.dns;
        Ok(self.host.inside(|| as_service(|| dns.apply(&plan(), record)))??)
    }

    fn standing(&mut self, record: &DnsRecord) -> Result<DnsStanding> {
        let dns = &mut self.platform.dns;
        Ok(self.host.inside(move || dns.standing(record))??)
    }

    fn describe(&mut self, record: &DnsRecord) -> Result<DnsDescription> {
        let dns = &mut self.platform.dns;
        self.host.inside(move || dns.describe(Some(record)))
    }

    /// By another process, with the record as the journal keeps it.
    fn restore_elsewhere(&self, record: &DnsRecord) -> Result<Restored> {
        let journalled: DnsRecord = serde_json::from_str(&serde_json::to_string(record)?)?;
        Ok(self.host.inside(|| as_service(|| Platform::native()?.dns.restore(&journalled)))??)
    }

    fn watch(&mut self) -> Result<(Receiver<()>, Watch)> {
        let (tell, told) = mpsc::channel();
        let dns = &mut self.platform.dns;
        let watch = self.host.inside(move || {
            dns.watch(Box::new(move || {
                let _ = tell.send(());
            }))
        })??;
        Ok((told, watch))
    }

    fn resolv_conf(&self) -> Result<String> {
        self.host.read_file(RESOLV_CONF)
    }

    /// What a program gets that asks the system for this name's address.
    fn look_up(&self, name: &str) -> Result<String> {
        Ok(self.host.run(["getent", "ahostsv4", name])?.stdout)
    }
}

fn mode(host: &Host, path: &str) -> Result<String> {
    Ok(host.run(["stat", "-L", "-c", "%a", path])?.stdout.trim().to_owned())
}

/// Waits until a watch has told, and that it is silent again.
fn is_told(told: &Receiver<()>) -> Result<()> {
    told.recv_timeout(SOON)?;
    while told.try_recv().is_ok() {}
    Ok(())
}

fn with_resolved(topology: &Topology) -> Result<(Bus, Resolved)> {
    let bus = topology.device.dbus(&[Component::Resolved])?;
    let resolved = bus.resolved("")?;
    resolved.set_link("eth0", &[lan()], &["corp"])?;
    Ok((bus, resolved))
}

#[test]
fn resolved_leads_names_by_a_link_of_wefts_own() {
    netlab::run(|lab| {
        lab.require_tun()?;
        let topology = Topology::standard(lab)?;
        let (_bus, mut resolved) = with_resolved(&topology)?;
        let mut device = Device::new(&topology.device)?;
        let proxy = Proxy::start(&topology.device)?;
        let former = SystemDns { servers: vec![lan()], search: vec!["corp".to_owned()] };
        assert_eq!(device.system(None)?, former);
        let mut record = device.snapshot()?;
        assert_eq!(record.mode, DnsMode::ResolvedLink, "{:?}", record.trace);
        let (told, _watch) = device.watch()?;

        // Nothing is tunnelled: there is a link for resolved alone.
        device.apply(&mut record)?;
        is_told(&told)?;
        assert_eq!(device.standing(&record)?, DnsStanding::InForce);
        assert!(device.host.run(["resolvectl", "dns", "weft-dns"])?.stdout.contains("127.0.2.2"));
        assert!(device.look_up("anywhere.example")?.contains(Proxy::ANSWER));
        assert!(proxy.was_asked("anywhere.example"));
        assert_eq!(device.system(Some(&record))?, former);
        let description = device.describe(&record)?;
        assert!(description.ours, "{description:?}");
        assert_eq!(description.servers, DNS_PROXY_ADDRESSES);
        assert_eq!(description.place, "the link weft-dns of systemd-resolved");
        let why = "nothing is tunnelled: weft-dns is there for systemd-resolved alone".to_owned();
        assert!(description.trace.contains(&why), "{description:?}");
        assert!(description.warnings[0].contains("names under corp"), "{description:?}");

        is_missed_and_comes_again(&mut device, &mut resolved, &mut record, &told)?;
        let _packets = moves_to_the_tunnels_interface(&mut device, &mut record)?;

        // Somebody puts a file of resolvers in the stub's place: other means are called for.
        device
            .host
            .sh("echo 'nameserver 192.0.2.1' > /etc/resolv.new && mv /etc/resolv.new /etc/resolv.conf")?;
        assert_eq!(device.standing(&record)?, DnsStanding::OtherMode(DnsMode::File));
        device.host.sh("ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf")?;

        assert_eq!(device.restore_elsewhere(&record)?, Restored::Restored);
        assert!(!device.host.run(["resolvectl", "dns", "weft0"])?.stdout.contains("127.0.2.2"));
        assert!(device.look_up("intranet.corp")?.contains(&LAN.to_string()));
        assert_eq!(device.system(None)?, former);
        Ok(())
    });
}

/// What another program takes away, or resolved takes along, is missed, and comes again.
fn is_missed_and_comes_again(
    device: &mut Device,
    resolved: &mut Resolved,
    record: &mut DnsRecord,
    told: &Receiver<()>,
) -> Result<()> {
    device.host.run(["resolvectl", "revert", "weft-dns"])?;
    is_told(told)?;
    assert!(matches!(device.standing(record)?, DnsStanding::Replaced { .. }));
    device.apply(record)?;
    assert_eq!(device.standing(record)?, DnsStanding::InForce);
    while told.try_recv().is_ok() {}
    resolved.stop()?;
    is_told(told)?;
    assert_eq!(device.standing(record)?, DnsStanding::Away);
    resolved.restart()?;
    is_told(told)?;
    device.apply(record)?;
    assert!(device.look_up("again.example")?.contains(Proxy::ANSWER));
    Ok(())
}

/// The tunnel's interface takes over, and the other link goes. Gives the interface's packets, which it lives by.
fn moves_to_the_tunnels_interface(device: &mut Device, record: &mut DnsRecord) -> Result<Option<OwnedFd>> {
    let address = vec!["172.16.0.2/32".parse().unwrap()];
    let interface = InterfacePlan { addresses: address, mtu: 1280, metered: false };
    let tun = &mut device.platform.tun;
    let packets = device.host.inside(|| tun.ensure(&interface))??;
    device.apply(record)?;
    assert_eq!(device.standing(record)?, DnsStanding::InForce);
    assert!(device.host.run(["resolvectl", "dns", "weft0"])?.stdout.contains("127.0.2.2"));
    assert!(device.host.run(["ip", "link", "show", "weft-dns"]).is_err());
    eventually(SOON, "resolved leads names by weft0", || {
        device.look_up("third.example").is_ok_and(|said| said.contains(Proxy::ANSWER))
    })?;
    let trace = device.describe(record)?.trace;
    assert!(trace.contains(&"weft0 is the tunnel's own link".to_owned()), "{trace:?}");
    Ok(packets)
}

#[test]
fn a_killed_daemon_leaves_resolved_as_it_was() {
    netlab::run(|lab| {
        lab.require_tun()?;
        let topology = Topology::standard(lab)?;
        let (_bus, _resolved) = with_resolved(&topology)?;
        let mut device = Device::new(&topology.device)?;
        let mut record = device.snapshot()?;
        device.apply(&mut record)?;
        let Device { host, platform } = device;
        drop(platform);
        eventually(SOON, "the link goes with its process", || {
            host.run(["ip", "link", "show", "weft-dns"]).is_err()
        })?;
        let device = Device::new(&host)?;
        eventually(SOON, "names go to the former resolver", || {
            device.look_up("intranet.corp").is_ok_and(|said| said.contains(&LAN.to_string()))
        })?;
        assert_eq!(device.restore_elsewhere(&record)?, Restored::Restored);
        Ok(())
    });
}

#[test]
fn resolveds_global_settings_lead_names_and_go() {
    netlab::run(|lab| {
        let topology = Topology::standard(lab)?;
        let (_bus, mut resolved) = with_resolved(&topology)?;
        let mut device = Device::new(&topology.device)?;
        let _proxy = Proxy::start(&topology.device)?;
        let former = device.system(None)?;
        // As a device has it whose resolved is older.
        let file = FileChange { before: Before::Absent, written: Vec::new() };
        let change = DnsChange::DropIn { file, system: former.clone() };
        let mut record = DnsRecord { mode: DnsMode::ResolvedGlobal, trace: Vec::new(), change };
        let error = device.apply(&mut record).unwrap_err().to_string();
        assert!(error.contains("systemd is not there to restart it"), "{error}");
        assert!(device.host.read_file(DROP_IN).is_err());
        // resolved reads it as a user of its own.
        assert_eq!(mode(&device.host, "/run/systemd/resolved.conf.d")?, "755");

        // Nobody but systemd would restart it.
        let DnsChange::DropIn { file, .. } = &record.change else { panic!("{record:?}") };
        device.host.write_file(DROP_IN, file.written.last().unwrap())?;
        resolved.restart()?;
        assert!(device.look_up("anywhere.example")?.contains(Proxy::ANSWER));
        assert_eq!(device.system(Some(&record))?, former);
        let description = device.describe(&record)?;
        assert_eq!(description.servers, DNS_PROXY_ADDRESSES);
        // The file goes, and what resolved has of it is owed until somebody restarts it, however often one asks.
        assert_eq!(device.restore_elsewhere(&record)?, Restored::Owed);
        assert!(device.host.read_file(DROP_IN).is_err());
        assert_eq!(device.restore_elsewhere(&record)?, Restored::Owed);
        resolved.restart()?;
        assert!(device.look_up("intranet.corp")?.contains(&LAN.to_string()));
        assert_eq!(device.restore_elsewhere(&record)?, Restored::Unchanged);
        Ok(())
    });
}

/// systemd restarts resolved in its own time, after it has answered.
#[test]
fn resolveds_global_settings_are_read_and_forgotten_by_restarts() {
    netlab::run(|lab| {
        let topology = Topology::standard(lab)?;
        let (bus, resolved) = with_resolved(&topology)?;
        let resolved = Arc::new(Mutex::new(resolved));
        let systemd = bus.systemd(Arc::clone(&resolved))?;
        let mut device = Device::new(&topology.device)?;
        let _proxy = Proxy::start(&topology.device)?;
        let former = device.system(None)?;
        let file = FileChange { before: Before::Absent, written: Vec::new() };
        let change = DnsChange::DropIn { file, system: former.clone() };
        let mut record = DnsRecord { mode: DnsMode::ResolvedGlobal, trace: Vec::new(), change };
        device.apply(&mut record)?;
        let is_led = |device: &Device| {
            eventually(SOON, "resolved has read the drop-in", || {
                device.look_up("anywhere.example").is_ok_and(|said| said.contains(Proxy::ANSWER))
            })
        };
        is_led(&device)?;
        assert_eq!(mode(&device.host, DROP_IN)?, "644");
        assert_eq!(device.system(Some(&record))?, former);
        assert_eq!(systemd.restarts(), ["systemd-resolved.service"]);
        // What holds is not read again.
        device.apply(&mut record)?;
        assert_eq!(systemd.restarts(), [""; 0]);

        assert_eq!(device.restore_elsewhere(&record)?, Restored::Restored);
        assert!(device.host.read_file(DROP_IN).is_err());
        eventually(SOON, "resolved has forgotten the drop-in", || {
            device.look_up("intranet.corp").is_ok_and(|said| said.contains(&LAN.to_string()))
        })?;
        assert_eq!(systemd.restarts(), ["systemd-resolved.service"]);
        assert_eq!(device.restore_elsewhere(&record)?, Restored::Unchanged);

        // While it is away nobody needs to restart it: it reads the drop-in when it comes.
        resolved.lock().unwrap().stop()?;
        device.apply(&mut record)?;
        is_led(&device)?;
        assert_eq!(systemd.restarts(), ["systemd-resolved.service"]);

        // One that is not on the bus may be starting, and have read what goes now. Stopped, it stays so.
        resolved.lock().unwrap().stop()?;
        assert_eq!(device.restore_elsewhere(&record)?, Restored::Restored);
        assert_eq!(systemd.restarts(), ["systemd-resolved.service"]);
        assert!(!resolved.lock().unwrap().is_started());
        Ok(())
    });
}

#[test]
fn resolveds_global_settings_that_cannot_be_written_leave_all_as_it_is() {
    netlab::run(|lab| {
        let topology = Topology::standard(lab)?;
        let (bus, resolved) = with_resolved(&topology)?;
        let systemd = bus.systemd(Arc::new(Mutex::new(resolved)))?;
        let mut device = Device::new(&topology.device)?;
        let file = FileChange { before: Before::Absent, written: Vec::new() };
        let change = DnsChange::DropIn { file, system: device.system(None)? };
        let mut record = DnsRecord { mode: DnsMode::ResolvedGlobal, trace: Vec::new(), change };
        let full = "mount -o remount,nr_inodes=2000 /run; i=0; while true > /run/fill$i; do i=$((i+1)); done";
        let read_only = "mount -o remount,bind,ro /run";
        for (take, why) in [(full, "No space left"), (read_only, "let weftd write to the folder")] {
            device.host.sh(take)?;
            let error = device.apply(&mut record).unwrap_err().to_string();
            assert!(error.contains("90-weft.conf") && error.contains(why), "{error}");
            assert!(device.look_up("intranet.corp")?.contains(&LAN.to_string()));
            assert_eq!(device.restore_elsewhere(&record)?, Restored::Unchanged);
        }
        assert_eq!(systemd.restarts(), [""; 0]);
        Ok(())
    });
}

/// On a machine that starts, the message bus comes after weftd, and its folder with it.
#[test]
fn a_bus_that_comes_later_is_heard_of() {
    netlab::run(|lab| {
        let topology = Topology::standard(lab)?;
        let host = &topology.device;
        host.install(&[Component::Dbus, Component::Resolved])?;
        assert!(host.run(["test", "-e", "/run/dbus"]).is_err());
        let mut device = Device::new(host)?;
        let (told, _watch) = device.watch()?;
        let _bus = host.dbus(&[Component::Resolved])?;
        is_told(&told)?;
        // Nothing but the bus tells of resolved, which touches no file that is watched.
        host.sh("mkdir -p /run/systemd/resolve && chown systemd-resolve: /run/systemd/resolve")?;
        host.sh("mkdir -p /run/systemd/resolved.conf.d")?;
        while told.recv_timeout(Duration::from_millis(500)).is_ok() {}
        let _resolved = host.spawn(host.command(Component::Resolved.program()))?;
        is_told(&told)
    });
}

fn with_network_manager(topology: &Topology) -> Result<(Bus, NetworkManager)> {
    let bus = topology.device.dbus(&[Component::NetworkManager])?;
    let manager = bus.network_manager("dns=default\nrc-manager=file")?;
    let address = ["ipv4.method", "manual", "ipv4.addresses", "192.168.50.10/24"];
    let rest = ["ipv4.gateway", "192.168.50.1", "ipv4.dns", "192.168.50.20", "ipv4.dns-search", "corp"];
    manager.connect("eth0", &[address.as_slice(), &rest].concat())?;
    let host = &topology.device;
    eventually(SOON, "NetworkManager writes its resolvers", || {
        host.read_file(RESOLV_CONF).is_ok_and(|text| text.contains("nameserver 192.168.50.20"))
    })?;
    Ok((bus, manager))
}

#[test]
fn network_manager_leads_names_by_its_global_settings() {
    netlab::run(|lab| {
        let topology = Topology::standard(lab)?;
        let (_bus, mut manager) = with_network_manager(&topology)?;
        let mut device = Device::new(&topology.device)?;
        let _proxy = Proxy::start(&topology.device)?;
        let former = SystemDns { servers: vec![lan()], search: vec!["corp".to_owned()] };
        assert_eq!(device.system(None)?, former);
        let mut record = device.snapshot()?;
        assert_eq!(record.mode, DnsMode::NetworkManager, "{:?}", record.trace);
        let (told, _watch) = device.watch()?;
        device.apply(&mut record)?;
        is_told(&told)?;
        let is_ours = |device: &Device| -> Result<()> {
            let text = device.resolv_conf()?;
            ensure!(text.contains("nameserver 127.0.2.2\n") && text.contains("NetworkManager"), "{text}");
            ensure!(text.contains("search branch.example corp\n"), "{text}");
            ensure!(!text.contains("192.168.50.20"), "{text}");
            Ok(())
        };
        eventually(SOON, "NetworkManager writes Weft's resolvers", || is_ours(&device))?;
        assert_eq!(device.standing(&record)?, DnsStanding::InForce);
        assert!(device.look_up("anywhere.example")?.contains(Proxy::ANSWER));
        assert_eq!(device.system(Some(&record))?, former);

        // They outlast its restart, and a renewed lease.
        manager.restart()?;
        manager.wait_connected("eth0")?;
        eventually(SOON, "they outlast a restart", || is_ours(&device))?;
        let router = ROUTER.to_string();
        manager.modify("eth0", &["ipv4.dns", &router])?;
        eventually(SOON, "the new resolver is known", || {
            device.system(Some(&record)).is_ok_and(|system| system.servers == [IpAddr::from(ROUTER)])
        })?;
        is_ours(&device)?;
        assert_eq!(device.standing(&record)?, DnsStanding::InForce);

        // Another program's global settings are left.
        let mut foreign = record.clone();
        let DnsChange::NetworkManager { set, .. } = &mut foreign.change else { panic!("{record:?}") };
        assert!(!set.servers.is_empty());
        assert_eq!(device.restore_elsewhere(&foreign)?, Restored::Restored);
        eventually(SOON, "the former resolvers come back, the newest", || {
            device.resolv_conf().is_ok_and(|text| {
                text.contains(&format!("nameserver {router}\n")) && !text.contains("127.0.2.2")
            })
        })?;
        assert_eq!(device.restore_elsewhere(&record)?, Restored::Unchanged);
        manager.restart()?;
        manager.wait_connected("eth0")?;
        assert!(!device.resolv_conf()?.contains("127.0.2."));
        Ok(())
    });
}

#[test]
fn either_resolvconf_puts_weft_first_and_forgets_it() {
    netlab::run(|lab| {
        for (name, component) in [("open", Component::Openresolv), ("debian", Component::Resolvconf)] {
            let host = lab.host(name).build()?;
            host.install(&[component])?;
            // Debian's own is off until its package's script has run.
            host.sh(
                "mkdir -p /run/resolvconf/interface && ln -sfn /run/resolvconf/resolv.conf /etc/resolv.conf && \
                 touch /run/resolvconf/enable-updates",
            )?;
            if component == Component::Openresolv {
                host.sh("rm /etc/resolv.conf")?;
            }
            host.sh("printf 'nameserver 192.0.2.53\\nsearch corp\\n' | resolvconf -a eth0.dhcp")?;
            let before = host.read_file(RESOLV_CONF)?;
            assert!(before.contains("192.0.2.53"), "{name}: {before}");
            let mut device = Device::new(&host)?;
            let _proxy = Proxy::start(&host)?;
            // Programs ask for no addresses of a family that the host has none of.
            host.sh("ip address add 192.0.2.10/32 dev lo")?;
            let former =
                SystemDns { servers: vec!["192.0.2.53".parse().unwrap()], search: vec!["corp".to_owned()] };
            assert_eq!(device.system(None)?, former, "{name}");
            let mut record = device.snapshot()?;
            assert_eq!(record.mode, DnsMode::Resolvconf, "{name}: {:?}", record.trace);
            let (told, _watch) = device.watch()?;
            device.apply(&mut record)?;
            is_told(&told)?;
            let text = device.resolv_conf()?;
            assert!(text.contains("nameserver 127.0.2.2") && !text.contains("192.0.2.53"), "{name}: {text}");
            assert!(text.contains("search branch.example"), "{name}: {text}");
            assert_eq!(mode(&host, RESOLV_CONF)?, "644", "{name}");
            assert_eq!(device.standing(&record)?, DnsStanding::InForce);
            assert!(device.look_up("anywhere.example")?.contains(Proxy::ANSWER));
            assert_eq!(device.system(Some(&record))?, former, "{name}");

            // A renewed lease brings other resolvers, which are the ones to come back.
            host.sh("printf 'nameserver 192.0.2.54\\n' | resolvconf -a eth0.dhcp")?;
            assert_eq!(device.standing(&record)?, DnsStanding::InForce, "{name}");
            assert_eq!(device.system(Some(&record))?.servers, ["192.0.2.54".parse::<IpAddr>()?], "{name}");
            for _ in 0..2 {
                assert_eq!(device.restore_elsewhere(&record)?, Restored::Restored, "{name}");
                let text = device.resolv_conf()?;
                assert!(text.contains("192.0.2.54") && !text.contains("127.0.2."), "{name}: {text}");
            }

            // A power cut takes what resolvconf keeps in memory, and leaves openresolv's file.
            if component == Component::Openresolv {
                device.apply(&mut record)?;
                host.sh("rm -r /run/resolvconf")?;
                assert!(device.resolv_conf()?.contains("nameserver 127.0.2.2"));
                assert_eq!(device.restore_elsewhere(&record)?, Restored::Restored);
                assert!(!device.resolv_conf()?.contains("127.0.2."));
            }
        }
        Ok(())
    });
}
