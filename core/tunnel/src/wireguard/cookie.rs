//! The two MACs at the end of each handshake message and the cookies behind the second (paper, section 5.4.7).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::crypto::{hash, mac, same, xopen, xseal};
use super::handshake::HandshakeError;
use super::message::{self, COOKIE_REPLY_LEN, CookieReply, Kind, cookie_reply};
use crate::transport::Entropy;

const LABEL_MAC1: &[u8] = b"mac1----";
const LABEL_COOKIE: &[u8] = b"cookie--";

/// How long a secret makes cookies, and how long a cookie serves who got it.
const COOKIE_LIFE: Duration = Duration::from_secs(120);

/// Bytes of one MAC.
const MAC_LEN: usize = 16;

/// The parts of a handshake message that its MACs are about.
struct Parts<'a> {
    body: &'a [u8],
    mac1: &'a [u8],
    mac2: &'a [u8],
}

fn parts(message: &[u8]) -> Option<Parts<'_>> {
    let (rest, mac2) = message.split_last_chunk::<MAC_LEN>()?;
    let (body, mac1) = rest.split_last_chunk::<MAC_LEN>()?;
    Some(Parts { body, mac1, mac2 })
}

/// The MAC of a message's first two parts, which the second MAC is.
fn second_mac(cookie: &[u8; 16], parts: &Parts<'_>) -> [u8; MAC_LEN] {
    mac(cookie, &[parts.body, parts.mac1])
}

/// Puts the MACs on messages to one far side, and keeps the cookie it gave.
pub(crate) struct MacWriter {
    mac1_key: [u8; 32],
    cookie_key: [u8; 32],
    cookie: Option<(Zeroizing<[u8; 16]>, Instant)>,
}

impl MacWriter {
    pub(crate) fn new(remote: &[u8; 32]) -> Self {
        Self {
            mac1_key: hash(&[LABEL_MAC1, remote]),
            cookie_key: hash(&[LABEL_COOKIE, remote]),
            cookie: None,
        }
    }

    /// Writes both MACs and gives the first, which a cookie reply would answer.
    pub(crate) fn write(&mut self, message: &mut [u8], now: Instant) -> [u8; MAC_LEN] {
        self.cookie.take_if(|(_, at)| now.saturating_duration_since(*at) >= COOKIE_LIFE);
        let Some((rest, mac2_room)) = message.split_last_chunk_mut::<MAC_LEN>() else { return [0; MAC_LEN] };
        let Some((body, mac1_room)) = rest.split_last_chunk_mut::<MAC_LEN>() else { return [0; MAC_LEN] };
        let mac1 = mac(&self.mac1_key, &[body]);
        *mac1_room = mac1;
        *mac2_room = match &self.cookie {
            Some((cookie, _)) => mac(cookie.as_slice(), &[body, &mac1]),
            None => [0; MAC_LEN],
        };
        mac1
    }

    /// Keeps the cookie of a reply to the message whose first MAC was `mac1`.
    pub(crate) fn accept(
        &mut self,
        reply: &CookieReply,
        mac1: &[u8; MAC_LEN],
        now: Instant,
    ) -> Result<(), HandshakeError> {
        let mut nonce = [0; 24];
        nonce.copy_from_slice(&reply[cookie_reply::NONCE]);
        let mut cookie = Zeroizing::new([0; 16]);
        xopen(&self.cookie_key, &nonce, mac1, &reply[cookie_reply::COOKIE], cookie.as_mut_slice())?;
        self.cookie = Some((cookie, now));
        Ok(())
    }
}

/// Whether a message's first MAC is right: cheap, so that nothing else needs be done for strangers.
#[derive(Clone)]
pub(crate) struct Mac1Check {
    key: [u8; 32],
}

impl Mac1Check {
    pub(crate) fn new(own: &[u8; 32]) -> Self {
        Self { key: hash(&[LABEL_MAC1, own]) }
    }

    fn passes(&self, message: &[u8]) -> bool {
        parts(message).is_some_and(|parts| same(&mac(&self.key, &[parts.body]), parts.mac1))
    }

    /// Whether a handshake message can be for us: what answers a message of ours names an index that `is_expected`.
    pub(crate) fn admits(&self, kind: Kind, message: &[u8], is_expected: impl FnOnce(u32) -> bool) -> bool {
        let index = message::receiver(kind, message);
        match kind {
            Kind::Initiation => self.passes(message),
            Kind::Response => is_expected(index) && self.passes(message),
            Kind::CookieReply => is_expected(index),
            Kind::Data => false,
        }
    }
}

/// Makes cookies and knows them again.
pub(crate) struct CookieMaker {
    cookie_key: [u8; 32],
    secret: Option<(Zeroizing<[u8; 32]>, Instant)>,
}

impl CookieMaker {
    pub(crate) fn new(own: &[u8; 32]) -> Self {
        Self { cookie_key: hash(&[LABEL_COOKIE, own]), secret: None }
    }

    /// The cookie of the sender of a message.
    fn cookie(secret: &[u8; 32], from: SocketAddr) -> Zeroizing<[u8; 16]> {
        let port = from.port().to_be_bytes();
        Zeroizing::new(match from.ip() {
            IpAddr::V4(address) => mac(secret, &[&address.octets(), &port]),
            IpAddr::V6(address) => mac(secret, &[&address.octets(), &port]),
        })
    }

