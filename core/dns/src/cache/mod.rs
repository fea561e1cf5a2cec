//! A compact cache of answers, bounded in bytes.
//!
//! Entries lie in a log of 64 KiB chunks, one behind the other, as wire-form records behind a head of 14 bytes; an
//! index of 4 bytes a slot finds them. 100,000 names of 20 bytes with an address each take 5.8 MB, index included.
//! Chunks come as they are needed, up to the bound; then the oldest is filled anew, and of its entries those stay
//! that were hit since. An entry whose time is over stays until then, to be served stale (RFC 8767).
//!
//! An answer is kept for the least TTL of its records, a day at most; that there is no such name or no such data
//! for what the SOA record says, three hours at most (RFC 2308). Not kept are: what is cut (TC), errors of a
//! resolver's own (so that nobody who recovers is thought to be down still), TTLs of 0, answers that are not sound,
//! and answers with over 4 KiB of records.

mod entry;
mod index;
mod judge;
mod key;
mod log;
mod store;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use key::{Key, KeyBuf, KeyFlags};
pub use store::{Cache, MIN_BYTES};

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
