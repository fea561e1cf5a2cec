//! Sessions: the keys that a handshake gave, and the three of them that a peer keeps.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use aws_lc_rs::aead::{Aad, LessSafeKey};
use weft_model::DropReason;

use super::crypto::{TAG_LEN, aead_key, counter_nonce};
use super::handshake::TransportKeys;
use super::lock;
use super::message::{self, DATA_HEADER_LEN, data_header};
use super::replay::ReplayWindow;
use super::timers::{
    REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME, REKEY_ON_RECEIVE,
};

/// The keys of one handshake. Any number of threads may seal at once; openers of one session take turns.
pub(crate) struct Session {
    pub(crate) local: u32,
    remote: u32,
    initiator: bool,
    pub(crate) born: Instant,
    send: LessSafeKey,
    next_counter: AtomicU64,
    receive: LessSafeKey,
    window: Mutex<ReplayWindow>,
}

impl Session {
    pub(crate) fn new(keys: &TransportKeys, now: Instant) -> Self {
        Self {
            local: keys.local,
            remote: keys.remote,
            initiator: keys.initiator,
            born: now,
            send: aead_key(&keys.send),
            next_counter: AtomicU64::new(0),
            receive: aead_key(&keys.receive),
            window: Mutex::new(ReplayWindow::new()),
        }
    }

    /// Whether the keys may still be used.
    pub(crate) fn is_alive(&self, now: Instant) -> bool {
        now < self.born + REJECT_AFTER_TIME
    }

    /// Whether whoever sends should have a new session made. The time counts for the initiator alone, so that the
    /// two sides do not both begin.
    pub(crate) fn is_stale_for_sending(&self, now: Instant) -> bool {
        (self.initiator && now >= self.born + REKEY_AFTER_TIME)
            || self.next_counter.load(Ordering::Relaxed) > REKEY_AFTER_MESSAGES
    }

    /// Whether whoever receives should have a new session made.
    pub(crate) fn is_stale_for_receiving(&self, now: Instant) -> bool {
        self.initiator && now >= self.born + REKEY_ON_RECEIVE
    }

    /// Claims `count` counters in a row and gives the first; nothing once they are used up.
    pub(crate) fn reserve(&self, count: u64) -> Option<u64> {
        self.next_counter
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                next.checked_add(count).filter(|end| *end <= REJECT_AFTER_MESSAGES)
            })
            .ok()
    }

    /// Makes `datagram` the data message of `packet` with zeros behind it, as long as the room is. `counter` is a
    /// claimed one, used once.
    pub(crate) fn seal_padded(&self, counter: u64, packet: &[u8], datagram: &mut [u8]) {
        let Some((header, rest)) = datagram.split_first_chunk_mut::<DATA_HEADER_LEN>() else { return };
        let Some((text, tag_room)) = rest.split_last_chunk_mut::<TAG_LEN>() else { return };
        let Some((room, padding)) = text.split_at_mut_checked(packet.len()) else { return };
        room.copy_from_slice(packet);
        padding.fill(0);
        *header = data_header(self.remote, counter);
        let nonce = counter_nonce(counter);
        if let Ok(tag) = self.send.seal_in_place_separate_tag(nonce, Aad::empty(), text) {
            tag_room.copy_from_slice(tag.as_ref());
        }
    }

    /// Makes `datagram` the data message of `packet`, which needs no padding: the same without a copy.
    pub(crate) fn seal_from(&self, counter: u64, packet: &[u8], datagram: &mut [u8]) {
        let Some((header, rest)) = datagram.split_first_chunk_mut::<DATA_HEADER_LEN>() else { return };
        let Some((text, tag)) = rest.split_last_chunk_mut::<TAG_LEN>() else { return };
        *header = data_header(self.remote, counter);
        let nonce = counter_nonce(counter);
        let sealed = self.send.seal_out_of_place_scatter(nonce, Aad::empty(), packet, text, &[], tag);
        debug_assert!(sealed.is_ok(), "the room is exactly as long as the packet");
    }

    /// Begins to open data messages; others wait until this opener is gone.
    pub(crate) fn opener(&self) -> Opener<'_> {
        Opener { session: self, window: lock(&self.window) }
    }
}

