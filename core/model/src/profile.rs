//! The device profile: what the administrator decides, in the field names of WARP's device profile API.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::domain::DomainName;

/// The most split-tunnel and fallback-domain entries that one profile may hold together.
pub const MAX_ENTRIES: usize = 1000;
/// The most DNS search suffixes that one profile may hold.
pub const MAX_SEARCH_SUFFIXES: usize = 25;

/// What of the device's traffic Weft handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ServiceMode {
    /// DNS by the gateway and IP packets through the tunnel.
    #[default]
    #[serde(rename = "warp")]
    TrafficAndDns,
    /// DNS by the gateway alone; IP packets are left as they are.
    #[serde(rename = "1dot1")]
    DnsOnly,
    /// IP packets through the tunnel alone; DNS is left as it is.
    #[serde(rename = "tunnelonly")]
    TrafficOnly,
    /// Only what programs send to a proxy on the loopback address.
    #[serde(rename = "proxy")]
    LocalProxy,
    /// Neither; the device only reports its posture.
    #[serde(rename = "postureonly")]
    PostureOnly,
}

impl ServiceMode {
    /// The modes with the words that the command line uses for them.
    pub const WORDS: [(&'static str, ServiceMode); 5] = [
        ("traffic-and-dns", Self::TrafficAndDns),
        ("dns-only", Self::DnsOnly),
        ("traffic-only", Self::TrafficOnly),
        ("local-proxy", Self::LocalProxy),
        ("posture-only", Self::PostureOnly),
    ];

    /// Whether IP packets go through a tunnel interface in this mode.
    #[must_use]
    pub fn tunnels_traffic(self) -> bool {
        matches!(self, Self::TrafficAndDns | Self::TrafficOnly)
    }

    /// Whether the system's DNS queries are answered by Weft in this mode.
    #[must_use]
    pub fn handles_dns(self) -> bool {
        matches!(self, Self::TrafficAndDns | Self::DnsOnly)
    }
}

impl fmt::Display for ServiceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::WORDS.iter().find(|(_, mode)| mode == self).map_or("", |(word, _)| word))
    }
}

impl FromStr for ServiceMode {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        let found = Self::WORDS.iter().find(|(word, _)| *word == text);
        found.map(|(_, mode)| *mode).ok_or_else(|| ProfileError::ServiceMode(text.to_owned()))
    }
}

/// The service mode as the device profile API nests it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServiceModeV2 {
    /// The mode.
    #[serde(default)]
    pub mode: ServiceMode,
    /// The loopback port of [`ServiceMode::LocalProxy`]; 40000 where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// One entry of a split-tunnel list: a range of addresses, or a host name (exact, or `*.` for any depth below).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitTunnelEntry {
    /// A range of addresses in CIDR form, or one address.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "address_text")]
    pub address: Option<IpNet>,
    /// `example.com` for that name alone, `*.example.com` for every name below it and not the name itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostPattern>,
    /// The administrator's remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl SplitTunnelEntry {
    /// An entry for a range of addresses.
    #[must_use]
    pub fn network(network: IpNet) -> Self {
        Self { address: Some(network.trunc()), host: None, description: None }
    }
}

/// A host name of a split-tunnel list.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// That name alone.
    Exact(DomainName),
    /// Every name below, at any depth, and not the name itself.
    Below(DomainName),
}

impl HostPattern {
    /// Whether the pattern matches `name`.
    #[must_use]
    pub fn matches(&self, name: &DomainName) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Below(suffix) => name.is_below(suffix),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = crate::DomainNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("*.") {
            Some(suffix) => suffix.parse().map(Self::Below),
            None => text.parse().map(Self::Exact),
        }
    }
}

impl Serialize for HostPattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which of the two lists steers a profile's traffic. A profile never holds both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitTunnel<'a> {
    /// Everything but the list goes into the tunnel.
    Exclude(&'a [SplitTunnelEntry]),
    /// Only the list goes into the tunnel.
    Include(&'a [SplitTunnelEntry]),
}

/// A suffix whose names private resolvers answer instead of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FallbackDomain {
    /// The suffix: the name itself and everything below it.
    pub suffix: DomainName,
    /// The resolvers, all asked at once. None: those the device had before it connected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_server: Vec<IpAddr>,
    /// The administrator's remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The protocol that carries the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelProtocol {
    /// WireGuard over UDP.
    #[default]
    Wireguard,
    /// IP in HTTP/3 or HTTP/2 (RFC 9484).
    Masque,
}

/// Which tunnel address the gateway gives to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressMode {
    /// 172.16.0.2 on every device; the gateway translates it one to one.
    #[default]
    Shared,
    /// An address of the device's own out of 100.96.0.0/12.
    Unique,
}

