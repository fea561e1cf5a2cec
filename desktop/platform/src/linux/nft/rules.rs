//! The rules, chain by chain.
//!
//! The base chains for local and forwarded packets stand at priority -10: behind conntrack (-200), other programs'
//! marks (-150) and destination NAT (-100), so that the packet's last destination is judged, and before the chains where
//! firewalls usually are (0). A packet whose route another program changes within the same hook still shows its first
//! interface there; so [`POSTROUTING`] judges once more, behind source NAT (100), by the interface that the packet
//! leaves by in truth. Nothing can be answered there, only dropped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
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

/// Every rule, in order.
pub(super) fn all(addresses: &[IpNet]) -> Vec<Rule> {
    let mut rules = ways_past();
    rules.extend(outward(OUTPUT, Match::default().jump(OPENINGS)));
    rules.extend(outward(FORWARD, Match::default().leaves_by(INTERFACE_NAME).accept()));
    rules.push(Rule { chain: POSTROUTING, expressions: Match::default().jump(OPENINGS), comment: "" });
    for family in Family::BOTH {
        let expressions =
            Match::default().address_in(family, End::Destination, tunnelled(family)).counted().drop();
        rules.push(Rule { chain: POSTROUTING, expressions, comment: "rerouted" });
    }
    rules.extend(inward(addresses));
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
fn outward(chain: &'static str, ways_past: Match) -> Vec<Rule> {
    let mut rules = vec![Rule { chain, expressions: ways_past, comment: "" }];
    for family in Family::BOTH {
        let guarded = Match::default().address_in(family, End::Destination, tunnelled(family));
        let expressions = guarded.clone().protocol(TCP).counted().reset();
        rules.push(Rule { chain, expressions, comment: "tunnel or nothing" });
        rules.push(Rule { chain, expressions: guarded.counted().prohibit(), comment: "tunnel or nothing" });
    }
    rules
}

/// What may come in, and what may not: nothing by a physical interface to the tunnel's own addresses, which would
/// betray them to the local network (CVE-2019-14899), and nothing from tunnelled addresses but replies to Weft's own
/// sockets and what the physical network must say of their packets.
fn inward(addresses: &[IpNet]) -> Vec<Rule> {
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
    for family in Family::BOTH {
        let expressions =
            Match::default().address_in(family, End::Source, tunnelled(family)).counted().drop();
        rules.push(rule(expressions, "from a tunnelled address"));
    }
    rules
}
