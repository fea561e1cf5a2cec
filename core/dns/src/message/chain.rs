//! What a split tunnel must know of an answer: the names that lead to its addresses, and these.

use std::net::IpAddr;
use std::time::Duration;

use super::name::Name;
use super::splice::splice;
use super::walk::{Record, Section, question, question_place, records, skip_name};
use super::{read_u16, record_type, write_u16};

/// The most CNAMEs that are followed. Stub resolvers and caches give up at fewer or as many.
const MAX_CHAIN: usize = 32;
/// The Internet.
const CLASS_IN: u16 = 1;
/// Keys of service parameters (RFC 9460, section 14.3.2).
const MANDATORY: u16 = 0;
const IPV4_HINT: u16 = 4;
const IPV6_HINT: u16 = 6;

/// The names and addresses of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The name that was asked for, then every other owner of a CNAME that leads on from it, in order.
    pub owners: Vec<Name>,
    /// The name that the last of these CNAMEs leads to; the name that was asked for where there is none.
    pub canonical: Name,
    /// Every address with its TTL, as often as it stands there: of A and AAAA records and of the hints of SVCB and
    /// HTTPS records of these names; and where there is an SVCB or HTTPS record, of the additional section.
    pub addresses: Vec<(IpAddr, Duration)>,
}

/// Reads the names and addresses of an answer. None where it cannot be read.
#[must_use]
pub fn resolved(answer: &[u8]) -> Option<Resolved> {
    let question = question(answer).ok()?;
    let all: Vec<Record> = records(answer, question.end).collect::<Option<_>>()?;
    let mut aliases = Vec::new();
    for record in all.iter().filter(|record| is_answer(record, record_type::CNAME)) {
        let (owner, _) = Name::expand(answer, record.start)?;
        let (target, end) = Name::expand(answer, record.data)?;
        aliases.push((owner, (end == record.end).then_some(target)?));
    }
    let mut owners = vec![question.name.clone()];
    let mut canonical = question.name;
    while let Some((_, target)) = aliases.iter().find(|(owner, _)| *owner == canonical) {
        if owners.contains(target) || owners.len() > MAX_CHAIN {
            break;
        }
        canonical = target.clone();
        if aliases.iter().any(|(owner, _)| *owner == canonical) {
            owners.push(canonical.clone());
        }
    }
    let mut resolved = Resolved { owners, canonical, addresses: Vec::new() };
    resolved.add_addresses(answer, &all)?;
    Some(resolved)
}

fn is_answer(record: &Record, kind: u16) -> bool {
    record.section == Section::Answer && record.kind == kind && record.class == CLASS_IN
}

fn is_service(record: &Record) -> bool {
    matches!(record.kind, record_type::SVCB | record_type::HTTPS) && record.class == CLASS_IN
}

impl Resolved {
    fn is_led_to(&self, name: &Name) -> bool {
        self.canonical == *name || self.owners.contains(name)
    }

    fn add_addresses(&mut self, answer: &[u8], all: &[Record]) -> Option<()> {
        let services = all.iter().any(|record| record.section == Section::Answer && is_service(record));
        for record in all.iter().filter(|record| record.class == CLASS_IN) {
            let wanted = match record.section {
                Section::Answer => {
                    has_addresses(record) && self.is_led_to(&Name::expand(answer, record.start)?.0)
                }
                Section::Authority => false,
                Section::Additional => services && has_addresses(record),
            };
            if wanted {
                self.add(answer, record)?;
            }
        }
        Some(())
    }

