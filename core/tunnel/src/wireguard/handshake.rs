//! The Noise_IKpsk2 handshake (paper, section 5.4): initiation, response, and the keys that come of them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use weft_model::{PresharedKey, PrivateKey, PublicKey};
use x25519_dalek::{PublicKey as Point, StaticSecret};
use zeroize::Zeroizing;

use super::crypto::{BadTag, Key, hash, kdf, open_once, seal_once};
use super::lock;
use super::message::{self, INITIATION_LEN, Initiation, Kind, RESPONSE_LEN, Response, initiation, response};
use crate::transport::Anchor;

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// TAI64N's count of seconds at the Unix epoch: the label of 1970, and TAI's ten seconds of that year.
const TAI64_EPOCH: u64 = (1 << 62) + 10;

/// The step of the timestamps' fraction in nanoseconds: coarse, since a fine clock tells an observer's other
/// measurements apart; a power of two below a 50th of a second, the rate that responders take from one peer.
const TIMESTAMP_STEP: u32 = 1 << 24;

/// Why a handshake message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("the message is not for this key or was altered")]
    NotAuthentic,
    #[error("the message repeats an earlier timestamp")]
    Replayed,
    #[error("the message came too soon after the one before")]
    TooSoon,
    #[error("the message belongs to no known peer or handshake")]
    Unknown,
}

impl From<BadTag> for HandshakeError {
    fn from(_: BadTag) -> Self {
        Self::NotAuthentic
    }
}

/// A TAI64N label: seconds and nanoseconds of the sender's clock. Compares by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub(crate) [u8; 12]);

impl Timestamp {
    /// Restores a label that was kept from an earlier run.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// The label's bytes, to be kept for the next run.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 12] {
        self.0
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timestamp(..)")
    }
}

/// The dates of one device's initiations. Clones share them, so that every transport of a device dates its initiations
/// later than those of the ones before it: a far side takes what is not later for a replay.
#[derive(Debug, Clone, Default)]
pub struct Dates(Arc<Mutex<Dated>>);

#[derive(Debug, Default)]
struct Dated {
    /// The last date, since the Unix epoch.
    date: Duration,
    /// When it was given.
    at: Option<Instant>,
}

impl Dates {
    fn lock(&self) -> MutexGuard<'_, Dated> {
        lock(&self.0)
    }

    /// The date of the next initiation, where `coarse` is the time of day.
    fn next(&self, coarse: Duration, now: Instant) -> Duration {
        let mut dated = self.lock();
        dated.date = coarse.max(dated.date + Duration::from_nanos(u64::from(TIMESTAMP_STEP)));
        dated.at = Some(now);
        dated.date
    }

    /// When the last one was given; none before the first.
    pub(crate) fn last_at(&self) -> Option<Instant> {
        self.lock().at
    }
}

/// Dates initiations: every one later than the one before, whatever the clock does.
pub(crate) struct Stamper {
    anchor: Anchor,
    dates: Dates,
}

impl Stamper {
    pub(crate) fn new(anchor: Anchor, dates: Dates) -> Self {
        Self { anchor, dates }
    }

    /// When the last initiation was dated, of this transport or of one before it.
    pub(crate) fn last_at(&self) -> Option<Instant> {
        self.dates.last_at()
    }

    pub(crate) fn stamp(&mut self, now: Instant) -> Timestamp {
        let exact = self.anchor.unix + now.saturating_duration_since(self.anchor.instant);
        let coarse = exact.subsec_nanos() / TIMESTAMP_STEP * TIMESTAMP_STEP;
        let date = self.dates.next(Duration::new(exact.as_secs(), coarse), now);
        let mut label = [0; 12];
        label[..8].copy_from_slice(&(TAI64_EPOCH + date.as_secs()).to_be_bytes());
        label[8..].copy_from_slice(&date.subsec_nanos().to_be_bytes());
        Timestamp(label)
    }
}

/// This side's key pair.
pub(crate) struct Identity {
    private: StaticSecret,
    pub(crate) public: [u8; 32],
}

impl Identity {
    pub(crate) fn new(key: &PrivateKey) -> Self {
        let private = StaticSecret::from(*key.expose());
        let public = Point::from(&private).to_bytes();
        Self { private, public }
    }
}