/// Opens data messages of one session.
pub(crate) struct Opener<'a> {
    session: &'a Session,
    window: MutexGuard<'a, ReplayWindow>,
}

impl Opener<'_> {
    /// The plaintext of a data message, padding included, opened in place.
    pub(crate) fn open<'d>(&mut self, datagram: &'d mut [u8]) -> Result<&'d mut [u8], DropReason> {
        let counter = message::counter(datagram);
        if counter >= REJECT_AFTER_MESSAGES {
            return Err(DropReason::BadDatagram);
        }
        if !self.window.is_new(counter) {
            return Err(DropReason::Replay);
        }
        let sealed = datagram.get_mut(DATA_HEADER_LEN..).ok_or(DropReason::BadDatagram)?;
        let (text, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(DropReason::BadDatagram)?;
        self.session
            .receive
            .open_in_place_separate_tag(counter_nonce(counter), Aad::empty(), tag, text)
            .map_err(|_| DropReason::BadSeal)?;
        self.window.accept(counter);
        Ok(text)
    }
}

/// How many bytes a packet takes once padded: to a multiple of 16, yet never beyond the MTU, so that the longest
/// packet's datagram is no longer than the path was measured for.
pub(crate) fn padded_len(packet: usize, mtu: usize) -> usize {
    packet.next_multiple_of(16).min(mtu.max(packet))
}

/// The sessions of one peer: the one to send with, the one before, and one that the far side has yet to confirm.
#[derive(Default)]
pub(crate) struct Keyring {
    current: Option<Arc<Session>>,
    previous: Option<Arc<Session>>,
    next: Option<Arc<Session>>,
}

impl Keyring {
    /// The session to send with.
    pub(crate) fn sending(&self, now: Instant) -> Option<&Arc<Session>> {
        self.current.as_ref().filter(|session| session.is_alive(now))
    }

    /// The session of a data message's receiver index.
    pub(crate) fn find(&self, local: u32, now: Instant) -> Option<&Arc<Session>> {
        self.all().find(|session| session.local == local && session.is_alive(now))
    }

    /// Takes the session of a handshake that this side began: it is good at once.
    pub(crate) fn install_initiated(&mut self, session: Session) {
        self.previous = self.next.take().or(self.current.take());
        self.current = Some(Arc::new(session));
    }

    /// Takes the session of a handshake that the far side began: it is good once a data message came.
    pub(crate) fn install_answered(&mut self, session: Session) {
        self.previous = None;
        self.next = Some(Arc::new(session));
    }

    /// Notes that an authentic data message came for a session; whether that confirmed it.
    pub(crate) fn confirm(&mut self, local: u32) -> bool {
        let confirmed = self.next.take_if(|session| session.local == local);
        if confirmed.is_none() {
            return false;
        }
        self.previous = std::mem::replace(&mut self.current, confirmed);
        true
    }

    /// Whether a session is still to be confirmed.
    pub(crate) fn awaits(&self, local: u32) -> bool {
        self.next.as_ref().is_some_and(|session| session.local == local)
    }

    /// Drops, and so wipes, the keys that may not be used any more.
    pub(crate) fn purge(&mut self, now: Instant) {
        for slot in [&mut self.current, &mut self.previous, &mut self.next] {
            slot.take_if(|session| !session.is_alive(now));
        }
    }

    /// Drops all keys.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Every session, the newest not first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Session>> {
        [&self.current, &self.previous, &self.next].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zeroize::Zeroizing;

    use super::*;
    use crate::wireguard::message::DATA_OVERHEAD;

    fn session(local: u32, initiator: bool, now: Instant) -> Session {
        let key = |byte| Zeroizing::new([byte; 32]);
        let keys = TransportKeys { send: key(1), receive: key(1), local, remote: local, initiator };
        Session::new(&keys, now)
    }

