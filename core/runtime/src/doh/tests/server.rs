//! A resolver that behaves as it is asked to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{Request, Response, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use weft_model::Secret;

use super::super::{DohClient, DohConfig, Outside, Stream};
use crate::sockets::SocketFactory;
use crate::testing::Pki;
use crate::tls::Trust;

pub(super) const SILENCE: Duration = Duration::from_millis(300);
/// So long that no stall of the machine is taken for silence, and how much longer a slow answer takes.
pub(super) const LONG_SILENCE: Duration = Duration::from_secs(1);
pub(super) const SLOW: Duration = Duration::from_millis(2500);

/// "a.example A", id 0, with or without EDNS (1,232 bytes).
pub(super) fn query(name: u8, edns: bool) -> Vec<u8> {
    let mut wire = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns), 1, name];
    wire.extend_from_slice(b"\x07example\0\0\x01\0\x01");
    if edns {
        wire.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    }
    wire
}

/// What a server does with its nth connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Does {
    /// Answers with the query as it came, said to be an answer.
    Answer,
    /// Takes queries and says nothing at all.
    FallSilent,
    /// Answers once, then falls silent.
    AnswerOnce,
    /// Sends half an answer and closes the connection.
    CloseMidAnswer,
    /// Sends half an answer and breaks off the stream.
    BreakOff,
    /// Speaks no HTTP/2 although it said so.
    Garbage,
    /// Answers with another status.
    Fail(u16),
    /// Answers the name "a", and all others with another status.
    FailOthers(u16),
    /// Answers with a web page.
    Page,
    /// Answers with 70,000 bytes, said or not.
    Long(bool),
    /// Answers once, then says goodbye.
    GoAway,
    /// Takes its time with the name "z" and answers all others at once.
    Slow,
    /// Takes so many queries at a time.
    Few(u32),
    /// Takes so many queries at a time, and answers pings and the name "a" alone.
    Hold(u32),
    /// Answers with something that is no DNS message.
    NoDns,
    /// Answers the question of somebody else.
    Other,
}

/// What happened at a server.
#[derive(Default)]
pub(super) struct Counts {
    connections: AtomicUsize,
    open: AtomicUsize,
    requests: AtomicUsize,
    resumed: AtomicUsize,
}

pub(super) struct Server {
    pub(super) pki: Pki,
    pub(super) address: SocketAddr,
    tls: TlsAcceptor,
    script: &'static [Does],
    counts: Arc<Counts>,
    listening: Option<JoinHandle<()>>,
}

impl Server {
    /// The nth connection is treated as the nth says; those after the last, as the last says.
    pub(super) async fn start(script: &'static [Does]) -> Self {
        let pki = Pki::new(&["gateway.example"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = pki.server(b"h2", true);
        let mut server = Self { pki, address, tls, script, counts: Arc::default(), listening: None };
        server.listen(listener);
        server
    }

    fn listen(&mut self, listener: TcpListener) {
        let (tls, counts, script) = (self.tls.clone(), Arc::clone(&self.counts), self.script);
        self.listening = Some(tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serving.spawn(shake_hands(stream, tls.clone(), script, Arc::clone(&counts)));
            }
        }));
    }

    /// Stops: nobody listens any more, and every connection is closed.
    pub(super) async fn stop(&mut self) {
        let listening = self.listening.take().unwrap();
        listening.abort();
        let _aborted = listening.await;
    }

    /// Listens again where it did.
    pub(super) async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.listen(listener);
    }

    pub(super) fn client(&self) -> DohClient {
        self.client_with(Trust::CaPem(self.pki.authority_pem.clone()), Some("device-token"))
    }

    pub(super) fn config(trust: Trust, token: Option<&str>) -> DohConfig {
        DohConfig {
            name: "gateway.example".to_owned(),
            port: 8443,
            path: "/dns-query".to_owned(),
            trust,
            token: token.map(|token| Secret::from(token.to_owned())),
        }
    }

    pub(super) fn client_with(&self, trust: Trust, token: Option<&str>) -> DohClient {
        let dial = Outside { sockets: SocketFactory::new(), addresses: vec![self.address] };
        DohClient::with_silence(Self::config(trust, token), Box::new(dial), SILENCE).unwrap()
    }

    pub(super) fn patient_client(&self, silence: Duration) -> DohClient {
        let config = Self::config(Trust::CaPem(self.pki.authority_pem.clone()), Some("device-token"));
        let dial = Outside { sockets: SocketFactory::new(), addresses: vec![self.address] };
        DohClient::with_silence(config, Box::new(dial), silence).unwrap()
    }

    /// Connections that got through their handshake, ever.
    pub(super) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Connections that are open, with those in their handshake.
    pub(super) fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    /// Handshakes that went on from a session of before.
    pub(super) fn resumed(&self) -> usize {
        self.counts.resumed.load(Ordering::SeqCst)
    }
}

