//! Domain names as administrators write them, held in one canonical form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A domain name: lower case, no trailing dot, at least one label, within the limits of RFC 1035
/// (63 bytes a label, 253 in all). Underscores are allowed, since service names carry them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainName(String);

/// Why a text is no domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a domain name")]
pub struct DomainNameError(String);

impl DomainName {
    /// The canonical text: lower case, without a trailing dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name is `suffix` or lies below it.
    #[must_use]
    pub fn is_within(&self, suffix: &DomainName) -> bool {
        self.0.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// Whether this name lies below `suffix`, at any depth, and is not `suffix` itself.
    #[must_use]
    pub fn is_below(&self, suffix: &DomainName) -> bool {
        self != suffix && self.is_within(suffix)
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl FromStr for DomainName {
    type Err = DomainNameError;

    fn from_str(text: &str) -> Result<Self, DomainNameError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.len() <= 253 && name.split('.').all(is_label) {
            Ok(Self(name))
        } else {
            Err(DomainNameError(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DomainName({})", self.0)
    }
}

impl Serialize for DomainName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DomainName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_held_in_one_form() {
        assert_eq!(name("Example.COM.").as_str(), "example.com");
        assert_eq!(name("_dns.resolver.arpa").as_str(), "_dns.resolver.arpa");
    }

    #[test]
    fn a_suffix_is_matched_by_whole_labels() {
        let cases = [
            ("corp", "corp", true, false),
            ("a.corp", "corp", true, true),
            ("b.a.corp", "corp", true, true),
            ("acorp", "corp", false, false),
            ("corp.com", "corp", false, false),
        ];
        for (text, suffix, within, below) in cases {
            assert_eq!(name(text).is_within(&name(suffix)), within, "{text} within {suffix}");
            assert_eq!(name(text).is_below(&name(suffix)), below, "{text} below {suffix}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("{}.com", "a".repeat(64));
        let longer = vec!["a".repeat(60); 5].join(".");
        for text in ["", ".", "..", "a..b", "a b", "*.example.com", "ex\u{e4}mple.com", &long, &longer] {
            assert!(text.parse::<DomainName>().is_err(), "{text}");
        }
    }
}
