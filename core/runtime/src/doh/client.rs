//! Queries, the connection they share, and when it is given up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Uri, header};
use tokio::sync::watch;
use weft_dns::message::{self, SAFE_UDP_LIMIT};
use weft_model::Secret;

use super::connection::{Connection, MEDIA_TYPE};
use super::{Dial, DohError};
use crate::http::AbortOnDrop;
use crate::tls::{TlsClient, Trust};

/// For a connection with its handshakes: less than a query's deadline, so that those who wait for it hear why.
const CONNECT: Duration = Duration::from_secs(4);
/// How long a connection may be silent while a query waits on it; TCP sends a lost segment again within that time.
const SILENCE: Duration = Duration::from_secs(2);
/// Queries are padded to a multiple of this many bytes (RFC 8467, section 4.1).
const BLOCK: usize = 128;

/// Which resolver, and as whom.
pub struct DohConfig {
    /// The name in the certificate and in `:authority`.
    pub name: String,
    /// The port in `:authority`.
    pub port: u16,
    /// The path of the resource, such as "/dns-query".
    pub path: String,
    /// Whom to trust.
    pub trust: Trust,
    /// The device's credential, outside the tunnel; inside, the tunnel's address is one.
    pub token: Option<Secret>,
}

/// A client of one resolver. Clones share its connection.
#[derive(Clone)]
pub struct DohClient {
    inner: Arc<Inner>,
}

struct Inner {
    uri: Uri,
    token: Option<HeaderValue>,
    opener: Arc<Opener>,
    current: Mutex<Current>,
    silence: Duration,
}

/// What it takes to open a connection.
struct Opener {
    name: String,
    tls: TlsClient,
    dial: Box<dyn Dial>,
}

/// How opening a connection ended; none while it goes on.
type Opened = Option<Result<Connection, DohError>>;

/// The connection in use, or the one that is being opened.
#[derive(Default)]
struct Current {
    opening: Option<Opening>,
    /// The number of the last one.
    number: u64,
}

struct Opening {
    opened: watch::Receiver<Opened>,
    /// Opens it; a query that is given up does not stop that, since others wait for it too.
    _task: AbortOnDrop,
}

impl std::fmt::Debug for DohClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DohClient").field("uri", &self.inner.uri).finish_non_exhaustive()
    }
}

impl DohClient {
    /// A client that opens its connections by `dial`, the first with the first query.
    ///
    /// # Errors
    /// [`DohError::Config`] where name, path, credential or pinned authority cannot be used.
    pub fn new(config: DohConfig, dial: Box<dyn Dial>) -> Result<Self, DohError> {
        Self::with_silence(config, dial, SILENCE)
    }

