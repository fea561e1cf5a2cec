//! WireGuard as others have written it, run on hosts of the lab: for tests of interoperability, and to be
//! measured against.
//!
//! ```no_run
//! use netlab::peers::{Implementation, Keys, Remote, WireGuardPeer};
//!
//! # fn example(device: &netlab::Host, gateway: &netlab::Host) -> anyhow::Result<()> {
//! let (ours, theirs) = (Keys::generate(gateway)?, Keys::generate(device)?);
//! let device = Remote::new(&theirs.public).allow("10.9.0.2/32");
//! let running = WireGuardPeer::new(Implementation::WireGuardGo, &ours)
//!     .listen(2408)
//!     .address("10.9.0.1/24")
//!     .remote(device)
//!     .start(gateway)?;
//! # drop(running);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::host::Host;
use crate::lab::Skip;
use crate::poll::eventually;
use crate::process::Process;

const START_DEADLINE: Duration = Duration::from_secs(20);

/// A WireGuard implementation that runs as a program of its own, without the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Implementation {
    /// The Go implementation by WireGuard's authors.
    WireGuardGo,
    /// Mullvad's, in Rust.
    Gotatun,
    /// Cloudflare's, in Rust.
    Boringtun,
}

impl Implementation {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::WireGuardGo, Self::Gotatun, Self::Boringtun];

    /// Its name, as `build-scripts/peers` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WireGuardGo => "wireguard-go",
            Self::Gotatun => "gotatun",
            Self::Boringtun => "boringtun",
        }
    }

    /// Where `build-scripts/peers` has put its program: `${XDG_CACHE_HOME:-~/.cache}/weft/peers/bin`.
    ///
    /// # Errors
    ///
    /// A [`Skip`], to be returned from a test, when it is not there.
    pub fn find(self) -> Result<PathBuf> {
        let program = match self {
            Self::WireGuardGo => "wireguard-go",
            Self::Gotatun => "gotatun",
            Self::Boringtun => "boringtun-cli",
        };
        let found = cache_folder().map(|cache| cache.join("weft/peers/bin").join(program));
        match found.filter(|path| path.is_file()) {
            Some(path) => Ok(path),
            None => bail!(Skip(format!("{self} is not built; build-scripts/peers {self} builds it"))),
        }
    }
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

pub(crate) fn cache_folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))
}

/// A pair of WireGuard keys, in base64.
#[derive(Clone)]
pub struct Keys {
    /// The private key.
    pub private: String,
    /// The public key.
    pub public: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("public", &self.public).finish_non_exhaustive()
    }
}

impl Keys {
    /// New ones, by `wg`; any host will do.
    ///
    /// # Errors
    ///
    /// When `wg` (wireguard-tools) is not installed.
    pub fn generate(host: &Host) -> Result<Self> {
        let lines = host.sh("private=$(wg genkey); echo $private; echo $private | wg pubkey")?.stdout;
        let mut lines = lines.lines().map(str::to_owned);
        match (lines.next(), lines.next()) {
            (Some(private), Some(public)) => Ok(Self { private, public }),
            _ => bail!("wg made no keys"),
        }
    }
}

/// The far side, as a [`WireGuardPeer`] is told about it.
#[derive(Clone)]
#[must_use]
pub struct Remote {
    public_key: String,
    preshared_key: Option<String>,
    allowed_ips: Vec<String>,
    endpoint: Option<SocketAddr>,
    keepalive: Option<u16>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { public_key, allowed_ips, endpoint, .. } = self;
        write!(f, "Remote {public_key} {allowed_ips:?} at {endpoint:?}")
    }
}

impl Remote {
    /// One with this public key (base64), which may not use any address yet.
    pub fn new(public_key: &str) -> Self {
        let public_key = public_key.to_owned();
        Self { public_key, preshared_key: None, allowed_ips: Vec::new(), endpoint: None, keepalive: None }
    }

    /// Adds a range to its AllowedIPs.
    pub fn allow(mut self, range: &str) -> Self {
        self.allowed_ips.push(range.to_owned());
        self
    }

