//! What decides whom a query goes to.

use std::collections::HashMap;
use std::net::IpAddr;

use weft_model::FallbackDomain;

use crate::message::Name;

/// Who answers the names that no fallback rule takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Upstream {
    /// The gateway's DoH resolver.
    Doh,
    /// Plain resolvers through the tunnel, all asked at once.
    Plain(Vec<IpAddr>),
    /// The resolvers that the device had before it connected.
    #[default]
    System,
}

/// What the engine works by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsConfig {
    /// The DNS proxy's own addresses, which the self-check name ([`weft_model::DNS_SELF_CHECK_NAME`]) resolves to.
    pub self_addresses: Vec<IpAddr>,
    /// The suffixes that other resolvers answer; the longest that matches counts. One without resolvers is answered
    /// by the system's.
    pub fallback: Vec<FallbackDomain>,
    /// Who answers the rest.
    pub upstream: Upstream,
    /// The resolvers that the device had before it connected.
    pub system_resolvers: Vec<IpAddr>,
}

/// Fallback rules, to be looked up by suffix.
#[derive(Debug, Default)]
pub(crate) struct Rules(HashMap<Vec<u8>, Vec<IpAddr>>);

impl Rules {
    pub(crate) fn new(domains: &[FallbackDomain]) -> Self {
        let rule = |domain: &FallbackDomain| {
            (Name::from(&domain.suffix).as_bytes().to_vec(), domain.dns_server.clone())
        };
        Self(domains.iter().map(rule).collect())
    }

    /// The resolvers of the longest suffix that matches; an empty list means the system's.
    pub(crate) fn find(&self, name: &Name) -> Option<&[IpAddr]> {
        name.suffixes().find_map(|suffix| self.0.get(suffix)).map(Vec::as_slice)
    }
}
