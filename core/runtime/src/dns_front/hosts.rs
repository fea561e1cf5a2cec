//! The system's hosts file, read again when it has changed.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use weft_dns::HostsFile;

/// How long a look at the file holds.
const FRESH: Duration = Duration::from_secs(1);
/// The most bytes that are read; lists of blocked names are far shorter.
const MAX_BYTES: u64 = 16 << 20;

/// Looks whether the file has changed, at most once in [`FRESH`] and only when somebody asks: an idle device reads
/// nothing.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    path: Option<PathBuf>,
    looked: Option<Instant>,
    /// What the file was when it was read last; none where there was no file.
    seen: Option<Stamp>,
}

/// What tells one content of a file from another.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Hosts {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self { path, looked: None, seen: None }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What the file holds now, where that is another content than at the last look.
    pub(super) fn look(&mut self, now: Instant) -> Option<HostsFile> {
        let path = self.path.as_ref()?;
        if self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < FRESH) {
            return None;
        }
        self.looked = Some(now);
        let read = match std::fs::metadata(path) {
            Ok(metadata) if Some(Stamp::of(&metadata)) == self.seen => return None,
            Ok(_) => read(path),
            Err(error) => Err(error),
        };
        match read {
            Ok((stamp, hosts)) => {
                if hosts.left_out() > 0 {
                    tracing::warn!(
                        "the hosts file is too long: its last {} names are not known",
                        hosts.left_out()
                    );
                }
                self.seen = Some(stamp);
                Some(hosts)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.seen.take().map(|_| HostsFile::default())
            }
            Err(error) => {
                // What it held last goes on counting.
                tracing::debug!("the hosts file cannot be read: {error}");
                None
            }
        }
    }
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn read(path: &Path) -> io::Result<(Stamp, HostsFile)> {
    let file = File::open(path)?;
    // Taken before the content is: what is written meanwhile is seen at the next look.
    let stamp = Stamp::of(&file.metadata()?);
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok((stamp, HostsFile::parse(&String::from_utf8_lossy(&bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> Option<HostsFile> {
        Some(HostsFile::parse(text))
    }

    #[test]
    fn a_change_is_seen_at_the_next_look_and_a_look_holds_for_a_second() {
        let folder = std::env::temp_dir().join(format!("weft-hosts-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("hosts");
        let one = "192.0.2.1 one.example\n";
        std::fs::write(&path, one).unwrap();
        let mut hosts = Hosts::new(Some(path.clone()));
        let start = Instant::now();
        assert_eq!(hosts.look(start), holds(one));
        assert_eq!(hosts.look(start + FRESH), None, "nothing has changed");
        // Replaced by another file of the same length, as editors do.
        let two = "192.0.2.2 two.example\n";
        std::fs::write(folder.join("new"), two).unwrap();
        std::fs::rename(folder.join("new"), &path).unwrap();
        let soon = start + FRESH + FRESH / 2;
        assert_eq!(hosts.look(soon), None, "the last look holds");
        assert_eq!(hosts.look(start + 2 * FRESH), holds(two));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(hosts.look(start + 3 * FRESH), Some(HostsFile::default()));
        assert_eq!(hosts.look(start + 4 * FRESH), None, "it is gone still");
        std::fs::create_dir(&path).unwrap();
        assert_eq!(hosts.look(start + 5 * FRESH), None, "a folder holds no names");
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, one).unwrap();
        assert_eq!(hosts.look(start + 6 * FRESH), holds(one));
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!(Hosts::default().look(start), None);
    }
}
