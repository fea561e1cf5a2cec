use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use weft_model::{DnsUpstream, PrivateKey, Profile, Registration, Secret};

use super::{ApiUrl, Enrolment, OrchestrationError, delete, fetch, register, rotate};
use crate::sockets::SocketFactory;
use crate::testing::{Pki, answer_once};
use crate::tls::{Fingerprint, Trust};

const KEY: [u8; 32] = [7; 32];

fn device_answer() -> Value {
    json!({
        "addresses": ["172.16.0.2/32", "2606:4700:cf1:1000::2/128"],
        "tunnel": {
            "public_key": "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=",
            "addresses": ["203.0.113.10"],
            "ports": [2408, 500],
        },
        "doh": { "name": "gateway.example", "path": "/dns-query", "inside": "172.64.128.1:443" },
        "checks": { "inside": "172.64.128.1:80", "outside": ["203.0.113.10:443"] },
        "profile": { "name": "Office" },
    })
}

fn register_answer() -> Value {
    let mut answer = device_answer();
    answer["id"] = json!("d-1");
    answer["token"] = json!("device-token");
    answer
}

fn http(status: &str, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}")
        .into()
}

fn ok(body: &Value) -> Vec<u8> {
    http("200 OK", "application/json", &body.to_string())
}

struct Server {
    pki: Pki,
    listener: TcpListener,
}

