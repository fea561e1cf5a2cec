//! The client of the device orchestration API: always outside the tunnel, to pinned addresses.
//!
//! Every request has a connection of its own from the [`SocketFactory`], and every stage of it a deadline. An answer is
//! checked as a whole before anything of it is used, so a bad one changes nothing.

mod answer;
mod error;
#[cfg(test)]
mod tests;
mod url;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;
use serde::de::DeserializeOwned;
use weft_model::api::{ApiError, DeviceAnswer, MAX_BODY, RegisterAnswer, RegisterRequest, RotateRequest};
use weft_model::{ApiEndpoint, Gateway, PrivateKey, Profile, Registration, RegistrationSource, Secret};

pub use self::error::OrchestrationError;
pub(crate) use self::url::authority;
pub use self::url::{ApiUrl, UrlError};
use crate::http::{Answer, HttpError, exchange};
use crate::sockets::SocketFactory;
use crate::tls::{TlsClient, Trust};

/// For finding the API's addresses.
const RESOLVE: Duration = Duration::from_secs(5);
/// For a TCP connection to one address.
const CONNECT: Duration = Duration::from_secs(5);
/// For the TLS handshake.
const SHAKE: Duration = Duration::from_secs(10);
/// For a request and its answer.
const EXCHANGE: Duration = Duration::from_secs(20);

/// What a device registers with.
pub struct Enrolment {
    /// The API of the gateway.
    pub url: ApiUrl,
    /// The credential that the administrator gave out.
    pub token: Secret,
    /// How the gateway is known. The authority of a fingerprint is pinned in the registration.
    pub trust: Trust,
    /// The device's new tunnel key.
    pub private_key: PrivateKey,
    /// The device's name, as its user knows it; 1 to 253 characters.
    pub name: String,
    /// The device's system ("linux", "android", ...).
    pub os: String,
    /// The client's version.
    pub version: String,
}

/// Registers the device. The API's host name is resolved by the system, and the addresses found are pinned.
///
/// # Errors
/// An [`OrchestrationError`].
pub async fn register(
    sockets: &SocketFactory,
    enrolment: Enrolment,
) -> Result<(Registration, Profile), OrchestrationError> {
    let Enrolment { url, token, trust, private_key, name, os, version } = enrolment;
    let tls = tls_client(url.host(), &trust)?;
    let addresses = resolve(&url).await?;
    let request = RegisterRequest { key: private_key.public(), name, os, version };
    let call = Call { sockets, tls: &tls, name: url.host(), addresses: &addresses, token: &token };
    let answer: RegisterAnswer = call.json(Method::POST, "/v0/reg", Some(&request)).await?;
    answer::check_id(&answer.id)?;
    answer::check_token(&answer.token)?;
    answer::check(&answer.device)?;
    let ca_pem = match trust {
        Trust::System => None,
        Trust::CaPem(pem) => Some(pem),
        Trust::CaFingerprint(_) => tls.authority_pem(),
    };
    let api = ApiEndpoint { name: url.host().to_owned(), addresses, ca_pem };
    let profile = answer.device.profile.clone();
    let registration = Registration {
        id: answer.id,
        source: RegistrationSource::Orchestrated,
        token: Some(answer.token),
        private_key,
        addresses: Vec::new(),
        gateways: vec![gateway(api, &answer.device)],
    };
    Ok((Registration { addresses: answer.device.addresses, ..registration }, profile))
}

/// Fetches what the gateway now says of the device.
///
/// # Errors
/// An [`OrchestrationError`]; [`OrchestrationError::is_revoked`] where the gateway does not know the device any more.
pub async fn fetch(
    sockets: &SocketFactory,
    registration: &Registration,
) -> Result<(Registration, Profile), OrchestrationError> {
    let answer = device_call::<()>(sockets, registration, Method::GET, None).await?;
    merge(registration, registration.private_key.clone(), answer)
}

