//! Socket options that no library sets.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Lets IPv6 datagrams be fragmented by the sender (RFC 3542, section 11.2; IPV6_DONTFRAG).
pub(super) fn allow_ipv6_fragments(fd: BorrowedFd<'_>) -> io::Result<()> {
    set(fd, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 0)
}

/// Leaves arrival times out of what the socket receives (SO_TIMESTAMPNS).
pub(super) fn leave_timestamps_out(fd: BorrowedFd<'_>) -> io::Result<()> {
    set(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 0)
}

fn set(fd: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    const LEN: libc::socklen_t = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel reads the LEN bytes of `value`, which outlives the call.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), LEN) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
