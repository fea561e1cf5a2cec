//! The hosts that the proxies run on, and the upstream that all of them ask.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use netlab::services::{Authority, Service};
use netlab::{End, Host, ImpairedLink, Impairment, Lab, Link, Process, Signal};

use crate::tunnel::weft::{Enrolment, Gateway};

/// The upstream: plain DNS on port 53, DoH on [`DOH_PORT`].
pub(crate) const UPSTREAM: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 53);
/// Where it answers DoH. Port 443 may be the gateway's.
pub(crate) const DOH_PORT: u16 = 8443;
/// Every name of this domain exists, with an A, an AAAA and an HTTPS record.
pub(crate) const ZONE: &str = "bench.example";
/// Where a host has the certificate of the authority that signed the upstream's.
pub(crate) const CA_FILE: &str = "/run/bench-ca.pem";

/// Where weftd enrols. It takes no part in what is measured.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 54);
/// Frames that may be under way in one direction: 40 ms of 20,000 queries a second, and of their answers.
const FRAMES: usize = 10_000;

/// Where a proxy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Beside the upstream, on a wire of the kernel's.
    Near,
    /// Behind a wire whose delay can be set.
    Distant,
}

/// Two devices and an upstream:
///
/// ```text
///   near 192.0.2.2 ---- 192.0.2.1 upstream 192.0.3.1 ~~~~ 192.0.3.2 distant
///                            198.51.100.53, .54
/// ```
pub(crate) struct Field {
    near: Host,
    distant: Host,
    wire: ImpairedLink,
    unbound: Service,
    _gateway: Process,
    /// The certificate of the authority that signed the upstream's.
    pub(crate) ca: String,
    /// For weftd on both hosts.
    pub(crate) enrolment: Enrolment,
}

impl Field {
    /// Builds it.
    ///
    /// # Errors
    ///
    /// When the kernel lacks what the lab needs, or one of the upstream's programs does not start.
    pub(crate) fn build(lab: &Lab) -> Result<Self> {
        lab.require_tun()?;
        let host = |name: &str| lab.host(name).resolver(UPSTREAM.into()).build();
        let (near, distant, upstream) = (host("near")?, host("distant")?, host("upstream")?);
        Link::new(
            End::new(&near, "eth0").address("192.0.2.2/24"),
            End::new(&upstream, "eth0").address("192.0.2.1/24"),
        )?;
        let wire = ImpairedLink::new(
            lab,
            End::new(&distant, "eth0").address("192.0.3.2/24"),
            End::new(&upstream, "eth1").address("192.0.3.1/24"),
            1,
        )?;
        near.default_route(Ipv4Addr::new(192, 0, 2, 1).into())?;
        distant.default_route(Ipv4Addr::new(192, 0, 3, 1).into())?;
        for address in [UPSTREAM, GATEWAY] {
            upstream.add_address("lo", &format!("{address}/32"))?;
        }
        let authority = Authority::new(&upstream)?;
        let unbound = start_unbound(&upstream, &authority).context("the upstream")?;
        let profile = r#"{"service_mode_v2": {"mode": "1dot1"}}"#.to_owned();
        let gateway = Gateway { address: GATEWAY, uplink: "eth0", profile, mtu: None };
        let (gateway, enrolment) = gateway.start(&upstream, 2).context("weft-gateway")?;
        for host in [&near, &distant] {
            host.write_file(CA_FILE, authority.pem())?;
        }
        let ca = authority.pem().to_owned();
        Ok(Self { near, distant, wire, unbound, _gateway: gateway, ca, enrolment })
    }

    /// The host at a place.
    #[must_use]
    pub(crate) fn host(&self, place: Place) -> &Host {
        match place {
            Place::Near => &self.near,
            Place::Distant => &self.distant,
        }
    }

    /// Sets the round trip between the distant host and the upstream.
    pub(crate) fn set_round_trip(&self, time: Duration) {
        self.wire.set(Impairment { delay: time / 2, limit: FRAMES, ..Impairment::default() });
    }

    /// Lets the upstream fall silent, and does something.
    ///
    /// # Errors
    ///
    /// When it has ended, or what `act` returns.
    pub(crate) fn without_upstream<T>(&mut self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        self.unbound.process_mut().signal(Signal::STOP)?;
        let result = act();
        self.unbound.process_mut().signal(Signal::CONT)?;
        result
    }
}

/// Unbound, which knows all names of [`ZONE`] by itself.
fn start_unbound(host: &Host, authority: &Authority) -> Result<Service> {
    let identity = authority.certify(host, UPSTREAM.into())?;
    let text = format!(
        " interface: {UPSTREAM}@53\n interface: {UPSTREAM}@{DOH_PORT}\n https-port: {DOH_PORT}\n num-threads: 1\n \
         access-control: 0.0.0.0/0 allow\n tls-service-key: {}\n tls-service-pem: {}\n module-config: \"iterator\"\n \
         incoming-num-tcp: 1000\n tcp-idle-timeout: 300000\n so-rcvbuf: 4m\n \
         local-zone: \"{ZONE}.\" redirect\n local-data: \"{ZONE}. 86400 IN A 192.0.2.80\"\n \
         local-data: \"{ZONE}. 86400 IN AAAA 2001:db8::80\"\n \
         local-data: \"{ZONE}. 86400 IN HTTPS 1 . alpn=h2,h3\"\n",
        identity.key, identity.certificate,
    );
    host.unbound(&[SocketAddr::new(UPSTREAM.into(), 53)], &text)
}
