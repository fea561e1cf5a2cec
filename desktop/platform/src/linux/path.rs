//! The primary path: the default route that packets outside the tunnel take.

use std::net::IpAddr;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHopFlags, RouteType,
    RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;
use weft_model::{INTERFACE_NAME, NetworkState};

use super::link::{self, Interface, LOOPBACK};
use super::netlink::{Netlink, NetlinkError};
use super::routes::families;

/// A way out of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DefaultRoute {
    ipv4: bool,
    /// Lower is better.
    metric: u32,
    interface: u32,
    gateway: Option<IpAddr>,
}

/// Asks the kernel for the primary path.
pub(super) fn primary() -> Result<NetworkState, NetlinkError> {
    let mut netlink = Netlink::route()?;
    let interfaces = link::all(&mut netlink)?;
    let mut found = Vec::new();
    for family in families() {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        request.header.table = RouteHeader::RT_TABLE_MAIN;
        match netlink.dump_filtered(RouteNetlinkMessage::GetRoute(request)) {
            Ok(routes) => found.extend(routes.iter().filter_map(|route| match route {
                RouteNetlinkMessage::NewRoute(route) => default_route(route),
                _ => None,
            })),
            Err(error) if error.errno() == Some(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(choose(found, &interfaces))
}

/// The route in a message, if it is a default route of the main table that leads somewhere.
fn default_route(message: &RouteMessage) -> Option<DefaultRoute> {
    let header = &message.header;
    let ipv4 = match header.address_family {
        AddressFamily::Inet => true,
        AddressFamily::Inet6 => false,
        _ => return None,
    };
    let unusable = RouteFlags::Dead | RouteFlags::Linkdown;
    let leads_out = header.kind == RouteType::Unicast && !header.flags.intersects(unusable);
    if header.destination_prefix_length != 0 || header.table != RouteHeader::RT_TABLE_MAIN || !leads_out {
        return None;
    }
    let (mut metric, mut interface, mut gateway) = (0, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => gateway = gateway_of(attribute),
            RouteAttribute::MultiPath(hops) => {
                let unusable = RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown;
                if let Some(hop) = hops.iter().find(|hop| !hop.flags.intersects(unusable)) {
                    interface = Some(hop.interface_index);
                    gateway = hop.attributes.iter().find_map(gateway_of);
                }
            }
            _ => {}
        }
    }
    Some(DefaultRoute { ipv4, metric, interface: interface?, gateway })
}

fn gateway_of(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(address))
        | RouteAttribute::Via(RouteVia::Inet(address)) => Some((*address).into()),
        RouteAttribute::Gateway(RouteAddress::Inet6(address))
        | RouteAttribute::Via(RouteVia::Inet6(address)) => Some((*address).into()),
        _ => None,
    }
}

/// The best way out: IPv4 before IPv6, then the lower metric, by interfaces that work and are not Weft's own.
fn choose(mut routes: Vec<DefaultRoute>, interfaces: &[Interface]) -> NetworkState {
    let name = |route: &DefaultRoute| {
        let interface = interfaces.iter().find(|interface| interface.index == route.interface)?;
        let usable = interface.running && interface.name != INTERFACE_NAME && interface.name != LOOPBACK;
        usable.then(|| interface.name.clone())
    };
    routes.retain(|route| name(route).is_some());
    let best = routes.iter().min_by_key(|route| (!route.ipv4, route.metric));
    NetworkState {
        interface: best.and_then(name),
        gateway: best.and_then(|route| route.gateway),
        has_v4: routes.iter().any(|route| route.ipv4),
        has_v6: routes.iter().any(|route| !route.ipv4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, name: &str, running: bool) -> Interface {
        Interface {
            index,
            name: name.to_owned(),
            kind: None,
            mtu: 1500,
            up: true,
            running,
            gso_max_size: None,
        }
    }

    fn route(ipv4: bool, metric: u32, interface: u32) -> DefaultRoute {
        let gateway = if ipv4 { "192.0.2.1" } else { "fe80::1" }.parse().ok();
        DefaultRoute { ipv4, metric, interface, gateway }
    }

    #[test]
    fn the_best_usable_default_route_is_the_primary_path() {
        let interfaces = [
            interface(1, "lo", true),
            interface(2, "eth0", true),
            interface(3, "wlan0", true),
            interface(4, "eth1", false),
            interface(5, "weft0", true),
        ];
        let cases = [
            (vec![], (None, false, false)),
            (vec![route(true, 100, 2), route(true, 600, 3)], (Some("eth0"), true, false)),
            (vec![route(true, 600, 2), route(true, 100, 3)], (Some("wlan0"), true, false)),
            (vec![route(true, 600, 2), route(false, 1, 3)], (Some("eth0"), true, true)),
            (vec![route(false, 1024, 3)], (Some("wlan0"), false, true)),
            (vec![route(true, 0, 5), route(true, 100, 3)], (Some("wlan0"), true, false)),
            (vec![route(true, 0, 4), route(true, 0, 1), route(true, 0, 9)], (None, false, false)),
        ];
        for (routes, (name, has_v4, has_v6)) in cases {
            let state = choose(routes.clone(), &interfaces);
            assert_eq!(state.interface.as_deref(), name, "{routes:?}");
            assert_eq!((state.has_v4, state.has_v6), (has_v4, has_v6), "{routes:?}");
            assert_eq!(state.gateway.is_some(), name.is_some(), "{routes:?}");
        }
    }
}
