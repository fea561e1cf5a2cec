//! DNS over HTTPS (RFC 8484): GET with `?dns=`, POST with a body.

use std::sync::Arc;

use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::resolver::Resolver;
use crate::api::auth::Caller;

/// The longest DNS message, in bytes.
const MAX_MESSAGE: usize = 65_535;
const MEDIA_TYPE: &str = "application/dns-message";

/// What stands behind the question mark.
#[derive(Debug, Deserialize)]
pub struct Asked {
    dns: String,
}

/// GET /dns-query?dns=...
pub async fn get(
    State(resolver): State<Arc<Resolver>>,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(Asked { dns })) = asked else {
        return refuse(StatusCode::BAD_REQUEST, "the query is missing: GET /dns-query?dns=BASE64URL");
    };
    let text = dns.trim_end_matches('=');
    match URL_SAFE_NO_PAD.decode(text) {
        Ok(message) if message.len() <= MAX_MESSAGE => answer(&resolver, &message, &caller).await,
        _ => refuse(StatusCode::BAD_REQUEST, "the query is not base64url"),
    }
}

/// POST /dns-query
pub async fn post(
    State(resolver): State<Arc<Resolver>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case(MEDIA_TYPE)) {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/dns-message");
    }
    match body {
        Ok(message) if message.len() <= MAX_MESSAGE => answer(&resolver, &message, &caller).await,
        _ => refuse(StatusCode::PAYLOAD_TOO_LARGE, "a DNS message has 65535 bytes at most"),
    }
}

async fn answer(resolver: &Resolver, message: &[u8], caller: &Caller) -> Response {
    let Ok(answer) = resolver.resolve(message, &caller.profile).await else {
        return refuse(StatusCode::BAD_REQUEST, "the message is no DNS query");
    };
    let mut response = answer.bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    let fresh = answer.ttl.map_or_else(|| "no-store".to_owned(), |ttl| format!("private, max-age={ttl}"));
    if let Ok(fresh) = HeaderValue::try_from(fresh) {
        headers.insert(header::CACHE_CONTROL, fresh);
    }
    response
}

fn refuse(status: StatusCode, line: &'static str) -> Response {
    (status, line).into_response()
}
