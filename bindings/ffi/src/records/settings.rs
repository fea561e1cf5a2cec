//! The values in force, each with who decided it.

use weft_model::AppRules;
use weft_model::settings::SplitTunnelMode as ModelSplitTunnelMode;

use super::plan::{IpNetwork, networks};

/// What of the device's traffic Weft handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum ServiceMode {
    /// DNS by the gateway and IP packets through the tunnel.
    TrafficAndDns,
    /// DNS by the gateway alone.
    DnsOnly,
    /// IP packets through the tunnel alone.
    TrafficOnly,
    /// Only what programs send to a proxy on the loopback address.
    LocalProxy,
    /// Neither; the device only reports its posture.
    PostureOnly,
}

impl From<weft_model::ServiceMode> for ServiceMode {
    fn from(mode: weft_model::ServiceMode) -> Self {
        match mode {
            weft_model::ServiceMode::TrafficAndDns => Self::TrafficAndDns,
            weft_model::ServiceMode::DnsOnly => Self::DnsOnly,
            weft_model::ServiceMode::TrafficOnly => Self::TrafficOnly,
            weft_model::ServiceMode::LocalProxy => Self::LocalProxy,
            weft_model::ServiceMode::PostureOnly => Self::PostureOnly,
        }
    }
}

impl From<ServiceMode> for weft_model::ServiceMode {
    fn from(mode: ServiceMode) -> Self {
        match mode {
            ServiceMode::TrafficAndDns => Self::TrafficAndDns,
            ServiceMode::DnsOnly => Self::DnsOnly,
            ServiceMode::TrafficOnly => Self::TrafficOnly,
            ServiceMode::LocalProxy => Self::LocalProxy,
            ServiceMode::PostureOnly => Self::PostureOnly,
        }
    }
}

/// Who decided a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Origin {
    /// Nobody: Weft's own default.
    Default,
    /// The user.
    UserSet,
    /// The administrator, by the profile ("network policy").
    NetworkPolicy,
    /// The administrator, by the device's managed configuration ("local policy").
    LocalPolicy,
}

impl From<weft_model::Origin> for Origin {
    fn from(origin: weft_model::Origin) -> Self {
        match origin {
            weft_model::Origin::Default => Self::Default,
            weft_model::Origin::UserSet => Self::UserSet,
            weft_model::Origin::NetworkPolicy => Self::NetworkPolicy,
            weft_model::Origin::LocalPolicy => Self::LocalPolicy,
        }
    }
}

/// A value for people.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Setting {
    /// Its name, as in the profile ("service_mode").
    pub name: String,
    /// The value.
    pub value_text: String,
    /// Who decided it.
    pub origin: Origin,
}

/// What the split-tunnel lists mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum SplitTunnelMode {
    /// Everything but the lists goes into the tunnel.
    Exclude,
    /// Only the lists go into the tunnel.
    Include,
}

impl From<ModelSplitTunnelMode> for SplitTunnelMode {
    fn from(mode: ModelSplitTunnelMode) -> Self {
        match mode {
            ModelSplitTunnelMode::Exclude => Self::Exclude,
            ModelSplitTunnelMode::Include => Self::Include,
        }
    }
}

/// The split tunnel in force.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct SplitTunnel {
    /// What the lists mean.
    pub mode: SplitTunnelMode,
    /// The ranges of addresses.
    pub networks: Vec<IpNetwork>,
    /// The host names: `example.com`, or `*.example.com` for all below.
    pub hosts: Vec<String>,
}

/// A suffix whose names private resolvers answer (Local Domain Fallback).
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct FallbackDomain {
    /// The suffix.
    pub suffix: String,
    /// The resolvers; empty = those of the network the device is on.
    pub servers: Vec<String>,
}

