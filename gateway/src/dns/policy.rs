//! Which names are blocked.

use std::collections::HashMap;

use crate::config::{DnsConfig, PolicyLists};

/// What to do with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Ask an upstream.
    Allow,
    /// Answer that it does not exist.
    Block,
}

/// The lists of one profile. The longest suffix that matches counts; of two equal ones, "allow".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    suffixes: HashMap<String, Verdict>,
}

impl Policy {
    fn new<'a>(lists: impl IntoIterator<Item = &'a PolicyLists> + Clone) -> Self {
        let mut suffixes = HashMap::new();
        let blocked = lists.clone().into_iter().flat_map(|lists| &lists.block);
        suffixes.extend(blocked.map(|name| (name.as_str().to_owned(), Verdict::Block)));
        let allowed = lists.into_iter().flat_map(|lists| &lists.allow);
        suffixes.extend(allowed.map(|name| (name.as_str().to_owned(), Verdict::Allow)));
        Self { suffixes }
    }

    /// Judges a name as [`super::wire::name_text`] writes it.
    #[must_use]
    pub fn judge(&self, name: &str) -> Verdict {
        let mut rest = name;
        loop {
            if let Some(verdict) = self.suffixes.get(rest) {
                return *verdict;
            }
            match rest.split_once('.') {
                Some((_, parent)) => rest = parent,
                None => return Verdict::Allow,
            }
        }
    }
}

/// The lists of every profile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policies {
    common: Policy,
    by_profile: HashMap<String, Policy>,
}

impl Policies {
    /// The lists of a configuration.
    #[must_use]
    pub fn new(config: &DnsConfig) -> Self {
        let common = PolicyLists { block: config.block.clone(), allow: config.allow.clone() };
        let by_profile = config
            .profiles
            .iter()
            .map(|(name, lists)| (name.clone(), Policy::new([&common, lists])))
            .collect();
        Self { common: Policy::new([&common]), by_profile }
    }

    /// The lists that count for the devices of a profile.
    #[must_use]
    pub fn of(&self, profile: &str) -> &Policy {
        self.by_profile.get(profile).unwrap_or(&self.common)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_longest_suffix_counts_and_of_equals_allow() {
        let config = Config::parse(
            r#"
            name = "gw"
            public_addresses = ["203.0.113.1"]
            [dns]
            block = ["ads.example", "both.example", "example.net", "deep.good.example.net"]
            allow = ["good.example.net", "both.example"]
            [dns.profiles.Strict]
            block = ["good.example.net", "video.example"]
            allow = ["ads.example"]
            "#,
        )
        .unwrap();
        let policies = Policies::new(&config.dns);
        let cases = [
            ("ads.example", Verdict::Block, Verdict::Allow),
            ("x.y.ads.example", Verdict::Block, Verdict::Allow),
            ("xads.example", Verdict::Allow, Verdict::Allow),
            ("example", Verdict::Allow, Verdict::Allow),
            ("", Verdict::Allow, Verdict::Allow),
            ("both.example", Verdict::Allow, Verdict::Allow),
            ("example.net", Verdict::Block, Verdict::Block),
            ("www.good.example.net", Verdict::Allow, Verdict::Allow),
            ("deep.good.example.net", Verdict::Block, Verdict::Block),
            ("x\\046ads.example", Verdict::Allow, Verdict::Allow),
            ("video.example", Verdict::Allow, Verdict::Block),
        ];
        for (name, common, strict) in cases {
            assert_eq!(policies.of("Default").judge(name), common, "{name}");
            assert_eq!(policies.of("Strict").judge(name), strict, "{name} (Strict)");
        }
    }
}
