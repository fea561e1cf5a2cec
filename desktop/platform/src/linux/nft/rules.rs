//! The rules, chain by chain.
//!
//! The base chains for local and forwarded packets stand at priority -10: behind conntrack (-200), other programs'
//! marks (-150) and destination NAT (-100), so that the packet's last destination is judged, and before the chains where
//! firewalls usually are (0). A packet whose route another program changes within the same hook still shows its first
//! interface there; so [`POSTROUTING`] judges once more, behind source NAT (100), by the interface that the packet
//! leaves by in truth. Nothing can be answered there, only dropped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use weft_model::settings::SplitTunnelMode;
use weft_model::{FIREWALL_MARK, INTERFACE_NAME};

use super::expression::{End, Family, Match};

pub(super) const OPENINGS: &str = "openings";
pub(super) const OUTPUT: &str = "output";
pub(super) const FORWARD: &str = "forward";
pub(super) const POSTROUTING: &str = "postrouting";
pub(super) const INPUT: &str = "input";

const LOOPBACK: &str = "lo";
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// The types of Neighbor Discovery (RFC 4861): router solicitation to redirect.
const NEIGHBOR_DISCOVERY: (u8, u8) = (133, 137);
/// DHCPv6's group of all relays and servers (RFC 8415), and that of all servers.
const DHCPV6_GROUPS: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2), Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 3)];
/// fe80::/10, what DHCPv6 comes from.
const LINK_LOCAL: (Ipv6Addr, Ipv6Addr) =
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), Ipv6Addr::new(0xffc0, 0, 0, 0, 0, 0, 0, 0));

/// A rule: in which chain, what it matches and decides, and what it is for.
pub(super) struct Rule {
    pub(super) chain: &'static str,
    pub(super) expressions: Match,
    pub(super) comment: &'static str,
}

/// The name of the set of what only the tunnel may carry.
pub(super) fn tunnelled(family: Family) -> String {
    format!("tunnelled{}", family.suffix())
}

/// The name of the set of openings.
pub(super) fn openings(family: Family) -> String {
    format!("openings{}", family.suffix())
}

/// The name of the set of addresses learnt from answers.
pub(super) fn learnt(family: Family) -> String {
    format!("learnt{}", family.suffix())
}

/// The sets of what only the tunnel may carry.
fn guarded(learnt_are: SplitTunnelMode) -> Vec<(Family, String)> {
    let mut sets: Vec<_> = Family::BOTH.map(|family| (family, tunnelled(family))).into();
    if learnt_are == SplitTunnelMode::Include {
        sets.extend(Family::BOTH.map(|family| (family, learnt(family))));
    }
    sets
}

/// Lets pass what goes to learnt addresses, or comes from them, where they are excluded.
fn excluded(learnt_are: SplitTunnelMode, chain: &'static str, end: End) -> Vec<Rule> {
    let rule = |family| Rule {
        chain,
        expressions: Match::default().address_in(family, end, learnt(family)).accept(),
        comment: "learnt, excluded",
    };
    match learnt_are {
        SplitTunnelMode::Exclude => Family::BOTH.map(rule).into(),
        SplitTunnelMode::Include => Vec::new(),
    }
}

/// Every rule, in order. `learnt_are` says which way the learnt addresses go.
pub(super) fn all(learnt_are: SplitTunnelMode, addresses: &[IpNet]) -> Vec<Rule> {
    let mut rules = ways_past();
    rules.extend(excluded(learnt_are, OPENINGS, End::Destination));
    rules.push(Rule { chain: OUTPUT, expressions: Match::default().jump(OPENINGS), comment: "" });
    rules.extend(outward(OUTPUT, learnt_are));
    let by_tunnel = Match::default().leaves_by(INTERFACE_NAME).accept();
    rules.push(Rule { chain: FORWARD, expressions: by_tunnel, comment: "" });
    rules.extend(excluded(learnt_are, FORWARD, End::Destination));
    rules.extend(outward(FORWARD, learnt_are));
    rules.push(Rule { chain: POSTROUTING, expressions: Match::default().jump(OPENINGS), comment: "" });
    for (family, set) in guarded(learnt_are) {
        let expressions = Match::default().address_in(family, End::Destination, set).counted().drop();
        rules.push(Rule { chain: POSTROUTING, expressions, comment: "rerouted" });
    }
    rules.extend(inward(learnt_are, addresses));
    rules
}

