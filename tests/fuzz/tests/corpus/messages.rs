//! Seeds that are DNS messages, alone and in scripts of the cache.

use crate::Seeds;

/// Messages to be changed.
pub(crate) fn edit() -> Seeds {
    [sound(), unsound()].concat()
}

fn sound() -> Seeds {
    vec![
        (
            "ok-address",
            b"\0\0\x81\x80\0\x01\0\x01\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\
              \x01,\0\x04\xc0\0\x02\x01"
                .to_vec(),
        ),
        (
            "ok-extended-error",
            b"\0\0\x81\x80\0\x01\0\x01\0\0\0\x01\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\
              \0\x01,\0\x04\xc0\0\x02\x01\0\0)\x04\xd0\0\0\0\0\0\x11\0\x0f\0\x05\0\x0fwhy\0\x0c\0\x04\
              \0\0\0\0"
                .to_vec(),
        ),
        (
            "ok-https-hints",
            b"\0\0\x81\x80\0\x01\0\x01\0\0\0\x02\x03www\x07example\0\0A\0\x01\xc0\x0c\0A\0\x01\0\0\0<\
              \0.\0\x01\0\0\0\0\x04\0\x01\0\x04\0\x01\0\x03\x02h2\0\x04\0\x04\xc0\0\x02\x05\0\x06\0\
              \x10\x20\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02ns\x04test\0\0\x01\0\x01\0\0\0<\0\x04\xc0\0\
              \x02\x01\0\0)\x04\xd0\0\0\0\0\0\0"
                .to_vec(),
        ),
        (
            "ok-many-types",
            b"\0\0\x81\x80\0\x01\0\x05\0\0\0\0\x03www\x07example\0\0\xff\0\x01\xc0\x0c\0\x10\0\x01\0\0\
              \0<\0\x05\x03a\x22b\0\xc0\x0c\x01\x01\0\x01\0\0\0<\0\x09\0\x05issueca\xc0\x0c\0.\0\x01\0\
              \0\0<\0\x16\0\x01\x0d\x02\0\0\x0e\x10e\xe0\x12\x80\0\0\0\0\0\x07\0sig\xc0\x0c\0/\0\x01\0\
              \0\0<\0\x05\xc0\x0c\0\x01@\xc0\x0c\xff\0\0\x01\0\0\0<\0\x01x"
                .to_vec(),
        ),
        (
            "ok-no-such-name",
            b"\0\0\x81\x83\0\x01\0\0\0\x01\0\x01\x03www\x07example\0\0\x01\0\x01\x07example\0\0\x06\0\
              \x01\0\0\x02X\0\x16\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0)\x04\xd0\0\
              \0\0\0\0\0"
                .to_vec(),
        ),
        (
            "ok-opt-in-the-middle",
            b"\0\0\x81\x80\0\x01\0\0\0\0\0\x04\x03www\x07example\0\0\x01\0\x01\0\0)\x04\xd0\0\0\0\0\0\
              \x13\0\x0c\0\x09\0\0\0\0\0\0\0\0\0\0\x0f\0\x02\0\x04\x02ns\x04test\0\0\x01\0\x01\0\0\0<\
              \0\x04\xc0\0\x02\x01\xc0;\0\x02\0\x01\0\0\0<\0\x04\x01a\xc0>\xc0\x0c\0\x0f\0\x01\0\0\0<\
              \0\x04\0\x05\xc0;"
                .to_vec(),
        ),
        (
            "ok-query-with-options",
            b"\0\0\x01\0\0\x01\0\0\0\0\0\x01\x03www\x07example\0\0\x01\0\x01\0\0)\x04\xd0\0\0\0\0\0\
              \x10\0\x0a\0\x0812345678\0\x03\0\0"
                .to_vec(),
        ),
    ]
}

