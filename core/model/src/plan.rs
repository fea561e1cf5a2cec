//! The plan: the complete desired state of the device's network. Always whole, never a delta.
//!
//! A shell applies a plan in the order firewall, addresses, routes, DNS, and takes it back in the order DNS,
//! routes, addresses, firewall. Applying the plan that is in force again must be harmless: a re-assertion does it.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::command::PlanNumber;
use crate::domain::DomainName;
use crate::settings::SplitTunnelMode;

/// The complete desired state of the device's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The plan's number. Acknowledging N acknowledges every number below it.
    pub number: PlanNumber,
    /// What the firewall holds.
    pub firewall: FirewallPlan,
    /// The tunnel interface; none = there shall be none.
    pub interface: Option<InterfacePlan>,
    /// The minimal set of destinations that are routed into the tunnel interface, sorted.
    pub routes: Vec<IpNet>,
    /// What stays outside the interface, minimal and sorted, for shells that take excludes (Android 13's
    /// excludeRoute, Apple's excludedRoutes): the complement of `routes`, but for IPv6 where the interface's MTU is
    /// below IPv6's least, which is in neither and so blocked.
    pub excluded_routes: Vec<IpNet>,
    /// The addresses learnt for the split tunnel's host entries. `routes` and the firewall's `tunnelled` leave them
    /// out of account where the shell takes them apart (desktop); elsewhere this is empty and `routes` has them in.
    pub learnt: LearntPlan,
    /// The system's DNS settings; none = as they were before Weft.
    pub dns: Option<DnsPlan>,
    /// Which apps the tunnel carries, on systems that know apps.
    pub apps: AppRules,
}

/// The tunnel interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfacePlan {
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Its MTU in bytes.
    pub mtu: u16,
    /// Whether apps should count its traffic as metered.
    pub metered: bool,
}

/// Addresses learnt for the split tunnel's host entries, and which way they go whatever the plan's other parts say
/// of the ranges around them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LearntPlan {
    /// Exclude: they stay outside the tunnel; Include: they go into it.
    pub mode: SplitTunnelMode,
    /// The addresses, sorted.
    pub addresses: Vec<IpAddr>,
}

/// The system's DNS settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsPlan {
    /// The nameservers, in order.
    pub servers: Vec<IpAddr>,
    /// The search domains to add in front of the system's own.
    pub search: Vec<DomainName>,
}

/// What the firewall holds. Every change from one to another is one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum FirewallPlan {
    /// Nothing of Weft's: packets go as they did before.
    Open,
    /// `tunnelled` destinations leave by the tunnel interface or not at all; everything else is untouched, but
    /// for the openings, which stand above the rule.
    Enforced {
        /// The destinations that the tunnel alone may carry, minimal and sorted.
        tunnelled: Vec<IpNet>,
        /// The sole ways past the rule.
        openings: Vec<Opening>,
    },
}

/// One way past the firewall, for Weft's own sockets alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// What it is for, in one word ("tunnel", "api", "check", "doh", "fallback").
    pub purpose: String,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The remote address and port.
    pub remote: SocketAddr,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
}

/// Which apps the tunnel carries, by the system's own names for them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppRules {
    /// Every app.
    #[default]
    All,
    /// Only these.
    Only(Vec<String>),
    /// All but these.
    Except(Vec<String>),
}

impl AppRules {
    /// The rules of an allow list and a deny list: systems take only one of them, and the allow list comes first.
    #[must_use]
    pub fn from_lists(allowed: Vec<String>, disallowed: Vec<String>) -> Self {
        match (allowed.is_empty(), disallowed.is_empty()) {
            (false, _) => Self::Only(allowed),
            (true, false) => Self::Except(disallowed),
            (true, true) => Self::All,
        }
    }
}

impl Plan {
    /// The plan of a disconnected device: nothing of Weft's is there.
    #[must_use]
    pub fn disconnected(number: PlanNumber) -> Self {
        Self {
            number,
            firewall: FirewallPlan::Open,
            interface: None,
            routes: Vec::new(),
            excluded_routes: Vec::new(),
            learnt: LearntPlan::default(),
            dns: None,
            apps: AppRules::All,
        }
    }

    /// Whether both ask for the same state, whatever their numbers.
    #[must_use]
    pub fn same_state(&self, other: &Self) -> bool {
        let Self { number: _, firewall, interface, routes, excluded_routes, learnt, dns, apps } = self;
        *firewall == other.firewall
            && *interface == other.interface
            && *routes == other.routes
            && *excluded_routes == other.excluded_routes
            && *learnt == other.learnt
            && *dns == other.dns
            && *apps == other.apps
    }
}
