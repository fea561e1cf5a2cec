//! What the device's network shall look like.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use weft_model::settings::SplitTunnelMode;
use weft_model::{
    DNS_PROXY_ADDRESSES, DnsPlan, DnsUpstream, FirewallPlan, Gateway, InterfacePlan, LearntPlan, Opening,
    Plan, PlanNumber, Protocol, Registration, Settings,
};

use crate::set::NetSet;
use crate::tunnel_set::TunnelSet;

/// The least MTU of a link that carries IPv6, in bytes (RFC 8200, section 5).
pub(crate) const IPV6_MIN_MTU: u16 = 1280;

/// How far a device is on its way up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanPhase {
    /// Nothing of Weft's is in force.
    Disconnected,
    /// Firewall, interface and routes stand; DNS is as it was before Weft, or stays Weft's
    /// ([`PlanInputs::keeps_dns`]). Packets to tunnelled destinations go into the interface and nowhere else.
    Connecting,
    /// All of it, DNS too. Also while reconnecting, so that nothing moves under the programs.
    Connected,
    /// The device cannot be brought up, and tunnelled destinations stay blocked: by the firewall alone, or, where there
    /// is none to ask (mobile), by an interface that takes them and carries nothing.
    Blocked,
}

/// What plans and verdicts are compiled from.
#[derive(Debug, Clone, Copy)]
pub struct PlanInputs<'a> {
    /// The values in force.
    pub settings: &'a Settings,
    /// Who the device is. Without it there is no interface; what can be blocked is.
    pub registration: Option<&'a Registration>,
    /// How far the device is.
    pub phase: PlanPhase,
    /// The addresses learnt for the split tunnel's host entries.
    pub learnt: Option<&'a NetSet>,
    /// The resolvers that the device had before Weft: whom a fallback domain without resolvers asks.
    pub system_resolvers: &'a [IpAddr],
    /// The DNS front's addresses inside the tunnel interface, where the system's queries come by it (mobile).
    /// Empty: the system asks [`DNS_PROXY_ADDRESSES`] on the loopback interface.
    pub sentinels: &'a [IpAddr],
    /// Whether a captive portal is open: the former resolvers are asked outside the tunnel, wherever they are.
    pub portal: bool,
    /// Whether Weft answers the system's queries while the device connects, as it did before: it goes from one service
    /// mode to another. Until the tunnel stands it may ask the gateway's resolver outside.
    pub keeps_dns: bool,
}

impl<'a> PlanInputs<'a> {
    /// Inputs without learnt addresses, former resolvers and sentinel addresses.
    #[must_use]
    pub fn new(settings: &'a Settings, registration: Option<&'a Registration>, phase: PlanPhase) -> Self {
        Self {
            settings,
            registration,
            phase,
            learnt: None,
            system_resolvers: &[],
            sentinels: &[],
            portal: false,
            keeps_dns: false,
        }
    }

    /// Whether there is a tunnel interface.
    pub(crate) fn has_interface(&self) -> bool {
        let stands = match self.phase {
            PlanPhase::Connecting | PlanPhase::Connected => true,
            PlanPhase::Blocked => !self.sentinels.is_empty(),
            PlanPhase::Disconnected => false,
        };
        let tunnels = self.settings.service_mode.value.tunnels_traffic();
        (self.registration.is_some() && tunnels && stands) || self.has_sentinels_alone()
    }

    /// Whether the interface is there for the DNS front's addresses and nothing else: DNS only, where the system's
    /// queries come by it.
    pub(crate) fn has_sentinels_alone(&self) -> bool {
        !self.sentinels.is_empty() && !self.settings.service_mode.value.tunnels_traffic() && self.serves_dns()
    }

    /// Whether the system's queries come to Weft.
    fn serves_dns(&self) -> bool {
        self.settings.service_mode.value.handles_dns()
            && (self.phase == PlanPhase::Connected || self.switches())
            && self.upstream().is_some_and(|dns| *dns != DnsUpstream::System)
    }

