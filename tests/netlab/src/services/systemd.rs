//! A stand-in of systemd on a host's message bus: it has systemd's name and restarts systemd-resolved when it is asked to.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail, ensure};

use super::{Bus, Resolved};

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

/// Answers until it is dropped.
#[derive(Debug)]
pub struct Systemd {
    stream: UnixStream,
    thread: Option<JoinHandle<()>>,
    restarts: Receiver<String>,
}

impl Bus {
    /// Takes systemd's name on the bus. After its answer to a call of `RestartUnit`, as systemd does its jobs, it
    /// restarts this resolved; to `TryRestartUnit`, where it is started.
    ///
    /// # Errors
    ///
    /// When the bus refuses.
    pub fn systemd(&self, resolved: Arc<Mutex<Resolved>>) -> Result<Systemd> {
        let mut stream = self.host.inside(|| UnixStream::connect(SOCKET))??;
        greet(&mut stream)?;
        call(&mut stream, 1, "Hello", &[])?;
        call(&mut stream, 2, "RequestName", &[string(NAME), number(0)])?;
        let (tell, restarts) = mpsc::channel();
        let theirs = stream.try_clone()?;
        let restart = move |only_if_started: bool| {
            let mut resolved = resolved.lock().unwrap_or_else(PoisonError::into_inner);
            if only_if_started && !resolved.is_started() { Ok(()) } else { resolved.restart() }
        };
        let thread = std::thread::spawn(move || {
            if let Err(error) = serve(theirs, restart, &tell) {
                // The end of the stream, too, is how it is stopped.
                eprintln!("the stand-in of systemd ends: {error:#}");
            }
        });
        Ok(Systemd { stream, thread: Some(thread), restarts })
    }
}

impl Systemd {
    /// The units that it was asked to restart, since this was last called.
    #[must_use]
    pub fn restarts(&self) -> Vec<String> {
        self.restarts.try_iter().collect()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
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
        line.extend(byte);
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
        header.extend([8, 1, b'g', 0, u8::try_from(signature.len()).unwrap_or(u8::MAX)]);
        header.extend_from_slice(&signature);
        header.push(0);
    }
    let mut bytes = vec![b'l', kind, 0, 1];
    let length = |bytes: &Vec<u8>| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    for number in [length(&content), serial, length(&header)] {
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

/// What has not been read yet of some bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).context("a message that is cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into()?))
    }

    /// A text with the byte of zero that ends it.
    fn text(&mut self) -> Result<String> {
        let length = self.number()? as usize;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }
}

fn read(stream: &mut UnixStream) -> Result<Incoming> {
    let mut start = [0; 16];
    stream.read_exact(&mut start)?;
    let mut head = Reader(&start);
    let kind = match head.take(4)? {
        [b'l', kind, ..] => *kind,
        other => bail!("a message of the other byte order: {other:?}"),
    };
    let (body, serial, length) = (head.number()?, head.number()?, head.number()? as usize);
    let mut fields = vec![0; length.next_multiple_of(8)];
    stream.read_exact(&mut fields)?;
    let mut incoming = Incoming { kind, serial, body: vec![0; body as usize], ..Incoming::default() };
    stream.read_exact(&mut incoming.body)?;
    let mut rest = Reader(&fields);
    while let Ok([code, 1, signature, 0]) = rest.take(4) {
        match signature {
            b'g' => {
                let length = rest.take(1)?.first().map_or(0, |length| usize::from(*length));
                rest.take(length + 1)?;
            }
            b'u' => {
                let value = rest.number()?;
                incoming.reply_to = (*code == REPLY_SERIAL).then_some(value).or(incoming.reply_to);
            }
            _ => {
                let text = rest.text()?;
                match *code {
                    MEMBER => incoming.member = text,
                    SENDER => incoming.sender = text,
                    _ => {}
                }
            }
        }
        let read = fields.len() - rest.0.len();
        rest.take(read.next_multiple_of(8) - read)?;
    }
    Ok(incoming)
}

fn serve(
    mut stream: UnixStream,
    mut restart: impl FnMut(bool) -> Result<()>,
    tell: &mpsc::Sender<String>,
) -> Result<()> {
    for serial in 3.. {
        let incoming = read(&mut stream)?;
        if incoming.kind != CALL {
            continue;
        }
        let mut fields =
            vec![(REPLY_SERIAL, number(incoming.serial)), (DESTINATION, string(&incoming.sender))];
        let only_if_started = incoming.member == "TryRestartUnit";
        if only_if_started || incoming.member == "RestartUnit" {
            let _ = tell.send(Reader(&incoming.body).text()?);
            let job = text(b'o', "/org/freedesktop/systemd1/job/1");
            stream.write_all(&message(REPLY, serial, &fields, &[job]))?;
            restart(only_if_started)?;
        } else {
            fields.push((ERROR_NAME, string("org.freedesktop.DBus.Error.UnknownMethod")));
            stream.write_all(&message(ERROR, serial, &fields, &[string("it is a stand-in")]))?;
        }
    }
    Ok(())
}
