//! The two kinds of domain matching: split-tunnel hosts (a name, or all below it) and fallback suffixes (a name and
//! all below it, the longest wins).

use std::collections::{HashMap, HashSet};

use weft_model::profile::HostPattern;
use weft_model::{DomainName, FallbackDomain};

/// The name and everything it lies below, the longest first: `a.b.c`, `b.c`, `c`.
fn suffixes(name: &DomainName) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name.as_str()), |text| text.split_once('.').map(|(_, rest)| rest))
}

/// Which private resolvers answer a name: Local Domain Fallback. One look-up in a hash table for each label of the
/// name, however many suffixes there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FallbackRules(HashMap<Box<str>, FallbackDomain>);

impl FallbackRules {
    /// Compiles a list. Entries of the same suffix are one, with the resolvers of all of them in order.
    #[must_use]
    pub fn new(domains: &[FallbackDomain]) -> Self {
        let mut rules: HashMap<Box<str>, FallbackDomain> = HashMap::with_capacity(domains.len());
        for domain in domains {
            let Some(known) = rules.get_mut(domain.suffix.as_str()) else {
                rules.insert(domain.suffix.as_str().into(), domain.clone());
                continue;
            };
            for server in &domain.dns_server {
                if !known.dns_server.contains(server) {
                    known.dns_server.push(*server);
                }
            }
        }
        Self(rules)
    }

    /// The entry with the longest suffix that `name` is or lies below.
    #[must_use]
    pub fn resolve(&self, name: &DomainName) -> Option<&FallbackDomain> {
        suffixes(name).find_map(|suffix| self.0.get(suffix))
    }
}

/// Which names the split tunnel's host entries match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostRules {
    exact: HashSet<Box<str>>,
    below: HashSet<Box<str>>,
}

impl HostRules {
    /// Compiles a list.
    #[must_use]
    pub fn new(patterns: &[HostPattern]) -> Self {
        let mut rules = Self::default();
        for pattern in patterns {
            match pattern {
                HostPattern::Exact(name) => rules.exact.insert(name.as_str().into()),
                HostPattern::Below(name) => rules.below.insert(name.as_str().into()),
            };
        }
        rules
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    /// Whether an entry matches `name`.
    #[must_use]
    pub fn matches(&self, name: &DomainName) -> bool {
        self.exact.contains(name.as_str()) || suffixes(name).skip(1).any(|suffix| self.below.contains(suffix))
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
            let found = rules.resolve(&name(text)).map(|domain| domain.suffix.to_string());
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
            rules.resolve(&name("corp")).unwrap().dns_server.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
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
                prop_assert_eq!(hosts.matches(asked), patterns.iter().any(|pattern| pattern.matches(asked)));
                let longest = exact.iter().filter(|suffix| asked.is_within(suffix))
                    .max_by_key(|suffix| suffix.as_str().len());
                prop_assert_eq!(fallback.resolve(asked).map(|domain| &domain.suffix), longest);
            }
        }
    }
}
