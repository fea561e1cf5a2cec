//! Netlink (RFC 3549), one request after another: dumps, and lists of changes with the kernel's own words on refusal.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlaBuffer, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;

/// Changes are sent in pieces of about this many bytes, so that the kernel's answers find room.
const PIECE: usize = 32 * 1024;
/// `nlmsghdr::nlmsg_flags` of a dump during which what is dumped was changed.
const DUMP_INTERRUPTED: u16 = 0x10;
/// `nlmsghdr::nlmsg_flags` of an error that comes with the kernel's own words.
const ERROR_HAS_ATTRIBUTES: u16 = 0x200;
/// The attribute with these words.
const ERROR_ATTRIBUTE_TEXT: u16 = 1;
/// How often a dump is begun again.
const DUMP_ATTEMPTS: usize = 8;

/// What the kernel said to a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NetlinkError {
    /// It refused.
    #[error("{}{}", io::Error::from(*errno), text.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// Its error number.
        errno: Errno,
        /// Its words, where it has any.
        text: Option<String>,
    },
    /// It could not be asked, or its answer makes no sense.
    #[error("netlink: {0}")]
    Broken(String),
}

impl NetlinkError {
    /// The kernel's error number, where it gave one.
    pub(super) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::Broken(_) => None,
        }
    }
}

impl From<NetlinkError> for io::Error {
    fn from(error: NetlinkError) -> Self {
        let kind = error.errno().map_or(io::ErrorKind::Other, |errno| Self::from(errno).kind());
        Self::new(kind, error)
    }
}

impl From<io::Error> for NetlinkError {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => Self::Refused { errno, text: None },
            None => Self::Broken(error.to_string()),
        }
    }
}

/// One change that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change<M> {
    /// The message.
    pub(super) message: M,
    /// `NLM_F_CREATE` and the like.
    pub(super) flags: u16,
}

