//! DNS over HTTPS (RFC 8484) over HTTP/2.
//!
//! ```text
//! DohClient ── Pool ──┬── Connection ── queries as streams, side by side
//!                     ├── Connection      (another one only where the server allows no more streams)
//!                     └── Opener ── Dial: inside or outside the tunnel
//! ```
//!
//! The first connection is opened by the first query. Nothing is sent and nothing waits while nobody asks, so idle
//! connections cost no wake-up; whether one still lives is found out by the query that wants it. What a query finds
//! gone is opened anew, and the query is sent once more; who fails again and again is left alone for a moment.

mod client;
mod connection;
mod dial;
mod link;
mod open;
mod pool;
mod silence;
#[cfg(test)]
mod tests;
mod ticket;

pub use client::{DohClient, DohConfig};
pub use dial::{BoxedStream, Dial, Dialing, Inside, Outside, Stream};
pub use ticket::{Answered, Answers, Resolving};
use weft_dns::http2::MAX_ANSWER;
use weft_dns::{UpstreamError, UpstreamErrorKind, message};

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DohError {
    /// The resolver cannot be reached.
    #[error("the resolver cannot be reached: {0}")]
    Unreachable(String),
    /// Who answers is not the resolver, or TLS failed.
    #[error("the resolver is not trusted: {0}")]
    Untrusted(String),
    /// The resolver speaks no HTTP/2.
    #[error("the resolver does not speak HTTP/2")]
    NoHttp2,
    /// The connection ended before the answer did.
    #[error("the connection to the resolver ended: {0}")]
    Lost(String),
    /// Nothing at all came over the connection.
    #[error("the resolver has fallen silent")]
    Silent,
    /// The resolver had no room for one more query and did not look at it.
    #[error("the resolver takes no more queries at the moment")]
    Busy,
    /// The resolver broke off this one answer.
    #[error("the resolver broke off its answer: {0}")]
    Broken(String),
    /// The resolver refused.
    #[error("the resolver answers with HTTP status {0}")]
    Status(u16),
    /// The answer is no DNS message.
    #[error("the resolver's answer is no DNS message")]
    NotDns,
    /// The answer is to another question.
    #[error("the resolver's answer is not to the question")]
    OtherQuestion,
    /// The answer is too long.
    #[error("the resolver's answer is longer than {MAX_ANSWER} bytes")]
    TooLong,
    /// There was no answer in time.
    #[error("the resolver did not answer in time")]
    TimedOut,
    /// The client is made of something unusable.
    #[error("the resolver's address is not usable: {0}")]
    Config(String),
}

impl DohError {
    /// Whether the connection is to blame, so that another one may do better.
    fn is_of_connection(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Silent)
    }

    /// Whether the query may be sent once more.
    fn is_worth_another(&self) -> bool {
        self.is_of_connection() || *self == Self::Busy
    }
}

impl From<DohError> for UpstreamError {
    fn from(error: DohError) -> Self {
        let kind = match error {
            DohError::Unreachable(_)
            | DohError::Untrusted(_)
            | DohError::NoHttp2
            | DohError::Lost(_)
            | DohError::Busy
            | DohError::Config(_) => UpstreamErrorKind::Unreachable,
            DohError::Silent | DohError::TimedOut => UpstreamErrorKind::TimedOut,
            DohError::Status(status) => UpstreamErrorKind::Refused { status },
            DohError::Broken(_) | DohError::NotDns | DohError::OtherQuestion | DohError::TooLong => {
                UpstreamErrorKind::Garbage
            }
        };
        Self::new(kind, error.to_string())
    }
}

/// Checks that a message is an answer, whole, to this very question.
///
/// # Errors
/// [`DohError::NotDns`] or [`DohError::OtherQuestion`].
fn check(answer: &[u8], query: &[u8]) -> Result<(), DohError> {
    if !message::is_answer(answer) || !message::is_well_formed(answer) {
        return Err(DohError::NotDns);
    }
    if message::asks_the_same(answer, query) { Ok(()) } else { Err(DohError::OtherQuestion) }
}
