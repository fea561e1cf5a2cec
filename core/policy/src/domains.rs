//! The two kinds of domain matching: split-tunnel hosts (a name, or all below it) and fallback suffixes (a name and
//! all below it, the longest wins).
//!
//! Names are matched as DNS messages carry them: in wire form (RFC 1035, section 3.1), uncompressed, in lower case.
//! Each look-up is one in a hash table for each label of the name, however many entries there are, and allocates
//! nothing.

use std::collections::HashMap;
use std::net::IpAddr;

use weft_model::profile::HostPattern;
use weft_model::{DomainName, FallbackDomain};

/// A name in wire form: labels with their lengths, the empty one last.
#[must_use]
pub fn wire(name: &DomainName) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.as_str().len() + 2);
    for label in name.as_str().split('.') {
        // A domain name's labels are of 63 bytes at most.
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The name in wire form itself, then the name without its first label, and so on; the root, which ends all, is left
/// out. What is no name in wire form ends where it stops being one.
pub fn suffixes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let length = usize::from(*rest.first()?);
        if length == 0 {
            return None;
        }
        let suffix = rest;
        rest = rest.get(1 + length..)?;
        Some(suffix)
    })
}

/// An entry of Local Domain Fallback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FallbackRule {
    /// The suffix.
    pub suffix: DomainName,
    /// The resolvers that answer its names; empty: those that the device had before it connected.
    pub servers: Vec<IpAddr>,
}

/// Which private resolvers answer a name: Local Domain Fallback.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FallbackRules(HashMap<Box<[u8]>, FallbackRule>);

impl FallbackRules {
    /// Compiles a list. Entries of the same suffix are one, with the resolvers of all of them in order.
    #[must_use]
    pub fn new(domains: &[FallbackDomain]) -> Self {
        let mut rules: HashMap<Box<[u8]>, FallbackRule> = HashMap::with_capacity(domains.len());
        for domain in domains {
            let empty = || FallbackRule { suffix: domain.suffix.clone(), servers: Vec::new() };
            let rule = rules.entry(wire(&domain.suffix).into()).or_insert_with(empty);
            for server in &domain.dns_server {
                if !rule.servers.contains(server) {
                    rule.servers.push(*server);
                }
            }
        }
        Self(rules)
    }

    /// The entry with the longest suffix that `name` is or lies below.
    #[must_use]
    pub fn resolve(&self, name: &[u8]) -> Option<&FallbackRule> {
        suffixes(name).find_map(|suffix| self.0.get(suffix))
    }
}

/// Which names the split tunnel's host entries match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostRules {
    exact: HashMap<Box<[u8]>, HostPattern>,
    below: HashMap<Box<[u8]>, HostPattern>,
}

impl HostRules {
    /// Compiles a list.
    #[must_use]
    pub fn new(patterns: &[HostPattern]) -> Self {
        let mut rules = Self::default();
        for pattern in patterns {
            let (rules, name) = match pattern {
                HostPattern::Exact(name) => (&mut rules.exact, name),
                HostPattern::Below(name) => (&mut rules.below, name),
            };
            rules.insert(wire(name).into(), pattern.clone());
        }
        rules
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    /// The entry that matches `name`: the exact one, else the one with the longest suffix.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&HostPattern> {
        let below = || suffixes(name).skip(1).find_map(|suffix| self.below.get(suffix));
        self.exact.get(name).or_else(below)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    fn domain(suffix: &str, servers: &[&str]) -> FallbackDomain {
        let dns_server = servers.iter().map(|text| text.parse().unwrap()).collect();
        FallbackDomain { suffix: name(suffix), dns_server, description: None }
    }

    #[test]
    fn a_name_in_wire_form_has_all_its_suffixes() {
        let www = wire(&name("www.Example"));
        assert_eq!(www, b"\x03www\x07example\0");
        let found: Vec<_> = suffixes(&www).collect();
        assert_eq!(found, [&b"\x03www\x07example\0"[..], b"\x07example\0"]);
        for root_or_no_name in [&b"\0"[..], b"", b"\x09cut"] {
            assert!(suffixes(root_or_no_name).count() <= 1, "{root_or_no_name:?}");
        }
    }

    #[test]
    fn the_longest_suffix_wins() {
        let rules = FallbackRules::new(&[
            domain("corp", &["10.0.0.1"]),
            domain("dev.corp", &["10.0.0.2"]),
            domain("home.arpa", &[]),
        ]);
        let cases = [
            ("corp", Some("corp")),
            ("a.corp", Some("corp")),
            ("dev.corp", Some("dev.corp")),
            ("x.y.dev.corp", Some("dev.corp")),
            ("xdev.corp", Some("corp")),
            ("acorp", None),
            ("arpa", None),
            ("printer.home.arpa", Some("home.arpa")),
        ];
        for (text, expected) in cases {
            let found = rules.resolve(&wire(&name(text))).map(|rule| rule.suffix.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn entries_of_one_suffix_are_one() {
        let rules = FallbackRules::new(&[
            domain("corp", &[]),
            domain("corp", &["10.0.0.1", "10.0.0.2"]),
            domain("corp", &["10.0.0.1", "10.0.0.3"]),
        ]);
        let servers: Vec<String> =
            rules.resolve(&wire(&name("corp"))).unwrap().servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    }

    #[test]
    fn the_entry_that_matches_a_host_is_named() {
        let patterns = ["*.example.com", "example.com", "*.b.example.com", "a.b.example.com"];
        let rules = HostRules::new(&patterns.map(|text| text.parse().unwrap()));
        let cases = [
            ("example.com", Some("example.com")),
            ("a.example.com", Some("*.example.com")),
            ("b.example.com", Some("*.example.com")),
            ("c.b.example.com", Some("*.b.example.com")),
            ("a.b.example.com", Some("a.b.example.com")),
            ("badexample.com", None),
            ("com", None),
        ];
        for (text, expected) in cases {
            let found = rules.find(&wire(&name(text))).map(ToString::to_string);
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    /// Names of few, short labels, so that they often lie below each other.
    fn names() -> impl Strategy<Value = DomainName> {
        prop::collection::vec("[ab]{1,2}", 1..4).prop_map(|labels| name(&labels.join(".")))
    }

    proptest! {
        #[test]
        fn both_match_as_their_entries_do(
            names_asked in prop::collection::vec(names(), 1..10),
            exact in prop::collection::vec(names(), 0..4),
            below in prop::collection::vec(names(), 0..4),
        ) {
            let patterns: Vec<HostPattern> = exact.iter().cloned().map(HostPattern::Exact)
                .chain(below.iter().cloned().map(HostPattern::Below)).collect();
            let hosts = HostRules::new(&patterns);
            let domains: Vec<FallbackDomain> = exact.iter().map(|suffix| domain(suffix.as_str(), &[])).collect();
            let fallback = FallbackRules::new(&domains);
            for asked in &names_asked {
                let found = hosts.find(&wire(asked));
                prop_assert_eq!(found.is_some(), patterns.iter().any(|pattern| pattern.matches(asked)));
                prop_assert!(found.is_none_or(|pattern| pattern.matches(asked)));
                let longest = exact.iter().filter(|suffix| asked.is_within(suffix))
                    .max_by_key(|suffix| suffix.as_str().len());
                prop_assert_eq!(fallback.resolve(&wire(asked)).map(|rule| &rule.suffix), longest);
            }
        }
    }
}
