//! What the daemon tells of the DNS proxy, besides its counters.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use weft_model::{DnsDescription, FallbackDomain, Origin, ServiceMode, State};

use crate::message::DnsSummary;

/// How names are answered at this moment: `weft dns status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsStatus {
    /// The state of the device.
    pub state: State,
    /// The service mode in force.
    pub service_mode: ServiceMode,
    /// Who answers the names that no fallback rule takes; none = Weft answers no names in this service mode, or the
    /// device is not registered.
    pub upstream: Option<DnsSummary>,
    /// The resolvers that the device has besides Weft.
    pub system_resolvers: Vec<IpAddr>,
    /// The system's own settings, and how they lead to Weft.
    pub settings: DnsDescription,
}

/// The names that private resolvers answer: `weft dns fallback list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsFallback {
    /// Who decided the list.
    pub origin: Origin,
    /// Each suffix, with its resolvers.
    pub domains: Vec<FallbackDomain>,
    /// The resolvers of suffixes without any of their own: those that the device has besides Weft.
    pub system_resolvers: Vec<IpAddr>,
}
