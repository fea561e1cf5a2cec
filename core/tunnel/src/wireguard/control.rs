//! A client's control: its campaigns for a session, its timers, what it tells of both.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use weft_model::{DropReason, TunnelStats};

use super::campaign::Campaign;
use super::candidates::Candidates;
use super::client::{ClientConfig, Shared};
use super::handshake::{HandshakeError, Offer, Remote};
use super::inbox::Mail;
use super::link::Path;
use super::message::Kind;
use super::negotiator::{Negotiator, OwnSide};
use super::session::Session;
use super::sockets::{Gone, Sockets};
use super::timers::{Due, Flag, jitter};
use super::{read, write};
use crate::outbox::Outbox;
use crate::transport::{
    Anchor, Control, Deadline, Entropy, LostReason, SocketError, SocketId, TransportEvent,
};

/// How many handshake messages a second a client takes from senders that have not proven their address.
const LOAD: u32 = 20;

/// What the engine was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Up(SocketAddr),
    Lost,
}

/// A client's control.
pub(crate) struct ClientControl {
    shared: Arc<Shared>,
    own: OwnSide,
    /// Nothing where the far side's key cannot make a secret.
    negotiator: Option<Negotiator>,
    candidates: Candidates,
    sockets: Sockets,
    started: bool,
    campaign: Option<Campaign>,
    /// The last address that the far side answered at.
    endpoint: Option<SocketAddr>,
    said: Said,
    /// Whether packets ever passed since the start.
    was_up: bool,
    /// Whether the network changed since the far side was last heard.
    unproven: bool,
    socket_error: Option<SocketError>,
    events: VecDeque<TransportEvent>,
    /// Handshake messages to be sent.
    messages: Vec<(Path, Vec<u8>)>,
    /// Whether the far side waits for a packet that shows that we have the session.
    confirm: bool,
    keepalive_due: bool,
}

impl ClientControl {
    pub(crate) fn new(
        shared: Arc<Shared>,
        config: &ClientConfig,
        anchor: Anchor,
        entropy: Box<dyn Entropy>,
    ) -> Self {
        let own = OwnSide::new(&config.private_key, (anchor, config.dates.clone()), entropy, LOAD);
        let remote = Remote::new(&own.identity, &config.public_key, config.preshared_key.as_ref());
        Self {
            shared,
            own,
            negotiator: remote.map(|remote| Negotiator::new(remote, None)),
            candidates: Candidates::new(&config.candidates),
            sockets: Sockets::default(),
            started: false,
            campaign: None,
            endpoint: None,
            said: Said::Nothing,
            was_up: false,
            unproven: false,
            socket_error: None,
            events: VecDeque::new(),
            messages: Vec::new(),
            confirm: false,
            keepalive_due: false,
        }
    }

    /// Begins a campaign, or makes the present one a search where there is `trouble`: packets cannot pass. An
    /// `urgent` one does not wait for the last initiation's time.
    fn begin(&mut self, now: Instant, trouble: bool, urgent: bool) {
        let last = self.negotiator.as_ref().and_then(|negotiator| negotiator.initiated_at);
        match self.campaign.as_mut() {
            Some(campaign) if trouble => campaign.escalate(now, last),
            Some(_) => return,
            None => {
                let last = last.filter(|_| !urgent);
                let mut campaign = Campaign::new(now, trouble, last);
                campaign.next_at = campaign.next_at.max(self.own.may_initiate_at().unwrap_or(now));
                self.campaign = Some(campaign);
            }
        }
        self.pursue(now);
    }

    /// Does what the campaign's moment asks for.
    fn pursue(&mut self, now: Instant) {
        let Some(campaign) = self.campaign.as_mut() else { return };
        if campaign.is_over(now) {
            return self.give_up();
        }
        if now < campaign.next_at {
            return;
        }
        if campaign.tries > 0 && !campaign.is_search() && !self.shared.link.is_ready(now) {
            campaign.escalate(now, None);
        }
        if campaign.tries > 0 && campaign.is_search() {
            let sockets = &self.sockets;
            self.candidates.advance(|address| sockets.may_reach(address, now));
        }
        self.try_candidate(now);
    }

    fn give_up(&mut self) {
        self.campaign = None;
        self.shared.link.activity.lower(Flag::Handshake);
        self.shared.link.drop_held();
    }

