//! Who makes a request: by the credential it carries, or by the inner address it comes from.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};

use super::limit::{CredentialLimiter, Source};
use super::refusal::Refusal;
use crate::registry::{Registry, now};
use crate::store::TokenHash;

/// The far end of the connection that a request came by.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl Peer {
    /// The address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.0.ip().to_canonical()
    }
}

/// A device that may ask the resolver.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The name of its profile.
    pub profile: String,
}

/// What is needed to know a device by its credential.
#[derive(Clone)]
pub struct Access {
    /// The devices.
    pub registry: Arc<Registry>,
    /// Counts bad credentials.
    pub limiter: Arc<CredentialLimiter>,
}

impl Access {
    /// Counts a source's bad credentials, and tells it nothing about further ones when there were too many. A valid
    /// credential passes whatever others behind the same address do.
    ///
    /// # Errors
    /// The refusal of `attempt`, or in place of one for a bad credential that the source has to wait.
    pub async fn guarded<T>(
        &self,
        peer: Peer,
        attempt: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let outcome = attempt.await;
        if outcome.as_ref().is_err_and(Refusal::is_bad_credential) {
            let (source, now) = (Source::from(peer.address()), Instant::now());
            self.limiter.check(source, now).map_err(Refusal::too_many_attempts)?;
            self.limiter.failed(source, now);
        }
        outcome
    }

    fn caller(&self, token: Option<TokenHash>) -> Result<Caller, Refusal> {
        let token = token.ok_or_else(Refusal::bad_token)?;
        let directory = self.registry.directory();
        let device = directory.with_token(&token).ok_or_else(Refusal::bad_token)?;
        if device.revoked.is_some() {
            return Err(Refusal::revoked());
        }
        self.registry.note_seen(&device.id, now());
        Ok(Caller { profile: directory.profile_name(device).to_owned() })
    }
}

/// The hash of the credential in `Authorization: Bearer ...`.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<TokenHash> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| TokenHash::of(token.trim()))
}

/// Lets a request pass that carries a device's credential.
pub async fn by_token(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let token = bearer(request.headers());
    match access.guarded(peer, async { access.caller(token) }).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Lets a request pass that comes from a device's inner address.
pub async fn by_address(State(registry): State<Arc<Registry>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let directory = registry.directory();
    let Some(device) = peer.and_then(|peer| directory.at(peer.address())) else {
        return Refusal::new(StatusCode::FORBIDDEN, "not_a_device", "only devices may ask here")
            .into_response();
    };
    request.extensions_mut().insert(Caller { profile: directory.profile_name(device).to_owned() });
    next.run(request).await
}