impl From<&weft_model::FallbackDomain> for FallbackDomain {
    fn from(domain: &weft_model::FallbackDomain) -> Self {
        Self {
            suffix: domain.suffix.to_string(),
            servers: domain.dns_server.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The values in force.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Settings {
    /// Each with its origin, for people.
    pub list: Vec<Setting>,
    /// What of the traffic Weft handles.
    pub service_mode: ServiceMode,
    /// Whether the user may switch between Traffic and DNS and DNS only.
    pub allow_mode_switch: bool,
    /// Whether the user may not disconnect.
    pub switch_locked: bool,
    /// Whether the user may delete the registration.
    pub allowed_to_leave: bool,
    /// Minutes until a switched-off device connects again; 0 = stays off. Any other value makes "connected" the state
    /// that a device starts in.
    pub auto_connect: u32,
    /// The split tunnel.
    pub split_tunnel: SplitTunnel,
    /// Local Domain Fallback.
    pub fallback_domains: Vec<FallbackDomain>,
    /// Where users turn to for help.
    pub support_url: Option<String>,
    /// The name of the profile; none = none was delivered yet.
    pub profile_name: Option<String>,
}

impl From<&weft_model::Settings> for Settings {
    fn from(settings: &weft_model::Settings) -> Self {
        let split = &settings.split_tunnel.value;
        Self {
            list: list(settings),
            service_mode: settings.service_mode.value.into(),
            allow_mode_switch: settings.allow_mode_switch.value,
            switch_locked: settings.switch_locked.value,
            allowed_to_leave: settings.allowed_to_leave.value,
            auto_connect: settings.auto_connect.value,
            split_tunnel: SplitTunnel {
                mode: split.mode.into(),
                networks: networks(&split.networks),
                hosts: split.hosts.iter().map(ToString::to_string).collect(),
            },
            fallback_domains: settings.fallback_domains.value.iter().map(FallbackDomain::from).collect(),
            support_url: settings.support_url.value.clone(),
            profile_name: settings.profile_name.clone(),
        }
    }
}

fn list(settings: &weft_model::Settings) -> Vec<Setting> {
    fn line<T>(name: &str, setting: &weft_model::Setting<T>, text: impl FnOnce(&T) -> String) -> Setting {
        Setting { name: name.to_owned(), value_text: text(&setting.value), origin: setting.origin.into() }
    }
    let yes_no = |value: &bool| if *value { "yes" } else { "no" }.to_owned();
    vec![
        line("service_mode", &settings.service_mode, ToString::to_string),
        line("allow_mode_switch", &settings.allow_mode_switch, yes_no),
        line("switch_locked", &settings.switch_locked, yes_no),
        line("allowed_to_leave", &settings.allowed_to_leave, yes_no),
        line("auto_connect", &settings.auto_connect, |minutes| match minutes {
            0 => "off".to_owned(),
            minutes => format!("after {minutes} min"),
        }),
        line("captive_portal", &settings.captive_portal, |seconds| match seconds {
            0 => "never".to_owned(),
            seconds => format!("for {seconds} s"),
        }),
        line("split_tunnel", &settings.split_tunnel, |split| {
            let mode = match split.mode {
                ModelSplitTunnelMode::Exclude => "exclude",
                ModelSplitTunnelMode::Include => "include",
            };
            format!("{mode} {} ranges, {} hosts", split.networks.len(), split.hosts.len())
        }),
        line("fallback_domains", &settings.fallback_domains, |domains| format!("{} suffixes", domains.len())),
        line("dns_search_suffixes", &settings.dns_search_suffixes, |suffixes| {
            suffixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }),
        line("dns_serve_stale_seconds", &settings.dns_serve_stale_seconds, |seconds| match seconds {
            0 => "off".to_owned(),
            seconds => format!("for {seconds} s"),
        }),
        line("dns_prefer_positive", &settings.dns_prefer_positive, yes_no),
        line("apps", &settings.apps, |apps| match apps {
            AppRules::All => "all".to_owned(),
            AppRules::Only(apps) => format!("only {}", apps.join(", ")),
            AppRules::Except(apps) => format!("all but {}", apps.join(", ")),
        }),
        line("mtu", &settings.mtu, |mtu| format!("{mtu} bytes")),
        line("support_url", &settings.support_url, |url| url.clone().unwrap_or_default()),
    ]
}
