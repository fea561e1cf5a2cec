//! Connections: accepted within limits, TLS where it belongs, HTTP/1.1 and HTTP/2, closed when idle.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::auth::Peer;
use super::limit::{ConnectionLimiter, Source};

/// The time for a TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// The time for a request's header.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// The time that a connection has to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);
/// Requests at once of one HTTP/2 connection.
const MAX_STREAMS: u32 = 32;
/// Bytes of a body that may come before they are read.
const WINDOW: u32 = 1 << 16;
/// The pause after the system refused to accept (no descriptors left, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Chooses by the local address what a connection is served, if anything.
pub type Choice = Arc<dyn Fn(SocketAddr) -> Option<Site> + Send + Sync>;

/// What a connection is served.
#[derive(Clone)]
pub struct Site {
    /// The paths.
    pub router: Router,
    /// Over TLS with this configuration, or plainly.
    pub tls: Option<TlsAcceptor>,
    /// The time after which a connection without a request is closed.
    pub idle: Duration,
}

/// Serves connections of one listener until `stop` says true, and then until they have ended.
pub async fn serve(
    listener: TcpListener,
    choice: Choice,
    limiter: Arc<ConnectionLimiter>,
    mut stop: watch::Receiver<bool>,
) {
    let connections = Arc::new(());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = limiter.enter(Source::from(peer.ip())) else { continue };
        let Some(site) = stream.local_addr().ok().and_then(|local| choice(local)) else { continue };
        let (stop, alive) = (stop.clone(), Arc::clone(&connections));
        tokio::spawn(async move {
            if let Err(error) = connection(stream, peer, site, stop).await {
                tracing::debug!(%error, "a connection ended");
            }
            drop((place, alive));
        });
    }
    let ended = async {
        while Arc::strong_count(&connections) > 1 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    // What has not ended by then ends with the process.
    let _ = timeout(GRACE, ended).await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    site: Site,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match site.tls {
        Some(acceptor) => {
            let stream = timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await??;
            converse(stream, peer, site.router, site.idle, stop).await
        }
        None => converse(stream, peer, site.router, site.idle, stop).await,
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    idle: Duration,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let router = TowerToHyperService::new(router);
    let activity = Arc::new(Activity::default());
    let watched = Arc::clone(&activity);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        let busy = Activity::begin(&activity);
        request.extensions_mut().insert(Peer(peer));
        let answer = router.call(request);
        async move {
            let answer = answer.await;
            drop(busy);
            answer
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        outcome = served.as_mut() => return outcome.map_err(io::Error::other),
        () = watched.idle_for(idle) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    served.as_mut().graceful_shutdown();
    match timeout(GRACE, served).await {
        Ok(outcome) => outcome.map_err(io::Error::other),
        Err(_) => Ok(()),
    }
}

/// When a connection last had a request.
#[derive(Debug, Default)]
struct Activity {
    state: Mutex<(usize, Option<Instant>)>,
}

/// A request that is being answered.
struct Busy(Arc<Activity>);

impl Activity {
    fn begin(this: &Arc<Self>) -> Busy {
        this.state.lock().unwrap_or_else(PoisonError::into_inner).0 += 1;
        Busy(Arc::clone(this))
    }

    /// Returns once there has been no request for this long.
    async fn idle_for(&self, idle: Duration) {
        let mut wait = idle;
        while !wait.is_zero() {
            sleep(wait).await;
            let (running, last) = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let rested = if running > 0 { Duration::ZERO } else { last.map_or(idle, |last| last.elapsed()) };
            wait = idle.saturating_sub(rested);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (state.0.saturating_sub(1), Some(Instant::now()));
    }
}
