//! A device of ours on a host of the lab.

use anyhow::{Context, Result};
use netlab::{Host, Output, Process};

use crate::PATIENCE;
use crate::gateway::GatewayServer;
use crate::programs::{weft, weftd};

/// A host with `weftd`. Killed when dropped.
pub struct Device {
    host: Host,
    daemon: Option<Process>,
    dns_mode: Option<&'static str>,
}

/// What a disconnected device must look like again afterwards, each as the system's own tools print it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// `/etc/resolv.conf`, byte for byte.
    pub resolv_conf: String,
    /// Links and addresses.
    pub links: String,
    /// Routes of every table.
    pub routes: String,
    /// Policy rules of both families.
    pub rules: String,
    /// The whole ruleset.
    pub nft: String,
}

impl Device {
    /// Starts the daemon on `host` and waits until it takes commands.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start(host: &Host) -> Result<Self> {
        let mut device = Self { host: host.clone(), daemon: None, dns_mode: None };
        device.start_daemon()?;
        Ok(device)
    }

    /// Starts the daemon again, after it was killed or stopped.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start_daemon(&mut self) -> Result<()> {
        let mut command = self.host.command(weftd()?);
        command.env("WEFT_LOG", "debug").envs(self.dns_mode.map(|mode| ("WEFT_DNS_MODE", mode)));
        let process = self.host.spawn(command)?;
        process.wait_for_line("ready", PATIENCE)?;
        self.daemon = Some(process);
        Ok(())
    }

    /// Has daemons that start from now on change the system's DNS settings by these means.
    pub fn force_dns_mode(&mut self, mode: &'static str) {
        self.dns_mode = Some(mode);
    }

    /// The running daemon.
    ///
    /// # Errors
    /// It does not run.
    pub fn daemon(&mut self) -> Result<&mut Process> {
        self.daemon.as_mut().context("weftd does not run")
    }

    /// The host that it runs on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Runs `weft` with these words; any exit status.
    ///
    /// # Errors
    /// It cannot be started or does not end.
    pub fn attempt(&self, words: &[&str]) -> Result<Output> {
        let mut command = self.host.command(weft()?);
        command.args(words);
        self.host.finish(command, 2 * PATIENCE)
    }

    /// Runs `weft` with these words; it must succeed. Gives its standard output.
    ///
    /// # Errors
    /// It fails; the message holds what it said.
    pub fn weft(&self, words: &[&str]) -> Result<String> {
        Ok(self.attempt(words)?.success()?.stdout)
    }

    /// Registers with a gateway of ours.
    ///
    /// # Errors
    /// The registration is refused.
    pub fn register(&self, gateway: &GatewayServer) -> Result<String> {
        let token = gateway.token()?;
        let fingerprint = gateway.fingerprint();
        self.weft(&[
            "registration",
            "new",
            &gateway.url(),
            "--token",
            &token,
            "--ca-fingerprint",
            fingerprint,
        ])
    }

    /// Connects and waits until the checks have passed.
    ///
    /// # Errors
    /// It does not come up.
    pub fn connect(&self) -> Result<String> {
        self.weft(&["connect", "--wait"])
    }

    /// Disconnects and waits until everything is put back.
    ///
    /// # Errors
    /// It does not come down.
    pub fn disconnect(&self) -> Result<String> {
        let said = self.weft(&["disconnect"])?;
        self.wait_for_state("disconnected")?;
        Ok(said)
    }

    /// Waits until `weft status --json` names this state.
    ///
    /// # Errors
    /// It does not come.
    pub fn wait_for_state(&self, state: &str) -> Result<()> {
        netlab::eventually(PATIENCE, format!("the device is {state}"), || {
            self.status().is_ok_and(|status| status.get("state").is_some_and(|now| now == state))
        })?;
        Ok(())
    }

    /// `weft status --json`, parsed.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub fn status(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.weft(&["status", "--json"])?)?)
    }

    /// What the system's own tools say of the host's network at this moment.
    ///
    /// # Errors
    /// One of them fails.
    pub fn traces(&self) -> Result<Traces> {
        let all = |line: &str| -> Result<String> { Ok(self.host.sh(line)?.success()?.stdout) };
        Ok(Traces {
            resolv_conf: self.host.read_file("/etc/resolv.conf")?,
            links: all(
                "ip -o link show | cut -d: -f2; ip -o addr show scope global | sed 's/valid_lft.*//'",
            )?,
            routes: all("ip -4 route show table all | grep -v 'table local'; ip -6 route show table all | \
                         grep -v 'table local' | sed 's/ expires [^ ]*//' | sort")?,
            rules: all("ip -4 rule; ip -6 rule")?,
            nft: all("nft list ruleset")?,
        })
    }
}
