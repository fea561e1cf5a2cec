//! What people are told: the log, and what became of one look-up.

use std::time::{Duration, Instant, SystemTime};

use weft_model::{DnsLogEntry, DnsLookup, DnsSource, ExtendedError};

use super::hold::matching;
use super::types::ClientId;
use super::{Engine, MAX_WAITING};
use crate::message::{self, RecordType, ResponseCode};

/// The most entries of the log that wait to be told; the oldest goes for a new one. No call answers more than all who
/// wait, so that whoever polls after each loses none. At usual lengths (150 bytes) they take 600 KiB.
pub const MAX_LOGGED: usize = MAX_WAITING;
/// The most clients that are traced at once: look-ups of people.
const MAX_TRACED: usize = 16;

/// A client whose query is watched.
pub(super) struct Traced {
    client: ClientId,
    source: Option<DnsSource>,
}

impl Engine {
    /// Switches the log on or off; off forgets what was not told yet.
    pub fn set_log(&mut self, on: bool) {
        self.log = on.then(|| self.log.take().unwrap_or_default());
    }

    /// The next entry of the log, the oldest first, each told once; none while it is off. `wall` is the time of day,
    /// and the entry's.
    pub fn poll_logged(&mut self, wall: SystemTime) -> Option<DnsLogEntry> {
        Some(DnsLogEntry { at: wall, ..self.log.as_mut()?.pop_front()? })
    }

    /// Remembers who answers the query that `client` is about to ask, for [`lookup_of`](Self::lookup_of). Of many at
    /// once the oldest is forgotten.
    pub fn trace(&mut self, client: ClientId) {
        if self.traced.len() >= MAX_TRACED {
            self.traced.pop_front();
        }
        self.traced.push_back(Traced { client, source: None });
    }

    /// What became of the query of a traced client ([`trace`](Self::trace)), which is traced no more; `answer` is
    /// the answer it was given, after `took`. None where it was not traced, or the answer cannot be read.
    pub fn lookup_of(&mut self, client: ClientId, answer: &[u8], took: Duration) -> Option<DnsLookup> {
        let at = self.traced.iter().position(|traced| traced.client == client)?;
        let source = self.traced.remove(at)?.source?;
        let question = message::question(answer).ok()?;
        let entry =
            message::resolved(answer).and_then(|resolved| matching(&self.host_rules, &resolved).cloned());
        Some(DnsLookup {
            name: question.name.to_string(),
            kind: RecordType(question.kind).to_string(),
            source,
            host_entry: entry.or_else(|| self.host_rules.find(question.name.as_bytes()).cloned()),
            rcode: ResponseCode(message::rcode(answer)).to_string(),
            errors: message::extended_errors(answer),
            answers: message::answer_lines(answer),
            micros: micros(took),
            message: answer.to_vec(),
        })
    }

    /// Writes down what became of a query, for whoever watches. `error` is said where the answer holds none: not every
    /// client takes one.
    pub(super) fn note(
        &mut self,
        client: ClientId,
        answer: &[u8],
        (source, error): (&DnsSource, Option<&ExtendedError>),
        since: Instant,
        now: Instant,
    ) {
        if let Some(traced) = self.traced.iter_mut().find(|traced| traced.client == client) {
            traced.source = Some(source.clone());
        }
        if let Some(log) = &mut self.log
            && let Ok(question) = message::question(answer)
        {
            if log.len() >= MAX_LOGGED {
                log.pop_front();
            }
            log.push_back(DnsLogEntry {
                // Whoever polls says when it is.
                at: SystemTime::UNIX_EPOCH,
                name: question.name.to_string(),
                kind: RecordType(question.kind).to_string(),
                source: source.clone(),
                rcode: ResponseCode(message::rcode(answer)).to_string(),
                micros: micros(now.saturating_duration_since(since)),
                error: message::extended_errors(answer).into_iter().next().or_else(|| error.cloned()),
            });
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
