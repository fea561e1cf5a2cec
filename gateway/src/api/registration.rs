//! `/v0/reg`: registering a device, and what a registered device may ask.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use weft_model::api::{DeviceAnswer, RegisterAnswer, RegisterRequest, RotateRequest};

use super::answer::Answers;
use super::auth::{Access, Peer, bearer};
use super::refusal::Refusal;
use crate::registry::{Registry, now};
use crate::store::{Device, NewDevice, StoreError, TokenHash, new_device_token};

/// The longest text of a registration but the name, in bytes.
const MAX_WORD: usize = 64;

/// What the handlers need.
#[derive(Clone)]
pub struct Api {
    /// Knows devices by their credentials.
    pub access: Access,
    /// Writes the answers.
    pub answers: Arc<Answers>,
}

impl Api {
    fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.access.registry)
    }

    /// The device that the path names and the credential belongs to.
    async fn authenticate(&self, id: String, headers: &HeaderMap) -> Result<Device, Refusal> {
        let token = bearer(headers).ok_or_else(Refusal::bad_token)?;
        let registry = self.registry();
        let device = blocking(move || registry.device(&id)).await?;
        if device.token != Some(token) {
            return Err(Refusal::bad_token());
        }
        if device.revoked.is_some() {
            return Err(Refusal::revoked());
        }
        self.access.registry.note_seen(&device.id, now());
        Ok(device)
    }

    fn answer(&self, device: &Device) -> Result<DeviceAnswer, Refusal> {
        let directory = self.access.registry.directory();
        let missing = StoreError::Damaged("a device's profile");
        let profile = directory.profile(device).ok_or_else(|| Refusal::internal(&missing))?;
        Ok(self.answers.device(device, profile))
    }
}

/// POST /v0/reg
pub async fn register(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<RegisterAnswer>), Refusal> {
    let request: RegisterRequest = read(body)?;
    check(&request)?;
    let attempt = async {
        let enrolment = bearer(&headers).ok_or_else(Refusal::bad_token)?;
        let token = new_device_token().map_err(|error| Refusal::internal(&error))?;
        let hash = TokenHash::of(token.expose());
        let registry = api.registry();
        let device = blocking(move || {
            let (name, os, version) = (&request.name, &request.os, &request.version);
            let new = NewDevice { name, os, version, key: request.key, token: Some(hash) };
            registry.register(&enrolment, &new)
        });
        Ok((device.await?, token))
    };
    let (device, token) = api.access.guarded(peer, attempt).await?;
    tracing::info!(device = device.id, "a device was registered");
    let answer = RegisterAnswer { device: api.answer(&device)?, id: device.id, token };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// GET /v0/reg/ID
pub async fn show(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<DeviceAnswer>, Refusal> {
    let device = api.access.guarded(peer, api.authenticate(id, &headers)).await?;
    api.answer(&device).map(Json)
}

/// PATCH /v0/reg/ID
pub async fn rotate(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<DeviceAnswer>, Refusal> {
    let device = api.access.guarded(peer, api.authenticate(id, &headers)).await?;
    let RotateRequest { key } = read(body)?;
    let (registry, id) = (api.registry(), device.id.clone());
    blocking(move || registry.rotate_key(&id, key)).await?;
    tracing::info!(device = device.id, "a device has a new key");
    api.answer(&device).map(Json)
}

/// DELETE /v0/reg/ID
pub async fn delete(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let device = api.access.guarded(peer, api.authenticate(id, &headers)).await?;
    let (registry, id) = (api.registry(), device.id.clone());
    blocking(move || registry.delete_device(&id)).await?;
    tracing::info!(device = device.id, "a device has left");
    Ok(StatusCode::NO_CONTENT)
}

/// Runs what waits for the store where waiting is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(Refusal::from),
        Err(error) => Err(Refusal::internal(&error)),
    }
}

fn read<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Refusal> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::too_large(),
        _ => Refusal::bad_request("the body could not be read"),
    })?;
    // A derived Deserialize takes a JSON array for a struct as well.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Refusal::bad_request("the body is not a JSON object"));
    }
    serde_json::from_slice(&body).map_err(|error| Refusal::bad_request(format!("the body: {error}")))
}

fn check(request: &RegisterRequest) -> Result<(), Refusal> {
    let characters = request.name.chars().count();
    if !(1..=253).contains(&characters) || request.name.chars().any(char::is_control) {
        return Err(Refusal::bad_request("name: 1 to 253 characters, none of them a control character"));
    }
    for (field, text) in [("os", &request.os), ("version", &request.version)] {
        if text.len() > MAX_WORD || text.chars().any(char::is_control) {
            return Err(Refusal::bad_request(format!(
                "{field}: {MAX_WORD} bytes at most, no control characters"
            )));
        }
    }
    Ok(())
}
