//! Seeds that are scripts: see the targets for what their steps do.

use crate::Seeds;
use crate::packets::{changed, echo, too_big, udp};

/// A script of steps: what, how, with what.
pub(crate) fn script(steps: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let step = |(what, how, bytes): &(u8, u8, &[u8])| {
        [&[*what, *how][..], &u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    };
    steps.iter().flat_map(step).collect()
}

pub(crate) fn netstack() -> Seeds {
    const FIN: u8 = 0x01;
    const SYN_ACK: u8 = 0x12;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;
    let (packet, segment, datagram, wait, ahead) = (0, 1, 2, 3, 4);
    let established = (segment, SYN_ACK, &b""[..]);
    let answer: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nweft=on\n";
    let stray = udp("172.64.128.9", "172.16.0.2", b"from somebody else");
    vec![
        ("ok-trace", script(&[established, (segment, ACK, answer), (segment, ACK | FIN, b"")])),
        ("ok-datagrams", script(&[(datagram, 0, b"answer"), (datagram, 0, &[7; 1200])])),
        (
            "ok-disorder",
            script(&[established, (ahead, 6, b"behind"), (segment, ACK, b"before"), (ahead, 200, &[7; 900])]),
        ),
        (
            "ok-slow",
            script(&[(wait, 3, b""), established, (wait, 10, b""), (segment, ACK, answer), (wait, 30, b"")]),
        ),
        ("bad-refused", script(&[(segment, RST | ACK, b"")])),
        ("bad-reset", script(&[established, (segment, RST, b"")])),
        ("bad-silence", script(&[(wait, 60, b"")])),
        ("bad-strays", script(&[(packet, 0, &stray), (packet, 0, &too_big()), (packet, 0, &[0x45; 30])])),
        ("bad-echo", script(&[(packet, 0, &echo("172.64.128.1", "172.16.0.2"))])),
        ("bad-beyond-window", script(&[established, (ahead, 255, &[7; 60_000])])),
    ]
}

pub(crate) fn dns_front() -> Seeds {
    let (packet, datagram, stream, end, reset) = (0, 1, 2, 3, 4);
    let query: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";
    let framed = |query: &[u8]| [&u16::try_from(query.len()).unwrap().to_be_bytes(), query].concat();
    let (one, three) = (framed(query), framed(query).repeat(3));
    let mut answer = query.to_vec();
    answer[2] |= 0x80;
    let http: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
    let long = framed(&[query, &[0; 5000]].concat());
    let stray = udp("172.16.0.2", "192.0.2.53", b"to another port");
    vec![
        ("ok-datagrams", script(&[(datagram, 0, query), (datagram, 0, query)])),
        ("ok-stream", script(&[(stream, 255, &one), (stream, 255, &one), (end, 0, b"")])),
        ("ok-pieces", script(&[(stream, 1, &three), (end, 0, b""), (datagram, 0, query)])),
        ("ok-cut", script(&[(stream, 7, &one[..20]), (reset, 0, b""), (stream, 3, &one)])),
        ("ok-pipelined", script(&[(stream, 255, &one.repeat(40)), (end, 0, b"")])),
        ("ok-strays", script(&[(packet, 0, &stray), (packet, 0, &too_big()), (packet, 0, &[0x45; 30])])),
        ("bad-datagrams", script(&[(datagram, 0, b""), (datagram, 0, b"x"), (datagram, 0, &answer)])),
        ("ok-unfinished", script(&[(stream, 9, http), (stream, 255, &[0; 600])])),
        ("bad-stream", script(&[(stream, 9, &framed(http)), (stream, 255, &[0; 600])])),
        ("bad-long", script(&[(stream, 255, &long), (stream, 255, &one), (end, 0, b"")])),
    ]
}

pub(crate) fn wireguard() -> Seeds {
    let (to_client, to_gateway, client, gateway, bend, lose, again, wait) = (0, 1, 2, 3, 4, 5, 6, 7);
    let arrive = (8, 0, &b""[..]);
    let question = udp("172.16.0.2", "198.51.100.7", b"question");
    let answer = udp("198.51.100.7", "172.16.0.2", b"answer");
    let spoofed = udp("172.16.0.2", "172.16.0.2", b"from oneself");
    let foreign = udp("172.16.0.3", "198.51.100.7", b"from another device");
    let long = udp("172.16.0.2", "198.51.100.7", &[7; 1252]);
    let bend_all = |from: u8| (bend, from, &[0xff][..]);
    vec![
        ("ok-both-ways", script(&[(client, 0, &question), (gateway, 0, &answer), (client, 0, &long)])),
        (
            "ok-rekey",
            script(&[
                (client, 0, &question),
                arrive,
                (wait, 130, b""),
                (client, 0, &question),
                (client, 0, &long),
            ]),
        ),
        (
            "ok-late",
            script(&[
                (client, 0, &question),
                arrive,
                (wait, 200, b""),
                (gateway, 0, &answer),
                (client, 0, &question),
            ]),
        ),
        ("bad-too-late", script(&[(client, 0, &question), (wait, 200, b""), arrive, (client, 0, &question)])),
        (
            "bad-bent-initiation",
            script(&[bend_all(20), (client, 0, &question), (wait, 6, b""), (client, 0, &question)]),
        ),
        (
            "bad-bent-data",
            script(&[
                (client, 0, &question),
                (again, 0, b""),
                (gateway, 0, &answer),
                bend_all(3),
                (client, 0, &question),
                bend_all(30),
            ]),
        ),
        (
            "bad-replay",
            script(&[(client, 0, &question), (client, 0, &question), (again, 0, b""), (again, 0, b"")]),
        ),
        (
            "bad-lost",
            script(&[
                (lose, 0, b""),
                (wait, 5, b""),
                (client, 0, &question),
                (lose, 0, b""),
                (wait, 30, b""),
            ]),
        ),
        (
            "bad-sources",
            script(&[
                (client, 0, &foreign),
                (client, 0, &question),
                (gateway, 0, &spoofed),
                (gateway, 0, b"junk"),
            ]),
        ),
        (
            "bad-junk",
            script(&[
                (to_client, 0, &changed(vec![7; 148], 0, 1)),
                (to_gateway, 0, &[1, 0, 0, 0]),
                (
                    to_gateway,
                    0,
                    &[
                        4, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
                        9, 9, 9, 9,
                    ],
                ),
                (to_client, 0, b""),
                (to_client, 0, &[3; 64]),
            ]),
        ),
    ]
}
