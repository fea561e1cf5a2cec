//! The resolver: who may ask ([`doh`], [`plain`]), what is blocked ([`policy`]), and whom the rest is asked of
//! ([`upstream`]).
//!
//! An upstream's answer goes on byte for byte: only its ID is set, and padding is added where the query was
//! padded. So nothing that this program does not know can be lost on the way.

pub mod doh;
pub mod message;
pub mod plain;
pub mod policy;
pub mod resolver;
pub mod upstream;
pub mod wire;

pub use policy::Policies;
pub use resolver::{Answer, DnsCounters, DnsStats, Resolver};
