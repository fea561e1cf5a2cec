//! A client's sockets: one for each family at most, asked for when it is needed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::transport::{SocketId, SocketRequest, TransportEvent};

/// How long a family is left alone after the system refused it a socket, where there is another.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// The socket of one family.
#[derive(Default)]
enum State {
    #[default]
    Closed,
    Asked(SocketId),
    Ready(SocketId),
}

#[derive(Default)]
struct Family {
    state: State,
    refused: Option<Instant>,
}

impl Family {
    fn id(&self) -> Option<SocketId> {
        match self.state {
            State::Closed => None,
            State::Asked(id) | State::Ready(id) => Some(id),
        }
    }
}

/// What became of a socket that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// The system did not give it.
    Refused,
    /// It was in use.
    Failed,
    /// It is none of ours any more.
    Unknown,
}

/// A client's sockets.
#[derive(Default)]
pub(crate) struct Sockets {
    v4: Family,
    v6: Family,
    last_id: u32,
}

impl Sockets {
    fn family(&mut self, remote: SocketAddr) -> &mut Family {
        if remote.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }

    fn families(&mut self) -> impl Iterator<Item = &mut Family> {
        [&mut self.v4, &mut self.v6].into_iter()
    }

    /// The socket that reaches `remote`, if it is there.
    pub(crate) fn ready(&mut self, remote: SocketAddr) -> Option<SocketId> {
        match self.family(remote).state {
            State::Ready(id) => Some(id),
            State::Closed | State::Asked(_) => None,
        }
    }

    /// The same; asks for one where there is none.
    pub(crate) fn ready_or_ask(
        &mut self,
        remote: SocketAddr,
        events: &mut VecDeque<TransportEvent>,
    ) -> Option<SocketId> {
        if matches!(self.family(remote).state, State::Closed) {
            self.last_id += 1;
            let id = SocketId(self.last_id);
            self.family(remote).state = State::Asked(id);
            events.push_back(TransportEvent::Open(id, SocketRequest::Udp { remote }));
        }
        self.ready(remote)
    }

    /// Notes that a socket is there; whether it is one that is waited for.
    pub(crate) fn opened(&mut self, id: SocketId) -> bool {
        for family in self.families() {
            if matches!(family.state, State::Asked(asked) if asked == id) {
                *family = Family { state: State::Ready(id), refused: None };
                return true;
            }
        }
        false
    }

    /// Notes that a socket is gone.
    pub(crate) fn gone(&mut self, id: SocketId, now: Instant) -> Gone {
        for family in self.families() {
            match std::mem::take(&mut family.state) {
                State::Asked(asked) if asked == id => {
                    family.refused = Some(now);
                    return Gone::Refused;
                }
                State::Ready(ready) if ready == id => return Gone::Failed,
                other => family.state = other,
            }
        }
        Gone::Unknown
    }

    /// Whether the system has not just refused a socket for `remote`.
    pub(crate) fn may_reach(&self, remote: SocketAddr, now: Instant) -> bool {
        let family = if remote.is_ipv4() { &self.v4 } else { &self.v6 };
        family.refused.is_none_or(|at| now.saturating_duration_since(at) >= AFTER_REFUSAL)
    }

    /// Closes the socket of the family that `remote` is not of.
    pub(crate) fn close_other(&mut self, remote: SocketAddr, events: &mut VecDeque<TransportEvent>) {
        let other = if remote.is_ipv4() { &mut self.v6 } else { &mut self.v4 };
        events.extend(other.id().map(TransportEvent::Close));
        *other = Family::default();
    }

    /// Closes them all.
    pub(crate) fn close_all(&mut self, events: &mut VecDeque<TransportEvent>) {
        for family in self.families() {
            events.extend(family.id().map(TransportEvent::Close));
            *family = Family::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_asked_for_once_and_again_when_it_is_gone() {
        let now = Instant::now();
        let (v4, v6) = ("192.0.2.1:1".parse().unwrap(), "[2001:db8::1]:1".parse().unwrap());
        let mut events = VecDeque::new();
        let mut sockets = Sockets::default();
        assert_eq!(sockets.ready_or_ask(v4, &mut events), None);
        assert_eq!(sockets.ready_or_ask(v4, &mut events), None);
        assert_eq!(sockets.ready_or_ask(v6, &mut events), None);
        assert_eq!(events.len(), 2);
        assert!(sockets.opened(SocketId(1)) && !sockets.opened(SocketId(1)) && !sockets.opened(SocketId(9)));
        assert_eq!(sockets.ready(v4), Some(SocketId(1)));
        assert_eq!(sockets.gone(SocketId(2), now), Gone::Refused);
        assert!(sockets.may_reach(v4, now) && !sockets.may_reach(v6, now));
        assert!(sockets.may_reach(v6, now + AFTER_REFUSAL));
        assert_eq!(sockets.gone(SocketId(1), now), Gone::Failed);
        assert_eq!(sockets.gone(SocketId(1), now), Gone::Unknown);
        assert_eq!(sockets.ready_or_ask(v4, &mut events), None);
        assert_eq!(
            events.back(),
            Some(&TransportEvent::Open(SocketId(3), SocketRequest::Udp { remote: v4 }))
        );
    }

    #[test]
    fn closing_tells_of_every_socket_that_was_asked_for() {
        let (v4, v6) = ("192.0.2.1:1".parse().unwrap(), "[2001:db8::1]:1".parse().unwrap());
        let mut events = VecDeque::new();
        let mut sockets = Sockets::default();
        sockets.ready_or_ask(v4, &mut events);
        sockets.ready_or_ask(v6, &mut events);
        sockets.opened(SocketId(1));
        events.clear();
        sockets.close_other(v6, &mut events);
        assert_eq!(events, [TransportEvent::Close(SocketId(1))]);
        sockets.close_all(&mut events);
        assert_eq!(events, [TransportEvent::Close(SocketId(1)), TransportEvent::Close(SocketId(2))]);
    }
}
