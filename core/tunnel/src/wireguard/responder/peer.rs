//! One peer of a responder: its handshakes and its timers.

use std::sync::Arc;
use std::time::Instant;

use super::Entry;
use super::control::Indices;
use crate::outbox::Outbox;
use crate::transport::Deadline;
use crate::wireguard::campaign::Campaign;
use crate::wireguard::handshake::{HandshakeError, Offer};
use crate::wireguard::inbox::Mail;
use crate::wireguard::link::Path;
use crate::wireguard::message::{Initiation, Response};
use crate::wireguard::negotiator::{Negotiator, OwnSide};
use crate::wireguard::session::Session;
use crate::wireguard::timers::{Due, Flag, REKEY_TIMEOUT, jitter};
use crate::wireguard::{read, write};

pub(super) struct PeerControl {
    entry: Arc<Entry>,
    pub(super) negotiator: Negotiator,
    campaign: Option<Campaign>,
    /// The peer's indices, as they stand in the table.
    registered: Vec<u32>,
    /// The deadline that stands in the table.
    pub(super) deadline: Option<Instant>,
    /// Whether the peer waits for a packet that shows that we have the session.
    confirm: bool,
}

impl PeerControl {
    pub(super) fn new(entry: Arc<Entry>, negotiator: Negotiator) -> Self {
        Self { entry, negotiator, campaign: None, registered: Vec::new(), deadline: None, confirm: false }
    }

    /// Takes an initiation of the peer and gives the response.
    pub(super) fn answer(
        &mut self,
        own: &mut OwnSide,
        offer: Offer,
        initiation: &Initiation,
        (index, from): (u32, Path),
        now: Instant,
    ) -> Result<Response, HandshakeError> {
        let (keys, response) = self.negotiator.answer(own, offer, initiation, index, now)?;
        let link = &self.entry.link;
        link.change_keys(|ring| {
            ring.purge(now);
            ring.install_answered(Session::new(&keys, now));
        });
        link.set_path(Some(from));
        let _ = (link.activity.received(now, false), link.activity.sent(now, false));
        Ok(response)
    }

    /// Takes a response to an initiation of ours; gives the peer.
    pub(super) fn take_response(
        &mut self,
        own: &OwnSide,
        mail: &Mail,
        now: Instant,
    ) -> Result<super::PeerId, HandshakeError> {
        let response = mail.exactly().ok_or(HandshakeError::Unknown)?;
        let keys = self.negotiator.finish(own, response, now)?;
        let link = &self.entry.link;
        link.change_keys(|ring| {
            ring.purge(now);
            ring.install_initiated(Session::new(&keys, now));
        });
        link.set_path(Some(mail.from));
        let _ = link.activity.received(now, false);
        self.confirm = true;
        self.end_campaign();
        Ok(self.entry.id)
    }

    fn end_campaign(&mut self) {
        self.campaign = None;
        self.entry.link.activity.lower(Flag::Handshake);
    }

    /// Does whatever is to be done at the moment.
    pub(super) fn attend(&mut self, own: &mut OwnSide, indices: &Indices, now: Instant, out: &mut Outbox) {
        self.negotiator.purge(now);
        let entry = Arc::clone(&self.entry);
        let link = &entry.link;
        link.change_keys(|keys| keys.purge(now));
        link.activity.lower(Flag::Flush);
        link.activity.lower(Flag::Moved);
        if link.activity.lower(Flag::Confirmed) {
            self.negotiator.done_at = Some(now);
            self.end_campaign();
        }
        let due: Vec<Due> = link.activity.take_due(now).collect();
        let keepalive = due.contains(&Due::Keepalive) || due.contains(&Due::Persistent);
        let flushed = link.flush(now, out);
        let confirm = std::mem::take(&mut self.confirm);
        let sent = flushed || !(keepalive || confirm) || link.keepalive(now, out);
        if !sent || due.contains(&Due::Silence) || link.activity.is_raised(Flag::Handshake) {
            let last = self.negotiator.initiated_at;
            self.campaign.get_or_insert_with(|| Campaign::new(now, false, last));
        }
        self.pursue(own, indices, now, out);
        self.register(indices);
    }

    /// Does what the campaign's moment asks for.
    fn pursue(&mut self, own: &mut OwnSide, indices: &Indices, now: Instant, out: &mut Outbox) {
        let Some(campaign) = self.campaign.as_mut() else { return };
        let path = self.entry.link.path();
        let Some(path) = path.filter(|_| !campaign.is_over(now)) else {
            self.end_campaign();
            return self.entry.link.drop_held();
        };
        if now < campaign.next_at {
            return;
        }
        campaign.next_at = now + REKEY_TIMEOUT + jitter(own.entropy.as_mut());
        let index = own.random_index(|index| read(indices).contains_key(&index));
        if let Some(message) = self.negotiator.initiate(own, index, now) {
            out.datagram(path.socket, path.endpoint, message.len()).copy_from_slice(&message);
            let _ = self.entry.link.activity.sent(now, false);
        }
    }

    /// Brings the table of indices up to date.
    fn register(&mut self, indices: &Indices) {
        let mut wanted: Vec<u32> = self.negotiator.indices().collect();
        self.entry.link.keys(|keys| wanted.extend(keys.all().map(|session| session.local)));
        wanted.sort_unstable();
        wanted.dedup();
        if wanted == self.registered {
            return;
        }
        let mut table = write(indices);
        for index in self.registered.iter().filter(|index| !wanted.contains(index)) {
            table.remove(index);
        }
        for index in &wanted {
            table.entry(*index).or_insert_with(|| Arc::clone(&self.entry));
        }
        drop(table);
        self.registered = wanted;
    }

    /// The peer's next deadline, which its control promises to keep.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        let deadline = |at: Option<Instant>, reason| at.map(|at| Deadline { at, reason });
        let own = [
            deadline(self.campaign.as_ref().map(|campaign| campaign.next_at), "handshake"),
            deadline(self.negotiator.next_purge(), "handshake's keys"),
        ];
        self.entry.link.activity.next_deadline(own.into_iter().flatten())
    }
}