/// The far side's key and what two static keys make together.
pub(crate) struct Remote {
    pub(crate) public: [u8; 32],
    preshared: Key,
    static_static: Key,
}

impl Remote {
    /// Nothing where the far side's key is one of the few points whose secrets are no secrets.
    pub(crate) fn new(
        identity: &Identity,
        key: &PublicKey,
        preshared: Option<&PresharedKey>,
    ) -> Option<Self> {
        let static_static = agree(&identity.private, key.as_bytes())?;
        let preshared = Zeroizing::new(preshared.map_or([0; 32], |key| *key.expose()));
        Some(Self { public: *key.as_bytes(), preshared, static_static })
    }
}

/// X25519 (RFC 7748); nothing where the other side's point contributes nothing.
fn agree(private: &StaticSecret, public: &[u8; 32]) -> Option<Key> {
    let shared = private.diffie_hellman(&Point::from(*public));
    shared.was_contributory().then(|| Zeroizing::new(shared.to_bytes()))
}

/// What both sides' messages are hashed and mixed into.
#[derive(Clone)]
struct Transcript {
    hash: [u8; 32],
    chain: Key,
}

impl Transcript {
    fn new(responder: &[u8; 32]) -> Self {
        let chain = hash(&[CONSTRUCTION]);
        let start = hash(&[&chain, IDENTIFIER]);
        Self { hash: hash(&[&start, responder]), chain: Zeroizing::new(chain) }
    }

    fn absorb(&mut self, bytes: &[u8]) {
        self.hash = hash(&[&self.hash, bytes]);
    }

    fn mix(&mut self, input: &[u8]) {
        let [chain] = kdf(&self.chain, input);
        self.chain = chain;
    }

    fn mix_key(&mut self, input: &[u8]) -> Key {
        let [chain, key] = kdf(&self.chain, input);
        self.chain = chain;
        key
    }

    fn ephemeral(&mut self, public: &[u8]) {
        self.mix(public);
        self.absorb(public);
    }

    fn preshared(&mut self, preshared: &Key) -> Key {
        let [chain, temporary, key] = kdf(&self.chain, preshared.as_slice());
        self.chain = chain;
        self.absorb(temporary.as_slice());
        key
    }

    fn seal(&mut self, key: &Key, plain: &[u8], sealed: &mut [u8]) {
        seal_once(key, &self.hash, plain, sealed);
        self.absorb(sealed);
    }

    fn open(&mut self, key: &Key, sealed: &[u8], plain: &mut [u8]) -> Result<(), BadTag> {
        open_once(key, &self.hash, sealed, plain)?;
        self.absorb(sealed);
        Ok(())
    }

    /// The initiator's sending key and its receiving key.
    fn split(&self) -> [Key; 2] {
        kdf(&self.chain, &[])
    }
}

/// The keys of a session, and its index on either side.
pub(crate) struct TransportKeys {
    pub(crate) send: Key,
    pub(crate) receive: Key,
    pub(crate) local: u32,
    pub(crate) remote: u32,
    pub(crate) initiator: bool,
}

/// An initiation that went out and may be answered.
pub(crate) struct Initiated {
    pub(crate) index: u32,
    transcript: Transcript,
    ephemeral: StaticSecret,
}

impl Initiated {
    /// Writes an initiation without its MACs.
    pub(crate) fn begin(
        identity: &Identity,
        remote: &Remote,
        index: u32,
        ephemeral: Key,
        timestamp: Timestamp,
    ) -> Option<(Self, Initiation)> {
        let mut message = [0; INITIATION_LEN];
        message[..4].copy_from_slice(&Kind::Initiation.tag());
        message[4..8].copy_from_slice(&index.to_le_bytes());
        let mut transcript = Transcript::new(&remote.public);
        let ephemeral = StaticSecret::from(*ephemeral);
        let public = Point::from(&ephemeral).to_bytes();
        message[initiation::EPHEMERAL].copy_from_slice(&public);
        transcript.ephemeral(&public);
        let key = transcript.mix_key(agree(&ephemeral, &remote.public)?.as_slice());
        transcript.seal(&key, &identity.public, &mut message[initiation::STATIC]);
        let key = transcript.mix_key(remote.static_static.as_slice());
        transcript.seal(&key, &timestamp.0, &mut message[initiation::TIMESTAMP]);
        Some((Self { index, transcript, ephemeral }, message))
    }

