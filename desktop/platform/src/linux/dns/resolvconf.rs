//! resolvconf(8), openresolv's and Debian's: programs hand in what they know, and it writes resolv.conf of it.

use std::io;

use weft_model::{DNS_PROXY_ADDRESSES, DnsMode};

use super::choose::Resolvconf;
use super::{named, program};
use crate::dns_seam::SystemDns;
use crate::error::PlatformError;
use crate::record::system_dns;

/// Under this name Weft's resolvers are handed in: Debian's puts what begins with `lo.` first, and leaves out what
/// follows an address on loopback.
const RECORD: &str = "lo.weft";
/// Where each keeps what was handed in, a file of resolvers by the name of its interface.
const OF_DEBIAN: [&str; 2] = ["/run/resolvconf/interface", "/etc/resolvconf/run/interface"];
const OF_OPENRESOLV: [&str; 2] = ["/run/resolvconf/interfaces", "/run/resolvconf/keys"];
/// More records than this are not read.
const MAX_RECORDS: usize = 64;

fn run(arguments: &[&str], input: &str) -> io::Result<()> {
    let program::Output { status, text } = program::run("resolvconf", arguments, input)?;
    match status.success() {
        true => Ok(()),
        false => {
            let said: String = text.trim().chars().filter(|c| !c.is_control()).take(200).collect();
            Err(io::Error::other(format!("resolvconf {}: {status}: {said}", arguments.join(" "))))
        }
    }
}

/// Hands in a file of resolvers, above all others.
pub(super) fn add(whose: Resolvconf, text: &str) -> io::Result<()> {
    match whose {
        // Alone, and before what has no metric.
        Resolvconf::Openresolv => run(&["-m", "0", "-x", "-a", RECORD], text),
        Resolvconf::Debian | Resolvconf::Resolvectl => run(&["-a", RECORD], text),
    }
}

/// Takes it back; harmless where it is gone. `leads_to_weft` looks at what resolvconf writes.
///
/// # Errors
/// It cannot be run, refuses, or leaves what leads to Weft.
pub(super) fn remove(
    whose: Resolvconf,
    leads_to_weft: impl Fn() -> Result<bool, PlatformError>,
) -> Result<(), PlatformError> {
    let refused = |error: io::Error| named(DnsMode::Resolvconf, &error);
    match whose {
        Resolvconf::Openresolv => run(&["-f", "-d", RECORD], ""),
        Resolvconf::Debian | Resolvconf::Resolvectl => run(&["-d", RECORD], ""),
    }
    .map_err(refused)?;
    // openresolv writes nothing where it has no such record, as after a power cut: the records stood in memory, the
    // file on the disk.
    if leads_to_weft()? {
        run(&["-u"], "").map_err(refused)?;
        if leads_to_weft()? {
            return Err(refused(io::Error::other("what it writes still leads to Weft")));
        }
    }
    Ok(())
}

/// The resolvers that others have handed in; none where they cannot be told.
pub(super) fn system(whose: Resolvconf) -> Option<SystemDns> {
    let folders = match whose {
        Resolvconf::Openresolv => OF_OPENRESOLV,
        Resolvconf::Debian | Resolvconf::Resolvectl => OF_DEBIAN,
    };
    let folder = folders.into_iter().find_map(|folder| std::fs::read_dir(folder).ok())?;
    let mut paths: Vec<_> = folder.flatten().map(|entry| entry.path()).take(MAX_RECORDS).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name != RECORD));
    paths.sort();
    let mut system = SystemDns::default();
    for record in paths.iter().filter_map(|path| std::fs::read(path).ok()) {
        let found = system_dns(&record);
        for server in found.servers {
            if !DNS_PROXY_ADDRESSES.contains(&server) && !system.servers.contains(&server) {
                system.servers.push(server);
            }
        }
        for domain in found.search {
            if !system.search.contains(&domain) {
                system.search.push(domain);
            }
        }
    }
    Some(system)
}
