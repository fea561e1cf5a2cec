//! The socket options of Apple's utun (net/if_utun.h, sys/sys_domain.h).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const SYSPROTO_CONTROL: libc::c_int = 2;
const UTUN_OPT_IFNAME: libc::c_int = 2;

/// Whether `fd` is a utun device: nothing else says the name of its interface.
pub(super) fn check(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut name = [0u8; libc::IFNAMSIZ];
    let mut len = libc::IFNAMSIZ as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel writes at most `len` bytes to `name`, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            SYSPROTO_CONTROL,
            UTUN_OPT_IFNAME,
            name.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
