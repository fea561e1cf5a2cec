//! Takes over the descriptor of a tunnel interface that the app hands in as a number.

use std::os::fd::{FromRawFd, OwnedFd};

use crate::errors::WeftError;

/// Owns the descriptor `fd`. A number that is no open descriptor is refused and never closed: somebody else's may get
/// it at any moment.
///
/// # Errors
/// [`WeftError::BadDescriptor`] where it is no open descriptor.
pub(crate) fn own(fd: i32) -> Result<OwnedFd, WeftError> {
    let refused = |why: String| WeftError::BadDescriptor { detail: why };
    if fd < 0 {
        return Err(refused(format!("{fd} is negative")));
    }
    // SAFETY: fcntl looks the number up and changes nothing, whatever it is.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(refused(format!("{fd} is not open")));
    }
    // SAFETY: it is open, and the app has given it up (`detachFd`): from here on nobody else closes it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
