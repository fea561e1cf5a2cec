//! The tunnel interface: a TUN device.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;

use ipnet::IpNet;
use rustix::io::Errno;
use weft_model::{INTERFACE_NAME, InterfacePlan};

use super::link::{self, Interface};
use super::netlink::{Netlink, NetlinkError};
use super::{port, sys};
use crate::error::PlatformError;
use crate::seam::{TunDevices, TunOptions};

const DEVICE: &str = "/dev/net/tun";

/// Makes the tunnel interface on Linux.
#[derive(Debug, Default)]
pub(super) struct LinuxTun {
    options: TunOptions,
    /// The index of the interface that this value made.
    made: Option<u32>,
}

fn refused(step: &'static str) -> impl Fn(NetlinkError) -> PlatformError {
    move |error| match error.errno() {
        Some(Errno::PERM) => PlatformError::NotPrivileged,
        _ => PlatformError::system(step, error),
    }
}

impl LinuxTun {
    /// With options beyond what plans say.
    pub(super) fn new(options: TunOptions) -> Self {
        Self { options, made: None }
    }

    /// The interface that this value made, where it is still there.
    fn own(&self, netlink: &mut Netlink) -> Result<Option<Interface>, PlatformError> {
        let found =
            link::find(netlink, INTERFACE_NAME).map_err(refused("looking for the tunnel interface"))?;
        match found {
            Some(interface) if Some(interface.index) == self.made => Ok(Some(interface)),
            Some(interface) => Err(held(&interface)),
            None => Ok(None),
        }
    }

    fn make(netlink: &mut Netlink) -> Result<(OwnedFd, Interface), PlatformError> {
        let device = open_device()?;
        if let Err(error) = sys::make_tun(&device, INTERFACE_NAME) {
            return Err(match Errno::from_io_error(&error) {
                Some(Errno::PERM) => PlatformError::NotPrivileged,
                _ => PlatformError::system("making the tunnel interface", error),
            });
        }
        let made =
            link::find(netlink, INTERFACE_NAME).map_err(refused("looking for the tunnel interface"))?;
        let made = made.ok_or_else(|| PlatformError::InterfaceMissing { name: INTERFACE_NAME.to_owned() })?;
        Ok((device, made))
    }

    /// Brings the interface to the plan by changing only what differs.
    fn configure(
        &self,
        netlink: &mut Netlink,
        interface: &Interface,
        plan: &InterfacePlan,
    ) -> Result<(), PlatformError> {
        let index = interface.index;
        if interface.mtu != u32::from(plan.mtu) {
            link::set_mtu(netlink, index, plan.mtu.into()).map_err(refused("setting the tunnel's MTU"))?;
        }
        if let Some(size) = self.options.gso_max_size.filter(|size| interface.gso_max_size != Some(*size)) {
            link::set_gso_max_size(netlink, index, size)
                .map_err(refused("setting the tunnel's longest run of segments"))?;
        }
        let ipv6 = link::has_ipv6(INTERFACE_NAME);
        if !interface.up {
            if ipv6 {
                link::without_link_local(netlink, index)
                    .map_err(refused("keeping the tunnel without a link-local address"))?;
            }
            link::set_up(netlink, index).map_err(refused("bringing the tunnel up"))?;
        }
        let wanted: Vec<IpNet> =
            plan.addresses.iter().copied().filter(|net| ipv6 || net.addr().is_ipv4()).collect();
        if wanted.len() < plan.addresses.len() {
            tracing::info!("{INTERFACE_NAME} gets no IPv6 address: IPv6 is off there");
        }
        let present = link::addresses(netlink, index).map_err(refused("reading the tunnel's addresses"))?;
        for address in wanted.iter().filter(|address| !present.contains(address)) {
            match link::add_address(netlink, index, *address) {
                Err(error) if error.errno() != Some(Errno::EXIST) => {
                    return Err(refused("giving the tunnel its address")(error));
                }
                _ => {}
            }
        }
        for address in present.iter().filter(|address| !wanted.contains(address)) {
            link::remove_address(netlink, index, *address)
                .map_err(refused("taking an address from the tunnel"))?;
        }
        Ok(())
    }
}

fn held(interface: &Interface) -> PlatformError {
    let holder = match (port::who_holds_tun(&interface.name), &interface.kind) {
        (Some((name, pid)), _) => format!("{name} (process {pid})"),
        (None, Some(kind)) => format!("another program (its kind is {kind})"),
        (None, None) => "another program".to_owned(),
    };
    PlatformError::InterfaceHeld { name: interface.name.clone(), holder }
}

pub(super) fn open_device() -> Result<OwnedFd, PlatformError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(DEVICE)
        .map(OwnedFd::from)
        .map_err(PlatformError::NoTun)
}

impl TunDevices for LinuxTun {
    fn ensure(&mut self, plan: &InterfacePlan) -> Result<Option<OwnedFd>, PlatformError> {
        let mut netlink = Netlink::route().map_err(refused("asking for interfaces"))?;
        if let Some(interface) = self.own(&mut netlink)? {
            self.configure(&mut netlink, &interface, plan)?;
            return Ok(None);
        }
        let (device, interface) = Self::make(&mut netlink)?;
        self.configure(&mut netlink, &interface, plan)?;
        self.made = Some(interface.index);
        Ok(Some(device))
    }

    fn remove(&mut self) -> Result<(), PlatformError> {
        let Some(index) = self.made.take() else { return Ok(()) };
        let mut netlink = Netlink::route().map_err(refused("asking for interfaces"))?;
        // An index may be another interface's by now.
        let found =
            link::find(&mut netlink, INTERFACE_NAME).map_err(refused("looking for the tunnel interface"))?;
        match found {
            Some(interface) if interface.index == index => {
                link::remove(&mut netlink, index).map_err(refused("removing the tunnel interface"))
            }
            _ => Ok(()),
        }
    }

    fn preflight(&self) -> Result<(), PlatformError> {
        drop(open_device()?);
        let mut netlink = Netlink::route().map_err(refused("asking for interfaces"))?;
        self.own(&mut netlink).map(drop)
    }
}
