//! Scripts for the DNS engine.

use crate::Seeds;
use crate::scripts::script;

/// www.example, type A, and an answer of one address for 60 s.
const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";
const ANSWER: &[u8] = b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0\x03www\x07example\0\0\x01\0\x01\
    \xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";

pub(crate) fn seeds() -> Seeds {
    let (query, answer, release, wait, portal, config, change, hosts) = (0, 1, 2, 3, 4, 5, 6, 7);
    let ask = (query, 0, QUERY);
    let good = (answer, 0, ANSWER);
    let none = &b""[..];
    vec![
        ("ok-shared", script(&[ask, ask, (query, 1, QUERY), good, ask, (wait, 200, none), ask])),
        (
            "ok-held",
            script(&[(config, 2, none), ask, good, ask, (release, 0, none), ask, (release, 1, none)]),
        ),
        ("ok-learnt", script(&[(config, 6, none), ask, good, ask])),
        (
            "ok-late",
            script(&[
                (config, 2, none),
                ask,
                good,
                (wait, 30, none),
                (release, 0, none),
                (config, 0, none),
                ask,
            ]),
        ),
        ("ok-case", script(&[(config, 1, none), ask, (answer, 1, ANSWER), good, good, good])),
        (
            "ok-stale",
            script(&[
                (config, 8, none),
                ask,
                good,
                (wait, 255, none),
                (wait, 255, none),
                (wait, 255, none),
                ask,
                (wait, 19, none),
                ask,
            ]),
        ),
        ("ok-preferred", script(&[(config, 17, none), ask, good, good])),
        ("ok-portal", script(&[(portal, 9, none), ask, good, ask, (portal, 0, none)])),
        ("ok-hosts", script(&[(hosts, 0, b"192.0.2.5 www.example\n"), ask, (change, 0, none), ask])),
        ("ok-network", script(&[ask, (change, 1, none), ask, good, good])),
        ("bad-query", script(&[(query, 0, &QUERY[..20]), ask, good])),
        ("bad-answer", script(&[ask, (answer, 0, &ANSWER[..40])])),
        ("bad-failure", script(&[ask, (answer, 2, none), ask])),
        ("bad-id", script(&[ask, (answer, 1, ANSWER)])),
    ]
}
