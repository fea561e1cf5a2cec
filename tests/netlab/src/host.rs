//! A host: a network namespace and a mount namespace with a name.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr};
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount};

use crate::components::Component;
use crate::enter::MARKS;
use crate::lab::LabState;
use crate::process::{Output, Process};
use crate::segment::Segment;
use crate::sys::namespace::{self, Namespaces};

/// How long [`Host::run`] lets a program run.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(20);

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A host of the lab. It has a loopback interface and what links give it, its own `/etc` (a copy of the
/// machine's, free to change), and an empty `/run` and `/var/lib`; everything else of the file system is the
/// machine's own. Copies of the value mean the same host.
#[derive(Clone)]
pub struct Host {
    pub(crate) inner: Arc<HostInner>,
}

pub(crate) struct HostInner {
    name: String,
    namespaces: Arc<Namespaces>,
    pub(crate) lab: Arc<LabState>,
    pub(crate) segments: Mutex<BTreeMap<String, Segment>>,
    pub(crate) components: Mutex<BTreeSet<Component>>,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.name)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segments = self.inner.segments.lock().unwrap_or_else(PoisonError::into_inner);
        let interfaces = segments.keys().collect::<Vec<_>>();
        f.debug_struct("Host").field("name", &self.inner.name).field("interfaces", &interfaces).finish()
    }
}

/// What a host is to be, before it is made.
#[derive(Clone, Debug)]
#[must_use]
pub struct HostBuilder {
    lab: Arc<LabState>,
    name: String,
    strict: bool,
    resolv_conf: String,
    hosts: String,
}

impl HostBuilder {
    pub(crate) fn new(lab: Arc<LabState>, name: &str) -> Self {
        let hosts = format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {name}\n");
        Self { lab, name: name.to_owned(), strict: false, resolv_conf: String::new(), hosts }
    }

