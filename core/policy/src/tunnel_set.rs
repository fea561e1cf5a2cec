//! Which destinations the tunnel takes.

use std::net::IpAddr;

use weft_model::settings::SplitTunnelMode;
use weft_model::{DnsUpstream, Gateway, Registration, RegistrationSource};

use crate::defaults;
use crate::plan::PlanInputs;
use crate::set::NetSet;

/// Which destinations the tunnel takes.
///
/// Exclude: everything but the lists; Include: the lists alone. To both comes what is always in (the gateway's
/// inner addresses, or an imported file's resolvers), and from both goes what no tunnel carries
/// ([`defaults::NEVER_IN`]). Learnt addresses of the host entries count as entries of the list, but for those that
/// no entry of a list should name (`learnable`). Multicast beyond the
/// link follows the lists as any destination does: what they give to the tunnel is captured, and dropped there.
///
/// A family of which the tunnel has no address is captured all the same, so that it is refused and not leaked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TunnelSet {
    /// What leaves by the tunnel or not at all: the firewall's rule. What is always out (tunnel endpoints, API,
    /// outside check) may lie in it: those addresses are open to Weft's own sockets alone, by openings.
    pub captured: NetSet,
    /// What is routed into the tunnel interface: `captured` less the single addresses that are always out (so that
    /// a list's entry around an endpoint stays, unlike in WARP, which drops such an Include entry whole) and less
    /// the device's own tunnel addresses.
    pub routed: NetSet,
    /// The addresses whose way learning them would change: what a list's entry can move, and does not already.
    pub learnable: NetSet,
}

impl TunnelSet {
    /// The set of a device in a mode that tunnels traffic.
    #[must_use]
    pub fn compile(inputs: &PlanInputs<'_>) -> Self {
        let inside = inputs.registration.map(always_in).unwrap_or_default();
        let inside = inside.union(&inputs.sentinels.iter().copied().collect());
        let split = &inputs.settings.split_tunnel.value;
        let list: NetSet = split.networks.iter().collect();
        let never: NetSet = defaults::NEVER_IN.iter().collect();
        let outside = inputs.registration.map(always_out).unwrap_or_default();
        let own = inputs.registration.map(own_addresses).unwrap_or_default();
        let fixed = inside.union(&never).union(&outside).union(&own).union(&defaults::never_learnt());
        let learnable = list.union(&fixed).complement();
        let listed = match (split.mode, inputs.learnt) {
            (SplitTunnelMode::Exclude, None) => list.complement(),
            (SplitTunnelMode::Include, None) => list,
            (mode, Some(learnt)) => {
                let list = list.union(&learnt.intersect(&learnable));
                if mode == SplitTunnelMode::Exclude { list.complement() } else { list }
            }
        };
        let captured = listed.union(&inside).subtract(&never);
        let routed = captured.subtract(&outside).subtract(&own);
        Self { captured, routed, learnable }
    }
}

/// What is in the tunnel whatever the lists say. Of an imported file: its resolvers, but for those that the far
/// side does not take, since the tunnel could not carry their answers back.
pub(crate) fn always_in(registration: &Registration) -> NetSet {
    let ranges: &[_] = match registration.source {
        RegistrationSource::Orchestrated => &defaults::ALWAYS_IN,
        RegistrationSource::Imported => &[],
    };
    registration
        .gateways
        .iter()
        .map(inner_addresses)
        .fold(ranges.iter().collect(), |all, one| all.union(&one))
}

fn inner_addresses(gateway: &Gateway) -> NetSet {
    let resolvers: NetSet = match &gateway.dns {
        DnsUpstream::Doh(doh) => std::iter::once(doh.inside.ip()).collect(),
        DnsUpstream::Plain { servers, .. } => servers.iter().copied().collect(),
        DnsUpstream::System => NetSet::empty(),
    };
    let check: NetSet = gateway.checks.iter().map(|checks| checks.inside.ip()).collect();
    resolvers.union(&check).intersect(&carried(gateway))
}

/// What the far side takes.
pub(crate) fn carried(gateway: &Gateway) -> NetSet {
    match gateway.tunnel.allowed_ips.as_slice() {
        [] => NetSet::everything(),
        some => some.iter().collect(),
    }
}

/// What is outside the tunnel whatever the lists say: the tunnel endpoints, the API and the outside checks.
pub(crate) fn always_out(registration: &Registration) -> NetSet {
    let of_gateway = |gateway: &Gateway| -> Vec<IpAddr> {
        let api = gateway.api.iter().flat_map(|api| &api.addresses);
        let checks = gateway.checks.iter().flat_map(|checks| &checks.outside);
        gateway.tunnel.addresses.iter().copied().chain(api.chain(checks).map(|to| to.ip())).collect()
    };
    registration.gateways.iter().flat_map(of_gateway).collect()
}

pub(crate) fn own_addresses(registration: &Registration) -> NetSet {
    registration.addresses.iter().map(|network| network.addr()).collect()
}

#[cfg(test)]
mod tests {
    use weft_model::settings::UserChoices;
    use weft_model::{Profile, Settings};

    use super::*;
    use crate::plan::PlanPhase;
    use crate::settings::compile_settings;
    use crate::testing::{imported, orchestrated, profile};

    /// Checks addresses against "captured routed" as two letters each: y or n.
    fn check(profile: Option<&Profile>, registration: &Registration, cases: &[(&str, &str)]) {
        let settings = compile_settings(profile, Some(registration), &UserChoices::default());
        check_settings(&settings, registration, None, cases);
    }