    /// Where to send to it; without one it has to speak first.
    pub fn endpoint(mut self, endpoint: SocketAddr) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// The preshared key (base64).
    pub fn preshared_key(mut self, key: &str) -> Self {
        self.preshared_key = Some(key.to_owned());
        self
    }

    /// Sends it a keepalive packet after so many quiet seconds.
    pub fn keepalive(mut self, seconds: u16) -> Self {
        self.keepalive = Some(seconds);
        self
    }

    fn section(&self) -> String {
        let mut section = format!("[Peer]\nPublicKey = {}\n", self.public_key);
        if let Some(key) = &self.preshared_key {
            section.push_str(&format!("PresharedKey = {key}\n"));
        }
        if !self.allowed_ips.is_empty() {
            section.push_str(&format!("AllowedIPs = {}\n", self.allowed_ips.join(", ")));
        }
        if let Some(endpoint) = self.endpoint {
            section.push_str(&format!("Endpoint = {endpoint}\n"));
        }
        if let Some(keepalive) = self.keepalive {
            section.push_str(&format!("PersistentKeepalive = {keepalive}\n"));
        }
        section
    }
}

/// One end of a WireGuard tunnel that one of the [`Implementation`]s is to be.
#[derive(Clone, Debug)]
#[must_use]
pub struct WireGuardPeer {
    implementation: Implementation,
    keys: Keys,
    interface: String,
    listen_port: Option<u16>,
    addresses: Vec<String>,
    mtu: u16,
    remotes: Vec<Remote>,
}

impl WireGuardPeer {
    /// One with interface `wg0`, MTU 1420, any port, no address and nobody to talk to.
    pub fn new(implementation: Implementation, keys: &Keys) -> Self {
        Self {
            implementation,
            keys: keys.clone(),
            interface: "wg0".to_owned(),
            listen_port: None,
            addresses: Vec::new(),
            mtu: 1420,
            remotes: Vec::new(),
        }
    }

    /// The UDP port to listen on.
    pub fn listen(mut self, port: u16) -> Self {
        self.listen_port = Some(port);
        self
    }

    /// The name of its interface.
    pub fn interface(mut self, name: &str) -> Self {
        name.clone_into(&mut self.interface);
        self
    }

    /// Adds an address with its prefix length to its interface.
    pub fn address(mut self, address: &str) -> Self {
        self.addresses.push(address.to_owned());
        self
    }

    /// The longest IP packet inside the tunnel, in bytes.
    pub fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = mtu;
        self
    }

    /// Adds a far side. Its AllowedIPs are routed into the tunnel, but for those that are everything (`/0`):
    /// the host itself could not reach the far side any more then.
    pub fn remote(mut self, remote: Remote) -> Self {
        self.remotes.push(remote);
        self
    }

    /// Starts it on `host`, configures it and switches its interface on. No handshake has taken place then.
    ///
    /// # Errors
    ///
    /// A [`Skip`] when the program is not built; else when it does not start, or refuses what it is told.
    pub fn start(&self, host: &Host) -> Result<RunningPeer> {
        let Self { implementation, interface, .. } = self;
        let mut command = host.command(implementation.find()?);
        // Where it is set but not `true`, boringtun does not start.
        command.env_remove("WG_SUDO");
        command.env("WG_PROCESS_FOREGROUND", "1").env("LOG_LEVEL", "error").env("WG_LOG_LEVEL", "error");
        command.arg("--foreground");
        if *implementation != Implementation::WireGuardGo {
            // The user whom they would become has no name in the lab.
            command.arg("--disable-drop-privileges");
        }
        command.arg(interface);
        let process = host.spawn(command)?;
        let mut running = RunningPeer { process, host: host.clone(), interface: interface.clone() };
        running.wait_until_configurable().with_context(|| format!("{implementation} on {host}"))?;
        self.configure(host).with_context(|| format!("{implementation} on {host}"))?;
        Ok(running)
    }

    fn configure(&self, host: &Host) -> Result<()> {
        let interface = self.interface.as_str();
        let path = format!("/run/{interface}.conf");
        host.write_file(&path, self.configuration())?;
        // All at once: boringtun ends when the endpoint of a peer that it knows already is set.
        host.run(["wg", "setconf", interface, &path])?;
        for address in &self.addresses {
            host.add_address(interface, address)?;
        }
        host.run(["ip", "link", "set", "dev", interface, "mtu", &self.mtu.to_string(), "up"])?;
        for range in self.remotes.iter().flat_map(|remote| &remote.allowed_ips) {
            if !range.ends_with("/0") {
                let family = if range.contains(':') { "-6" } else { "-4" };
                // Where the interface's own prefix holds the range, the route may be there already.
                host.run(["ip", family, "route", "replace", range, "dev", interface])?;
            }
        }
        Ok(())
    }

    fn configuration(&self) -> String {
        let mut text = format!("[Interface]\nPrivateKey = {}\n", self.keys.private);
        if let Some(port) = self.listen_port {
            text.push_str(&format!("ListenPort = {port}\n"));
        }
        text.extend(self.remotes.iter().map(Remote::section));
        text
    }
}

