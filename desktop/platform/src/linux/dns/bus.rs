//! A connection to the system bus, for the few calls that DNS settings need. It blocks with a deadline, has neither a
//! thread nor an event loop, and is opened by the calling thread, so that it leads to the bus of whatever mount
//! namespace that thread is in.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::RecvFlags;
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
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Why a call had no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    /// The bus is not there, or went away.
    #[error("the message bus does not answer: {0}")]
    Io(#[from] io::Error),
    /// It answers what makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Whoever was asked refused.
    #[error("{service} refuses {member}: {text} ({name})")]
    Refused { service: String, member: String, name: String, text: String },
}

impl BusError {
    /// Whether whoever was asked does not run.
    pub(super) fn is_absent(&self) -> bool {
        match self {
            Self::Io(_) => true,
            Self::Malformed(_) => false,
            Self::Refused { name, .. } => {
                let absent = ["ServiceUnknown", "NameHasNoOwner", "Disconnected", "NoReply"];
                absent.iter().any(|end| name.strip_prefix("org.freedesktop.DBus.Error.") == Some(end))
            }
        }
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
}

impl Bus {
    /// Connects to the system bus.
    pub(super) fn system() -> Result<Self, BusError> {
        let stream = UnixStream::connect(SOCKET)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        let mut bus = Self { stream, serial: 0 };
        bus.greet()?;
        bus.call::<_, (String,)>(DRIVER, "Hello", &())?;
        Ok(bus)
    }

    /// Says who this is (D-Bus specification, "Auth Protocol"); the bus asks the kernel whether it is true.
    fn greet(&mut self) -> Result<(), BusError> {
        let mut user = String::new();
        for digit in rustix::process::geteuid().as_raw().to_string().bytes() {
            let _ = write!(user, "{digit:02x}");
        }
        self.stream.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.extend_from_slice(&byte);
            if line.len() > MAX_LINE {
                return Err(io::Error::other("its greeting does not end").into());
            }
        }
        if !line.starts_with(b"OK ") {
            return Err(io::Error::other("it does not let weftd in").into());
        }
        Ok(self.stream.write_all(b"BEGIN\r\n")?)
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
        self.serial = self.serial.wrapping_add(1).max(1);
        let serial = self.serial;
        self.stream.write_all(&message::call(serial, object, member, body)?)?;
        let until = Instant::now() + ANSWER_WITHIN;
        while Instant::now() < until {
            match self.receive()? {
                Incoming::Reply { to, body } if to == serial => return Ok(body),
                Incoming::Failure { to, name, text } if to == serial => {
                    let (service, member) = (object.service.to_owned(), member.to_owned());
                    return Err(BusError::Refused { service, member, name, text });
                }
                _ => {}
            }
        }
        Err(io::Error::from(io::ErrorKind::TimedOut).into())
    }

    fn receive(&mut self) -> Result<Incoming, BusError> {
        let mut start = [0; FIXED];
        self.stream.read_exact(&mut start)?;
        let mut bytes = vec![0; message::length(&start)?];
        let (head, rest) = bytes.split_at_mut(FIXED);
        head.copy_from_slice(&start);
        self.stream.read_exact(rest)?;
        Ok(message::read(&bytes)?)
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

impl AsFd for Bus {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
