//! The device orchestration API, over TLS on loopback.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{CONFIG, Gateway, NAME, bearer, registration, tunnel_key};
use http::Method;
use tokio::io::AsyncReadExt;
use weft_gateway::registry::now;
use weft_model::api::{DeviceAnswer, MAX_BODY};
use weft_model::{Profile, PublicKey};

async fn gateway() -> Gateway {
    Gateway::start(CONFIG, Vec::new()).await
}

#[tokio::test]
async fn a_device_registers_and_gets_all_that_it_needs() {
    let gateway = gateway().await;
    let answer = gateway.register(1).await;
    let addresses: Vec<_> = answer.device.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["172.16.0.2/32", "2606:4700:cf1:1000::1/128"]);
    assert_eq!(answer.device.tunnel.public_key, tunnel_key());
    assert_eq!(answer.device.tunnel.ports, [2408, 500, 1701, 4500]);
    assert_eq!(answer.device.doh.name, NAME);
    assert_eq!(answer.device.doh.inside, "172.64.128.1:443".parse().unwrap());
    assert_eq!(answer.device.doh.outside, ["203.0.113.10:443".parse().unwrap()]);
    assert_eq!(answer.device.doh.ca_pem.as_deref(), Some(gateway.ca_pem.as_str()));
    assert_eq!(answer.device.checks.inside, "172.64.128.1:80".parse().unwrap());
    assert_eq!(answer.device.profile, Profile::default());

    let path = format!("/v0/reg/{}", answer.id);
    let again = gateway.request(Method::GET, &path, Some(bearer(&answer.token)), "").await;
    assert_eq!(again.status, 200);
    assert_eq!(serde_json::from_slice::<DeviceAnswer>(&again.body).unwrap(), answer.device);

    let second = gateway.register(2).await;
    assert_ne!(second.device.addresses[1], answer.device.addresses[1]);
    assert_eq!(gateway.registry.directory().active().count(), 2);
}

#[tokio::test]
async fn an_enrolment_token_is_refused_when_wrong_spent_or_expired() {
    let gateway = gateway().await;
    gateway.post_registration("nobody knows it", 1).await.refuses(401, "bad_token");
    let none = gateway.request(Method::POST, "/v0/reg", None, registration(1)).await;
    none.refuses(401, "bad_token");
    assert_eq!(none.headers["www-authenticate"], "Bearer");

    gateway.enrolment_token("once", 1, None);
    assert_eq!(gateway.post_registration("once", 1).await.status, 201);
    gateway.post_registration("once", 2).await.refuses(403, "token_spent");

    gateway.enrolment_token("late", 1, Some(now() - 1));
    gateway.post_registration("late", 3).await.refuses(403, "token_expired");
    assert_eq!(gateway.registry.directory().devices().len(), 1);
}

