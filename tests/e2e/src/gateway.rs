//! A gateway of ours on a host of the lab.

use std::net::IpAddr;

use anyhow::{Context, Result};
use netlab::{Host, Output, Process};

use crate::PATIENCE;
use crate::programs::weft_gateway;

/// The address of the gateway's resolver and checks inside the tunnel.
pub const INNER_RESOLVER: &str = "172.64.128.1";

const DIR: &str = "/var/lib/weft-gateway";

/// A running `weft-gateway`. Killed when dropped.
pub struct GatewayServer {
    host: Host,
    address: IpAddr,
    fingerprint: String,
    process: Option<Process>,
}

impl GatewayServer {
    /// Makes a gateway on `host` that blocks `blocked.example`, sets its profile and starts it. Its resolver asks the
    /// host's own.
    ///
    /// # Errors
    /// A step failed; the message holds what the program said.
    pub fn start(host: &Host, address: IpAddr, profile: &str) -> Result<Self> {
        let init = host
            .command(weft_gateway()?)
            .args(["init", "--dir", DIR, "--uplink", netlab::topology::INTERFACE])
            .args(["--public-address", &address.to_string()])
            .finish_on(host)?;
        let fingerprint = fingerprint_in(&init.stdout)?;
        let config = format!("{DIR}/config.toml");
        let text = host.read_file(&config)?;
        host.write_file(&config, text.replacen("#block = []", "block = [\"blocked.example\"]", 1))?;
        let mut gateway = Self { host: host.clone(), address, fingerprint, process: None };
        gateway.set_profile(profile)?;
        gateway.run()?;
        Ok(gateway)
    }

    /// Starts the program where it does not run.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn run(&mut self) -> Result<()> {
        let mut command = self.host.command(weft_gateway()?);
        command.args(["run", "--dir", DIR]);
        let process = self.host.spawn(command)?;
        process.wait_for_line("the gateway serves", PATIENCE)?;
        self.process = Some(process);
        Ok(())
    }

    /// The running program.
    ///
    /// # Errors
    /// It does not run.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the gateway does not run")
    }

    /// Runs one of the program's other commands on the same state.
    ///
    /// # Errors
    /// It fails.
    pub fn command(&self, words: &[&str]) -> Result<Output> {
        self.host.command(weft_gateway()?).args(words).args(["--dir", DIR]).finish_on(&self.host)
    }

    /// Sets the profile that devices get.
    ///
    /// # Errors
    /// The gateway refuses it.
    pub fn set_profile(&self, json: &str) -> Result<()> {
        let path = "/run/profile.json";
        self.host.write_file(path, json)?;
        self.command(&["profile", "set", path]).map(drop)
    }

    /// A fresh enrolment token.
    ///
    /// # Errors
    /// The gateway refuses.
    pub fn token(&self) -> Result<String> {
        let output = self.command(&["token", "create"])?;
        Ok(output.stdout.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// The address of its API.
    #[must_use]
    pub fn url(&self) -> String {
        match self.address {
            IpAddr::V4(address) => format!("https://{address}"),
            IpAddr::V6(address) => format!("https://[{address}]"),
        }
    }

    /// The fingerprint of its certificate authority.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The certificate of its authority, in PEM.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn authority(&self) -> Result<String> {
        self.host.read_file(format!("{DIR}/ca.pem"))
    }

    /// The host that it runs on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }
}

/// The only run of 64 hexadecimal digits in what `init` prints, colons aside.
fn fingerprint_in(text: &str) -> Result<String> {
    text.split_whitespace()
        .map(|word| word.replace(':', "").to_lowercase())
        .find(|word| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .with_context(|| format!("no fingerprint in: {text}"))
}

/// A command that ends, on a host.
pub(crate) trait FinishOn {
    /// Runs it to its end; a status other than 0 is an error that holds what it said.
    fn finish_on(&mut self, host: &Host) -> Result<Output>;
}

impl FinishOn for std::process::Command {
    fn finish_on(&mut self, host: &Host) -> Result<Output> {
        let command = std::mem::replace(self, Self::new("true"));
        host.finish(command, PATIENCE)?.success()
    }
}
