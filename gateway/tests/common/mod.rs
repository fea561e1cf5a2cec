//! A gateway's servers on loopback, without a tunnel, and a client for them.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use weft_gateway::api::auth::Access;
use weft_gateway::api::limit::{ConnectionLimiter, CredentialLimiter};
use weft_gateway::api::registration::Api;
use weft_gateway::api::serve::{Choice, Site, serve};
use weft_gateway::api::{self, Answers};
use weft_gateway::config::Config;
use weft_gateway::dir::{self, StateDir};
use weft_gateway::dns::upstream::Upstreams;
use weft_gateway::dns::{Policies, Resolver};
use weft_gateway::pki;
use weft_gateway::registry::{Registry, now};
use weft_gateway::store::{Store, TokenHash};
use weft_model::api::RegisterAnswer;
use weft_model::{PrivateKey, PublicKey, Secret};

/// The gateway's name.
pub const NAME: &str = "gw.example";

/// The gateway's tunnel key.
pub fn tunnel_key() -> PublicKey {
    PrivateKey::from([42; 32]).public()
}

/// The lines of every configuration here.
pub const CONFIG: &str = "name = \"gw.example\"\npublic_addresses = [\"203.0.113.10\"]\n";

/// Servers on loopback. They end with the value.
pub struct Gateway {
    pub dir: StateDir,
    pub registry: Arc<Registry>,
    pub resolver: Arc<Resolver>,
    /// The API and DoH outside.
    pub outside: SocketAddr,
    /// DoH and check inside.
    pub inside: SocketAddr,
    pub ca_pem: String,
    stop: watch::Sender<bool>,
    _home: TempDir,
}

impl Gateway {
    /// Starts one from a configuration, with these upstreams.
    pub async fn start(config: &str, upstreams: Vec<SocketAddr>) -> Self {
        Self::start_with_idle(config, upstreams, Duration::from_secs(60)).await
    }

    pub async fn start_with_idle(config: &str, upstreams: Vec<SocketAddr>, idle: Duration) -> Self {
        let config = Config::parse(config).unwrap();
        let home = tempfile::tempdir().unwrap();
        let dir = StateDir::new(home.path());
        let authority = pki::new_authority().unwrap();
        let server = pki::new_server(&authority.key, NAME, &config.public_addresses).unwrap();
        dir::write_new(&dir.ca_certificate(), authority.certificate.as_bytes()).unwrap();
        dir::write_new(&dir.server_certificate(), server.certificate.as_bytes()).unwrap();
        dir::write_new(&dir.server_key(), server.key.as_bytes()).unwrap();
        let identity = pki::load(&dir, &config).unwrap();
        let tls = TlsAcceptor::from(Arc::new(pki::server_config(&identity).unwrap()));

        let registry = Arc::new(Registry::new(Store::create(&dir.database()).unwrap()).unwrap());
        let timeout = Duration::from_millis(config.dns.timeout_ms);
        let upstreams = Upstreams::new(upstreams, timeout, config.dns.in_flight);
        let resolver = Arc::new(Resolver::new(Policies::new(&config.dns), upstreams));
        let answers = Arc::new(Answers::new(&config, tunnel_key(), identity.ca_pem));
        let limiter = Arc::new(CredentialLimiter::new(config.limits.bad_credentials));
        let access = Access { registry: Arc::clone(&registry), limiter };
        let outside = api::outside(Api { access, answers }, Arc::clone(&resolver));
        let inside = api::inside(Arc::clone(&registry), Arc::clone(&resolver));

        let limits = &config.limits;
        let limiter = ConnectionLimiter::new(limits.connections, limits.connections_per_source);
        let (stop, stopped) = watch::channel(false);
        let mut locals = Vec::new();
        for router in [outside, inside] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            locals.push(listener.local_addr().unwrap());
            let site = Site { router, tls: Some(tls.clone()), idle };
            let choice: Choice = Arc::new(move |_| Some(site.clone()));
            tokio::spawn(serve(listener, choice, Arc::clone(&limiter), stopped.clone()));
        }
        let ca_pem = authority.certificate;
        let (outside, inside) = (locals[0], locals[1]);
        Self { dir, registry, resolver, outside, inside, ca_pem, stop, _home: home }
    }

    /// The store, as a command opens it.
    pub fn store(&self) -> Store {
        Store::open(&self.dir.database()).unwrap()
    }

    /// Makes an enrolment token.
    pub fn enrolment_token(&self, text: &str, uses: u32, expires: Option<i64>) {
        let hash = TokenHash::of(text);
        self.store().add_enrolment_token(&hash, uses, expires, None, now()).unwrap();
    }

    /// Registers a device over the API.
    pub async fn register(&self, key: u8) -> RegisterAnswer {
        let token = format!("token {key}");
        self.enrolment_token(&token, 1, None);
        let answer = self.post_registration(&token, key).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    pub async fn post_registration(&self, token: &str, key: u8) -> Answer {
        self.request(Method::POST, "/v0/reg", Some(token), registration(key)).await
    }

    /// One request outside, over HTTP/2.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = http::Request::builder().method(method).uri(format!("https://{NAME}{path}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.send(self.outside, request, body.into()).await
    }

    /// One request over HTTP/2.
    pub async fn send(&self, to: SocketAddr, request: http::request::Builder, body: Bytes) -> Answer {
        let stream = self.connect(to, b"h2").await;
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
        Answer::read(response).await
    }

    /// One request outside, over HTTP/1.1.
    pub async fn send_http1(&self, request: http::request::Builder, body: Bytes) -> Answer {
        let stream = self.connect(self.outside, b"http/1.1").await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = request.header("host", NAME).body(Full::new(body)).unwrap();
        Answer::read(sender.send_request(request).await.unwrap()).await
    }

    /// A TLS connection, trusting the gateway's authority alone.
    pub async fn connect(&self, to: SocketAddr, protocol: &[u8]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(to).await.unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    async fn read(response: http::Response<hyper::body::Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Checks that it is a refusal of this kind, in one line.
    #[track_caller]
    pub fn refuses(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        let error: weft_model::api::ApiError = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(error.code, code, "{}", error.message);
        assert!(!error.message.is_empty() && !error.message.contains('\n'), "{}", error.message);
    }
}

/// The body of a registration.
pub fn registration(key: u8) -> String {
    let key = PublicKey::from([key; 32]);
    format!(r#"{{"key":"{key}","name":"laptop","os":"linux","version":"0.1.0"}}"#)
}

pub fn bearer(token: &Secret) -> &str {
    token.expose()
}
