//! A device whose DNS settings somebody keeps: for real, each of those that Linux systems have.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use netlab::services::{Bus, NetworkManager, Resolved, Systemd};
use netlab::topology::{DEVICE, INTERFACE, LAN, ROUTER, WEB};
use netlab::{Component, Host, Lab, Record};
use weft_e2e::{PATIENCE, Setup};

/// A name that the LAN's resolver and the gateway's answer differently, so that one sees who answered.
pub(crate) const WHO: &str = "who.example";
/// What the LAN's resolver says.
pub(crate) const BY_LAN: Ipv4Addr = LAN;
/// What the gateway's says.
pub(crate) const BY_WEFT: Ipv4Addr = WEB;

/// Who keeps the DNS settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Resolved,
    /// As where it is older, by a stand-in of systemd, which alone restarts it.
    ResolvedGlobal,
    NetworkManager,
    NetworkManagerAndResolved,
    Openresolv,
    File,
    BoundFile,
}

impl Way {
    /// The mode that `weft dns status` is to name.
    pub(crate) fn mode(self) -> &'static str {
        match self {
            Self::Resolved | Self::NetworkManagerAndResolved => "resolved-link",
            Self::ResolvedGlobal => "resolved-global",
            Self::NetworkManager => "network-manager",
            Self::Openresolv => "resolvconf",
            Self::File => "file",
            Self::BoundFile => "file-in-place",
        }
    }

    fn components(self) -> &'static [Component] {
        match self {
            Self::Resolved | Self::ResolvedGlobal => &[Component::Resolved],
            Self::NetworkManager => &[Component::NetworkManager],
            Self::NetworkManagerAndResolved => &[Component::Resolved, Component::NetworkManager],
            Self::Openresolv => &[Component::Openresolv],
            Self::File | Self::BoundFile => &[],
        }
    }
}

/// A registered device, and those who keep its settings.
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) way: Way,
    pub(crate) resolved: Option<Arc<Mutex<Resolved>>>,
    pub(crate) manager: Option<NetworkManager>,
    _systemd: Option<Systemd>,
    _bus: Option<Bus>,
}

impl World {
    pub(crate) fn new(lab: &Lab, way: Way, profile: &str) -> Result<Self> {
        let mut setup = Setup::new(lab, profile)?;
        setup.topology.lan_dns.add(WHO, Record::A(BY_LAN));
        setup.topology.web_dns.add(WHO, Record::A(BY_WEFT));
        // The daemon is to find the services, as on a machine that starts.
        setup.device.daemon()?.terminate(PATIENCE)?;
        let mut world = Self { setup, way, resolved: None, manager: None, _systemd: None, _bus: None };
        world.start_keepers()?;
        world.setup.device.start_daemon()?;
        world.setup.device.register(&world.setup.gateway)?;
        world.assert_by_lan()?;
        Ok(world)
    }

    fn start_keepers(&mut self) -> Result<()> {
        let host = self.setup.topology.device.clone();
        match self.way {
            Way::File => {}
            Way::BoundFile => {
                host.write_file("/run/resolv.conf", format!("nameserver {LAN}\n"))?;
                host.run(["mount", "--bind", "/run/resolv.conf", "/etc/resolv.conf"])?;
            }
            Way::Openresolv => {
                host.install(self.way.components())?;
                self.lease(LAN)?;
            }
            Way::Resolved | Way::ResolvedGlobal | Way::NetworkManager | Way::NetworkManagerAndResolved => {
                let bus = host.dbus(self.way.components())?;
                if self.way != Way::NetworkManager {
                    let resolved = Arc::new(Mutex::new(bus.resolved("")?));
                    if self.way == Way::ResolvedGlobal {
                        self._systemd = Some(bus.systemd(Arc::clone(&resolved))?);
                        self.setup.device.force_dns_mode(self.way.mode());
                    }
                    self.resolved = Some(resolved);
                }
                if matches!(self.way, Way::Resolved | Way::ResolvedGlobal) {
                    self.lease(LAN)?;
                } else {
                    self.manager = Some(self.network_manager(&bus)?);
                }
                self._bus = Some(bus);
            }
        }
        Ok(())
    }

    fn network_manager(&self, bus: &Bus) -> Result<NetworkManager> {
        let lines = match self.way {
            Way::NetworkManager => "dns=default\nrc-manager=file",
            _ => "dns=systemd-resolved",
        };
        let manager = bus.network_manager(lines)?;
        let (address, gateway, resolver) = (format!("{DEVICE}/24"), ROUTER.to_string(), LAN.to_string());
        let settings = ["ipv4.method", "manual", "ipv4.addresses", &address, "ipv4.gateway", &gateway];
        manager.connect(INTERFACE, &[settings.as_slice(), &["ipv4.dns", &resolver]].concat())?;
        Ok(manager)
    }