/// Replaces the device's tunnel key.
///
/// # Errors
/// An [`OrchestrationError`]. Where it is [`OrchestrationError::Unreachable`] the gateway may have taken the new key
/// all the same: keep it until a later call tells.
pub async fn rotate(
    sockets: &SocketFactory,
    registration: &Registration,
    private_key: PrivateKey,
) -> Result<(Registration, Profile), OrchestrationError> {
    let request = RotateRequest { key: private_key.public() };
    let answer = device_call(sockets, registration, Method::PATCH, Some(&request)).await?;
    merge(registration, private_key, answer)
}

/// Ends the registration at the gateway.
///
/// # Errors
/// An [`OrchestrationError`]; [`OrchestrationError::is_revoked`] where the gateway had ended it already.
pub async fn delete(sockets: &SocketFactory, registration: &Registration) -> Result<(), OrchestrationError> {
    let (api, token) = credentials(registration)?;
    let tls = tls_client(&api.name, &Trust::pinned(api.ca_pem.as_deref()))?;
    let call = Call { sockets, tls: &tls, name: &api.name, addresses: &api.addresses, token };
    let path = format!("/v0/reg/{}", registration.id);
    call.send::<()>(Method::DELETE, &path, None).await.map(drop)
}

/// Whether the gateway says that it has revoked the device: what the device holds then is good for nothing, and there is
/// nothing left that an administrator could want kept. One that does not answer `within` this long says nothing.
pub async fn is_revoked(sockets: &SocketFactory, registration: &Registration, within: Duration) -> bool {
    let fetched = tokio::time::timeout(within, fetch(sockets, registration)).await;
    fetched.is_ok_and(|fetched| fetched.is_err_and(|error| error.is_revoked()))
}

async fn device_call<B: Serialize>(
    sockets: &SocketFactory,
    registration: &Registration,
    method: Method,
    body: Option<&B>,
) -> Result<DeviceAnswer, OrchestrationError> {
    let (api, token) = credentials(registration)?;
    let tls = tls_client(&api.name, &Trust::pinned(api.ca_pem.as_deref()))?;
    let call = Call { sockets, tls: &tls, name: &api.name, addresses: &api.addresses, token };
    call.json(method, &format!("/v0/reg/{}", registration.id), body).await
}

fn tls_client(name: &str, trust: &Trust) -> Result<TlsClient, OrchestrationError> {
    TlsClient::new(trust, &[b"http/1.1"]).map_err(|error| OrchestrationError::of_tls(name, error))
}

fn credentials(registration: &Registration) -> Result<(&ApiEndpoint, &Secret), OrchestrationError> {
    let api = registration.gateways.iter().find_map(|gateway| gateway.api.as_ref());
    let token = registration.token.as_ref();
    answer::check_id(&registration.id)?;
    api.zip(token).ok_or(OrchestrationError::NotOrchestrated)
}

/// Puts an answer in the place of what the registration held of the same gateway.
fn merge(
    registration: &Registration,
    private_key: PrivateKey,
    answer: DeviceAnswer,
) -> Result<(Registration, Profile), OrchestrationError> {
    answer::check(&answer)?;
    let mut gateways = registration.gateways.clone();
    if let Some(place) = gateways.iter_mut().find(|gateway| gateway.api.is_some())
        && let Some(api) = place.api.take()
    {
        *place = gateway(api, &answer);
    }
    let merged = Registration { private_key, addresses: answer.addresses, gateways, ..registration.clone() };
    Ok((merged, answer.profile))
}

fn gateway(api: ApiEndpoint, answer: &DeviceAnswer) -> Gateway {
    Gateway {
        api: Some(api),
        tunnel: answer.tunnel.clone(),
        dns: weft_model::DnsUpstream::Doh(answer.doh.clone()),
        checks: Some(answer.checks.clone()),
    }
}

