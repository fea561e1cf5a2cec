//! The log of DNS queries: the newest, in memory, for whoever asks and whoever follows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;
use weft_model::{DnsLog, DnsLogEntry, DnsLogNews};

use crate::lock::lock;

/// The most entries that are kept; the oldest goes for a new one. At usual lengths (150 bytes) they take 75 KiB.
const MAX_LOG: usize = 512;

/// The log, switched off until somebody switches it on. Copies share it.
#[derive(Clone, Default)]
pub struct DnsLogRing(Arc<Shared>);

#[derive(Default)]
struct Shared {
    ring: Mutex<Ring>,
    news: watch::Sender<()>,
}

#[derive(Default)]
struct Ring {
    on: bool,
    entries: VecDeque<DnsLogEntry>,
    /// The number of the entry that comes next. Emptying the log does not change it: whoever follows sees by it what is
    /// gone.
    next: u64,
}

impl Ring {
    /// The number of the oldest entry.
    fn oldest(&self) -> u64 {
        self.next - self.entries.len() as u64
    }
}

impl DnsLogRing {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        lock(&self.0.ring)
    }

    /// Switches it on or off; off empties it.
    pub fn set(&self, on: bool) {
        let mut ring = self.lock();
        ring.on = on;
        if !on {
            // The memory goes with the names.
            ring.entries = VecDeque::new();
        }
        drop(ring);
        self.tell();
    }

    /// Whether it is on, and all that it holds.
    #[must_use]
    pub fn read(&self) -> DnsLog {
        let ring = self.lock();
        DnsLog { on: ring.on, entries: ring.entries.iter().cloned().collect() }
    }

    /// Adds entries while it is on, and says whether somebody waits to be told ([`tell`](Self::tell)).
    pub(super) fn push(&self, entries: impl Iterator<Item = DnsLogEntry>) -> bool {
        let mut ring = self.lock();
        if !ring.on {
            return false;
        }
        let before = ring.next;
        for entry in entries {
            if ring.entries.len() >= MAX_LOG {
                ring.entries.pop_front();
            }
            ring.entries.push_back(entry);
            ring.next += 1;
        }
        ring.next != before && self.0.news.receiver_count() > 0
    }

    /// Wakes those who follow.
    pub(super) fn tell(&self) {
        self.0.news.send_replace(());
    }

    /// Follows it, from the newest `count` entries on.
    #[must_use]
    pub fn follow(&self, count: usize) -> DnsLogReader {
        // Before the look, so that nothing comes in between.
        let news = self.0.news.subscribe();
        let ring = self.lock();
        let next = ring.next - ring.entries.len().min(count) as u64;
        drop(ring);
        DnsLogReader { log: self.clone(), news, next, on: None }
    }
}

/// Who follows the log.
pub struct DnsLogReader {
    log: DnsLogRing,
    news: watch::Receiver<()>,
    /// The number of the entry that is to be told next.
    next: u64,
    /// What was told of the switch.
    on: Option<bool>,
}

impl DnsLogReader {
    /// What is new: at once the first time, later once there is something. Who comes late misses entries, and is told
    /// how many. Dropping the future loses nothing.
    pub async fn next(&mut self) -> DnsLogNews {
        loop {
            self.news.mark_unchanged();
            let news = self.take();
            if !news.entries.is_empty() || news.missed > 0 || self.on != Some(news.on) {
                self.on = Some(news.on);
                return news;
            }
            // No error comes: this reader keeps the log itself, and with it who tells of it.
            if self.news.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn take(&mut self) -> DnsLogNews {
        let ring = self.log.lock();
        let oldest = ring.oldest();
        let missed = oldest.saturating_sub(self.next);
        let skipped = usize::try_from(self.next.saturating_sub(oldest)).unwrap_or(usize::MAX);
        self.next = ring.next;
        DnsLogNews { on: ring.on, missed, entries: ring.entries.iter().skip(skipped).cloned().collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::SystemTime;

    use weft_model::DnsSource;

    use super::*;

    fn add(log: &DnsLogRing, numbers: impl Iterator<Item = usize>) -> bool {
        log.push(numbers.map(|number| DnsLogEntry {
            at: SystemTime::UNIX_EPOCH,
            name: number.to_string(),
            kind: "A".to_owned(),
            source: DnsSource::Doh,
            rcode: "NOERROR".to_owned(),
            micros: 0,
            error: None,
        }))
    }

    /// What a reader is told now: whether the log is on, what it missed, and the names. None where it waits.
    fn told(reader: &mut DnsLogReader) -> Option<(bool, u64, Vec<String>)> {
        match pin!(reader.next()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(DnsLogNews { on, missed, entries }) => {
                Some((on, missed, entries.into_iter().map(|entry| entry.name).collect()))
            }
            Poll::Pending => None,
        }
    }

    fn names(numbers: impl Iterator<Item = usize>) -> Vec<String> {
        numbers.map(|number| number.to_string()).collect()
    }

    #[test]
    fn the_newest_entries_are_kept_and_go_when_it_is_switched_off() {
        let log = DnsLogRing::default();
        assert!(!add(&log, 0..1));
        assert_eq!(log.read(), DnsLog { on: false, entries: Vec::new() });
        log.set(true);
        assert!(!add(&log, 0..MAX_LOG + 5), "nobody follows");
        let kept: Vec<_> = log.read().entries.into_iter().map(|entry| entry.name).collect();
        assert_eq!(kept, names(5..MAX_LOG + 5));
        log.set(false);
        assert_eq!(log.read(), DnsLog { on: false, entries: Vec::new() });
    }

    #[test]
    fn a_reader_is_told_each_entry_once_and_each_turn_of_the_switch() {
        let log = DnsLogRing::default();
        let mut early = log.follow(10);
        assert_eq!(told(&mut early), Some((false, 0, Vec::new())));
        assert_eq!(told(&mut early), None);
        log.set(true);
        assert_eq!(told(&mut early), Some((true, 0, Vec::new())));
        assert!(add(&log, 0..3));
        assert!(!add(&log, 0..0), "nothing is new");
        assert_eq!(told(&mut early), Some((true, 0, names(0..3))));
        assert_eq!(told(&mut early), None);
        let mut late = log.follow(2);
        assert_eq!(told(&mut late), Some((true, 0, names(1..3))));
        assert_eq!(told(&mut log.follow(0)), Some((true, 0, Vec::new())));
        log.set(false);
        log.set(true);
        add(&log, 3..4);
        for reader in [&mut early, &mut late] {
            assert_eq!(told(reader), Some((true, 0, names(3..4))));
        }
    }

    #[test]
    fn a_reader_that_comes_late_is_told_how_many_it_missed() {
        let log = DnsLogRing::default();
        log.set(true);
        let mut reader = log.follow(0);
        assert!(told(&mut reader).is_some());
        add(&log, 0..MAX_LOG + 7);
        assert_eq!(told(&mut reader), Some((true, 7, names(7..MAX_LOG + 7))));
        // Forgotten before it was told.
        add(&log, 0..2);
        log.set(false);
        assert_eq!(told(&mut reader), Some((false, 2, Vec::new())));
        assert_eq!(told(&mut reader), None);
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken() {
        let log = DnsLogRing::default();
        let mut reader = log.follow(0);
        reader.next().await;
        let waiting = tokio::spawn(async move { reader.next().await });
        tokio::task::yield_now().await;
        log.set(true);
        assert!(waiting.await.is_ok_and(|news| news.on));
    }
}
