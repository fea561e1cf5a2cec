//! Weft itself: weftd at the device, weft-gateway at the far end.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use netlab::{Host, Process};
use weft_e2e::{PATIENCE, weft, weft_gateway, weftd};

use super::contender::Raised;
use super::field::{FAR, Field, INSIDE, UPLINK};

const GATEWAY_FOLDER: &str = "/var/lib/weft-gateway";

/// What a gateway is to be.
pub(crate) struct Gateway {
    /// Where devices reach it.
    pub(crate) address: Ipv4Addr,
    /// Its interface towards everything else.
    pub(crate) uplink: &'static str,
    /// What its devices get, in JSON.
    pub(crate) profile: String,
    /// The MTU of its end of the tunnel; its default where none is given.
    pub(crate) mtu: Option<u16>,
}

/// What devices need to enrol.
pub(crate) struct Enrolment {
    url: String,
    tokens: Vec<String>,
    fingerprint: String,
}

/// Whether the programs are built.
///
/// # Errors
///
/// When one is not; the message says how to build it.
pub(crate) fn find() -> Result<()> {
    [weftd, weft, weft_gateway].into_iter().try_for_each(|program| program().map(drop))
}

/// Raises it: a gateway whose profile includes the sink, and a device that enrols and connects.
///
/// # Errors
///
/// When one of the programs refuses.
pub(crate) fn raise(field: &Field, mtu: u16) -> Result<Raised> {
    let profile = format!(r#"{{"include": [{{"address": "{INSIDE}"}}], "mtu": {mtu}}}"#);
    let spec = Gateway { address: FAR, uplink: UPLINK, profile, mtu: Some(mtu) };
    let (gateway, mut enrolment) = spec.start(&field.far, 1).context("weft-gateway")?;
    let daemon = start_daemon(&field.device, &mut enrolment).context("weftd")?;
    Ok(Raised { device: vec![daemon.id()], far: vec![gateway.id()], _programs: Box::new((daemon, gateway)) })
}

impl Gateway {
    /// Starts it, for so many devices.
    ///
    /// # Errors
    ///
    /// When the program refuses.
    pub(crate) fn start(&self, host: &Host, devices: usize) -> Result<(Process, Enrolment)> {
        let program = weft_gateway()?;
        let admin = |words: &[&str]| run(host, &program, &[words, &["--dir", GATEWAY_FOLDER]].concat());
        let init = admin(&["init", "--public-address", &self.address.to_string(), "--uplink", self.uplink])?;
        let fingerprint = fingerprint_in(&init).context("init prints no fingerprint")?;
        self.mtu.map_or(Ok(()), |mtu| set_tunnel_mtu(host, mtu))?;
        host.write_file("/run/profile.json", &self.profile)?;
        admin(&["profile", "set", "/run/profile.json"])?;
        let token = || {
            let printed = admin(&["token", "create"])?;
            let token = printed.lines().next().context("token create prints no token")?;
            Ok(token.trim().to_owned())
        };
        let tokens = (0..devices).map(|_| token()).collect::<Result<Vec<_>>>()?;
        let mut command = host.command(&program);
        command.args(["run", "--dir", GATEWAY_FOLDER]);
        let gateway = host.spawn(command)?;
        gateway.wait_for_line("the gateway serves", PATIENCE)?;
        Ok((gateway, Enrolment { url: format!("https://{}", self.address), tokens, fingerprint }))
    }
}

impl Enrolment {
    /// Enrols the device on `host`, where weftd runs.
    ///
    /// # Errors
    ///
    /// When it is refused, or there is no token left.
    pub(crate) fn register(&mut self, host: &Host) -> Result<()> {
        let Self { url, tokens, fingerprint } = self;
        let token = tokens.pop().context("no token is left")?;
        let words = ["registration", "new", url, "--token", &token, "--ca-fingerprint", fingerprint];
        run(host, &weft()?, &words).map(drop)
    }
}

/// Gives the gateway's own end of the tunnel the MTU that the profile gives the device.
fn set_tunnel_mtu(host: &Host, mtu: u16) -> Result<()> {
    let path = format!("{GATEWAY_FOLDER}/config.toml");
    let text = host.read_file(&path)?;
    let set = text.replacen("[tunnel]\n", &format!("[tunnel]\nmtu = {mtu}\n"), 1);
    anyhow::ensure!(set != text, "{path} has no section [tunnel]");
    host.write_file(&path, set)
}

fn start_daemon(host: &Host, enrolment: &mut Enrolment) -> Result<Process> {
    let daemon = host.spawn(host.command(weftd()?))?;
    daemon.wait_for_line("ready", PATIENCE)?;
    enrolment.register(host)?;
    connect(host)?;
    Ok(daemon)
}

/// Connects the device on `host`, and waits until it is.
///
/// # Errors
///
/// When it does not come up.
pub(crate) fn connect(host: &Host) -> Result<()> {
    run(host, &weft()?, &["connect", "--wait"]).map(drop)
}

fn run(host: &Host, program: &PathBuf, words: &[&str]) -> Result<String> {
    let mut command = host.command(program);
    command.args(words);
    Ok(host.finish(command, 2 * PATIENCE)?.success()?.stdout)
}

/// The first word of 64 hexadecimal digits, colons aside.
fn fingerprint_in(text: &str) -> Option<String> {
    let words = text.split_whitespace().map(|word| word.replace(':', ""));
    words.into_iter().find(|word| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::fingerprint_in;

    #[test]
    fn the_fingerprint_is_found_in_whatever_surrounds_it() {
        let hex = "0123456789abcdef".repeat(4);
        let colons = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let colons = colons.collect::<Vec<_>>().join(":");
        assert_eq!(fingerprint_in(&format!("CA fingerprint: {colons}\nnext")), Some(hex.clone()));
        assert_eq!(fingerprint_in(&format!("fingerprint {hex}")), Some(hex));
        assert_eq!(fingerprint_in("fingerprint abc"), None);
    }
}