    fn check_settings(
        settings: &Settings,
        registration: &Registration,
        learnt: Option<&NetSet>,
        cases: &[(&str, &str)],
    ) {
        let inputs =
            PlanInputs { learnt, ..PlanInputs::new(settings, Some(registration), PlanPhase::Connected) };
        let set = TunnelSet::compile(&inputs);
        for (address, expected) in cases {
            let parsed = address.parse().unwrap();
            let letter = |inside| if inside { 'y' } else { 'n' };
            let found: String =
                [letter(set.captured.contains(parsed)), letter(set.routed.contains(parsed))].iter().collect();
            assert_eq!(found, *expected, "{address}");
        }
        assert!(set.routed.subtract(&set.captured).is_empty());
    }

    const NEVER: [(&str, &str); 10] = [
        ("0.0.0.0", "nn"),
        ("127.0.2.2", "nn"),
        ("169.254.1.1", "nn"),
        ("224.0.0.251", "nn"),
        ("255.255.255.255", "nn"),
        ("::", "nn"),
        ("::1", "nn"),
        ("fe80::1", "nn"),
        ("ff02::1", "nn"),
        ("172.16.0.2", "nn"),
    ];

    #[test]
    fn exclude_takes_everything_but_the_list() {
        let cases = [
            ("198.51.100.1", "yy"),
            ("192.168.1.1", "nn"),
            ("10.9.8.7", "nn"),
            ("2001:db8::1", "yy"),
            ("fd00::1", "nn"),
            ("172.64.128.1", "yy"),
            ("2606:4700:cf1::1", "yy"),
            ("2606:4700:cf1:1000::2", "yn"),
            ("203.0.113.10", "yn"),
            ("203.0.113.11", "yn"),
            ("239.255.255.250", "yy"),
        ];
        check(None, &orchestrated(), &cases);
        check(None, &orchestrated(), &NEVER);
    }

    #[test]
    fn include_takes_the_list_and_what_is_always_in() {
        let json = r#"{"include":[{"address":"203.0.113.0/24"},{"address":"192.168.9.0/24"}]}"#;
        let cases = [
            ("198.51.100.1", "nn"),
            ("203.0.113.9", "yy"),
            ("203.0.113.10", "yn"),
            ("203.0.113.11", "yn"),
            ("192.168.9.1", "yy"),
            ("172.64.128.1", "yy"),
            ("2606:4700:cf1:4000::1", "yy"),
            ("2001:db8::1", "nn"),
        ];
        check(Some(&profile(json)), &orchestrated(), &cases);
    }

    #[test]
    fn no_list_moves_what_is_always_in_or_never_in() {
        let all = r#"{"include":[{"address":"0.0.0.0/0"},{"address":"::/0"}]}"#;
        check(Some(&profile(all)), &orchestrated(), &NEVER[..9]);
        let gateway = r#"{"exclude":[{"address":"172.64.0.0/10"},{"address":"2606::/16"}]}"#;
        let cases =
            [("172.64.128.1", "yy"), ("172.65.0.1", "nn"), ("2606:4700:cf1::1", "yy"), ("2606::1", "nn")];
        check(Some(&profile(gateway)), &orchestrated(), &cases);
    }

    #[test]
    fn an_excluded_endpoint_is_left_to_every_program() {
        let json = r#"{"exclude":[{"address":"203.0.113.10"}]}"#;
        check(Some(&profile(json)), &orchestrated(), &[("203.0.113.10", "nn"), ("203.0.113.11", "yn")]);
    }

    #[test]
    fn learnt_addresses_count_as_entries_of_the_list() {
        let learnt: NetSet = ["198.51.100.7", "127.0.0.1", "172.64.128.1"]
            .map(|text| text.parse::<IpAddr>().unwrap())
            .into_iter()
            .collect();
        let settings = |json: &str| {
            compile_settings(Some(&profile(json)), Some(&orchestrated()), &UserChoices::default())
        };
        let exclude = settings(r#"{"exclude":[{"host":"example.com"}]}"#);
        let cases = [("198.51.100.7", "nn"), ("198.51.100.8", "yy"), ("172.64.128.1", "yy")];
        check_settings(&exclude, &orchestrated(), Some(&learnt), &cases);
        let include = settings(r#"{"include":[{"host":"example.com"}]}"#);
        let cases = [("198.51.100.7", "yy"), ("198.51.100.8", "nn"), ("127.0.0.1", "nn")];
        check_settings(&include, &orchestrated(), Some(&learnt), &cases);
    }

    #[test]
    fn an_imported_file_brings_its_resolvers_in_and_no_gateway_range() {
        let narrow = [("192.168.9.1", "yy"), ("10.8.0.1", "nn"), ("172.64.128.1", "nn")];
        check(None, &imported(&["192.168.9.0/24"]), &narrow);
        let wide = [("10.8.0.1", "yy"), ("10.8.0.2", "yn"), ("10.9.0.1", "nn"), ("8.8.8.8", "yy")];
        check(None, &imported(&["0.0.0.0/0"]), &wide);
    }

    #[test]
    fn a_family_without_a_tunnel_address_is_captured_all_the_same() {
        check(None, &imported(&["0.0.0.0/0"]), &[("2001:db8::1", "yy")]);
    }
}
