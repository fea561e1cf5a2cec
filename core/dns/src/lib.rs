//! The DNS engine: what to answer, and what to ask whom. Sans-IO.
//!
//! Fronts (loopback sockets, packets) hand queries to an [`Engine`] and take answers from it; an executor takes its
//! [`Request`]s, asks by DoH or plain DNS, inside or outside the tunnel, and hands the answers back. The engine knows
//! no socket, no clock and no random source but those it is given.
//!
//! # What stands here, and where more goes
//!
//! This engine forwards: the self-check name, Local Domain Fallback by the longest suffix, else the upstream. Its
//! methods are the seam that fronts and executors build on, and two places inside it take what a full engine adds:
//!
//! - `Engine::answer_here` answers without asking anybody. A hosts file and a cache go there.
//! - `Engine::finish` is the only way out for an answer that somebody gave. The cache learns there, and an answer
//!   whose addresses a plan must hold first waits there, to be released by a call of its own.

pub mod cache;
mod config;
mod engine;
mod hosts;
pub mod message;
mod pending;

#[cfg(test)]
mod tests;

pub use config::{DEFAULT_CACHE_BYTES, DnsConfig, Upstream};
pub use engine::{
    ClientId, Engine, HoldId, Learnt, LearntAddress, MAX_IN_FLIGHT, MAX_QUERY, Protocol, QUERY_DEADLINE, Request,
    RequestId, Taken, Target, UpstreamError, UpstreamErrorKind, Way,
};
pub use hosts::HostsFile;

/// A source of random bytes that nobody outside can guess.
pub trait Entropy: Send {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);
}
