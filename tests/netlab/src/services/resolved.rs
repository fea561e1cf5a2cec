//! systemd-resolved.

use std::net::IpAddr;

use anyhow::Result;

use super::{Bus, Service};
use crate::components::Component;
use crate::host::Host;

const STUB: &str = "/run/systemd/resolve/stub-resolv.conf";

/// A running systemd-resolved. Its settings of links outlive it, as on a real machine.
#[derive(Debug)]
pub struct Resolved {
    host: Host,
    service: Option<Service>,
}

impl Bus {
    /// Starts systemd-resolved with further lines for the section `[Resolve]` of its configuration, and makes
    /// `/etc/resolv.conf` a link to its stub's, as the package does.
    ///
    /// # Errors
    ///
    /// When it does not start. The bus must have been started for [`Component::Resolved`].
    pub fn resolved(&self, lines: &str) -> Result<Resolved> {
        let host = &self.host;
        // Nobody here can tell it of the network's time or of its trust anchors.
        let text = format!("[Resolve]\nDNSSEC=no\nLLMNR=no\nMulticastDNS=no\nFallbackDNS=\n{lines}\n");
        host.write_file("/etc/systemd/resolved.conf", text)?;
        let mut resolved = Resolved { host: host.clone(), service: None };
        resolved.run()?;
        host.sh(&format!(
            "ln -sfn {STUB} /etc/resolv.conf.netlab && mv -T /etc/resolv.conf.netlab /etc/resolv.conf"
        ))?;
        Ok(resolved)
    }
}

impl Resolved {
    fn run(&mut self) -> Result<()> {
        // What its unit file asks systemd for.
        self.host.sh("mkdir -p /run/systemd/resolve && chown systemd-resolve: /run/systemd/resolve")?;
        let command = self.host.command(Component::Resolved.program());
        let host = &self.host;
        self.service = Some(Service::start(host, command, |_| host.run(["resolvectl", "status"]).map(drop))?);
        Ok(())
    }

    /// Gives a link its resolvers and search domains, as the program does that manages the network.
    ///
    /// # Errors
    ///
    /// When there is no such link, or resolved does not run.
    pub fn set_link(&self, interface: &str, resolvers: &[IpAddr], domains: &[&str]) -> Result<()> {
        let resolvers = resolvers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let domains = domains.join(" ");
        self.host
            .sh(&format!(
                "resolvectl dns {interface} {resolvers}; resolvectl domain {interface} {domains:?}; \
                 resolvectl default-route {interface} yes"
            ))
            .map(drop)
    }

    /// Ends it and starts it again, as an upgrade does.
    ///
    /// # Errors
    ///
    /// When it does not end or start.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.run()
    }

    /// Whether it was started and not stopped since.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.service.is_some()
    }

    /// Ends it, until [`restart`](Self::restart).
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.service.take().map_or(Ok(()), Service::stop)
    }
}
