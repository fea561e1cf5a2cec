//! The responder's control: whose a handshake message is, and whose deadline comes next.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};
use std::time::Instant;

use super::peer::PeerControl;
use super::{AddPeerError, Entry, PeerConfig, PeerId};
use crate::outbox::Outbox;
use crate::transport::Deadline;
use crate::wireguard::handshake::{HandshakeError, Offer, Remote, Timestamp};
use crate::wireguard::inbox::Mail;
use crate::wireguard::link::Link;
use crate::wireguard::message::{self, Kind};
use crate::wireguard::negotiator::{Negotiator, OwnSide};
use crate::wireguard::read;

/// Whose session or handshake an index is.
pub(super) type Indices = RwLock<HashMap<u32, Arc<Entry>>>;

pub(super) struct ResponderControl {
    own: OwnSide,
    peers: HashMap<PeerId, PeerControl>,
    by_key: HashMap<[u8; 32], PeerId>,
    /// Every peer's next deadline, the earliest first.
    deadlines: BTreeMap<(Instant, PeerId), &'static str>,
    last_id: u64,
}

impl ResponderControl {
    pub(super) fn new(own: OwnSide) -> Self {
        Self { own, peers: HashMap::new(), by_key: HashMap::new(), deadlines: BTreeMap::new(), last_id: 0 }
    }

    pub(super) fn add(&mut self, config: &PeerConfig, link: Link) -> Result<Arc<Entry>, AddPeerError> {
        let key = *config.public_key.as_bytes();
        if self.by_key.contains_key(&key) {
            return Err(AddPeerError::Exists);
        }
        let remote = Remote::new(&self.own.identity, &config.public_key, config.preshared_key.as_ref());
        let remote = remote.filter(|_| key != self.own.identity.public).ok_or(AddPeerError::UnusableKey)?;
        self.last_id += 1;
        let id = PeerId(self.last_id);
        let entry = Arc::new(Entry { id, link });
        let negotiator = Negotiator::new(remote, config.last_timestamp);
        self.peers.insert(id, PeerControl::new(Arc::clone(&entry), negotiator));
        self.by_key.insert(key, id);
        Ok(entry)
    }

    pub(super) fn remove(&mut self, id: PeerId) {
        let Some(peer) = self.peers.remove(&id) else { return };
        self.by_key.remove(peer.negotiator.remote_key());
        if let Some(at) = peer.deadline {
            self.deadlines.remove(&(at, id));
        }
    }

    /// Answers a handshake message.
    pub(super) fn take_mail(
        &mut self,
        mail: &Mail,
        indices: &Indices,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), HandshakeError> {
        if mail.kind != Kind::CookieReply
            && let Some(reply) = self.own.cookie_reply(mail, now)
        {
            let path = mail.from;
            out.datagram(path.socket, path.endpoint, reply.len()).copy_from_slice(&reply);
            return Ok(());
        }
        let id = match mail.kind {
            Kind::Initiation => self.take_initiation(mail, indices, now, out)?,
            Kind::Response => {
                let (own, peer) = self.find(mail, indices)?;
                peer.take_response(own, mail, now)?
            }
            Kind::CookieReply => {
                let reply = mail.exactly().ok_or(HandshakeError::Unknown)?;
                let (_, peer) = self.find(mail, indices)?;
                return peer.negotiator.take_cookie(reply, now);
            }
            Kind::Data => return Ok(()),
        };
        self.attend(id, indices, now, out);
        Ok(())
    }

    /// The peer whose index a message names.
    fn find(
        &mut self,
        mail: &Mail,
        indices: &Indices,
    ) -> Result<(&OwnSide, &mut PeerControl), HandshakeError> {
        let index = message::receiver(mail.kind, mail.message());
        let id = read(indices).get(&index).map(|entry| entry.id);
        let peer = id.and_then(|id| self.peers.get_mut(&id)).ok_or(HandshakeError::Unknown)?;
        Ok((&self.own, peer))
    }

    fn take_initiation(
        &mut self,
        mail: &Mail,
        indices: &Indices,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<PeerId, HandshakeError> {
        let initiation = mail.exactly().ok_or(HandshakeError::Unknown)?;
        let offer = Offer::read(&self.own.identity, initiation)?;
        let id = *self.by_key.get(&offer.public).ok_or(HandshakeError::Unknown)?;
        let peer = self.peers.get_mut(&id).ok_or(HandshakeError::Unknown)?;
        let index = self.own.random_index(|index| read(indices).contains_key(&index));
        let response = peer.answer(&mut self.own, offer, initiation, (index, mail.from), now)?;
        let path = mail.from;
        out.datagram(path.socket, path.endpoint, response.len()).copy_from_slice(&response);
        Ok(id)
    }

    /// Does whatever a peer needs at the moment.
    pub(super) fn attend(&mut self, id: PeerId, indices: &Indices, now: Instant, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.attend(&mut self.own, indices, now, out);
        if let Some(at) = peer.deadline.take() {
            self.deadlines.remove(&(at, id));
        }
        if let Some(deadline) = peer.next_deadline() {
            peer.deadline = Some(deadline.at);
            self.deadlines.insert((deadline.at, id), deadline.reason);
        }
    }

    /// Attends to the peers whose deadline has come.
    pub(super) fn attend_due(&mut self, indices: &Indices, now: Instant, out: &mut Outbox) {
        let due: Vec<PeerId> =
            self.deadlines.keys().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect();
        for id in due {
            self.attend(id, indices, now, out);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        let ((at, _), reason) = self.deadlines.first_key_value()?;
        Some(Deadline { at: *at, reason })
    }

    pub(super) fn last_handshake(&self, id: PeerId) -> Option<Instant> {
        self.peers.get(&id)?.negotiator.done_at
    }

    pub(super) fn last_timestamp(&self, id: PeerId) -> Option<Timestamp> {
        self.peers.get(&id)?.negotiator.latest
    }
}
