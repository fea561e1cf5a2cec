//! One query, from its bytes to its answer's.

use std::sync::atomic::{AtomicU64, Ordering};

use hickory_proto::op::ResponseCode;
use serde::{Deserialize, Serialize};

use super::message::{BadQuery, ExtendedError, Query};
use super::policy::{Policies, Policy, Verdict};
use super::upstream::{UpstreamError, Upstreams};
use super::wire;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The message.
    pub bytes: Vec<u8>,
    /// Seconds for which it may be kept; none = not at all.
    pub ttl: Option<u32>,
    /// The longest message that the client takes over UDP, in bytes.
    pub udp_limit: usize,
}

/// What the resolver did since its start.
#[derive(Debug, Default)]
pub struct DnsCounters {
    queries: AtomicU64,
    blocked: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DnsStats {
    /// Queries taken.
    pub queries: u64,
    /// Blocked by the policy.
    pub blocked: u64,
    /// Answered with SERVFAIL, because no upstream answered or too many queries waited.
    pub failed: u64,
    /// Malformed, or asking for what no resolver does.
    pub refused: u64,
}

/// The resolver.
#[derive(Debug)]
pub struct Resolver {
    policies: Policies,
    upstreams: Upstreams,
    counters: DnsCounters,
}

impl Resolver {
    /// Blocks by `policies` and asks the rest of `upstreams`.
    #[must_use]
    pub fn new(policies: Policies, upstreams: Upstreams) -> Self {
        Self { policies, upstreams, counters: DnsCounters::default() }
    }

    /// Answers a query of a device with this profile.
    ///
    /// # Errors
    /// [`wire::Malformed`] where the message is no query that could be answered.
    pub async fn resolve(&self, query: &[u8], profile: &str) -> Result<Answer, wire::Malformed> {
        count(&self.counters.queries);
        let query = match Query::parse(query) {
            Ok(query) => query,
            Err(bad) => {
                count(&self.counters.refused);
                return match bad {
                    BadQuery::Garbage => Err(wire::Malformed),
                    BadQuery::Answer(bytes) => Ok(Answer { bytes, ttl: None, udp_limit: wire::PLAIN_UDP }),
                };
            }
        };
        let policy = self.policies.of(profile);
        if let Verdict::Block(list) = policy.judge(&query.name) {
            return Ok(self.blocked(&query, list.reason(profile)));
        }
        Ok(self.forward(&query, policy, profile).await)
    }

    /// The counters at this moment.
    #[must_use]
    pub fn stats(&self) -> DnsStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DnsStats {
            queries: read(&self.counters.queries),
            blocked: read(&self.counters.blocked),
            failed: read(&self.counters.failed),
            refused: read(&self.counters.refused),
        }
    }

    async fn forward(&self, query: &Query, policy: &Policy, profile: &str) -> Answer {
        let mut answer = match self.upstreams.ask(query).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "a query failed");
                count(&self.counters.failed);
                let reason = match error {
                    UpstreamError::Busy => ExtendedError::Busy,
                    _ => ExtendedError::NoUpstream,
                };
                return own(query, ResponseCode::ServFail, &reason);
            }
        };
        // A blocked name must not be reached through an allowed one that points to it.
        let mut verdicts = answer.summary.aliases.iter().map(|name| policy.judge(name));
        let blocks = |verdict| if let Verdict::Block(list) = verdict { Some(list) } else { None };
        if let Some(list) = verdicts.find_map(blocks) {
            return self.blocked(query, list.reason(profile));
        }
        wire::set_id(&mut answer.bytes, query.id());
        if query.padded {
            wire::pad(&mut answer.bytes, &answer.summary);
        }
        Answer { bytes: answer.bytes, ttl: answer.summary.min_ttl, udp_limit: query.udp_limit() }
    }

    fn blocked(&self, query: &Query, reason: String) -> Answer {
        count(&self.counters.blocked);
        own(query, ResponseCode::NXDomain, &ExtendedError::Blocked(reason))
    }
}

fn own(query: &Query, code: ResponseCode, error: &ExtendedError) -> Answer {
    Answer { bytes: query.own_answer(code, Some(error)), ttl: None, udp_limit: query.udp_limit() }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
