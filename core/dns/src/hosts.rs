//! The system's hosts file (hosts(5)): addresses of names that nobody is asked for.

use std::collections::HashMap;
use std::net::IpAddr;

use weft_model::DomainName;
use weft_policy::domains;

/// The most bytes of a file that are read; lists of blocked names are far shorter.
const MAX_HOSTS_BYTES: usize = 16 << 20;
/// The most addresses that are kept: with a name of 30 bytes each, 16 MiB.
const MAX_ENTRIES: usize = 100_000;
/// The most names of one address that are given for it, the first ones.
const MAX_NAMES: usize = 16;

/// A hosts file, to be looked up by name and by address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostsFile {
    /// By name in wire form, lower case.
    addresses: HashMap<Box<[u8]>, Vec<IpAddr>>,
    /// Names in wire form, the first one of the file first.
    names: HashMap<IpAddr, Vec<Box<[u8]>>>,
    left_out: usize,
}

impl HostsFile {
    /// Reads a file. Lines that name no address or no name are passed over, and so is what is over the bounds.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut hosts = Self::default();
        let mut entries = 0;
        let mut end = text.len().min(MAX_HOSTS_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        for line in text.get(..end).unwrap_or_default().lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            // "fe80::1%eth0" names an interface as well, which an answer cannot.
            let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
            for name in words.filter_map(|word| word.parse::<DomainName>().ok()) {
                if entries == MAX_ENTRIES {
                    hosts.left_out += 1;
                    continue;
                }
                entries += usize::from(hosts.insert(address, domains::wire(&name).into()));
            }
        }
        hosts
    }

    fn insert(&mut self, address: IpAddr, name: Box<[u8]>) -> bool {
        let names = self.names.entry(address).or_default();
        if names.len() < MAX_NAMES && !names.contains(&name) {
            names.push(name.clone());
        }
        let addresses = self.addresses.entry(name).or_default();
        let new = !addresses.contains(&address);
        if new {
            addresses.push(address);
        }
        new
    }

    /// How many entries of the file were passed over, for there were 100,000 others before them.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// The addresses of a name in wire form and lower case, of both families; none where the file has it not.
    pub(crate) fn addresses(&self, name: &[u8]) -> Option<&[IpAddr]> {
        self.addresses.get(name).map(Vec::as_slice)
    }

    /// The names of the address whose reverse name (in-addr.arpa, ip6.arpa) this is.
    pub(crate) fn names(&self, reverse: &[u8]) -> Option<&[Box<[u8]>]> {
        self.names.get(&reverse_address(reverse)?).map(Vec::as_slice)
    }
}

/// The address that a reverse name stands for (RFC 1035, section 3.5; RFC 3596, section 2.5).
fn reverse_address(name: &[u8]) -> Option<IpAddr> {
    const V4: &[u8] = b"\x07in-addr\x04arpa\0";
    const V6: &[u8] = b"\x03ip6\x04arpa\0";
    if let Some(labels) = name.strip_suffix(V4) {
        let mut octets = [0; 4];
        let mut rest = labels;
        for octet in octets.iter_mut().rev() {
            let (label, after) = next_label(rest)?;
            let text = std::str::from_utf8(label).ok()?;
            // "01" is no octet: each address has one reverse name.
            *octet = text.parse().ok().filter(|octet: &u8| octet.to_string() == text)?;
            rest = after;
        }
        return rest.is_empty().then(|| octets.into());
    }
    let mut rest = name.strip_suffix(V6)?;
    let mut bits = 0_u128;
    for nibble in 0..32 {
        let ([digit], after) = next_label(rest)? else { return None };
        bits |= u128::from(char::from(*digit).to_digit(16)?) << (4 * nibble);
        rest = after;
    }
    rest.is_empty().then(|| std::net::Ipv6Addr::from_bits(bits).into())
}

fn next_label(labels: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = labels.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(text: &str) -> Vec<u8> {
        domains::wire(&text.parse().unwrap())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn names_and_addresses_are_found_and_bad_lines_are_not() {
        let hosts = HostsFile::parse(
            "127.0.0.1 localhost\n  192.0.2.1\tWeb.Example web # www\n192.0.2.2 web.example\n2001:db8::1 web.example\n\
             # 192.0.2.9 remark\n192.0.2.300 bad\nname only\n192.0.2.4\nfe80::1%eth0 linked\n192.0.2.5 a..b good.example",
        );
        assert_eq!(
            hosts.addresses(&wire("web.example")),
            Some(&[ip("192.0.2.1"), ip("192.0.2.2"), ip("2001:db8::1")][..])
        );
        assert_eq!(hosts.addresses(&wire("good.example")), Some(&[ip("192.0.2.5")][..]));
        for absent in ["remark", "bad", "only", "linked", "www", "example"] {
            assert_eq!(hosts.addresses(&wire(absent)), None, "{absent}");
        }
        let names = |reverse: &str| hosts.names(&wire(reverse)).map(<[_]>::to_vec);
        let boxed = |names: &[&str]| Some(names.iter().map(|name| wire(name).into()).collect());
        assert_eq!(names("1.2.0.192.in-addr.arpa"), boxed(&["web.example", "web"]));
        let v6 = format!("1{}.8.b.d.0.1.0.0.2.ip6.arpa", ".0".repeat(23));
        assert_eq!(names(&v6), boxed(&["web.example"]));
        for absent in
            ["2.0.192.in-addr.arpa", "01.2.0.192.in-addr.arpa", "9.2.0.192.in-addr.arpa", "ip6.arpa"]
        {
            assert_eq!(names(absent), None, "{absent}");
        }
        assert_eq!(names(&format!("1.{v6}")), None);
        assert_eq!(names("1.1.2.0.192.in-addr.arpa"), None);
    }

    #[test]
    fn a_file_of_any_length_takes_bounded_room() {
        let lines = (0..MAX_ENTRIES + 10).map(|at| format!("0.0.0.0 a{at}.example\n")).collect::<String>();
        let hosts = HostsFile::parse(&lines);
        assert_eq!((hosts.addresses.len(), hosts.left_out()), (MAX_ENTRIES, 10));
        assert_eq!(hosts.names(&wire("0.0.0.0.in-addr.arpa")).map(<[_]>::len), Some(MAX_NAMES));
    }
}
