//! System calls that no library wraps.

use std::ffi::{c_int, c_short};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::thread::{CapabilitySet, capabilities};

use super::HostError;

/// Whether the process may manage its network.
pub(super) fn may_manage_network() -> bool {
    capabilities(None).is_ok_and(|held| held.effective.contains(CapabilitySet::NET_ADMIN))
}

/// Makes a TUN device with virtio headers. The interface goes when the descriptor does.
pub(super) fn make_tun(name: &str) -> Result<OwnedFd, HostError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .map_err(HostError::NoTun)?;
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from(io::ErrorKind::InvalidInput).into());
    }
    // SAFETY: an ifreq is plain data, for which zeroes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let flags: c_int = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_TUN_EXCL;
    request.ifr_ifru.ifru_flags = flags as c_short;
    // SAFETY: the descriptor is open during the call, and TUNSETIFF reads and writes one ifreq.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    if result == 0 {
        return Ok(file.into());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => Err(HostError::InterfaceTaken(name.to_owned())),
        Some(libc::EPERM) => Err(HostError::NotPrivileged),
        _ => Err(error.into()),
    }
}
