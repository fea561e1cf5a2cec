//! The device's state machine: lifecycle, transport choice, plans, checks, timers. Sans-IO.
//!
//! [`Engine`] takes what happened (`handle_*`, each with the moment) and gives what is to be done
//! ([`Engine::poll_effect`]) and when it wants to be called next ([`Engine::poll_timeout`]). It never sees a packet:
//! those are judged by the snapshot that it publishes.

mod effect;
mod engine;
mod learning;
mod lifecycle;
mod phone;
mod plans;
mod portal;
mod timers;

#[cfg(test)]
mod tests;

pub use effect::{Check, DnsService, Effect};
pub use engine::{Engine, EngineConfig, Fetched, TransportMaker, TransportRequest};
pub use learning::{LEARNT_CAPACITY, LEARNT_CAPACITY_AS_ROUTES, LEARNT_GRACE, MAX_LEARNT_ADDRESSES};