#[tokio::test]
async fn a_bad_body_spends_no_token() {
    let gateway = gateway().await;
    gateway.enrolment_token("once", 1, None);
    let key = PublicKey::from([1; 32]);
    let long = "n".repeat(254);
    let bodies = [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        r#"{"key":"AAAA","name":"n","os":"linux","version":"1"}"#.to_owned(),
        format!(r#"{{"key":"{key}","os":"linux","version":"1"}}"#),
        format!(r#"{{"key":"{key}","name":"","os":"linux","version":"1"}}"#),
        format!(r#"{{"key":"{key}","name":"{long}","os":"linux","version":"1"}}"#),
        format!(r#"{{"key":"{key}","name":"a\u001b[2J","os":"linux","version":"1"}}"#),
        format!(r#"{{"key":"{key}","name":"n","os":"{long}","version":"1"}}"#),
    ];
    for body in bodies {
        let answer = gateway.request(Method::POST, "/v0/reg", Some("once"), body.clone()).await;
        answer.refuses(400, "bad_request");
    }
    let huge = vec![b' '; MAX_BODY + 1];
    gateway.request(Method::POST, "/v0/reg", Some("once"), huge).await.refuses(413, "too_large");
    assert_eq!(gateway.post_registration("once", 1).await.status, 201);
}

#[tokio::test]
async fn a_key_belongs_to_one_device() {
    let gateway = gateway().await;
    let one = gateway.register(1).await;
    gateway.register(2).await;
    gateway.enrolment_token("more", 1, None);
    gateway.post_registration("more", 1).await.refuses(409, "key_in_use");
    assert_eq!(gateway.post_registration("more", 3).await.status, 201);

    let path = format!("/v0/reg/{}", one.id);
    let rotate = async |key: u8| {
        let body = format!(r#"{{"key":"{}"}}"#, PublicKey::from([key; 32]));
        gateway.request(Method::PATCH, &path, Some(bearer(&one.token)), body).await
    };
    rotate(2).await.refuses(409, "key_in_use");
    assert_eq!(rotate(9).await.status, 200);
    let keys: Vec<_> = gateway.registry.directory().active().map(|device| device.key).collect();
    assert!(keys.contains(&PublicKey::from([9; 32])) && !keys.contains(&PublicKey::from([1; 32])));
    let bad = gateway.request(Method::PATCH, &path, Some(bearer(&one.token)), "{}").await;
    bad.refuses(400, "bad_request");
}

#[tokio::test]
async fn only_its_own_credential_opens_a_registration() {
    let gateway = gateway().await;
    let (one, two) = (gateway.register(1).await, gateway.register(2).await);
    let path = format!("/v0/reg/{}", one.id);
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        let body = format!(r#"{{"key":"{}"}}"#, PublicKey::from([7; 32]));
        let asked = gateway.request(method, &path, Some(bearer(&two.token)), body).await;
        asked.refuses(401, "bad_token");
    }
    let unknown = format!("/v0/reg/{}", "0".repeat(32));
    gateway.request(Method::GET, &unknown, Some(bearer(&one.token)), "").await.refuses(404, "unknown_device");
    // A beginning is enough for the administrator, not for a device.
    let short = format!("/v0/reg/{}", &one.id[..8]);
    gateway.request(Method::GET, &short, Some(bearer(&one.token)), "").await.refuses(404, "unknown_device");
    gateway.request(Method::GET, "/v1", None, "").await.refuses(404, "not_found");
    assert_eq!(gateway.request(Method::PUT, "/v0/reg", None, "").await.status, 405);
}

#[tokio::test]
async fn a_revoked_device_is_told_so_and_a_deleted_one_is_unknown() {
    let gateway = gateway().await;
    let (one, two) = (gateway.register(1).await, gateway.register(2).await);
    gateway.store().revoke_device(&one.id, now()).unwrap();
    gateway.registry.reload().unwrap();
    let path = format!("/v0/reg/{}", one.id);
    gateway.request(Method::GET, &path, Some(bearer(&one.token)), "").await.refuses(410, "revoked");
    let doh = gateway.request(Method::GET, "/dns-query?dns=AAAA", Some(bearer(&one.token)), "").await;
    doh.refuses(410, "revoked");
    assert_eq!(gateway.registry.directory().active().count(), 1);

    let path = format!("/v0/reg/{}", two.id);
    assert_eq!(gateway.request(Method::DELETE, &path, Some(bearer(&two.token)), "").await.status, 204);
    gateway.request(Method::GET, &path, Some(bearer(&two.token)), "").await.refuses(404, "unknown_device");
    assert_eq!(gateway.registry.directory().active().count(), 0);
}

#[tokio::test]
async fn a_profile_reaches_the_devices_it_is_for() {
    let gateway = gateway().await;
    let one = gateway.register(1).await;
    let profile = Profile::from_json(r#"{"switch_locked":true,"tunnel_address":"unique"}"#).unwrap();
    gateway.store().set_profile(profile).unwrap();
    gateway.registry.reload().unwrap();
    let path = format!("/v0/reg/{}", one.id);
    let answer = gateway.request(Method::GET, &path, Some(bearer(&one.token)), "").await;
    let answer: DeviceAnswer = serde_json::from_slice(&answer.body).unwrap();
    assert!(answer.profile.switch_locked);
    assert_eq!(answer.addresses[0].to_string(), "100.96.0.1/32");
}

#[tokio::test]
async fn of_two_mtus_devices_get_the_smaller() {
    let gateway = gateway().await;
    let one = gateway.register(1).await;
    let path = format!("/v0/reg/{}", one.id);
    for (set, told) in [(1400, 1280), (1280, 1280), (1200, 1200)] {
        let profile = Profile::from_json(&format!(r#"{{"mtu":{set}}}"#)).unwrap();
        gateway.store().set_profile(profile).unwrap();
        gateway.registry.reload().unwrap();
        let answer = gateway.request(Method::GET, &path, Some(bearer(&one.token)), "").await;
        let answer: DeviceAnswer = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.profile.mtu, answer.tunnel.mtu), (Some(told), Some(1280)));
    }
}

#[tokio::test]
async fn who_guesses_has_to_wait_and_keeps_nobody_else_out() {
    let config = format!("{CONFIG}[limits]\nbad_credentials = 3\n");
    let gateway = Gateway::start(&config, Vec::new()).await;
    let one = gateway.register(1).await;
    for _ in 0..3 {
        gateway.post_registration("guess", 9).await.refuses(401, "bad_token");
    }
    let refused = gateway.post_registration("guess", 9).await;
    refused.refuses(429, "too_many_attempts");
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    let path = format!("/v0/reg/{}", one.id);
    for path in [path.as_str(), "/dns-query?dns=AAAA"] {
        gateway.request(Method::GET, path, Some("guess"), "").await.refuses(429, "too_many_attempts");
    }
    // Others may stand behind the same address.
    let own = gateway.request(Method::GET, &path, Some(bearer(&one.token)), "").await;
    assert_eq!(own.status, 200, "{}", own.text());
    let doh = gateway.request(Method::GET, "/dns-query?dns=AAAA", Some(bearer(&one.token)), "").await;
    assert_eq!(doh.status, 400, "{}", doh.text());
    gateway.register(2).await;
}

#[tokio::test]
async fn http_1_works_too() {
    let gateway = gateway().await;
    gateway.enrolment_token("once", 1, None);
    let request =
        http::Request::builder().method(Method::POST).uri("/v0/reg").header("authorization", "bearer once");
    let answer = gateway.send_http1(request, Bytes::from(registration(1))).await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn what_is_for_devices_inside_is_for_nobody_else() {
    let gateway = gateway().await;
    for path in ["/cdn-cgi/trace", "/dns-query?dns=AAAA"] {
        let request = http::Request::builder().uri(format!("https://{NAME}{path}"));
        gateway.send(gateway.inside, request, Bytes::new()).await.refuses(403, "not_a_device");
    }
    gateway.request(Method::GET, "/cdn-cgi/trace", None, "").await.refuses(404, "not_found");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let gateway = Gateway::start_with_idle(CONFIG, Vec::new(), Duration::from_millis(50)).await;
    for protocol in [b"h2".as_slice(), b"http/1.1"] {
        let mut stream = gateway.connect(gateway.outside, protocol).await;
        let began = Instant::now();
        let mut bytes = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
        assert!(closed.is_ok() && began.elapsed() >= Duration::from_millis(50));
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_not_served() {
    let config = format!("{CONFIG}[limits]\nconnections_per_source = 2\n");
    let gateway = Gateway::start(&config, Vec::new()).await;
    let first = gateway.connect(gateway.outside, b"h2").await;
    let _second = gateway.connect(gateway.outside, b"h2").await;
    let mut third = tokio::net::TcpStream::connect(gateway.outside).await.unwrap();
    let mut bytes = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), third.read_to_end(&mut bytes)).await.unwrap();
    assert!(bytes.is_empty() && ended.is_ok_and(|length| length == 0));
    drop(first);
    let deadline = Instant::now() + Duration::from_secs(20);
    gateway.enrolment_token("once", 1, None);
    // The server notices the end of the first in its own time; until then it hangs up.
    while tokio::time::timeout(Duration::from_millis(200), third_is_served(&gateway)).await != Ok(true) {
        assert!(Instant::now() < deadline);
    }
}

async fn third_is_served(gateway: &Gateway) -> bool {
    let mut stream = tokio::net::TcpStream::connect(gateway.outside).await.unwrap();
    // A server that waits for a handshake says nothing.
    let mut byte = [0];
    tokio::time::timeout(Duration::from_millis(100), stream.read(&mut byte)).await.is_err()
}
