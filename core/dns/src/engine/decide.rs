//! Who is to answer a name.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Instant;

use weft_model::DnsSource;

use super::query::Query;
use super::types::{Target, Way};
use super::{Engine, MAX_ASKED};
use crate::cache::Origin;
use crate::config::Upstream;
use crate::message::{self, record_type, response_code};

/// Seconds that the self-check's answer may be kept: it is asked for to see the proxy itself.
const SELF_CHECK_TTL: u32 = 0;
/// Seconds that an answer from the hosts file may be kept: the file may change.
const HOSTS_TTL: u32 = 10;
/// The class of the Internet.
const CLASS_IN: u16 = 1;

/// Where a query goes.
pub(super) struct Route {
    pub(super) source: DnsSource,
    pub(super) targets: Cow<'static, [Target]>,
    pub(super) origin: Origin,
}

impl Engine {
    /// Whether a captive portal is open.
    pub(super) fn has_portal(&self, now: Instant) -> bool {
        self.portal.is_some_and(|until| now < until)
    }

    pub(super) fn is_self_check(&self, name: &[u8]) -> bool {
        *self.self_name == *name
    }

    /// The self-check name's addresses.
    pub(super) fn self_check(&self, query: &Query<'_>) -> Vec<u8> {
        message::addresses(query.wire, &self.config.self_addresses, SELF_CHECK_TTL)
    }

    /// Whether the hosts file answers a name for a type: for those that hold addresses, once it has the name at all.
    fn hosts_have(&self, name: &[u8], kind: u16) -> bool {
        match kind {
            record_type::A | record_type::AAAA | record_type::HTTPS => self.hosts.addresses(name).is_some(),
            record_type::PTR => self.hosts.names(name).is_some(),
            _ => false,
        }
    }

    /// The hosts file's answer; none where it has none.
    pub(super) fn answer_of_hosts(&self, query: &Query<'_>) -> Option<Vec<u8>> {
        let key = query.key.key();
        if self.hosts.is_empty() || key.class != CLASS_IN || !self.hosts_have(key.name, key.kind) {
            return None;
        }
        if key.kind == record_type::PTR {
            return Some(pointers(query.wire, self.hosts.names(key.name)?));
        }
        Some(message::addresses(query.wire, self.hosts.addresses(key.name)?, HOSTS_TTL))
    }

    /// Whom to ask for `name`.
    pub(super) fn route(&self, name: &[u8], portal: bool) -> Route {
        let system = &self.config.system_resolvers;
        let plain = |servers: &[IpAddr], way| {
            let servers: Vec<IpAddr> = servers.iter().take(MAX_ASKED).copied().collect();
            let targets = servers.iter().map(|server| Target::Plain { server: *server, way }).collect();
            (servers, targets)
        };
        let origin = Origin::Fallback;
        if portal {
            let (servers, targets) = plain(system, Way::Outside);
            return Route { source: DnsSource::Portal { servers }, targets, origin };
        }
        if let Some(rule) = self.rules.resolve(name) {
            let own = if rule.servers.is_empty() { system } else { &rule.servers };
            let (servers, targets) = plain(own, Way::ByAddress);
            let suffix = rule.suffix.to_string();
            return Route { source: DnsSource::Fallback { suffix, servers }, targets, origin };
        }
        match &self.config.upstream {
            Upstream::Doh => {
                let targets = Cow::Borrowed(&[Target::Doh][..]);
                Route { source: DnsSource::Doh, targets, origin: Origin::Upstream }
            }
            Upstream::Plain(servers) => {
                let (servers, targets) = plain(servers, Way::Tunnel);
                Route { source: DnsSource::Plain { servers }, targets, origin: Origin::Upstream }
            }
            Upstream::System => {
                let (servers, targets) = plain(system, Way::ByAddress);
                Route { source: DnsSource::System { servers }, targets, origin }
            }
        }
    }
}

/// An answer to `query` of PTR records for `names`, in wire form.
fn pointers(query: &[u8], names: &[Box<[u8]>]) -> Vec<u8> {
    let mut answer = message::error(query, response_code::NO_ERROR);
    let Some(place) = message::question_place(&answer) else { return answer };
    let tail = answer.split_off(place.end);
    for name in names {
        // A pointer to the question's name.
        answer.extend_from_slice(&[0xc0, 0x0c]);
        answer.extend_from_slice(&record_type::PTR.to_be_bytes());
        answer.extend_from_slice(&place.class.to_be_bytes());
        answer.extend_from_slice(&HOSTS_TTL.to_be_bytes());
        answer.extend_from_slice(&u16::try_from(name.len()).unwrap_or(0).to_be_bytes());
        answer.extend_from_slice(name);
    }
    message::write_u16(&mut answer, 6, u16::try_from(names.len()).unwrap_or(0));
    answer.extend_from_slice(&tail);
    answer
}
