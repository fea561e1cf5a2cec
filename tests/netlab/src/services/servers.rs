//! DNS servers: BIND as an authority, unbound and dnsdist before it or in its place.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Service, Zone};
use crate::components::Component;
use crate::host::Host;

/// A query for `. NS` that wants no recursion: any server answers it with something.
const PROBE: &[u8] = b"\x13\x37\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01";
const PROBE_PATIENCE: Duration = Duration::from_millis(500);
const HTTPS: u16 = 443;

/// A running BIND.
#[derive(Debug)]
pub struct Named {
    service: Service,
    trust_anchors: Vec<String>,
}

impl Named {
    /// The keys of its signed zones, each a DNSKEY record in text form.
    #[must_use]
    pub fn trust_anchors(&self) -> &[String] {
        &self.trust_anchors
    }

    /// The program itself.
    pub fn service(&mut self) -> &mut Service {
        &mut self.service
    }
}

impl Host {
    /// Starts BIND as the authority of zones, on one address and port, with further lines for its `options`.
    ///
    /// # Errors
    ///
    /// When a zone is bad, or it does not start. A [`Skip`](crate::Skip) where BIND is not unpacked.
    pub fn named(&self, at: SocketAddr, options: &str, zones: &[Zone]) -> Result<Named> {
        self.install(&[Component::Bind])?;
        let folder = format!("/run/named-{}", at.port());
        let listen = match at {
            SocketAddr::V4(at) => {
                format!("listen-on port {} {{ {}; }}; listen-on-v6 {{ none; }};", at.port(), at.ip())
            }
            SocketAddr::V6(at) => {
                format!("listen-on-v6 port {} {{ {}; }}; listen-on {{ none; }};", at.port(), at.ip())
            }
        };
        let mut text = format!(
            "options {{ directory \"{folder}\"; pid-file none; session-keyfile none; recursion no; {listen}\n\
             dnssec-validation no; notify no; check-names primary ignore; {options} }};\ncontrols {{ }};\n"
        );
        let mut trust_anchors = Vec::new();
        self.sh(&format!("mkdir -p {folder}"))?;
        for zone in zones {
            let (file, anchor) = zone.write(self, &folder)?;
            text.push_str(&format!("zone \"{}\" {{ type primary; file \"{file}\"; }};\n", zone.name));
            trust_anchors.extend(anchor);
        }
        let path = format!("{folder}/named.conf");
        self.write_file(&path, text)?;
        self.run(["named-checkconf", "-z", &path])?;
        let mut command = self.command(Component::Bind.program());
        command.args(["-g", "-n", "1", "-c", &path]);
        let service = Service::start(self, command, |_| self.answers(at))?;
        Ok(Named { service, trust_anchors })
    }

    /// Starts unbound with this configuration, after clauses that keep it in the foreground and give it no user of its
    /// own, and waits until it serves at `at`: port 443 is DoH, any other plain DNS.
    ///
    /// # Errors
    ///
    /// When the configuration is bad, or it does not start. A [`Skip`](crate::Skip) where unbound is not unpacked.
    pub fn unbound(&self, at: &[SocketAddr], configuration: &str) -> Result<Service> {
        self.install(&[Component::Unbound])?;
        let name = at.first().map_or(0, SocketAddr::port);
        let path = format!("/run/unbound-{name}.conf");
        let text = format!(
            "server:\n directory: \"/run\"\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n use-syslog: no\n \
             do-daemonize: no\n do-not-query-localhost: no\n{configuration}\n"
        );
        self.write_file(&path, text)?;
        self.run(["unbound-checkconf", &path])?;
        let mut command = self.command(Component::Unbound.program());
        command.args(["-d", "-c", &path]);
        Service::start(self, command, |_| at.iter().try_for_each(|at| self.answers(*at)))
    }

    /// Starts dnsdist with this configuration, and waits until it serves at `at`: port 443 is DoH, any other plain DNS.
    ///
    /// # Errors
    ///
    /// When the configuration is bad, or it does not start. A [`Skip`](crate::Skip) where dnsdist is not unpacked.
    pub fn dnsdist(&self, at: &[SocketAddr], configuration: &str) -> Result<Service> {
        self.install(&[Component::Dnsdist])?;
        let name = at.first().map_or(0, SocketAddr::port);
        let path = format!("/run/dnsdist-{name}.conf");
        self.write_file(&path, format!("setSecurityPollSuffix('')\n{configuration}\n"))?;
        let mut command = self.command(Component::Dnsdist.program());
        command.args(["--supervised", "--disable-syslog", "--config", &path]);
        Service::start(self, command, |_| at.iter().try_for_each(|at| self.answers(*at)))
    }

    /// Whether a server takes connections at an address of this host and, where that is plain DNS, answers queries.
    fn answers(&self, at: SocketAddr) -> Result<()> {
        self.inside(|| {
            TcpStream::connect_timeout(&at, PROBE_PATIENCE).with_context(|| format!("tcp {at}"))?;
            if at.port() == HTTPS {
                return Ok(());
            }
            let any = if at.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
            socket.set_read_timeout(Some(PROBE_PATIENCE))?;
            socket.connect(at)?;
            socket.send(PROBE)?;
            let mut answer = [0; 512];
            let length = socket.recv(&mut answer).with_context(|| format!("udp {at}"))?;
            ensure!(length > 11, "{length} bytes from {at}");
            Ok(())
        })?
    }
}
