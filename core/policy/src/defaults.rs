//! What holds where nobody decided otherwise, and what no list can change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use weft_model::{DNS_PROXY_ADDRESSES, FallbackDomain};

use crate::set::NetSet;

/// What stays outside the tunnel in Exclude mode where no list is given: private, shared, link-local and reserved
/// ranges (RFC 1918, 6598, 3927, 6890, 4193, 4291) and the multicast scopes that a site uses.
pub const EXCLUDES: [IpNet; 16] = [
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(224, 0, 0, 0, 24),
    v4(240, 0, 0, 0, 4),
    v4(255, 255, 255, 255, 32),
    v6(0xfd00, 8),
    v6(0xfe80, 10),
    v6(0xff01, 16),
    v6(0xff02, 16),
    v6(0xff03, 16),
    v6(0xff04, 16),
    v6(0xff05, 16),
];

/// The suffixes that the device's former resolvers answer where no list is given.
pub const FALLBACK_SUFFIXES: [&str; 14] = [
    "corp",
    "domain",
    "home",
    "home.arpa",
    "host",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "private",
    "test",
];

/// The ranges of a gateway's inner addresses, which are in the tunnel whatever the lists say: the resolver and the
/// check address, and the device range of IPv6.
pub const ALWAYS_IN: [IpNet; 2] = [
    v4(172, 64, 128, 0, 20),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0x2606, 0x4700, 0x0cf1, 0, 0, 0, 0, 0), 48)),
];

/// What no tunnel carries, whatever the lists say: "this network" and the unspecified address, loopback, link-local
/// unicast, and the multicast and broadcast that never leave a link (RFC 6890, section 2.2; RFC 5771, section 4;
/// RFC 4291, section 2.7), without which a link's own protocols (DHCP, NDP, MLD, mDNS) would not work.
pub const NEVER_IN: [IpNet; 10] = [
    v4(0, 0, 0, 0, 8),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(224, 0, 0, 0, 24),
    v4(255, 255, 255, 255, 32),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    v6(0xfe80, 10),
    v6(0xff01, 16),
    v6(0xff02, 16),
];

/// [`FALLBACK_SUFFIXES`] as a profile would name them: without resolvers, so that the former ones are asked.
#[must_use]
pub fn fallback_domains() -> Vec<FallbackDomain> {
    let domain = |suffix: &&str| {
        let suffix = suffix.parse().ok()?;
        Some(FallbackDomain { suffix, dns_server: Vec::new(), description: None })
    };
    FALLBACK_SUFFIXES.iter().filter_map(domain).collect()
}

/// What no answer of a resolver may move into or out of the tunnel: what names no single host (multicast and the
/// reserved range of broadcast, RFC 1112, section 4), and where the DNS proxy listens.
pub(crate) fn never_learnt() -> NetSet {
    let ranges: NetSet = [v4(224, 0, 0, 0, 3), v6(0xff00, 8)].iter().collect();
    ranges.union(&DNS_PROXY_ADDRESSES.into_iter().collect())
}

/// Whether an address names no single host that a tunnel could carry packets to: multicast, broadcast or
/// link-local.
pub(crate) fn is_not_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast() || address.is_link_local(),
        IpAddr::V6(address) => address.is_multicast() || address.is_unicast_link_local(),
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(first: u16, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NetSet;

    #[test]
    fn the_defaults_are_well_formed() {
        for network in EXCLUDES.iter().chain(&ALWAYS_IN).chain(&NEVER_IN) {
            assert_eq!(*network, network.trunc(), "host bits");
        }
        assert_eq!(fallback_domains().len(), FALLBACK_SUFFIXES.len());
        assert!(FALLBACK_SUFFIXES.is_sorted());
    }

    #[test]
    fn the_default_excludes_are_those_that_users_of_the_model_know() {
        let texts: Vec<String> = EXCLUDES.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts.join(" "),
            "10.0.0.0/8 100.64.0.0/10 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.168.0.0/16 224.0.0.0/24 \
             240.0.0.0/4 255.255.255.255/32 fd00::/8 fe80::/10 ff01::/16 ff02::/16 ff03::/16 ff04::/16 ff05::/16"
        );
    }

    #[test]
    fn what_is_always_in_is_never_among_the_rest() {
        let always: NetSet = ALWAYS_IN.iter().collect();
        assert!(always.intersect(&NEVER_IN.iter().collect()).is_empty());
        assert!(always.intersect(&EXCLUDES.iter().collect()).is_empty());
    }
}
