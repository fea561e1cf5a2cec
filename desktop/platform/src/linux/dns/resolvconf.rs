//! resolvconf(8), openresolv's and Debian's: programs hand in what they know, and it writes resolv.conf of it.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use weft_model::DNS_PROXY_ADDRESSES;

use super::choose::Resolvconf;
use super::environment::PATH;
use crate::dns_seam::SystemDns;
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
    let mut child = Command::new("resolvconf")
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may end without reading; what it says then counts.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said: String = said.trim().chars().filter(|c| !c.is_control()).take(200).collect();
            Err(io::Error::other(format!("resolvconf {}: {}: {said}", arguments.join(" "), output.status)))
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

/// Takes it back; harmless where it is gone.
pub(super) fn remove(whose: Resolvconf) -> io::Result<()> {
    match whose {
        Resolvconf::Openresolv => run(&["-f", "-d", RECORD], ""),
        Resolvconf::Debian | Resolvconf::Resolvectl => run(&["-d", RECORD], ""),
    }
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