    /// Sends an initiation to the candidate whose turn it is, or asks for the socket first.
    fn try_candidate(&mut self, now: Instant) {
        let jitter = jitter(self.own.entropy.as_mut());
        let Some(campaign) = self.campaign.as_mut() else { return };
        campaign.tries += 1;
        self.candidates.tried(now);
        campaign.next_at = if campaign.is_search() {
            self.candidates.next_try(now, jitter)
        } else {
            now + super::timers::REKEY_TIMEOUT + jitter
        };
        let Some(address) = self.candidates.current() else { return };
        match self.sockets.ready_or_ask(address, &mut self.events) {
            Some(socket) => self.initiate(Path { socket, endpoint: address }, now),
            None => campaign.awaits_socket = true,
        }
    }

    fn initiate(&mut self, path: Path, now: Instant) {
        let Some(negotiator) = self.negotiator.as_mut() else { return };
        if let Some(campaign) = self.campaign.as_mut() {
            campaign.awaits_socket = false;
        }
        let link = &self.shared.link;
        let expected = read(&self.shared.expected);
        let taken =
            |index| expected.contains(&index) || link.keys(|keys| keys.all().any(|key| key.local == index));
        let index = self.own.random_index(taken);
        drop(expected);
        if let Some(message) = negotiator.initiate(&mut self.own, index, now) {
            self.messages.push((path, message.to_vec()));
            let _ = link.activity.sent(now, false);
        }
        self.update_expected();
    }

    fn update_expected(&self) {
        let mut expected = write(&self.shared.expected);
        expected.clear();
        expected.extend(self.negotiator.iter().flat_map(Negotiator::indices));
    }

    fn take_mail(&mut self, mail: &Mail, now: Instant) -> Result<(), HandshakeError> {
        if mail.kind != Kind::CookieReply
            && let Some(reply) = self.own.cookie_reply(mail, now)
        {
            self.messages.push((mail.from, reply.to_vec()));
            return Ok(());
        }
        match mail.kind {
            Kind::Initiation => self.take_initiation(mail, now),
            Kind::Response => self.take_response(mail, now),
            Kind::CookieReply => {
                let reply = mail.exactly().ok_or(HandshakeError::Unknown)?;
                let negotiator = self.negotiator.as_mut().ok_or(HandshakeError::Unknown)?;
                negotiator.take_cookie(reply, now)
            }
            Kind::Data => Ok(()),
        }
    }

    fn take_response(&mut self, mail: &Mail, now: Instant) -> Result<(), HandshakeError> {
        let response = mail.exactly().ok_or(HandshakeError::Unknown)?;
        let negotiator = self.negotiator.as_mut().ok_or(HandshakeError::Unknown)?;
        let keys = negotiator.finish(&self.own, response, now)?;
        let link = &self.shared.link;
        link.change_keys(|ring| {
            ring.purge(now);
            ring.install_initiated(Session::new(&keys, now));
        });
        // What data passes next brings the deadline forward where there is need.
        let _ = link.activity.received(now, false);
        // What came by a socket of the network before says nothing of the way that packets take now.
        if self.sockets.ready(mail.from.endpoint) == Some(mail.from.socket) {
            self.confirm = true;
            self.arrived(mail.from, now);
        }
        Ok(())
    }

    fn take_initiation(&mut self, mail: &Mail, now: Instant) -> Result<(), HandshakeError> {
        let initiation = mail.exactly().ok_or(HandshakeError::Unknown)?;
        let negotiator = self.negotiator.as_mut().ok_or(HandshakeError::Unknown)?;
        let offer = Offer::read(&self.own.identity, initiation)?;
        if offer.public != *negotiator.remote_key() {
            return Err(HandshakeError::Unknown);
        }
        let link = &self.shared.link;
        let taken = |index| link.keys(|keys| keys.all().any(|key| key.local == index));
        let index = self.own.random_index(taken);
        let (keys, response) = negotiator.answer(&mut self.own, offer, initiation, index, now)?;
        link.change_keys(|ring| {
            ring.purge(now);
            ring.install_answered(Session::new(&keys, now));
        });
        let _ = (link.activity.received(now, false), link.activity.sent(now, false));
        self.messages.push((mail.from, response.to_vec()));
        if self.sockets.ready(mail.from.endpoint) == Some(mail.from.socket) {
            link.set_path(Some(mail.from));
            self.endpoint = Some(mail.from.endpoint);
        }
        Ok(())
    }

