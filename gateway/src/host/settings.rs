//! The kernel's forwarding: switched on where the devices need it, put back afterwards. The former values are
//! written down first, so that a gateway that crashed puts them back at its next start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::HostError;
use crate::dir::{self, StateDir};

const ROOT: &str = "/proc/sys/net";

/// Whether packets were forwarded before the gateway came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forwarded {
    pub(super) v4: bool,
    pub(super) v6: bool,
}

/// A setting that was changed, and what follows when it is put back.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Change {
    path: PathBuf,
    before: String,
    after: String,
    /// Settings that the kernel changes along with this one, as they were.
    along: Vec<(PathBuf, String)>,
    /// A switch over this setting that was off: who has switched it on since wants this one on too.
    #[serde(default)]
    switch: Option<PathBuf>,
}

/// Whether the uplinks forward already.
pub(super) fn forwarded(uplinks: &[String]) -> Result<Forwarded, HostError> {
    forwarded_in(Path::new(ROOT), uplinks)
}

/// Lets packets from the tunnel and from the uplinks be forwarded, after writing down what was before.
pub(super) fn forward(dir: &StateDir, tunnel: &str, uplinks: &[String]) -> Result<(), HostError> {
    let root = Path::new(ROOT);
    // The tunnel interface is ours, and its settings go with it.
    write(&interface(root, "ipv4", tunnel).join("forwarding"), "1")?;
    let changes = changes(root, uplinks)?;
    let text = serde_json::to_string(&changes).map_err(io::Error::other)?;
    dir::replace(&dir.saved_settings(), text.as_bytes())?;
    changes.iter().try_for_each(|change| write(&change.path, &change.after))
}

/// Puts back what was written down, unless somebody else has changed it or switched forwarding on since; harmless where nothing was.
pub(super) fn restore(dir: &StateDir) -> Result<(), HostError> {
    let path = dir.saved_settings();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(HostError::Setting { path, error }),
    };
    let changes: Vec<Change> = serde_json::from_str(&text)
        .map_err(|error| HostError::Setting { path: path.clone(), error: error.into() })?;
    for change in changes.iter().rev() {
        if change.switch.as_ref().is_some_and(|switch| read(switch).is_ok_and(|value| value == "1")) {
            continue;
        }
        // An interface may be gone, and its settings with it.
        if read(&change.path).is_ok_and(|value| value == change.after) {
            write(&change.path, &change.before)?;
            for (path, value) in &change.along {
                if path.exists() {
                    write(path, value)?;
                }
            }
        }
    }
    fs::remove_file(&path).map_err(|error| HostError::Setting { path, error })
}

fn forwarded_in(root: &Path, uplinks: &[String]) -> Result<Forwarded, HostError> {
    let mut v4 = true;
    for uplink in uplinks {
        v4 &= read(&interface(root, "ipv4", uplink).join("forwarding"))? == "1";
    }
    let all = interface(root, "ipv6", "all").join("forwarding");
    Ok(Forwarded { v4, v6: !all.exists() || read(&all)? == "1" })
}

fn changes(root: &Path, uplinks: &[String]) -> Result<Vec<Change>, HostError> {
    let mut changes = Vec::new();
    let mut set = |path: PathBuf, before: String, after: &str, along, switch| {
        if before != after {
            changes.push(Change { path, before, after: after.to_owned(), along, switch });
        }
    };
    let switch = Some(root.join("ipv4/ip_forward")).filter(|path| read(path).is_ok_and(|value| value == "0"));
    for uplink in uplinks {
        let path = interface(root, "ipv4", uplink).join("forwarding");
        let before = read(&path)?;
        set(path, before, "1", Vec::new(), switch.clone());
    }
    let all = interface(root, "ipv6", "all").join("forwarding");
    if !all.exists() {
        return Ok(changes);
    }
    for uplink in uplinks {
        // A router does not listen to other routers unless it is told to (accept_ra 2).
        let path = interface(root, "ipv6", uplink).join("accept_ra");
        if path.exists() && read(&path)? == "1" {
            set(path, "1".to_owned(), "2", Vec::new(), None);
        }
    }
    // Setting "all" sets every interface.
    let mut along = Vec::new();
    let parent = root.join("ipv6/conf");
    let listed = fs::read_dir(&parent).map_err(|error| HostError::Setting { path: parent, error })?;
    for entry in listed.flatten() {
        let path = entry.path().join("forwarding");
        if entry.file_name() != "all" && read(&path).is_ok_and(|value| value == "1") {
            along.push((path, "1".to_owned()));
        }
    }
    let before = read(&all)?;
    set(all, before, "1", along, None);
    Ok(changes)
}

