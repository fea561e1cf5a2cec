//! What there is on the system that DNS settings depend on, found out.

use std::fs;
use std::path::Path;

use rustix::fs::Access;
use weft_model::{DNS_PROXY_ADDRESSES, DnsMode};

use super::bus::{Bus, BusError, or_default};
use super::choose::{
    self, Environment, FileFacts, NetworkManagerFacts, OVERRIDE, Place, Resolvconf, Version,
};
use super::message::Object;
use super::network_manager::{self, DNS_MANAGER};
use super::program::{self, PATH};
use crate::record::Before;

/// The names on the message bus.
pub(super) const RESOLVED: &str = "org.freedesktop.resolve1";
pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";

/// Finds out everything.
///
/// # Errors
/// Somebody who runs does not say in time: what is there cannot be told.
pub(super) fn read(path: &Path, state: &Before) -> Result<Environment, BusError> {
    let file = file(path, state);
    let (by_resolvconf, leads_to_resolved) =
        (choose::is_by_resolvconf(&file), choose::leads_to_resolved(&file));
    let mut environment = Environment {
        forced: std::env::var(OVERRIDE).ok(),
        // Programs are run only where their answer matters.
        resolvconf: by_resolvconf.then(resolvconf).flatten(),
        hosts_order: hosts_order(&fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default()),
        file,
        ..Environment::default()
    };
    let mut bus = match Bus::system() {
        Err(error) if error.is_absent() => return Ok(environment),
        bus => bus?,
    };
    environment.has_systemd = or_default(bus.has_owner(SYSTEMD))?;
    if or_default(bus.has_owner(RESOLVED))? {
        let has_systemd = environment.has_systemd;
        let version = leads_to_resolved.then(|| resolved_version(&mut bus, has_systemd)).transpose()?;
        environment.resolved = Some(version.flatten());
    }
    if or_default(bus.has_owner(network_manager::NAME))? {
        environment.network_manager = Some(network_manager_facts(&mut bus)?);
    }
    Ok(environment)
}

/// Whether an administrator asks for this very mode.
pub(super) fn forces(mode: DnsMode) -> bool {
    std::env::var(OVERRIDE).is_ok_and(|wanted| wanted.parse() == Ok(mode))
}

fn file(path: &Path, state: &Before) -> FileFacts {
    let place = match state {
        Before::Absent => Place::Absent,
        Before::File { .. } => Place::File,
        // Where it really leads, with the links on the way followed, else what it says.
        Before::Symlink { .. } => {
            Place::Link(fs::canonicalize(path).or_else(|_| fs::read_link(path)).unwrap_or_default())
        }
    };
    let may_write = |path: &Path| rustix::fs::access(path, Access::WRITE_OK).is_ok();
    FileFacts {
        place,
        text: String::from_utf8_lossy(state.content()).into_owned(),
        is_mount: is_mount(path, &fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default()),
        is_writable: may_write(path),
        is_folder_writable: path.parent().is_some_and(may_write),
    }
}

/// Whether a file is a mount of its own, by a mountinfo (proc(5)).
fn is_mount(path: &Path, mountinfo: &str) -> bool {
    mountinfo.lines().any(|line| line.split(' ').nth(4).is_some_and(|point| Path::new(point) == path))
}

/// The sources of host names in an nsswitch.conf(5).
fn hosts_order(text: &str) -> Vec<String> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("hosts:"));
    let words = line.unwrap_or_default().split_whitespace().take_while(|word| !word.starts_with('#'));
    words.map(str::to_owned).take(32).collect()
}

/// What a program says of its version, where it knows how to.
fn version_of(program: &str) -> Option<String> {
    let output = program::run(program, &["--version"], "").ok()?;
    output.status.success().then_some(output.text)
}

/// Whose resolvconf(8) there is: openresolv and resolvectl tell their versions, Debian's knows no such option.
pub(super) fn resolvconf() -> Option<Resolvconf> {
    if !PATH.split(':').any(|folder| Path::new(folder).join("resolvconf").exists()) {
        return None;
    }
    Some(match version_of("resolvconf") {
        Some(text) if text.contains("openresolv") => Resolvconf::Openresolv,
        Some(text) if text.contains("systemd") => Resolvconf::Resolvectl,
        _ => Resolvconf::Debian,
    })
}

/// systemd's version, of whoever can tell it: systemd itself, the very program that runs, the tool beside it, and at
/// last the name of the library that the program has loaded.
fn resolved_version(bus: &mut Bus, has_systemd: bool) -> Result<Option<Version>, BusError> {
    let manager = Object {
        service: SYSTEMD,
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
    };
    let told =
        if has_systemd { or_default(bus.property::<String>(manager, "Version"))? } else { String::new() };
    if let Some(version) = Version::find(&told) {
        return Ok(Some(version));
    }
    let process = or_default(bus.process_of(RESOLVED).map(Some))?;
    let program = process.map(|process| format!("/proc/{process}/exe"));
    let said = program.as_deref().and_then(version_of).or_else(|| version_of("resolvectl"));
    Ok(said.and_then(|text| Version::find(&text)).or_else(|| {
        let maps = fs::read_to_string(format!("/proc/{}/maps", process?)).ok()?;
        let (_, name) = maps.split_once("/libsystemd-shared-")?;
        Version::find(name.lines().next()?.trim_end_matches(".so"))
    }))
}

fn network_manager_facts(bus: &mut Bus) -> Result<NetworkManagerFacts, BusError> {
    let global = or_default(network_manager::global(bus))?;
    let is_wefts = global.servers().iter().any(|server| DNS_PROXY_ADDRESSES.contains(server));
    Ok(NetworkManagerFacts {
        mode: or_default(bus.property(DNS_MANAGER, "Mode"))?,
        rc_manager: or_default(bus.property(DNS_MANAGER, "RcManager"))?,
        has_global: !global.is_empty() && !is_wefts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_of_names_are_read_in_order() {
        let text = "# hosts: nobody\npasswd: files\nhosts:  files resolve [!UNAVAIL=return] dns # last\n";
        assert_eq!(hosts_order(text), ["files", "resolve", "[!UNAVAIL=return]", "dns"]);
        assert!(hosts_order("passwd: files\n").is_empty());
    }

    #[test]
    fn a_mount_is_known_by_its_very_path() {
        let info = "36 35 98:0 / / rw - ext4 /dev/sda rw\n\
                    40 36 98:0 /docker/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/sda rw\n";
        assert!(is_mount(Path::new("/etc/resolv.conf"), info));
        assert!(!is_mount(Path::new("/etc/resolv"), info));
        assert!(!is_mount(Path::new("/etc/hosts"), info));
    }
}
