//! What the libraries offer no safe call for.

use std::ffi::{c_int, c_short};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The longest interface name, in bytes, without its end mark.
pub(super) const NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// Makes a TUN device of this name behind an open /dev/net/tun: IP packets, each behind a virtio-net header, one queue.
/// `EBUSY` where there is an interface of the name.
pub(super) fn make_tun(device: impl AsFd, name: &str) -> io::Result<()> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: ifreq is plain old data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_TUN_EXCL;
    request.ifr_ifru.ifru_flags = flags as c_short;
    // SAFETY: the descriptor is open for the length of the call, and TUNSETIFF reads and writes one ifreq.
    let result = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets a socket send messages of up to about `bytes` at once: past the system's limit (`net.core.wmem_max`) where the
/// process may, which needs CAP_NET_ADMIN in the first user namespace, else up to it.
pub(super) fn raise_send_buffer(socket: &impl AsRawFd, bytes: usize) -> io::Result<()> {
    let bytes = c_int::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    let set = |option| {
        // SAFETY: the option's value is an int, which lives for the length of the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const bytes).cast(),
                size_of::<c_int>() as libc::socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    set(libc::SO_SNDBUFFORCE).or_else(|_| set(libc::SO_SNDBUF))
}
