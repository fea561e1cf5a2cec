//! A resolver whose answers are none.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::Result;
use netlab::Host;
use weft_e2e::dns::wire_name;

/// How many kinds of garbage there are.
pub(crate) const KINDS: usize = 15;
/// The kind that is a header and nothing else.
pub(crate) const BARE_HEADER: usize = 1;

/// Starts a server on UDP that answers a query for `gN...` with garbage of kind N, and anything else with an address. It
/// serves until the lab ends.
pub(crate) fn start(host: &Host, at: SocketAddr) -> Result<()> {
    let socket = host.inside(|| UdpSocket::bind(at))??;
    std::thread::spawn(move || {
        let mut room = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut room) {
            for answer in answers(&room[..length]) {
                let _gone = socket.send_to(&answer, client);
            }
        }
    });
    // What dnsdist asks of its servers by TCP is refused: nothing listens.
    socket_is_up(host, at)
}

fn socket_is_up(host: &Host, at: SocketAddr) -> Result<()> {
    let probe = host.inside(|| UdpSocket::bind((at.ip(), 0)))??;
    probe.set_read_timeout(Some(Duration::from_secs(5)))?;
    let query = [&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &wire_name("up.example"), &[0, 1, 0, 1]].concat();
    probe.send_to(&query, at)?;
    probe.recv(&mut [0; 512])?;
    Ok(())
}

/// The end of the question in a query.
fn question_end(query: &[u8]) -> usize {
    let mut at = 12;
    while query[at] != 0 {
        at += 1 + usize::from(query[at]);
    }
    at + 5
}

fn answers(query: &[u8]) -> Vec<Vec<u8>> {
    let end = question_end(query);
    let label = &query[13..13 + usize::from(query[12])];
    // The asker may have changed the case of letters.
    let label = String::from_utf8_lossy(label).to_lowercase();
    let number = label.strip_prefix('g').and_then(|number| number.parse().ok());
    let header = |counts: [u16; 3]| {
        let mut out = query[..2].to_vec();
        out.extend([0x81, 0x80, 0, 1]);
        out.extend(counts.into_iter().flat_map(u16::to_be_bytes));
        out.extend_from_slice(&query[12..end]);
        out
    };
    let record = |rest: &[u8]| [header([1, 0, 0]).as_slice(), rest].concat();
    let address = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\xc0\x00\x02\x07".as_slice();
    let answer = match number {
        None => record(address),
        // Nothing; a header alone; a record that is announced and is not there; more of them than there are.
        Some(0) => Vec::new(),
        Some(1) => header([0, 0, 0])[..12].to_vec(),
        Some(2) => record(b""),
        Some(3) => [header([65535, 65535, 65535]).as_slice(), address].concat(),
        // A record without its data, and one whose data ends early.
        Some(4) => record(&address[..12]),
        Some(5) => record(&address[..14]),
        // An address of three bytes.
        Some(6) => record(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x03\xc0\x00\x02"),
        // An owner that points to itself, forward, and beyond the end; a label of a reserved kind.
        Some(7) => record(&[&[0xc0, u8::try_from(end).unwrap()], &address[2..]].concat()),
        Some(8) => record(&[b"\xc0\xff", &address[2..]].concat()),
        Some(9) => record(&[b"\xff\xff", &address[2..]].concat()),
        Some(10) => record(&[b"\x80x\x00", &address[2..]].concat()),
        // An alias whose name is cut off, and one of itself.
        Some(11) => record(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x00\x00\x02\x3fa"),
        Some(12) => record(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x00\x00\x02\xc0\x0c"),
        // A hint that is cut off, in an HTTPS record; an OPT record whose option is.
        Some(13) => {
            record(b"\xc0\x0c\x00\x41\x00\x01\x00\x00\x00\x00\x00\x09\x00\x01\x00\x00\x04\x00\x08\x01\x02")
        }
        Some(_) => {
            let opt = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x04\x00\x03\x00\x63";
            [header([0, 0, 1]).as_slice(), opt].concat()
        }
    };
    vec![answer]
}
