//! The routing table of the tunnelled destinations, and the rule that leads to it.
//!
//! Under strict reverse-path filtering the replies to marked sockets come by the physical interface: the kernel looks
//! up the way back to their source without the mark, and the source is in no route of this table.
//!
//! Learnt addresses of Exclude mode have a `throw` route each: it ends the look-up in this table, so that the next rule
//! decides, as without Weft. Such a route leads to no interface, so it outlives the tunnel's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;
use weft_model::settings::SplitTunnelMode;
use weft_model::{INTERFACE_NAME, LearntPlan, ROUTING_TABLE};

use super::netlink::{Change, Netlink, NetlinkError};
use super::{link, rules};
use crate::error::PlatformError;
use crate::seam::Routes;

/// Leads destinations into the tunnel interface on Linux.
#[derive(Debug, Default)]
pub(super) struct LinuxRoutes {
    standing: Option<Standing>,
}

/// What this value brought about last.
#[derive(Debug)]
struct Standing {
    routes: BTreeSet<IpNet>,
    learnt: LearntPlan,
    /// The tunnel interface's index; another interface has none of its routes.
    interface: u32,
}

/// Where a route of Weft's leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Straight out of the tunnel interface.
    Tunnel,
    /// On to the next rule.
    Onward,
}

impl Way {
    fn of_learnt(mode: SplitTunnelMode) -> Self {
        match mode {
            SplitTunnelMode::Exclude => Self::Onward,
            SplitTunnelMode::Include => Self::Tunnel,
        }
    }
}

