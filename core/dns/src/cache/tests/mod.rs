//! The cache as its users see it.

mod bounds;
mod kept;
mod model;

use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::{Cache, Key, KeyBuf, KeyFlags, Lookup, Origin};

const SEED: [u8; 16] = [7; 16];

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn query(of: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(of), kind));
    message.to_vec().unwrap()
}

/// An answer to [`query`], without records.
fn empty(of: &str, kind: RecordType, code: ResponseCode) -> Message {
    let mut message = Message::new(0x1234, MessageType::Response, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message.add_query(Query::query(name(of), kind));
    message
}

fn a(owner: &str, ttl: u32, last: u8) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A::new(192, 0, 2, last)))
}

fn cname(owner: &str, ttl: u32, target: &str) -> Record {
    Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
}

fn soa(owner: &str, ttl: u32, minimum: u32) -> Record {
    let soa = SOA::new(name("ns.example."), name("hostmaster.example."), 1, 7200, 900, 86400, minimum);
    Record::from_rdata(name(owner), ttl, RData::SOA(soa))
}

/// An answer with one address.
fn address(of: &str, ttl: u32) -> Vec<u8> {
    let mut message = empty(of, RecordType::A, ResponseCode::NoError);
    message.add_answer(a(of, ttl, 1));
    message.to_vec().unwrap()
}

fn edns(payload: u16) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    edns.set_dnssec_ok(true);
    edns
}

fn parse(bytes: &[u8]) -> Message {
    Message::from_vec(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"))
}

fn key_of(query: &[u8]) -> KeyBuf {
    KeyBuf::of(query).unwrap()
}

/// Looks up and gives what was written.
fn get(cache: &mut Cache, key: &Key<'_>, now: Instant) -> (Lookup, Vec<u8>) {
    let mut answer = Vec::new();
    let lookup = cache.get(key, now, &mut answer);
    assert_eq!(answer.is_empty(), lookup == Lookup::Miss, "{lookup:?}");
    (lookup, answer)
}

fn fresh(refresh: bool) -> Lookup {
    Lookup::Fresh { refresh, origin: Origin::Upstream }
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}
