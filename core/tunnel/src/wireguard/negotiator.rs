//! The handshakes of one peer, and this side's part in all of them.

use std::time::{Duration, Instant};

use weft_model::PrivateKey;
use zeroize::Zeroizing;

use super::cookie::{CookieMaker, LoadMeter, MacWriter};
use super::crypto::Key;
use super::handshake::{
    Dates, HandshakeError, Identity, Initiated, Offer, Remote, Stamper, Timestamp, TransportKeys,
};
use super::inbox::Mail;
use super::message::{self, CookieReply, Initiation, Kind, Response};
use super::timers::REKEY_TIMEOUT;
use crate::transport::{Anchor, Entropy};

/// How long an initiation may be answered. Longer than until the next one, for far sides that take their time.
const FLIGHT_TIME: Duration = Duration::from_secs(2 * REKEY_TIMEOUT.as_secs());
/// The most initiations to one peer that may be answered at a time.
const MAX_FLIGHTS: usize = 8;
/// The shortest time between two initiations that are taken from one peer.
const INITIATION_INTERVAL: Duration = Duration::from_millis(20);
/// What a device leaves between two of its own, so that they do not meet that bound though the network shifts them.
pub(crate) const INITIATION_PAUSE: Duration = INITIATION_INTERVAL.saturating_mul(2);

/// This side: its key, its dates, its chance, its guard against floods.
pub(crate) struct OwnSide {
    pub(crate) identity: Identity,
    stamper: Stamper,
    pub(crate) entropy: Box<dyn Entropy>,
    cookies: CookieMaker,
    load: LoadMeter,
}

impl OwnSide {
    /// `load` is the number of handshake messages a second above which their senders have to prove their address.
    pub(crate) fn new(
        key: &PrivateKey,
        (anchor, dates): (Anchor, Dates),
        entropy: Box<dyn Entropy>,
        load: u32,
    ) -> Self {
        let identity = Identity::new(key);
        let cookies = CookieMaker::new(&identity.public);
        let stamper = Stamper::new(anchor, dates);
        Self { identity, stamper, entropy, cookies, load: LoadMeter::new(load) }
    }

    /// The moment from which the next initiation may go out, be the last one another transport's.
    pub(crate) fn may_initiate_at(&self) -> Option<Instant> {
        self.stamper.last_at().map(|last| last + INITIATION_PAUSE)
    }

    fn random_key(&mut self) -> Key {
        let mut key = Zeroizing::new([0; 32]);
        self.entropy.fill(key.as_mut_slice());
        key
    }

    /// A random index that is not `taken`, or the next one that is free.
    pub(crate) fn random_index(&mut self, taken: impl Fn(u32) -> bool) -> u32 {
        let mut bytes = [0; 4];
        self.entropy.fill(&mut bytes);
        let mut index = u32::from_le_bytes(bytes);
        while taken(index) {
            index = index.wrapping_add(1);
        }
        index
    }

    /// The cookie reply that an initiation or a response gets instead of an answer, when there are too many of
    /// them and its sender has not proven its address.
    pub(crate) fn cookie_reply(&mut self, mail: &Mail, now: Instant) -> Option<CookieReply> {
        let (message, from) = (mail.message(), mail.from.endpoint);
        let refused = self.load.count(now) && !self.cookies.proves_address(message, from, now);
        refused.then(|| self.cookies.reply(message, from, now, self.entropy.as_mut()))
    }
}

/// An initiation under way.
struct Flight {
    initiated: Initiated,
    mac1: [u8; 16],
    sent: Instant,
}

/// The handshakes of one peer.
pub(crate) struct Negotiator {
    remote: Remote,
    macs: MacWriter,
    flights: Vec<Flight>,
    /// The date of the newest initiation taken from the peer.
    pub(crate) latest: Option<Timestamp>,
    taken_at: Option<Instant>,
    /// The index and the first MAC of the last response, which a cookie reply may answer.
    response: Option<(u32, [u8; 16])>,
    /// When the last initiation went out.
    pub(crate) initiated_at: Option<Instant>,
    /// When the last handshake was done.
    pub(crate) done_at: Option<Instant>,
    /// How long the last answer took.
    pub(crate) round_trip: Option<Duration>,
}