/// A route of Weft's table, as far as it matters whose it is.
#[derive(Debug)]
struct Present {
    destination: IpNet,
    interface: Option<u32>,
    /// Where it leads, if it is of a kind that Weft makes.
    way: Option<Way>,
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
        let mut plain = true;
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
        let whole = destination.prefix_len() == destination.max_prefix_len();
        let way = match header.kind {
            RouteType::Unicast if plain => Some(Way::Tunnel),
            RouteType::Throw if whole && header.protocol == RouteProtocol::Static => Some(Way::Onward),
            _ => None,
        };
        Some(Self { destination, interface, way, message })
    }

    /// Whether it is Weft's, whichever process made it.
    fn is_wefts(&self, tunnel: Option<u32>) -> bool {
        self.way == Some(Way::Onward) || (self.interface.is_some() && self.interface == tunnel)
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

/// Refuses a table that has routes which are not Weft's.
fn refuse_foreign(
    netlink: &mut Netlink,
    present: &[Present],
    tunnel: Option<u32>,
) -> Result<(), PlatformError> {
    match present.iter().find(|route| !route.is_wefts(tunnel)) {
        Some(foreign) => {
            Err(PlatformError::TableHeld { table: ROUTING_TABLE, route: foreign.describe(netlink) })
        }
        None => Ok(()),
    }
}

fn route(destination: IpNet, way: Way, interface: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (scope, kind) = match way {
        Way::Tunnel => (RouteScope::Link, RouteType::Unicast),
        Way::Onward => (RouteScope::Universe, RouteType::Throw),
    };
    message.header = RouteHeader {
        address_family: link::family(destination.addr()),
        destination_prefix_length: destination.prefix_len(),
        table: RouteHeader::RT_TABLE_UNSPEC,
        protocol: RouteProtocol::Static,
        scope,
        kind,
        ..RouteHeader::default()
    };
    message.attributes =
        vec![RouteAttribute::Destination(destination.network().into()), RouteAttribute::Table(ROUTING_TABLE)];
    if way == Way::Tunnel {
        message.attributes.push(RouteAttribute::Oif(interface));
    }
    message
}

fn add(destination: IpNet, way: Way, interface: u32) -> Change<RouteNetlinkMessage> {
    let message = RouteNetlinkMessage::NewRoute(route(destination, way, interface));
    Change { message, flags: NLM_F_CREATE | NLM_F_REPLACE }
}

fn delete(route: RouteMessage) -> Change<RouteNetlinkMessage> {
    Change { message: RouteNetlinkMessage::DelRoute(route), flags: 0 }
}

/// Removes routes; those that are gone already, as with their interface, are no failure.
fn remove_all(netlink: &mut Netlink, routes: Vec<Present>) -> Result<(), PlatformError> {
    let gone = |error: &NetlinkError| error.errno() == Some(Errno::SRCH);
    let Err((first, error)) = netlink.change(routes.iter().map(|route| delete(route.message.clone()))) else {
        return Ok(());
    };
    if !gone(&error) {
        return Err(refused(REMOVING)(error));
    }
    for route in routes.into_iter().skip(first) {
        match netlink.change([delete(route.message)]) {
            Err((_, error)) if !gone(&error) => return Err(refused(REMOVING)(error)),
            _ => {}
        }
    }
    Ok(())
}

const LEADING: &str = "leading routes into the tunnel";
const REMOVING: &str = "removing routes from the tunnel";

fn tunnel_index(netlink: &mut Netlink) -> Result<Option<u32>, PlatformError> {
    let found = link::find(netlink, INTERFACE_NAME).map_err(refused("looking for the tunnel interface"))?;
    Ok(found.map(|interface| interface.index))
}

/// Which routes the system can have.
struct Possible {
    /// Whether those of IPv6 may lead into the tunnel interface.
    ipv6_tunnel: bool,
    /// Whether there are any of IPv6.
    ipv6: bool,
}

impl Possible {
    fn now() -> Self {
        Self { ipv6_tunnel: link::has_ipv6(INTERFACE_NAME), ipv6: link::kernel_has_ipv6() }
    }

    fn has(&self, destination: &IpNet, way: Way) -> bool {
        match (destination, way) {
            (IpNet::V4(_), _) => true,
            (IpNet::V6(_), Way::Tunnel) => self.ipv6_tunnel,
            (IpNet::V6(_), Way::Onward) => self.ipv6,
        }
    }
}

/// Where each destination leads; a learnt address's own route stands above one of the plan's to the same address.
fn ways(routes: &BTreeSet<IpNet>, learnt: &LearntPlan) -> BTreeMap<IpNet, Way> {
    let possible = Possible::now();
    let way = Way::of_learnt(learnt.mode);
    let of_plan = routes.iter().map(|net| (*net, Way::Tunnel));
    let of_learnt = learnt.addresses.iter().map(|address| (IpNet::from(*address), way));
    of_plan.chain(of_learnt).filter(|(net, way)| possible.has(net, *way)).collect()
}

impl Standing {
    /// Whether nothing but learnt addresses tells the wanted routes from these.
    fn differs_in_learnt_alone(&self, routes: &BTreeSet<IpNet>, learnt: &LearntPlan) -> bool {
        self.learnt.mode == learnt.mode && self.learnt.addresses != learnt.addresses && self.routes == *routes
    }

    /// Changes the routes of learnt addresses. What is refused leaves it to the caller to look what stands.
    fn change(&mut self, learnt: &LearntPlan) -> Result<(), PlatformError> {
        let mut netlink = Netlink::route().map_err(refused("asking for routes"))?;
        if tunnel_index(&mut netlink)? != Some(self.interface) {
            return Err(PlatformError::InterfaceMissing { name: INTERFACE_NAME.to_owned() });
        }
        let (possible, way) = (Possible::now(), Way::of_learnt(learnt.mode));
        let nets = |learnt: &LearntPlan| -> BTreeSet<IpNet> {
            let nets = learnt.addresses.iter().map(|address: &IpAddr| IpNet::from(*address));
            nets.filter(|net| possible.has(net, way)).collect()
        };
        let (former, wanted) = (nets(&self.learnt), nets(learnt));
        let added = wanted.difference(&former).map(|net| add(*net, way, self.interface));
        let removed = former.difference(&wanted).map(|net| match self.routes.contains(net) {
            true => add(*net, Way::Tunnel, self.interface),
            false => delete(route(*net, way, self.interface)),
        });
        netlink.change(added.chain(removed)).map_err(|(_, error)| refused(LEADING)(error))?;
        self.learnt.clone_from(learnt);
        Ok(())
    }
}

/// Compares the table with what is wanted of it, and changes what differs. Returns the tunnel interface's index.
fn bring_about(routes: &BTreeSet<IpNet>, learnt: &LearntPlan) -> Result<u32, PlatformError> {
    let mut netlink = Netlink::route().map_err(refused("asking for routes"))?;
    rules::preflight(&mut netlink)?;
    let tunnel = tunnel_index(&mut netlink)?;
    let Some(index) = tunnel else {
        return Err(PlatformError::InterfaceMissing { name: INTERFACE_NAME.to_owned() });
    };
    let present = present(&mut netlink).map_err(refused("reading the tunnel's routes"))?;
    refuse_foreign(&mut netlink, &present, tunnel)?;

    let mut missing = ways(routes, learnt);
    let mut superfluous = Vec::new();
    for route in present {
        match missing.get(&route.destination) {
            Some(way) if route.way == Some(*way) => drop(missing.remove(&route.destination)),
            _ => superfluous.push(route),
        }
    }
    let additions = missing.into_iter().map(|(net, way)| add(net, way, index));
    netlink.change(additions).map_err(|(_, error)| refused(LEADING)(error))?;
    remove_all(&mut netlink, superfluous)?;
    rules::ensure(&mut netlink)?;
    Ok(index)
}

impl Routes for LinuxRoutes {
    fn preflight(&self) -> Result<(), PlatformError> {
        let mut netlink = Netlink::route().map_err(refused("asking for routes"))?;
        rules::preflight(&mut netlink)?;
        let tunnel = tunnel_index(&mut netlink)?;
        let present = present(&mut netlink).map_err(refused("reading the tunnel's routes"))?;
        refuse_foreign(&mut netlink, &present, tunnel)
    }

    fn apply(&mut self, routes: &[IpNet], learnt: &LearntPlan) -> Result<(), PlatformError> {
        let leads_in = learnt.mode == SplitTunnelMode::Include && !learnt.addresses.is_empty();
        if routes.is_empty() && !leads_in {
            return self.clear();
        }
        let routes: BTreeSet<IpNet> = routes.iter().map(IpNet::trunc).collect();
        if let Some(mut standing) = self.standing.take()
            && standing.differs_in_learnt_alone(&routes, learnt)
        {
            match standing.change(learnt) {
                Ok(()) => {
                    self.standing = Some(standing);
                    return Ok(());
                }
                Err(error) => tracing::debug!("the tunnel's routes are compared with the plan's: {error}"),
            }
        }
        let interface = bring_about(&routes, learnt)?;
        self.standing = Some(Standing { routes, learnt: learnt.clone(), interface });
        Ok(())
    }

    fn clear(&mut self) -> Result<(), PlatformError> {
        self.standing = None;
        let mut netlink = Netlink::route().map_err(refused("asking for routes"))?;
        rules::remove(&mut netlink)?;
        let tunnel = tunnel_index(&mut netlink)?;
        let mut present = present(&mut netlink).map_err(refused("reading the tunnel's routes"))?;
        present.retain(|route| route.is_wefts(tunnel));
        remove_all(&mut netlink, present)
    }
}