fn yes() -> bool {
    true
}

/// Seconds for which a captive portal may be open where nobody decided.
pub const DEFAULT_CAPTIVE_PORTAL: u32 = 180;

/// The longest that an answer may be given after its time, in seconds: 7 days, as long as the longest time that an
/// answer has of its own (RFC 8767, section 4).
pub const MAX_SERVE_STALE: u32 = 7 * 86_400;

fn captive_portal_default() -> u32 {
    DEFAULT_CAPTIVE_PORTAL
}

/// What the administrator decides for a device. Unknown fields are ignored, so that an older client can read a
/// newer profile; a known field with a bad value makes the whole profile bad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The profile's name.
    #[serde(default)]
    pub name: String,
    /// The administrator's remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether this is the profile for devices that match no other.
    #[serde(default)]
    pub default: bool,
    /// Whether the user may switch between Traffic and DNS and DNS only.
    #[serde(default)]
    pub allow_mode_switch: bool,
    /// Whether the user may leave the organisation.
    #[serde(default = "yes")]
    pub allowed_to_leave: bool,
    /// Minutes until a switched-off device connects again; 0 = stays off; 1 to 1440. Any value but 0 makes
    /// "connected" the state a device starts in.
    #[serde(default)]
    pub auto_connect: u32,
    /// Seconds for which a captive portal may be open; 0 switches the detection off.
    #[serde(default = "captive_portal_default")]
    pub captive_portal: u32,
    /// Whether the transport may not fall back to another.
    #[serde(default)]
    pub disable_auto_fallback: bool,
    /// All but these go into the tunnel. Absent with `include` absent: the default excludes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<SplitTunnelEntry>>,
    /// Only these go into the tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include: Option<Vec<SplitTunnelEntry>>,
    /// Local Domain Fallback. Absent: the default suffixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_domains: Option<Vec<FallbackDomain>>,
    /// DNS search suffixes, in order, 25 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_search_suffixes: Vec<DomainName>,
    /// Seconds after its time for which a kept answer is still given while nobody can be asked (RFC 8767), up to
    /// [`MAX_SERVE_STALE`]; 0 = never.
    #[serde(default)]
    pub dns_serve_stale_seconds: u32,
    /// Whether, of several resolvers asked at once, the first answer with data wins over an earlier one that says
    /// that there are none.
    #[serde(default)]
    pub dns_prefer_positive: bool,
    /// Minutes for which a user may exclude the local network; 0 = until the next reconnect; absent = not allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lan_allow_minutes: Option<u32>,
    /// The largest local network a user may exclude, as a prefix length of 24 to 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lan_allow_subnet_size: Option<u8>,
    /// The service mode.
    #[serde(default)]
    pub service_mode_v2: ServiceModeV2,
    /// Where users turn to for help: an https or mailto address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support_url: Option<String>,
    /// Whether the user may not disconnect; the device starts connected too.
    #[serde(default)]
    pub switch_locked: bool,
    /// The protocol that carries the tunnel.
    #[serde(default)]
    pub tunnel_protocol: TunnelProtocol,
    /// Which tunnel address the device gets.
    #[serde(default)]
    pub tunnel_address: AddressMode,
    /// The tunnel interface's MTU in bytes, 1280 to 1500 (576 and up where the tunnel has no IPv6). Absent: 1280.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
}

