//! The folder of state: who this device is, and what it was left as. Every file is the daemon's alone (0600), and is
//! replaced whole: a crash leaves the former one or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 8 << 20;

/// What a file of state holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stored<T> {
    /// There is none.
    Missing,
    /// There is one, and this is why it cannot be used.
    Unreadable(String),
    /// This.
    Read(T),
}

impl<T> Stored<T> {
    /// The value, where there is one.
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Self::Read(value) => Some(value),
            Self::Missing | Self::Unreadable(_) => None,
        }
    }

    /// Refuses a value that `check` finds wrong.
    pub(crate) fn checked<E: std::fmt::Display>(self, check: impl FnOnce(&T) -> Result<(), E>) -> Self {
        match self {
            Self::Read(value) => match check(&value) {
                Ok(()) => Self::Read(value),
                Err(error) => Self::Unreadable(error.to_string()),
            },
            other => other,
        }
    }
}

/// A folder of state.
#[derive(Debug, Clone)]
pub(crate) struct StateDir(PathBuf);

impl StateDir {
    /// Opens the folder, and makes it where it is missing. Nobody else may look into it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(path, PermissionsExt::from_mode(0o700))?;
        }
        Ok(Self(path.to_owned()))
    }

    /// The path of a file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What the file `name` holds.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Stored<T> {
        let path = self.path(name);
        let bytes = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Stored::Missing,
            Ok(metadata) if metadata.len() > MAX_FILE => {
                return Stored::Unreadable(format!("{} is too large", path.display()));
            }
            _ => fs::read(&path).map(Zeroizing::new),
        };
        match bytes {
            Err(error) => Stored::Unreadable(format!("{}: {error}", path.display())),
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(value) => Stored::Read(value),
                // A parser's words may quote what it read, which may be a key.
                Err(error) => Stored::Unreadable(format!(
                    "{} is damaged (line {}, column {})",
                    path.display(),
                    error.line(),
                    error.column()
                )),
            },
        }
    }

    /// Puts `value` into the file `name`; when this returns, it survives a loss of power.
    pub(crate) fn write<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
        serde_json::to_writer_pretty(&mut *bytes, value)?;
        self.write_bytes(name, &bytes)
    }

    /// As [`StateDir::write`], with these very bytes.
    pub(crate) fn write_bytes(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let fresh = self.path(&format!(".{name}.new"));
        remove_if_there(&fresh)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, self.path(name))?;
        self.sync()
    }

    /// Removes the file `name`, and what an interrupted write left of it.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        remove_if_there(&self.path(name))?;
        remove_if_there(&self.path(&format!(".{name}.new")))?;
        self.sync()
    }

    /// Moves a file that cannot be used out of the way. Returns where it is now.
    pub(crate) fn set_aside(&self, name: &str) -> io::Result<PathBuf> {
        let aside = self.path(&format!("{name}.bad"));
        fs::rename(self.path(name), &aside)?;
        self.sync()?;
        Ok(aside)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_the_daemons_alone_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let state = StateDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);

        // What an interrupted write left is no hindrance, nor is it read.
        fs::write(state.path(".target.json.new"), "{\"half").unwrap();
        assert_eq!(state.read::<u32>("target.json"), Stored::Missing);
        state.write("target.json", &7).unwrap();
        state.write("target.json", &8).unwrap();
        assert_eq!(state.read::<u32>("target.json"), Stored::Read(8));
        assert_eq!(fs::metadata(state.path("target.json")).unwrap().permissions().mode() & 0o777, 0o600);
        let names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["target.json"]);
        state.remove("target.json").unwrap();
        state.remove("target.json").unwrap();
        assert_eq!(state.read::<u32>("target.json"), Stored::Missing);
    }

    #[test]
    fn a_damaged_file_is_named_and_never_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        fs::write(state.path("reg.json"), "\"hunter2\"").unwrap();
        let Stored::Unreadable(why) = state.read::<u32>("reg.json") else { panic!("it was read") };
        assert!(why.contains("reg.json is damaged (line 1") && !why.contains("hunter2"), "{why}");
        fs::create_dir(state.path("folder")).unwrap();
        assert!(matches!(state.read::<u32>("folder"), Stored::Unreadable(_)));
        let aside = state.set_aside("reg.json").unwrap();
        assert!(aside.ends_with("reg.json.bad") && aside.exists());
        assert_eq!(state.read::<u32>("reg.json"), Stored::Missing);
    }

    #[test]
    fn a_value_may_be_refused_by_what_it_says() {
        let refuse = |value: &u32| if *value > 1 { Err("too many") } else { Ok(()) };
        assert_eq!(Stored::Read(1).checked(refuse), Stored::Read(1));
        assert_eq!(Stored::Read(2).checked(refuse), Stored::Unreadable("too many".into()));
        assert_eq!(Stored::Missing.checked(refuse), Stored::Missing);
    }
}