    pub(crate) fn host(&self) -> &Host {
        self.setup.device.host()
    }

    /// What a DHCP client does when it is given a resolver: it tells whoever keeps the settings.
    pub(crate) fn lease(&self, resolver: Ipv4Addr) -> Result<()> {
        if let Some(manager) = &self.manager {
            return manager.modify(INTERFACE, &["ipv4.dns", &resolver.to_string()]);
        }
        if let Some(resolved) = &self.resolved {
            return resolved.lock().unwrap().set_link(INTERFACE, &[IpAddr::V4(resolver)], &[]);
        }
        let host = &self.setup.topology.device;
        match self.way {
            Way::Openresolv => {
                host.sh(&format!("echo nameserver {resolver} | resolvconf -a {INTERFACE}.dhcp")).map(drop)
            }
            Way::File => host
                .sh(&format!("echo nameserver {resolver} > /etc/resolv.conf.new && mv /etc/resolv.conf.new /etc/resolv.conf"))
                .map(drop),
            _ => host.write_file("/etc/resolv.conf", format!("nameserver {resolver}\n")),
        }
    }

    /// Every program on the device gets Weft's answer.
    pub(crate) fn assert_by_weft(&self) -> Result<()> {
        netlab::eventually(PATIENCE, format!("{:?}: Weft answers", self.way), || self.all_say(BY_WEFT))?;
        // And a page of that name comes.
        let page = self.setup.curl(&["-4", &format!("http://{WHO}/")])?;
        ensure!(page.contains("you are"), "{page}");
        Ok(())
    }

    /// Every program on the device gets the answer of the LAN's resolver.
    pub(crate) fn assert_by_lan(&self) -> Result<()> {
        netlab::eventually(PATIENCE, format!("{:?}: the LAN answers", self.way), || self.all_say(BY_LAN))
    }

    fn all_say(&self, wanted: Ipv4Addr) -> Result<()> {
        let getent = format!("getent ahostsv4 {WHO} | cut -d' ' -f1 | sort -u");
        let dig = format!("dig +short +tries=1 +time=2 {WHO} A");
        let resolvectl = format!("resolvectl query -4 --legend=no {WHO} | awk '{{print $2}}'");
        let mut lines = vec![getent, dig];
        if self.resolved.is_some() {
            lines.push(resolvectl);
        }
        for line in lines {
            let said = self.host().sh(&line)?.stdout;
            ensure!(said.trim() == wanted.to_string(), "{line}: {said}{}", self.shown()?);
        }
        Ok(())
    }

    /// What the settings are, for the message of a test that fails.
    fn shown(&self) -> Result<String> {
        let line = if self.resolved.is_some() {
            "resolvectl dns; resolvectl domain; resolvectl default-route"
        } else {
            "cat /etc/resolv.conf"
        };
        Ok(self.host().sh(line)?.stdout)
    }

    /// What `weft dns status` says of the settings.
    pub(crate) fn status(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.setup.device.weft(&["dns", "status", "--json"])?)?)
    }

    /// `weft dns status` names the mode and why it is that one.
    pub(crate) fn assert_mode(&self) -> Result<()> {
        let status = self.status()?;
        let text = status.to_string();
        ensure!(text.contains(&format!("\"mode\":\"{}\"", self.way.mode())), "{text}");
        let trace = find(&status, "trace").and_then(serde_json::Value::as_array).context("no trace")?;
        ensure!(!trace.is_empty(), "{text}");
        let people = self.setup.device.weft(&["dns", "status"])?;
        ensure!(people.contains(self.way.mode()), "{people}");
        Ok(())
    }

    /// Kills the daemon, and has everything put back by a run that does nothing else.
    pub(crate) fn undo(&mut self) -> Result<()> {
        self.setup.device.daemon()?.kill9()?;
        let mut command = self.host().command(weft_e2e::weftd()?);
        command.arg("--undo");
        self.host().finish(command, PATIENCE)?.success().map(drop)
    }
}

/// The first value of that name, at any depth.
fn find<'a>(value: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    match value {
        serde_json::Value::Object(fields) => {
            fields.get(name).or_else(|| fields.values().find_map(|value| find(value, name)))
        }
        serde_json::Value::Array(values) => values.iter().find_map(|value| find(value, name)),
        _ => None,
    }
}