    /// Who answers the names that nobody else does.
    fn upstream(&self) -> Option<&'a DnsUpstream> {
        self.gateways().first().map(|gateway| &gateway.dns)
    }

    /// Whether the device is on its way from one service mode to another, and names are answered meanwhile.
    fn switches(&self) -> bool {
        self.phase == PlanPhase::Connecting && self.keeps_dns
    }

    /// Learnt addresses that the shell takes apart from the routes.
    fn learnt_apart(&self) -> Option<&'a NetSet> {
        self.learnt.filter(|_| self.sentinels.is_empty())
    }

    /// The interface's addresses. A system takes IPv6 from a link below its least MTU, so none is given there.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpNet> {
        let takes_v6 = self.takes_v6();
        let all = self.registration.map_or(&[][..], |registration| &registration.addresses);
        all.iter().copied().filter(move |network| takes_v6 || network.addr().is_ipv4())
    }

    /// Whether the interface has an address of the same family.
    pub(crate) fn has_family_of(&self, address: IpAddr) -> bool {
        self.addresses().any(|own| own.addr().is_ipv4() == address.is_ipv4())
    }

    fn takes_v6(&self) -> bool {
        self.settings.mtu.value >= IPV6_MIN_MTU
    }

    fn gateways(&self) -> &'a [Gateway] {
        self.registration.map_or(&[], |registration| &registration.gateways)
    }
}

/// The plan of a device, under `number`.
///
/// The modes that tunnel no traffic have neither firewall nor interface; DNS only has DNS settings once connected, and
/// where the queries come by an interface, one that takes the DNS front's addresses and nothing else. DNS is left alone where nobody but the former resolvers could answer ([`DnsUpstream::System`]).
#[must_use]
pub fn compile_plan(inputs: &PlanInputs<'_>, number: PlanNumber) -> Plan {
    let nothing = Plan::disconnected(number);
    if inputs.phase == PlanPhase::Disconnected {
        return nothing;
    }
    let dns = dns_plan(inputs);
    if !inputs.settings.service_mode.value.tunnels_traffic() {
        if !inputs.has_sentinels_alone() {
            return Plan { dns, ..nothing };
        }
        let sentinels: NetSet = inputs.sentinels.iter().copied().collect();
        let routes = sentinels.to_minimal_cidrs();
        let excluded_routes = sentinels.complement().to_minimal_cidrs();
        let (interface, apps) = (Some(interface(inputs)), inputs.settings.apps.value.clone());
        return Plan { interface, routes, excluded_routes, dns, apps, ..nothing };
    }
    let together = inputs.learnt.filter(|_| inputs.learnt_apart().is_none());
    let set = TunnelSet::compile(&PlanInputs { learnt: together, ..*inputs });
    let (learnt, blocked) = learnt_plan(inputs, &set);
    let firewall = FirewallPlan::Enforced {
        tunnelled: set.captured.union(&blocked).to_minimal_cidrs(),
        openings: openings(inputs, &set),
    };
    if !inputs.has_interface() {
        return Plan { firewall, learnt, dns, ..nothing };
    }
    let routed = if inputs.takes_v6() { set.routed.clone() } else { set.routed.only_v4() };
    Plan {
        number,
        firewall,
        interface: Some(interface(inputs)),
        routes: routed.to_minimal_cidrs(),
        excluded_routes: set.routed.complement().to_minimal_cidrs(),
        learnt,
        dns,
        apps: inputs.settings.apps.value.clone(),
    }
}

fn interface(inputs: &PlanInputs<'_>) -> InterfacePlan {
    InterfacePlan { addresses: inputs.addresses().collect(), mtu: inputs.settings.mtu.value, metered: false }
}

/// What the shell takes apart from the routes, and what of it is blocked instead: an included address of IPv6 where
/// the interface carries none.
fn learnt_plan(inputs: &PlanInputs<'_>, set: &TunnelSet) -> (LearntPlan, NetSet) {
    let mode = inputs.settings.split_tunnel.value.mode;
    let Some(learnt) = inputs.learnt_apart() else {
        return (LearntPlan { mode, addresses: Vec::new() }, NetSet::empty());
    };
    let moved = learnt.intersect(&set.learnable);
    let blocked = match mode {
        SplitTunnelMode::Include if !inputs.takes_v6() => moved.only_v6(),
        _ => NetSet::empty(),
    };
    let addresses = moved.subtract(&blocked).addresses().collect();
    (LearntPlan { mode, addresses }, blocked)
}