/// Why a profile is bad.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// The text is not JSON of a profile's shape.
    #[error("the profile cannot be read: {0}")]
    Syntax(String),
    /// The word is no service mode.
    #[error(
        "\"{0}\" is no service mode (traffic-and-dns, dns-only, traffic-only, local-proxy, posture-only)"
    )]
    ServiceMode(String),
    /// Both lists are given.
    #[error("a profile has exclude or include, not both")]
    BothLists,
    /// An entry names neither or both of address and host.
    #[error("split-tunnel entry {0} must have an address or a host, and not both")]
    Entry(usize),
    /// There are too many entries.
    #[error("{0} split-tunnel and fallback entries; a profile holds {MAX_ENTRIES}")]
    TooManyEntries(usize),
    /// There are too many search suffixes.
    #[error("{0} search suffixes; a profile holds {MAX_SEARCH_SUFFIXES}")]
    TooManySuffixes(usize),
    /// A number is out of its range.
    #[error("{field} is {value}, which is not {allowed}")]
    Range {
        /// The field's name.
        field: &'static str,
        /// The value given.
        value: u64,
        /// What the field allows.
        allowed: &'static str,
    },
    /// The support address has another scheme.
    #[error("support_url must begin with https:// or mailto:")]
    SupportUrl,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: "Default".to_owned(),
            description: None,
            default: true,
            allow_mode_switch: false,
            allowed_to_leave: true,
            auto_connect: 0,
            captive_portal: captive_portal_default(),
            disable_auto_fallback: false,
            exclude: None,
            include: None,
            fallback_domains: None,
            dns_search_suffixes: Vec::new(),
            dns_serve_stale_seconds: 0,
            dns_prefer_positive: false,
            lan_allow_minutes: None,
            lan_allow_subnet_size: None,
            service_mode_v2: ServiceModeV2::default(),
            support_url: None,
            switch_locked: false,
            tunnel_protocol: TunnelProtocol::default(),
            tunnel_address: AddressMode::default(),
            mtu: None,
        }
    }
}

impl Profile {
    /// Reads a profile from JSON and checks it.
    ///
    /// # Errors
    /// A [`ProfileError`] that names the first thing that is wrong.
    pub fn from_json(text: &str) -> Result<Self, ProfileError> {
        // A derived Deserialize takes a JSON array for a struct as well.
        if !text.trim_start().starts_with('{') {
            return Err(ProfileError::Syntax("it is not a JSON object".to_owned()));
        }
        // The message may quote the text, at whatever length and with whatever line breaks are in it.
        let line =
            |text: String| text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
        let profile: Self =
            serde_json::from_str(text).map_err(|error| ProfileError::Syntax(line(error.to_string())))?;
        profile.validate()?;
        Ok(profile)
    }

    /// Checks what the types cannot: ranges, budgets and the choice of one list.
    ///
    /// # Errors
    /// A [`ProfileError`] that names the first thing that is wrong.
    pub fn validate(&self) -> Result<(), ProfileError> {
        if self.exclude.is_some() && self.include.is_some() {
            return Err(ProfileError::BothLists);
        }
        let entries = self.exclude.as_deref().or(self.include.as_deref()).unwrap_or_default();
        if let Some(bad) = entries.iter().position(|entry| entry.address.is_some() == entry.host.is_some()) {
            return Err(ProfileError::Entry(bad + 1));
        }
        let count = entries.len() + self.fallback_domains.as_ref().map_or(0, Vec::len);
        if count > MAX_ENTRIES {
            return Err(ProfileError::TooManyEntries(count));
        }
        let suffixes = self.dns_search_suffixes.iter().collect::<BTreeSet<_>>().len();
        if suffixes > MAX_SEARCH_SUFFIXES {
            return Err(ProfileError::TooManySuffixes(suffixes));
        }
        self.validate_numbers()?;
        match &self.support_url {
            Some(url) if !url.starts_with("https://") && !url.starts_with("mailto:") => {
                Err(ProfileError::SupportUrl)
            }
            _ => Ok(()),
        }
    }

    fn validate_numbers(&self) -> Result<(), ProfileError> {
        let out_of_range = |field, value: u64, allowed| Err(ProfileError::Range { field, value, allowed });
        if self.auto_connect > 1440 {
            return out_of_range("auto_connect", self.auto_connect.into(), "0 to 1440 minutes");
        }
        if self.captive_portal > 3600 {
            return out_of_range("captive_portal", self.captive_portal.into(), "0 to 3600 seconds");
        }
        if self.dns_serve_stale_seconds > MAX_SERVE_STALE {
            return out_of_range(
                "dns_serve_stale_seconds",
                self.dns_serve_stale_seconds.into(),
                "0 to 604800 seconds",
            );
        }
        if let Some(size) = self.lan_allow_subnet_size.filter(|size| !(24..=32).contains(size)) {
            return out_of_range("lan_allow_subnet_size", size.into(), "24 to 32");
        }
        if let Some(mtu) = self.mtu.filter(|mtu| !(576..=1500).contains(mtu)) {
            return out_of_range("mtu", mtu.into(), "576 to 1500 bytes");
        }
        Ok(())
    }

