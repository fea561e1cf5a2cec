//! Which values are in force, and who decided them.

use ipnet::IpNet;
use weft_model::profile::{DEFAULT_CAPTIVE_PORTAL, TunnelProtocol};
use weft_model::settings::{SplitTunnelMode, SplitTunnelSetting, UserChoices};
use weft_model::{
    AppRules, DEFAULT_MTU, DnsUpstream, LocalPolicy, Origin, Profile, Registration, RegistrationSource,
    ServiceMode, Setting, Settings, SplitTunnel, SplitTunnelEntry,
};

use crate::defaults;
use crate::set::NetSet;

/// The values in force where no local policy decides any: [`compile_managed_settings`].
#[must_use]
pub fn compile_settings(
    profile: Option<&Profile>,
    registration: Option<&Registration>,
    user: &UserChoices,
) -> Settings {
    compile_managed_settings(&LocalPolicy::default(), profile, registration, user)
}

/// The values in force: local policy over network policy (`profile`) over user over default.
///
/// What a registration itself brings (a wg-quick file's destinations, MTU and search domains) ranks as the user's
/// choice where it was imported and as network policy where a gateway gave it. The user's service mode counts where
/// the profile lets him switch, between Traffic and DNS and DNS only, and where no administrator can have a say:
/// without a registration or with an imported one.
#[must_use]
pub fn compile_managed_settings(
    policy: &LocalPolicy,
    profile: Option<&Profile>,
    registration: Option<&Registration>,
    user: &UserChoices,
) -> Settings {
    let source = registration.map(|registration| registration.source);
    let mut settings = default_settings();
    if profile.is_none() && source != Some(RegistrationSource::Orchestrated) {
        settings.allow_mode_switch.value = true;
        settings.service_mode.overlay(user.service_mode, Origin::UserSet);
    }
    if let Some(registration) = registration {
        overlay_registration(&mut settings, registration);
    }
    if let Some(profile) = profile {
        overlay_profile(&mut settings, profile);
    }
    overlay_policy(&mut settings, policy);
    if profile.is_some() {
        overlay_allowed_switch(&mut settings, user);
    }
    settings
}

fn default_settings() -> Settings {
    let split_tunnel = SplitTunnelSetting {
        mode: SplitTunnelMode::Exclude,
        networks: defaults::EXCLUDES.to_vec(),
        hosts: Vec::new(),
    };
    Settings {
        profile_name: None,
        service_mode: Setting::default_value(ServiceMode::default()),
        allow_mode_switch: Setting::default_value(false),
        switch_locked: Setting::default_value(false),
        allowed_to_leave: Setting::default_value(true),
        auto_connect: Setting::default_value(0),
        captive_portal: Setting::default_value(DEFAULT_CAPTIVE_PORTAL),
        tunnel_protocol: Setting::default_value(TunnelProtocol::default()),
        disable_auto_fallback: Setting::default_value(false),
        split_tunnel: Setting::default_value(split_tunnel),
        fallback_domains: Setting::default_value(defaults::fallback_domains()),
        dns_search_suffixes: Setting::default_value(Vec::new()),
        dns_serve_stale_seconds: Setting::default_value(0),
        dns_prefer_positive: Setting::default_value(false),
        apps: Setting::default_value(AppRules::All),
        mtu: Setting::default_value(DEFAULT_MTU),
        support_url: Setting::default_value(None),
    }
}

fn overlay_registration(settings: &mut Settings, registration: &Registration) {
    let Some(gateway) = registration.gateways.first() else { return };
    if registration.source == RegistrationSource::Orchestrated {
        settings.mtu.overlay(gateway.tunnel.mtu, Origin::NetworkPolicy);
        return;
    }
    settings.mtu.overlay(gateway.tunnel.mtu, Origin::UserSet);
    let split = imported_split_tunnel(&gateway.tunnel.allowed_ips, &registration.addresses);
    settings.split_tunnel.overlay(split, Origin::UserSet);
    // DNS= of a wg-quick file takes every name; suffixes of the file's own network among them ("corp", "internal").
    settings.fallback_domains.value = Vec::new();
    if let DnsUpstream::Plain { search, .. } = &gateway.dns {
        settings.dns_search_suffixes.overlay(Some(search.clone()), Origin::UserSet);
    }
}

