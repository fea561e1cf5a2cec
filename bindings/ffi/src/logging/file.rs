//! The log in files: one that grows, and the one before it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Bytes of one file.
const MOST: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct RollingFile {
    directory: PathBuf,
    file: File,
    length: u64,
}

impl RollingFile {
    pub(super) fn open(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let file = append(&directory)?;
        let length = file.metadata()?.len();
        Ok(Self { directory, file, length })
    }

    /// A disk that is full loses lines: there is nobody to tell.
    pub(super) fn write(&mut self, line: &str) {
        if self.length >= MOST && self.roll().is_err() {
            return;
        }
        if writeln!(self.file, "{line}").is_ok() {
            self.length += line.len() as u64 + 1;
        }
    }

    fn roll(&mut self) -> io::Result<()> {
        match fs::rename(self.directory.join("weft.log"), self.directory.join("weft.log.1")) {
            // The user or the system has tidied up.
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(&self.directory)?,
            renamed => renamed?,
        }
        self.file = append(&self.directory)?;
        self.length = 0;
        Ok(())
    }
}

fn append(directory: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(directory.join("weft.log"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_bounded_private_and_go_on_where_they_ended() {
        let folder = tempfile::tempdir().unwrap();
        let line = "x".repeat(1023);
        let mut file = RollingFile::open(folder.path().join("logs")).unwrap();
        file.write("first");
        drop(file);
        let mut file = RollingFile::open(folder.path().join("logs")).unwrap();
        for _ in 0..2500 {
            file.write(&line);
        }
        let read = |name: &str| fs::read_to_string(folder.path().join("logs").join(name)).unwrap();
        let (newest, former) = (read("weft.log"), read("weft.log.1"));
        for text in [&newest, &former] {
            assert!(text.len() as u64 <= MOST + 1024 && text.lines().all(|found| found == line));
        }
        assert_eq!(fs::read_dir(folder.path().join("logs")).unwrap().count(), 2);
        fs::remove_file(folder.path().join("logs/weft.log")).unwrap();
        for _ in 0..1100 {
            file.write(&line);
        }
        assert!(!read("weft.log").is_empty());
        fs::remove_dir_all(folder.path().join("logs")).unwrap();
        for _ in 0..1100 {
            file.write(&line);
        }
        assert!(!read("weft.log").is_empty());
        let mode = fs::metadata(folder.path().join("logs/weft.log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
