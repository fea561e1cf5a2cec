//! Answers of a gateway to a registration that the device refuses.

use anyhow::Result;
use netlab::Output;
use netlab::topology::WEB;
use serde_json::{Value, json};
use weft_e2e::{Device, Setup};

use crate::fake_gateway::FakeGateway;
use crate::{Standing, assert_refused, shown};

/// An answer that a device takes; what is bad is made of it.
fn good() -> Value {
    json!({
        "id": "device-1",
        "token": "credential-of-the-device",
        "addresses": ["172.16.0.2/32"],
        "tunnel": {
            "public_key": "FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=",
            "addresses": ["203.0.113.10"],
            "ports": [2408],
            "allowed_ips": ["0.0.0.0/0"]
        },
        "doh": {
            "name": "203.0.113.10",
            "path": "/dns-query",
            "inside": "172.64.128.1:443",
            "outside": ["203.0.113.10:443"]
        },
        "checks": { "inside": "172.64.128.1:80", "outside": ["203.0.113.10:443"] },
        "profile": { "name": "Default" }
    })
}

fn http(status: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A good answer with another value at one place.
fn with(place: &str, value: Value) -> Vec<u8> {
    let mut answer = good();
    *answer.pointer_mut(place).unwrap_or_else(|| panic!("no {place}")) = value;
    http("201 Created", answer.to_string())
}

/// Answers with a value that cannot be used, and what their refusal names.
fn bad_values() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (with("/id", json!("../../etc")), "identifier"),
        (with("/id", json!("")), "identifier"),
        (with("/token", json!("two\r\nlines")), "credential"),
        (with("/addresses", json!([])), "addresses"),
        (with("/addresses", json!(["224.0.0.1/32"])), "addresses"),
        (with("/addresses", json!(["172.16.0.2/64"])), "not usable"),
        (with("/tunnel/public_key", json!("short")), "not usable"),
        (with("/tunnel/public_key", json!(format!("{}=", "A".repeat(43)))), "tunnel's key"),
        (with("/tunnel/addresses", json!([])), "endpoints"),
        (with("/tunnel/addresses", json!(["0.0.0.0"])), "endpoints"),
        (with("/tunnel/ports", json!([])), "ports"),
        (with("/tunnel/ports", json!([0])), "ports"),
        (with("/tunnel/ports", json!([65536])), "not usable"),
        (with("/doh/name", json!("not a name")), "resolver's name"),
        (with("/doh/path", json!("dns-query")), "resolver's path"),
        (with("/doh/inside", json!("172.64.128.1")), "not usable"),
        (with("/doh/outside", json!(["203.0.113.10:0"])), "resolver's addresses"),
        (with("/checks/inside", json!("0.0.0.0:80")), "checks"),
        (with("/profile", json!({"mtu": 1})), "mtu"),
        (with("/profile", json!({"service_mode_v2": {"mode": "two\nlines"}})), "not usable"),
    ]
}

/// Answers that are none, and what their refusal names.
fn malformed() -> Vec<(Vec<u8>, &'static str)> {
    let whole = good().to_string();
    let refusal = json!({"code": "bad\ntoken", "message": "x".repeat(5000) + "\n\u{1b}[31m"}).to_string();
    let endless = [b"HTTP/1.1 201 Created\r\n".as_slice(), &b"x-fill: x\r\n".repeat(200_000)].concat();
    let longer = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n{whole}", whole.len() + 1);
    let large = http("201 Created", whole.replacen("Default", &"x".repeat(2 << 20), 1));
    vec![
        (Vec::new(), ""),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), ""),
        (b"HTTP/1.1 201 Cre".to_vec(), ""),
        (longer.into_bytes(), ""),
        (endless, ""),
        (large, ""),
        (http("201 Created", ""), "not usable"),
        (http("201 Created", "<html>Welcome to this captive portal</html>"), "not usable"),
        (http("201 Created", b"\xff\xfe\x00"), "not usable"),
        (http("201 Created", &whole[..whole.len() / 2]), "not usable"),
        (http("201 Created", "[]"), "not usable"),
        (http("201 Created", "{}"), "not usable"),
        (http("201 Created", "[".repeat(100_000)), "not usable"),
        (http("200 OK", "null"), "not usable"),
        (http("500 Internal Server Error", "<html>\n<b>oops</b>\n</html>"), "500"),
        (http("302 Found", ""), "302"),
        (http("401 Unauthorized", refusal), "badtoken"),
    ]
}

fn register(device: &Device, url: &str, fingerprint: &str) -> Result<Output> {
    let token = ["--token", "enrolment-token", "--ca-fingerprint", fingerprint];
    device.attempt(&[&["registration", "new", url], token.as_slice()].concat())
}

#[test]
fn a_malformed_answer_to_a_registration_is_refused_and_nothing_is_kept_of_it() {
    netlab::run(|lab| {
        let setup = Setup::new(lab, "{}")?;
        let device = &setup.device;
        let fake = FakeGateway::start(&setup.topology.web, WEB.into())?;
        let standing = Standing::of(device)?;
        for (answer, named) in bad_values().into_iter().chain(malformed()) {
            println!("{}", shown(&answer));
            let asked = fake.requests().len();
            fake.answer_with(&answer);
            let output = register(device, fake.url(), fake.fingerprint())?;
            assert_refused(&output, 1, named);
            assert!(output.stderr.len() < 600 && !output.stderr.contains("enrolment-token"), "{output:?}");
            assert_eq!(Standing::of(device)?, standing);
            netlab::eventually(weft_e2e::PATIENCE, "the request was counted", || {
                fake.requests().len() > asked
            })?;
        }
        // It was not the rest of the answer that was refused all the time.
        fake.answer_with(&http("201 Created", good().to_string()));
        register(device, fake.url(), fake.fingerprint())?.success()?;
        assert_ne!(Standing::of(device)?, standing);
        Ok(())
    });
}

#[test]
fn who_is_not_the_gateway_gets_no_token() {
    netlab::run(|lab| {
        let setup = Setup::new(lab, "{}")?;
        let device = &setup.device;
        let fake = FakeGateway::start(&setup.topology.web, WEB.into())?;
        fake.answer_with(&http("201 Created", good().to_string()));
        let standing = Standing::of(device)?;
        let other = "ab".repeat(32);
        let plain = format!("https://{WEB}:8080");
        let cases = [
            (fake.url(), other.as_str(), "fingerprint"),
            (fake.url(), "5f1c", "64 hexadecimal digits"),
            ("http://203.0.113.80", fake.fingerprint(), "https://"),
            ("203.0.113.80", fake.fingerprint(), "https://"),
            ("https://203.0.113.80/two\nlines", fake.fingerprint(), "https://"),
            // A server of plain HTTP, a closed port, and a name without an address.
            (plain.as_str(), fake.fingerprint(), "cannot be reached"),
            ("https://203.0.113.80:4443", fake.fingerprint(), "cannot be reached"),
            ("https://no-such-name.invalid", fake.fingerprint(), "cannot be resolved"),
        ];
        for (url, fingerprint, named) in cases {
            assert_refused(&register(device, url, fingerprint)?, 1, named);
        }
        let unpinned = device.attempt(&["registration", "new", fake.url(), "--token", "enrolment-token"])?;
        assert_refused(&unpinned, 1, "certificate");
        assert_eq!(fake.requests(), [""; 0]);
        assert_eq!(Standing::of(device)?, standing);
        Ok(())
    });
}
