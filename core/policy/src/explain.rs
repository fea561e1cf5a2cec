//! Why a name or an address goes the way it goes.

use std::net::IpAddr;

use ipnet::IpNet;
use weft_model::explain::{AddressExplanation, HostExplanation, Way};
use weft_model::settings::SplitTunnelMode;
use weft_model::{DnsSource, DnsUpstream, DomainName};

use crate::defaults;
use crate::domains::{FallbackRules, HostRules, wire};
use crate::plan::PlanInputs;
use crate::set::NetSet;
use crate::tunnel_set::{TunnelSet, always_in, always_out, carried, own_addresses};

/// By whom a name is resolved and which way its addresses go, once the device is connected under these inputs. A
/// hosts file and an open captive portal, which both pass, are left out of account.
#[must_use]
pub fn explain_host(inputs: &PlanInputs<'_>, name: &DomainName) -> HostExplanation {
    let settings = inputs.settings;
    let split = &settings.split_tunnel.value;
    let mut why = Vec::new();
    let source = source(inputs, name, &mut why);
    let tunnels = settings.service_mode.value.tunnels_traffic();
    let learns = tunnels && source.is_some();
    let entry = HostRules::new(&split.hosts).find(&wire(name)).cloned();
    let way = match (&entry, split.mode) {
        _ if !tunnels => {
            why.push(format!("The service mode {} tunnels no traffic.", settings.service_mode.value));
            Some(Way::Outside)
        }
        (Some(entry), _) if !learns => {
            why.push(format!("The entry {entry} has no effect: its names do not come to Weft."));
            None
        }
        (Some(entry), SplitTunnelMode::Exclude) => {
            why.push(format!("The split tunnel excludes {entry}."));
            Some(Way::Outside)
        }
        (Some(entry), SplitTunnelMode::Include) => {
            why.push(format!("The split tunnel includes {entry}."));
            Some(Way::Tunnel)
        }
        (None, _) => {
            why.push("No host entry of the split tunnel matches: each address goes by its range.".to_owned());
            None
        }
    };
    HostExplanation { name: name.clone(), source, mode: split.mode, entry, way, why }
}

/// Who answers for a name; none where it does not come to Weft.
fn source(inputs: &PlanInputs<'_>, name: &DomainName, why: &mut Vec<String>) -> Option<DnsSource> {
    let mode = inputs.settings.service_mode.value;
    let upstream = inputs.registration.and_then(|known| known.gateways.first()).map(|first| &first.dns);
    let system = inputs.system_resolvers.to_vec();
    let upstream = match upstream {
        _ if !mode.handles_dns() => {
            why.push(format!("The service mode {mode} leaves names to the system."));
            return None;
        }
        None | Some(DnsUpstream::System) => {
            why.push("Nobody but the system's own resolvers answers names.".to_owned());
            return None;
        }
        Some(upstream) => upstream,
    };
    if name.as_str() == weft_model::DNS_SELF_CHECK_NAME {
        why.push("Weft itself answers the name by which it is checked.".to_owned());
        return Some(DnsSource::Local);
    }
    if let Some(rule) = FallbackRules::new(&inputs.settings.fallback_domains.value).resolve(&wire(name)) {
        why.push(format!("The fallback domain {} has its own resolvers.", rule.suffix));
        let servers = if rule.servers.is_empty() { system } else { rule.servers.clone() };
        return Some(DnsSource::Fallback { suffix: rule.suffix.to_string(), servers });
    }
    Some(match upstream {
        DnsUpstream::Plain { servers, .. } => {
            why.push("The tunnel's own resolvers answer what no fallback domain takes.".to_owned());
            DnsSource::Plain { servers: servers.clone() }
        }
        _ => {
            why.push("The gateway answers what no fallback domain takes.".to_owned());
            DnsSource::Doh
        }
    })
}

/// Which way an address goes, once the device is connected under these inputs.
#[must_use]
pub fn explain_address(inputs: &PlanInputs<'_>, address: IpAddr) -> AddressExplanation {
    let split = &inputs.settings.split_tunnel.value;
    let set = TunnelSet::compile(inputs);
    let entry = narrowest(&split.networks, address);
    let learnt =
        inputs.learnt.is_some_and(|learnt| learnt.contains(address) && set.learnable.contains(address));
    let mut why = Vec::new();
    let way = if inputs.settings.service_mode.value.tunnels_traffic() {
        decide(inputs, &set, address, entry, learnt, &mut why)
    } else if inputs.sentinels.contains(&address) {
        why.push("The device's names are asked there.".to_owned());
        Way::Tunnel
    } else {
        why.push(format!("The service mode {} tunnels no traffic.", inputs.settings.service_mode.value));
        Way::Outside
    };
    AddressExplanation { address, mode: split.mode, entry, learnt, way, why }
}