fn interface(root: &Path, family: &str, name: &str) -> PathBuf {
    root.join(family).join("conf").join(name)
}

fn read(path: &Path) -> Result<String, HostError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(HostError::Setting { path: path.to_owned(), error }),
    }
}

fn write(path: &Path, value: &str) -> Result<(), HostError> {
    fs::write(path, value).map_err(|error| HostError::Setting { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lay(root: &Path, settings: &[(&str, &str)]) {
        for (path, value) in settings {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{value}\n")).unwrap();
        }
    }

    fn value(root: &Path, path: &str) -> String {
        read(&root.join(path)).unwrap()
    }

    fn save(dir: &StateDir, changes: &[Change]) {
        dir::replace(&dir.saved_settings(), serde_json::to_string(changes).unwrap().as_bytes()).unwrap();
    }

    #[test]
    fn what_is_changed_is_put_back() {
        let home = tempfile::tempdir().unwrap();
        let (root, dir) = (home.path().join("net"), StateDir::new(home.path()));
        let before = [
            ("ipv4/conf/eth0/forwarding", "0"),
            ("ipv6/conf/all/forwarding", "0"),
            ("ipv6/conf/eth0/accept_ra", "1"),
            ("ipv6/conf/eth0/forwarding", "0"),
            ("ipv6/conf/br0/forwarding", "1"),
        ];
        lay(&root, &before);
        let uplinks = ["eth0".to_owned()];
        assert_eq!(forwarded_in(&root, &uplinks).unwrap(), Forwarded { v4: false, v6: false });
        let changes = changes(&root, &uplinks).unwrap();
        save(&dir, &changes);
        for change in &changes {
            write(&change.path, &change.after).unwrap();
        }
        assert_eq!(value(&root, "ipv6/conf/eth0/accept_ra"), "2");
        assert_eq!(forwarded_in(&root, &uplinks).unwrap(), Forwarded { v4: true, v6: true });
        // As the kernel does when "all" is written.
        lay(&root, &[("ipv6/conf/br0/forwarding", "0")]);
        restore(&dir).unwrap();
        for (path, was) in before {
            assert_eq!(value(&root, path), was, "{path}");
        }
        assert!(!dir.saved_settings().exists());
        restore(&dir).unwrap();
    }

    #[test]
    fn what_somebody_else_has_changed_or_removed_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let (root, dir) = (home.path().join("net"), StateDir::new(home.path()));
        lay(&root, &[("ipv4/conf/eth0/forwarding", "7")]);
        let change = |name: &str| Change {
            path: root.join("ipv4/conf").join(name).join("forwarding"),
            before: "0".to_owned(),
            after: "1".to_owned(),
            along: Vec::new(),
            switch: None,
        };
        save(&dir, &[change("eth0"), change("gone")]);
        restore(&dir).unwrap();
        assert_eq!(value(&root, "ipv4/conf/eth0/forwarding"), "7");
    }

    #[test]
    fn forwarding_that_somebody_else_has_switched_on_stays_on() {
        for (was, is, left) in [("0", "0", "0"), ("0", "1", "1"), ("1", "1", "0")] {
            let home = tempfile::tempdir().unwrap();
            let (root, dir) = (home.path().join("net"), StateDir::new(home.path()));
            lay(&root, &[("ipv4/ip_forward", was), ("ipv4/conf/eth0/forwarding", "0")]);
            save(&dir, &changes(&root, &["eth0".to_owned()]).unwrap());
            lay(&root, &[("ipv4/ip_forward", is), ("ipv4/conf/eth0/forwarding", "1")]);
            restore(&dir).unwrap();
            assert_eq!(value(&root, "ipv4/conf/eth0/forwarding"), left, "{was} to {is}");
        }
    }

    #[test]
    fn a_router_is_left_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        lay(
            home.path(),
            &[
                ("ipv4/conf/eth0/forwarding", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv6/conf/eth0/accept_ra", "2"),
            ],
        );
        assert_eq!(changes(home.path(), &["eth0".to_owned()]).unwrap(), []);
        assert!(matches!(
            changes(home.path(), &["eth1".to_owned()]),
            Err(HostError::Setting { path, .. }) if path.ends_with("eth1/forwarding")
        ));
    }
}
