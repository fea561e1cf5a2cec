//! The network that the device is on, as a monitor reports it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The primary path: where packets outside the tunnel leave. Two equal values are the same network, so a report that
/// equals the last one is no event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkState {
    /// The interface of the default route, with the system's own name of the network where that tells two of one
    /// interface apart (mobile); none = there is no network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The default gateway, v4 where there are both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Whether IPv4 has a default route.
    pub has_v4: bool,
    /// Whether IPv6 has a default route.
    pub has_v6: bool,
}

impl NetworkState {
    /// Whether anything outside the device can be reached.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.has_v4 || self.has_v6
    }
}
