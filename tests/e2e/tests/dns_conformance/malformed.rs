//! Messages that are no query: what another server says to them, Weft says.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use weft_e2e::dns::{DOH, ask_udp, wire_name};

use crate::{PROXY, World};

/// How long silence has to last to be an answer. On a quiet machine both answer within a millisecond.
const SILENCE: Duration = Duration::from_millis(700);
const FORMERR: u8 = 1;
const NOTIMP: u8 = 4;
const REFUSED: u8 = 5;

struct Malformed {
    about: &'static str,
    bytes: Vec<u8>,
}

fn message(flags: u16, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
    let head = [0x4242, flags].into_iter().chain(counts).flat_map(u16::to_be_bytes);
    head.chain(rest.iter().copied()).collect()
}

fn cases() -> Vec<Malformed> {
    let question = [wire_name("a.nsec.example"), vec![0, 1, 0, 1]].concat();
    let kind = [0, 1, 0, 1].as_slice();
    let opt = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00".as_slice();
    let asking = |counts, rest: &[u8]| message(0x0100, counts, rest);
    let of = |about, bytes| Malformed { about, bytes };
    vec![
        of("half a header", asking([1, 0, 0, 0], &question)[..7].to_vec()),
        of("no question", asking([0, 0, 0, 0], b"")),
        of("a question that is not there", asking([1, 0, 0, 0], b"")),
        of("a question that is cut off", asking([1, 0, 0, 0], &question[..question.len() - 1])),
        of("two questions", asking([2, 0, 0, 0], &[question.clone(), question.clone()].concat())),
        of("a label beyond the end", asking([1, 0, 0, 0], b"\x3fabc")),
        of("a label of a reserved kind", asking([1, 0, 0, 0], &[b"\x43abc\x00", kind].concat())),
        of("a pointer to itself", asking([1, 0, 0, 0], &[b"\xc0\x0c", kind].concat())),
        of("a pointer forward", asking([1, 0, 0, 0], &[b"\xc0\x20", kind].concat())),
        of("a name of 257 bytes", {
            let label = [b"\x3f".as_slice(), &[b'a'; 63]].concat();
            asking([1, 0, 0, 0], &[label.repeat(4).as_slice(), b"\0", kind].concat())
        }),
        of("an answer", message(0x8180, [1, 0, 0, 0], &question)),
        of("a notification", message(0x2000, [1, 0, 0, 0], &question)),
        of("an update", message(0x2800, [1, 0, 0, 0], &question)),
        of("an opcode that nobody has", message(0x7800, [1, 0, 0, 0], &question)),
        of("a record that is not there", asking([1, 0, 0, 1], &question)),
        of("two OPT records", asking([1, 0, 0, 2], &[&question, opt, opt].concat())),
        of("an OPT record with a name", {
            asking([1, 0, 0, 1], &[&question, b"\x01x".as_slice(), opt].concat())
        }),
        of("an option beyond its record", {
            let opt = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x04\x00\x03\x00\x09";
            asking([1, 0, 0, 1], &[question.as_slice(), opt].concat())
        }),
    ]
}

/// The response code of the answer, or None for silence.
fn code(answer: Option<Vec<u8>>) -> Option<u8> {
    answer.and_then(|answer| answer.get(3).map(|flags| flags & 0xf))
}

/// What one answers, the other answers; what one refuses, the other refuses. By which code (FORMERR, NOTIMP, REFUSED) or
/// by silence is each server's own choice.
pub(crate) fn compare(world: &World) -> Result<()> {
    let mut wrong = Vec::new();
    for case in cases() {
        let direct = code(ask_udp(&world.doh.host, SocketAddr::new(DOH.into(), 53), &case.bytes, SILENCE)?);
        let through = code(ask_udp(world.setup.device.host(), PROXY, &case.bytes, SILENCE)?);
        let refused = |code: Option<u8>| matches!(code, None | Some(FORMERR | NOTIMP | REFUSED));
        if !(through == direct || refused(through) && refused(direct)) {
            wrong.push(format!("{}: unbound {direct:?}, Weft {through:?}", case.about));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
