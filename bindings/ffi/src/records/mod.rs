//! What crosses the boundary as plain data, and how it is made of the core's own.

mod config;
mod dns;
mod explain;
mod plan;
mod registration;
mod settings;
mod stats;
mod status;

pub use config::{ManagedConfig, NetworkInfo, PrivateDns, SessionConfig};
pub use dns::{DnsLog, DnsLogEntry, DnsLookup, DnsSource, ExtendedError};
pub use explain::{AddressExplanation, HostExplanation, Way};
pub use plan::{AppRules, DnsPlan, InterfacePlan, IpNetwork, Plan};
pub use registration::{Enrolment, RegistrationInfo};
pub use settings::{FallbackDomain, Origin, ServiceMode, Setting, Settings, SplitTunnel, SplitTunnelMode};
pub use stats::{Counter, DnsStats, DropCount, Stats, TunnelStats};
pub use status::{Event, State, Status, Timer, UserError};
