//! Waiting for descriptors, and being woken.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Ends another thread's wait.
#[derive(Debug)]
pub struct Waker {
    here: UnixStream,
    there: UnixStream,
}

impl Waker {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no descriptor.
    pub fn new() -> io::Result<Self> {
        let (here, there) = UnixStream::pair()?;
        here.set_nonblocking(true)?;
        there.set_nonblocking(true)?;
        Ok(Self { here, there })
    }

    /// Ends the wait that is, or else the next.
    pub fn wake(&self) {
        // Full means that a wake-up waits to be seen already.
        let _ = (&self.here).write(&[1]);
    }

    /// Forgets the wake-ups that were.
    pub fn clear(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.there).read(&mut bytes), Ok(count) if count == bytes.len()) {}
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.there.as_fd()
    }
}

/// Waits until one of `fds` is ready, for `limit` at most, or for ever without one. False where the time is over.
///
/// # Errors
/// The system's, but not an interruption: then the wait is over as if something were ready.
pub fn wait(fds: &mut [PollFd<'_>], limit: Option<Duration>) -> io::Result<bool> {
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    match poll(fds, limit.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Whether there is something to do on a descriptor that was waited for; also where only an error is to be had.
#[must_use]
pub fn is_ready(fd: &PollFd<'_>) -> bool {
    fd.revents().intersects(PollFlags::IN | PollFlags::OUT | PollFlags::ERR | PollFlags::HUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_is_seen_until_it_is_cleared() {
        let waker = Waker::new().unwrap();
        let ready = || {
            let mut fds = [PollFd::new(&waker, PollFlags::IN)];
            wait(&mut fds, Some(Duration::ZERO)).unwrap() && is_ready(&fds[0])
        };
        assert!(!ready());
        for _ in 0..10_000 {
            waker.wake();
        }
        assert!(ready() && ready());
        waker.clear();
        assert!(!ready());
    }
}