/// What no list can change, then the lists.
fn decide(
    inputs: &PlanInputs<'_>,
    set: &TunnelSet,
    address: IpAddr,
    entry: Option<IpNet>,
    learnt: bool,
    why: &mut Vec<String>,
) -> Way {
    let has = |set: NetSet| set.contains(address);
    let fixed = inputs.registration.and_then(|known| {
        if has(own_addresses(known)) {
            Some("It is the device's own address in the tunnel.")
        } else if has(always_out(known)) {
            Some("It is always outside: the gateway's own endpoints are reached beside the tunnel.")
        } else {
            None
        }
    });
    if let Some(range) = narrowest(&defaults::NEVER_IN, address) {
        why.push(format!("No tunnel carries {range}, which belongs to the device or its link."));
    } else if let Some(fixed) = fixed {
        why.push(fixed.to_owned());
    } else if inputs.sentinels.contains(&address) {
        why.push("It is always in the tunnel: the device's names are asked there.".to_owned());
    } else if inputs.registration.map(always_in).is_some_and(has) {
        why.push("It is always in the tunnel: the gateway's inner addresses are there.".to_owned());
    } else if learnt {
        why.push(format!("It was learnt from an answer for a host that the split tunnel {}.", verb(inputs)));
    } else if let Some(entry) = entry {
        why.push(format!("The split tunnel {} {entry}.", verb(inputs)));
    } else {
        why.push(match inputs.settings.split_tunnel.value.mode {
            SplitTunnelMode::Exclude => "No entry of the split tunnel excludes it.".to_owned(),
            SplitTunnelMode::Include => "No entry of the split tunnel includes it.".to_owned(),
        });
    }
    if !set.routed.contains(address) {
        return Way::Outside;
    }
    match obstacle(inputs, address) {
        Some(obstacle) => {
            why.push(obstacle.to_owned());
            Way::Blocked
        }
        None => Way::Tunnel,
    }
}

