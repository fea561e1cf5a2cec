//! DNS over HTTPS (RFC 8484) over one HTTP/2 connection.
//!
//! The connection is opened by the first query and used by all: queries are streams of it, side by side. Nothing is
//! sent while nobody asks, so an idle connection costs no wake-up; it is opened anew when it is found gone, and
//! queries that were under way on it are sent once more.

mod client;
mod connection;
mod dial;
#[cfg(test)]
mod tests;

pub use client::{DohClient, DohConfig};
pub use dial::{BoxedStream, Dial, Dialing, Inside, Outside, Stream};

/// The longest answer in bytes.
pub const MAX_ANSWER: usize = 65_535;

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