/// A netlink socket of one protocol.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket of the protocol (`NETLINK_ROUTE`, `NETLINK_NETFILTER`).
    pub(super) fn open(protocol: isize) -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Only for better words in errors; kernels before 4.12 have none.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        Ok(Self { socket, sequence: 0 })
    }

    /// Opens a socket for links, addresses, routes and rules.
    pub(super) fn route() -> Result<Self, NetlinkError> {
        Self::open(netlink_sys::protocols::NETLINK_ROUTE)
    }

    /// Asks for everything of a kind. What this code cannot read is left out.
    pub(super) fn dump<M>(&mut self, message: M) -> Result<Vec<M>, NetlinkError>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(found) = self.dump_once(message.clone())? {
                return Ok(found);
            }
        }
        Err(NetlinkError::Broken("the system changes faster than it can be read".to_owned()))
    }

    /// As [`Self::dump`], but the kernel leaves out what differs from the request's own values, where it can (since 4.20).
    pub(super) fn dump_filtered<M>(&mut self, message: M) -> Result<Vec<M>, NetlinkError>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        let filters = self.socket.set_netlink_get_strict_chk(true).is_ok();
        let found = self.dump(message);
        if filters {
            self.socket.set_netlink_get_strict_chk(false)?;
        }
        found
    }

    /// As [`Self::dump`]; none where something was changed meanwhile.
    fn dump_once<M>(&mut self, message: M) -> Result<Option<Vec<M>>, NetlinkError>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut bytes = Vec::new();
        let sequence = self.append(&mut bytes, message, NLM_F_DUMP);
        self.socket.send(&bytes, 0)?;
        let (mut found, mut whole) = (Vec::new(), true);
        loop {
            let mut done = false;
            self.receive(|header, payload| {
                if header.sequence_number != sequence {
                    return Ok(());
                }
                whole &= header.flags & DUMP_INTERRUPTED == 0;
                match header.message_type {
                    NLMSG_DONE => {
                        done = true;
                        refusal(header, payload)
                    }
                    NLMSG_ERROR => refusal(header, payload),
                    _ => {
                        match M::deserialize(header, payload) {
                            Ok(object) => found.push(object),
                            Err(error) => tracing::debug!("netlink: an object was left out: {error}"),
                        }
                        Ok(())
                    }
                }
            })?;
            if done {
                return Ok(whole.then_some(found));
            }
        }
    }

    /// Asks for one object; none where there is no such thing.
    pub(super) fn get<M>(&mut self, message: M) -> Result<Option<M>, NetlinkError>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut bytes = Vec::new();
        let sequence = self.append(&mut bytes, message, NLM_F_ACK);
        self.socket.send(&bytes, 0)?;
        let mut found = None;
        loop {
            let mut done = false;
            let result = self.receive(|header, payload| {
                if header.sequence_number != sequence {
                    return Ok(());
                }
                if header.message_type == NLMSG_ERROR {
                    done = true;
                    return refusal(header, payload);
                }
                found = Some(
                    M::deserialize(header, payload)
                        .map_err(|error| NetlinkError::Broken(error.to_string()))?,
                );
                Ok(())
            });
            match result {
                Err(error) if matches!(error.errno(), Some(Errno::NODEV | Errno::NOENT)) => return Ok(None),
                Err(error) => return Err(error),
                Ok(()) if done => return Ok(found),
                Ok(()) => {}
            }
        }
    }

    /// Carries out the changes in order, and stops soon after the first that the kernel refuses: of those behind it in
    /// the same piece some may be carried out. The error comes with the refused change's index.
    pub(super) fn change<M: NetlinkSerializable>(
        &mut self,
        changes: impl IntoIterator<Item = Change<M>>,
    ) -> Result<(), (usize, NetlinkError)> {
        let mut bytes = Vec::new();
        let (mut index, mut first) = (0, 0);
        let mut changes = changes.into_iter().peekable();
        while let Some(Change { message, flags }) = changes.next() {
            let last = changes.peek().is_none() || bytes.len() > PIECE;
            self.append(&mut bytes, message, if last { flags | NLM_F_ACK } else { flags });
            index += 1;
            if last {
                self.transact(&bytes, index - first, self.sequence)
                    .map_err(|(at, error)| (first + at, error))?;
                bytes.clear();
                first = index;
            }
        }
        Ok(())
    }

    /// Carries out one change.
    pub(super) fn change_one<M: NetlinkSerializable>(
        &mut self,
        message: M,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.change([Change { message, flags }]).map_err(|(_, error)| error)
    }

    /// Sends messages in one piece, of which the last but for those without an answer has `NLM_F_ACK`, and waits until
    /// the kernel is through. Their sequence numbers are the `count` up to `last`; the error comes with the index of the
    /// first that was refused.
    pub(super) fn transact(
        &mut self,
        bytes: &[u8],
        count: usize,
        last: u32,
    ) -> Result<(), (usize, NetlinkError)> {
        self.socket.send(bytes, 0).map_err(|error| (0, error.into()))?;
        let mut failed: Option<(usize, NetlinkError)> = None;
        loop {
            let mut done = false;
            let mut failure = failed.take();
            let result = self.receive(|header, payload| {
                let behind = last.wrapping_sub(header.sequence_number) as usize;
                if header.message_type != NLMSG_ERROR || behind >= count {
                    return Ok(());
                }
                done |= behind == 0;
                if let Err(error) = refusal(header, payload) {
                    failure.get_or_insert((count - 1 - behind, error));
                }
                Ok(())
            });
            match (result, failure) {
                (Err(error), None) => return Err((0, error)),
                (Err(_), Some(failure)) => return Err(failure),
                // What concerns the whole of a transaction is said of its first message, and then nothing more comes.
                (Ok(()), Some(failure)) if done || failure.0 == 0 => return Err(failure),
                (Ok(()), None) if done => return Ok(()),
                (Ok(()), unfinished) => failed = unfinished,
            }
        }
    }

    /// Appends a message, with the next sequence number, which is returned.
    pub(super) fn append<M: NetlinkSerializable>(
        &mut self,
        bytes: &mut Vec<u8>,
        message: M,
        flags: u16,
    ) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        append(bytes, message, flags, self.sequence);
        self.sequence
    }

    /// Waits for one datagram of the kernel's and shows its messages to `take`, up to the first error.
    fn receive(
        &self,
        mut take: impl FnMut(&NetlinkHeader, &[u8]) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        let (bytes, sender) = self.socket.recv_from_full()?;
        if sender.port_number() != 0 {
            return Ok(());
        }
        let mut rest = bytes.as_slice();
        let broken = |error: &dyn std::fmt::Display| NetlinkError::Broken(error.to_string());
        while !rest.is_empty() {
            let buffer = NetlinkBuffer::new_checked(rest).map_err(|error| broken(&error))?;
            let length = buffer.length() as usize;
            let payload = rest.get(16..length).unwrap_or_default();
            let mut header = NetlinkHeader::default();
            header.length = buffer.length();
            header.message_type = buffer.message_type();
            header.flags = buffer.flags();
            header.sequence_number = buffer.sequence_number();
            take(&header, payload)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

impl AsRawFd for Netlink {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Appends a message.
pub(super) fn append<M: NetlinkSerializable>(bytes: &mut Vec<u8>, message: M, flags: u16, sequence: u32) {
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
    message.header.flags = flags | NLM_F_REQUEST;
    message.header.sequence_number = sequence;
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
    if let Some(room) = bytes.get_mut(start..) {
        message.serialize(room);
    }
}

/// The error in an NLMSG_ERROR or NLMSG_DONE, if it is one.
fn refusal(header: &NetlinkHeader, payload: &[u8]) -> Result<(), NetlinkError> {
    let Some((code, rest)) = payload.split_first_chunk::<4>() else { return Ok(()) };
    let code = i32::from_ne_bytes(*code);
    if code == 0 {
        return Ok(());
    }
    // Behind the code of an NLMSG_ERROR stands the header of the request.
    let rest = if header.message_type == NLMSG_ERROR { rest.get(16..) } else { Some(rest) };
    let attributes = rest.filter(|_| header.flags & ERROR_HAS_ATTRIBUTES != 0).unwrap_or_default();
    let text = NlasIterator::new(attributes)
        .filter_map(Result::ok)
        .find(|attribute: &NlaBuffer<&[u8]>| attribute.kind() == ERROR_ATTRIBUTE_TEXT)
        .map(|attribute| String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned());
    Err(NetlinkError::Refused { errno: Errno::from_raw_os_error(code.saturating_neg()), text })
}