fn dns_plan(inputs: &PlanInputs<'_>) -> Option<DnsPlan> {
    let servers = match inputs.sentinels {
        [] => DNS_PROXY_ADDRESSES.to_vec(),
        // The system cannot ask by a family of which the interface has no address.
        sentinels => sentinels.iter().copied().filter(|sentinel| inputs.has_family_of(*sentinel)).collect(),
    };
    inputs
        .serves_dns()
        .then(|| DnsPlan { servers, search: inputs.settings.dns_search_suffixes.value.clone() })
}

/// The ways past the firewall for Weft's own sockets: every tunnel endpoint that may be tried, the API and the
/// outside checks, and those fallback resolvers that are not routed into the tunnel though the firewall holds them
/// (a resolver on an endpoint's own address). Resolvers outside the tunnelled set need none. While a captive portal
/// is open, the former resolvers, of which the tunnel would carry some; while the service mode is switched, the
/// gateway's resolver outside the tunnel.
fn openings(inputs: &PlanInputs<'_>, set: &TunnelSet) -> Vec<Opening> {
    let mut openings: Vec<Opening> = Vec::new();
    let mut open = |purpose: &str, protocol, remote: SocketAddr| {
        if !openings.iter().any(|known| known.protocol == protocol && known.remote == remote) {
            openings.push(Opening { purpose: purpose.to_owned(), protocol, remote });
        }
    };
    for gateway in inputs.gateways() {
        gateway.tunnel.candidates().for_each(|remote| open("tunnel", Protocol::Udp, remote));
        let api = gateway.api.iter().flat_map(|api| &api.addresses);
        api.for_each(|remote| open("api", Protocol::Tcp, *remote));
        let checks = gateway.checks.iter().flat_map(|checks| &checks.outside);
        checks.for_each(|remote| open("check", Protocol::Tcp, *remote));
    }
    if inputs.switches()
        && inputs.serves_dns()
        && let Some(DnsUpstream::Doh(resolver)) = inputs.upstream()
    {
        resolver.outside.iter().for_each(|remote| open("doh", Protocol::Tcp, *remote));
    }
    for resolver in fallback_resolvers(inputs) {
        if set.captured.contains(resolver) && !set.routed.contains(resolver) {
            open("fallback", Protocol::Udp, SocketAddr::new(resolver, 53));
            open("fallback", Protocol::Tcp, SocketAddr::new(resolver, 53));
        }
    }
    for resolver in inputs.system_resolvers.iter().filter(|_| inputs.portal) {
        if set.captured.contains(*resolver) {
            open("portal", Protocol::Udp, SocketAddr::new(*resolver, 53));
            open("portal", Protocol::Tcp, SocketAddr::new(*resolver, 53));
        }
    }
    openings
}

fn fallback_resolvers<'a>(inputs: &PlanInputs<'a>) -> impl Iterator<Item = IpAddr> + use<'a> {
    let handled = inputs.settings.service_mode.value.handles_dns();
    let domains: &[_] = if handled { &inputs.settings.fallback_domains.value } else { &[] };
    let system = inputs.system_resolvers;
    domains
        .iter()
        .flat_map(move |domain| if domain.dns_server.is_empty() { system } else { &domain.dns_server })
        .copied()
}

#[cfg(test)]
mod tests {
    use weft_model::ServiceMode;
    use weft_model::settings::UserChoices;

    use super::*;
    use crate::settings::compile_settings;
    use crate::testing::{imported, orchestrated, profile};

    fn settings(json: &str) -> Settings {
        compile_settings(Some(&profile(json)), Some(&orchestrated()), &UserChoices::default())
    }

    fn plan(settings: &Settings, phase: PlanPhase) -> Plan {
        compile_plan(&PlanInputs::new(settings, Some(&orchestrated()), phase), 7)
    }