    /// The list in force, or none where the profile leaves it at the defaults.
    #[must_use]
    pub fn split_tunnel(&self) -> Option<SplitTunnel<'_>> {
        match (&self.exclude, &self.include) {
            (_, Some(list)) => Some(SplitTunnel::Include(list)),
            (Some(list), None) => Some(SplitTunnel::Exclude(list)),
            (None, None) => None,
        }
    }
}

/// Reads "10.0.0.0/8" and "10.0.0.1" alike.
mod address_text {
    use std::net::IpAddr;

    use ipnet::IpNet;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Option<IpNet>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(network) => serializer.collect_str(network),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpNet>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse::<IpNet>().map_err(|_| {
                serde::de::Error::custom(format_args!("\"{text}\" is not an address or a CIDR range"))
            })?,
        };
        Ok(Some(network.trunc()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_profile_is_the_default() {
        let profile = Profile::from_json("{}").unwrap();
        assert_eq!(Profile { name: "Default".into(), default: true, ..profile }, Profile::default());
    }

    #[test]
    fn fields_carry_the_names_of_the_device_profile_api() {
        let profile = Profile::from_json(
            r#"{"name":"Office","switch_locked":true,"auto_connect":15,
                "service_mode_v2":{"mode":"1dot1"},"tunnel_protocol":"wireguard",
                "include":[{"address":"203.0.113.9/24","description":"web"},{"host":"*.example.com"}],
                "fallback_domains":[{"suffix":"corp","dns_server":["192.168.50.53"]}],
                "a_field_of_next_year":1}"#,
        )
        .unwrap();
        assert_eq!(profile.service_mode_v2.mode, ServiceMode::DnsOnly);
        let Some(SplitTunnel::Include(list)) = profile.split_tunnel() else { panic!("not Include") };
        assert_eq!(list[0].address, Some("203.0.113.0/24".parse().unwrap()));
        assert!(list[1].host.as_ref().unwrap().matches(&"a.b.example.com".parse().unwrap()));
        assert!(!list[1].host.as_ref().unwrap().matches(&"example.com".parse().unwrap()));
    }

    #[test]
    fn a_bad_profile_is_refused_by_name() {
        let cases = [
            ("", "cannot be read"),
            ("[]", "cannot be read"),
            (r#"{"exclude":[],"include":[]}"#, "not both"),
            (r#"{"exclude":[{"description":"?"}]}"#, "entry 1"),
            (r#"{"exclude":[{"address":"10.0.0.0/8","host":"a.b"}]}"#, "entry 1"),
            (r#"{"exclude":[{"address":"10.0.0.0/33"}]}"#, "10.0.0.0/33"),
            (r#"{"include":[{"host":"a..b"}]}"#, "a..b"),
            (r#"{"auto_connect":1441}"#, "auto_connect"),
            (r#"{"mtu":100}"#, "mtu"),
            (r#"{"dns_serve_stale_seconds":604801}"#, "dns_serve_stale_seconds"),
            (r#"{"dns_serve_stale_seconds":-1}"#, "-1"),
            (r#"{"dns_prefer_positive":"yes"}"#, "\"yes\""),
            (r#"{"lan_allow_subnet_size":8}"#, "lan_allow_subnet_size"),
            (r#"{"support_url":"http://example.com"}"#, "support_url"),
            (r#"{"service_mode_v2":{"mode":"magic"}}"#, "magic"),
            (r#"{"service_mode_v2":{"mode":"two\nlines"}}"#, "two lines"),
            (r#"{"exclude":[{"address":"10.0.0.0/8\n"}]}"#, "10.0.0.0/8 "),
        ];
        for (text, named) in cases {
            let error = Profile::from_json(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
