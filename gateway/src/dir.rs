//! The state directory: where the gateway's files are, and files that only their owner may read.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use weft_model::PrivateKey;
use zeroize::Zeroizing;

/// Where the state is when nothing else is said.
pub const DEFAULT: &str = "/var/lib/weft-gateway";

/// A file of the gateway that cannot be used. One line: which and why.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The directory holds no gateway.
    #[error("{0}: no gateway here; run `weft-gateway init` first")]
    Missing(PathBuf),
    /// The directory holds a gateway already.
    #[error("{0} exists: this directory holds a gateway already, which `init` never overwrites")]
    Exists(PathBuf),
    /// Others may read the file.
    #[error("{0}: other users may read this file; run `chmod 600 {0}`")]
    Readable(PathBuf),
    /// The WireGuard key file is damaged.
    #[error("{0}: not a WireGuard private key (44 characters of base64)")]
    Key(PathBuf),
}

/// The state directory.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// The directory at `root`, there or not.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The configuration (TOML).
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// The store (SQLite).
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.root.join("gateway.db")
    }

    /// The tunnel's private key, in base64.
    #[must_use]
    pub fn wireguard_key(&self) -> PathBuf {
        self.root.join("wireguard.key")
    }

    /// The certificate authority's certificate (PEM).
    #[must_use]
    pub fn ca_certificate(&self) -> PathBuf {
        self.root.join("ca.pem")
    }

    /// The certificate authority's key (PEM, PKCS #8).
    #[must_use]
    pub fn ca_key(&self) -> PathBuf {
        self.root.join("ca.key")
    }

    /// The server's certificate (PEM).
    #[must_use]
    pub fn server_certificate(&self) -> PathBuf {
        self.root.join("server.pem")
    }

    /// The server's key (PEM, PKCS #8).
    #[must_use]
    pub fn server_key(&self) -> PathBuf {
        self.root.join("server.key")
    }

    /// The running server's control socket.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// The kernel settings as they were before the server changed them; there only while it runs, or after a crash.
    #[must_use]
    pub fn saved_settings(&self) -> PathBuf {
        self.root.join("sysctl.json")
    }

    /// The lock that a running server holds.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.root.join("run.lock")
    }

    /// Makes the directory where it is missing, mode 0700.
    ///
    /// # Errors
    /// [`DirError::Io`] where it cannot be made.
    pub fn create(&self) -> Result<(), DirError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .and_then(|()| set_mode(&self.root, 0o700))
            .map_err(|error| DirError::Io { path: self.root.clone(), error })
    }

    /// Checks that `init` has been here.
    ///
    /// # Errors
    /// [`DirError::Missing`] where it has not.
    pub fn require(&self) -> Result<(), DirError> {
        if self.config().exists() && self.database().exists() {
            Ok(())
        } else {
            Err(DirError::Missing(self.root.clone()))
        }
    }

    /// Checks that `init` has nothing to overwrite.
    ///
    /// # Errors
    /// [`DirError::Exists`] with the first file that is there.
    pub fn require_empty(&self) -> Result<(), DirError> {
        let files = [
            self.config(),
            self.database(),
            self.wireguard_key(),
            self.ca_certificate(),
            self.ca_key(),
            self.server_certificate(),
            self.server_key(),
        ];
        match files.into_iter().find(|path| path.symlink_metadata().is_ok()) {
            Some(path) => Err(DirError::Exists(path)),
            None => Ok(()),
        }
    }

    /// Reads the tunnel's private key.
    ///
    /// # Errors
    /// [`DirError`] where the file cannot be read, may be read by others, or holds no key.
    pub fn read_wireguard_key(&self) -> Result<PrivateKey, DirError> {
        let path = self.wireguard_key();
        read_secret(&path)?.parse().map_err(|_| DirError::Key(path))
    }
}

/// Writes a new file of mode 0600 and syncs it.
///
/// # Errors
/// [`DirError::Io`], also where the file exists.
pub fn write_new(path: &Path, contents: &[u8]) -> Result<(), DirError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(contents)?;
        file.sync_all()
    };
    write().map_err(|error| DirError::Io { path: path.to_owned(), error })
}

/// Puts a file of mode 0600 in the place of another, at once and wholly.
///
/// # Errors
/// [`DirError::Io`]; the former file is then as it was.
pub fn replace(path: &Path, contents: &[u8]) -> Result<(), DirError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    let fail = |error| DirError::Io { path: path.to_owned(), error };
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    write_new(&temporary, contents)?;
    fs::rename(&temporary, path).map_err(fail)?;
    if let Some(parent) = path.parent() {
        fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(fail)?;
    }
    Ok(())
}

/// Reads a file that only its owner may read.
///
/// # Errors
/// [`DirError::Readable`] where others may; [`DirError::Io`] where it cannot be read.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, DirError> {
    let fail = |error| DirError::Io { path: path.to_owned(), error };
    if fs::metadata(path).map_err(fail)?.mode() & 0o077 != 0 {
        return Err(DirError::Readable(path.to_owned()));
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(fail)
}

/// Reads a file that is no secret.
///
/// # Errors
/// [`DirError::Io`].
pub fn read(path: &Path) -> Result<String, DirError> {
    fs::read_to_string(path).map_err(|error| DirError::Io { path: path.to_owned(), error })
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_for_their_owner_alone_and_never_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let dir = StateDir::new(home.path().join("a/b"));
        dir.create().unwrap();
        assert_eq!(fs::metadata(dir.root()).unwrap().mode() & 0o777, 0o700);
        dir.require_empty().unwrap();
        write_new(&dir.ca_key(), b"one").unwrap();
        assert_eq!(fs::metadata(dir.ca_key()).unwrap().mode() & 0o777, 0o600);
        assert!(write_new(&dir.ca_key(), b"two").is_err());
        assert_eq!(read_secret(&dir.ca_key()).unwrap().as_str(), "one");
        assert!(matches!(dir.require_empty(), Err(DirError::Exists(path)) if path == dir.ca_key()));
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let dir = StateDir::new(home.path());
        write_new(&dir.wireguard_key(), b"not a key").unwrap();
        assert!(matches!(dir.read_wireguard_key(), Err(DirError::Key(_))));
        set_mode(&dir.wireguard_key(), 0o640).unwrap();
        assert!(matches!(dir.read_wireguard_key(), Err(DirError::Readable(_))));
    }

    #[test]
    fn replacing_a_file_leaves_one_whole_file() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("server.pem");
        write_new(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
}
