//! Seeds that are messages of D-Bus's (D-Bus specification, "Message Protocol").

use crate::Seeds;

const REPLY: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// A header field: its code, its signature, its value as it is written.
type Field = (u8, u8, Vec<u8>);

fn string(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_le_bytes();
    [length.as_slice(), text.as_bytes(), b"\0"].concat()
}

fn signature(text: &str) -> Field {
    (8, b'g', [&[u8::try_from(text.len()).unwrap()], text.as_bytes(), b"\0"].concat())
}

/// The call that is answered.
fn to() -> Field {
    (5, b'u', vec![7, 0, 0, 0])
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn message(kind: u8, fields: &[Field], body: &[u8]) -> Vec<u8> {
    let mut written = Vec::new();
    for (code, signature, value) in fields {
        pad(&mut written, 8);
        written.extend([*code, 1, *signature, 0]);
        written.extend(value);
    }
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let mut bytes = vec![b'l', kind, 0, 1];
    bytes.extend(length(body));
    bytes.extend([9, 0, 0, 0]);
    bytes.extend(length(&written));
    bytes.extend(written);
    pad(&mut bytes, 8);
    bytes.extend(body);
    bytes
}

fn reply(of: &str, body: &[u8]) -> Vec<u8> {
    message(REPLY, &[to(), signature(of)], body)
}

fn with(mut bytes: Vec<u8>, at: usize, other: u8) -> Vec<u8> {
    bytes[at] = other;
    bytes
}

pub(crate) fn seeds() -> Seeds {
    let hello = reply("s", &string(":1.42"));
    let cut = hello[..hello.len() - 3].to_vec();
    let nobody = [(4, b's', string("org.freedesktop.DBus.Error.NameHasNoOwner")), to(), signature("s")];
    let owner_changed = [
        (1, b'o', string("/org/freedesktop/DBus")),
        (2, b's', string("org.freedesktop.DBus")),
        (3, b's', string("NameOwnerChanged")),
        signature("s"),
    ];
    let property = [b"\x01s\0\0".as_slice(), &string("symlink")].concat();
    let nested = [&[64], "a".repeat(64).as_bytes(), b"\0"].concat();
    vec![
        ("ok-hello", hello.clone()),
        ("ok-empty", message(REPLY, &[to()], b"")),
        ("ok-path", reply("o", &string("/org/freedesktop/resolve1/link/_32"))),
        ("ok-property", reply("v", &property)),
        ("ok-failure", message(ERROR, &nobody, &string("nobody"))),
        ("ok-signal", message(SIGNAL, &owner_changed, &string("org.freedesktop.resolve1"))),
        ("bad-empty", Vec::new()),
        ("bad-cut", cut),
        ("bad-order", with(hello.clone(), 0, b'x')),
        ("bad-version", with(hello.clone(), 3, 2)),
        ("bad-long", with(hello, 7, 0x7f)),
        ("bad-signature", reply("u", &[1, 0, 0, 0])),
        ("bad-string", reply("s", b"\0\x10\0\0abc\0")),
        ("bad-path", reply("o", &string("no path"))),
        ("bad-variant", reply("v", &nested)),
    ]
}