/// What may leave whatever its destination.
fn ways_past() -> Vec<Rule> {
    let rule =
        |expressions: Match, comment| Rule { chain: OPENINGS, expressions: expressions.accept(), comment };
    let broadcast = IpAddr::from(Ipv4Addr::BROADCAST);
    let mut rules = vec![
        rule(Match::default().leaves_by(INTERFACE_NAME), "tunnel"),
        rule(Match::default().leaves_by(LOOPBACK), "loopback"),
    ];
    for family in Family::BOTH {
        let flow = Match::default().marked(FIREWALL_MARK).flow_in(family, End::Destination, openings(family));
        rules.push(rule(flow, "Weft's own"));
    }
    let dhcp = Match::default().address(End::Destination, broadcast).protocol(UDP).ports(68, 67);
    rules.push(rule(dhcp, "DHCP"));
    for group in DHCPV6_GROUPS {
        let dhcp = Match::default()
            .network(End::Source, LINK_LOCAL.0.into(), LINK_LOCAL.1.into())
            .address(End::Destination, group.into())
            .protocol(UDP)
            .ports(546, 547);
        rules.push(rule(dhcp, "DHCPv6"));
    }
    let (first, last) = NEIGHBOR_DISCOVERY;
    let discovery = Match::default().family(Family::V6).protocol(ICMPV6).icmp_types(first, last);
    rules.push(rule(discovery, "NDP"));
    rules
}

/// What is refused of the packets that leave: at once and with an answer, so that nobody waits for a time-out.
fn outward(chain: &'static str, learnt_are: SplitTunnelMode) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (family, set) in guarded(learnt_are) {
        let guarded = Match::default().address_in(family, End::Destination, set);
        let expressions = guarded.clone().protocol(TCP).counted().reset();
        rules.push(Rule { chain, expressions, comment: "tunnel or nothing" });
        rules.push(Rule { chain, expressions: guarded.counted().prohibit(), comment: "tunnel or nothing" });
    }
    rules
}

/// What may come in, and what may not: nothing by a physical interface to the tunnel's own addresses, which would
/// betray them to the local network (CVE-2019-14899), and nothing from tunnelled addresses but replies to Weft's own
/// sockets, what the physical network must say of their packets, and what learnt excluded addresses send.
fn inward(learnt_are: SplitTunnelMode, addresses: &[IpNet]) -> Vec<Rule> {
    let rule = |expressions: Match, comment| Rule { chain: INPUT, expressions, comment };
    let mut rules = vec![
        rule(Match::default().came_by(INTERFACE_NAME).accept(), "tunnel"),
        rule(Match::default().came_by(LOOPBACK).accept(), "loopback"),
    ];
    for address in addresses.iter().map(IpNet::addr) {
        let to_tunnel = Match::default().address(End::Destination, address).counted().drop();
        rules.push(rule(to_tunnel, "the tunnel's own address"));
    }
    for family in Family::BOTH {
        let flow = Match::default().flow_in(family, End::Source, openings(family)).accept();
        rules.push(rule(flow, "replies to Weft's own"));
    }
    let dhcp = Match::default().family(Family::V4).protocol(UDP).ports(67, 68).accept();
    let dhcpv6 = Match::default()
        .network(End::Source, LINK_LOCAL.0.into(), LINK_LOCAL.1.into())
        .protocol(UDP)
        .ports(547, 546)
        .accept();
    let (first, last) = NEIGHBOR_DISCOVERY;
    let icmp = || Match::default().family(Family::V4).protocol(ICMP);
    let icmpv6 = || Match::default().family(Family::V6).protocol(ICMPV6);
    rules.extend([
        rule(dhcp, "DHCP"),
        rule(dhcpv6, "DHCPv6"),
        rule(icmpv6().icmp_types(first, last).accept(), "NDP"),
        rule(icmp().icmp_types(3, 3).accept(), "ICMP unreachable, too big"),
        rule(icmp().icmp_types(11, 12).accept(), "ICMP time exceeded, bad header"),
        rule(icmpv6().icmp_types(1, 4).accept(), "ICMPv6 errors"),
    ]);
    rules.extend(excluded(learnt_are, INPUT, End::Source));
    for (family, set) in guarded(learnt_are) {
        let expressions = Match::default().address_in(family, End::Source, set).counted().drop();
        rules.push(rule(expressions, "from a tunnelled address"));
    }
    rules
}
