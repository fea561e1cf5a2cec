//! By what means the DNS settings are changed. A pure function over what was found out of the system.

use std::path::{Path, PathBuf};

use weft_model::{DNS_PROXY_ADDRESSES, DnsMode};

use crate::resolv_conf;

/// The variable by which an administrator decides.
pub(super) const OVERRIDE: &str = "WEFT_DNS_MODE";
/// systemd-resolved's stub listens there.
const STUBS: [[u8; 4]; 2] = [[127, 0, 0, 53], [127, 0, 0, 54]];
/// From this version on systemd-resolved reaches the loopback addresses of a link's resolvers: before, it bound its
/// queries to the link.
const LOOPBACK_BY_LINK: Version = Version(252, 3);

/// A version of systemd: number and point release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

impl Version {
    /// The version in a text such as `systemd 252 (252.39-1~deb12u1)`, `252.39-1~deb12u1`, `v249.11-0ubuntu3` or `257`.
    pub(super) fn find(text: &str) -> Option<Self> {
        let words = text.split(|c: char| c.is_whitespace() || c == '(' || c == ')');
        let versions = words.filter_map(|word| {
            let word = word.strip_prefix('v').unwrap_or(word);
            let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let (number, rest) = word.split_at_checked(digits(word))?;
            let point = rest.strip_prefix('.').and_then(|rest| rest.get(..digits(rest)));
            Some(Self(number.parse().ok()?, point.and_then(|point| point.parse().ok()).unwrap_or(0)))
        });
        // Of `252 (252.39)` the second says more.
        versions.take(2).max()
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What stands in resolv.conf's place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Place {
    /// Nothing.
    #[default]
    Absent,
    /// A file.
    File,
    /// A symbolic link, and where it leads.
    Link(PathBuf),
}

/// resolv.conf.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct FileFacts {
    pub(super) place: Place,
    pub(super) text: String,
    /// It is a mount of its own.
    pub(super) is_mount: bool,
    /// The file may be written.
    pub(super) is_writable: bool,
    /// Its folder may be written.
    pub(super) is_folder_writable: bool,
}

/// What NetworkManager says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct NetworkManagerFacts {
    /// What it does with names ("default", "systemd-resolved", "dnsmasq", "none").
    pub(super) mode: String,
    /// How it writes resolv.conf ("symlink", "file", "resolvconf", "unmanaged", ...).
    pub(super) rc_manager: String,
    /// Somebody besides Weft has given it global DNS settings.
    pub(super) has_global: bool,
}

/// Whose resolvconf(8) there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolvconf {
    Openresolv,
    Debian,
    /// A name of systemd-resolved's own tool.
    Resolvectl,
}

/// What was found out of the system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Environment {
    /// What [`OVERRIDE`] says.
    pub(super) forced: Option<String>,
    pub(super) file: FileFacts,
    /// systemd-resolved runs; its version, where it could be told.
    pub(super) resolved: Option<Option<Version>>,
    /// systemd runs as the manager of services.
    pub(super) has_systemd: bool,
    pub(super) network_manager: Option<NetworkManagerFacts>,
    pub(super) resolvconf: Option<Resolvconf>,
    /// The sources of host names, in order, of nsswitch.conf(5).
    pub(super) hosts_order: Vec<String>,
}

/// A mode, and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) mode: DnsMode,
    pub(super) trace: Vec<String>,
}

/// Decides.
pub(super) fn choose(environment: &Environment) -> Decision {
    let mut trace = Vec::new();
    let mode = forced(environment, &mut trace).unwrap_or_else(|| {
        trace.push(describe_file(&environment.file));
        resolved(environment, &mut trace)
            .or_else(|| network_manager(environment, &mut trace))
            .or_else(|| resolvconf(environment, &mut trace))
            .unwrap_or_else(|| file(&environment.file, &mut trace))
    });
    Decision { mode, trace }
}

fn forced(environment: &Environment, trace: &mut Vec<String>) -> Option<DnsMode> {
    let wanted = environment.forced.as_deref().filter(|wanted| !wanted.is_empty())?;
    match wanted.parse() {
        Ok(mode) => {
            trace.push(format!("{OVERRIDE} asks for {mode}"));
            Some(mode)
        }
        Err(error) => {
            trace.push(format!("{OVERRIDE} is not heeded: {error}"));
            None
        }
    }
}

fn describe_file(file: &FileFacts) -> String {
    let what = match &file.place {
        Place::Absent => "is not there".to_owned(),
        Place::File if file.is_mount => "is a mount of its own".to_owned(),
        Place::File => "is a file".to_owned(),
        Place::Link(target) => format!("is a link to {}", target.display()),
    };
    match resolv_conf::author(file.text.as_bytes()) {
        Some(author) => format!("resolv.conf {what}, written by {author}"),
        None => format!("resolv.conf {what}"),
    }
}

/// Whether every resolver of the file is systemd-resolved's stub.
pub(super) fn leads_to_resolved(file: &FileFacts) -> bool {
    let conf = resolv_conf::parse(file.text.as_bytes());
    let is_stub = |address| STUBS.into_iter().any(|stub| std::net::IpAddr::from(stub) == address);
    let mut addresses = conf.addresses().filter(|address| !DNS_PROXY_ADDRESSES.contains(address)).peekable();
    addresses.peek().is_some() && addresses.all(is_stub)
}

