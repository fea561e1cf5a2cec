//! Limits by source: bad credentials, and connections at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Sources remembered at once.
const MAX_SOURCES: usize = 4096;
/// The time after which one bad credential is forgiven.
const FORGIVE: Duration = Duration::from_secs(10);

/// Whom one person can be: an IPv4 address, or an IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(u128);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Self(v6.to_bits() & !u128::from(u64::MAX)),
        }
    }
}

/// Counts the bad credentials of every source, in a table of a fixed size.
#[derive(Debug)]
pub struct CredentialLimiter {
    /// When each source's count will be back at nothing.
    clean_at: Mutex<HashMap<Source, Instant>>,
    burst: u32,
}

impl CredentialLimiter {
    /// Lets every source be wrong `burst` times in a row.
    #[must_use]
    pub fn new(burst: u32) -> Self {
        Self { clean_at: Mutex::new(HashMap::new()), burst: burst.max(1) }
    }

    /// Whether the source may be wrong once more.
    ///
    /// # Errors
    /// How long it has to wait.
    pub fn check(&self, source: Source, now: Instant) -> Result<(), Duration> {
        let table = self.clean_at.lock().unwrap_or_else(PoisonError::into_inner);
        let debt = table.get(&source).map_or(Duration::ZERO, |clean| clean.saturating_duration_since(now));
        // Up to burst - 1 whole failures on the count leave room for one more.
        let wait = debt.saturating_sub(FORGIVE * (self.burst - 1));
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// Counts a bad credential.
    pub fn failed(&self, source: Source, now: Instant) {
        let mut table = self.clean_at.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= MAX_SOURCES && !table.contains_key(&source) {
            table.retain(|_, clean| *clean > now);
        }
        if table.len() >= MAX_SOURCES && !table.contains_key(&source) {
            // The least guilty is forgotten.
            let least = table.iter().min_by_key(|(_, clean)| **clean).map(|(source, _)| *source);
            if let Some(least) = least {
                table.remove(&least);
            }
        }
        let clean = table.entry(source).or_insert(now);
        *clean = (*clean).max(now) + FORGIVE;
    }
}

/// Counts connections at once, over all and by source.
#[derive(Debug)]
pub struct ConnectionLimiter {
    total: Arc<Semaphore>,
    by_source: Mutex<HashMap<Source, usize>>,
    per_source: usize,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub struct Place {
    limiter: Arc<ConnectionLimiter>,
    source: Source,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionLimiter {
    /// Allows `total` connections, `per_source` of one source.
    #[must_use]
    pub fn new(total: usize, per_source: usize) -> Arc<Self> {
        Arc::new(Self {
            total: Arc::new(Semaphore::new(total.min(Semaphore::MAX_PERMITS))),
            by_source: Mutex::new(HashMap::new()),
            per_source,
        })
    }

    /// A place for one connection, or none where there are too many.
    #[must_use]
    pub fn enter(self: &Arc<Self>, source: Source) -> Option<Place> {
        let permit = Arc::clone(&self.total).try_acquire_owned().ok()?;
        let mut table = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        let count = table.entry(source).or_insert(0);
        if *count >= self.per_source {
            return None;
        }
        *count += 1;
        Some(Place { limiter: Arc::clone(self), source, _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.limiter.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = table.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn a_source_is_an_address_or_a_64() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }

    #[test]
    fn after_the_burst_one_try_comes_back_at_a_time() {
        let limiter = CredentialLimiter::new(3);
        let (me, you) = (source("192.0.2.1"), source("192.0.2.2"));
        let now = Instant::now();
        for _ in 0..3 {
            limiter.check(me, now).unwrap();
            limiter.failed(me, now);
        }
        assert_eq!(limiter.check(me, now), Err(FORGIVE));
        limiter.check(you, now).unwrap();
        limiter.check(me, now + FORGIVE).unwrap();
        limiter.failed(me, now + FORGIVE);
        assert_eq!(limiter.check(me, now + FORGIVE), Err(FORGIVE));
        limiter.check(me, now + FORGIVE * 10).unwrap();
    }

    #[test]
    fn the_table_stays_small_and_keeps_the_guilty() {
        let limiter = CredentialLimiter::new(2);
        let guilty = source("192.0.2.1");
        let now = Instant::now();
        for _ in 0..5 {
            limiter.failed(guilty, now);
        }
        for number in 0..10_000_u32 {
            limiter.failed(Source(u128::from(number) << 64), now);
        }
        assert!(limiter.clean_at.lock().unwrap().len() <= MAX_SOURCES);
        assert!(limiter.check(guilty, now).is_err());
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let limiter = ConnectionLimiter::new(3, 2);
        let (me, you) = (source("192.0.2.1"), source("192.0.2.2"));
        let first = limiter.enter(me).unwrap();
        let _second = limiter.enter(me).unwrap();
        assert!(limiter.enter(me).is_none());
        let _third = limiter.enter(you).unwrap();
        assert!(limiter.enter(you).is_none());
        drop(first);
        assert!(limiter.enter(me).is_some());
        assert_eq!(limiter.by_source.lock().unwrap().len(), 2);
    }
}