    /// Packets can pass, and the far side is at `from`.
    fn arrived(&mut self, from: Path, now: Instant) {
        let endpoint = from.endpoint;
        self.campaign = None;
        self.shared.link.activity.lower(Flag::Handshake);
        self.candidates.worked(endpoint);
        self.endpoint = Some(endpoint);
        if let Some(socket) = self.sockets.ready(endpoint) {
            self.shared.link.set_path(Some(Path { socket, endpoint }));
        }
        self.sockets.close_other(endpoint, &mut self.events);
        if let Some(negotiator) = self.negotiator.as_mut() {
            negotiator.purge(now);
        }
        self.update_expected();
        self.was_up = true;
        let again = std::mem::take(&mut self.unproven);
        self.say_up(endpoint, again);
    }

    fn say_up(&mut self, endpoint: SocketAddr, again: bool) {
        if again || self.said != Said::Up(endpoint) {
            self.said = Said::Up(endpoint);
            self.events.push_back(TransportEvent::Up { endpoint });
        }
    }

    fn say_lost(&mut self) {
        let reason = match self.socket_error.clone() {
            Some(error) => LostReason::Socket(error),
            None if self.was_up => LostReason::Silent,
            None => LostReason::Unreachable,
        };
        self.said = Said::Lost;
        self.events.push_back(TransportEvent::Lost(reason));
    }

    /// When the far side counts as lost, if nothing comes until then.
    fn lost_at(&self) -> Option<Instant> {
        self.campaign.as_ref().filter(|_| self.said != Said::Lost)?.lost_at()
    }

    fn handle_flags(&mut self, now: Instant) {
        let activity = &self.shared.link.activity;
        activity.lower(Flag::Flush);
        let moved = activity.lower(Flag::Moved);
        let confirmed = activity.lower(Flag::Confirmed);
        if let Some(path) = self.shared.link.path().filter(|_| moved || confirmed) {
            if confirmed {
                if let Some(negotiator) = self.negotiator.as_mut() {
                    negotiator.done_at = Some(now);
                }
                self.arrived(path, now);
            } else {
                self.candidates.worked(path.endpoint);
                self.endpoint = Some(path.endpoint);
                if matches!(self.said, Said::Up(_)) {
                    self.say_up(path.endpoint, false);
                }
            }
        }
        if self.shared.link.activity.is_raised(Flag::Handshake) {
            let trouble = !self.shared.link.is_ready(now);
            if self.campaign.is_none() || trouble {
                self.begin(now, trouble, false);
            }
        }
    }

    fn handle_due(&mut self, now: Instant) {
        let due: Vec<Due> = self.shared.link.activity.take_due(now).collect();
        if due.contains(&Due::Silence) {
            self.begin(now, true, false);
        }
        if due.contains(&Due::Keepalive) || due.contains(&Due::Persistent) {
            self.keepalive_due = self.shared.link.is_ready(now);
            if !self.keepalive_due {
                self.begin(now, true, false);
            }
        }
        if self.lost_at().is_some_and(|at| now >= at) {
            self.say_lost();
        }
    }
}

impl Control for ClientControl {
    fn start(&mut self, now: Instant) {
        if !self.started {
            self.started = true;
            self.begin(now, true, true);
        }
    }

    fn handle_socket(&mut self, socket: SocketId, state: Result<SocketAddr, SocketError>, now: Instant) {
        let error = match state {
            Ok(_) => return self.socket_opened(socket, now),
            Err(error) => error,
        };
        let path = self.shared.link.path();
        match self.sockets.gone(socket, now) {
            Gone::Unknown => return,
            Gone::Refused => self.socket_error = Some(error),
            Gone::Failed => {}
        }
        if path.is_some_and(|path| path.socket == socket) {
            self.shared.link.set_path(None);
            self.begin(now, true, true);
        }
        let other_family = |address| self.sockets.may_reach(address, now);
        let current = self.candidates.current();
        if let Some(campaign) = self.campaign.as_mut().filter(|campaign| campaign.awaits_socket)
            && current.is_some_and(|address| !self.sockets.may_reach(address, now))
        {
            self.candidates.advance(other_family);
            if self.candidates.current().is_some_and(|address| self.sockets.may_reach(address, now)) {
                campaign.next_at = now;
                self.try_candidate(now);
            }
        }
    }

