//! What can go wrong, one line each.

use weft_model::api::ApiError;

use crate::tls::TlsError;

/// Why a request to the orchestration API came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum OrchestrationError {
    /// The registration is that of an imported tunnel, which has no API.
    #[error("this registration has no gateway API")]
    NotOrchestrated,
    /// The host name has no address.
    #[error("\"{name}\" cannot be resolved: {detail}")]
    Unresolved {
        /// The name.
        name: String,
        /// Why.
        detail: String,
    },
    /// The API does not answer.
    #[error("\"{name}\" cannot be reached: {detail}")]
    Unreachable {
        /// Its name.
        name: String,
        /// Why.
        detail: String,
    },
    /// Who answers is not who it should be.
    #[error("{0}")]
    Untrusted(String),
    /// The request cannot be made.
    #[error("the request cannot be made: {0}")]
    BadRequest(String),
    /// The gateway refused.
    #[error("{error}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        error: ApiError,
    },
    /// The gateway's answer is not what it should be; nothing of it was used.
    #[error("the gateway's answer is not usable: {0}")]
    BadAnswer(String),
}

impl OrchestrationError {
    /// Whether the gateway does not know the device any more, so that its registration is of no more use.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        let Self::Refused { status, error } = self else { return false };
        matches!((*status, error.code.as_str()), (410, "revoked") | (404, "unknown_device"))
    }

    /// What a failed TLS connection to `name` means.
    pub(super) fn of_tls(name: &str, error: TlsError) -> Self {
        match error {
            TlsError::Handshake(detail) => Self::Unreachable { name: name.to_owned(), detail },
            other => Self::Untrusted(other.to_string()),
        }
    }
}
