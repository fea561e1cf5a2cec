//! The link that systemd-resolved leads names by: the tunnel interface, or where nothing is tunnelled one that is
//! there for that alone.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use ipnet::{IpNet, Ipv4Net};
use weft_model::INTERFACE_NAME;

use crate::error::PlatformError;
use crate::linux::link;
use crate::linux::netlink::{Netlink, NetlinkError};
use crate::linux::{sys, tun};

/// The name of the link that is there for systemd-resolved alone.
pub(super) const NAME: &str = "weft-dns";
/// Its address: resolved heeds no link without one. The dummy address of hosts without one (RFC 7600) is nobody's.
const ADDRESS: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 8), 32));

/// The link that is there for systemd-resolved alone: no route leads to it, nobody reads from it, and the descriptor
/// gives it its carrier. It goes with the descriptor, so also with the process.
pub(super) struct ProxyLink {
    _device: OwnedFd,
}

fn refused(error: NetlinkError) -> PlatformError {
    PlatformError::system("making the link of the DNS settings", error)
}

impl ProxyLink {
    /// Makes it.
    pub(super) fn make() -> Result<Self, PlatformError> {
        let device = tun::open_device()?;
        sys::make_tun(&device, NAME)
            .map_err(|error| PlatformError::system("making the link of the DNS settings", error))?;
        let mut netlink = Netlink::route().map_err(refused)?;
        let made = link::find(&mut netlink, NAME).map_err(refused)?;
        let made = made.ok_or_else(|| PlatformError::InterfaceMissing { name: NAME.to_owned() })?;
        if link::has_ipv6(NAME) {
            link::without_link_local(&mut netlink, made.index).map_err(refused)?;
        }
        link::set_up(&mut netlink, made.index).map_err(refused)?;
        link::add_address(&mut netlink, made.index, ADDRESS).map_err(refused)?;
        Ok(Self { _device: device })
    }
}

/// The tunnel interface, where it is there.
pub(super) fn tunnel() -> Result<Option<(&'static str, u32)>, PlatformError> {
    find(INTERFACE_NAME)
}

/// The link in use, whichever process made it: the tunnel interface, else the one that stands in for it.
pub(super) fn current() -> Result<Option<(&'static str, u32)>, PlatformError> {
    Ok(match tunnel()? {
        Some(found) => Some(found),
        None => find(NAME)?,
    })
}

fn find(name: &'static str) -> Result<Option<(&'static str, u32)>, PlatformError> {
    let refused = |error| PlatformError::system("looking for the link of the DNS settings", error);
    let mut netlink = Netlink::route().map_err(refused)?;
    let found = link::find(&mut netlink, name).map_err(refused)?;
    Ok(found.map(|interface| (name, interface.index)))
}
