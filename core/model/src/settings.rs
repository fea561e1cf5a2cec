//! The values in force, each with its origin: MDM file over profile over user over default.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::domain::DomainName;
use crate::plan::AppRules;
use crate::profile::{FallbackDomain, HostPattern, ServiceMode, TunnelProtocol};

/// Who decided a value. The order is the precedence: a later one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Nobody: Weft's own default.
    Default,
    /// The user, by the command line or an app.
    UserSet,
    /// The administrator, by the profile ("network policy").
    NetworkPolicy,
    /// The administrator, by a file on the device ("local policy", MDM).
    LocalPolicy,
}

/// A value and who decided it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting<T> {
    /// The value in force.
    pub value: T,
    /// Who decided it.
    pub origin: Origin,
}

impl<T> Setting<T> {
    /// A value that nobody decided.
    pub fn default_value(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }

    /// Takes `value` if it is given and `origin` outranks or equals the present one.
    pub fn overlay(&mut self, value: Option<T>, origin: Origin) {
        if let Some(value) = value.filter(|_| origin >= self.origin) {
            *self = Self { value, origin };
        }
    }
}

/// The split tunnel in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitTunnelSetting {
    /// Whether the lists say what stays out of the tunnel, or what goes in.
    pub mode: SplitTunnelMode,
    /// The ranges of addresses.
    pub networks: Vec<IpNet>,
    /// The host names.
    pub hosts: Vec<HostPattern>,
}

/// What the split-tunnel lists mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitTunnelMode {
    /// Everything but the lists goes into the tunnel.
    #[default]
    Exclude,
    /// Only the lists go into the tunnel.
    Include,
}

/// What the user has chosen. A choice counts where no administrator decided otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UserChoices {
    /// The service mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_mode: Option<ServiceMode>,
}

/// The values in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The name of the profile they came from, where there is one.
    pub profile_name: Option<String>,
    /// What of the traffic Weft handles.
    pub service_mode: Setting<ServiceMode>,
    /// Whether the user may switch between Traffic and DNS and DNS only.
    pub allow_mode_switch: Setting<bool>,
    /// Whether the user may not disconnect.
    pub switch_locked: Setting<bool>,
    /// Whether the user may delete the registration.
    pub allowed_to_leave: Setting<bool>,
    /// Minutes until a switched-off device connects again; 0 = stays off.
    pub auto_connect: Setting<u32>,
    /// Seconds for which a captive portal may be open; 0 = none is ever opened.
    pub captive_portal: Setting<u32>,
    /// The tunnel protocol.
    pub tunnel_protocol: Setting<TunnelProtocol>,
    /// Whether the transport may not fall back to another.
    pub disable_auto_fallback: Setting<bool>,
    /// The split tunnel.
    pub split_tunnel: Setting<SplitTunnelSetting>,
    /// The suffixes that private resolvers answer.
    pub fallback_domains: Setting<Vec<FallbackDomain>>,
    /// The search suffixes that the profile adds.
    pub dns_search_suffixes: Setting<Vec<DomainName>>,
    /// Seconds after its time for which a kept answer is still given while nobody can be asked (RFC 8767); 0 = never.
    pub dns_serve_stale_seconds: Setting<u32>,
    /// Whether, of several resolvers asked at once, the first answer with data wins over an earlier one that says
    /// that there are none.
    pub dns_prefer_positive: Setting<bool>,
    /// Which apps the tunnel carries, on systems that know apps.
    pub apps: Setting<AppRules>,
    /// The tunnel interface's MTU in bytes.
    pub mtu: Setting<u16>,
    /// Where users turn to for help.
    pub support_url: Setting<Option<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_higher_origin_wins_whatever_the_order() {
        let mut forward = Setting::default_value(0);
        forward.overlay(Some(1), Origin::UserSet);
        forward.overlay(Some(2), Origin::NetworkPolicy);
        let mut backward = Setting::default_value(0);
        backward.overlay(Some(2), Origin::NetworkPolicy);
        backward.overlay(Some(1), Origin::UserSet);
        backward.overlay(None, Origin::LocalPolicy);
        assert_eq!(forward, backward);
        assert_eq!(forward, Setting { value: 2, origin: Origin::NetworkPolicy });
    }
}
