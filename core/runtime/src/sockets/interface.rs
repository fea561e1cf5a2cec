//! The number of an interface, on systems whose own call alone tells it.

use std::ffi::CString;
use std::io;
use std::num::NonZeroU32;

/// # Errors
/// There is no interface of that name.
pub(super) fn index_of(name: &str) -> io::Result<NonZeroU32> {
    let name = CString::new(name)?;
    // SAFETY: `name` ends with a null byte and lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    NonZeroU32::new(index).ok_or_else(io::Error::last_os_error)
}
