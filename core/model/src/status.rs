//! What a user is told of the device's state.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::command::PlanNumber;
use crate::profile::ServiceMode;

/// The state of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing of Weft's is in the way of the device's traffic.
    Disconnected,
    /// On the way up; tunnelled destinations are blocked.
    Connecting,
    /// Up, and proven by the checks.
    Connected,
    /// It was up; tunnelled destinations are blocked until it is again.
    Reconnecting,
    /// On the way down; the firewall goes last.
    Disconnecting,
    /// It cannot be brought up without the user or the administrator; tunnelled destinations are blocked.
    Unable,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disconnected => "Disconnected",
            Self::Connecting => "Connecting",
            Self::Connected => "Connected",
            Self::Reconnecting => "Reconnecting",
            Self::Disconnecting => "Disconnecting",
            Self::Unable => "Unable to connect",
        })
    }
}

/// The steps of a connect, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectStage {
    /// Are the settings and the registration whole?
    VerifyingSettings,
    /// Firewall, interface and routes are being put in place.
    ApplyingPlan,
    /// The tunnel's handshake, endpoint after endpoint.
    ConnectingEndpoint,
    /// Do packets pass inside the tunnel, and is the gateway reachable outside it?
    CheckingConnectivity,
    /// The system's DNS is being switched.
    ApplyingDns,
}

impl fmt::Display for ConnectStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::VerifyingSettings => "Verifying settings",
            Self::ApplyingPlan => "Setting up firewall, interface and routes",
            Self::ConnectingEndpoint => "Establishing the tunnel",
            Self::CheckingConnectivity => "Checking connectivity",
            Self::ApplyingDns => "Switching the system's DNS",
        })
    }
}

/// Why the device is in its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Reason {
    /// Nothing is wrong.
    Healthy,
    /// The user asked for it.
    Manual,
    /// A step of a connect is under way.
    Stage {
        /// The step.
        stage: ConnectStage,
    },
    /// The settings changed and are being applied.
    SettingsChanged,
    /// The gateway sends nothing back.
    TunnelSilent,
    /// Something is wrong.
    Error {
        /// What.
        error: UserError,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("Network: healthy"),
            Self::Manual => f.write_str("Manual disconnection"),
            Self::Stage { stage } => write!(f, "{stage}"),
            Self::SettingsChanged => f.write_str("Settings changed"),
            Self::TunnelSilent => f.write_str("The gateway does not answer"),
            Self::Error { error } => write!(f, "{error}"),
        }
    }
}

/// The errors a user sees: one line, what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum UserError {
    /// The device is not registered.
    #[error(
        "the device is not registered: run `weft registration new URL` or `weft registration import FILE`"
    )]
    RegistrationMissing,
    /// The gateway has revoked the device.
    #[error("the gateway has revoked this device: register it again")]
    RegistrationRevoked,
    /// The settings cannot be carried out.
    #[error("the settings cannot be carried out: {detail}")]
    Settings {
        /// What is wrong with them.
        detail: String,
    },
    /// No endpoint of the gateway answers the tunnel's handshake.
    #[error("no tunnel endpoint answers: is UDP to the gateway blocked?")]
    EndpointUnreachable,
    /// The check inside the tunnel failed.
    #[error("the tunnel is up, but the check inside it fails: {detail}")]
    InsideCheck {
        /// What failed.
        detail: String,
    },
    /// The check outside the tunnel failed.
    #[error("the gateway cannot be reached outside the tunnel: {detail}")]
    OutsideCheck {
        /// What failed.
        detail: String,
    },
    /// The plan could not be applied.
    #[error("the network settings could not be applied: {detail}")]
    PlanFailed {
        /// Which part and why.
        detail: String,
    },
    /// The device has no network.
    #[error("the device has no network")]
    NoNetwork,
    /// The DNS proxy could not start.
    #[error("the DNS proxy could not start: {detail}")]
    DnsProxy {
        /// Why; names the process that holds the port where it is known.
        detail: String,
    },
    /// No query is answered by Weft.
    #[error(
        "Weft answers no DNS queries at the moment: it is not connected, or the service mode leaves DNS alone"
    )]
    DnsOff,
    /// Orchestration failed.
    #[error("the gateway's API: {detail}")]
    Orchestration {
        /// Why.
        detail: String,
    },
    /// The administrator forbids it.
    #[error("the administrator does not allow it: {detail}")]
    Forbidden {
        /// What is not allowed.
        detail: String,
    },
    /// A part of the core failed in a way it should not.
    #[error("internal error: {detail}")]
    Internal {
        /// What failed.
        detail: String,
    },
}

/// What a user is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The state.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// The service mode in force.
    pub service_mode: ServiceMode,
    /// The tunnel endpoint in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
    /// The number of the last plan that the shell applied.
    pub plan: PlanNumber,
    /// What else a user should know, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The deadlines that are pending, each with its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timers: Vec<Timer>,
}

/// A pending deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// What it is for.
    pub reason: String,
    /// Milliseconds until it ends.
    pub in_ms: u64,
}
