//! Tells of changes that may have touched the DNS settings. One thread sleeps until the system wakes it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
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
    .union(WatchFlags::MOVED_FROM)
    // The bus opens its socket to others once it listens.
    .union(WatchFlags::ATTRIB);
/// What happens to a folder when another one comes to stand in it.
const ARRIVALS: WatchFlags = WatchFlags::CREATE.union(WatchFlags::MOVED_TO);

/// The programs that keep DNS settings come and go, and change them.
const RULES: [&str; 5] = [
    resolved::COMES_AND_GOES,
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
    /// What of a folder matters, by the number of its watch.
    folders: BTreeMap<i32, Matter>,
    bus: Option<Bus>,
}

/// What of a folder matters.
#[derive(Debug)]
enum Matter {
    /// Everything in it.
    All,
    /// That these come to stand in it, on the way to a folder that is not there yet.
    Arrival(Vec<OsString>),
}

/// Calls `tell` after each change of a file, of what it is a link to, and of the programs that keep DNS settings.
pub(in crate::linux) fn start(
    path: PathBuf,
    tell: Box<dyn Fn() + Send + Sync>,
) -> Result<Watch, PlatformError> {
    let refused = |error: io::Error| PlatformError::system("watching the DNS settings", error);
    let files = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
    let files = files.map_err(|error| refused(error.into()))?;
    let mut sources = Sources { path, files, folders: BTreeMap::new(), bus: None };
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
        let folders = files.into_iter().flatten().filter_map(Path::parent).map(Path::to_owned);
        for folder in folders.chain([PathBuf::from(bus::FOLDER)]).collect::<Vec<_>>() {
            self.watch_folder(&folder);
        }
        // A file that is a mount of its own is written from another folder than this.
        if let Ok(watch) = inotify::add_watch(&self.files, &self.path, WatchFlags::CLOSE_WRITE) {
            self.folders.insert(watch, Matter::All);
        }
        if self.bus.is_none() {
            self.bus = subscribe();
        }
    }

    /// Watches a folder, or the nearest one on its way that is there. What is watched already stays so.
    fn watch_folder(&mut self, folder: &Path) {
        if let Ok(watch) = inotify::add_watch(&self.files, folder, CHANGES | WatchFlags::MASK_ADD) {
            self.folders.insert(watch, Matter::All);
            return;
        }
        for (parent, child) in folder.ancestors().filter_map(|path| Some((path.parent()?, path.file_name()?)))
        {
            let Ok(watch) = inotify::add_watch(&self.files, parent, ARRIVALS | WatchFlags::MASK_ADD) else {
                continue;
            };
            match self.folders.entry(watch).or_insert_with(|| Matter::Arrival(Vec::new())) {
                Matter::All => {}
                Matter::Arrival(names) if names.iter().any(|name| name == child) => {}
                Matter::Arrival(names) => names.push(child.to_owned()),
            }
            // It may have come in between, and was not told of then.
            if !parent.join(child).exists() {
                return;
            }
            self.watch_folder(folder);
            return;
        }
    }

    /// Reads what happened to files. Says whether any of it matters.
    fn drain_files(&mut self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.files, &mut buffer);
        let mut matters = false;
        while let Ok(event) = reader.next() {
            if event.events().contains(inotify::ReadFlags::IGNORED) {
                self.folders.remove(&event.wd());
            }
            matters |= match self.folders.get(&event.wd()) {
                Some(Matter::Arrival(names)) => {
                    let arrived = event.file_name().map(|name| name.to_bytes());
                    names.iter().any(|name| Some(name.as_bytes()) == arrived)
                }
                // Of a folder that is gone, or of none: more has happened than could be told.
                Some(Matter::All) | None => true,
            };
        }
        matters
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
            let is_told = waiting.get(2).is_some_and(|bus| !bus.revents().is_empty());
            drop(waiting);
            let matters = self.drain_files();
            if self.bus.as_ref().is_some_and(|bus| !bus.drain()) {
                self.bus = None;
            }
            if matters || is_told {
                self.renew();
                return true;
            }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_is_waited_for_where_it_would_stand_and_nothing_else_there_matters() {
        let base = std::env::temp_dir().join(format!("weft-watch-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        let (outer, folder) = (base.join("run"), base.join("run/dbus/deep"));
        fs::create_dir_all(&outer).unwrap();
        let files = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        let mut sources = Sources { path: outer.join("x"), files, folders: BTreeMap::new(), bus: None };
        let look = |sources: &mut Sources| {
            let matters = sources.drain_files();
            sources.watch_folder(&folder);
            matters
        };
        assert!(!look(&mut sources));
        fs::write(outer.join("other"), "").unwrap();
        fs::create_dir(outer.join("dbus-1")).unwrap();
        assert!(!look(&mut sources));
        fs::create_dir(outer.join("dbus")).unwrap();
        assert!(look(&mut sources));
        fs::write(outer.join("dbus/other"), "").unwrap();
        assert!(!look(&mut sources));
        fs::create_dir(&folder).unwrap();
        assert!(look(&mut sources));
        assert!(!look(&mut sources));
        fs::write(folder.join("socket"), "").unwrap();
        assert!(look(&mut sources));
        // It goes and comes again.
        fs::remove_dir_all(outer.join("dbus")).unwrap();
        assert!(look(&mut sources));
        look(&mut sources);
        fs::create_dir_all(&folder).unwrap();
        assert!(look(&mut sources));
        fs::write(folder.join("socket"), "").unwrap();
        assert!(look(&mut sources));
        fs::remove_dir_all(&base).unwrap();
    }
}
