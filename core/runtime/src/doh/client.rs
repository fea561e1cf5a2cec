//! Queries: how they are sent, and what is an answer to them.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::uri::{Authority, PathAndQuery};
use weft_dns::RequestId;
use weft_dns::message::{self, SAFE_UDP_LIMIT};
use weft_model::Secret;

use super::connection::Lease;
use super::open::{Opener, Resource};
use super::pool::Pool;
use super::ticket::{Answers, Resolving, Ticket};
use super::{Dial, DohError};
use crate::tls::{TlsClient, Trust};

/// How long a connection may be silent at least while a query waits on it. Then it is asked for a sign of life, and
/// when that too stays out for as long, the query is sent over another connection as well. TCP sends a lost segment again
/// within this time.
const SILENCE: Duration = Duration::from_millis(300);
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

/// A client of one resolver. Clones share its connections.
#[derive(Clone)]
pub struct DohClient {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    name: String,
    pool: Arc<Pool>,
}

/// A query as it goes out.
pub(super) struct Padded {
    wire: Vec<u8>,
    added_edns: bool,
}

impl Padded {
    fn new(mut wire: Vec<u8>) -> Self {
        let added_edns = message::pad(&mut wire, BLOCK, SAFE_UDP_LIMIT);
        Self { wire, added_edns }
    }

    /// Its answer, without padding; an error where it is none.
    pub(super) fn answer(&self, answer: Result<Vec<u8>, DohError>) -> Result<Vec<u8>, DohError> {
        let mut answer = answer?;
        super::check(&answer, &self.wire)?;
        if self.added_edns {
            message::remove_edns(&mut answer);
        } else {
            message::remove_padding(&mut answer);
        }
        Ok(answer)
    }
}

impl std::ops::Deref for Padded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.wire
    }
}

impl std::fmt::Debug for DohClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DohClient").field("name", &self.inner.name).finish_non_exhaustive()
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
        // What a header may hold (RFC 9110, section 5.5), seen without a copy.
        if config
            .token
            .as_ref()
            .is_some_and(|token| !token.expose().bytes().all(|byte| (b' '..=b'~').contains(&byte)))
        {
            return Err(DohError::Config("the credential holds what no header may".to_owned()));
        }
        let resource = Resource { authority, path, token: config.token };
        resource.client()?;
        let tls = TlsClient::new(&config.trust, &[b"h2"]).map_err(|error| unusable(&error))?;
        let pool = Pool::new(Opener::new(config.name.clone(), resource, tls, dial, silence));
        Ok(Self { inner: Arc::new(Inner { name: config.name, pool }) })
    }

    /// Asks a query in wire form, whose id should be 0 (RFC 8484, section 4.1), and gives the answer. The query is
    /// padded, the answer is given without padding. How long it may take is for the caller to say, who drops the future:
    /// a timer for each query would wake the event loop for each.
    ///
    /// # Errors
    /// A [`DohError`].
    pub async fn query(&self, query: &[u8]) -> Result<Vec<u8>, DohError> {
        self.inner.query(Padded::new(query.to_vec())).await
    }

    /// Asks as [`query`](Self::query) does. Where a connection is open and has room, that is done at once and `answers` hears
    /// of the answer, unless the last clone of the client is dropped before. Else, and from where on it takes longer, the
    /// answer comes by a future.
    #[must_use]
    pub fn ask(&self, id: RequestId, query: Vec<u8>, answers: &Weak<dyn Answers>) -> Option<Resolving> {
        let client = Arc::downgrade(&self.inner);
        let ticket = Ticket { id, query: Padded::new(query), client, answers: Weak::clone(answers) };
        let Err(ticket) = self.inner.pool.ask(ticket) else { return None };
        let inner = Arc::clone(&self.inner);
        Some(Box::pin(async move { Ok(inner.query(ticket.query).await?) }))
    }

    /// The answer to a query that went out at once is of no more use.
    pub fn give_up(&self, id: RequestId) {
        self.inner.pool.give_up(id);
    }

    /// Gives up the connections: the network is another one. Queries under way are sent once more.
    pub fn reset(&self) {
        self.inner.pool.reset();
    }
}

impl Inner {
    async fn query(&self, query: Padded) -> Result<Vec<u8>, DohError> {
        query.answer(self.ask(&query).await)
    }

    /// Asks, and once more over another connection where the first one ended or is silent.
    async fn ask(&self, query: &[u8]) -> Result<Vec<u8>, DohError> {
        let lease = match self.pool.lease().await {
            Err(error) if error.is_of_connection() => self.pool.lease().await?,
            other => other?,
        };
        let mut asked = std::pin::pin!(lease.ask(query));
        match lease.listen(asked.as_mut()).await {
            Ok(result) => match self.judge(&lease, result) {
                Err(error) if error.is_worth_another() => self.ask_again(query).await,
                result => result,
            },
            Err(since) => {
                self.distrust(since);
                self.ask_beside(asked, query).await
            }
        }
    }

    /// A connection was silent since a moment.
    pub(super) fn distrust(&self, since: Instant) {
        self.pool.distrust(since);
    }

    /// Asks once more over another connection. One that is only slow may still answer first.
    pub(super) async fn ask_beside(
        &self,
        asked: Pin<&mut impl Future<Output = Result<Vec<u8>, DohError>>>,
        query: &[u8],
    ) -> Result<Vec<u8>, DohError> {
        tokio::select! {
            Ok(answer) = asked => Ok(answer),
            answer = self.ask_again(query) => answer,
        }
    }

    /// Asks for the last time.
    pub(super) async fn ask_again(&self, query: &[u8]) -> Result<Vec<u8>, DohError> {
        let lease = self.pool.lease().await?;
        let asked = std::pin::pin!(lease.ask(query));
        match lease.listen(asked).await {
            Ok(result) => self.judge(&lease, result),
            Err(since) => {
                self.distrust(since);
                Err(DohError::Silent)
            }
        }
    }

    /// What an answer says of its connection.
    fn judge(&self, lease: &Lease, result: Result<Vec<u8>, DohError>) -> Result<Vec<u8>, DohError> {
        match &result {
            Ok(_) => self.pool.praise(lease.connection()),
            Err(error) if error.is_of_connection() => self.pool.blame(lease.connection()),
            Err(_) => {}
        }
        result
    }
}
