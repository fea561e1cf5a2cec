//! What stands in the sets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, SetElementAttribute, SetElementFlags,
};
use weft_model::{Opening, Protocol};

use super::expression::{Family, octets};

/// One element.
pub(super) type Element = ListAttribute<SetElementAttribute>;

fn element(key: Vec<u8>, end_of_range: bool) -> Element {
    let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(key))];
    if end_of_range {
        attributes.push(SetElementAttribute::Flags(SetElementFlags::IntervalEnd));
    }
    ListAttribute::Element(attributes)
}

/// Networks of one family as ranges of addresses, both ends included, in order and without gaps of nothing.
fn ranges(networks: &[IpNet], family: Family) -> Vec<(u128, u128)> {
    let mut found: Vec<(u128, u128)> = networks
        .iter()
        .filter(|network| Family::of(network.addr()) == family)
        .map(|network| (number(network.network()), number(network.broadcast())))
        .collect();
    found.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(found.len());
    for (first, last) in found {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn address(number: u128, family: Family) -> Option<IpAddr> {
    match family {
        Family::V4 => u32::try_from(number).ok().map(|number| Ipv4Addr::from(number).into()),
        Family::V6 => Some(Ipv6Addr::from(number).into()),
    }
}

/// The elements of a set of ranges: one where each range begins, one behind its end. A range that reaches the family's
/// last address has none behind it, and the first range has one in front where it does not begin at zero.
pub(super) fn of_networks(networks: &[IpNet], family: Family) -> Vec<Element> {
    let ranges = ranges(networks, family);
    let mut elements = Vec::with_capacity(ranges.len() * 2 + 1);
    let gap_in_front = ranges.first().is_some_and(|(first, _)| *first > 0);
    if let Some(zero) = address(0, family).filter(|_| gap_in_front) {
        elements.push(element(octets(zero), true));
    }
    for (first, last) in ranges {
        elements.extend(address(first, family).map(|first| element(octets(first), false)));
        let behind = last.checked_add(1).and_then(|behind| address(behind, family));
        elements.extend(behind.map(|behind| element(octets(behind), true)));
    }
    elements
}

/// The elements of a set of addresses.
pub(super) fn of_addresses(addresses: &[IpAddr], family: Family) -> Vec<Element> {
    let own = addresses.iter().filter(|address| Family::of(**address) == family);
    own.map(|address| element(octets(*address), false)).collect()
}

/// The number of a transport protocol in IP.
pub(super) fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

/// The elements of a set of openings: protocol, remote address and port, each filled up to 4 bytes.
pub(super) fn of_openings(openings: &[Opening], family: Family) -> Vec<Element> {
    let mut keys: Vec<Vec<u8>> = openings
        .iter()
        .filter(|opening| Family::of(opening.remote.ip()) == family)
        .map(|opening| {
            let mut key = vec![protocol_number(opening.protocol), 0, 0, 0];
            key.extend(octets(opening.remote.ip()));
            key.extend(opening.remote.port().to_be_bytes());
            key.extend([0, 0]);
            key
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().map(|key| element(key, false)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn networks_become_ranges() {
        let all = u128::from(u32::MAX);
        let cases = [
            (vec![], vec![]),
            (vec!["0.0.0.0/0"], vec![(0, all)]),
            (vec!["0.0.0.0/1", "128.0.0.0/1"], vec![(0, all)]),
            (vec!["10.0.0.0/9", "10.0.0.0/8", "10.255.255.255/32"], vec![(0x0a00_0000, 0x0aff_ffff)]),
            (vec!["0.0.0.2/31", "0.0.0.0/32", "::1/128"], vec![(0, 0), (2, 3)]),
            (vec!["255.255.255.254/31"], vec![(all - 1, all)]),
        ];
        for (networks, expected) in cases {
            assert_eq!(ranges(&nets(&networks), Family::V4), expected, "{networks:?}");
        }
        assert_eq!(ranges(&nets(&["::/0", "ffff::/16"]), Family::V6), [(0, u128::MAX)]);
    }

    #[test]
    fn a_range_begins_and_ends_with_an_element() {
        let cases: [(&[&str], Family, usize); 6] = [
            (&["0.0.0.0/0"], Family::V4, 1),
            (&["::/0"], Family::V6, 1),
            (&["0.0.0.0/1"], Family::V4, 2),
            (&["10.0.0.0/8"], Family::V4, 3),
            (&["10.0.0.0/8", "240.0.0.0/4"], Family::V4, 4),
            (&["10.0.0.0/8"], Family::V6, 0),
        ];
        for (networks, family, count) in cases {
            assert_eq!(of_networks(&nets(networks), family).len(), count, "{networks:?}");
        }
    }

    proptest! {
        #[test]
        fn ranges_hold_exactly_what_the_networks_hold(
            networks in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..20),
            probes in proptest::collection::vec(any::<u32>(), 20),
        ) {
            let networks: Vec<IpNet> = networks
                .into_iter()
                .map(|(address, length)| IpNet::new(Ipv4Addr::from(address).into(), length).unwrap())
                .collect();
            let ranges = ranges(&networks, Family::V4);
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].1 + 1 < pair[1].0, "{:?}", pair);
            }
            let edges = networks.iter().flat_map(|net| [net.network(), net.broadcast()]);
            for probe in probes.into_iter().map(|probe| IpAddr::from(Ipv4Addr::from(probe))).chain(edges) {
                let inside = networks.iter().any(|network| network.contains(&probe));
                let number = number(probe);
                prop_assert_eq!(ranges.iter().any(|range| (range.0..=range.1).contains(&number)), inside);
            }
        }
    }
}