    /// Whether a message's second MAC proves that its sender receives what is sent to `from`.
    pub(crate) fn proves_address(&self, message: &[u8], from: SocketAddr, now: Instant) -> bool {
        let secret = self.secret.as_ref().filter(|(_, at)| now.saturating_duration_since(*at) < COOKIE_LIFE);
        let (Some((secret, _)), Some(parts)) = (secret, parts(message)) else { return false };
        same(&second_mac(&Self::cookie(secret, from), &parts), parts.mac2)
    }

    /// The cookie reply to a message.
    pub(crate) fn reply(
        &mut self,
        message: &[u8],
        from: SocketAddr,
        now: Instant,
        entropy: &mut dyn Entropy,
    ) -> CookieReply {
        self.secret.take_if(|(_, at)| now.saturating_duration_since(*at) >= COOKIE_LIFE);
        let (secret, _) = self.secret.get_or_insert_with(|| {
            let mut secret = Zeroizing::new([0; 32]);
            entropy.fill(secret.as_mut_slice());
            (secret, now)
        });
        let cookie = Self::cookie(secret, from);
        let mut reply = [0; COOKIE_REPLY_LEN];
        reply[..4].copy_from_slice(&Kind::CookieReply.tag());
        reply[4..8].copy_from_slice(&message::sender(message).to_le_bytes());
        let mut nonce = [0; 24];
        entropy.fill(&mut nonce);
        reply[cookie_reply::NONCE].copy_from_slice(&nonce);
        let mac1 = parts(message).map_or(&[][..], |parts| parts.mac1);
        xseal(&self.cookie_key, &nonce, mac1, cookie.as_slice(), &mut reply[cookie_reply::COOKIE]);
        reply
    }
}

/// Counts handshake messages second by second and says when they are too many.
#[derive(Debug)]
pub(crate) struct LoadMeter {
    limit: u32,
    second: Option<Instant>,
    count: u32,
    /// Until when the load of an earlier second counts on.
    loaded_until: Option<Instant>,
}

impl LoadMeter {
    /// Under load means more than `limit` messages within one second, and for one second after it.
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, second: None, count: 0, loaded_until: None }
    }

    /// Counts one message; whether there is load.
    pub(crate) fn count(&mut self, now: Instant) -> bool {
        const SECOND: Duration = Duration::from_secs(1);
        if self.second.is_none_or(|since| now.saturating_duration_since(since) >= SECOND) {
            self.second = Some(now);
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        if self.count > self.limit {
            self.loaded_until = Some(now + SECOND);
        }
        self.loaded_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(u8);

    impl Entropy for Counting {
        fn fill(&mut self, bytes: &mut [u8]) {
            for byte in bytes {
                self.0 = self.0.wrapping_add(1);
                *byte = self.0;
            }
        }
    }

    fn addresses() -> (SocketAddr, SocketAddr) {
        ("198.51.100.7:5000".parse().unwrap(), "198.51.100.7:5001".parse().unwrap())
    }

    #[test]
    fn a_cookie_proves_one_address_for_two_minutes() {
        let now = Instant::now();
        let (from, other) = addresses();
        let own = [8; 32];
        let mut writer = MacWriter::new(&own);
        let mut maker = CookieMaker::new(&own);
        let check = Mac1Check::new(&own);
        let mut message = [1; 148];
        let mac1 = writer.write(&mut message, now);
        assert!(check.passes(&message));
        assert!(!maker.proves_address(&message, from, now));
        let reply = maker.reply(&message, from, now, &mut Counting(0));
        assert_eq!(Kind::of(&reply), Some(Kind::CookieReply));
        assert_eq!(writer.accept(&reply, &[0; 16], now), Err(HandshakeError::NotAuthentic));
        assert_eq!(writer.accept(&reply, &mac1, now), Ok(()));
        writer.write(&mut message, now);
        assert!(check.passes(&message));
        assert!(maker.proves_address(&message, from, now));
        assert!(!maker.proves_address(&message, other, now));
        let later = now + COOKIE_LIFE;
        assert!(!maker.proves_address(&message, from, later));
        writer.write(&mut message, later);
        assert_eq!(message[132..], [0; 16], "an old cookie is not used");
    }

    #[test]
    fn the_first_mac_covers_the_whole_message() {
        let own = [8; 32];
        let mut message = [1; 92];
        MacWriter::new(&own).write(&mut message, Instant::now());
        for at in 0..76 {
            message[at] ^= 1;
            assert!(!Mac1Check::new(&own).passes(&message), "{at}");
            message[at] ^= 1;
        }
        assert!(Mac1Check::new(&own).passes(&message));
        assert!(!Mac1Check::new(&[9; 32]).passes(&message));
    }

    #[test]
    fn load_begins_above_the_limit_and_ends_a_second_later() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut meter = LoadMeter::new(3);
        let cases =
            [(0, false), (100, false), (200, false), (300, true), (400, true), (1350, true), (2500, false)];
        for (millis, loaded) in cases {
            assert_eq!(meter.count(at(millis)), loaded, "{millis}");
        }
    }
}