fn verb(inputs: &PlanInputs<'_>) -> &'static str {
    match inputs.settings.split_tunnel.value.mode {
        SplitTunnelMode::Exclude => "excludes",
        SplitTunnelMode::Include => "includes",
    }
}

/// Why the tunnel cannot carry what it alone may.
fn obstacle(inputs: &PlanInputs<'_>, address: IpAddr) -> Option<&'static str> {
    let served = inputs.sentinels.contains(&address);
    let gateways = inputs.registration.map_or(&[][..], |known| &known.gateways);
    if !inputs.has_family_of(address) {
        Some("The tunnel has no address of that family.")
    } else if !served && !gateways.iter().any(|gateway| carried(gateway).contains(address)) {
        Some("The far side does not take it.")
    } else {
        None
    }
}

fn narrowest(networks: &[IpNet], address: IpAddr) -> Option<IpNet> {
    networks
        .iter()
        .filter(|network| network.contains(&address))
        .max_by_key(|network| network.prefix_len())
        .copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weft_model::Settings;
    use weft_model::settings::UserChoices;

    use super::*;
    use crate::plan::PlanPhase;
    use crate::settings::compile_settings;
    use crate::testing::{imported, orchestrated, profile};

    fn settings(json: &str) -> Settings {
        compile_settings(Some(&profile(json)), Some(&orchestrated()), &UserChoices::default())
    }

    const LISTS: &str = r#"{"exclude":[{"address":"10.0.0.0/8"},{"address":"10.1.0.0/16"},{"host":"*.out.example"}],
        "fallback_domains":[{"suffix":"corp","dns_server":["10.0.0.53"]},{"suffix":"lan"}]}"#;

    #[test]
    fn a_name_is_told_who_answers_and_which_entry_matches() {
        let (settings, registration) = (settings(LISTS), orchestrated());
        let system = ["192.168.1.1".parse().unwrap()];
        let inputs = PlanInputs {
            system_resolvers: &system,
            ..PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected)
        };
        let fallback = |suffix: &str, server: &str| {
            let servers = vec![server.parse().unwrap()];
            Some(DnsSource::Fallback { suffix: suffix.to_owned(), servers })
        };
        let cases = [
            ("www.example.com", Some(DnsSource::Doh), None, None),
            ("a.out.example", Some(DnsSource::Doh), Some("*.out.example"), Some(Way::Outside)),
            ("out.example", Some(DnsSource::Doh), None, None),
            ("wiki.corp", fallback("corp", "10.0.0.53"), None, None),
            ("printer.lan", fallback("lan", "192.168.1.1"), None, None),
            ("connectivity-check.weftd", Some(DnsSource::Local), None, None),
        ];
        for (name, source, entry, way) in cases {
            let told = explain_host(&inputs, &name.parse().unwrap());
            let found = told.entry.map(|entry| entry.to_string());
            assert_eq!((told.source, found.as_deref(), told.way), (source, entry, way), "{name}");
            assert_eq!(told.why.len(), 2, "{name}: {:?}", told.why);
        }
    }

    #[test]
    fn a_name_that_does_not_come_to_weft_is_told_so() {
        let cases = [
            (r#"{"service_mode_v2":{"mode":"tunnelonly"},"exclude":[{"host":"a.example"}]}"#, None, None),
            (r#"{"service_mode_v2":{"mode":"1dot1"}}"#, Some(DnsSource::Doh), Some(Way::Outside)),
            (r#"{"service_mode_v2":{"mode":"postureonly"}}"#, None, Some(Way::Outside)),
        ];
        let registration = orchestrated();
        for (json, source, way) in cases {
            let settings = settings(json);
            let inputs = PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected);
            let told = explain_host(&inputs, &"a.example".parse().unwrap());
            assert_eq!((told.source, told.way), (source, way), "{json}");
        }
    }

    #[test]
    fn an_address_is_told_what_decides() {
        let (settings, registration) = (settings(LISTS), orchestrated());
        let learnt: NetSet = ["198.51.100.7".parse::<IpAddr>().unwrap()].into_iter().collect();
        let sentinels = weft_model::SENTINEL_ADDRESSES;
        let inputs = PlanInputs {
            learnt: Some(&learnt),
            sentinels: &sentinels,
            ..PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected)
        };
        let cases = [
            ("10.1.2.3", Way::Outside, Some("10.1.0.0/16"), "excludes 10.1.0.0/16"),
            ("198.51.100.7", Way::Outside, None, "learnt"),
            ("198.51.100.8", Way::Tunnel, None, "No entry"),
            ("172.64.128.1", Way::Tunnel, None, "always in"),
            ("203.0.113.10", Way::Outside, None, "always outside"),
            ("172.16.0.2", Way::Outside, None, "own address"),
            ("127.0.0.1", Way::Outside, None, "No tunnel carries 127.0.0.0/8"),
            ("2001:db8::1", Way::Tunnel, None, "No entry"),
            ("198.18.0.53", Way::Tunnel, None, "names are asked there"),
        ];
        for (address, way, entry, why) in cases {
            let told = explain_address(&inputs, address.parse().unwrap());
            let found = told.entry.map(|entry| entry.to_string());
            assert_eq!((told.way, found.as_deref()), (way, entry), "{address}");
            assert!(told.why.last().unwrap().contains(why), "{address}: {:?}", told.why);
            assert_eq!(told.learnt, address == "198.51.100.7");
        }
    }

    #[test]
    fn what_the_tunnel_alone_may_carry_and_cannot_is_blocked() {
        let registration = imported(&["0.0.0.0/0"]);
        let settings = compile_settings(None, Some(&registration), &UserChoices::default());
        let inputs = PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected);
        let told = explain_address(&inputs, "2001:db8::1".parse().unwrap());
        assert_eq!(told.way, Way::Blocked);
        assert!(told.why.last().unwrap().contains("family"), "{:?}", told.why);
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        let near = prop::sample::select(vec![
            "10.0.0.1",
            "10.1.0.1",
            "172.64.128.9",
            "203.0.113.10",
            "172.16.0.2",
            "169.254.0.1",
            "198.18.0.53",
            "8.8.8.8",
            "fe80::1",
            "2606:4700:cf1::1",
            "2001:db8::1",
            "2606:4700:cf1:1000::2",
            "239.1.1.1",
        ]);
        prop_oneof![
            any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
            any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())),
            near.prop_map(|text| text.parse().unwrap()),
        ]
    }

    proptest! {
        /// What is told is what the routes do.
        #[test]
        fn the_way_told_is_the_way_taken(address in address(), include: bool, sentinels: bool) {
            let list = if include { LISTS.replace("exclude", "include") } else { LISTS.to_owned() };
            let (settings, registration) = (settings(&list), orchestrated());
            let inputs = PlanInputs {
                sentinels: if sentinels { &weft_model::SENTINEL_ADDRESSES } else { &[] },
                ..PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected)
            };
            let routed = TunnelSet::compile(&inputs).routed.contains(address);
            prop_assert_eq!(explain_address(&inputs, address).way == Way::Tunnel, routed);
        }
    }
}
