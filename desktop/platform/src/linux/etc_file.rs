//! /etc/resolv.conf on a disk, and the DNS proxy's addresses on the loopback interface.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, symlink};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use weft_model::DNS_PROXY_ADDRESSES;

use super::dns::{self, DNS_PORT};
use super::netlink::Netlink;
use super::{link, port};
use crate::error::PlatformError;
use crate::record::Before;
use crate::resolver_file::{FileHost, proxy_addresses};
use crate::seam::Watch;

/// A longer file is no resolv.conf.
const MAX_FILE: u64 = 1 << 20;
/// The bits of a mode that chmod(2) takes.
const MODE_BITS: u32 = 0o7777;
/// A made folder's permissions: other programs' own users read what stands in it.
const FOLDER_MODE: u32 = 0o755;

/// A file of the system's.
pub(super) struct EtcFile {
    path: PathBuf,
    /// Whether the file is to be written over even where another could be renamed to its place.
    pub(super) in_place: bool,
}

impl EtcFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, in_place: false }
    }

    fn error(&self, step: &str, error: &io::Error) -> PlatformError {
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                ": may weftd write there, and is the file not immutable (lsattr)?"
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                ": let weftd write to the folder, or mount the file writable"
            }
            _ => "",
        };
        PlatformError::Dns {
            path: self.path.display().to_string(),
            detail: format!("{step}: {error}{advice}"),
        }
    }

    /// Makes the folder that the file stands in, where it is missing, for everybody to read whatever the umask.
    pub(super) fn make_folder(&self) -> Result<(), PlatformError> {
        let made = self.path.parent().map_or(Ok(()), make_folders);
        made.map_err(|error| self.error("its folder cannot be made", &error))
    }

    /// Where the new file is made ready; in the same folder, since it is renamed over the old one.
    fn staging(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or(OsStr::new("resolv.conf")).to_string_lossy();
        self.path.with_file_name(format!(".{name}.weftd"))
    }

    fn read(&self) -> io::Result<Before> {
        let about = match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Before::Absent),
            about => about?,
        };
        if about.is_symlink() {
            let target = fs::read_link(&self.path)?.into_os_string().into_vec();
            // What the link points to may be away for now, as before a DHCP client has run.
            let content = read_limited(&self.path).unwrap_or_default();
            return Ok(Before::Symlink { target, content });
        }
        if !about.is_file() {
            return Err(io::Error::other("it is neither a file nor a symbolic link"));
        }
        let content = read_limited(&self.path)?;
        Ok(Before::File { content, mode: about.mode() & MODE_BITS, uid: about.uid(), gid: about.gid() })
    }

    fn write(&self, state: &Before) -> io::Result<()> {
        let staging = self.staging();
        match fs::remove_file(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound && !is_only_writable_in_place(&error) => {
                return Err(error);
            }
            _ => {}
        }
        match state {
            Before::Absent => fs::remove_file(&self.path)?,
            Before::File { content, .. } if self.in_place => write_in_place(&self.path, content)?,
            Before::Symlink { target, .. } => {
                symlink(OsStr::from_bytes(target), &staging)?;
                rename(&staging, &self.path)?;
            }
            Before::File { content, mode, uid, gid } => {
                let replaced =
                    stage(&staging, content, *mode, (*uid, *gid)).and_then(|()| rename(&staging, &self.path));
                match replaced {
                    Err(error) if is_only_writable_in_place(&error) => write_in_place(&self.path, content)?,
                    other => other?,
                }
            }
        }
        // So that a power cut brings back the old state or the new one; where it cannot be had, nothing is lost.
        if let Some(Ok(folder)) = self.path.parent().map(File::open) {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

/// Whether a new file cannot take the old one's place, but the old one may be written: it is a mount of its own, its
/// folder is read-only, or its owner cannot be given to a new file.
fn is_only_writable_in_place(error: &io::Error) -> bool {
    let errnos = [Errno::BUSY, Errno::XDEV, Errno::ROFS, Errno::ACCESS, Errno::PERM];
    Errno::from_io_error(error).is_some_and(|errno| errnos.contains(&errno))
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    Ok(content)
}

/// Makes a new file ready, down to the disk.
fn stage(path: &Path, content: &[u8], mode: u32, owner: (u32, u32)) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)?;
    let filled = (|| {
        let about = file.metadata()?;
        if (about.uid(), about.gid()) != owner {
            fchown(&file, Some(owner.0), Some(owner.1))?;
        }
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()
    })();
    if filled.is_err() {
        let _ = fs::remove_file(path);
    }
    filled
}

/// Makes a folder and those that it stands in, where they are missing.
fn make_folders(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_folders(parent)?;
    }
    match fs::create_dir(path) {
        // Another program was first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(FOLDER_MODE))),
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to).inspect_err(|_| {
        let _ = fs::remove_file(from);
    })
}

/// Writes a file that nothing can be renamed over. Where that fails midway, the former content is tried again.
fn write_in_place(path: &Path, content: &[u8]) -> io::Result<()> {
    let former = read_limited(path)?;
    let write = |content: &[u8]| {
        let mut file = OpenOptions::new()
            .write(true)
            .truncate(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write(content).inspect_err(|_| {
        let _ = write(&former);
    })
}

impl FileHost for EtcFile {
    fn path(&self) -> String {
        self.path.display().to_string()
    }

    fn load(&self) -> Result<Before, PlatformError> {
        self.read().map_err(|error| self.error("cannot be read", &error))
    }

    fn store(&mut self, state: &Before) -> Result<(), PlatformError> {
        self.write(state).map_err(|error| self.error("cannot be written", &error))
    }

    fn tidy(&mut self) {
        // Where it cannot be removed, it stays: the settings are what counts.
        let _ = fs::remove_file(self.staging());
    }

    fn watch(&self, tell: Box<dyn Fn() + Send + Sync>) -> Result<Watch, PlatformError> {
        dns::watch::start(self.path.clone(), tell)
    }

    fn preflight(&self) -> Result<(), PlatformError> {
        DNS_PROXY_ADDRESSES.into_iter().try_for_each(|address| port::preflight(DNS_PORT, address))
    }

    fn claim(&mut self) -> Result<Vec<IpAddr>, PlatformError> {
        if !link::has_ipv6(link::LOOPBACK) {
            return Ok(proxy_addresses(false));
        }
        let step = |error| PlatformError::system("giving the DNS proxy its addresses", error);
        let mut netlink = Netlink::route().map_err(step)?;
        let Some(loopback) = link::find(&mut netlink, link::LOOPBACK).map_err(step)? else {
            return Ok(proxy_addresses(false));
        };
        for address in DNS_PROXY_ADDRESSES.into_iter().filter(IpAddr::is_ipv6) {
            match link::add_address(&mut netlink, loopback.index, address.into()) {
                Err(error) if error.errno() != Some(Errno::EXIST) => return Err(step(error)),
                _ => {}
            }
        }
        Ok(proxy_addresses(true))
    }

    fn release(&mut self) -> Result<(), PlatformError> {
        let step = |error| PlatformError::system("taking back the DNS proxy's addresses", error);
        let mut netlink = Netlink::route().map_err(step)?;
        let Some(loopback) = link::find(&mut netlink, link::LOOPBACK).map_err(step)? else { return Ok(()) };
        for present in link::addresses(&mut netlink, loopback.index).map_err(step)? {
            if present.addr().is_ipv6() && DNS_PROXY_ADDRESSES.contains(&present.addr()) {
                link::remove_address(&mut netlink, loopback.index, present).map_err(step)?;
            }
        }
        Ok(())
    }
}