/// AllowedIPs as a split tunnel. A default route of either family means "everything": Exclude with the default
/// excludes, less what the file names itself, be it in AllowedIPs or as the interface's own network. Anything
/// narrower is Include. `None`: the far side takes everything and the file says nothing of its own.
fn imported_split_tunnel(allowed: &[IpNet], addresses: &[IpNet]) -> Option<SplitTunnelSetting> {
    let setting = |mode, networks: NetSet| {
        Some(SplitTunnelSetting { mode, networks: networks.to_minimal_cidrs(), hosts: Vec::new() })
    };
    if !allowed.is_empty() && allowed.iter().all(|network| network.prefix_len() > 0) {
        return setting(SplitTunnelMode::Include, allowed.iter().collect());
    }
    let named: NetSet = allowed.iter().chain(addresses).filter(|network| network.prefix_len() > 0).collect();
    let excludes: NetSet = defaults::EXCLUDES.iter().collect();
    let narrowed = excludes.subtract(&named);
    if narrowed == excludes {
        return None;
    }
    setting(SplitTunnelMode::Exclude, narrowed)
}

fn overlay_profile(settings: &mut Settings, profile: &Profile) {
    let by = Origin::NetworkPolicy;
    settings.profile_name = Some(profile.name.clone());
    settings.service_mode.overlay(Some(profile.service_mode_v2.mode), by);
    settings.allow_mode_switch.overlay(Some(profile.allow_mode_switch), by);
    settings.switch_locked.overlay(Some(profile.switch_locked), by);
    settings.allowed_to_leave.overlay(Some(profile.allowed_to_leave), by);
    settings.auto_connect.overlay(Some(profile.auto_connect), by);
    settings.captive_portal.overlay(Some(profile.captive_portal), by);
    settings.tunnel_protocol.overlay(Some(profile.tunnel_protocol), by);
    settings.disable_auto_fallback.overlay(Some(profile.disable_auto_fallback), by);
    settings.split_tunnel.overlay(profile.split_tunnel().map(profile_split_tunnel), by);
    settings.fallback_domains.overlay(profile.fallback_domains.clone(), by);
    let suffixes = Some(&profile.dns_search_suffixes).filter(|list| !list.is_empty());
    settings.dns_search_suffixes.overlay(suffixes.cloned(), by);
    settings.dns_serve_stale_seconds.overlay(Some(profile.dns_serve_stale_seconds), by);
    settings.dns_prefer_positive.overlay(Some(profile.dns_prefer_positive), by);
    settings.mtu.overlay(profile.mtu, by);
    settings.support_url.overlay(profile.support_url.clone().map(Some), by);
}

fn overlay_policy(settings: &mut Settings, policy: &LocalPolicy) {
    let by = Origin::LocalPolicy;
    settings.service_mode.overlay(policy.service_mode, by);
    settings.switch_locked.overlay(policy.switch_locked, by);
    settings.auto_connect.overlay(policy.auto_connect, by);
    settings.support_url.overlay(policy.support_url.clone().map(Some), by);
    settings.apps.overlay(policy.apps.clone(), by);
}

fn profile_split_tunnel(split: SplitTunnel<'_>) -> SplitTunnelSetting {
    let (mode, list): (_, &[SplitTunnelEntry]) = match split {
        SplitTunnel::Exclude(list) => (SplitTunnelMode::Exclude, list),
        SplitTunnel::Include(list) => (SplitTunnelMode::Include, list),
    };
    SplitTunnelSetting {
        mode,
        networks: list.iter().filter_map(|entry| entry.address).collect(),
        hosts: list.iter().filter_map(|entry| entry.host.clone()).collect(),
    }
}