    #[test]
    fn each_phase_of_each_mode_has_its_parts() {
        use PlanPhase::{Blocked, Connected, Connecting, Disconnected};
        // The parts as letters: firewall, interface, routes, DNS.
        let cases = [
            ("warp", Disconnected, ""),
            ("warp", Connecting, "fir"),
            ("warp", Connected, "fird"),
            ("warp", Blocked, "f"),
            ("tunnelonly", Connecting, "fir"),
            ("tunnelonly", Connected, "fir"),
            ("tunnelonly", Blocked, "f"),
            ("1dot1", Disconnected, ""),
            ("1dot1", Connecting, ""),
            ("1dot1", Connected, "d"),
            ("1dot1", Blocked, ""),
            ("proxy", Connected, ""),
            ("postureonly", Connected, ""),
        ];
        for (mode, phase, parts) in cases {
            let settings = settings(&format!(r#"{{"service_mode_v2":{{"mode":"{mode}"}}}}"#));
            let plan = plan(&settings, phase);
            let found: String = [
                (plan.firewall != FirewallPlan::Open, 'f'),
                (plan.interface.is_some(), 'i'),
                (!plan.routes.is_empty(), 'r'),
                (plan.dns.is_some(), 'd'),
            ]
            .iter()
            .filter_map(|(there, letter)| there.then_some(*letter))
            .collect();
            assert_eq!(found, parts, "{mode} {phase:?}");
            assert_eq!(plan.routes.is_empty(), plan.excluded_routes.is_empty(), "{mode} {phase:?}");
            assert_eq!(plan.number, 7);
        }
    }

    #[test]
    fn routes_and_excluded_routes_make_up_everything() {
        let plan = plan(&settings("{}"), PlanPhase::Connected);
        let routes: NetSet = plan.routes.iter().collect();
        let excluded: NetSet = plan.excluded_routes.iter().collect();
        assert_eq!(routes.complement(), excluded);
        assert!(plan.routes.is_sorted() && plan.excluded_routes.is_sorted());
        let endpoint = "203.0.113.10".parse().unwrap();
        assert!(excluded.contains(endpoint), "no route around the tunnel's own endpoint");
        let FirewallPlan::Enforced { tunnelled, .. } = plan.firewall else { panic!("open") };
        assert!(tunnelled.iter().collect::<NetSet>().contains(endpoint), "other programs are held back");
    }

    #[test]
    fn the_openings_are_the_gateways_own() {
        let FirewallPlan::Enforced { openings, .. } = plan(&settings("{}"), PlanPhase::Blocked).firewall
        else {
            panic!("open")
        };
        let texts: Vec<String> = openings
            .iter()
            .map(|opening| format!("{} {:?} {}", opening.purpose, opening.protocol, opening.remote))
            .collect();
        assert_eq!(
            texts,
            ["tunnel Udp 203.0.113.10:2408", "tunnel Udp 203.0.113.10:500", "api Tcp 203.0.113.11:443"]
        );
    }

    #[test]
    fn dns_stays_while_the_service_mode_is_switched_and_its_resolver_outside_is_reached() {
        for (mode, doh) in [("warp", true), ("1dot1", false), ("tunnelonly", false)] {
            let settings = settings(&format!(r#"{{"service_mode_v2":{{"mode":"{mode}"}}}}"#));
            let mut registration = orchestrated();
            let DnsUpstream::Doh(resolver) = &mut registration.gateways[0].dns else { panic!("no DoH") };
            resolver.outside = vec!["203.0.113.12:443".parse().unwrap()];
            let inputs = PlanInputs::new(&settings, Some(&registration), PlanPhase::Connecting);
            let switching = compile_plan(&PlanInputs { keeps_dns: true, ..inputs }, 1);
            let connected = compile_plan(&PlanInputs { phase: PlanPhase::Connected, ..inputs }, 1);
            assert_eq!(switching.dns, connected.dns, "{mode}");
            let opened = |plan: &Plan| match &plan.firewall {
                FirewallPlan::Enforced { openings, .. } => openings.iter().any(|one| one.purpose == "doh"),
                FirewallPlan::Open => false,
            };
            let found = (opened(&compile_plan(&inputs, 1)), opened(&switching), opened(&connected));
            assert_eq!(found, (false, doh, false), "{mode}");
        }
    }

    #[test]
    fn a_fallback_resolver_on_an_endpoints_address_is_opened() {
        let settings = settings(
            r#"{"fallback_domains":[{"suffix":"corp","dns_server":["203.0.113.10","192.168.1.53","9.9.9.9"]},
                {"suffix":"lan"}]}"#,
        );
        let registration = orchestrated();
        let system = ["203.0.113.11".parse().unwrap()];
        let inputs = PlanInputs {
            system_resolvers: &system,
            ..PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected)
        };
        let FirewallPlan::Enforced { openings, .. } = compile_plan(&inputs, 1).firewall else {
            panic!("open")
        };
        let remotes: Vec<String> = openings
            .iter()
            .filter(|opening| opening.purpose == "fallback")
            .map(|opening| opening.remote.to_string())
            .collect();
        assert_eq!(remotes, ["203.0.113.10:53", "203.0.113.10:53", "203.0.113.11:53", "203.0.113.11:53"]);
    }

    #[test]
    fn dns_is_the_proxy_with_the_search_suffixes() {
        let settings = settings(r#"{"dns_search_suffixes":["corp.example"]}"#);
        let dns = plan(&settings, PlanPhase::Connected).dns.unwrap();
        assert_eq!(dns.servers, DNS_PROXY_ADDRESSES);
        assert_eq!(dns.search, ["corp.example".parse().unwrap()]);

        let registration = orchestrated();
        let sentinels = ["100.100.100.53".parse().unwrap()];
        let inputs = PlanInputs {
            sentinels: &sentinels,
            ..PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected)
        };
        let plan = compile_plan(&inputs, 1);
        assert_eq!(plan.dns.unwrap().servers, sentinels);
        assert!(plan.routes.iter().collect::<NetSet>().contains(sentinels[0]), "sentinels come by the TUN");
    }

    #[test]
    fn a_file_without_resolvers_leaves_dns_alone() {
        let mut registration = imported(&["0.0.0.0/0", "::/0"]);
        registration.gateways[0].dns = DnsUpstream::System;
        let settings = compile_settings(None, Some(&registration), &UserChoices::default());
        assert_eq!(settings.service_mode.value, ServiceMode::TrafficAndDns);
        let plan = compile_plan(&PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected), 1);
        assert_eq!(plan.dns, None);
        assert!(plan.interface.is_some());
    }