    fn add(&mut self, answer: &[u8], record: &Record) -> Option<()> {
        let ttl = Duration::from_secs(ttl_of(record).into());
        let data = answer.get(record.data..record.end)?;
        match record.kind {
            record_type::A => self.addresses.push((IpAddr::from(<[u8; 4]>::try_from(data).ok()?), ttl)),
            record_type::AAAA => self.addresses.push((IpAddr::from(<[u8; 16]>::try_from(data).ok()?), ttl)),
            _ => {
                for (key, start, end) in parameters(answer, record)? {
                    let value = answer.get(start + 4..end)?;
                    match key {
                        IPV4_HINT => {
                            self.addresses
                                .extend(value.as_chunks::<4>().0.iter().map(|a| ((*a).into(), ttl)));
                        }
                        IPV6_HINT => {
                            self.addresses
                                .extend(value.as_chunks::<16>().0.iter().map(|a| ((*a).into(), ttl)));
                        }
                        _ => {}
                    }
                }
            }
        }
        Some(())
    }
}

fn has_addresses(record: &Record) -> bool {
    matches!(record.kind, record_type::A | record_type::AAAA) || is_service(record)
}

/// The TTL in seconds: one with the top bit set is 0 (RFC 2181, section 8).
pub(crate) fn ttl_of(record: &Record) -> u32 {
    if record.ttl > i32::MAX.unsigned_abs() { 0 } else { record.ttl }
}

/// The service parameters of an SVCB or HTTPS record: key, start and end of the whole parameter. None where they do
/// not fill the data to their end, or a list of addresses holds half of one.
fn parameters(message: &[u8], record: &Record) -> Option<Vec<(u16, usize, usize)>> {
    let mut at = skip_name(message, record.data + 2)?;
    let mut found = Vec::new();
    while at < record.end {
        let key = read_u16(message, at)?;
        let length = usize::from(read_u16(message, at + 2)?);
        let end = at + 4 + length;
        let whole = match key {
            MANDATORY => length % 2 == 0,
            IPV4_HINT => length % 4 == 0,
            IPV6_HINT => length % 16 == 0,
            _ => true,
        };
        if !whole {
            return None;
        }
        found.push((key, at, end));
        at = end;
    }
    (at == record.end).then_some(found)
}

/// Takes the addresses out of SVCB and HTTPS records (ipv4hint, ipv6hint; also where they are called mandatory), so
/// that who asks must ask for A and AAAA records. Says whether there were any; none, and the message may be changed
/// in part, where a record cannot be read.
///
/// A signature over such a record fits it no more.
pub fn remove_hints(answer: &mut Vec<u8>) -> Option<bool> {
    let question = question_place(answer)?;
    let all: Vec<Record> = records(answer, question.end).collect::<Option<_>>()?;
    let mut removed = false;
    // From the last, so that what is found of those before still holds.
    for record in all.iter().rev().filter(|record| is_service(record)) {
        let parameters = parameters(answer, record)?;
        let Some((_, first, _)) = parameters.first().copied() else { continue };
        let kept = kept_parameters(answer, &parameters)?;
        if kept.len() == record.end - first {
            continue;
        }
        if !splice(answer, first, record.end - first, &kept) {
            return None;
        }
        write_u16(answer, record.data - 2, u16::try_from(first - record.data + kept.len()).ok()?);
        removed = true;
    }
    Some(removed)
}

fn kept_parameters(message: &[u8], parameters: &[(u16, usize, usize)]) -> Option<Vec<u8>> {
    let is_hint = |key: u16| matches!(key, IPV4_HINT | IPV6_HINT);
    let mut kept = Vec::new();
    for (key, start, end) in parameters.iter().copied().filter(|(key, ..)| !is_hint(*key)) {
        if key != MANDATORY {
            kept.extend_from_slice(message.get(start..end)?);
            continue;
        }
        let (keys, _) = message.get(start + 4..end)?.as_chunks::<2>();
        let keys: Vec<u8> =
            keys.iter().filter(|key| !is_hint(u16::from_be_bytes(**key))).flatten().copied().collect();
        // An empty list is malformed (RFC 9460, section 8).
        if !keys.is_empty() {
            kept.extend_from_slice(&MANDATORY.to_be_bytes());
            kept.extend_from_slice(&u16::try_from(keys.len()).ok()?.to_be_bytes());
            kept.extend_from_slice(&keys);
        }
    }
    Some(kept)
}
