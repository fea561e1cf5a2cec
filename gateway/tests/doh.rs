//! The resolver: DoH over TLS on loopback, before an upstream that behaves as it is asked to.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use common::{Answer, CONFIG, Gateway, NAME};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use http::Method;
use weft_model::Secret;

/// A resolver that answers by the first label of the name.
struct Upstream {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Upstream {
    fn start() -> Self {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(address).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                count.fetch_add(1, Ordering::Relaxed);
                for answer in answers(&Message::from_vec(&buffer[..length]).unwrap(), false) {
                    udp.send_to(&answer, from).unwrap();
                }
            }
        });
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut query).unwrap();
                for answer in answers(&Message::from_vec(&query).unwrap(), true) {
                    stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
                    stream.write_all(&answer).unwrap();
                }
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// What the upstream sends for a query, in order.
fn answers(query: &Message, tcp: bool) -> Vec<Vec<u8>> {
    let name = query.queries[0].name().clone();
    let mut right = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    right.queries.clone_from(&query.queries);
    right.metadata.recursion_available = true;
    if query.edns.is_some() {
        right.set_edns(Edns::new());
    }
    let record = |name: &Name, ttl| Record::from_rdata(name.clone(), ttl, RData::A(A::new(192, 0, 2, 1)));
    let mut whole = right.clone();
    whole.add_answer(record(&name, 300));
    let label = String::from_utf8(name.iter().next().unwrap_or_default().to_vec()).unwrap();
    let send = |message: &Message| message.to_vec().unwrap();
    match label.as_str() {
        "silent" => vec![],
        "cut" if !tcp => {
            right.metadata.truncation = true;
            vec![send(&right)]
        }
        "cut" => {
            whole.add_answers((1..100).map(|ttl| record(&name, ttl)));
            vec![send(&whole)]
        }
        "garbage" => {
            let mut other_id = whole.clone();
            other_id.metadata.id ^= 1;
            let mut other_question = whole.clone();
            other_question.queries[0].set_name(Name::from_str("other.example.").unwrap());
            let mut damaged = send(&whole);
            damaged.truncate(damaged.len() - 3);
            let mut question = send(&whole);
            question[2] &= 0x7f;
            vec![vec![1, 2, 3], send(&other_id), send(&other_question), damaged, question, send(&whole)]
        }
        "nonsense" => vec![vec![0xff; 40]],
        "broken" => {
            right.metadata.response_code = ResponseCode::ServFail;
            vec![send(&right)]
        }
        "alias" => {
            let target = Name::from_str("hidden.blocked.example.").unwrap();
            right.add_answer(Record::from_rdata(name, 60, RData::CNAME(CNAME(target.clone()))));
            right.add_answer(record(&target, 60));
            vec![send(&right)]
        }
        _ => vec![send(&whole)],
    }
}

const POLICY: &str = "[dns]\ntimeout_ms = 800\nblock = [\"blocked.example\"]\n\
                      allow = [\"open.blocked.example\"]\n[dns.profiles.Strict]\nblock = [\"video.example\"]\n";

struct Lab {
    gateway: Gateway,
    upstream: Upstream,
    token: Secret,
}

async fn lab() -> Lab {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&format!("{CONFIG}{POLICY}"), vec![upstream.address]).await;
    let token = gateway.register(1).await.token;
    Lab { gateway, upstream, token }
}

impl Lab {
    async fn post(&self, query: Vec<u8>) -> Answer {
        let request = http::Request::builder()
            .method(Method::POST)
            .uri(format!("https://{NAME}/dns-query"))
            .header("authorization", format!("Bearer {}", self.token.expose()))
            .header("content-type", "application/dns-message");
        self.gateway.send(self.gateway.outside, request, Bytes::from(query)).await
    }

    async fn ask(&self, name: &str) -> Message {
        let answer = self.post(query(name, true)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.headers["content-type"], "application/dns-message");
        assert_eq!(answer.body.len() % 468, 0, "a padded query has a padded answer");
        let message = Message::from_vec(&answer.body).unwrap();
        assert_eq!(message.metadata.id, 0);
        assert_eq!(message.queries[0].name(), &Name::from_str(name).unwrap());
        message
    }
}

