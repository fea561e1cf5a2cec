//! An engine with its time, its clients and resolvers that answer as a test says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use weft_model::{DnsStats, ExtendedError, FallbackDomain};

use super::{address, bytes, parse, query};
use crate::{
    ClientId, DnsConfig, Engine, Entropy, HoldId, Learnt, Protocol, Request, Taken, Upstream, UpstreamError,
    UpstreamErrorKind, message,
};

/// Ids that count, so that they differ and are known; names in the case that `case` says.
struct Counting {
    id: u16,
    case: u8,
}

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        if bytes.len() == 2 {
            self.id += 1;
            bytes.copy_from_slice(&self.id.to_be_bytes());
        } else {
            bytes.fill(self.case);
        }
    }
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn fallback(suffix: &str, servers: &[&str]) -> FallbackDomain {
    let dns_server = servers.iter().map(|text| ip(text)).collect();
    FallbackDomain { suffix: suffix.parse().unwrap(), dns_server, description: None }
}

/// DoH, some fallback suffixes, and one resolver of the system's.
pub(super) fn config() -> DnsConfig {
    DnsConfig {
        self_addresses: weft_model::DNS_PROXY_ADDRESSES.to_vec(),
        fallback: vec![
            fallback("corp", &["192.168.50.53", "192.168.50.54"]),
            fallback("eu.corp", &["192.168.60.53"]),
            fallback("local", &[]),
        ],
        upstream: Upstream::Doh,
        system_resolvers: vec![ip("192.168.1.1")],
        ..DnsConfig::default()
    }
}

pub(super) struct Lab {
    pub(super) engine: Engine,
    pub(super) now: Instant,
    clients: u64,
    ready: BTreeMap<ClientId, Vec<u8>>,
}

impl Lab {
    pub(super) fn new(config: DnsConfig) -> Self {
        Self::with_case(config, 0)
    }

    pub(super) fn with_case(config: DnsConfig, case: u8) -> Self {
        let now = Instant::now();
        let mut engine = Engine::new(Box::new(Counting { id: 0x1000, case }));
        engine.set_config(config, now);
        Self { engine, now, clients: 0, ready: BTreeMap::new() }
    }

    pub(super) fn take(&mut self, protocol: Protocol, wire: &[u8]) -> (ClientId, Taken) {
        self.clients += 1;
        let client = ClientId(self.clients);
        let mut answer = b"left over".to_vec();
        let taken = self.engine.handle_query(client, protocol, wire, &mut answer, self.now);
        assert_eq!(answer.is_empty(), taken != Taken::Answered, "{taken:?}");
        if taken == Taken::Answered {
            self.ready.insert(client, answer);
        }
        (client, taken)
    }

    pub(super) fn ask(&mut self, name: &str, kind: RecordType) -> ClientId {
        let (client, taken) = self.take(Protocol::Udp, &bytes(&query(0xabcd, name, kind)));
        assert_ne!(taken, Taken::Dropped);
        client
    }

    pub(super) fn ask_with_edns(&mut self, name: &str, kind: RecordType) -> ClientId {
        let wire = bytes(&super::with_edns(query(0xabcd, name, kind), 1232));
        let (client, taken) = self.take(Protocol::Udp, &wire);
        assert_ne!(taken, Taken::Dropped);
        client
    }

    pub(super) fn requests(&mut self) -> Vec<Request> {
        std::iter::from_fn(|| self.engine.poll_request()).collect()
    }

    pub(super) fn request(&mut self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    pub(super) fn reply(&mut self, request: &Request, answer: Vec<u8>) {
        self.engine.handle_answer(request.id, Ok(answer), self.now);
    }

    pub(super) fn fail(&mut self, request: &Request, kind: UpstreamErrorKind) {
        self.engine.handle_answer(request.id, Err(UpstreamError::new(kind, "scripted")), self.now);
    }

    /// What a client was given, once; none where it waits.
    pub(super) fn given(&mut self, client: ClientId) -> Option<Vec<u8>> {
        while let Some((client, answer)) = self.engine.poll_answer() {
            assert!(self.ready.insert(client, answer).is_none(), "answered twice");
        }
        self.ready.remove(&client)
    }

    pub(super) fn answer(&mut self, client: ClientId) -> Message {
        let wire = self.given(client).expect("an answer");
        let message = parse(&wire);
        assert_eq!(message.metadata.id, 0xabcd);
        message
    }

    pub(super) fn code(&mut self, client: ClientId) -> ResponseCode {
        self.answer(client).metadata.response_code
    }

    /// The extended errors that a client was given with SERVFAIL.
    pub(super) fn failure(&mut self, client: ClientId) -> Vec<ExtendedError> {
        let wire = self.given(client).expect("an answer");
        assert_eq!(message::rcode(&wire), message::response_code::SERVER_FAILURE);
        message::extended_errors(&wire)
    }

    pub(super) fn learnt(&mut self) -> Vec<Learnt> {
        std::iter::from_fn(|| self.engine.poll_learnt()).collect()
    }

    pub(super) fn release(&mut self, hold: HoldId, result: Result<(), &str>) {
        self.engine.release(hold, result.map_err(str::to_owned), self.now);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.engine.handle_timeout(self.now);
    }

    pub(super) fn stats(&self) -> DnsStats {
        let stats = self.engine.stats();
        let DnsStats { local, hosts, cached, stale, fallback, upstream, portal, refused, .. } = stats.clone();
        let sum = local + hosts + cached + stale + fallback + upstream + portal + refused;
        assert_eq!(stats.queries, sum, "each query is counted once: {stats:?}");
        stats
    }
}

/// An answer to `query` with records.
pub(super) fn reply_with(query: &[u8], code: ResponseCode, records: Vec<Record>) -> Vec<u8> {
    let query = parse(query);
    let mut message = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_desired = query.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    for record in records {
        message.add_answer(record);
    }
    message.add_query(query.queries[0].clone());
    if let Some(edns) = query.edns {
        message.set_edns(edns);
    }
    bytes(&message)
}

pub(super) fn record(name: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, data)
}

pub(super) fn alias(name: &str, target: &str) -> Record {
    record(name, 60, RData::CNAME(CNAME(Name::from_ascii(target).unwrap())))
}

/// An answer of one address, with a TTL of 60 s, for the name that is asked for.
pub(super) fn reply(query: &[u8], text: &str) -> Vec<u8> {
    let name = parse(query).queries[0].name().to_ascii();
    reply_with(query, ResponseCode::NoError, vec![record(&name, 60, address(text))])
}

/// The addresses of an answer.
pub(super) fn addresses(message: &Message) -> Vec<IpAddr> {
    let address = |record: &Record| match &record.data {
        RData::A(a) => Some(IpAddr::from(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::from(aaaa.0)),
        _ => None,
    };
    message.answers.iter().filter_map(address).collect()
}