/// A WireGuard program that runs. Dropping it ends the program, and its interface with it.
#[derive(Debug)]
pub struct RunningPeer {
    process: Process,
    host: Host,
    interface: String,
}

impl RunningPeer {
    fn wait_until_configurable(&mut self) -> Result<()> {
        eventually(START_DEADLINE, "an interface that wg can configure", || {
            if !self.process.is_running() {
                return Err(anyhow!("it has ended: {}{}", self.process.stdout(), self.process.stderr()));
            }
            self.host.run(["wg", "show", &self.interface]).map(drop)
        })
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its process, to be signalled or waited for.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// How many far sides it has had a handshake with.
    ///
    /// # Errors
    ///
    /// When it runs no longer.
    pub fn handshakes(&self) -> Result<usize> {
        let shown = self.host.run(["wg", "show", &self.interface, "latest-handshakes"])?.stdout;
        Ok(handshakes(&shown))
    }

    /// Waits until it has had a handshake with somebody.
    ///
    /// # Errors
    ///
    /// When it has had none by the deadline.
    pub fn wait_for_handshake(&self, deadline: Duration) -> Result<()> {
        eventually(deadline, "a handshake", || self.handshakes().map(|count| count > 0).unwrap_or(false))
    }
}

/// Counts the lines `PUBLIC-KEY UNIX-TIME` of `wg show ... latest-handshakes` whose time is not 0.
fn handshakes(shown: &str) -> usize {
    shown.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(|time| time != "0")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_has_what_was_asked_for_and_no_more() {
        let keys = Keys { private: "PRIVATE".into(), public: "PUBLIC".into() };
        let bare = WireGuardPeer::new(Implementation::Gotatun, &keys).remote(Remote::new("A"));
        assert_eq!(bare.configuration(), "[Interface]\nPrivateKey = PRIVATE\n[Peer]\nPublicKey = A\n");
        let remote = Remote::new("B")
            .allow("10.0.0.0/8")
            .allow("fd00::/8")
            .endpoint("[2001:db8::1]:2408".parse().unwrap())
            .preshared_key("PSK")
            .keepalive(25);
        let full = WireGuardPeer::new(Implementation::Gotatun, &keys).listen(500).remote(remote);
        assert_eq!(
            full.configuration(),
            "[Interface]\nPrivateKey = PRIVATE\nListenPort = 500\n[Peer]\nPublicKey = B\nPresharedKey = PSK\n\
             AllowedIPs = 10.0.0.0/8, fd00::/8\nEndpoint = [2001:db8::1]:2408\nPersistentKeepalive = 25\n"
        );
        assert!(!format!("{full:?}").contains("PRIVATE"));
        assert!(!format!("{full:?}").contains("PSK"));
    }

    #[test]
    fn a_handshake_counts_once_it_has_a_time() {
        assert_eq!(handshakes(""), 0);
        assert_eq!(handshakes("aaa=\t0\n"), 0);
        assert_eq!(handshakes("aaa=\t0\nbbb=\t1795371865\nccc=\t1795371866\n"), 2);
    }
}
