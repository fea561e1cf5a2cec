//! A TUN device for tests.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

/// Makes a TUN device in the namespace of the calling thread, and gives its descriptor up as an app does.
pub(crate) fn tun(name: &str) -> io::Result<RawFd> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: an ifreq is plain data, for which zeroes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one ifreq, which outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(file.into_raw_fd()) }
}

/// Closes a descriptor as an app does that did not give it up.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: the test owns it and uses it no more.
    unsafe { libc::close(fd) };
}
