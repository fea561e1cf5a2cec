//! DNS servers that nobody here wrote, as hosts of the internet.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;
use netlab::services::{Authority, Identity, Named, Service, Zone};
use netlab::topology::INTERFACE;
use netlab::{Component, End, Host, Lab, Topology};

/// Where BIND answers for its zones.
pub const AUTHORITY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);
/// Where a foreign DoH server answers.
pub const DOH: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 44);

/// A host of the internet with an address.
///
/// # Errors
/// The name or the address is taken.
pub fn plug(lab: &Lab, topology: &Topology, name: &str, address: Ipv4Addr) -> Result<Host> {
    let host = lab.host(name).build()?;
    topology.internet.plug(End::new(&host, INTERFACE).address(&format!("{address}/24")))?;
    Ok(host)
}

/// BIND on a host of its own at [`AUTHORITY`], with sections in a fixed order.
///
/// # Errors
/// BIND does not start, or is missing (a skip).
pub fn bind(lab: &Lab, topology: &Topology, zones: &[Zone]) -> Result<(Host, Named)> {
    let host = plug(lab, topology, "authority", AUTHORITY)?;
    let at = SocketAddr::new(AUTHORITY.into(), 53);
    let named =
        host.named(at, "minimal-responses no; rrset-order { order none; }; max-udp-size 1232;", zones)?;
    Ok((host, named))
}

/// A DoH server on a host of its own at [`DOH`], with plain DNS on port 53 beside it.
pub struct ForeignDoh {
    /// Its host.
    pub host: Host,
    /// The authority that signed its certificate.
    pub authority: Authority,
    identity: Identity,
    service: Option<Service>,
    configuration: String,
    program: Component,
}

impl ForeignDoh {
    /// Unbound, which asks [`AUTHORITY`] about `example` and trusts these keys (DNSKEY records in text form).
    ///
    /// # Errors
    /// It does not start, or is missing (a skip).
    pub fn unbound(lab: &Lab, topology: &Topology, anchors: &[String]) -> Result<Self> {
        let keys = anchors.iter().map(|key| format!(" trust-anchor: \"{key}\"\n")).collect::<String>();
        let lines = |identity: &Identity| {
            format!(
                " interface: {DOH}@53\n interface: {DOH}@443\n https-port: 443\n access-control: 0.0.0.0/0 allow\n \
                 tls-service-key: {}\n tls-service-pem: {}\n rrset-roundrobin: no\n minimal-responses: no\n \
                 qname-minimisation: no\n deny-any: no\n ede: yes\n \
                 val-clean-additional: no\n{keys}stub-zone:\n name: example\n stub-addr: {AUTHORITY}\n stub-prime: no\n",
                identity.key, identity.certificate
            )
        };
        Self::start(lab, topology, Component::Unbound, lines)
    }

    /// dnsdist, which asks [`AUTHORITY`] about everything.
    ///
    /// # Errors
    /// It does not start, or is missing (a skip).
    pub fn dnsdist(lab: &Lab, topology: &Topology) -> Result<Self> {
        let lines = |identity: &Identity| {
            format!(
                "addDOHLocal('{DOH}:443', '{}', '{}')\naddLocal('{DOH}:53')\nsetACL('0.0.0.0/0')\n\
                 newServer({{address='{AUTHORITY}:53', healthCheckMode='up'}})",
                identity.certificate, identity.key
            )
        };
        Self::start(lab, topology, Component::Dnsdist, lines)
    }

    fn start(
        lab: &Lab,
        topology: &Topology,
        program: Component,
        configuration: impl FnOnce(&Identity) -> String,
    ) -> Result<Self> {
        let host = plug(lab, topology, "doh", DOH)?;
        let authority = Authority::new(&host)?;
        let identity = authority.certify(&host, DOH.into())?;
        let configuration = configuration(&identity);
        let mut server = Self { host, authority, identity, service: None, configuration, program };
        server.run()?;
        Ok(server)
    }

    /// Starts it, where it does not run.
    ///
    /// # Errors
    /// It does not start.
    pub fn run(&mut self) -> Result<()> {
        let at = [SocketAddr::new(IpAddr::V4(DOH), 53), SocketAddr::new(IpAddr::V4(DOH), 443)];
        self.service = Some(match self.program {
            Component::Dnsdist => self.host.dnsdist(&at, &self.configuration)?,
            _ => self.host.unbound(&at, &self.configuration)?,
        });
        Ok(())
    }

    /// The running program.
    pub fn service(&mut self) -> Option<&mut Service> {
        self.service.as_mut()
    }

    /// Ends it.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.service.take().map_or(Ok(()), Service::stop)
    }

    /// Its certificate and key.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}
