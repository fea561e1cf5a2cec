//! A stand-in of systemd on a host's message bus: it has systemd's name and restarts one unit when it is asked to.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail, ensure};
use netlab::Host;

const SOCKET: &str = "/run/dbus/system_bus_socket";
const NAME: &str = "org.freedesktop.systemd1";
const BUS: &str = "org.freedesktop.DBus";
/// Kinds of messages, and codes of header fields (D-Bus specification, "Message Protocol").
const CALL: u8 = 1;
const REPLY: u8 = 2;
const ERROR: u8 = 3;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;

/// Runs until it is dropped.
pub(crate) struct Systemd {
    stream: UnixStream,
    thread: Option<JoinHandle<()>>,
    restarted: Receiver<String>,
}

impl Systemd {
    /// Takes systemd's name on the host's bus. `restart` is called, after the answer, for each unit that is to be
    /// restarted, as systemd does its jobs.
    pub(crate) fn start(host: &Host, restart: impl FnMut() -> Result<()> + Send + 'static) -> Result<Self> {
        let mut stream = host.inside(|| UnixStream::connect(SOCKET))??;
        greet(&mut stream)?;
        call(&mut stream, 1, "Hello", &[])?;
        call(&mut stream, 2, "RequestName", &[string(NAME), number(0)])?;
        let (tell, restarted) = mpsc::channel();
        let theirs = stream.try_clone()?;
        let thread = std::thread::spawn(move || {
            if let Err(error) = serve(theirs, restart, &tell) {
                // The end of the stream is how it is stopped.
                eprintln!("the stand-in of systemd ends: {error:#}");
            }
        });
        Ok(Self { stream, thread: Some(thread), restarted })
    }

    /// The units that were restarted so far.
    pub(crate) fn restarted(&self) -> Vec<String> {
        self.restarted.try_iter().collect()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Says who this is (D-Bus specification, "Auth Protocol").
fn greet(stream: &mut UnixStream) -> Result<()> {
    let user: String =
        rustix::process::geteuid().as_raw().to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
    stream.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    ensure!(line.starts_with(b"OK "), "{}", line.escape_ascii());
    Ok(stream.write_all(b"BEGIN\r\n")?)
}

/// A value as it stands in a message, and its type.
struct Value {
    signature: u8,
    bytes: Vec<u8>,
}

fn text(signature: u8, value: &str) -> Value {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes();
    Value { signature, bytes: [length.as_slice(), value.as_bytes(), &[0]].concat() }
}

fn string(value: &str) -> Value {
    text(b's', value)
}

fn number(value: u32) -> Value {
    Value { signature: b'u', bytes: value.to_le_bytes().to_vec() }
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

/// A message with these header fields; its body's values are all aligned to 4 bytes.
fn message(kind: u8, serial: u32, fields: &[(u8, Value)], body: &[Value]) -> Vec<u8> {
    let mut content = Vec::new();
    for value in body {
        pad(&mut content, 4);
        content.extend_from_slice(&value.bytes);
    }
    let signature: Vec<u8> = body.iter().map(|value| value.signature).collect();
    let mut header = Vec::new();
    for (code, value) in fields {
        pad(&mut header, 8);
        header.extend([*code, 1, value.signature, 0]);
        header.extend_from_slice(&value.bytes);
    }
    if !signature.is_empty() {
        pad(&mut header, 8);
        header.extend([8, 1, b'g', 0, signature.len() as u8]);
        header.extend_from_slice(&signature);
        header.push(0);
    }
    let mut bytes = vec![b'l', kind, 0, 1];
    for number in [content.len() as u32, serial, header.len() as u32] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend_from_slice(&header);
    pad(&mut bytes, 8);
    bytes.extend_from_slice(&content);
    bytes
}

/// Calls a method of the bus's own, and waits for its answer.
fn call(stream: &mut UnixStream, serial: u32, member: &str, body: &[Value]) -> Result<()> {
    let fields = [
        (1, text(b'o', "/org/freedesktop/DBus")),
        (2, string(BUS)),
        (MEMBER, string(member)),
        (DESTINATION, string(BUS)),
    ];
    stream.write_all(&message(CALL, serial, &fields, body))?;
    loop {
        let incoming = read(stream)?;
        match incoming.kind {
            REPLY if incoming.reply_to == Some(serial) => return Ok(()),
            ERROR => bail!("{member} is refused"),
            _ => {}
        }
    }
}

/// What matters of a message.
#[derive(Default)]
struct Incoming {
    kind: u8,
    serial: u32,
    reply_to: Option<u32>,
    member: String,
    sender: String,
    body: Vec<u8>,
}

fn read(stream: &mut UnixStream) -> Result<Incoming> {
    let mut start = [0; 16];
    stream.read_exact(&mut start)?;
    let word = |at: usize| u32::from_le_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]);
    ensure!(start[0] == b'l', "a message of the other byte order");
    let mut fields = vec![0; (word(12) as usize).next_multiple_of(8)];
    stream.read_exact(&mut fields)?;
    let mut incoming = Incoming { kind: start[1], serial: word(8), ..Incoming::default() };
    incoming.body = vec![0; word(4) as usize];
    stream.read_exact(&mut incoming.body)?;
    let mut at = 0;
    while at + 4 < word(12) as usize {
        let (code, signature) = (fields[at], fields[at + 2]);
        at += 4;
        if signature == b'g' {
            at += usize::from(fields[at]) + 2;
        } else {
            let value = u32::from_le_bytes(fields.get(at..at + 4).context("a field")?.try_into()?);
            at += 4;
            if signature == b'u' {
                incoming.reply_to = (code == REPLY_SERIAL).then_some(value).or(incoming.reply_to);
            } else {
                let text = fields.get(at..at + value as usize).context("a text")?;
                let text = String::from_utf8_lossy(text).into_owned();
                at += value as usize + 1;
                match code {
                    MEMBER => incoming.member = text,
                    SENDER => incoming.sender = text,
                    _ => {}
                }
            }
        }
        at = at.next_multiple_of(8);
    }
    Ok(incoming)
}

fn serve(
    mut stream: UnixStream,
    mut restart: impl FnMut() -> Result<()>,
    tell: &mpsc::Sender<String>,
) -> Result<()> {
    for serial in 3.. {
        let incoming = read(&mut stream)?;
        if incoming.kind != CALL {
            continue;
        }
        let mut fields =
            vec![(REPLY_SERIAL, number(incoming.serial)), (DESTINATION, string(&incoming.sender))];
        if incoming.member == "RestartUnit" {
            let job = text(b'o', "/org/freedesktop/systemd1/job/1");
            stream.write_all(&message(REPLY, serial, &fields, &[job]))?;
            restart()?;
            // The first argument is the unit.
            let length = incoming.body.first().map_or(0, |length| usize::from(*length));
            let unit = incoming.body.get(4..4 + length).context("a unit")?;
            let _ = tell.send(String::from_utf8_lossy(unit).into_owned());
        } else {
            fields.push((ERROR_NAME, string("org.freedesktop.DBus.Error.UnknownMethod")));
            stream.write_all(&message(ERROR, serial, &fields, &[string("it is a stand-in")]))?;
        }
    }
    Ok(())
}
