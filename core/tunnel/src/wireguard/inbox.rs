//! Handshake messages on their way from the data path to control.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::link::Path;
use super::lock;
use super::message::{INITIATION_LEN, Kind};
use crate::transport::Nudge;

/// A handshake message and where it came from.
pub(crate) struct Mail {
    pub(crate) kind: Kind,
    pub(crate) from: Path,
    bytes: [u8; INITIATION_LEN],
    len: usize,
}

impl Mail {
    /// Copies a handshake message.
    pub(crate) fn new(kind: Kind, from: Path, message: &[u8]) -> Self {
        let mut bytes = [0; INITIATION_LEN];
        let len = message.len().min(INITIATION_LEN);
        bytes.iter_mut().zip(message).for_each(|(room, byte)| *room = *byte);
        Self { kind, from, bytes, len }
    }

    pub(crate) fn message(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The message, if it is exactly `N` bytes long.
    pub(crate) fn exactly<const N: usize>(&self) -> Option<&[u8; N]> {
        self.message().try_into().ok()
    }
}

/// A bounded queue of handshake messages.
pub(crate) struct Inbox {
    mails: Mutex<VecDeque<Mail>>,
    limit: usize,
}

impl Inbox {
    pub(crate) fn new(limit: usize) -> Self {
        Self { mails: Mutex::default(), limit }
    }

    /// Takes a message, unless it is full; a nudge if it was empty.
    pub(crate) fn push(&self, mail: Mail) -> Option<Nudge> {
        let mut mails = lock(&self.mails);
        if mails.len() >= self.limit {
            return None;
        }
        mails.push_back(mail);
        Some(if mails.len() == 1 { Nudge::Control } else { Nudge::None })
    }

    pub(crate) fn pop(&self) -> Option<Mail> {
        lock(&self.mails).pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.mails).is_empty()
    }
}

/// The front of a row of datagrams that can be handled alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    /// Data messages for one receiver index.
    Data(u32),
    /// One handshake message.
    Handshake(Kind),
    /// One datagram that is no message.
    Bad,
}

/// Splits off the front of datagrams laid end to end, each `stride` bytes long, the last maybe shorter.
pub(crate) fn split_front(data: &mut [u8], stride: usize) -> (Front, &mut [u8], &mut [u8]) {
    let index = |datagram: &[u8]| match Kind::of(datagram) {
        Some(Kind::Data) => Front::Data(super::message::receiver(Kind::Data, datagram)),
        Some(kind) => Front::Handshake(kind),
        None => Front::Bad,
    };
    let mut datagrams = data.chunks(stride);
    let front = datagrams.next().map_or(Front::Bad, index);
    let more = match front {
        Front::Data(_) => datagrams.take_while(|datagram| index(datagram) == front).count(),
        _ => 0,
    };
    let len = ((1 + more) * stride).min(data.len());
    let (head, rest) = data.split_at_mut(len);
    (front, head, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_for_one_index_stays_together() {
        let mut data = Vec::new();
        let datagram = |kind: u8, index: u8| {
            let mut bytes = vec![0; 64];
            bytes[0] = kind;
            bytes[4] = index;
            bytes
        };
        for (kind, index) in [(4, 1), (4, 1), (4, 2), (3, 0), (3, 0), (9, 0), (4, 2)] {
            data.extend(datagram(kind, index));
        }
        data.extend([4, 0, 0]);
        let mut rest = data.as_mut_slice();
        let mut fronts = Vec::new();
        while !rest.is_empty() {
            let (front, head, tail) = split_front(rest, 64);
            fronts.push((front, head.len()));
            rest = tail;
        }
        let cookie = Front::Handshake(Kind::CookieReply);
        let expected = [
            (Front::Data(1), 128),
            (Front::Data(2), 64),
            (cookie, 64),
            (cookie, 64),
            (Front::Bad, 64),
            (Front::Data(2), 64),
            (Front::Bad, 3),
        ];
        assert_eq!(fronts, expected);
    }
}