    #[test]
    fn without_a_registration_everything_but_the_default_excludes_is_blocked() {
        let settings = compile_settings(None, None, &UserChoices::default());
        for phase in [PlanPhase::Blocked, PlanPhase::Connecting, PlanPhase::Connected] {
            let plan = compile_plan(&PlanInputs::new(&settings, None, phase), 1);
            let FirewallPlan::Enforced { tunnelled, openings } = &plan.firewall else { panic!("open") };
            let tunnelled: NetSet = tunnelled.iter().collect();
            assert!(tunnelled.contains("198.51.100.1".parse().unwrap()));
            assert!(!tunnelled.contains("192.168.1.1".parse().unwrap()));
            assert!(openings.is_empty());
            assert!(plan.interface.is_none() && plan.routes.is_empty() && plan.dns.is_none());
        }
    }

    fn learnt(texts: &[&str]) -> NetSet {
        texts.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect()
    }

    fn texts(addresses: &[IpAddr]) -> String {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn learnt_addresses_stand_apart_from_the_routes_that_they_change() {
        let all = ["2001:db8::7", "198.51.100.7", "127.0.0.1", "172.64.128.1", "203.0.113.10", "10.1.1.1"];
        let (learnt, registration) = (learnt(&all), orchestrated());
        let cases = [
            (r#"{"exclude":[{"host":"example.com"},{"address":"10.0.0.0/8"}]}"#, "198.51.100.7 2001:db8::7"),
            (r#"{"include":[{"host":"example.com"}]}"#, "10.1.1.1 198.51.100.7 2001:db8::7"),
        ];
        for (json, expected) in cases {
            let settings = settings(json);
            let plain = PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected);
            let plan = compile_plan(&PlanInputs { learnt: Some(&learnt), ..plain }, 1);
            assert_eq!(texts(&plan.learnt.addresses), expected, "{json}");
            assert_eq!(plan.learnt.mode, settings.split_tunnel.value.mode);
            let without = compile_plan(&plain, 1);
            assert_eq!((&plan.routes, &plan.firewall), (&without.routes, &without.firewall), "{json}");
            let blocked = PlanInputs { phase: PlanPhase::Blocked, learnt: Some(&learnt), ..plain };
            assert_eq!(compile_plan(&blocked, 1).learnt, plan.learnt, "what is blocked follows them too");
        }
    }

    #[test]
    fn where_queries_come_by_the_tunnel_learnt_addresses_are_routes() {
        let (learnt, registration) = (learnt(&["198.51.100.7"]), orchestrated());
        let sentinels = ["100.100.100.53".parse().unwrap()];
        for (json, routed) in [(r#"{"exclude":[]}"#, false), (r#"{"include":[]}"#, true)] {
            let settings = settings(json);
            let inputs = PlanInputs {
                learnt: Some(&learnt),
                sentinels: &sentinels,
                ..PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected)
            };
            let plan = compile_plan(&inputs, 1);
            assert!(plan.learnt.addresses.is_empty());
            let routes: NetSet = plan.routes.iter().collect();
            assert_eq!(routes.contains("198.51.100.7".parse().unwrap()), routed, "{json}");
            assert_eq!(routes.complement(), plan.excluded_routes.iter().collect());
        }
    }

    #[test]
    fn dns_only_by_the_tunnel_routes_the_fronts_addresses_alone() {
        let (settings, registration) = (settings(r#"{"service_mode_v2":{"mode":"1dot1"}}"#), orchestrated());
        let sentinels = ["100.100.100.53".parse().unwrap(), "fd01:db8:1111::53".parse().unwrap()];
        let inputs = |phase| PlanInputs {
            sentinels: &sentinels,
            ..PlanInputs::new(&settings, Some(&registration), phase)
        };
        let plan = compile_plan(&inputs(PlanPhase::Connected), 1);
        assert_eq!(plan.firewall, FirewallPlan::Open);
        assert_eq!(plan.dns.unwrap().servers, sentinels);
        assert_eq!(plan.routes.iter().collect::<NetSet>(), sentinels.into_iter().collect());
        assert_eq!(
            plan.excluded_routes.iter().collect::<NetSet>().complement(),
            sentinels.into_iter().collect()
        );
        assert!(plan.interface.is_some());
        for phase in [PlanPhase::Connecting, PlanPhase::Blocked, PlanPhase::Disconnected] {
            assert!(compile_plan(&inputs(phase), 1).same_state(&Plan::disconnected(1)), "{phase:?}");
        }
    }

    #[test]
    fn a_portal_opens_the_former_resolvers_that_the_firewall_holds() {
        let (settings, registration) = (settings("{}"), orchestrated());
        let system = ["198.51.100.53".parse().unwrap(), "192.168.1.1".parse().unwrap()];
        for (portal, expected) in [(false, 0), (true, 2)] {
            let inputs = PlanInputs {
                system_resolvers: &system,
                portal,
                ..PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected)
            };
            let FirewallPlan::Enforced { openings, .. } = compile_plan(&inputs, 1).firewall else {
                panic!("open")
            };
            let portals: Vec<_> = openings.iter().filter(|opening| opening.purpose == "portal").collect();
            assert_eq!(portals.len(), expected, "UDP and TCP of the one that is not outside anyway");
            assert!(portals.iter().all(|opening| opening.remote == "198.51.100.53:53".parse().unwrap()));
        }
    }

    #[test]
    fn below_the_least_mtu_an_included_host_of_ipv6_is_blocked() {
        let settings = settings(r#"{"mtu":1200,"include":[{"host":"example.com"}]}"#);
        let (learnt, registration) = (learnt(&["198.51.100.7", "2001:db8::7"]), orchestrated());
        let inputs = PlanInputs {
            learnt: Some(&learnt),
            ..PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected)
        };
        let plan = compile_plan(&inputs, 1);
        assert_eq!(texts(&plan.learnt.addresses), "198.51.100.7", "the interface has no IPv6");
        let FirewallPlan::Enforced { tunnelled, .. } = plan.firewall else { panic!("open") };
        let tunnelled: NetSet = tunnelled.iter().collect();
        assert!(tunnelled.contains("2001:db8::7".parse().unwrap()));
        assert!(!tunnelled.contains("198.51.100.7".parse().unwrap()), "the shell takes it apart");
    }

    #[test]
    fn below_the_least_mtu_ipv6_is_blocked_and_not_routed() {
        let plan = plan(&settings(r#"{"mtu":1200}"#), PlanPhase::Connected);
        let addresses = plan.interface.unwrap().addresses;
        assert_eq!(addresses, ["172.16.0.2/32".parse::<IpNet>().unwrap()]);
        let v6 = "2001:db8::1".parse().unwrap();
        assert!(!plan.routes.iter().collect::<NetSet>().contains(v6));
        assert!(!plan.excluded_routes.iter().collect::<NetSet>().contains(v6));
        let FirewallPlan::Enforced { tunnelled, .. } = plan.firewall else { panic!("open") };
        assert!(tunnelled.iter().collect::<NetSet>().contains(v6));
    }

    /// Inputs of a phone.
    fn on_phone<'a>(
        settings: &'a Settings,
        registration: &'a Registration,
        phase: PlanPhase,
    ) -> PlanInputs<'a> {
        let sentinels = &weft_model::SENTINEL_ADDRESSES;
        PlanInputs { sentinels, ..PlanInputs::new(settings, Some(registration), phase) }
    }

    #[test]
    fn a_phone_that_cannot_be_brought_up_keeps_its_interface_and_routes() {
        let (settings, registration) = (settings("{}"), orchestrated());
        let plan = |phase| compile_plan(&on_phone(&settings, &registration, phase), 1);
        let (connected, blocked) = (plan(PlanPhase::Connected), plan(PlanPhase::Blocked));
        assert_eq!(blocked, Plan { dns: None, ..connected });
        assert!(blocked.interface.is_some() && !blocked.routes.is_empty());
        let dns_only = self::settings(r#"{"service_mode_v2":{"mode":"1dot1"}}"#);
        let plan = compile_plan(&on_phone(&dns_only, &registration, PlanPhase::Blocked), 1);
        assert!(plan.same_state(&Plan::disconnected(1)), "nothing is tunnelled, so nothing is blocked");
    }

    #[test]
    fn a_phone_asks_the_sentinels_of_the_families_that_its_interface_has() {
        let registration = orchestrated();
        let servers = |json: &str| {
            let settings = settings(json);
            let plan = compile_plan(&on_phone(&settings, &registration, PlanPhase::Connected), 1);
            let servers = plan.dns.unwrap().servers;
            let routes: NetSet = plan.routes.iter().collect();
            assert!(servers.iter().all(|server| routes.contains(*server)), "{json}");
            servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let both = "198.18.0.53 2001:2::53";
        assert_eq!(servers("{}"), both);
        assert_eq!(servers(r#"{"include":[{"address":"203.0.113.0/24"}]}"#), both);
        assert_eq!(servers(r#"{"exclude":[{"address":"198.18.0.0/15"}]}"#), both, "no list moves them");
        assert_eq!(servers(r#"{"service_mode_v2":{"mode":"1dot1"}}"#), both);
        assert_eq!(servers(r#"{"mtu":1200}"#), "198.18.0.53");
    }

    #[test]
    fn the_apps_are_those_of_the_settings() {
        let registration = orchestrated();
        for mode in ["warp", "1dot1"] {
            let mut settings = settings(&format!(r#"{{"service_mode_v2":{{"mode":"{mode}"}}}}"#));
            settings.apps.value = weft_model::AppRules::Only(vec!["org.example".to_owned()]);
            let plan = compile_plan(&on_phone(&settings, &registration, PlanPhase::Connected), 1);
            assert_eq!(plan.apps, settings.apps.value, "{mode}");
        }
    }
}
