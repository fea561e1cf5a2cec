//! What a split tunnel must know of an answer: the names that lead to its addresses, and these.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::name::Name;
use super::splice::splice;
use super::walk::{Record, Section, question, question_place, records, skip_name};
use super::{read_u16, record_type, write_u16, write_u32};

/// The most CNAMEs that are followed; an answer with more counts as unreadable. Stub resolvers and caches give up at
/// fewer or as many.
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
    /// Every address of the answer section with its TTL, as often as it stands there: of A and AAAA records and of
    /// the hints of SVCB and HTTPS records, whoever owns them, since not every client compares that; and where there
    /// is an SVCB or HTTPS record, of the additional section.
    pub addresses: Vec<(IpAddr, Duration)>,
    /// Every address of the additional section with its owner and its TTL.
    pub additional: Vec<(Name, IpAddr, Duration)>,
}

/// Reads the names and addresses of an answer. None where it cannot be read, or where over 32 CNAMEs lead on from one
/// another.
#[must_use]
pub fn resolved(answer: &[u8]) -> Option<Resolved> {
    let question = question(answer).ok()?;
    let all: Vec<Record> = records(answer, question.end).collect::<Option<_>>()?;
    let mut aliases = HashMap::new();
    for record in all.iter().filter(|record| is_answer(record, record_type::CNAME)) {
        let (owner, _) = Name::expand(answer, record.start)?;
        let (target, end) = Name::expand(answer, record.data)?;
        aliases.entry(owner).or_insert((end == record.end).then_some(target)?);
    }
    let mut owners = vec![question.name.clone()];
    let mut name = &question.name;
    while let Some(target) = aliases.get(name) {
        if owners.contains(target) {
            break;
        }
        if owners.len() > MAX_CHAIN {
            return None;
        }
        name = target;
        if aliases.contains_key(name) {
            owners.push(name.clone());
        }
    }
    let mut resolved = Resolved { owners, addresses: Vec::new(), additional: Vec::new() };
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
    fn add_addresses(&mut self, answer: &[u8], all: &[Record]) -> Option<()> {
        let services = all.iter().any(|record| record.section == Section::Answer && is_service(record));
        for record in all.iter().filter(|record| has_addresses(record)) {
            match record.section {
                Section::Answer => self.addresses.extend(addresses_of(answer, record)?),
                Section::Authority => {}
                Section::Additional => {
                    let (owner, _) = Name::expand(answer, record.start)?;
                    let found = addresses_of(answer, record)?;
                    if services {
                        self.addresses.extend_from_slice(&found);
                    }
                    let owned = found.into_iter().map(|(address, ttl)| (owner.clone(), address, ttl));
                    self.additional.extend(owned);
                }
            }
        }
        Some(())
    }
}

/// The addresses that a record holds.
fn addresses_of(answer: &[u8], record: &Record) -> Option<Vec<(IpAddr, Duration)>> {
    let ttl = Duration::from_secs(ttl_of(record).into());
    let data = answer.get(record.data..record.end)?;
    let mut found = Vec::new();
    match record.kind {
        record_type::A => found.push((IpAddr::from(<[u8; 4]>::try_from(data).ok()?), ttl)),
        record_type::AAAA => found.push((IpAddr::from(<[u8; 16]>::try_from(data).ok()?), ttl)),
        _ => {
            for (key, start, end) in parameters(answer, record)? {
                let value = answer.get(start + 4..end)?;
                match key {
                    IPV4_HINT => found.extend(value.as_chunks::<4>().0.iter().map(|a| ((*a).into(), ttl))),
                    IPV6_HINT => found.extend(value.as_chunks::<16>().0.iter().map(|a| ((*a).into(), ttl))),
                    _ => {}
                }
            }
        }
    }
    Some(found)
}

/// Whether an answer has what a split tunnel may have to learn though no entry matches the name that was asked for: a
/// CNAME, or addresses in its additional section.
#[must_use]
pub fn may_lead_on(answer: &[u8]) -> bool {
    question_place(answer).is_some_and(|place| {
        records(answer, place.end).flatten().any(|record| {
            record.kind == record_type::CNAME
                || record.section == Section::Additional && has_addresses(&record)
        })
    })
}

/// Lowers every TTL of over `longest` seconds, and those that count as 0 for their length to that (RFC 2181, section
/// 8).
pub(crate) fn cap_ttls(answer: &mut [u8], longest: u32) {
    let Some(place) = question_place(answer) else { return };
    let long = |record: &Record| record.kind != record_type::OPT && record.ttl > longest;
    let long: Vec<Record> = records(answer, place.end).flatten().filter(long).collect();
    for record in long {
        write_u32(answer, record.data - 6, longest.min(ttl_of(&record)));
    }
}

fn has_addresses(record: &Record) -> bool {
    record.class == CLASS_IN && matches!(record.kind, record_type::A | record_type::AAAA)
        || is_service(record)
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