    /// Drops packets whose source is not routed back by the interface they came by (`rp_filter` 1), as many
    /// distributions do. Without it the host has no such filter.
    pub fn strict_rp_filter(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Adds a resolver to the host's `/etc/resolv.conf`, which is empty otherwise.
    pub fn resolver(mut self, address: IpAddr) -> Self {
        self.resolv_conf.push_str(&format!("nameserver {address}\n"));
        self
    }

    /// The whole text of the host's `/etc/resolv.conf`.
    pub fn resolv_conf(mut self, text: &str) -> Self {
        text.clone_into(&mut self.resolv_conf);
        self
    }

    /// Adds a line to the host's `/etc/hosts`, which otherwise has localhost and the host itself.
    pub fn hosts_entry(mut self, address: IpAddr, name: &str) -> Self {
        self.hosts.push_str(&format!("{address} {name}\n"));
        self
    }

    /// Makes the host.
    ///
    /// # Errors
    ///
    /// When the name is not new, or the kernel refuses a namespace or a mount.
    pub fn build(self) -> Result<Host> {
        let (template, own) = self.lab.admit(&self.name)?;
        let namespaces = namespace::create(|| prepare(&template, &own, self.strict))
            .with_context(|| format!("cannot make host {}", self.name))?;
        let inner = HostInner {
            name: self.name,
            namespaces: Arc::new(namespaces),
            lab: self.lab,
            segments: Mutex::default(),
            components: Mutex::default(),
        };
        let host = Host { inner: Arc::new(inner) };
        host.run(["ip", "link", "set", "lo", "up"])?;
        host.replace_file("/etc/resolv.conf", &self.resolv_conf)?;
        host.replace_file("/etc/hosts", &self.hosts)?;
        host.replace_file("/etc/hostname", &format!("{host}\n"))?;
        // The machine's may ask services that the host does not run.
        host.replace_file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")?;
        Ok(host)
    }
}

/// Runs inside the new namespaces.
fn prepare(template: &Path, own: &Path, strict: bool) -> Result<()> {
    let (upper, work) = (own.join("upper"), own.join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={},userxattr",
        template.display(),
        upper.display(),
        work.display()
    );
    let options = CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("netlab", "/etc", "overlay", flags, options.as_c_str()).context("overlay over /etc")?;
    for folder in ["/var/lib", "/run"] {
        mount("netlab", folder, "tmpfs", flags, Some(c"mode=755"))
            .with_context(|| format!("tmpfs on {folder}"))?;
    }
    // Shows this namespace's interfaces; some containers forbid it, and few programs need it.
    let _optional = mount("netlab", "/sys", "sysfs", flags | MountFlags::NOEXEC, None);
    for group in ["all", "default"] {
        let v4 = format!("/proc/sys/net/ipv4/conf/{group}/rp_filter");
        fs::write(&v4, if strict { "1" } else { "0" }).context(v4)?;
        // IPv6 addresses stay when a cable is pulled, as IPv4's do.
        let kept = Path::new("/proc/sys/net/ipv6/conf").join(group).join("keep_addr_on_down");
        let _no_ipv6 = fs::write(kept, "1");
        // An address that is still being checked for duplicates cannot be used for a second or two.
        let v6 = Path::new("/proc/sys/net/ipv6/conf").join(group).join("accept_dad");
        if v6.exists() {
            fs::write(&v6, "0").with_context(|| v6.display().to_string())?;
        }
    }
    Ok(())
}

impl Host {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// A command that will run inside the host, to be given arguments and started by the caller. The caller
    /// has to end it, too; [`Host::spawn`] and [`Host::run`] see to that by themselves.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for mark in MARKS {
            command.env_remove(mark);
        }
        let path = std::env::var("PATH").map_or_else(|_| PATH.to_owned(), |own| format!("{own}:{PATH}"));
        command.env("PATH", path);
        namespace::start_inside(&mut command, Arc::clone(&self.inner.namespaces));
        command
    }

    /// The same as [`Host::command`], from a program and its arguments.
    ///
    /// # Errors
    ///
    /// When `words` is empty.
    pub fn command_of<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Result<Command> {
        let mut words = words.into_iter();
        let Some(program) = words.next() else { bail!("an empty command") };
        let mut command = self.command(program);
        command.args(words);
        Ok(command)
    }

    /// Starts `command`, which [`Host::command`] made, with its output collected.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn spawn(&self, command: Command) -> Result<Process> {
        let process = Process::start(command, self.name())?;
        self.inner.lab.remember(process.log());
        Ok(process)
    }

    /// Runs a program and its arguments to its end, which must be a success.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or does not exit with 0, or runs longer than [`COMMAND_DEADLINE`].
    pub fn run<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Result<Output> {
        self.attempt(words)?.success()
    }

    /// Runs a program and its arguments to its end, whatever that is.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or runs longer than [`COMMAND_DEADLINE`].
    pub fn attempt<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Result<Output> {
        self.finish(self.command_of(words)?, COMMAND_DEADLINE)
    }

    /// Runs `command`, which [`Host::command`] made, to its end, whatever that is.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or runs longer than `deadline`; it is killed then.
    pub fn finish(&self, command: Command, deadline: Duration) -> Result<Output> {
        Process::start(command, self.name())?.output(deadline)
    }

    /// Runs a line of shell to its end, which must be a success.
    ///
    /// # Errors
    ///
    /// As [`Host::run`].
    pub fn sh(&self, line: &str) -> Result<Output> {
        self.run(["sh", "-ec", line])
    }

    /// Calls `work` on a thread of its own inside the host and returns what it returned. A socket opened
    /// there, and what it accepts, stays the host's.
    ///
    /// # Errors
    ///
    /// When the thread cannot enter the namespaces.
    pub fn inside<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R> {
        namespace::inside(&self.inner.namespaces, work).with_context(|| format!("cannot enter {self}"))
    }

    /// A path that names the host's network namespace for `ip link ... netns`, and for `nsenter --net=`.
    #[must_use]
    pub fn netns_path(&self) -> String {
        self.inner.namespaces.net_path()
    }

    /// A file's text, as the host sees it.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is not UTF-8.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = path.as_ref();
        self.inside(|| fs::read_to_string(path))?.with_context(|| format!("{self}: {}", path.display()))
    }

    /// Writes a file in place, as the host sees it; makes the folders it needs. Outside `/etc`, `/run` and
    /// `/var/lib` that is a file of the machine.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write_file(&self, path: impl AsRef<Path>, text: impl AsRef<[u8]>) -> Result<()> {
        let (path, text) = (path.as_ref(), text.as_ref());
        let write = || {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(path, text)
        };
        self.inside(write)?.with_context(|| format!("{self}: {}", path.display()))
    }

    /// Puts a new file in the place of whatever is there, a symbolic link included.
    fn replace_file(&self, path: &str, text: &str) -> Result<()> {
        let replace = || {
            let fresh = format!("{path}.netlab");
            fs::write(&fresh, text)?;
            fs::rename(&fresh, path)
        };
        self.inside(replace)?.with_context(|| format!("{self}: {path}"))
    }

    /// Sets a kernel parameter of the host's network, named with dots or, where a name has dots of its own,
    /// with slashes: `net.ipv4.ip_forward`.
    ///
    /// # Errors
    ///
    /// When there is no such parameter, or the value is refused.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let name = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
        let path = format!("/proc/sys/{name}");
        self.inside(|| fs::write(&path, value))?.with_context(|| format!("{self}: {path} = {value}"))
    }
}
