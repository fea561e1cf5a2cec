//! What was there before Weft changed the system's DNS settings, in a form that survives the daemon.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use weft_model::{DNS_PROXY_ADDRESSES, DnsMode, DnsPlan};

use crate::dns_seam::SystemDns;
use crate::resolv_conf;

/// What stood at the file's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Before {
    /// Nothing.
    Absent,
    /// A file.
    File {
        /// What it held.
        #[serde(with = "base64_bytes")]
        content: Vec<u8>,
        /// Its permissions, as chmod(2) takes them.
        mode: u32,
        /// The owner's user id.
        uid: u32,
        /// The owner's group id.
        gid: u32,
    },
    /// A symbolic link.
    Symlink {
        /// What it points to, byte for byte.
        #[serde(with = "base64_bytes")]
        target: Vec<u8>,
        /// What the file behind it held; empty where there was none.
        #[serde(with = "base64_bytes")]
        content: Vec<u8>,
    },
}

impl Before {
    /// What programs read there.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        match self {
            Self::Absent => &[],
            Self::File { content, .. } | Self::Symlink { content, .. } => content,
        }
    }
}

/// What a restore needs. The daemon keeps it in its journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRecord {
    /// By what means the settings are changed.
    pub mode: DnsMode,
    /// Why it is this mode: what was looked at, in order, and what was found.
    #[serde(default)]
    pub trace: Vec<String>,
    /// What was there before, and what Weft put in its place.
    pub change: DnsChange,
}

/// What was there before a change of the settings, and what Weft put in its place, by the means of the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum DnsChange {
    /// A file was replaced, or written over.
    File(FileChange),
    /// Settings of Weft's own link in systemd-resolved; with the link they go by themselves.
    Link(LinkChange),
    /// A drop-in of systemd-resolved's.
    DropIn {
        /// The drop-in.
        file: FileChange,
        /// The system's resolvers of before, as last found.
        system: SystemDns,
    },
    /// NetworkManager's global settings, of which there were none.
    NetworkManager {
        /// What Weft set.
        set: LinkChange,
        /// The system's resolvers of before, as last found.
        system: SystemDns,
    },
    /// What was handed in to resolvconf(8).
    Resolvconf {
        /// The text that Weft handed in; none = nothing yet.
        written: Option<String>,
        /// The system's resolvers of before, as last found.
        system: SystemDns,
    },
    /// Nothing is changed.
    Nothing {
        /// The system's resolvers.
        system: SystemDns,
    },
}

/// Servers and search domains that Weft set; no servers = nothing yet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LinkChange {
    /// The nameservers, in order.
    pub servers: Vec<IpAddr>,
    /// The search domains, in order.
    pub search: Vec<String>,
}

impl LinkChange {
    /// What a plan asks for, its search domains in front of `system_search`.
    pub(crate) fn of(plan: &DnsPlan, system_search: &[String]) -> Self {
        let mut search: Vec<String> = Vec::new();
        for domain in plan.search.iter().map(ToString::to_string).chain(system_search.iter().cloned()) {
            if !search.contains(&domain) {
                search.push(domain);
            }
        }
        Self { servers: plan.servers.clone(), search }
    }
}

/// A file's former content, and what Weft wrote in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// What stood there before Weft.
    pub before: Before,
    /// What Weft wrote, or is about to write, newest last; older ones stay until a newer one is surely in place.
    pub written: Vec<String>,
}

impl FileChange {
    /// Whether `content` is what Weft wrote, unchanged.
    #[must_use]
    pub fn wrote(&self, content: &[u8]) -> bool {
        self.written.iter().any(|text| text.as_bytes() == content)
    }
}

impl DnsRecord {
    /// A record of a file of resolvers, of which nothing was written yet.
    #[must_use]
    pub fn of_file(mode: DnsMode, trace: Vec<String>, before: Before) -> Self {
        Self { mode, trace, change: DnsChange::File(FileChange { before, written: Vec::new() }) }
    }

    /// The system's resolvers as they were before Weft, as last found; none where another program keeps them and is
    /// to be asked.
    #[must_use]
    pub fn system(&self) -> SystemDns {
        match &self.change {
            DnsChange::File(file) => system_dns(file.before.content()),
            DnsChange::Link(_) => SystemDns::default(),
            DnsChange::DropIn { system, .. }
            | DnsChange::NetworkManager { system, .. }
            | DnsChange::Resolvconf { system, .. }
            | DnsChange::Nothing { system } => system.clone(),
        }
    }

    /// The file that stood there before Weft, for people who look for it where it could not come back; none where
    /// there was none.
    #[must_use]
    pub fn former_text(&self) -> Option<Vec<u8>> {
        let DnsChange::File(file) = &self.change else { return None };
        match &file.before {
            Before::Absent => None,
            Before::File { content, .. } => Some(content.clone()),
            Before::Symlink { target, content } => {
                let target = String::from_utf8_lossy(target);
                let mut text =
                    format!("# a symbolic link to {}, which held:\n", target.escape_debug()).into_bytes();
                text.extend_from_slice(content);
                Some(text)
            }
        }
    }
}

/// The resolvers in a resolv.conf, without Weft's own.
pub(crate) fn system_dns(content: &[u8]) -> SystemDns {
    let conf = resolv_conf::parse(content);
    let servers = conf.addresses().filter(|address| !DNS_PROXY_ADDRESSES.contains(address)).collect();
    SystemDns { servers, search: conf.search }
}

mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        STANDARD.encode(bytes).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_journal_whatever_the_bytes() {
        for before in [
            Before::Absent,
            Before::File { content: vec![0, 0xff, b'\n'], mode: 0o640, uid: 0, gid: 7 },
            Before::Symlink { target: vec![b'/', 0xfe], content: Vec::new() },
        ] {
            let mut record = DnsRecord::of_file(DnsMode::File, vec!["why".to_owned()], before);
            let DnsChange::File(file) = &mut record.change else { panic!("{record:?}") };
            file.written.push("# ours\n".to_owned());
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<DnsRecord>(&text).unwrap(), record, "{text}");
        }
    }

    #[test]
    fn our_own_proxy_is_no_resolver_of_the_systems() {
        let content =
            b"nameserver 127.0.2.2\nnameserver 192.0.2.1\nnameserver fd01:db8:1111::3\nsearch lan\n";
        let before = Before::File { content: content.to_vec(), mode: 0o644, uid: 0, gid: 0 };
        let record = DnsRecord::of_file(DnsMode::File, Vec::new(), before);
        let expected =
            SystemDns { servers: vec!["192.0.2.1".parse().unwrap()], search: vec!["lan".to_owned()] };
        assert_eq!(record.system(), expected);
    }
}
