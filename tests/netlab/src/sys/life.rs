//! Tying this process's life to the pipe that the outer process holds.

use std::fs::File;
use std::io::{Error, Read};
use std::os::fd::{FromRawFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};

/// Ends this process at once when the other end of the pipe `descriptor` is closed, which the kernel does
/// however the process that holds it ends. This process is the first of its PID namespace, so everything
/// else in there ends with it.
///
/// # Errors
///
/// When `descriptor` is not open, or the watching thread cannot be started.
pub(crate) fn end_when_closed(descriptor: RawFd) -> Result<(), Error> {
    // SAFETY: the number comes from the process that started this one, which left this descriptor open for
    // us alone; nothing else in this process knows it. A closed one is refused by the next call.
    let mut pipe = unsafe { File::from_raw_fd(descriptor) };
    fcntl_setfd(&pipe, FdFlags::CLOEXEC)?;
    std::thread::Builder::new().name("lifeline".into()).spawn(move || {
        let mut byte = [0];
        while pipe.read(&mut byte).is_ok_and(|length| length > 0) {}
        // SAFETY: _exit has no precondition; it is used since exit handlers could hang in a process whose
        // other threads are in the middle of something.
        unsafe { libc::_exit(101) }
    })?;
    Ok(())
}
