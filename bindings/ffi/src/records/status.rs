//! The device's state, and what a session tells.

use weft_model::Reason;

use super::{Plan, ServiceMode, Settings};

/// The state of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum State {
    /// Nothing of Weft's is in the way of the device's traffic.
    Disconnected,
    /// On the way up; tunnelled destinations are blocked.
    Connecting,
    /// Up, and proven by the checks.
    Connected,
    /// It was up; tunnelled destinations are blocked until it is again.
    Reconnecting,
    /// On the way down.
    Disconnecting,
    /// It cannot be brought up without the user or the administrator; tunnelled destinations are blocked.
    Unable,
}

impl From<weft_model::State> for State {
    fn from(state: weft_model::State) -> Self {
        match state {
            weft_model::State::Disconnected => Self::Disconnected,
            weft_model::State::Connecting => Self::Connecting,
            weft_model::State::Connected => Self::Connected,
            weft_model::State::Reconnecting => Self::Reconnecting,
            weft_model::State::Disconnecting => Self::Disconnecting,
            weft_model::State::Unable => Self::Unable,
        }
    }
}

/// What is wrong, in words that programs compare and in words for people.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct UserError {
    /// The kind ("registration_missing", "endpoint_unreachable", ...).
    pub code: String,
    /// One line: what is wrong and what to do.
    pub text: String,
}

impl From<&weft_model::UserError> for UserError {
    fn from(error: &weft_model::UserError) -> Self {
        let code = match error {
            weft_model::UserError::RegistrationMissing => "registration_missing",
            weft_model::UserError::RegistrationRevoked => "registration_revoked",
            weft_model::UserError::Settings { .. } => "settings",
            weft_model::UserError::EndpointUnreachable => "endpoint_unreachable",
            weft_model::UserError::InsideCheck { .. } => "inside_check",
            weft_model::UserError::OutsideCheck { .. } => "outside_check",
            weft_model::UserError::PlanFailed { .. } => "plan_failed",
            weft_model::UserError::NoNetwork => "no_network",
            weft_model::UserError::DnsProxy { .. } => "dns_proxy",
            weft_model::UserError::DnsOff => "dns_off",
            weft_model::UserError::Orchestration { .. } => "orchestration",
            weft_model::UserError::Forbidden { .. } => "forbidden",
            weft_model::UserError::Internal { .. } => "internal",
        };
        // The core's text names a command line that phones do not have.
        let text = match error {
            weft_model::UserError::RegistrationMissing => "the device is not registered".to_owned(),
            other => other.to_string(),
        };
        Self { code: code.to_owned(), text }
    }
}

/// A pending deadline.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Timer {
    /// What it is for.
    pub reason: String,
    /// Milliseconds until it ends.
    pub in_ms: u64,
}

/// What a user is told of the device's state.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Status {
    /// The state.
    pub state: State,
    /// The state in words.
    pub state_text: String,
    /// Why, in words.
    pub reason_text: String,
    /// What is wrong; none = nothing.
    pub error: Option<UserError>,
    /// The service mode in force.
    pub service_mode: ServiceMode,
    /// The tunnel endpoint in use, as ADDRESS:PORT.
    pub endpoint: Option<String>,
    /// The number of the last plan that was acknowledged.
    pub plan: u64,
    /// What else a user should know, one line each.
    pub warnings: Vec<String>,
    /// The deadlines that are pending.
    pub timers: Vec<Timer>,
}

impl Status {
    /// With what the boundary itself has to say besides.
    pub(crate) fn new(status: &weft_model::Status, warnings: Vec<String>) -> Self {
        let error = match &status.reason {
            Reason::Error { error } => Some(UserError::from(error)),
            _ => None,
        };
        let reason_text =
            error.as_ref().map_or_else(|| status.reason.to_string(), |error| error.text.clone());
        Self {
            state: status.state.into(),
            state_text: status.state.to_string(),
            reason_text,
            error,
            service_mode: status.service_mode.into(),
            endpoint: status.endpoint.map(|endpoint| endpoint.to_string()),
            plan: status.plan,
            warnings: status.warnings.iter().cloned().chain(warnings).collect(),
            timers: status
                .timers
                .iter()
                .map(|timer| Timer { reason: timer.reason.clone(), in_ms: timer.in_ms })
                .collect(),
        }
    }
}

/// What a session tells its shell.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum Event {
    /// The state, or the reason for it, has changed.
    Status {
        /// The state.
        status: Status,
    },
    /// The values in force have changed.
    Settings {
        /// The values.
        settings: Settings,
    },
    /// Apply this, then acknowledge its number. A newer one takes the place of one that was not pulled yet.
    Plan {
        /// The plan.
        plan: Plan,
    },
    /// The gateway no longer knows the device; the registration is of no more use.
    Revoked,
    /// A part of the core failed in a way it should not. Where its control thread did, this is the last event.
    Panicked {
        /// What it said.
        detail: String,
    },
}
