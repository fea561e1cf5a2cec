//! Interfaces and their addresses.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeader, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use super::netlink::{Netlink, NetlinkError};

/// The loopback interface.
pub(super) const LOOPBACK: &str = "lo";

/// Where the kernel's parameters of IPv6 are; absent where it has no IPv6.
const IPV6_PARAMETERS: &str = "/proc/sys/net/ipv6";

/// What of an interface matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    /// The driver ("tun", "dummy", ...), where it says so.
    pub(super) kind: Option<String>,
    pub(super) mtu: u32,
    /// Whether it is up, and whether it has a carrier too.
    pub(super) up: bool,
    pub(super) running: bool,
    /// The longest run of segments, in bytes.
    pub(super) gso_max_size: Option<u32>,
}

impl Interface {
    fn of(message: &LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut interface = Self {
            index: message.header.index,
            name: String::new(),
            kind: None,
            mtu: 0,
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::Up | LinkFlags::Running),
            gso_max_size: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                LinkAttribute::GsoMaxSize(size) => interface.gso_max_size = Some(*size),
                LinkAttribute::LinkInfo(parts) => {
                    interface.kind = parts.iter().find_map(|part| match part {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        interface
    }
}

/// Whether the kernel has IPv6 at all.
pub(super) fn kernel_has_ipv6() -> bool {
    Path::new(IPV6_PARAMETERS).exists()
}

/// Whether an interface may have IPv6 addresses: neither the kernel, nor a parameter, nor a small MTU forbids it.
pub(super) fn has_ipv6(name: &str) -> bool {
    let parameter = format!("{IPV6_PARAMETERS}/conf/{name}/disable_ipv6");
    std::fs::read_to_string(parameter).is_ok_and(|value| value.trim() == "0")
}

/// The interface of this name.
pub(super) fn find(netlink: &mut Netlink, name: &str) -> Result<Option<Interface>, NetlinkError> {
    let mut request = LinkMessage::default();
    request.attributes.push(LinkAttribute::IfName(name.to_owned()));
    Ok(match netlink.get(RouteNetlinkMessage::GetLink(request))? {
        Some(RouteNetlinkMessage::NewLink(message)) => Some(Interface::of(&message)),
        _ => None,
    })
}

/// Every interface.
pub(super) fn all(netlink: &mut Netlink) -> Result<Vec<Interface>, NetlinkError> {
    let found = netlink.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    Ok(found
        .iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(message) => Some(Interface::of(message)),
            _ => None,
        })
        .collect())
}

fn set(
    netlink: &mut Netlink,
    index: u32,
    attributes: Vec<LinkAttribute>,
    up: bool,
) -> Result<(), NetlinkError> {
    let mut request = LinkMessage::default();
    request.header.index = index;
    if up {
        request.header.flags = LinkFlags::Up;
        request.header.change_mask = LinkFlags::Up;
    }
    request.attributes = attributes;
    netlink.change_one(RouteNetlinkMessage::SetLink(request), 0)
}

/// Sets an interface's MTU, in bytes.
pub(super) fn set_mtu(netlink: &mut Netlink, index: u32, mtu: u32) -> Result<(), NetlinkError> {
    set(netlink, index, vec![LinkAttribute::Mtu(mtu)], false)
}

/// Sets the longest run of segments that an interface takes, in bytes, for both families.
pub(super) fn set_gso_max_size(netlink: &mut Netlink, index: u32, size: u32) -> Result<(), NetlinkError> {
    set(netlink, index, vec![LinkAttribute::GsoMaxSize(size), LinkAttribute::GsoIpv4MaxSize(size)], false)
}

/// Keeps the kernel from giving an interface a link-local address.
pub(super) fn without_link_local(netlink: &mut Netlink, index: u32) -> Result<(), NetlinkError> {
    let mode = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    set(netlink, index, vec![LinkAttribute::AfSpecUnspec(vec![mode])], false)
}

/// Brings an interface up.
pub(super) fn set_up(netlink: &mut Netlink, index: u32) -> Result<(), NetlinkError> {
    set(netlink, index, Vec::new(), true)
}

/// Removes an interface; harmless where it is gone.
pub(super) fn remove(netlink: &mut Netlink, index: u32) -> Result<(), NetlinkError> {
    let mut request = LinkMessage::default();
    request.header.index = index;
    match netlink.change_one(RouteNetlinkMessage::DelLink(request), 0) {
        Err(error) if error.errno() == Some(Errno::NODEV) => Ok(()),
        result => result,
    }
}

/// The addresses of an interface, each with its prefix length.
pub(super) fn addresses(netlink: &mut Netlink, index: u32) -> Result<Vec<IpNet>, NetlinkError> {
    let found = netlink.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    Ok(found
        .iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message) if message.header.index == index => address_of(message),
            _ => None,
        })
        .collect())
}

/// The device's own address in a message: on a point-to-point link the other one is the far side's.
fn address_of(message: &AddressMessage) -> Option<IpNet> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let any = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    IpNet::new(local.or(any)?, message.header.prefix_len).ok()
}

fn address_message(index: u32, address: IpNet) -> AddressMessage {
    let family = match address {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    let mut message = AddressMessage::default();
    message.header = AddressHeader {
        family,
        prefix_len: address.prefix_len(),
        flags: AddressHeaderFlags::empty(),
        scope: AddressScope::Universe,
        index,
    };
    message.attributes.push(AddressAttribute::Local(address.addr()));
    message.attributes.push(AddressAttribute::Address(address.addr()));
    message
}

/// Gives an interface an address, at once usable, without a route of its prefix in the main table.
pub(super) fn add_address(netlink: &mut Netlink, index: u32, address: IpNet) -> Result<(), NetlinkError> {
    let mut message = address_message(index, address);
    let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute | AddressFlags::Permanent;
    message.attributes.push(AddressAttribute::Flags(flags));
    netlink.change_one(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Takes an address from an interface; harmless where it is gone.
pub(super) fn remove_address(netlink: &mut Netlink, index: u32, address: IpNet) -> Result<(), NetlinkError> {
    match netlink.change_one(RouteNetlinkMessage::DelAddress(address_message(index, address)), 0) {
        Err(error) if matches!(error.errno(), Some(Errno::ADDRNOTAVAIL | Errno::NODEV)) => Ok(()),
        result => result,
    }
}

/// The family of an address, as netlink numbers it.
pub(super) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
