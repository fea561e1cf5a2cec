//! The routing table of the tunnelled destinations, and the rule that leads to it.
//!
//! Under strict reverse-path filtering the replies to marked sockets come by the physical interface: the kernel looks
//! up the way back to their source without the mark, and the source is in no route of this table.

use std::collections::HashSet;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;
use weft_model::{INTERFACE_NAME, ROUTING_TABLE};

use super::netlink::{Change, Netlink, NetlinkError};
use super::{link, rules};
use crate::error::PlatformError;
use crate::seam::Routes;

/// Leads destinations into the tunnel interface on Linux.
#[derive(Debug, Default)]
pub(super) struct LinuxRoutes;

/// A route of Weft's table, as far as it matters whose it is.
#[derive(Debug)]
struct Present {
    destination: IpNet,
    interface: Option<u32>,
    /// Whether it leads straight out of an interface, as every route of Weft's does.
    plain: bool,
    message: RouteMessage,
}

fn refused(step: &'static str) -> impl Fn(NetlinkError) -> PlatformError {
    move |error| match error.errno() {
        Some(Errno::PERM) => PlatformError::NotPrivileged,
        _ => PlatformError::system(step, error),
    }
}

/// The families that the kernel has.
pub(super) fn families() -> impl Iterator<Item = AddressFamily> {
    let ipv6 = link::kernel_has_ipv6().then_some(AddressFamily::Inet6);
    std::iter::once(AddressFamily::Inet).chain(ipv6)
}

impl Present {
    fn of(message: RouteMessage) -> Option<Self> {
        let header = &message.header;
        let (mut destination, mut interface, mut table) = (None, None, u32::from(header.table));
        let mut plain = header.kind == RouteType::Unicast;
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                    destination = Some((*address).into())
                }
                RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                    destination = Some((*address).into())
                }
                RouteAttribute::Oif(index) => interface = Some(*index),
                RouteAttribute::Table(number) => table = *number,
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_) => {
                    plain = false
                }
                _ => {}
            }
        }
        if table != ROUTING_TABLE {
            return None;
        }
        let unspecified = match header.address_family {
            AddressFamily::Inet => IpNet::V4(ipnet::Ipv4Net::default()),
            AddressFamily::Inet6 => IpNet::V6(ipnet::Ipv6Net::default()),
            _ => return None,
        };
        let destination =
            IpNet::new(destination.unwrap_or(unspecified.addr()), header.destination_prefix_length).ok()?;
        Some(Self { destination, interface, plain, message })
    }

    fn describe(&self, netlink: &mut Netlink) -> String {
        let interface = self.interface.and_then(|index| {
            link::all(netlink).ok()?.into_iter().find(|interface| interface.index == index)
        });
        match interface {
            Some(interface) => format!("{} dev {}", self.destination, interface.name),
            None => self.destination.to_string(),
        }
    }
}

