//! A connection to the system bus, for the few calls that DNS settings need. It blocks with a deadline, has neither a
//! thread nor an event loop, and is opened by the calling thread, so that it leads to the bus of whatever mount
//! namespace that thread is in.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde::{Deserialize, Serialize};
use zbus::{Type, as_variant};

use super::message::{self, Body, FIXED, Incoming, Malformed, Object};

/// Where the system bus listens.
pub(super) const FOLDER: &str = "/run/dbus";
pub(super) const SOCKET: &str = "/run/dbus/system_bus_socket";

/// How long one answer may take. Who answers later than this cannot be worked with.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The longest line of the greeting, in bytes.
const MAX_LINE: usize = 512;

const DRIVER: Object<'static> = Object {
    service: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};
/// The bus's own word for whoever takes too long, or ends instead of answering.
const NO_REPLY: &str = "org.freedesktop.DBus.Error.NoReply";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Why a call had no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    /// There is no bus.
    #[error("there is no message bus: {0}")]
    NoBus(io::Error),
    /// The bus went away, or cannot be worked with.
    #[error("the message bus does not answer: {0}")]
    Io(#[from] io::Error),
    /// Whoever was asked takes longer than may be waited for.
    #[error("no answer from {service} in {} s", .within.as_secs_f32())]
    Silent { service: String, within: Duration },
    /// It answers what makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Whoever was asked refused.
    #[error("{service} refuses {member}: {text} ({name})")]
    Refused { service: String, member: String, name: String, text: String },
}

impl BusError {
    /// Whether whoever was asked does not run. Who runs and does not answer is not absent.
    pub(super) fn is_absent(&self) -> bool {
        match self {
            Self::NoBus(_) => true,
            Self::Io(_) | Self::Silent { .. } | Self::Malformed(_) => false,
            Self::Refused { name, .. } => {
                let absent = ["ServiceUnknown", "NameHasNoOwner"];
                absent.iter().any(|end| name.strip_prefix("org.freedesktop.DBus.Error.") == Some(end))
            }
        }
    }

    /// Whether it stays open what the answer is: somebody runs, and does not say.
    fn is_silence(&self) -> bool {
        match self {
            Self::Io(_) | Self::Silent { .. } => true,
            Self::NoBus(_) | Self::Malformed(_) => false,
            Self::Refused { name, .. } => name == NO_REPLY,
        }
    }
}

