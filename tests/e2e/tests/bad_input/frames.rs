//! Bytes at the daemon's socket that are none of its protocol.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use netlab::Host;
use serde_json::Value;
use weft_e2e::{PATIENCE, Setup};

use crate::{Standing, assert_carries, shown};

fn frame(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

/// What a client begins with.
fn hello() -> Vec<u8> {
    frame(r#"{"weft": 1, "version": "test"}"#)
}

/// Sends bytes and gives the messages that come back until the daemon ends the connection.
fn exchange(host: &Host, bytes: &[u8]) -> Result<Vec<Value>> {
    let said = host.inside(|| -> Result<Vec<u8>> {
        let mut stream = UnixStream::connect("/run/weft/weftd.sock")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // The daemon may have heard enough before all is sent.
        let _refused = stream.write_all(bytes);
        let mut said = Vec::new();
        match stream.read_to_end(&mut said) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => {
                Err(error).context("the daemon holds the connection")
            }
            _ => Ok(said),
        }
    })??;
    let (mut rest, mut messages) = (said.as_slice(), Vec::new());
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length))?;
        let (body, behind) = behind.split_at_checked(length).context("the daemon sent half a frame")?;
        messages.push(serde_json::from_slice(body)?);
        rest = behind;
    }
    Ok(messages)
}

/// What is no beginning of a conversation, and the failure it gets. What stops half way is waited for, and not for ever.
fn beginnings() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (vec![0xff; 64], "malformed"),
        ((2_u32 << 20).to_be_bytes().to_vec(), "malformed"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "malformed"),
        (frame(""), "malformed"),
        (frame("{"), "malformed"),
        (frame("null"), "malformed"),
        (frame(b"\xff\xfe"), "malformed"),
        (frame("[".repeat(100_000)), "malformed"),
        (frame(r#""status""#), "malformed"),
        (frame(r#"{"weft": 1, "version": "test", "admin": true}"#), "malformed"),
        (frame(r#"{"weft": -1, "version": "test"}"#), "malformed"),
        (frame(r#"{"weft": 4000000000, "version": "test"}"#), "version"),
        (vec![0, 0], "busy"),
        (hello()[..9].to_vec(), "busy"),
    ]
}

/// What is no request, and the failure it gets, as in [`beginnings`].
fn requests() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (vec![0x7f; 8], "malformed"),
        (frame(""), "malformed"),
        (frame("status"), "malformed"),
        (frame(r#""stat us""#), "malformed"),
        (frame(r#""two\nlines""#), "malformed"),
        (frame(r#"{"connect": {"force": true}}"#), "malformed"),
        (frame(r#"{"set_mode": {"mode": "magic"}}"#), "malformed"),
        (frame(r#"{"set_mode": {"mode": "1dot1"}, "disconnect": null}"#), "malformed"),
        (frame(r#"{"register": {"url": "https://203.0.113.10"}}"#), "malformed"),
        (frame(r#"{"import_registration": {"name": 7, "text": []}}"#), "malformed"),
        (frame(r#"{"log": {"lines": -1, "follow": false}}"#), "malformed"),
        (frame(b"\"status\xff\""), "malformed"),
        (hello(), "malformed"),
        (frame("\"disconnect\"")[..8].to_vec(), "busy"),
    ]
}

fn failure_of(message: &Value) -> Option<&str> {
    message.pointer("/failure/failure")?.as_str()
}

#[test]
fn malformed_frames_end_their_connection_and_change_nothing() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, "{}")?;
        let host = setup.device.host();
        let standing = Standing::of(&setup.device)?;
        // The conversation is as the daemon wants it up to the frame that is not.
        let daemon = exchange(host, &[hello(), frame("\"stat us\"")].concat())?;
        assert_eq!(daemon[0]["weft"], 1, "{daemon:?}");
        let later = requests().into_iter().map(|(bytes, named)| ([hello(), bytes].concat(), named, 1));
        let first = beginnings().into_iter().map(|(bytes, named)| (bytes, named, 0));
        for (bytes, named, answers) in first.chain(later) {
            println!("{}", shown(&bytes));
            let messages = exchange(host, &bytes)?;
            assert_eq!(messages.len(), answers + 1, "{messages:?}");
            let last = &messages[answers];
            assert_eq!(failure_of(last), Some(named), "{messages:?}");
            let detail = last.pointer("/failure/detail").and_then(Value::as_str).unwrap_or_default();
            assert!(!detail.contains('\n') && detail.len() < 300, "{messages:?}");
        }
        assert_eq!(Standing::of(&setup.device)?, standing);
        assert_carries(&setup)
    });
}

#[test]
fn silent_connections_do_not_keep_others_out_for_long() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, "{}")?;
        let host = setup.device.host();
        let standing = Standing::of(&setup.device)?;
        let silent = host.inside(|| {
            (0..300).map_while(|_| UnixStream::connect("/run/weft/weftd.sock").ok()).collect::<Vec<_>>()
        })?;
        assert!(silent.len() > 50, "{}", silent.len());
        netlab::eventually(PATIENCE, "the daemon answers in spite of them", || setup.device.status())?;
        assert_eq!(Standing::of(&setup.device)?, standing);
        drop(silent);
        assert_carries(&setup)
    });
}
