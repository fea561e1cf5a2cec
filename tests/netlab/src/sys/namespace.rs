//! Making network and mount namespaces, and putting threads and children into them.

use std::fs::File;
use std::io::Error;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// A network and a mount namespace, alive as long as this value or a process inside is.
#[derive(Debug)]
pub(crate) struct Namespaces {
    net: File,
    mount: File,
}

impl Namespaces {
    /// A path by which any program in the lab can open the network namespace while this value lives.
    pub(crate) fn net_path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.net.as_raw_fd())
    }
}

/// Makes new namespaces; `prepare` runs inside them before anything else does.
pub(crate) fn create<E>(prepare: impl FnOnce() -> Result<(), E> + Send) -> Result<Namespaces, E>
where
    E: From<Error> + Send,
{
    let make = || {
        // SAFETY: the flags do not include FILES, so all threads go on sharing one descriptor table.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }.map_err(Error::from)?;
        prepare()?;
        Ok(Namespaces {
            net: File::open("/proc/thread-self/ns/net")?,
            mount: File::open("/proc/thread-self/ns/mnt")?,
        })
    };
    on_own_thread(make)
}

/// Runs `work` on a thread of its own inside the namespaces and returns what it returned. Sockets opened
/// there belong to the namespace for good.
pub(crate) fn inside<R: Send>(namespaces: &Namespaces, work: impl FnOnce() -> R + Send) -> Result<R, Error> {
    on_own_thread(|| {
        // SAFETY: the flags do not include FILES. A thread that shares its working directory with others
        // may not change its mount namespace, hence FS.
        unsafe { unshare_unsafe(UnshareFlags::FS) }.map_err(Error::from)?;
        join(namespaces)?;
        Ok(work())
    })
}

/// Makes `command` start inside the namespaces, in the directory it would have started in outside.
pub(crate) fn start_inside(command: &mut Command, namespaces: Arc<Namespaces>) {
    let enter = move || {
        let mut directory: [libc::c_char; 4096] = [0; 4096];
        // SAFETY: the buffer is as long as we say, and lives on this stack.
        let known = unsafe { !libc::getcwd(directory.as_mut_ptr(), directory.len()).is_null() };
        join(&namespaces)?;
        if known {
            // SAFETY: getcwd has filled the buffer with a string that ends in a zero byte. A directory that
            // the host does not have leaves the child in the root, which is where setns put it.
            unsafe { libc::chdir(directory.as_ptr()) };
        }
        Ok(())
    };
    // SAFETY: between fork and exec this makes system calls only: it neither allocates nor locks.
    unsafe { command.pre_exec(enter) };
}

fn join(namespaces: &Namespaces) -> Result<(), Error> {
    move_into_link_name_space(namespaces.net.as_fd(), Some(LinkNameSpaceType::Network))?;
    move_into_link_name_space(namespaces.mount.as_fd(), Some(LinkNameSpaceType::Mount))?;
    Ok(())
}

fn on_own_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