/// The API's addresses, as the system finds them.
async fn resolve(url: &ApiUrl) -> Result<Vec<SocketAddr>, OrchestrationError> {
    let failed = |detail: String| OrchestrationError::Unresolved { name: url.host().to_owned(), detail };
    let found = tokio::time::timeout(RESOLVE, tokio::net::lookup_host((url.host(), url.port())));
    let found = found.await.map_err(|_| failed("no answer".to_owned()))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found.map_err(|error| failed(error.to_string()))? {
        if !addresses.contains(&address) && addresses.len() < answer::MAX_ADDRESSES {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(failed("it has no address".to_owned())) } else { Ok(addresses) }
}

/// Everything that one request needs.
struct Call<'a> {
    sockets: &'a SocketFactory,
    tls: &'a TlsClient,
    name: &'a str,
    addresses: &'a [SocketAddr],
    token: &'a Secret,
}

impl Call<'_> {
    /// Sends a request and reads its answer.
    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, OrchestrationError> {
        let answer = self.send(method, path, body).await?;
        if !answer.is_of_type("application/json") {
            return Err(OrchestrationError::BadAnswer("it is not JSON".to_owned()));
        }
        // A line and column, never what stands there: it may be a credential.
        serde_json::from_slice(&answer.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            OrchestrationError::BadAnswer(format!("it cannot be read at line {line}, column {column}"))
        })
    }

    /// Sends a request; an answer that refuses it is an error.
    async fn send<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Answer, OrchestrationError> {
        let request = self.request(method, path, body)?;
        let stream = tokio::time::timeout(SHAKE, self.tls.connect(self.name, self.connect().await?));
        let stream = match stream.await {
            Ok(stream) => stream.map_err(|error| OrchestrationError::of_tls(self.name, error))?,
            Err(_) => return Err(self.unreachable("the TLS handshake takes too long")),
        };
        let answer = match tokio::time::timeout(EXCHANGE, exchange(stream, request, MAX_BODY)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error @ HttpError::TooLong(_))) => {
                return Err(OrchestrationError::BadAnswer(error.to_string()));
            }
            Ok(Err(error)) => return Err(self.unreachable(error)),
            Err(_) => return Err(self.unreachable("the answer takes too long")),
        };
        if answer.status.is_success() { Ok(answer) } else { Err(refusal(&answer)) }
    }

    fn request<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Request<Full<Bytes>>, OrchestrationError> {
        let bad = |what: &str| OrchestrationError::BadRequest(what.to_owned());
        let port = self.addresses.first().map_or(443, SocketAddr::port);
        let mut token = HeaderValue::try_from(format!("Bearer {}", self.token.expose()))
            .map_err(|_| bad("the token holds characters that no token has"))?;
        token.set_sensitive(true);
        let builder = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, authority(self.name, port))
            .header(header::USER_AGENT, concat!("weft/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, token);
        let request = match body {
            None => builder.body(Full::default()),
            Some(body) => {
                let json = serde_json::to_vec(body).map_err(|error| bad(&error.to_string()))?;
                builder.header(header::CONTENT_TYPE, "application/json").body(Full::from(json))
            }
        };
        request.map_err(|error| bad(&error.to_string()))
    }

    /// A TCP connection to the first address that takes one.
    async fn connect(&self) -> Result<tokio::net::TcpStream, OrchestrationError> {
        let mut last = self.unreachable("no address is known");
        for address in self.addresses {
            last = match tokio::time::timeout(CONNECT, self.sockets.connect(*address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => self.unreachable(error),
                Err(_) => self.unreachable(format_args!("{address} does not answer")),
            };
        }
        Err(last)
    }

    fn unreachable(&self, detail: impl std::fmt::Display) -> OrchestrationError {
        OrchestrationError::Unreachable { name: self.name.to_owned(), detail: detail.to_string() }
    }
}

/// What an answer without success says.
fn refusal(answer: &Answer) -> OrchestrationError {
    match serde_json::from_slice::<ApiError>(&answer.body) {
        Ok(error) => {
            OrchestrationError::Refused { status: answer.status.as_u16(), error: answer::tidy(error) }
        }
        Err(_) if answer.status == StatusCode::GONE => {
            let error = ApiError { code: "revoked".to_owned(), message: "the device is gone".to_owned() };
            OrchestrationError::Refused { status: answer.status.as_u16(), error }
        }
        Err(_) => OrchestrationError::BadAnswer(format!("HTTP status {}", answer.status.as_u16())),
    }
}
