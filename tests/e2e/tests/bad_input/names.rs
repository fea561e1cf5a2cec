//! DNS messages that are none: refused and counted, and the next name is answered.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};

use anyhow::{Context, Result, ensure};
use netlab::Host;
use netlab::topology::WEB;
use serde_json::Value;
use weft_e2e::{PATIENCE, Setup};

use crate::{Standing, assert_carries};

const PROXY: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 2, 2), 53);
const FORMERR: u8 = 1;
const NOTIMP: u8 = 4;

/// "web.example." A IN
const QUESTION: &[u8] = b"\x03web\x07example\x00\x00\x01\x00\x01";

fn message(flags: u16, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
    let head = [0x4242, flags].into_iter().chain(counts).flat_map(u16::to_be_bytes);
    head.chain(rest.iter().copied()).collect()
}

fn query() -> Vec<u8> {
    message(0x0100, [1, 0, 0, 0], QUESTION)
}

/// Messages that are no query, 15 ways.
fn malformed() -> Vec<Vec<u8>> {
    let asking = |question: &[u8]| message(0x0100, [1, 0, 0, 0], question);
    let kind = b"\x00\x01\x00\x01".as_slice();
    let long_label = [b"\x3f".as_slice(), &[b'a'; 63]].concat();
    vec![
        vec![0],
        query()[..11].to_vec(),
        message(0x0100, [0, 0, 0, 0], b""),
        asking(b""),
        asking(&QUESTION[..QUESTION.len() - 1]),
        message(0x0100, [2, 0, 0, 0], QUESTION),
        message(0x0100, [2, 0, 0, 0], &[QUESTION, QUESTION].concat()),
        // A label beyond the end, of a reserved kind, and a pointer to itself.
        asking(b"\x3fweb"),
        asking(&[b"\x43web\x00".as_slice(), kind].concat()),
        asking(&[b"\xc0\x0c".as_slice(), kind].concat()),
        // A name of 257 bytes.
        asking(&[long_label.repeat(4).as_slice(), b"\x00", kind].concat()),
        // An answer, and an UPDATE.
        message(0x8180, [1, 0, 0, 0], QUESTION),
        message(0x2800, [1, 0, 0, 0], QUESTION),
        // A record that is announced and is not there, and an OPT whose data is cut off.
        message(0x0100, [1, 0, 0, 1], QUESTION),
        message(0x0100, [1, 0, 0, 1], &[QUESTION, b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x09x"].concat()),
    ]
}

fn refused(setup: &Setup) -> Result<u64> {
    let stats: Value = serde_json::from_str(&setup.device.weft(&["dns", "stats", "--json"])?)?;
    stats["refused"].as_u64().context("no counter")
}

/// An answer to what was malformed says so and nothing else.
fn assert_error(answer: &[u8]) {
    let flags = answer.get(2..4).unwrap_or_else(|| panic!("no message: {answer:02x?}"));
    let (is_answer, code) = (flags[0] & 0x80 != 0, flags[1] & 0xf);
    assert!(is_answer && [FORMERR, NOTIMP].contains(&code), "{answer:02x?}");
}

/// An answer to a query: its address is in it.
fn is_found(answer: &[u8]) -> bool {
    answer.windows(4).any(|bytes| bytes == WEB.octets())
}

/// Sends messages and then a query, and gives what came before the query's answer.
fn by_udp(host: &Host, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    let socket = host.inside(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))??;
    socket.set_read_timeout(Some(PATIENCE))?;
    for message in messages {
        socket.send_to(message, PROXY)?;
    }
    socket.send_to(&query(), PROXY)?;
    let (mut answers, mut room) = (Vec::new(), [0; 4096]);
    loop {
        let length = socket.recv(&mut room).context("the query is not answered")?;
        if is_found(&room[..length]) {
            return Ok(answers);
        }
        answers.push(room[..length].to_vec());
    }
}

/// Sends bytes on a connection of their own and gives the messages that come back until its end.
fn by_tcp(host: &Host, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut stream = host.inside(|| TcpStream::connect(PROXY))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    // The proxy may have heard enough before all is sent; what it did not read makes its end a reset.
    let _refused = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => {
            return Err(error).context("the connection does not end");
        }
        _ => {}
    }
    let (mut rest, mut messages) = (said.as_slice(), Vec::new());
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let body = behind.split_at_checked(u16::from_be_bytes(*length).into());
        let (body, behind) = body.context("half a message came back")?;
        messages.push(body.to_vec());
        rest = behind;
    }
    Ok(messages)
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

fn assert_names_go_on(setup: &Setup) -> Result<()> {
    let said = setup.device.host().run(["dig", "+short", "+tries=1", "web.example", "A"])?.stdout;
    ensure!(said.trim() == WEB.to_string(), "{said}");
    assert_carries(setup)
}

#[test]
fn malformed_datagrams_are_refused_and_counted() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, "{}")?;
        let (standing, before) = (Standing::of(&setup.device)?, refused(&setup)?);
        let mut messages = malformed();
        // Nothing at all, and more than any query has.
        messages.extend([Vec::new(), vec![0; 5000]]);
        let answers = by_udp(setup.device.host(), &messages)?;
        assert!(!answers.is_empty() && answers.len() <= messages.len(), "{answers:02x?}");
        answers.iter().for_each(|answer| assert_error(answer));
        assert_eq!(refused(&setup)? - before, u64::try_from(messages.len())?);
        assert_eq!(Standing::of(&setup.device)?, standing);
        assert_names_go_on(&setup)
    });
}

#[test]
fn malformed_messages_on_connections_are_refused_and_counted() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, "{}")?;
        let (standing, before) = (Standing::of(&setup.device)?, refused(&setup)?);
        for message in malformed() {
            for answer in by_tcp(setup.device.host(), &framed(&message))? {
                assert_error(&answer);
            }
        }
        assert_eq!(refused(&setup)? - before, u64::try_from(malformed().len())?);
        // No message at all, half a length, half a message, and a length that no query has.
        for bytes in [&[][..], &[0], &framed(&query())[..9], &[0xff; 600]] {
            assert_eq!(by_tcp(setup.device.host(), bytes)?, [[0_u8; 0]; 0], "{bytes:02x?}");
        }
        let whole = by_tcp(setup.device.host(), &framed(&query()))?;
        assert!(whole.len() == 1 && is_found(&whole[0]), "{whole:02x?}");
        assert_eq!(Standing::of(&setup.device)?, standing);
        assert_names_go_on(&setup)
    });
}