/// Takes the user's service mode where network policy lets him switch from its own mode to that one.
fn overlay_allowed_switch(settings: &mut Settings, user: &UserChoices) {
    let allowed = settings.allow_mode_switch.value && settings.service_mode.origin <= Origin::NetworkPolicy;
    let switchable = |mode: ServiceMode| mode.handles_dns();
    let Some(wanted) = user.service_mode.filter(|mode| switchable(*mode)) else { return };
    let present = settings.service_mode.value;
    if allowed && switchable(present) && wanted != present {
        settings.service_mode = Setting { value: wanted, origin: Origin::UserSet };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{imported, orchestrated, profile};

    fn compile(json: &str, mode: Option<ServiceMode>) -> Settings {
        compile_settings(Some(&profile(json)), Some(&orchestrated()), &UserChoices { service_mode: mode })
    }

    fn networks(settings: &Settings) -> String {
        let texts: Vec<String> =
            settings.split_tunnel.value.networks.iter().map(ToString::to_string).collect();
        texts.join(" ")
    }

    #[test]
    fn what_nobody_decided_is_the_default() {
        let settings = compile_settings(None, None, &UserChoices::default());
        assert_eq!(settings.service_mode, Setting::default_value(ServiceMode::TrafficAndDns));
        assert_eq!(settings.split_tunnel.value.networks, defaults::EXCLUDES);
        assert_eq!(settings.split_tunnel.origin, Origin::Default);
        assert_eq!(settings.fallback_domains.value.len(), 14);
        assert_eq!(settings.mtu, Setting::default_value(1280));
    }

    #[test]
    fn the_profile_decides_what_it_names() {
        let settings = compile(
            r#"{"name":"Office","mtu":1420,"include":[{"address":"203.0.113.0/24"},{"host":"*.example.com"}],
                "fallback_domains":[],"dns_search_suffixes":["corp.example"],"switch_locked":true,"captive_portal":60,
                "dns_serve_stale_seconds":3600,"dns_prefer_positive":true}"#,
            None,
        );
        assert_eq!(settings.profile_name.as_deref(), Some("Office"));
        assert_eq!(settings.mtu, Setting { value: 1420, origin: Origin::NetworkPolicy });
        assert_eq!(settings.split_tunnel.value.mode, SplitTunnelMode::Include);
        assert_eq!(settings.split_tunnel.value.hosts.len(), 1);
        assert_eq!(settings.fallback_domains, Setting { value: Vec::new(), origin: Origin::NetworkPolicy });
        assert_eq!(settings.switch_locked, Setting { value: true, origin: Origin::NetworkPolicy });
        assert_eq!(settings.captive_portal, Setting { value: 60, origin: Origin::NetworkPolicy });
        let stale = &settings.dns_serve_stale_seconds;
        assert_eq!(*stale, Setting { value: 3600, origin: Origin::NetworkPolicy });
        assert_eq!(settings.dns_prefer_positive, Setting { value: true, origin: Origin::NetworkPolicy });
        assert_eq!(settings.support_url.origin, Origin::Default);
    }

    #[test]
    fn the_user_switches_between_the_two_modes_where_he_may() {
        use ServiceMode::{DnsOnly, LocalProxy, PostureOnly, TrafficAndDns, TrafficOnly};
        let cases = [
            // mode of the profile, may switch, wanted, in force
            ("warp", true, DnsOnly, DnsOnly),
            ("1dot1", true, TrafficAndDns, TrafficAndDns),
            ("warp", false, DnsOnly, TrafficAndDns),
            ("1dot1", false, TrafficAndDns, DnsOnly),
            ("warp", true, TrafficOnly, TrafficAndDns),
            ("warp", true, PostureOnly, TrafficAndDns),
            ("warp", true, LocalProxy, TrafficAndDns),
            ("tunnelonly", true, DnsOnly, TrafficOnly),
            ("tunnelonly", true, TrafficAndDns, TrafficOnly),
        ];
        for (mode, may, wanted, in_force) in cases {
            let json = format!(r#"{{"allow_mode_switch":{may},"service_mode_v2":{{"mode":"{mode}"}}}}"#);
            let settings = compile(&json, Some(wanted));
            let switched = wanted == in_force;
            let origin = if switched { Origin::UserSet } else { Origin::NetworkPolicy };
            assert_eq!(settings.service_mode, Setting { value: in_force, origin }, "{json} {wanted}");
        }
        assert_eq!(compile("{}", None).service_mode.origin, Origin::NetworkPolicy);
    }

    #[test]
    fn without_an_administrator_the_user_has_the_mode() {
        let user = UserChoices { service_mode: Some(ServiceMode::TrafficOnly) };
        let imported = imported(&["0.0.0.0/0", "::/0"]);
        for registration in [None, Some(&imported)] {
            let settings = compile_settings(None, registration, &user);
            assert_eq!(
                settings.service_mode,
                Setting { value: ServiceMode::TrafficOnly, origin: Origin::UserSet }
            );
            assert!(settings.allow_mode_switch.value);
        }
        let unread = compile_settings(None, Some(&orchestrated()), &user);
        assert_eq!(unread.service_mode, Setting::default_value(ServiceMode::TrafficAndDns));
        assert!(!unread.allow_mode_switch.value);
    }

    #[test]
    fn allowed_ips_become_the_split_tunnel() {
        let compile =
            |allowed: &[&str]| compile_settings(None, Some(&imported(allowed)), &UserChoices::default());
        let include = compile(&["192.168.9.0/24", "192.168.8.0/24", "2001:db8::/32"]);
        assert_eq!(include.split_tunnel.value.mode, SplitTunnelMode::Include);
        assert_eq!(networks(&include), "192.168.8.0/23 2001:db8::/32");
        assert_eq!(include.split_tunnel.origin, Origin::UserSet);

        // The interface is 10.8.0.2/24: its network is the tunnel's, though 10.0.0.0/8 is a default exclude.
        let everything = compile(&["0.0.0.0/0", "::/0", "192.168.0.0/16"]);
        let excluded: NetSet = everything.split_tunnel.value.networks.iter().collect();
        assert_eq!(everything.split_tunnel.value.mode, SplitTunnelMode::Exclude);
        for (address, outside) in
            [("10.8.1.1", true), ("10.8.0.1", false), ("192.168.1.1", false), ("172.16.9.9", true)]
        {
            assert_eq!(excluded.contains(address.parse().unwrap()), outside, "{address}");
        }
        assert_eq!(compile(&["0.0.0.0/0"]).split_tunnel.value.mode, SplitTunnelMode::Exclude);
    }

    #[test]
    fn an_imported_file_brings_its_mtu_and_search_domains() {
        let mut registration = imported(&["0.0.0.0/0"]);
        registration.gateways[0].tunnel.mtu = Some(1400);
        let settings = compile_settings(None, Some(&registration), &UserChoices::default());
        assert_eq!(settings.mtu, Setting { value: 1400, origin: Origin::UserSet });
        assert_eq!(settings.dns_search_suffixes.value, ["office.example".parse().unwrap()]);
        assert!(settings.fallback_domains.value.is_empty());
    }

    #[test]
    fn local_policy_outranks_the_profile_and_the_user() {
        use ServiceMode::{DnsOnly, TrafficAndDns};
        let (local, network, user) = (Origin::LocalPolicy, Origin::NetworkPolicy, Origin::UserSet);
        let cases = [
            // mode of the policy, of the profile, wanted by the user, in force
            (None, Some("warp"), Some(DnsOnly), DnsOnly, user),
            (None, Some("1dot1"), None, DnsOnly, network),
            (Some(TrafficAndDns), Some("1dot1"), None, TrafficAndDns, local),
            (Some(TrafficAndDns), Some("warp"), Some(DnsOnly), TrafficAndDns, local),
            (Some(DnsOnly), None, Some(TrafficAndDns), DnsOnly, local),
        ];
        for (policy, of_profile, wanted, value, origin) in cases {
            let policy = LocalPolicy { service_mode: policy, ..LocalPolicy::default() };
            let json =
                |mode| format!(r#"{{"service_mode_v2":{{"mode":"{mode}"}},"allow_mode_switch":true}}"#);
            let profile = of_profile.map(|mode| profile(&json(mode)));
            let user = UserChoices { service_mode: wanted };
            let settings = compile_managed_settings(&policy, profile.as_ref(), Some(&orchestrated()), &user);
            assert_eq!(
                settings.service_mode,
                Setting { value, origin },
                "{policy:?} {of_profile:?} {wanted:?}"
            );
        }
    }

    #[test]
    fn local_policy_decides_what_it_names_and_leaves_the_rest() {
        let policy = LocalPolicy {
            service_mode: None,
            switch_locked: Some(false),
            auto_connect: Some(5),
            support_url: Some("https://help.example".to_owned()),
            apps: Some(AppRules::Except(vec!["org.example.bank".to_owned()])),
        };
        let profile = profile(r#"{"switch_locked":true,"auto_connect":60,"captive_portal":20}"#);
        let user = UserChoices::default();
        let settings = compile_managed_settings(&policy, Some(&profile), Some(&orchestrated()), &user);
        let by = Origin::LocalPolicy;
        assert_eq!(settings.switch_locked, Setting { value: false, origin: by });
        assert_eq!(settings.auto_connect, Setting { value: 5, origin: by });
        assert_eq!(settings.support_url.value.as_deref(), Some("https://help.example"));
        assert_eq!(settings.apps.origin, by);
        assert_eq!(settings.captive_portal, Setting { value: 20, origin: Origin::NetworkPolicy });
        let unmanaged = compile_settings(Some(&profile), Some(&orchestrated()), &user);
        assert_eq!(unmanaged.apps, Setting::default_value(AppRules::All));
        assert_eq!(unmanaged.switch_locked, Setting { value: true, origin: Origin::NetworkPolicy });
    }
}
