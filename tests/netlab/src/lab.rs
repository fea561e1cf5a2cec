//! The lab itself, as seen from inside.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount};

use crate::host::{Host, HostBuilder};
use crate::process::Log;

/// Where the lab keeps its own files; hosts do not see it, as each has a `/run` of its own.
const BASE: &str = "/run/netlab";

/// Files larger than this do not belong to what a host needs of `/etc`.
const LARGEST_COPY: u64 = 4 << 20;

/// Why a test did not run. Returned as an error by the closure given to [`crate::run`], it makes the test
/// pass with a notice.
#[derive(Clone, Debug)]
pub struct Skip(pub String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "skipped: {}", self.0)
    }
}

impl std::error::Error for Skip {}

/// What a machine lacks is a skip, or a failure where `NETLAB_STRICT` is set: a run that is to show everything must
/// not pass by showing nothing.
pub(crate) fn lacking(reason: impl Into<String>) -> anyhow::Error {
    let skip = Skip(reason.into());
    match std::env::var_os("NETLAB_STRICT") {
        Some(_) => anyhow::anyhow!("{}", skip.0),
        None => skip.into(),
    }
}

/// The lab: a user, mount, network and PID namespace that this process is alone in. Made by [`crate::run`]
/// or [`crate::enter`]; copies of the value mean the same lab.
#[derive(Clone, Debug)]
pub struct Lab {
    state: Arc<LabState>,
}

#[derive(Debug)]
pub(crate) struct LabState {
    ids: u64,
    names: Mutex<BTreeSet<String>>,
    logs: Mutex<Vec<Arc<Log>>>,
}

impl Lab {
    /// Prepares what all hosts share; the process must be in its namespaces already.
    pub(crate) fn open() -> Result<Self> {
        let empty = MountFlags::NOSUID | MountFlags::NODEV;
        mount("netlab", "/run", "tmpfs", empty, Some(c"mode=755")).context("cannot mount a tmpfs on /run")?;
        let template = Path::new(BASE).join("etc");
        fs::create_dir_all(&template)?;
        copy_missing(Path::new("/etc"), &template);
        let map = fs::read_to_string("/proc/self/uid_map").context("/proc/self/uid_map")?;
        let ids = map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum();
        let state = LabState { ids, names: Mutex::default(), logs: Mutex::default() };
        Ok(Self { state: Arc::new(state) })
    }

    /// Begins a host; `name` must be new in this lab and is for people alone, also as its host name in logs.
    pub fn host(&self, name: &str) -> HostBuilder {
        HostBuilder::new(Arc::clone(&self.state), name)
    }

    /// How many user ids exist in the lab: 1 when an ordinary user started it, else 65536.
    #[must_use]
    pub fn ids(&self) -> u64 {
        self.state.ids
    }

    /// For tests that need users other than root.
    ///
    /// # Errors
    ///
    /// A [`Skip`], to be returned from the test, when the lab has one id alone.
    pub fn require_many_ids(&self) -> Result<()> {
        self.state.require_many_ids()
    }

    /// For tests that make TUN or TAP devices.
    ///
    /// # Errors
    ///
    /// A [`Skip`], to be returned from the test, when this user may not open `/dev/net/tun`. Distributions
    /// let everybody (mode 0666); the lab cannot widen it from inside.
    pub fn require_tun(&self) -> Result<()> {
        match OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
            Ok(_) => Ok(()),
            Err(error) => Err(lacking(format!(
                "/dev/net/tun: {error}; as root: modprobe tun && chmod 0666 /dev/net/tun"
            ))),
        }
    }

    /// Runs an interactive shell inside `host`, on this process's terminal, until its user leaves it. It finds
    /// programs in the folder `programs` first.
    ///
    /// # Errors
    ///
    /// When the shell cannot be started.
    pub fn shell(&self, host: &Host, programs: Option<&Path>) -> Result<()> {
        let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
        let mut command = host.command(shell);
        command.env("PS1", format!("{}# ", host.name()));
        if let Some(programs) = programs {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let folders = std::iter::once(programs.to_owned()).chain(std::env::split_paths(&path));
            command.env("PATH", std::env::join_paths(folders)?);
        }
        command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        command.status().with_context(|| format!("cannot start a shell in {host}"))?;
        Ok(())
    }

    /// Prints what the lab's programs wrote, for a test that has failed.
    pub(crate) fn print_logs(&self) {
        for log in self.state.logs.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            eprint!("{log}");
        }
    }
}

impl LabState {
    pub(crate) fn require_many_ids(&self) -> Result<()> {
        if self.ids > 1 {
            return Ok(());
        }
        Err(lacking("the lab was started by an ordinary user and so has one user id; root gets many"))
    }

    pub(crate) fn remember(&self, log: Arc<Log>) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).push(log);
    }

    /// Reserves a host's name and returns (shared template of `/etc`, the host's own folder).
    pub(crate) fn admit(&self, name: &str) -> Result<(PathBuf, PathBuf)> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || !name.chars().all(plain) {
            bail!("a host's name has ASCII letters, digits and '-' alone: {name:?}");
        }
        if !self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned()) {
            bail!("the lab has a host {name} already");
        }
        Ok((Path::new(BASE).join("etc"), Path::new(BASE).join("hosts").join(name)))
    }
}

/// Copies what this user may read and is not there yet. An overlay straight over the machine's `/etc` would not do: its files
/// belong to ids that an ordinary user's lab does not have, so nobody inside could replace one.
pub(crate) fn copy_missing(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else { return };
    for entry in entries.flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let Ok(about) = fs::symlink_metadata(&source) else { continue };
        if about.is_dir() {
            let fresh = fs::create_dir(&target).is_ok();
            copy_missing(&source, &target);
            if fresh {
                let _kept_default = fs::set_permissions(&target, PermissionsExt::from_mode(0o755));
            }
        } else if about.is_symlink() {
            let _unreadable = fs::read_link(&source).and_then(|link| symlink(link, &target));
        } else if about.is_file() && !target.exists() && about.len() <= LARGEST_COPY {
            let _unreadable = fs::copy(&source, &target);
        }
    }
}
