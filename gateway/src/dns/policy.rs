//! Which names are blocked.

use std::collections::HashMap;

use crate::config::{DnsConfig, PolicyLists};

/// What to do with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Ask an upstream.
    Allow,
    /// Answer that it does not exist.
    Block(List),
}

/// Which list blocks a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// The one for all devices.
    Common,
    /// The one for the devices of a profile.
    Profile,
}

impl List {
    /// What a user is told who asked for a name on it: one line.
    #[must_use]
    pub fn reason(self, profile: &str) -> String {
        match self {
            Self::Common => "blocked by the administrator's list".to_owned(),
            Self::Profile => format!("blocked by the administrator's list for profile {profile}"),
        }
    }
}

/// The lists of one profile. The longest suffix that matches counts; of two equal ones, "allow".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    suffixes: HashMap<String, Verdict>,
}

impl Policy {
    fn new(lists: &[(&PolicyLists, List)]) -> Self {
        let mut suffixes = HashMap::new();
        for (lists, list) in lists {
            suffixes.extend(lists.block.iter().map(|name| (name.as_str().to_owned(), Verdict::Block(*list))));
        }
        for (lists, _) in lists {
            suffixes.extend(lists.allow.iter().map(|name| (name.as_str().to_owned(), Verdict::Allow)));
        }
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
            .map(|(name, lists)| {
                (name.clone(), Policy::new(&[(lists, List::Profile), (&common, List::Common)]))
            })
            .collect();
        Self { common: Policy::new(&[(&common, List::Common)]), by_profile }
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

    const COMMON: Verdict = Verdict::Block(List::Common);

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
            ("ads.example", COMMON, Verdict::Allow),
            ("x.y.ads.example", COMMON, Verdict::Allow),
            ("xads.example", Verdict::Allow, Verdict::Allow),
            ("example", Verdict::Allow, Verdict::Allow),
            ("", Verdict::Allow, Verdict::Allow),
            ("both.example", Verdict::Allow, Verdict::Allow),
            ("example.net", COMMON, COMMON),
            ("www.good.example.net", Verdict::Allow, Verdict::Allow),
            ("deep.good.example.net", COMMON, COMMON),
            ("x\\046ads.example", Verdict::Allow, Verdict::Allow),
            ("video.example", Verdict::Allow, Verdict::Block(List::Profile)),
        ];
        for (name, common, strict) in cases {
            assert_eq!(policies.of("Default").judge(name), common, "{name}");
            assert_eq!(policies.of("Strict").judge(name), strict, "{name} (Strict)");
        }
    }
}
