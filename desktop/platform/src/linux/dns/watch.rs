//! Tells of changes that may have touched the DNS settings. One thread sleeps until the system wakes it.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::error::PlatformError;
use crate::seam::Watch;

/// What happens to a folder when a file in it is made, replaced, written or removed.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM);

/// Calls `tell` after each change of a file, or of what it is a link to.
pub(in crate::linux) fn file(
    path: PathBuf,
    tell: Box<dyn Fn() + Send + Sync>,
) -> Result<Watch, PlatformError> {
    let refused = |error: io::Error| PlatformError::system("watching the DNS settings", error);
    let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
    let changes = changes.map_err(|error| refused(error.into()))?;
    add(&changes, &path);
    let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
    let stop = Arc::new(stop.map_err(|error| refused(error.into()))?);
    let stopped = Arc::clone(&stop);
    let work = move || {
        while wait(&changes, &stop) {
            drain(&changes);
            // A link may lead elsewhere by now.
            add(&changes, &path);
            tell();
        }
    };
    let thread = thread::Builder::new().name("weft-dns-watch".to_owned()).spawn(work).map_err(refused)?;
    Ok(Watch::new(move || {
        let _ = rustix::io::write(&stopped, &1u64.to_ne_bytes());
        // A callback that ends its own watch is the last one without being waited for.
        if thread.thread().id() != thread::current().id() {
            let _ = thread.join();
        }
    }))
}

/// Watches the folders that a file and what it links to stand in. What is watched already stays so.
fn add(changes: &OwnedFd, path: &Path) {
    let behind = std::fs::canonicalize(path).ok();
    for folder in [Some(path), behind.as_deref()].into_iter().flatten().filter_map(Path::parent) {
        let _ = inotify::add_watch(changes, folder, CHANGES);
    }
    // A file that is a mount of its own is written from another folder than this.
    let _ = inotify::add_watch(changes, path, WatchFlags::CLOSE_WRITE);
}

/// Waits for changes; false = to be stopped.
fn wait(changes: &OwnedFd, stop: &OwnedFd) -> bool {
    loop {
        let mut descriptors =
            [PollFd::new(stop, PollFlags::IN), PollFd::from_borrowed_fd(changes.as_fd(), PollFlags::IN)];
        match poll(&mut descriptors, None) {
            Err(Errno::INTR) => {}
            Err(error) => {
                tracing::error!("the DNS settings cannot be watched any more: {error}");
                return false;
            }
            Ok(_) => {
                let [stop, _] = descriptors.map(|descriptor| !descriptor.revents().is_empty());
                return !stop;
            }
        }
    }
}

/// Reads what there is. What it says matters not.
fn drain(changes: &OwnedFd) {
    let mut buffer = [0; 4096];
    while matches!(rustix::io::read(changes, &mut buffer), Ok(read) if read > 0) {}
}
