//! Refusals: an HTTP status and an [`ApiError`].

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use weft_model::api::ApiError;

use crate::store::StoreError;

/// Why a request was refused.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    error: ApiError,
    retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal with a word for programs and a line for people.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, error: ApiError { code: code.to_owned(), message: message.into() }, retry_after: None }
    }

    /// The credential is missing or wrong.
    #[must_use]
    pub fn bad_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "bad_token", "the credential is missing or not valid")
    }

    /// The device was revoked.
    #[must_use]
    pub fn revoked() -> Self {
        Self::new(StatusCode::GONE, "revoked", "this device has been revoked")
    }

    /// The body is not what it should be.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// The body is too long.
    #[must_use]
    pub fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is too long")
    }

    /// The source was wrong too often.
    #[must_use]
    pub fn too_many_attempts(wait: Duration) -> Self {
        let refusal = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_attempts",
            "too many bad credentials from this address: wait",
        );
        Self { retry_after: Some(wait), ..refusal }
    }

    /// The gateway failed; the reason is in its log and not the client's business.
    #[must_use]
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the gateway failed; see its log")
    }

    /// Whether somebody tried a credential that is none, so that it counts against his source.
    #[must_use]
    pub fn is_bad_credential(&self) -> bool {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let (status, code) = match &error {
            StoreError::BadToken => return Self::bad_token(),
            StoreError::TokenSpent => (StatusCode::FORBIDDEN, "token_spent"),
            StoreError::TokenExpired => (StatusCode::FORBIDDEN, "token_expired"),
            StoreError::KeyInUse => (StatusCode::CONFLICT, "key_in_use"),
            StoreError::NoDevice(_) | StoreError::Ambiguous(_) => {
                return Self::new(StatusCode::NOT_FOUND, "unknown_device", "no such device");
            }
            StoreError::Full => (StatusCode::SERVICE_UNAVAILABLE, "full"),
            _ => return Self::internal(&error),
        };
        Self::new(status, code, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.error)).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