    #[test]
    fn counters_end_before_they_could_repeat() {
        let session = session(1, true, Instant::now());
        assert_eq!((session.reserve(3), session.reserve(1)), (Some(0), Some(3)));
        session.next_counter.store(REJECT_AFTER_MESSAGES - 2, Ordering::Relaxed);
        assert_eq!(session.reserve(3), None);
        assert_eq!(session.reserve(2), Some(REJECT_AFTER_MESSAGES - 2));
        assert_eq!(session.reserve(1), None);
        assert_eq!(session.reserve(u64::MAX), None);
    }

    #[test]
    fn a_session_goes_stale_by_its_age_and_by_its_messages() {
        let now = Instant::now();
        let at = |secs| now + Duration::from_secs(secs);
        let cases = [
            (true, 119, false, false, true),
            (true, 120, true, false, true),
            (true, 165, true, true, true),
            (true, 180, true, true, false),
            (false, 179, false, false, true),
            (false, 180, false, false, false),
        ];
        for (initiator, secs, sending, receiving, alive) in cases {
            let session = session(1, initiator, now);
            let at = at(secs);
            assert_eq!(session.is_stale_for_sending(at), sending, "{secs}");
            assert_eq!(session.is_stale_for_receiving(at), receiving, "{secs}");
            assert_eq!(session.is_alive(at), alive, "{secs}");
        }
        let busy = session(1, false, now);
        busy.next_counter.store(REKEY_AFTER_MESSAGES + 1, Ordering::Relaxed);
        assert!(busy.is_stale_for_sending(now));
    }

    #[test]
    fn a_message_opens_once_and_a_forged_one_spoils_nothing() {
        let session = session(1, true, Instant::now());
        let mut datagram = vec![0xee; 48 + DATA_OVERHEAD];
        session.seal_from(5, &[7; 48], &mut datagram);
        let mut forged = datagram.clone();
        forged[30] ^= 1;
        assert_eq!(session.opener().open(&mut forged), Err(DropReason::BadSeal));
        assert_eq!(session.opener().open(&mut datagram.clone()).unwrap(), [7; 48]);
        assert_eq!(session.opener().open(&mut datagram), Err(DropReason::Replay));
        let mut datagram = vec![0xee; 16 + DATA_OVERHEAD];
        session.seal_padded(6, &[7; 3], &mut datagram);
        assert_eq!(
            session.opener().open(&mut datagram).unwrap(),
            [7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn padding_goes_to_sixteen_and_never_beyond_the_mtu() {
        let cases = [(0, 0), (1, 16), (16, 16), (17, 32), (1279, 1280), (1280, 1280)];
        for (len, padded) in cases {
            assert_eq!(padded_len(len, 1280), padded);
        }
        assert_eq!(
            (padded_len(1418, 1420), padded_len(1405, 1420), padded_len(1400, 1420)),
            (1420, 1408, 1408)
        );
    }

    #[test]
    fn the_keyring_sends_by_what_the_far_side_surely_has() {
        let now = Instant::now();
        let mut ring = Keyring::default();
        let sending = |ring: &Keyring| ring.sending(now).map(|session| session.local);
        let known = |ring: &Keyring| {
            let mut known: Vec<_> = ring.all().map(|session| session.local).collect();
            known.sort_unstable();
            known
        };
        ring.install_answered(session(1, false, now));
        assert_eq!((sending(&ring), ring.awaits(1)), (None, true), "not confirmed yet");
        assert!(!ring.confirm(9) && ring.confirm(1) && !ring.confirm(1));
        assert_eq!(sending(&ring), Some(1));
        ring.install_initiated(session(2, true, now));
        assert_eq!((sending(&ring), known(&ring)), (Some(2), vec![1, 2]), "late packets still open");
        ring.install_answered(session(3, false, now));
        assert_eq!((sending(&ring), known(&ring)), (Some(2), vec![2, 3]));
        ring.install_answered(session(4, false, now));
        assert_eq!(known(&ring), [2, 4]);
        ring.install_initiated(session(5, true, now));
        assert_eq!((sending(&ring), known(&ring)), (Some(5), vec![4, 5]));
        let later = now + REJECT_AFTER_TIME;
        assert!(ring.sending(later).is_none() && ring.find(5, later).is_none());
        ring.purge(later);
        assert_eq!(ring.all().count(), 0);
    }
}