    /// Reads the response to this initiation; its MACs were checked before.
    pub(crate) fn finish(
        &self,
        identity: &Identity,
        remote: &Remote,
        message: &Response,
    ) -> Result<TransportKeys, HandshakeError> {
        let mut transcript = self.transcript.clone();
        let mut public = [0; 32];
        public.copy_from_slice(&message[response::EPHEMERAL]);
        transcript.ephemeral(&public);
        for private in [&self.ephemeral, &identity.private] {
            let shared = agree(private, &public).ok_or(HandshakeError::NotAuthentic)?;
            transcript.mix(shared.as_slice());
        }
        let key = transcript.preshared(&remote.preshared);
        transcript.open(&key, &message[response::NOTHING], &mut [])?;
        let [send, receive] = transcript.split();
        Ok(TransportKeys {
            send,
            receive,
            local: self.index,
            remote: message::sender(message),
            initiator: true,
        })
    }
}

/// An initiation whose sender's key is known but not yet proven.
pub(crate) struct Offer {
    /// The key that the sender claims.
    pub(crate) public: [u8; 32],
    sender: u32,
    ephemeral: [u8; 32],
    transcript: Transcript,
}

impl Offer {
    /// Reads whom an initiation is from; its MACs were checked before.
    pub(crate) fn read(identity: &Identity, message: &Initiation) -> Result<Self, HandshakeError> {
        let mut transcript = Transcript::new(&identity.public);
        let mut ephemeral = [0; 32];
        ephemeral.copy_from_slice(&message[initiation::EPHEMERAL]);
        transcript.ephemeral(&ephemeral);
        let shared = agree(&identity.private, &ephemeral).ok_or(HandshakeError::NotAuthentic)?;
        let key = transcript.mix_key(shared.as_slice());
        let mut public = [0; 32];
        transcript.open(&key, &message[initiation::STATIC], &mut public)?;
        Ok(Self { public, sender: message::sender(message), ephemeral, transcript })
    }

    /// Proves the sender's key and gives the message's date.
    pub(crate) fn verify(
        mut self,
        remote: &Remote,
        message: &Initiation,
    ) -> Result<(ProvenOffer, Timestamp), HandshakeError> {
        let key = self.transcript.mix_key(remote.static_static.as_slice());
        let mut timestamp = [0; 12];
        self.transcript.open(&key, &message[initiation::TIMESTAMP], &mut timestamp)?;
        Ok((ProvenOffer(self), Timestamp(timestamp)))
    }
}

/// An initiation that its sender alone can have made.
pub(crate) struct ProvenOffer(Offer);