fn unsound() -> Seeds {
    vec![
        (
            "bad-name-in-options",
            b"\0\0\x81\x80\0\x01\0\0\0\0\0\x04\x03www\x07example\0\0\x01\0\x01\0\0)#\xd0\0\0i\0\0\x13\0\x0c\0\x09\0\0\0\0\0\0\0\0\0\0\x0f\0\x02\0\x04\x02ns\x04\0rst\0\0\x01\0\x01\0\0\0<\0\x04\xc0\0\x02\x01\xc0:%\x02\x01\0\0\0\0<\0\x04\x01a\xc0>\xc0\x0c\0\x0f\x04\x01\0\0\0<\0\x04\0\x05\xc0;"
                .to_vec(),
        ),
        (
            "bad-count",
            b"\0\0\x81\x80\0\x01\0\x02\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\
              \x01,\0\x04\xc0\0\x02\x01"
                .to_vec(),
        ),
        (
            "bad-cut",
            b"\0\0\x81\x80\0\x01\0\x01\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\
              \x01,\0\x04\xc0\0\x02"
                .to_vec(),
        ),
        ("bad-empty", b"".to_vec()),
        (
            "bad-loop",
            b"\0\0\x81\x80\0\x01\0\x01\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x1d\0\x01\0\x01\0\0\
              \x01,\0\x04\xc0\0\x02\x01"
                .to_vec(),
        ),
    ]
}

/// A step of a script: what, how, and bytes.
pub(crate) fn step(what: u8, how: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[what, how], length.as_slice(), bytes].concat()
}

const ADDRESS: &[u8] =
    b"\0\0\x81\x80\0\x01\0\x01\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\
    \x01,\0\x04\xc0\0\x02\x01";
const FORGOTTEN: &[u8] =
    b"\0\0\x81\x80\0\x01\0\x02\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x05\0\x01\0\0\
    \0<\0\x03\x01b\0\x01b\0\0\x01\0\x01\0\0\0Z\0\x04\xc0\0\x02\x02";
const HINTS: &[u8] =
    b"\0\0\x81\x80\0\x01\0\x01\0\0\0\x02\x03www\x07example\0\0A\0\x01\xc0\x0c\0A\0\x01\0\0\0<\
    \0.\0\x01\0\0\0\0\x04\0\x01\0\x04\0\x01\0\x03\x02h2\0\x04\0\x04\xc0\0\x02\x05\0\x06\0\
    \x10\x20\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02ns\x04test\0\0\x01\0\x01\0\0\0<\0\x04\xc0\0\
    \x02\x01\0\0)\x04\xd0\0\0\0\0\0\0";
const LONGER_AGAIN: &[u8] =
    b"\0\0\x81\x80\0\x01\0\x01\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\
    \x01,\0\x04\x01\x02\x03\0";
const LONGER_AGAIN_2: &[u8] =
    b"\0\0\x81\x80\0\x01\0\x02\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\
    \x01,\0\x04\x01\x02\x03\0\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x01";
const LONGER_AGAIN_3: &[u8] =
    b"\0\0\x81\x80\0\x01\0\x03\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\
    \x01,\0\x04\x01\x02\x03\0\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x01\xc0\x0c\0\
    \x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x02";
const LONGER_AGAIN_4: &[u8] =
    b"\0\0\x81\x80\0\x01\0\x04\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\
    \x01,\0\x04\x01\x02\x03\0\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x01\xc0\x0c\0\
    \x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x02\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\
    \x03";
const LONGER_AGAIN_5: &[u8] =
    b"\0\0\x81\x80\0\x01\0\x05\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\
    \x01,\0\x04\x01\x02\x03\0\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x01\xc0\x0c\0\
    \x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x02\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\
    \x03\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x04";
const LONGER_AGAIN_6: &[u8] =
    b"\0\0\x81\x80\0\x01\0\x06\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\
    \x01,\0\x04\x01\x02\x03\0\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x01\xc0\x0c\0\
    \x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x02\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\
    \x03\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x04\xc0\x0c\0\x01\0\x01\0\0\x01,\0\
    \x04\x01\x02\x03\x05";
const LONGER_AGAIN_7: &[u8] =
    b"\0\0\x81\x80\0\x01\0\x07\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\
    \x01,\0\x04\x01\x02\x03\0\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x01\xc0\x0c\0\
    \x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x02\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\
    \x03\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x04\xc0\x0c\0\x01\0\x01\0\0\x01,\0\
    \x04\x01\x02\x03\x05\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x06";
const LONGER_AGAIN_8: &[u8] =
    b"\0\0\x81\x80\0\x01\0\x08\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\
    \x01,\0\x04\x01\x02\x03\0\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x01\xc0\x0c\0\
    \x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x02\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\
    \x03\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x04\xc0\x0c\0\x01\0\x01\0\0\x01,\0\
    \x04\x01\x02\x03\x05\xc0\x0c\0\x01\0\x01\0\0\x01,\0\x04\x01\x02\x03\x06\xc0\x0c\0\x01\0\
    \x01\0\0\x01,\0\x04\x01\x02\x03\x07";