/// Every route of Weft's table.
fn present(netlink: &mut Netlink) -> Result<Vec<Present>, NetlinkError> {
    let mut found = Vec::new();
    for family in families() {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        request.attributes.push(RouteAttribute::Table(ROUTING_TABLE));
        match netlink.dump_filtered(RouteNetlinkMessage::GetRoute(request)) {
            Ok(routes) => found.extend(routes.into_iter().filter_map(|route| match route {
                RouteNetlinkMessage::NewRoute(route) => Present::of(route),
                _ => None,
            })),
            // The kernel makes a table with its first route.
            Err(error) if error.errno() == Some(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Refuses a table that has routes of an interface other than the tunnel's.
fn refuse_foreign(
    netlink: &mut Netlink,
    present: &[Present],
    tunnel: Option<u32>,
) -> Result<(), PlatformError> {
    match present.iter().find(|route| route.interface.is_none() || route.interface != tunnel) {
        Some(foreign) => {
            Err(PlatformError::TableHeld { table: ROUTING_TABLE, route: foreign.describe(netlink) })
        }
        None => Ok(()),
    }
}

fn wanted(destination: IpNet, interface: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: link::family(destination.addr()),
        destination_prefix_length: destination.prefix_len(),
        table: RouteHeader::RT_TABLE_UNSPEC,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Link,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    message.attributes = vec![
        RouteAttribute::Destination(destination.network().into()),
        RouteAttribute::Table(ROUTING_TABLE),
        RouteAttribute::Oif(interface),
    ];
    message
}

fn delete(route: RouteMessage) -> Change<RouteNetlinkMessage> {
    Change { message: RouteNetlinkMessage::DelRoute(route), flags: 0 }
}

/// Removes routes; those that are gone already, as with their interface, are no failure.
fn remove_all(netlink: &mut Netlink, routes: Vec<Present>) -> Result<(), PlatformError> {
    for route in routes {
        match netlink.change([delete(route.message)]) {
            Err((_, error)) if error.errno() != Some(Errno::SRCH) => {
                return Err(refused("removing routes from the tunnel")(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn tunnel_index(netlink: &mut Netlink) -> Result<Option<u32>, PlatformError> {
    let found = link::find(netlink, INTERFACE_NAME).map_err(refused("looking for the tunnel interface"))?;
    Ok(found.map(|interface| interface.index))
}

impl Routes for LinuxRoutes {
    fn preflight(&self) -> Result<(), PlatformError> {
        let mut netlink = Netlink::route().map_err(refused("asking for routes"))?;
        rules::preflight(&mut netlink)?;
        let tunnel = tunnel_index(&mut netlink)?;
        let present = present(&mut netlink).map_err(refused("reading the tunnel's routes"))?;
        refuse_foreign(&mut netlink, &present, tunnel)
    }

    fn apply(&mut self, routes: &[IpNet]) -> Result<(), PlatformError> {
        if routes.is_empty() {
            return self.clear();
        }
        let mut netlink = Netlink::route().map_err(refused("asking for routes"))?;
        rules::preflight(&mut netlink)?;
        let tunnel = tunnel_index(&mut netlink)?;
        let Some(index) = tunnel else {
            return Err(PlatformError::InterfaceMissing { name: INTERFACE_NAME.to_owned() });
        };
        let present = present(&mut netlink).map_err(refused("reading the tunnel's routes"))?;
        refuse_foreign(&mut netlink, &present, tunnel)?;

        let ipv6 = link::has_ipv6(INTERFACE_NAME);
        let wanted_nets: HashSet<IpNet> =
            routes.iter().map(IpNet::trunc).filter(|net| ipv6 || net.addr().is_ipv4()).collect();
        let (kept, superfluous): (Vec<_>, Vec<_>) =
            present.into_iter().partition(|route| route.plain && wanted_nets.contains(&route.destination));
        let kept: HashSet<IpNet> = kept.into_iter().map(|route| route.destination).collect();
        let missing =
            routes.iter().map(IpNet::trunc).filter(|net| wanted_nets.contains(net) && !kept.contains(net));
        let additions = missing.map(|net| Change {
            message: RouteNetlinkMessage::NewRoute(wanted(net, index)),
            flags: NLM_F_CREATE | NLM_F_REPLACE,
        });
        netlink.change(additions).map_err(|(_, error)| refused("leading routes into the tunnel")(error))?;
        remove_all(&mut netlink, superfluous)?;
        rules::ensure(&mut netlink)
    }

    fn clear(&mut self) -> Result<(), PlatformError> {
        let mut netlink = Netlink::route().map_err(refused("asking for routes"))?;
        rules::remove(&mut netlink)?;
        // Without the tunnel interface no route of Weft's can be there: the kernel took them along.
        let Some(index) = tunnel_index(&mut netlink)? else { return Ok(()) };
        let mut present = present(&mut netlink).map_err(refused("reading the tunnel's routes"))?;
        present.retain(|route| route.interface == Some(index));
        remove_all(&mut netlink, present)
    }
}