impl ProvenOffer {
    /// Writes the response without its MACs.
    pub(crate) fn answer(
        self,
        remote: &Remote,
        index: u32,
        ephemeral: Key,
    ) -> Result<(TransportKeys, Response), HandshakeError> {
        let Offer { public, sender, ephemeral: theirs, mut transcript } = self.0;
        let mut message = [0; RESPONSE_LEN];
        message[..4].copy_from_slice(&Kind::Response.tag());
        message[4..8].copy_from_slice(&index.to_le_bytes());
        message[response::RECEIVER].copy_from_slice(&sender.to_le_bytes());
        let ours = StaticSecret::from(*ephemeral);
        let point = Point::from(&ours).to_bytes();
        message[response::EPHEMERAL].copy_from_slice(&point);
        transcript.ephemeral(&point);
        for other in [&theirs, &public] {
            let shared = agree(&ours, other).ok_or(HandshakeError::NotAuthentic)?;
            transcript.mix(shared.as_slice());
        }
        let key = transcript.preshared(&remote.preshared);
        transcript.seal(&key, &[], &mut message[response::NOTHING]);
        let [receive, send] = transcript.split();
        Ok((TransportKeys { send, receive, local: index, remote: sender, initiator: false }, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Identity, Identity) {
        (Identity::new(&PrivateKey::from([1; 32])), Identity::new(&PrivateKey::from([2; 32])))
    }

    fn remote(own: &Identity, other: &Identity, preshared: u8) -> Remote {
        let preshared = PresharedKey::from([preshared; 32]);
        Remote::new(own, &PublicKey::from(other.public), Some(&preshared)).unwrap()
    }

    fn stamp() -> Timestamp {
        let anchor = Anchor { instant: Instant::now(), unix: Duration::from_secs(1_700_000_000) };
        Stamper::new(anchor, Dates::default()).stamp(anchor.instant)
    }

    fn shake(
        alter: impl Fn(&mut Initiation, &mut Response),
        preshared: (u8, u8),
    ) -> Result<(), HandshakeError> {
        let (alice, bob) = pair();
        let (to_bob, to_alice) = (remote(&alice, &bob, preshared.0), remote(&bob, &alice, preshared.1));
        let (mut initiation, mut response) = ([0; 148], [0; 92]);
        alter(&mut initiation, &mut response);
        let (initiated, message) =
            Initiated::begin(&alice, &to_bob, 7, Zeroizing::new([3; 32]), stamp()).unwrap();
        initiation.iter_mut().zip(message).for_each(|(mask, byte)| *mask ^= byte);
        let offer = Offer::read(&bob, &initiation)?;
        assert_eq!(offer.public, alice.public);
        let (proven, at) = offer.verify(&to_alice, &initiation)?;
        assert_eq!(at, stamp());
        let (theirs, answer) = proven.answer(&to_alice, 9, Zeroizing::new([4; 32]))?;
        response.iter_mut().zip(answer).for_each(|(mask, byte)| *mask ^= byte);
        let ours = initiated.finish(&alice, &to_bob, &response)?;
        assert_eq!((ours.send, ours.receive), (theirs.receive, theirs.send));
        assert_eq!((ours.local, ours.remote), (theirs.remote, theirs.local));
        Ok(())
    }

    #[test]
    fn both_sides_derive_the_same_keys() {
        assert_eq!(shake(|_, _| {}, (0, 0)), Ok(()));
        assert_eq!(shake(|_, _| {}, (5, 5)), Ok(()));
    }

    #[test]
    fn another_preshared_key_fails_at_the_response() {
        assert_eq!(shake(|_, _| {}, (5, 6)), Err(HandshakeError::NotAuthentic));
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        for at in 8..116 {
            assert_eq!(
                shake(|message, _| message[at] = 1, (0, 0)),
                Err(HandshakeError::NotAuthentic),
                "{at}"
            );
        }
        for at in 12..60 {
            assert_eq!(
                shake(|_, message| message[at] = 1, (0, 0)),
                Err(HandshakeError::NotAuthentic),
                "{at}"
            );
        }
    }

    #[test]
    fn a_point_without_a_secret_is_refused() {
        let (alice, _) = pair();
        assert!(Remote::new(&alice, &PublicKey::from([0; 32]), None).is_none());
    }

    #[test]
    fn timestamps_grow_whatever_the_clock_does() {
        let anchor = Anchor { instant: Instant::now(), unix: Duration::new(1_700_000_000, 123_456_789) };
        let mut stamper = Stamper::new(anchor, Dates::default());
        let mut last = stamper.stamp(anchor.instant + Duration::from_secs(5));
        for after in [5_000, 5_001, 0, 5_000, 60_000] {
            let next = stamper.stamp(anchor.instant + Duration::from_millis(after));
            assert!(next > last);
            last = next;
        }
        assert_eq!(last.0[..8], (TAI64_EPOCH + 1_700_000_060).to_be_bytes());
        let nanos = u32::from_be_bytes(last.0[8..].try_into().unwrap());
        assert_eq!(nanos % TIMESTAMP_STEP, 0);
        assert!(nanos < 1_000_000_000);
    }

    #[test]
    fn a_transport_made_anew_goes_on_after_the_last_date() {
        let anchor = Anchor { instant: Instant::now(), unix: Duration::new(1_700_000_000, 0) };
        // The system's clock may have been set back meanwhile.
        let earlier = Anchor { unix: Duration::new(1_600_000_000, 0), ..anchor };
        let dates = Dates::default();
        let mut last = Stamper::new(anchor, dates.clone()).stamp(anchor.instant);
        for next in [anchor, anchor, earlier] {
            let stamp = Stamper::new(next, dates.clone()).stamp(next.instant);
            assert!(stamp > last);
            last = stamp;
        }
    }
}
