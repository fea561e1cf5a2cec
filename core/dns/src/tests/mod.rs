//! The engine against scripted resolvers, the message helpers against hickory-proto.

mod engine;
mod holding;
mod hostile;
mod lab;
mod messages;
mod resolvers;
mod scripts;
mod sharing;
mod stale;
mod watching;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap()
}

fn parse(bytes: &[u8]) -> Message {
    Message::from_vec(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"))
}

/// A query with recursion desired.
fn query(id: u16, name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    edns.set_dnssec_ok(true);
    message.set_edns(edns);
    message
}

/// An answer to what `query` says, with `count` TXT records of 100 bytes.
fn answer(query: &[u8], response_code: ResponseCode, count: usize) -> Vec<u8> {
    let query = parse(query);
    let mut message = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_available = true;
    message.metadata.response_code = response_code;
    let question = query.queries[0].clone();
    for number in 0..count {
        let text = format!("{number:0100}");
        message.add_answer(Record::from_rdata(question.name().clone(), 60, RData::TXT(TXT::new(vec![text]))));
    }
    message.add_query(question);
    if let Some(edns) = query.edns {
        message.set_edns(edns);
    }
    bytes(&message)
}

fn address(text: &str) -> RData {
    match text.parse().unwrap() {
        std::net::IpAddr::V4(v4) => RData::A(A(v4)),
        std::net::IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    }
}