fn resolved(environment: &Environment, trace: &mut Vec<String>) -> Option<DnsMode> {
    let leads = leads_to_resolved(&environment.file);
    let version = match (leads, environment.resolved) {
        (false, None) => return None,
        (false, Some(_)) => {
            trace.push("systemd-resolved runs, but resolv.conf does not lead to its stub".to_owned());
            if asks_resolved_first(&environment.hosts_order) {
                trace.push("programs that ask by nss-resolve go past resolv.conf".to_owned());
            }
            return None;
        }
        (true, None) => {
            trace.push("resolv.conf leads to systemd-resolved, which is not on the message bus".to_owned());
            return None;
        }
        (true, Some(version)) => version,
    };
    match version {
        Some(version) if version >= LOOPBACK_BY_LINK => {
            trace.push(format!("systemd-resolved {version} takes resolvers on loopback for a link"));
            return Some(DnsMode::ResolvedLink);
        }
        Some(version) => trace.push(format!(
            "systemd-resolved {version} is older than {LOOPBACK_BY_LINK} and takes no resolvers on loopback for a link"
        )),
        None => trace.push("systemd-resolved does not tell its version".to_owned()),
    }
    if environment.has_systemd {
        trace.push("systemd restarts it with global settings".to_owned());
        return Some(DnsMode::ResolvedGlobal);
    }
    trace.push(
        "nobody is there to restart it with global settings: systemd is not on the message bus".to_owned(),
    );
    None
}

/// Whether names go to systemd-resolved before resolv.conf is looked at.
fn asks_resolved_first(order: &[String]) -> bool {
    let at = |name: &str| order.iter().position(|source| source == name);
    at("resolve").is_some_and(|resolve| at("dns").is_none_or(|dns| resolve < dns))
}

fn is_under(place: &Place, folders: &[&str]) -> bool {
    let Place::Link(target) = place else { return false };
    folders.iter().any(|folder| target.starts_with(Path::new(folder)))
}

fn wrote(file: &FileFacts, author: &str, folders: &[&str]) -> bool {
    resolv_conf::author(file.text.as_bytes()).as_deref() == Some(author) || is_under(&file.place, folders)
}

fn network_manager(environment: &Environment, trace: &mut Vec<String>) -> Option<DnsMode> {
    let wrote =
        wrote(&environment.file, "NetworkManager", &["/run/NetworkManager", "/var/run/NetworkManager"]);
    let manager = match (&environment.network_manager, wrote) {
        (None, false) => return None,
        (None, true) => {
            trace.push("NetworkManager wrote resolv.conf and does not run any more".to_owned());
            return None;
        }
        (Some(_), false) => {
            trace.push("NetworkManager runs, but resolv.conf is not its own".to_owned());
            return None;
        }
        (Some(manager), true) => manager,
    };
    let NetworkManagerFacts { mode, rc_manager, has_global } = manager;
    let reason = match (mode.as_str(), rc_manager.as_str(), has_global) {
        (_, _, true) => "its global DNS settings are somebody else's".to_owned(),
        ("none", ..) | (_, "unmanaged", _) => "it leaves resolv.conf alone".to_owned(),
        ("systemd-resolved", ..) => "it leaves names to systemd-resolved".to_owned(),
        (_, "resolvconf", _) => "it leaves resolv.conf to resolvconf".to_owned(),
        _ => {
            trace.push(format!("NetworkManager keeps resolv.conf (mode {mode}, {rc_manager})"));
            return Some(DnsMode::NetworkManager);
        }
    };
    trace.push(format!("NetworkManager runs, but {reason}"));
    None
}

/// Whether resolvconf(8) wrote the file.
pub(super) fn is_by_resolvconf(file: &FileFacts) -> bool {
    wrote(file, "resolvconf", &["/run/resolvconf", "/var/run/resolvconf", "/etc/resolvconf/run"])
}

fn resolvconf(environment: &Environment, trace: &mut Vec<String>) -> Option<DnsMode> {
    if !is_by_resolvconf(&environment.file) {
        return None;
    }
    let whose = match environment.resolvconf {
        Some(Resolvconf::Openresolv) => "openresolv",
        Some(Resolvconf::Debian) => "Debian's resolvconf",
        Some(Resolvconf::Resolvectl) => {
            trace.push("resolvconf wrote resolv.conf, but is another name of resolvectl by now".to_owned());
            return None;
        }
        None => {
            trace.push("resolvconf wrote resolv.conf and is not there any more".to_owned());
            return None;
        }
    };
    trace.push(format!("{whose} keeps resolv.conf"));
    Some(DnsMode::Resolvconf)
}

fn file(file: &FileFacts, trace: &mut Vec<String>) -> DnsMode {
    let (mode, why) = match (file.is_mount, file.is_folder_writable, file.is_writable) {
        (false, true, _) => (DnsMode::File, "the file can be replaced"),
        (true, _, true) => (DnsMode::FileInPlace, "nothing can be renamed over a mount: it is written over"),
        (false, false, true) => {
            (DnsMode::FileInPlace, "its folder cannot be written: the file is written over")
        }
        (_, _, false) => (DnsMode::None, "neither the file nor its folder can be written"),
    };
    trace.push(why.to_owned());
    mode
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