const NO_SUCH_NAME: &[u8] =
    b"\0\0\x81\x83\0\x01\0\0\0\x01\0\x01\x03www\x07example\0\0\x01\0\x01\x07example\0\0\x06\0\
    \x01\0\0\x02X\0\x16\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0)\x04\xd0\0\
    \0\0\0\0\0";
const OPT_IN_THE_MIDDLE: &[u8] =
    b"\0\0\x81\x80\0\x01\0\x01\0\0\0\x02\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\
    \0\x01,\0\x04\x01\x02\x03\x04\0\0)\x04\xd0\0\0\0\0\0\x0d\0\x0c\0\x09\0\0\0\0\0\0\0\0\0\
    \x02ns\0\0\x01\0\x01\0\0\0<\0\x04\x01\x02\x03\x04";
const CUT_ANSWER: &[u8] =
    b"\0\0\x81\x80\0\x01\0\x01\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\
    \x01,\0\x04\xc0\0\x02";
const LOOP: &[u8] =
    b"\0\0\x81\x80\0\x01\0\x01\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x1d\0\x01\0\x01\0\0\
    \x01,\0\x04\xc0\0\x02\x01";
const TRUNCATED: &[u8] =
    b"\0\0\x83\x80\0\x01\0\x01\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\
    \x01,\0\x04\xc0\0\x02\x01";
const TTL: &[u8] =
    b"\0\0\x81\x80\0\x01\0\x01\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\x80\
    \0\0\0\0\x04\x01\x02\x03\x04";
const TWO_OPT: &[u8] =
    b"\0\0\x81\x80\0\x01\0\x01\0\0\0\x02\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\
    \0\x01,\0\x04\x01\x02\x03\x04\0\0)\x04\xd0\0\0\0\0\0\0\0\0)\x04\xd0\0\0\0\0\0\0";

/// Scripts of the cache: 0 puts an answer there, 2 looks one up, 3 lets `how` squared seconds pass, 4 forgets an origin's,
/// 5 forgets all.
pub(crate) fn cache() -> Seeds {
    vec![
        (
            "ok-address",
            [step(0, 0, ADDRESS), step(2, 0, ADDRESS), step(3, 4, b""), step(2, 0, ADDRESS)].concat(),
        ),
        (
            "ok-forgotten",
            [
                step(0, 1, ADDRESS),
                step(0, 0, FORGOTTEN),
                step(4, 1, b""),
                step(2, 0, ADDRESS),
                step(5, 0, b""),
                step(0, 0, FORGOTTEN),
                step(2, 0, FORGOTTEN),
            ]
            .concat(),
        ),
        ("ok-hints", [step(0, 0, HINTS), step(2, 0, HINTS)].concat()),
        (
            "ok-longer-again",
            [
                step(0, 0, LONGER_AGAIN),
                step(0, 0, LONGER_AGAIN_2),
                step(0, 0, LONGER_AGAIN_3),
                step(0, 0, LONGER_AGAIN_4),
                step(0, 0, LONGER_AGAIN_5),
                step(0, 0, LONGER_AGAIN_6),
                step(0, 0, LONGER_AGAIN_7),
                step(0, 0, LONGER_AGAIN_8),
            ]
            .concat(),
        ),
        ("ok-no-such-name", [step(0, 0, NO_SUCH_NAME), step(3, 3, b""), step(2, 0, NO_SUCH_NAME)].concat()),
        ("ok-opt-in-the-middle", [step(0, 0, OPT_IN_THE_MIDDLE), step(2, 0, ADDRESS)].concat()),
        (
            "ok-stale",
            [
                step(0, 1, ADDRESS),
                step(3, 20, b""),
                step(2, 0, ADDRESS),
                step(0, 0, ADDRESS),
                step(2, 0, ADDRESS),
            ]
            .concat(),
        ),
        ("bad-cut-answer", [step(0, 0, CUT_ANSWER)].concat()),
        ("bad-empty", Vec::new()),
        ("bad-loop", [step(0, 0, LOOP)].concat()),
        ("bad-truncated", [step(0, 0, TRUNCATED)].concat()),
        ("bad-ttl", [step(0, 0, TTL)].concat()),
        ("bad-two-opt", [step(0, 0, TWO_OPT)].concat()),
    ]
}