fn query(name: &str, padded: bool) -> Vec<u8> {
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_str(name).unwrap(), RecordType::A));
    if padded {
        let mut edns = Edns::new();
        edns.options_mut().insert(EdnsOption::Unknown(12, vec![0; 30]));
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

fn extended_error(message: &Message) -> Option<u16> {
    match message.edns.as_ref()?.option(EdnsCode::from(15))? {
        EdnsOption::Unknown(_, data) => Some(u16::from_be_bytes([data[0], data[1]])),
        _ => None,
    }
}

/// The text behind the code of an extended error.
fn reason(message: &Message) -> Option<String> {
    match message.edns.as_ref()?.option(EdnsCode::from(15))? {
        EdnsOption::Unknown(_, data) => Some(String::from_utf8(data[2..].to_vec()).unwrap()),
        _ => None,
    }
}

#[tokio::test]
async fn an_allowed_name_is_answered_by_post_and_get() {
    let lab = lab().await;
    let message = lab.ask("www.example.").await;
    assert_eq!(message.answers.len(), 1);

    let text = URL_SAFE_NO_PAD.encode(query("www.example.", false));
    let path = format!("/dns-query?dns={text}");
    let answer = lab.gateway.request(Method::GET, &path, Some(lab.token.expose()), "").await;
    assert_eq!(
        (answer.status.as_u16(), answer.headers["cache-control"].to_str().unwrap()),
        (200, "private, max-age=300")
    );
    let message = Message::from_vec(&answer.body).unwrap();
    assert!(message.edns.is_none() && message.answers.len() == 1);
    assert_eq!(lab.upstream.asked(), 2);
}

#[tokio::test]
async fn a_blocked_name_is_never_asked_for() {
    let lab = lab().await;
    for name in ["blocked.example.", "A.b.BLOCKED.example."] {
        let message = lab.ask(name).await;
        assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(extended_error(&message), Some(15));
        assert_eq!(reason(&message).as_deref(), Some("blocked by the administrator's list"));
    }
    let bare = Message::from_vec(&lab.post(query("blocked.example.", false)).await.body).unwrap();
    assert_eq!((bare.metadata.response_code, bare.edns), (ResponseCode::NXDomain, None));
    assert_eq!(lab.upstream.asked(), 0);
    assert_eq!(lab.ask("open.blocked.example.").await.answers.len(), 1);
    assert_eq!(lab.gateway.resolver.stats().blocked, 3);
}

#[tokio::test]
async fn an_allowed_name_that_points_to_a_blocked_one_is_blocked() {
    let lab = lab().await;
    let message = lab.ask("alias.example.").await;
    assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
    assert!(message.answers.is_empty());
    assert_eq!(extended_error(&message), Some(15));
}

#[tokio::test]
async fn a_profile_blocks_more() {
    let lab = lab().await;
    assert_eq!(lab.ask("video.example.").await.metadata.response_code, ResponseCode::NoError);
    let profile = weft_model::Profile::from_json(r#"{"name":"Strict","default":true}"#).unwrap();
    lab.gateway.store().set_profile(profile).unwrap();
    lab.gateway.registry.reload().unwrap();
    let message = lab.ask("video.example.").await;
    assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
    let expected = "blocked by the administrator's list for profile Strict";
    assert_eq!((extended_error(&message), reason(&message).as_deref()), (Some(15), Some(expected)));
    assert_eq!(lab.ask("blocked.example.").await.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn a_cut_answer_is_asked_for_over_tcp() {
    let lab = lab().await;
    let message = lab.ask("cut.example.").await;
    assert!(!message.metadata.truncation);
    assert_eq!(message.answers.len(), 100);
}

#[tokio::test]
async fn what_is_no_answer_to_the_query_is_not_listened_to() {
    let lab = lab().await;
    let message = lab.ask("garbage.example.").await;
    assert_eq!(message.answers.len(), 1);
}

#[tokio::test]
async fn a_silent_or_senseless_upstream_makes_servfail_in_time() {
    let lab = lab().await;
    for name in ["silent.example.", "nonsense.example."] {
        let message = lab.ask(name).await;
        assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(extended_error(&message), Some(22));
    }
    assert_eq!(lab.gateway.resolver.stats().failed, 2);
}

#[tokio::test]
async fn another_upstream_steps_in() {
    let upstream = Upstream::start();
    // Nobody listens there, and the system says so.
    let dead = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::start(&format!("{CONFIG}{POLICY}"), vec![dead, upstream.address]).await;
    let token = gateway.register(1).await.token;
    let lab = Lab { gateway, upstream, token };
    assert_eq!(lab.ask("www.example.").await.answers.len(), 1);
    // A failure is passed on when nobody does better.
    assert_eq!(lab.ask("broken.example.").await.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn too_many_waiting_queries_are_refused_at_once() {
    let upstream = Upstream::start();
    let config = format!("{CONFIG}[dns]\ntimeout_ms = 5000\nin_flight = 1\n");
    let gateway = Gateway::start(&config, vec![upstream.address]).await;
    let token = gateway.register(1).await.token;
    let lab = Lab { gateway, upstream, token };
    let wait_until_asked = async {
        while lab.upstream.asked() == 0 {
            tokio::task::yield_now().await;
        }
        lab.ask("www.example.").await
    };
    let refused = tokio::select! {
        _ = lab.ask("silent.example.") => panic!("the first query was answered first"),
        refused = wait_until_asked => refused,
    };
    assert_eq!((refused.metadata.response_code, extended_error(&refused)), (ResponseCode::ServFail, Some(0)));
}

#[tokio::test]
async fn only_devices_may_ask_and_only_sensibly() {
    let lab = lab().await;
    let get = async |path: &str, token: Option<&str>| lab.gateway.request(Method::GET, path, token, "").await;
    let text = URL_SAFE_NO_PAD.encode(query("www.example.", false));
    get(&format!("/dns-query?dns={text}"), None).await.refuses(401, "bad_token");
    get(&format!("/dns-query?dns={text}"), Some("weft-d-x")).await.refuses(401, "bad_token");
    let token = Some(lab.token.expose());
    assert_eq!(get("/dns-query", token).await.status, 400);
    assert_eq!(get("/dns-query?dns=***", token).await.status, 400);
    assert_eq!(get("/dns-query?dns=AAAA", token).await.status, 400);
    let wrong_type = lab.gateway.request(Method::POST, "/dns-query", token, query("a.", false)).await;
    assert_eq!(wrong_type.status, 415);
    assert_eq!(lab.post(vec![0; 70_000]).await.status, 413);
    assert_eq!(lab.post(vec![0xff; 50]).await.status, 400);
    assert_eq!(lab.upstream.asked(), 0);
}
