//! Programs of the distribution that are not installed: laid over a host's `/usr` from the user's cache folder.
//!
//! As packages they would start services, take over the machine's `/etc/resolv.conf` and exclude each other. So
//! `build-scripts/dns-components` unpacks each into a tree of its own, and a host sees those that it asks for at their
//! own paths, plug-ins and D-Bus policies included.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::host::Host;
use crate::lab::{copy_missing, lacking};
use crate::peers::cache_folder;

/// The users that the packages' scripts would have made, with ids as good as any.
const USERS: [(&str, u32); 2] = [("messagebus", 901), ("systemd-resolve", 902)];

/// A program, or some that belong together, as `build-scripts/dns-components` fetches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The message bus `dbus-daemon`.
    Dbus,
    /// systemd-resolved with `resolvectl`, and the `resolvconf` that is a name of it.
    Resolved,
    /// NetworkManager with `nmcli`.
    NetworkManager,
    /// openresolv's `resolvconf`.
    Openresolv,
    /// Debian's own `resolvconf`.
    Resolvconf,
    /// The resolver unbound.
    Unbound,
    /// The DNS load balancer dnsdist.
    Dnsdist,
    /// BIND's `named` and its tools for signing.
    Bind,
    /// The forwarder dnsmasq.
    Dnsmasq,
    /// The resolver `kresd`.
    KnotResolver,
    /// The forwarder smartdns.
    Smartdns,
    /// The DoH proxy dnss.
    Dnss,
}

impl Component {
    /// Its name, as `build-scripts/dns-components` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dbus => "dbus",
            Self::Resolved => "systemd-resolved",
            Self::NetworkManager => "network-manager",
            Self::Openresolv => "openresolv",
            Self::Resolvconf => "resolvconf",
            Self::Unbound => "unbound",
            Self::Dnsdist => "dnsdist",
            Self::Bind => "bind9",
            Self::Dnsmasq => "dnsmasq",
            Self::KnotResolver => "knot-resolver",
            Self::Smartdns => "smartdns",
            Self::Dnss => "dnss",
        }
    }

    /// Where its main program stands on a host that has it.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Dbus => "/usr/bin/dbus-daemon",
            Self::Resolved => "/usr/lib/systemd/systemd-resolved",
            Self::NetworkManager => "/usr/sbin/NetworkManager",
            Self::Openresolv | Self::Resolvconf => "/usr/sbin/resolvconf",
            Self::Unbound => "/usr/sbin/unbound",
            Self::Dnsdist => "/usr/bin/dnsdist",
            Self::Bind => "/usr/sbin/named",
            Self::Dnsmasq => "/usr/sbin/dnsmasq",
            Self::KnotResolver => "/usr/sbin/kresd",
            Self::Smartdns => "/usr/sbin/smartdns",
            Self::Dnss => "/usr/bin/dnss",
        }
    }

    /// The tree that holds what the machine lacks of it; empty where it lacks nothing.
    fn tree(self) -> Result<PathBuf> {
        let folder = cache_folder().map(|cache| cache.join("weft/components").join(self.name()).join("usr"));
        match folder.filter(|path| path.is_dir()) {
            Some(path) => Ok(path),
            None => {
                Err(lacking(format!("{self} is not unpacked; build-scripts/dns-components {self} does that")))
            }
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Host {
    /// Lays components over the host's `/usr`, with those that it has already, and adds the users that they run as.
    /// Programs that run already keep the files that they have open. Where two have a file of one name, as
    /// `resolvconf`, the host has the one of the component named last in [`Component`].
    ///
    /// # Errors
    ///
    /// A [`Skip`](crate::Skip), to be returned from a test, where a component is not unpacked, or where the machine's
    /// kernel or layout of folders does not let it be laid over.
    pub fn install(&self, components: &[Component]) -> Result<()> {
        let mut installed = self.inner.components.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = installed.clone();
        wanted.extend(components);
        if wanted == *installed {
            return Ok(());
        }
        let trees = wanted.iter().rev().map(|component| component.tree()).collect::<Result<Vec<_>>>()?;
        let under = !installed.is_empty();
        self.inside(|| lay_over(&trees, under))??;
        *installed = wanted;
        drop(installed);
        self.add_users()?;
        for tree in &trees {
            self.inside(|| copy_missing(&tree.with_file_name("etc"), Path::new("/etc")))?;
        }
        for component in components {
            if !self.inside(|| Path::new(component.program()).exists())? {
                bail!("{component} is unpacked without {}", component.program());
            }
        }
        Ok(())
    }

    fn add_users(&self) -> Result<()> {
        let (mut users, mut groups) = (self.read_file("/etc/passwd")?, self.read_file("/etc/group")?);
        let names = users.lines().filter_map(|line| line.split(':').next().map(str::to_owned));
        let known = names.collect::<BTreeSet<_>>();
        for (name, id) in USERS.into_iter().filter(|(name, _)| !known.contains(*name)) {
            users.push_str(&format!("{name}:x:{id}:{id}::/:/usr/sbin/nologin\n"));
            groups.push_str(&format!("{name}:x:{id}:\n"));
        }
        self.write_file("/etc/passwd", users)?;
        self.write_file("/etc/group", groups)
    }
}

/// Runs inside the host. Anew from the machine's own `/usr` each time: overlays of overlays are limited to two.
fn lay_over(trees: &[PathBuf], under: bool) -> Result<()> {
    let merged = |name: &str| fs::symlink_metadata(name).is_ok_and(|about| about.is_symlink());
    if !(merged("/bin") && merged("/lib") && merged("/sbin")) {
        return Err(lacking("this machine's /bin, /lib and /sbin are not in /usr"));
    }
    if under {
        unmount("/usr", UnmountFlags::DETACH).context("/usr")?;
    }
    let layers = trees.iter().map(|tree| tree.display().to_string()).chain(["/usr".to_owned()]);
    let options = CString::new(format!("lowerdir={}", layers.collect::<Vec<_>>().join(":")))?;
    mount("netlab", "/usr", "overlay", MountFlags::RDONLY, options.as_c_str())
        .map_err(|error| lacking(format!("the kernel lays nothing over /usr: {error}")))
}
