//! The ioctls of a TUN device (Linux, uapi/linux/if_tun.h).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The flags that the device was made with (TUNGETIFF), as `IFF_*`.
pub(super) fn flags(fd: BorrowedFd<'_>) -> io::Result<libc::c_short> {
    // SAFETY: an ifreq is plain data, for which zeroes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and TUNGETIFF writes one ifreq, which outlives the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: TUNGETIFF filled in the flags, and any bits are a value of theirs.
    Ok(unsafe { request.ifr_ifru.ifru_flags })
}

/// Asks the device to leave to us what `features` names, as `TUN_F_*` (TUNSETOFFLOAD).
pub(super) fn set_offload(fd: BorrowedFd<'_>, features: libc::c_uint) -> io::Result<()> {
    // SAFETY: the descriptor is open, and TUNSETOFFLOAD takes its argument by value.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(features)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
