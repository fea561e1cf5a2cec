//! A compact cache of answers, bounded in bytes.

mod key;
mod store;

use std::time::Duration;

pub use key::{Key, KeyBuf, KeyFlags};
pub use store::Cache;

/// Whose answer an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The upstream's: it is the same wherever the device is.
    Upstream,
    /// The resolvers' of a fallback suffix, or the system's: it belongs to the network that the device is in.
    Fallback,
}

/// What became of a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// There is no such entry; nothing was written.
    Miss,
    /// The answer was written.
    Fresh {
        /// Whether it should be fetched anew, because it is asked for often and near its end. Said once in an
        /// entry's life.
        refresh: bool,
        /// Whose answer it is.
        origin: Origin,
    },
    /// An answer whose time is over was written, with TTLs of [`STALE_TTL`] (RFC 8767).
    Stale {
        /// How long its time has been over.
        over: Duration,
        /// Whose answer it is.
        origin: Origin,
    },
}

/// The TTL of every record of a stale answer, in seconds (RFC 8767, section 5).
pub const STALE_TTL: u32 = 30;