/// The answer, or its default where whoever was asked has none.
///
/// # Errors
/// Whoever was asked says nothing: what is there cannot be told then.
pub(super) fn or_default<T: Default>(answer: Result<T, BusError>) -> Result<T, BusError> {
    match answer {
        Err(error) if !error.is_silence() => Ok(T::default()),
        answer => answer,
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// How long one answer may take.
    within: Duration,
    /// An answer was waited for in vain or read in part: what comes now cannot be told apart, and would be waited for
    /// as long again.
    is_broken: bool,
}

impl Bus {
    /// Connects to the system bus.
    pub(super) fn system() -> Result<Self, BusError> {
        Self::connect(Path::new(SOCKET), ANSWER_WITHIN)
    }

    fn connect(path: &Path, within: Duration) -> Result<Self, BusError> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = socket.map_err(io::Error::from)?;
        // Before it is connected: a bus that takes no more connections lets others wait.
        for which in [Timeout::Send, Timeout::Recv] {
            set_socket_timeout(&socket, which, Some(within)).map_err(io::Error::from)?;
        }
        let address = SocketAddrUnix::new(path).map_err(io::Error::from)?;
        connect(&socket, &address).map_err(|errno| match errno {
            Errno::NOENT | Errno::CONNREFUSED => BusError::NoBus(errno.into()),
            _ => failed(errno.into(), DRIVER.service, within),
        })?;
        let mut bus = Self { stream: UnixStream::from(socket), serial: 0, within, is_broken: false };
        bus.greet().map_err(|error| failed(error, DRIVER.service, within))?;
        bus.call::<_, (String,)>(DRIVER, "Hello", &())?;
        Ok(bus)
    }

    /// A connection that has been greeted, for tests.
    #[cfg(test)]
    pub(super) fn over(stream: UnixStream) -> Self {
        Self { stream, serial: 0, within: ANSWER_WITHIN, is_broken: false }
    }

    /// Says who this is (D-Bus specification, "Auth Protocol"); the bus asks the kernel whether it is true.
    fn greet(&mut self) -> io::Result<()> {
        let until = Instant::now() + self.within;
        let mut user = String::new();
        for digit in rustix::process::geteuid().as_raw().to_string().bytes() {
            let _ = write!(user, "{digit:02x}");
        }
        self.stream.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.read_by(until, &mut byte)?;
            line.extend_from_slice(&byte);
            if line.len() > MAX_LINE {
                return Err(io::Error::other("its greeting does not end"));
            }
        }
        if !line.starts_with(b"OK ") {
            return Err(io::Error::other("it does not let weftd in"));
        }
        self.stream.write_all(b"BEGIN\r\n")
    }

    /// Fills the buffer; what is not there by then is a time-out.
    fn read_by(&mut self, until: Instant, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => buffer = buffer.get_mut(read..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Calls a method and waits for what it returns.
    pub(super) fn call<B, R>(&mut self, object: Object<'_>, member: &str, body: &B) -> Result<R, BusError>
    where
        B: Serialize + Type,
        R: for<'d> Deserialize<'d> + Type,
    {
        Ok(self.exchange(object, member, body)?.read()?)
    }

    fn exchange<B>(&mut self, object: Object<'_>, member: &str, body: &B) -> Result<Body, BusError>
    where
        B: Serialize + Type,
    {
        if self.is_broken {
            return Err(io::Error::other("an earlier question had no answer").into());
        }
        let answer = self.ask(object, member, body);
        self.is_broken = !matches!(answer, Ok(_) | Err(BusError::Refused { .. }));
        answer
    }

    fn ask<B>(&mut self, object: Object<'_>, member: &str, body: &B) -> Result<Body, BusError>
    where
        B: Serialize + Type,
    {
        self.serial = self.serial.wrapping_add(1).max(1);
        let serial = self.serial;
        let call = message::call(serial, object, member, body)?;
        let within = self.within;
        let failed = |error| failed(error, object.service, within);
        let until = Instant::now() + within;
        self.stream.write_all(&call).map_err(failed)?;
        loop {
            let bytes = self.receive(until)?.map_err(failed)?;
            match message::read(&bytes)? {
                Incoming::Reply { to, body } if to == serial => return Ok(body),
                Incoming::Failure { to, name, text } if to == serial => {
                    let (service, member) = (object.service.to_owned(), member.to_owned());
                    return Err(BusError::Refused { service, member, name, text });
                }
                _ => {}
            }
        }
    }

    /// A whole message.
    fn receive(&mut self, until: Instant) -> Result<io::Result<Vec<u8>>, Malformed> {
        let mut start = [0; FIXED];
        if let Err(error) = self.read_by(until, &mut start) {
            return Ok(Err(error));
        }
        let mut bytes = vec![0; message::length(&start)?];
        let (head, rest) = bytes.split_at_mut(FIXED);
        head.copy_from_slice(&start);
        Ok(self.read_by(until, rest).map(|()| bytes))
    }

    /// The value of a property.
    pub(super) fn property<T>(&mut self, object: Object<'_>, name: &str) -> Result<T, BusError>
    where
        T: for<'d> Deserialize<'d> + Type,
    {
        let properties = Object { interface: PROPERTIES, ..object };
        Ok(self.exchange(properties, "Get", &(object.interface, name))?.read_variant()?)
    }

    /// Sets a property.
    pub(super) fn set_property<T>(
        &mut self,
        object: Object<'_>,
        name: &str,
        value: &T,
    ) -> Result<(), BusError>
    where
        T: Serialize + Type,
    {
        let properties = Object { interface: PROPERTIES, ..object };
        self.call(properties, "Set", &(object.interface, name, as_variant::Serialize(value)))
    }

    /// Whether a program has this name.
    pub(super) fn has_owner(&mut self, name: &str) -> Result<bool, BusError> {
        self.call(DRIVER, "NameHasOwner", &(name,)).map(|(owned,): (bool,)| owned)
    }

    /// The process that has this name.
    pub(super) fn process_of(&mut self, name: &str) -> Result<u32, BusError> {
        self.call(DRIVER, "GetConnectionUnixProcessID", &(name,)).map(|(process,): (u32,)| process)
    }

    /// Asks for the signals that a rule describes.
    pub(super) fn subscribe(&mut self, rule: &str) -> Result<(), BusError> {
        self.call(DRIVER, "AddMatch", &(rule,))
    }

    /// Reads what has come, without waiting. What it says matters not. False: the bus is gone.
    pub(super) fn drain(&self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match rustix::net::recv(&self.stream, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return false,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
    }
}

fn failed(error: io::Error, service: &str, within: Duration) -> BusError {
    match error.kind() {
        // A socket's own time-out is one of these.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            BusError::Silent { service: service.to_owned(), within }
        }
        _ => BusError::Io(error),
    }
}

impl AsFd for Bus {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::thread;

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);
    /// An answer of these tests' own.
    const LONG: Duration = Duration::from_secs(30);

    fn socket(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("weft-bus-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn a_bus_that_is_not_there_is_absent() {
        let path = socket("absent");
        assert!(Bus::connect(&path, LONG).unwrap_err().is_absent());
        drop(UnixListener::bind(&path).unwrap());
        assert!(Bus::connect(&path, LONG).unwrap_err().is_absent());
        let _ = std::fs::remove_file(&path);
    }

    #[test]
    fn a_bus_that_says_nothing_is_not_absent() {
        let path = socket("silent");
        let listener = UnixListener::bind(&path).unwrap();
        let error = Bus::connect(&path, SHORT).unwrap_err();
        assert_eq!(error.to_string(), "no answer from org.freedesktop.DBus in 0.1 s");
        assert!(!error.is_absent() && or_default::<bool>(Err(error)).is_err());
        // Nor is one that takes no more connections.
        rustix::net::listen(&listener, 0).unwrap();
        let waiting: Vec<_> = (0..2).map_while(|_| Bus::connect(&path, SHORT).err()).collect();
        assert!(waiting.iter().all(|error| matches!(error, BusError::Silent { .. })), "{waiting:?}");
        std::fs::remove_file(&path).unwrap();
    }

    /// The far end of a connection that has said `said`, which stays open until this is dropped.
    fn bus_that_says(said: &[u8]) -> (Bus, UnixStream) {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(said).unwrap();
        (Bus { stream: near, serial: 0, within: SHORT, is_broken: false }, far)
    }

    #[test]
    fn after_an_answer_in_part_nothing_is_asked_any_more() {
        let (mut bus, mut far) = bus_that_says(b"l\x02\x01\x01");
        let error = bus.has_owner("a.b").unwrap_err();
        assert!(matches!(error, BusError::Silent { .. }), "{error}");
        far.set_read_timeout(Some(LONG)).unwrap();
        let mut asked = [0; 1024];
        assert!(far.read(&mut asked).unwrap() > 0);
        let error = bus.has_owner("a.b").unwrap_err();
        assert!(!error.is_absent() && error.to_string().contains("an earlier question"), "{error}");
        far.set_nonblocking(true).unwrap();
        assert_eq!(far.read(&mut asked).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    /// Other messages that go on coming do not put the end of the time off.
    #[test]
    fn messages_for_nobody_do_not_keep_a_question_waiting() {
        let (mut bus, mut far) = bus_that_says(b"");
        let talk = thread::spawn(move || {
            let signal = b"l\x04\x01\x01\0\0\0\0\x01\0\0\0\0\0\0\0";
            while far.write_all(signal).is_ok() {}
        });
        let error = bus.has_owner("a.b").unwrap_err();
        assert!(matches!(error, BusError::Silent { .. }), "{error}");
        drop(bus);
        talk.join().unwrap();
    }

    #[test]
    fn only_who_does_not_run_is_absent() {
        let refused = |name: &str| BusError::Refused {
            service: String::new(),
            member: String::new(),
            name: format!("org.freedesktop.DBus.Error.{name}"),
            text: String::new(),
        };
        // The error, whether it means absence, whether it leaves open what is there.
        let table = [
            (refused("ServiceUnknown"), true, false),
            (refused("NameHasNoOwner"), true, false),
            (refused("NoReply"), false, true),
            (refused("AccessDenied"), false, false),
            (refused("UnknownProperty"), false, false),
            (BusError::NoBus(io::ErrorKind::NotFound.into()), true, false),
            (BusError::Io(io::ErrorKind::BrokenPipe.into()), false, true),
            (failed(io::ErrorKind::WouldBlock.into(), "a.b", LONG), false, true),
            (failed(io::ErrorKind::TimedOut.into(), "a.b", LONG), false, true),
        ];
        for (error, absent, silence) in table {
            assert_eq!((error.is_absent(), error.is_silence()), (absent, silence), "{error}");
        }
    }
}
