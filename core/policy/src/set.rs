//! Sets of IP addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::steps::Steps;

/// A set of IPv4 and IPv6 addresses, in its one canonical form: equal sets compare as equal.
///
/// It is at once the set that policy is computed with and the table that packets are looked up in: one binary
/// search, no allocation, and eight (IPv6: 32) bytes a range.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetSet {
    v4: Steps<u32>,
    v6: Steps<u128>,
}

impl NetSet {
    /// The set without an address.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Every address of both families.
    #[must_use]
    pub fn everything() -> Self {
        Self { v4: Steps::everything(), v6: Steps::everything() }
    }

    /// Whether there is no address in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether `address` is in the set. An IPv4-mapped IPv6 address counts as the IPv6 address it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.contains_v4(address.to_bits()),
            IpAddr::V6(address) => self.contains_v6(address.to_bits()),
        }
    }

    /// [`NetSet::contains`] for an IPv4 address as a number (its first byte the highest).
    #[must_use]
    pub fn contains_v4(&self, address: u32) -> bool {
        self.v4.contains(address)
    }

    /// [`NetSet::contains`] for an IPv6 address as a number (its first byte the highest).
    #[must_use]
    pub fn contains_v6(&self, address: u128) -> bool {
        self.v6.contains(address)
    }

    /// What is in this set, in the other, or in both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a || b)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a && !b)
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a && b)
    }

    /// What is not in this set.
    #[must_use]
    pub fn complement(&self) -> Self {
        Self { v4: self.v4.complement(), v6: self.v6.complement() }
    }

    /// The set without its IPv6 addresses.
    #[must_use]
    pub fn only_v4(&self) -> Self {
        Self { v4: self.v4.clone(), v6: Steps::default() }
    }

    /// The set without its IPv4 addresses.
    #[must_use]
    pub fn only_v6(&self) -> Self {
        Self { v4: Steps::default(), v6: self.v6.clone() }
    }

    /// The fewest prefixes that make up the set, sorted, IPv4 before IPv6.
    #[must_use]
    pub fn to_minimal_cidrs(&self) -> Vec<IpNet> {
        let v4 = self.v4.blocks().filter_map(|(first, prefix)| {
            let prefix = u8::try_from(prefix).ok()?;
            Ipv4Net::new(Ipv4Addr::from_bits(first), prefix).ok().map(IpNet::V4)
        });
        let v6 = self.v6.blocks().filter_map(|(first, prefix)| {
            let prefix = u8::try_from(prefix).ok()?;
            Ipv6Net::new(Ipv6Addr::from_bits(first), prefix).ok().map(IpNet::V6)
        });
        v4.chain(v6).collect()
    }

    /// Every single address of the set, IPv4 before IPv6, each family ascending. Meant for sets that are made of
    /// single addresses: a range yields as many items as it has addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self
            .v4
            .ranges()
            .flat_map(|(first, last)| first..=last)
            .map(|bits| Ipv4Addr::from_bits(bits).into());
        let v6 = self
            .v6
            .ranges()
            .flat_map(|(first, last)| first..=last)
            .map(|bits| Ipv6Addr::from_bits(bits).into());
        v4.chain(v6)
    }

    fn combine(&self, other: &Self, rule: impl Fn(bool, bool) -> bool) -> Self {
        Self { v4: self.v4.combine(&other.v4, &rule), v6: self.v6.combine(&other.v6, &rule) }
    }
}

impl FromIterator<IpNet> for NetSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self { v4: Steps::from_ranges(v4), v6: Steps::from_ranges(v6) }
    }
}

impl<'a> FromIterator<&'a IpNet> for NetSet {
    fn from_iter<I: IntoIterator<Item = &'a IpNet>>(networks: I) -> Self {
        networks.into_iter().copied().collect()
    }
}