impl Server {
    async fn new() -> Self {
        Self { pki: Pki::new(&["127.0.0.1"]), listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn enrolment(&self, trust: Trust) -> Enrolment {
        Enrolment {
            url: format!("https://{}", self.address()).parse::<ApiUrl>().unwrap(),
            token: Secret::from("enrolment-token".to_owned()),
            trust,
            private_key: PrivateKey::from(KEY),
            name: "laptop".to_owned(),
            os: "linux".to_owned(),
            version: "0.1.0".to_owned(),
        }
    }

    /// Registers with a server that answers with these bytes.
    async fn register(
        &self,
        answer: &[u8],
    ) -> (Result<(Registration, Profile), OrchestrationError>, (String, String)) {
        let tls = self.pki.server(b"http/1.1", true);
        let enrolment = self.enrolment(Trust::CaFingerprint(self.pki.fingerprint));
        let sockets = SocketFactory::new();
        tokio::join!(register(&sockets, enrolment), answer_once(&self.listener, &tls, answer))
    }

    async fn registered(&self) -> Registration {
        self.register(&ok(&register_answer())).await.0.unwrap().0
    }

    async fn answer(&self, answer: &[u8]) -> (String, String) {
        answer_once(&self.listener, &self.pki.server(b"http/1.1", true), answer).await
    }
}

#[tokio::test]
async fn a_registration_pins_what_it_found() {
    let server = Server::new().await;
    let (result, (head, body)) = server.register(&ok(&register_answer())).await;
    let (registration, profile) = result.unwrap();
    assert!(head.starts_with("post /v0/reg http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer enrolment-token"), "{head}");
    assert!(head.contains(&format!("host: {}", server.address())), "{head}");
    let request: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(request["key"], json!(PrivateKey::from(KEY).public()));
    assert_eq!(request["name"], "laptop");
    assert_eq!((registration.id.as_str(), profile.name.as_str()), ("d-1", "Office"));
    assert_eq!(registration.token.as_ref().unwrap().expose(), "device-token");
    assert_eq!(registration.private_key, PrivateKey::from(KEY));
    assert_eq!(registration.addresses.len(), 2);
    let gateway = &registration.gateways[0];
    let api = gateway.api.as_ref().unwrap();
    assert_eq!((api.name.as_str(), api.addresses.as_slice()), ("127.0.0.1", &[server.address()][..]));
    let pem = |text: &str| text.replace("\r\n", "\n");
    assert_eq!(pem(api.ca_pem.as_ref().unwrap()), pem(&server.pki.authority_pem));
    assert!(matches!(&gateway.dns, DnsUpstream::Doh(doh) if doh.path == "/dns-query"));
}

#[tokio::test]
async fn later_requests_use_the_pins_and_replace_what_the_gateway_says() {
    let server = Server::new().await;
    let before = server.registered().await;
    let sockets = SocketFactory::new();
    let mut changed = device_answer();
    changed["tunnel"]["ports"] = json!([4500]);
    changed["profile"]["name"] = json!("Home");
    let answer = ok(&changed);
    let (fetched, (head, _)) = tokio::join!(fetch(&sockets, &before), server.answer(&answer));
    let (fetched, profile) = fetched.unwrap();
    assert!(head.starts_with("get /v0/reg/d-1 ") && head.contains("bearer device-token"), "{head}");
    assert_eq!((fetched.gateways[0].tunnel.ports.as_slice(), profile.name.as_str()), (&[4500][..], "Home"));
    assert_eq!(fetched.gateways[0].api, before.gateways[0].api);
    assert_eq!(fetched.private_key, before.private_key);

    let key = PrivateKey::from([9; 32]);
    let (rotated, (head, body)) =
        tokio::join!(rotate(&sockets, &before, key.clone()), server.answer(&answer));
    assert_eq!(rotated.unwrap().0.private_key, key);
    assert!(head.starts_with("patch /v0/reg/d-1 "), "{head}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["key"], json!(key.public()));

    let gone = b"HTTP/1.1 204 No Content\r\n\r\n";
    let (deleted, (head, _)) = tokio::join!(delete(&sockets, &before), server.answer(gone));
    deleted.unwrap();
    assert!(head.starts_with("delete /v0/reg/d-1 "), "{head}");
}

#[tokio::test]
async fn a_refusal_is_told_in_the_gateways_words() {
    let server = Server::new().await;
    let cases = [
        (
            "410 Gone",
            r#"{"code":"revoked","message":"this device has been revoked"}"#,
            "has been revoked",
            true,
        ),
        ("410 Gone", "", "gone", true),
        ("404 Not Found", r#"{"code":"unknown_device","message":"no such device"}"#, "no such device", true),
        ("404 Not Found", r#"{"code":"not_found","message":"no such path"}"#, "no such path", false),
        ("403 Forbidden", "{\"code\":\"token_spent\",\"message\":\"two\\nlines\"}", "twolines", false),
        ("502 Bad Gateway", "<html>", "HTTP status 502", false),
        ("302 Found", "", "HTTP status 302", false),
    ];
    let registration = server.registered().await;
    for (status, body, said, revoked) in cases {
        let (answer, sockets) = (http(status, "application/json", body), SocketFactory::new());
        let (result, _) = tokio::join!(fetch(&sockets, &registration), server.answer(&answer));
        let error = result.unwrap_err();
        assert!(error.to_string().contains(said), "{status}: {error}");
        assert!(!error.to_string().contains('\n'));
        assert_eq!(error.is_revoked(), revoked, "{status} {body}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_usable_is_refused_by_name() {
    let server = Server::new().await;
    let cases = [
        ("/id", json!("../../etc"), "identifier"),
        ("/id", json!(""), "identifier"),
        ("/token", json!("two words"), "credential"),
        ("/token", json!(""), "credential"),
        ("/addresses", json!([]), "addresses"),
        ("/addresses", json!(["0.0.0.0/0"]), "addresses"),
        ("/tunnel/addresses", json!([]), "endpoints"),
        ("/tunnel/addresses", json!(["255.255.255.255"]), "endpoints"),
        ("/tunnel/ports", json!([]), "ports"),
        ("/tunnel/ports", json!([2408, 0]), "ports"),
        ("/tunnel/keepalive", json!(0), "keepalive"),
        ("/tunnel/mtu", json!(100), "MTU"),
        ("/tunnel/public_key", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), "key"),
        ("/doh/name", json!("a b"), "name"),
        ("/doh/path", json!("dns-query"), "path"),
        ("/doh/inside", json!("172.64.128.1:0"), "resolver's addresses"),
        ("/doh/ca_pem", json!("hello"), "certificate"),
        ("/checks/inside", json!("172.64.128.1:0"), "checks"),
        ("/checks/outside", json!(["224.0.0.1:443"]), "checks"),
        ("/profile/auto_connect", json!(99999), "auto_connect"),
        ("/tunnel", json!("nonsense"), "cannot be read"),
    ];
    for (place, value, named) in cases {
        let mut answer = register_answer();
        let (parent, field) = place.rsplit_once('/').unwrap();
        answer.pointer_mut(parent).unwrap()[field] = value;
        let error = server.register(&ok(&answer)).await.0.unwrap_err();
        assert!(matches!(error, OrchestrationError::BadAnswer(_)), "{place}: {error:?}");
        assert!(error.to_string().contains(named), "{place}: {error}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_refused_without_quoting_it() {
    let server = Server::new().await;
    let long = format!("{{\"id\":\"{}\"}}", "x".repeat(2 << 20));
    let cases = [
        http("200 OK", "text/html", "<html>device-token</html>"),
        http("200 OK", "application/json", "{\"id\":\"d-1\",\"token\":[\"device-token\"]}"),
        http("200 OK", "application/json", &long),
    ];
    for answer in cases {
        let (result, _) = server.register(&answer).await;
        let error = result.unwrap_err();
        assert!(matches!(error, OrchestrationError::BadAnswer(_)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("device-token"));
    }
}

#[tokio::test]
async fn who_is_not_the_gateway_is_not_told_the_token() {
    let server = Server::new().await;
    let wrong = Fingerprint::from([1; 32]);
    let tls = server.pki.server(b"http/1.1", true);
    let sockets = SocketFactory::new();
    let stranger = async {
        let (stream, _) = server.listener.accept().await.unwrap();
        assert!(tls.accept(stream).await.is_err(), "the handshake went through");
    };
    let enrolment = server.enrolment(Trust::CaFingerprint(wrong));
    let (result, ()) = tokio::join!(register(&sockets, enrolment), stranger);
    let error = result.unwrap_err();
    assert!(matches!(error, OrchestrationError::Untrusted(_)), "{error:?}");
    let line = error.to_string();
    assert!(
        line.contains(&wrong.to_string()) && line.contains(&server.pki.fingerprint.to_string()),
        "{line}"
    );
}

#[tokio::test]
async fn who_does_not_answer_is_unreachable() {
    let server = Server::new().await;
    let sockets = SocketFactory::new();
    let registration = server.registered().await;
    // It takes the connection and closes it.
    let closes = async { drop(server.listener.accept().await.unwrap()) };
    let (result, ()) = tokio::join!(fetch(&sockets, &registration), closes);
    assert!(matches!(result.unwrap_err(), OrchestrationError::Unreachable { .. }));
    // Nobody listens any more.
    drop(server);
    let error = fetch(&sockets, &registration).await.unwrap_err();
    assert!(matches!(&error, OrchestrationError::Unreachable { .. }), "{error:?}");
    assert!(!error.to_string().contains('\n'));
    let imported = Registration { token: None, ..registration };
    assert!(matches!(fetch(&sockets, &imported).await, Err(OrchestrationError::NotOrchestrated)));
}
