//! NetworkManager.

use anyhow::Result;

use super::{Bus, Service};
use crate::components::Component;
use crate::host::Host;
use crate::poll::eventually;

/// A running NetworkManager.
#[derive(Debug)]
pub struct NetworkManager {
    host: Host,
    service: Option<Service>,
}

impl Bus {
    /// Starts NetworkManager, with further lines for the section `[main]` of its configuration (`dns=...`). It manages
    /// no interface before it is given a connection for one.
    ///
    /// # Errors
    ///
    /// When it does not start. The bus must have been started for [`Component::NetworkManager`].
    pub fn network_manager(&self, lines: &str) -> Result<NetworkManager> {
        let text = format!(
            "[main]\nplugins=keyfile\nauth-polkit=false\nno-auto-default=*\nhostname-mode=none\n{lines}\n\
             [connectivity]\nenabled=false\n[logging]\nlevel=INFO\n"
        );
        self.host.write_file("/etc/NetworkManager/NetworkManager.conf", text)?;
        self.host.sh("mkdir -p /var/lib/NetworkManager /etc/NetworkManager/system-connections")?;
        let mut manager = NetworkManager { host: self.host.clone(), service: None };
        manager.run()?;
        Ok(manager)
    }
}

impl NetworkManager {
    fn run(&mut self) -> Result<()> {
        // With a /sys that it may write to, it waits for udev, which no host of the lab has.
        let line =
            format!("mount -o remount,bind,ro /sys; exec {} --debug", Component::NetworkManager.program());
        let command = self.host.command_of(["unshare", "--mount", "sh", "-ec", &line])?;
        let host = &self.host;
        let running = ["nmcli", "--get-values", "RUNNING", "general"];
        self.service = Some(Service::start(host, command, |_| match host.run(running) {
            Ok(output) if output.stdout.trim() == "running" => Ok(()),
            Ok(output) => Err(anyhow::anyhow!(output.stdout)),
            Err(error) => Err(error),
        })?);
        Ok(())
    }

    /// Gives it a connection for an interface, as `nmcli` takes its settings (`ipv4.method manual ...`), and waits
    /// until it is up. The interface then has what the settings say and nothing else.
    ///
    /// # Errors
    ///
    /// When it refuses the settings, or does not connect.
    pub fn connect(&self, interface: &str, settings: &[&str]) -> Result<()> {
        // It has made one by itself, of what it found, that bears the interface's name.
        let name = format!("netlab-{interface}");
        let add = ["nmcli", "connection", "add", "type", "ethernet", "con-name", &name, "ifname", interface];
        self.host.run(add.iter().chain(settings))?;
        self.host.run(["nmcli", "--wait", "30", "connection", "up", &name])?;
        self.wait_connected(interface)
    }

    /// Changes settings of an interface while it is up, as a lease of DHCP that is renewed does.
    ///
    /// # Errors
    ///
    /// When it refuses them.
    pub fn modify(&self, interface: &str, settings: &[&str]) -> Result<()> {
        let modify = ["nmcli", "device", "modify", interface];
        self.host.run(modify.iter().chain(settings)).map(drop)
    }

    /// Waits until an interface is connected.
    ///
    /// # Errors
    ///
    /// When it is not by the deadline.
    pub fn wait_connected(&self, interface: &str) -> Result<()> {
        let show = ["nmcli", "--get-values", "GENERAL.STATE", "device", "show", interface];
        eventually(super::START_DEADLINE, format!("NetworkManager has connected {interface}"), || {
            let state = self.host.run(show)?.stdout;
            anyhow::ensure!(state.starts_with("100 "), "it is {state}");
            Ok(())
        })
    }

    /// Ends it and starts it again; the network stays as it is meanwhile.
    ///
    /// # Errors
    ///
    /// When it does not end or start.
    pub fn restart(&mut self) -> Result<()> {
        self.service.take().map_or(Ok(()), Service::stop)?;
        self.run()
    }
}