/// Counts a connection while it is open.
struct Open(Arc<Counts>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn shake_hands(stream: TcpStream, tls: TlsAcceptor, script: &'static [Does], counts: Arc<Counts>) {
    counts.open.fetch_add(1, Ordering::SeqCst);
    let open = Open(counts);
    let Ok(stream) = tls.accept(stream).await else { return };
    let index = open.0.connections.fetch_add(1, Ordering::SeqCst).min(script.len() - 1);
    if stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
        open.0.resumed.fetch_add(1, Ordering::SeqCst);
    }
    serve(stream, script[index], &open.0).await;
}

pub(super) async fn serve<S: Stream>(mut stream: TlsStream<S>, does: Does, counts: &Counts) {
    if does == Does::Garbage {
        let _ = stream.write_all(&[0x55; 4096]).await;
        return;
    }
    let mut builder = h2::server::Builder::new();
    if let Does::Hold(streams) | Does::Few(streams) = does {
        builder.max_concurrent_streams(streams);
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let mut asked = 0;
    while let Some(Ok((request, respond))) = connection.accept().await {
        counts.requests.fetch_add(1, Ordering::SeqCst);
        asked += 1;
        match does {
            Does::AnswerOnce if asked > 1 => std::future::pending().await,
            // Nothing is read or written any more, not even the answer to a ping.
            Does::FallSilent => std::future::pending().await,
            Does::CloseMidAnswer => {
                // Frames are written while the connection is polled.
                half(respond);
                let _ = tokio::time::timeout(Duration::from_millis(50), connection.accept()).await;
                return;
            }
            Does::GoAway => {
                connection.graceful_shutdown();
                tokio::spawn(respond_to(request, respond, does));
            }
            _ => drop(tokio::spawn(respond_to(request, respond, does))),
        }
    }
}

fn half(mut respond: SendResponse<Bytes>) {
    let response = Response::builder().header("content-type", "application/dns-message").body(()).unwrap();
    let mut body = respond.send_response(response, false).unwrap();
    body.send_data(Bytes::from_static(b"\0\0\x81\x80"), false).unwrap();
    // Dropped, the stream would be reset; forgotten, it ends with the connection.
    std::mem::forget(body);
}

async fn respond_to(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>, does: Does) {
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/dns-query"));
    assert_eq!(request.uri().authority().unwrap().as_str(), "gateway.example:8443");
    assert_eq!(request.headers()["content-type"], "application/dns-message");
    let token = request.headers().get("authorization").map(|token| token.to_str().unwrap().to_owned());
    let mut body = request.into_body();
    let mut query = Vec::new();
    while let Some(chunk) = body.data().await {
        query.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!((query.len() % 128, token.as_deref()), (0, Some("Bearer device-token")));
    query[2] |= 0x80;
    if matches!(does, Does::Hold(_)) && query[13] != b'a' {
        std::future::pending::<()>().await;
    }
    if does == Does::Slow && query[13] == b'z' {
        tokio::time::sleep(SLOW).await;
    }
    let status = match does {
        Does::Fail(status) => status,
        Does::FailOthers(status) if query[13] != b'a' => status,
        _ => 200,
    };
    let kind = if does == Does::Page { "text/html" } else { "application/dns-message; charset=x" };
    let mut response =
        Response::builder().status(StatusCode::from_u16(status).unwrap()).header("content-type", kind);
    if let Does::Long(said) = does {
        query.resize(70_000, 0);
        if said {
            response = response.header("content-length", "70000");
        }
    }
    match does {
        Does::NoDns => query.truncate(20),
        Does::Other => query[13] ^= 1,
        _ => {}
    }
    let mut body = respond.send_response(response.body(()).unwrap(), false).unwrap();
    if does == Does::BreakOff {
        body.send_data(Bytes::from_static(b"\0\0"), false).unwrap();
        body.send_reset(h2::Reason::INTERNAL_ERROR);
        return;
    }
    let _ = body.send_data(query.into(), true);
}