impl FromIterator<IpAddr> for NetSet {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        addresses.into_iter().map(IpNet::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(texts: &[&str]) -> NetSet {
        texts.iter().map(|text| text.parse::<IpNet>().unwrap()).collect()
    }

    fn texts(set: &NetSet) -> Vec<String> {
        set.to_minimal_cidrs().iter().map(ToString::to_string).collect()
    }

    /// Networks that often overlap, touch and nest: few leading bytes, any prefix length.
    fn networks() -> impl Strategy<Value = Vec<IpNet>> {
        let v4 = (
            prop::sample::select(vec![0_u32, 0x0A00_0000, 0x0A80_0000, 0xC0A8_0000, 0xFFFF_FF00]),
            0_u32..512,
            0_u8..=32,
        )
            .prop_map(|(base, low, prefix)| {
                IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(base | low), prefix))
            });
        let v6 = (
            prop::sample::select(vec![0_u128, 0xfd00 << 112, 0x2001_0db8 << 96, u128::MAX << 9]),
            0_u128..512,
            0_u8..=128,
        )
            .prop_map(|(base, low, prefix)| {
                IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(base | low), prefix))
            });
        prop::collection::vec(prop_oneof![v4, v6], 0..12)
    }

    /// The addresses where membership may change, with their neighbours.
    fn probes(networks: &[IpNet]) -> Vec<IpAddr> {
        let around = |address: IpAddr| match address {
            IpAddr::V4(a) => [a.to_bits().wrapping_sub(1), a.to_bits(), a.to_bits().wrapping_add(1)]
                .map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits))),
            IpAddr::V6(a) => [a.to_bits().wrapping_sub(1), a.to_bits(), a.to_bits().wrapping_add(1)]
                .map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits))),
        };
        networks.iter().flat_map(|net| [net.network(), net.broadcast()]).flat_map(around).collect()
    }

    proptest! {
        #[test]
        fn membership_is_that_of_the_networks(a in networks(), b in networks()) {
            let (left, right): (NetSet, NetSet) = (a.iter().collect(), b.iter().collect());
            let (union, difference, both) = (left.union(&right), left.subtract(&right), left.intersect(&right));
            for probe in probes(&a).into_iter().chain(probes(&b)) {
                let (in_a, in_b) =
                    (a.iter().any(|net| net.contains(&probe)), b.iter().any(|net| net.contains(&probe)));
                prop_assert_eq!(left.contains(probe), in_a, "{}", probe);
                prop_assert_eq!(left.complement().contains(probe), !in_a, "{}", probe);
                prop_assert_eq!(union.contains(probe), in_a || in_b, "{}", probe);
                prop_assert_eq!(difference.contains(probe), in_a && !in_b, "{}", probe);
                prop_assert_eq!(both.contains(probe), in_a && in_b, "{}", probe);
            }
        }

        #[test]
        fn prefixes_are_minimal_sorted_and_the_set_itself(networks in networks()) {
            let set: NetSet = networks.iter().collect();
            let cidrs = set.to_minimal_cidrs();
            prop_assert_eq!(&cidrs.iter().collect::<NetSet>(), &set);
            // ipnet's aggregate works by another method: it sorts and merges prefixes, without a number range.
            let mut aggregated = IpNet::aggregate(&networks);
            aggregated.sort();
            prop_assert_eq!(&cidrs, &aggregated);
            prop_assert!(cidrs.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(set.complement().complement(), set);
        }
    }

    #[test]
    fn the_complement_of_ten_slash_eight_is_eight_prefixes() {
        let complement = set(&["10.0.0.0/8"]).complement().only_v4();
        assert_eq!(
            texts(&complement),
            [
                "0.0.0.0/5",
                "8.0.0.0/7",
                "11.0.0.0/8",
                "12.0.0.0/6",
                "16.0.0.0/4",
                "32.0.0.0/3",
                "64.0.0.0/2",
                "128.0.0.0/1"
            ]
        );
    }

    #[test]
    fn host_bits_do_not_matter_and_neighbours_merge() {
        assert_eq!(texts(&set(&["10.0.0.77/25", "10.0.0.200/25", "10.0.0.1/32"])), ["10.0.0.0/24"]);
        assert_eq!(texts(&NetSet::everything()), ["0.0.0.0/0", "::/0"]);
        assert!(NetSet::everything().complement().is_empty());
    }
}
