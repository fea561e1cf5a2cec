//! The DNS engine: what to answer, and what to ask whom. Sans-IO.
//!
//! Fronts (loopback sockets, packets) hand queries to an [`Engine`] and take answers from it; an executor takes its
//! [`Request`]s, asks by DoH or plain DNS, inside or outside the tunnel, and hands the answers back. The engine knows
//! no socket, no clock and no random source but those it is given.
//!
//! # The order of things
//!
//! A query is looked at once: is it one at all (else refused by its code); is a captive portal open (then to the
//! system's resolvers, and nothing of it is kept); is it the self-check name; has the hosts file the name; is an answer
//! to it being held, or in the cache; has somebody asked the same a moment ago; then who is to be asked: the resolvers
//! of the longest fallback suffix, else the upstream.
//!
//! Every answer leaves by one door: it is kept in the cache, and where a host entry of the split tunnel matches a name
//! of it, its addresses are told ([`Engine::poll_learnt`]) and it waits until they lead the right way
//! ([`Engine::release`]).

pub mod cache;
mod config;
mod engine;
mod hosts;
pub mod http2;
pub mod message;

#[cfg(test)]
mod tests;

pub use config::{DEFAULT_CACHE_BYTES, DnsConfig, Upstream};
pub use engine::{
    ClientId, Engine, HOLD_DEADLINE, HoldId, Learnt, LearntAddress, MAX_IN_FLIGHT, MAX_LOGGED, MAX_QUERY,
    MAX_WAITERS, MAX_WAITING, Protocol, QUERY_DEADLINE, Request, RequestId, Taken, Target, UpstreamError,
    UpstreamErrorKind, Way,
};
pub use hosts::HostsFile;

/// A source of random bytes that nobody outside can guess.
pub trait Entropy: Send {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);
}