    fn handle_writable(&mut self, _socket: SocketId, _now: Instant) {}

    fn handle_nudge(&mut self, now: Instant) {
        while let Some(mail) = self.shared.inbox.pop() {
            if let Err(error) = self.take_mail(&mail, now) {
                self.shared.link.drops.add(error.into(), 1);
            }
            self.update_expected();
        }
        if self.started {
            self.handle_flags(now);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some(negotiator) = self.negotiator.as_mut() {
            negotiator.purge(now);
            self.update_expected();
        }
        self.shared.link.change_keys(|keys| keys.purge(now));
        if self.started {
            self.handle_due(now);
            self.pursue(now);
        }
    }

    fn handle_network_change(&mut self, now: Instant) {
        if !self.started {
            return;
        }
        self.shared.link.set_path(None);
        self.sockets.close_all(&mut self.events);
        self.messages.clear();
        self.socket_error = None;
        self.campaign = None;
        self.unproven = true;
        if self.said == Said::Lost {
            self.said = Said::Nothing;
        }
        self.begin(now, true, true);
    }

    fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Outbox) {
        for (path, message) in self.messages.drain(..) {
            out.datagram(path.socket, path.endpoint, message.len()).copy_from_slice(&message);
        }
        let link = &self.shared.link;
        let flushed = link.flush(now, out);
        let wanted = std::mem::take(&mut self.confirm) | std::mem::take(&mut self.keepalive_due);
        if wanted && !flushed {
            link.keepalive(now, out);
        }
        // What was just sent may have found the session old; the campaign's deadline is at once then.
        if self.campaign.is_none() && self.started && link.activity.is_raised(Flag::Handshake) {
            let last = self.negotiator.as_ref().and_then(|negotiator| negotiator.initiated_at);
            self.campaign = Some(Campaign::new(now, !link.is_ready(now), last));
        }
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        let deadline = |at: Option<Instant>, reason| at.map(|at| Deadline { at, reason });
        let purge = self.negotiator.as_ref().and_then(Negotiator::next_purge);
        let own = [
            deadline(self.campaign.as_ref().map(|campaign| campaign.next_at), "handshake"),
            deadline(self.lost_at(), "handshake's end"),
            deadline(purge, "handshake's keys"),
        ];
        self.shared.link.activity.next_deadline(own.into_iter().flatten())
    }

    fn stats(&self, now: Instant) -> TunnelStats {
        let link = &self.shared.link;
        let negotiator = self.negotiator.as_ref();
        let done = negotiator.and_then(|negotiator| negotiator.done_at);
        let round_trip = negotiator.and_then(|negotiator| negotiator.round_trip);
        TunnelStats {
            protocol: "WireGuard".to_owned(),
            endpoint: link.path().map(|path| path.endpoint).or(self.endpoint),
            last_handshake_ms: done
                .map(|at| u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX)),
            handshake_rtt_us: round_trip.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
            sent: link.sent(),
            received: link.received(),
            drops: link.drops.get(),
        }
    }
}

impl ClientControl {
    fn socket_opened(&mut self, socket: SocketId, now: Instant) {
        if !self.sockets.opened(socket) {
            return;
        }
        self.socket_error = None;
        if self.shared.link.path().is_none()
            && let Some(endpoint) = self.endpoint
            && self.sockets.ready(endpoint) == Some(socket)
        {
            self.shared.link.set_path(Some(Path { socket, endpoint }));
        }
        let Some(campaign) = self.campaign.as_ref().filter(|campaign| campaign.awaits_socket) else { return };
        if campaign.is_over(now) {
            return;
        }
        if let Some(address) = self.candidates.current()
            && self.sockets.ready(address) == Some(socket)
        {
            self.initiate(Path { socket, endpoint: address }, now);
        }
    }
}

impl From<HandshakeError> for DropReason {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::NotAuthentic => Self::BadSeal,
            HandshakeError::Replayed => Self::Replay,
            HandshakeError::TooSoon => Self::QueueFull,
            HandshakeError::Unknown => Self::BadDatagram,
        }
    }
}
