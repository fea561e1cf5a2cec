//! Tells of changes that may have touched the DNS settings. One thread sleeps until the system wakes it.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use super::bus::{self, Bus};
use super::resolved;
use crate::error::PlatformError;
use crate::seam::Watch;

/// What happens to a folder when a file in it is made, replaced, written or removed.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM);

/// The programs that keep DNS settings come and go, and change them.
const RULES: [&str; 5] = [
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.resolve1'",
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.NetworkManager'",
    "type='signal',sender='org.freedesktop.resolve1',member='PropertiesChanged',arg0='org.freedesktop.resolve1.Manager'",
    "type='signal',sender='org.freedesktop.NetworkManager',member='PropertiesChanged',\
     arg0='org.freedesktop.NetworkManager.DnsManager'",
    "type='signal',sender='org.freedesktop.NetworkManager',member='PropertiesChanged',\
     arg0='org.freedesktop.NetworkManager'",
];

/// What the thread waits for.
struct Sources {
    path: PathBuf,
    files: OwnedFd,
    bus: Option<Bus>,
}

/// Calls `tell` after each change of a file, of what it is a link to, and of the programs that keep DNS settings.
pub(in crate::linux) fn start(
    path: PathBuf,
    tell: Box<dyn Fn() + Send + Sync>,
) -> Result<Watch, PlatformError> {
    let refused = |error: io::Error| PlatformError::system("watching the DNS settings", error);
    let files = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
    let files = files.map_err(|error| refused(error.into()))?;
    let mut sources = Sources { path, files, bus: None };
    sources.renew();
    let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
    let stop = Arc::new(stop.map_err(|error| refused(error.into()))?);
    let stopped = Arc::clone(&stop);
    let work = move || {
        while sources.wait(&stop) {
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

impl Sources {
    /// Watches what is there now: a link may lead elsewhere than before, and the message bus may have come.
    fn renew(&mut self) {
        let behind = std::fs::canonicalize(&self.path).ok();
        let files = [Some(self.path.as_path()), behind.as_deref(), Some(Path::new(resolved::DROP_IN))];
        let folders = files.into_iter().flatten().filter_map(Path::parent);
        // What is watched already stays so, and what is not there cannot be.
        for folder in folders.chain([Path::new(bus::FOLDER)]) {
            let _ = inotify::add_watch(&self.files, folder, CHANGES);
        }
        // A file that is a mount of its own is written from another folder than this.
        let _ = inotify::add_watch(&self.files, &self.path, WatchFlags::CLOSE_WRITE);
        if self.bus.is_none() {
            self.bus = subscribe();
        }
    }

    /// Waits for changes; false = to be stopped.
    fn wait(&mut self, stop: &OwnedFd) -> bool {
        loop {
            let mut waiting = vec![PollFd::new(stop, PollFlags::IN), PollFd::new(&self.files, PollFlags::IN)];
            waiting.extend(self.bus.as_ref().map(|bus| PollFd::from_borrowed_fd(bus.as_fd(), PollFlags::IN)));
            match poll(&mut waiting, None) {
                Err(Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!("the DNS settings cannot be watched any more: {error}");
                    return false;
                }
                Ok(_) => {}
            }
            if waiting.first().is_some_and(|stop| !stop.revents().is_empty()) {
                return false;
            }
            drop(waiting);
            drain(&self.files);
            if self.bus.as_ref().is_some_and(|bus| !bus.drain()) {
                self.bus = None;
            }
            self.renew();
            return true;
        }
    }
}

/// A connection that is told of what matters; none where there is no bus.
fn subscribe() -> Option<Bus> {
    let mut bus = Bus::system().ok()?;
    for rule in RULES {
        if let Err(error) = bus.subscribe(rule) {
            tracing::warn!("a part of the DNS settings is not watched: {error}");
        }
    }
    Some(bus)
}

/// Reads what there is. What it says matters not.
fn drain(files: &OwnedFd) {
    let mut buffer = [0; 4096];
    while matches!(rustix::io::read(files, &mut buffer), Ok(read) if read > 0) {}
}
