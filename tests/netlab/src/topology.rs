//! The network that most tests stand on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;

use crate::host::Host;
use crate::lab::Lab;
use crate::link::{End, Switch};
use crate::servers::{DnsServer, Record, WebServer};

/// The device's address in its LAN.
pub const DEVICE: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 10);
/// The device's IPv6 address in its LAN.
pub const DEVICE_V6: Ipv6Addr = Ipv6Addr::new(0xfd50, 0, 0, 0, 0, 0, 0, 0x10);
/// The LAN's router.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 1);
/// The LAN's router.
pub const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfd50, 0, 0, 0, 0, 0, 0, 1);
/// A host of the LAN with a web server and the LAN's resolver.
pub const LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 20);
/// A host of the LAN with a web server and the LAN's resolver.
pub const LAN_V6: Ipv6Addr = Ipv6Addr::new(0xfd50, 0, 0, 0, 0, 0, 0, 0x20);
/// The router in the internet: what the LAN's traffic has as its source there.
pub const UPLINK: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The router in the internet: what the LAN's traffic has as its source there.
pub const UPLINK_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 1);
/// The gateway.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The gateway.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x10);
/// A host of the internet with a web server and an authoritative DNS server.
pub const WEB: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
/// A host of the internet with a web server and an authoritative DNS server.
pub const WEB_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x80);

/// The interface of the device, of the LAN host, of the gateway and of the web host.
pub const INTERFACE: &str = "eth0";

/// A device behind a home router, and an internet with a gateway and a web server:
///
/// ```text
///   device .10 --+                              +-- gateway .10   (no service of the lab's)
///                |-- .1 router (NAT) .1 --------|
///   lan .20 -----+                              +-- web .80       web server, DNS of `example`
///   192.168.50.0/24, fd50::/64       203.0.113.0/24, 2001:db8:113::/64
/// ```
///
/// - `device` has strict `rp_filter` and uses the resolver on `lan`.
/// - `lan` has a web server on port 80, and a resolver that knows `intranet.corp` and `printer.lan` (itself)
///   and asks `web` about anything else.
/// - `web` has a web server on ports 80 and 8080, and a DNS server that knows `web.example`, `www.example`
///   (an alias of it), `blocked.example` and `gateway.example`.
/// - `gateway` uses the DNS server on `web`.
pub struct Topology {
    /// The device under test.
    pub device: Host,
    /// The LAN's router; its interfaces are `lan` and `wan`.
    pub router: Host,
    /// A host in the device's LAN.
    pub lan: Host,
    /// Where a gateway can be run.
    pub gateway: Host,
    /// A host of the internet.
    pub web: Host,
    /// The device's LAN, to plug more hosts in.
    pub lan_switch: Switch,
    /// The internet, to plug more hosts in.
    pub internet: Switch,
    /// The web server on `lan`.
    pub lan_web: WebServer,
    /// The resolver on `lan`.
    pub lan_dns: DnsServer,
    /// The web server on `web`.
    pub web_server: WebServer,
    /// The DNS server on `web`.
    pub web_dns: DnsServer,
    lab: Lab,
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, router, lan, gateway, web, .. } = self;
        f.debug_list().entries([device, router, lan, gateway, web]).finish()
    }
}

impl Topology {
    /// Builds it.
    ///
    /// # Errors
    ///
    /// When the lab has one of these hosts already, or the kernel lacks bridges, NAT or IPv6.
    pub fn standard(lab: &Lab) -> Result<Self> {
        let lan_switch = Switch::new(lab, "lan-switch")?;
        let internet = Switch::new(lab, "internet")?;
        let device = lab.host("device").strict_rp_filter().resolver(LAN.into()).build()?;
        let router = lab.host("router").build()?;
        let lan = lab.host("lan").resolver(Ipv4Addr::LOCALHOST.into()).build()?;
        let gateway = lab.host("gateway").resolver(WEB.into()).build()?;
        let web = lab.host("web").resolver(Ipv4Addr::LOCALHOST.into()).build()?;

        plug(&lan_switch, &router, "lan", ROUTER, ROUTER_V6)?;
        plug(&internet, &router, "wan", UPLINK, UPLINK_V6)?;
        router.forward()?;
        router.masquerade("wan")?;
        join_lan(&lan_switch, &device, DEVICE, DEVICE_V6)?;
        join_lan(&lan_switch, &lan, LAN, LAN_V6)?;
        plug(&internet, &gateway, INTERFACE, GATEWAY, GATEWAY_V6)?;
        plug(&internet, &web, INTERFACE, WEB, WEB_V6)?;

        let lan_web = WebServer::start(&lan, &[80])?;
        let web_server = WebServer::start(&web, &[80, 8080])?;
        let (lan_dns, web_dns) = (lan_zone(&lan)?, internet_zone(&web)?);
        let lab = lab.clone();
        Ok(Self {
            device,
            router,
            lan,
            gateway,
            web,
            lan_switch,
            internet,
            lan_web,
            lan_dns,
            web_server,
            web_dns,
            lab,
        })
    }

    /// Adds a device to the LAN, like the first one; its addresses end in `number` (decimal in IPv4,
    /// hexadecimal of the same value in IPv6), which must be none of 1, 10 and 20.
    ///
    /// # Errors
    ///
    /// When the name is not new.
    pub fn add_device(&self, name: &str, number: u8) -> Result<Host> {
        let device = self.lab.host(name).strict_rp_filter().resolver(LAN.into()).build()?;
        let v4 = Ipv4Addr::new(192, 168, 50, number);
        let v6 = Ipv6Addr::new(0xfd50, 0, 0, 0, 0, 0, 0, u16::from(number));
        join_lan(&self.lan_switch, &device, v4, v6)?;
        Ok(device)
    }
}

fn plug(switch: &Switch, host: &Host, interface: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<()> {
    let end = End::new(host, interface).address(&format!("{v4}/24")).address(&format!("{v6}/64"));
    switch.plug(end).map(drop)
}

fn join_lan(switch: &Switch, host: &Host, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<()> {
    plug(switch, host, INTERFACE, v4, v6)?;
    host.default_route(ROUTER.into())?;
    host.default_route(ROUTER_V6.into())
}

fn lan_zone(lan: &Host) -> Result<DnsServer> {
    let server = DnsServer::start(lan)?;
    for name in ["intranet.corp", "printer.lan"] {
        server.add(name, Record::A(LAN)).add(name, Record::Aaaa(LAN_V6));
    }
    server.forward_to(SocketAddr::new(IpAddr::V4(WEB), 53));
    Ok(server)
}

fn internet_zone(web: &Host) -> Result<DnsServer> {
    let server = DnsServer::start(web)?;
    for name in ["web.example", "blocked.example"] {
        server.add(name, Record::A(WEB)).add(name, Record::Aaaa(WEB_V6));
    }
    server.add("www.example", Record::Cname("web.example".into()));
    server.add("gateway.example", Record::A(GATEWAY)).add("gateway.example", Record::Aaaa(GATEWAY_V6));
    Ok(server)
}
