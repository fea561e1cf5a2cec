//! What servers say to a client that has asked, frame by frame (RFC 9113).

use crate::Seeds;
use crate::messages::step;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Status 200 and the type of a DNS message, kept in the table.
fn head() -> Vec<u8> {
    [&[0x88, 0x5f, 23][..], b"application/dns-message"].concat()
}

fn ask() -> Vec<u8> {
    step(0, 8, &[])
}

fn script(asked: usize, frames: &[Vec<u8>]) -> Vec<u8> {
    let asking: Vec<u8> = (0..asked).flat_map(|_| ask()).collect();
    [asking, step(3, 0, &frames.concat()), step(2, 255, &[])].concat()
}

pub(crate) fn seeds() -> Seeds {
    let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100, 0, 4, 0, 1, 0, 0]);
    let answer = |stream| frame(DATA, 1, stream, b"answer");
    let few = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 7]);
    let two = [
        settings.clone(),
        frame(HEADERS, 4, 1, &head()),
        frame(HEADERS, 4, 3, &[0x88, 0xbe]),
        answer(3),
        answer(1),
    ];
    let cut = [
        settings.clone(),
        frame(HEADERS, 0, 1, &head()[..5]),
        frame(CONTINUATION, 4, 1, &head()[5..]),
        frame(DATA, 8, 1, b"\x03first\0\0\0"),
        answer(1),
    ];
    let trailers = [
        settings.clone(),
        frame(HEADERS, 0x24, 1, &[&[0, 0, 0, 0, 16][..], &[0x48, 3], b"103"].concat()),
        frame(HEADERS, 4, 1, &head()),
        frame(DATA, 0, 1, b"answer"),
        frame(HEADERS, 5, 1, b"\x00\x01a\x01b"),
    ];
    let windows = [
        settings.clone(),
        few.clone(),
        frame(WINDOW_UPDATE, 0, 1, &[0, 0, 1, 0]),
        frame(PING, 0, 0, b"12345678"),
        frame(SETTINGS, 1, 0, &[]),
        frame(HEADERS, 4, 1, &head()),
        answer(1),
    ];
    let goodbye = [
        settings.clone(),
        frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]),
        frame(HEADERS, 4, 1, &head()),
        answer(1),
    ];
    vec![
        ("ok-two", script(2, &two)),
        ("ok-cut-and-padded", script(1, &cut)),
        ("ok-early-hints-and-trailers", script(1, &trailers)),
        ("ok-windows", script(1, &windows)),
        ("ok-goodbye", script(1, &goodbye)),
        (
            "ok-given-up",
            [
                ask(),
                step(1, 0, &[]),
                step(3, 0, &[settings.clone(), frame(HEADERS, 4, 1, &head()), answer(1)].concat()),
            ]
            .concat(),
        ),
        ("bad-refused", script(1, &[settings.clone(), frame(RST_STREAM, 0, 1, &[0, 0, 0, 7])])),
        ("bad-status", script(1, &[settings.clone(), frame(HEADERS, 4, 1, &[0x8e])])),
        ("bad-no-settings", script(1, &[frame(HEADERS, 4, 1, &head())])),
        ("bad-table", script(1, &[settings.clone(), frame(HEADERS, 4, 1, &[0x88, 0xbf])])),
        ("bad-window", script(1, &[settings.clone(), frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])])),
        ("bad-stream", script(1, &[settings.clone(), answer(7)])),
        ("bad-push", script(1, &[settings, frame(5, 4, 1, &[0, 0, 0, 2])])),
        ("bad-garbage", script(1, &[vec![0x55; 64]])),
    ]
}
