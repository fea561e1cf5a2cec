//! One daemon at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::fatal::Fatal;

/// Held as long as the daemon lives; the kernel lets go of it with the process.
#[derive(Debug)]
pub(crate) struct InstanceLock(
    #[expect(dead_code, reason = "the lock lives as long as the descriptor")] Option<File>,
);

/// How the lock's file can be had.
enum Opened {
    Found(File),
    /// There is none, and none can be made.
    Unmakeable(anyhow::Error),
}

impl InstanceLock {
    /// Takes the lock of a run folder, which it makes where it is missing.
    ///
    /// # Errors
    /// Another daemon has it, or it cannot be made.
    pub(crate) fn take(run_dir: &Path) -> Result<Self, Fatal> {
        match open(run_dir)? {
            Opened::Found(file) => Self::hold(file, &path(run_dir)),
            Opened::Unmakeable(error) => Err(error.into()),
        }
    }

    /// The same to undo what a daemon left: without a lock where none can be made, since a daemon could not run without
    /// one either.
    ///
    /// # Errors
    /// Another daemon has it, or it cannot be opened.
    pub(crate) fn take_to_undo(run_dir: &Path) -> Result<Self, Fatal> {
        match open(run_dir)? {
            Opened::Found(file) => Self::hold(file, &path(run_dir)),
            Opened::Unmakeable(_) => Ok(Self(None)),
        }
    }

    fn hold(file: File, path: &Path) -> Result<Self, Fatal> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(Some(file))),
            Err(Errno::WOULDBLOCK) => Err(Fatal::Running(path.display().to_string())),
            Err(error) => {
                Err(anyhow::Error::new(error).context(format!("locking {}", path.display())).into())
            }
        }
    }
}

fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("weftd.lock")
}

fn open(run_dir: &Path) -> Result<Opened, Fatal> {
    let path = path(run_dir);
    // On a file system that is read-only, the file of an earlier daemon can be locked all the same.
    let found = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path);
    match found {
        Ok(file) => return Ok(Opened::Found(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(anyhow::Error::new(error)
                .context(format!("{} cannot be opened", path.display()))
                .into());
        }
    }
    let folder = DirBuilder::new().recursive(true).mode(0o755).create(run_dir);
    let made =
        folder.with_context(|| format!("the folder {} cannot be made", run_dir.display())).and_then(|()| {
            let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
            options.with_context(|| format!("{} cannot be made", path.display()))
        });
    match made {
        Ok(file) => Ok(Opened::Found(file)),
        Err(error) if has_no_room(&error) => Ok(Opened::Unmakeable(error)),
        Err(error) => Err(error.into()),
    }
}

/// Whether nothing can be made there, by anybody.
fn has_no_room(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::StorageFull))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_daemon_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = folder.path().join("run/weft");
        let held = InstanceLock::take(&run_dir).unwrap();
        let refused = InstanceLock::take(&run_dir).unwrap_err();
        assert_eq!(refused.code(), 4);
        assert!(refused.to_string().contains("weftd.lock"), "{refused}");
        drop(held);
        InstanceLock::take(&run_dir).unwrap();
    }
}
