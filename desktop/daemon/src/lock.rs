//! One daemon at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::fatal::Fatal;

/// Held as long as the daemon lives; the kernel lets go of it with the process.
#[derive(Debug)]
pub(crate) struct InstanceLock(
    #[expect(dead_code, reason = "the lock lives as long as the descriptor")] File,
);

impl InstanceLock {
    /// Takes the lock of a run folder, which it makes where it is missing.
    ///
    /// # Errors
    /// Another daemon has it.
    pub(crate) fn take(run_dir: &Path) -> Result<Self, Fatal> {
        let folder = DirBuilder::new().recursive(true).mode(0o755).create(run_dir);
        folder.with_context(|| format!("the folder {} cannot be made", run_dir.display()))?;
        let path = run_dir.join("weftd.lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.with_context(|| format!("{} cannot be opened", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(Errno::WOULDBLOCK) => Err(Fatal::Running(path.display().to_string())),
            Err(error) => {
                Err(anyhow::Error::new(error).context(format!("locking {}", path.display())).into())
            }
        }
    }
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
