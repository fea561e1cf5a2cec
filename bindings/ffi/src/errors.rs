//! What crosses the boundary as an exception.

use weft_model::UserError;
use weft_runtime::orchestration::OrchestrationError;

/// Why a call came to nothing. Nothing has changed then, unless the call says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum WeftError {
    /// An argument is not what it should be.
    #[error("not usable: {detail}")]
    InvalidInput {
        /// Which, and why.
        detail: String,
    },
    /// The device is not registered.
    #[error("the device is not registered")]
    NotRegistered {
        /// What was to be done.
        detail: String,
    },
    /// The device is registered already.
    #[error("the device is registered already: {detail}")]
    AlreadyRegistered {
        /// As whom.
        detail: String,
    },
    /// The gateway refused, or its answer cannot be used.
    #[error("the gateway refused: {detail}")]
    Refused {
        /// What it said.
        detail: String,
    },
    /// Nobody answers.
    #[error("not reachable: {detail}")]
    Unreachable {
        /// Who, and how it shows.
        detail: String,
    },
    /// The administrator does not allow it.
    #[error("the administrator does not allow it: {detail}")]
    Forbidden {
        /// What.
        detail: String,
    },
    /// The call does not belong here: something else comes first, or stands in the way.
    #[error("called out of order: {detail}")]
    WrongOrder {
        /// What.
        detail: String,
    },
    /// The descriptor is none, or not that of a tunnel interface.
    #[error("not a tunnel interface's descriptor: {detail}")]
    BadDescriptor {
        /// Why.
        detail: String,
    },
    /// A batch holds something that is no IP packet, or its offsets do not fit. None of it was taken.
    #[error("not a batch of packets: {detail}")]
    BadPacket {
        /// Which, and why.
        detail: String,
    },
    /// The session, or its packet flow, is closed.
    #[error("closed: {detail}")]
    Closed {
        /// Which.
        detail: String,
    },
    /// The host failed, or did not return in time.
    #[error("the host failed: {detail}")]
    Host {
        /// At what, and how.
        detail: String,
    },
    /// A part of the core failed in a way it should not.
    #[error("internal error: {detail}")]
    Internal {
        /// What failed.
        detail: String,
    },
}

impl WeftError {
    pub(crate) fn invalid(detail: impl ToString) -> Self {
        Self::InvalidInput { detail: detail.to_string() }
    }

    pub(crate) fn wrong_order(detail: &str) -> Self {
        Self::WrongOrder { detail: detail.to_owned() }
    }

    pub(crate) fn closed(what: &str) -> Self {
        Self::Closed { detail: what.to_owned() }
    }

    pub(crate) fn internal(detail: impl ToString) -> Self {
        Self::Internal { detail: detail.to_string() }
    }
}

impl From<UserError> for WeftError {
    fn from(error: UserError) -> Self {
        let detail = error.to_string();
        match error {
            UserError::RegistrationMissing | UserError::RegistrationRevoked => Self::NotRegistered { detail },
            UserError::Settings { detail } => Self::InvalidInput { detail },
            UserError::EndpointUnreachable | UserError::NoNetwork => Self::Unreachable { detail },
            UserError::InsideCheck { .. } | UserError::OutsideCheck { .. } => Self::Unreachable { detail },
            UserError::PlanFailed { detail } => Self::Host { detail },
            UserError::DnsOff => Self::WrongOrder { detail },
            UserError::DnsProxy { .. } => Self::Internal { detail },
            UserError::Orchestration { detail } => Self::Refused { detail },
            UserError::Forbidden { detail } => Self::Forbidden { detail },
            UserError::Internal { detail } => Self::Internal { detail },
        }
    }
}

impl From<OrchestrationError> for WeftError {
    fn from(error: OrchestrationError) -> Self {
        let detail = error.to_string();
        match error {
            OrchestrationError::Unresolved { .. } | OrchestrationError::Unreachable { .. } => {
                Self::Unreachable { detail }
            }
            OrchestrationError::BadRequest(_) => Self::InvalidInput { detail },
            OrchestrationError::NotOrchestrated => Self::NotRegistered { detail },
            OrchestrationError::Untrusted(_)
            | OrchestrationError::Refused { .. }
            | OrchestrationError::BadAnswer(_) => Self::Refused { detail },
        }
    }
}

/// What a host throws. Anything else that it throws arrives as this, with its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum HostError {
    /// The host could not do it.
    #[error("{detail}")]
    Failed {
        /// Why, in one line.
        detail: String,
    },
}

impl From<uniffi::UnexpectedUniFFICallbackError> for HostError {
    fn from(error: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Failed { detail: error.reason }
    }
}
