//! What the app gives: how a session starts, the network, the administrator's managed configuration.

use std::net::IpAddr;

use weft_model::NetworkState;

use super::ServiceMode;

/// What a session starts with.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct SessionConfig {
    /// The device's name, as its user knows it; 1 to 253 bytes. Enrolment uses it where the link brings none.
    pub device_name: String,
    /// The system: "android", "ios", "chromeos" or "linux".
    pub os: String,
    /// The system's version, for logs.
    pub os_version: String,
    /// The administrator's managed configuration; none = there is none.
    pub managed: Option<ManagedConfig>,
    /// The most bytes that the cache of DNS answers may take; 0 switches it off, none = the core's own bound.
    pub dns_cache_bytes: Option<u64>,
}

/// What an MDM sets on the device ("local policy"): outranks the profile and the user.
#[derive(Debug, Clone, PartialEq, Eq, Default, uniffi::Record)]
pub struct ManagedConfig {
    /// The gateway to enrol with.
    pub url: Option<String>,
    /// The enrolment token.
    pub token: Option<String>,
    /// The fingerprint of the gateway's certificate authority, 64 hexadecimal digits; none = the system's.
    pub ca_fingerprint: Option<String>,
    /// The service mode.
    pub service_mode: Option<ServiceMode>,
    /// Whether the user may not disconnect.
    pub switch_locked: Option<bool>,
    /// Minutes until a switched-off device connects again, 1 to 1440; 0 = stays off.
    pub auto_connect: Option<u32>,
    /// Where users turn to for help: an https or mailto address.
    pub support_url: Option<String>,
    /// The apps that the tunnel carries, and no others; empty = all.
    pub allowed_apps: Vec<String>,
    /// The apps that the tunnel does not carry; passed over where `allowed_apps` names any.
    pub disallowed_apps: Vec<String>,
}

/// Whether the system encrypts its DNS queries by itself, past any VPN's resolver (Android's private DNS).
#[derive(Debug, Clone, PartialEq, Eq, Default, uniffi::Enum)]
pub enum PrivateDns {
    /// It does not.
    #[default]
    Off,
    /// Where the resolver offers it: Weft's does not, so queries come to Weft.
    Opportunistic,
    /// Always, by this resolver: queries do not come to Weft.
    Strict {
        /// The resolver's name.
        host: String,
    },
}

/// The network that the device is on besides the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Default, uniffi::Record)]
pub struct NetworkInfo {
    /// What tells this network from another one of the same interface (Android's network handle).
    pub id: Option<String>,
    /// Its interface; none = there is no network.
    pub interface: Option<String>,
    /// Whether it carries IPv4.
    pub has_v4: bool,
    /// Whether it carries IPv6.
    pub has_v6: bool,
    /// Its resolvers, as addresses.
    pub dns_servers: Vec<String>,
    /// Whether it is metered.
    pub metered: bool,
    /// The system's own encrypted DNS.
    pub private_dns: PrivateDns,
}

impl NetworkInfo {
    /// The network as the core tells one from another: an interface of the same name on another network is another.
    pub(crate) fn state(&self) -> NetworkState {
        let interface = match (&self.interface, &self.id) {
            (Some(interface), Some(id)) => Some(format!("{interface} ({id})")),
            (Some(interface), None) => Some(interface.clone()),
            (None, id) => id.clone(),
        };
        NetworkState { interface, gateway: None, has_v4: self.has_v4, has_v6: self.has_v6 }
    }

    /// What the user should know of it.
    pub(crate) fn warning(&self) -> Option<String> {
        match &self.private_dns {
            PrivateDns::Strict { host } => {
                let host: String = host.chars().filter(|letter| !letter.is_control()).take(253).collect();
                Some(format!("private DNS ({host}) is on: names are resolved past Weft; set it to automatic"))
            }
            PrivateDns::Off | PrivateDns::Opportunistic => None,
        }
    }

    /// The resolvers; what is no address is passed over: a zone ("fe80::1%wlan0") names an interface that Weft's
    /// sockets do not know.
    pub(crate) fn resolvers(&self) -> Vec<IpAddr> {
        self.dns_servers.iter().filter_map(|text| text.parse().ok()).collect()
    }
}
