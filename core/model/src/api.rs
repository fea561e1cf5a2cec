//! The device orchestration API's messages: JSON over HTTPS, shared by client and gateway.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /v0/reg` with `Authorization: Bearer ENROLMENT_TOKEN` | [`RegisterRequest`] | 201 [`RegisterAnswer`] |
//! | `GET /v0/reg/ID` with `Authorization: Bearer DEVICE_TOKEN` | | 200 [`DeviceAnswer`] |
//! | `PATCH /v0/reg/ID`, the same | [`RotateRequest`] | 200 [`DeviceAnswer`] |
//! | `DELETE /v0/reg/ID`, the same | | 204 |
//!
//! Every refusal is an [`ApiError`] with a fitting HTTP status: 401 for a bad credential, 403 for a spent or
//! expired enrolment token, 404 for an unknown device, 410 for a revoked one, 400 for a bad body.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::key::{PublicKey, Secret};
use crate::profile::Profile;
use crate::registration::{CheckEndpoints, DohEndpoint, TunnelEndpoint};

/// The longest body either side takes, in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// Asks for a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterRequest {
    /// The device's tunnel key.
    pub key: PublicKey,
    /// The device's name, as its user knows it; 1 to 253 characters.
    pub name: String,
    /// The device's system ("linux", "android", ...).
    pub os: String,
    /// The client's version.
    pub version: String,
}

/// Who the device now is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegisterAnswer {
    /// The device's identifier.
    pub id: String,
    /// The device's credential for every later request.
    pub token: Secret,
    /// The rest.
    #[serde(flatten)]
    pub device: DeviceAnswer,
}

/// What the device needs to connect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceAnswer {
    /// The tunnel interface's addresses.
    pub addresses: Vec<IpNet>,
    /// The tunnel's far end.
    pub tunnel: TunnelEndpoint,
    /// The gateway's resolver.
    pub doh: DohEndpoint,
    /// What proves that the tunnel works.
    pub checks: CheckEndpoints,
    /// The profile.
    pub profile: Profile,
}

/// Asks to replace the device's tunnel key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotateRequest {
    /// The new key.
    pub key: PublicKey,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct ApiError {
    /// A word that programs compare ("bad_token", "revoked", ...).
    pub code: String,
    /// A line for people.
    pub message: String,
}