    pub(super) fn with_silence(
        config: DohConfig,
        dial: Box<dyn Dial>,
        silence: Duration,
    ) -> Result<Self, DohError> {
        let unusable = |error: &dyn std::fmt::Display| DohError::Config(error.to_string());
        let authority = crate::orchestration::authority(&config.name, config.port);
        let authority = Authority::try_from(authority).map_err(|error| unusable(&error))?;
        let path = PathAndQuery::try_from(config.path).map_err(|error| unusable(&error))?;
        let uri = Uri::builder().scheme(Scheme::HTTPS).authority(authority).path_and_query(path).build();
        let tls = TlsClient::new(&config.trust, &[b"h2"]).map_err(|error| unusable(&error))?;
        let token = config.token.map(|token| {
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
            value.map(|mut value| {
                value.set_sensitive(true);
                value
            })
        });
        let inner = Inner {
            uri: uri.map_err(|error| unusable(&error))?,
            token: token.transpose().map_err(|error| unusable(&error))?,
            opener: Arc::new(Opener { name: config.name, tls, dial }),
            current: Mutex::default(),
            silence,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Asks a query in wire form, whose id should be 0 (RFC 8484, section 4.1), and gives the answer. The query is
    /// padded, the answer is given without padding.
    ///
    /// # Errors
    /// A [`DohError`], at the deadline at the latest.
    pub async fn query(&self, query: &[u8], deadline: Instant) -> Result<Vec<u8>, DohError> {
        let mut padded = query.to_vec();
        let added_edns = message::pad(&mut padded, BLOCK, SAFE_UDP_LIMIT);
        let asked = tokio::time::timeout_at(deadline.into(), self.inner.ask(padded.into()));
        let mut answer = asked.await.map_err(|_| DohError::TimedOut)??;
        message::remove_padding(&mut answer);
        if added_edns {
            message::remove_edns(&mut answer);
        }
        Ok(answer)
    }

    /// Gives up the connection: the network is another one. Queries under way are sent once more.
    pub fn reset(&self) {
        let opening = self.inner.lock().opening.take();
        if let Some(Ok(connection)) = opening.as_ref().and_then(|opening| opening.opened.borrow().clone()) {
            connection.abort();
        }
    }
}

impl Inner {
    async fn ask(&self, body: Bytes) -> Result<Vec<u8>, DohError> {
        match self.attempt(body.clone()).await {
            Err(error) if error.is_worth_another() => self.attempt(body).await,
            result => result,
        }
    }

    /// One attempt, on the connection in use or a new one. A connection that failed it is not used again.
    async fn attempt(&self, body: Bytes) -> Result<Vec<u8>, DohError> {
        let connection = self.connection().await?;
        let mut heard = connection.heard();
        let mut exchange = std::pin::pin!(connection.exchange(self.head(body.len()), body));
        let result = loop {
            match tokio::time::timeout(self.silence, &mut exchange).await {
                Ok(result) => break result,
                // It lives; the answer takes its time.
                Err(_) if connection.heard() != heard => heard = connection.heard(),
                Err(_) => break Err(DohError::Silent),
            }
        };
        if result.as_ref().is_err_and(DohError::is_of_connection) {
            let mut current = self.lock();
            // Others may have put a new one there already.
            if current.number == connection.number {
                current.opening = None;
            }
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection in use, else a new one. Only one is opened at a time, and all who wait for it hear if it fails.
    async fn connection(&self) -> Result<Connection, DohError> {
        let mut opened = self.lock().opened(&self.opener);
        let opened = opened.wait_for(Option::is_some).await.map(|opened| opened.clone());
        opened.ok().flatten().unwrap_or_else(|| Err(DohError::Lost("the network is another one".to_owned())))
    }

    fn head(&self, length: usize) -> Request<()> {
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = self.uri.clone();
        let headers = head.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::ACCEPT, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        if let Some(token) = &self.token {
            headers.insert(header::AUTHORIZATION, token.clone());
        }
        head
    }
}

impl Current {
    fn opened(&mut self, opener: &Arc<Opener>) -> watch::Receiver<Opened> {
        if let Some(opening) = &self.opening {
            let usable = match &*opening.opened.borrow() {
                None => true,
                Some(Ok(connection)) => !connection.has_ended(),
                Some(Err(_)) => false,
            };
            if usable {
                return opening.opened.clone();
            }
        }
        self.number += 1;
        let (number, opener) = (self.number, Arc::clone(opener));
        let (tell, opened) = watch::channel(None);
        let task = tokio::spawn(async move {
            let result = tokio::time::timeout(CONNECT, opener.open(number)).await;
            let result = result.unwrap_or_else(|_| Err(DohError::Unreachable("no answer".to_owned())));
            tell.send_replace(Some(result));
        });
        self.opening = Some(Opening { opened: opened.clone(), _task: AbortOnDrop(task) });
        opened
    }
}

impl Opener {
    async fn open(&self, number: u64) -> Result<Connection, DohError> {
        let stream = self.dial.dial().await.map_err(|error| DohError::Unreachable(error.to_string()))?;
        Connection::open(number, &self.name, &self.tls, stream).await
    }
}
