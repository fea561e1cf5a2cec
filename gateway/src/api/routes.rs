//! Which paths there are, outside the tunnel and inside it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderValue, StatusCode, header};
use tokio::sync::Semaphore;

use super::answer::DOH_PATH;
use super::auth::{self, Peer};
use super::refusal::Refusal;
use super::registration::{self, Api};
use crate::dns::{Resolver, doh};
use crate::registry::Registry;

/// The time for a whole request, its body included.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// The longest body of a request in bytes: a whole DNS message. Only answers, which carry a profile, are longer.
const MAX_REQUEST: usize = 65_535;
/// Requests at once: with the length of their bodies, what strangers can make the gateway hold.
const MAX_REQUESTS: usize = 4096;

/// What is served on the public addresses: the API, and the resolver for devices with their credential.
pub fn outside(api: Api, resolver: Arc<Resolver>) -> Router {
    let doh = resolver_routes(resolver).route_layer(from_fn_with_state(api.access.clone(), auth::by_token));
    let registrations = Router::new()
        .route("/v0/reg", post(registration::register))
        .route(
            "/v0/reg/{id}",
            get(registration::show).patch(registration::rotate).delete(registration::delete),
        )
        .with_state(api);
    finish(registrations.merge(doh))
}

/// What is served over TLS on the inner address: the resolver and the check.
pub fn inside(registry: Arc<Registry>, resolver: Arc<Resolver>) -> Router {
    let routes = resolver_routes(resolver).merge(trace_route());
    finish(routes.route_layer(from_fn_with_state(registry, auth::by_address)))
}

/// What is served without TLS on the inner address: the check.
pub fn plain_inside(registry: Arc<Registry>) -> Router {
    finish(trace_route().route_layer(from_fn_with_state(registry, auth::by_address)))
}

fn resolver_routes(resolver: Arc<Resolver>) -> Router {
    Router::new().route(DOH_PATH, get(doh::get).post(doh::post)).with_state(resolver)
}

fn trace_route() -> Router {
    Router::new().route("/cdn-cgi/trace", get(trace))
}

/// GET /cdn-cgi/trace: proves that the tunnel carries packets, and says as whom the device is seen.
async fn trace(Extension(peer): Extension<Peer>) -> Response {
    let mut response = format!("fl=weft\nip={}\nweft=on\n", peer.address()).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn finish(routes: Router) -> Router {
    routes
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is no such path"))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .layer(from_fn_with_state(Arc::new(Semaphore::new(MAX_REQUESTS)), within_limits))
}

async fn within_limits(State(requests): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let Ok(_permit) = requests.try_acquire() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    match tokio::time::timeout(REQUEST_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}