impl Negotiator {
    pub(crate) fn new(remote: Remote, latest: Option<Timestamp>) -> Self {
        Self {
            macs: MacWriter::new(&remote.public),
            remote,
            flights: Vec::new(),
            latest,
            taken_at: None,
            response: None,
            initiated_at: None,
            done_at: None,
            round_trip: None,
        }
    }

    pub(crate) fn remote_key(&self) -> &[u8; 32] {
        &self.remote.public
    }

    /// An initiation, ready to be sent.
    pub(crate) fn initiate(&mut self, own: &mut OwnSide, index: u32, now: Instant) -> Option<Initiation> {
        self.purge(now);
        let ephemeral = own.random_key();
        let date = own.stamper.stamp(now);
        let (initiated, mut message) = Initiated::begin(&own.identity, &self.remote, index, ephemeral, date)?;
        let mac1 = self.macs.write(&mut message, now);
        if self.flights.len() >= MAX_FLIGHTS {
            self.flights.remove(0);
        }
        self.flights.push(Flight { initiated, mac1, sent: now });
        self.initiated_at = Some(now);
        Some(message)
    }

    /// Reads a response and gives the keys. Initiations before the one that it answers are forgotten, later ones may
    /// still be answered: the far side keeps the last session that it was asked for.
    pub(crate) fn finish(
        &mut self,
        own: &OwnSide,
        response: &Response,
        now: Instant,
    ) -> Result<TransportKeys, HandshakeError> {
        self.purge(now);
        let index = message::receiver(Kind::Response, response);
        let position = self.flights.iter().position(|flight| flight.initiated.index == index);
        let position = position.ok_or(HandshakeError::Unknown)?;
        let flight = self.flights.get(position).ok_or(HandshakeError::Unknown)?;
        let keys = flight.initiated.finish(&own.identity, &self.remote, response)?;
        self.round_trip = Some(now.saturating_duration_since(flight.sent));
        self.done_at = Some(now);
        self.flights.drain(..=position);
        Ok(keys)
    }

    /// Reads an initiation of the peer and gives the keys and the response.
    pub(crate) fn answer(
        &mut self,
        own: &mut OwnSide,
        offer: Offer,
        initiation: &Initiation,
        index: u32,
        now: Instant,
    ) -> Result<(TransportKeys, Response), HandshakeError> {
        let (proven, date) = offer.verify(&self.remote, initiation)?;
        if self.latest.is_some_and(|latest| date <= latest) {
            return Err(HandshakeError::Replayed);
        }
        if self.taken_at.is_some_and(|at| now.saturating_duration_since(at) < INITIATION_INTERVAL) {
            return Err(HandshakeError::TooSoon);
        }
        self.latest = Some(date);
        self.taken_at = Some(now);
        let (keys, mut response) = proven.answer(&self.remote, index, own.random_key())?;
        self.response = Some((index, self.macs.write(&mut response, now)));
        Ok((keys, response))
    }

    /// Keeps the cookie of a reply to one of our messages; it serves the next ones.
    pub(crate) fn take_cookie(&mut self, reply: &CookieReply, now: Instant) -> Result<(), HandshakeError> {
        let index = message::receiver(Kind::CookieReply, reply);
        let flight = self.flights.iter().find(|flight| flight.initiated.index == index);
        let response = self.response.filter(|(response, _)| *response == index);
        let mac1 = flight.map(|flight| flight.mac1).or(response.map(|(_, mac1)| mac1));
        self.macs.accept(reply, &mac1.ok_or(HandshakeError::Unknown)?, now)
    }

    /// Wipes initiations that can no more be answered.
    pub(crate) fn purge(&mut self, now: Instant) {
        self.flights.retain(|flight| now < flight.sent + FLIGHT_TIME);
    }

    /// When the next initiation can no more be answered.
    pub(crate) fn next_purge(&self) -> Option<Instant> {
        self.flights.first().map(|flight| flight.sent + FLIGHT_TIME)
    }

    /// The indices that responses and cookie replies may name.
    pub(crate) fn indices(&self) -> impl Iterator<Item = u32> {
        let response = self.response.map(|(index, _)| index);
        self.flights.iter().map(|flight| flight.initiated.index).chain(response)
    }
}
