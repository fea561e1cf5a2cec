//! A connection's HTTP/2: what its queries and whoever drives it share.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncBufRead as _, AsyncWrite as _};
use tokio::sync::oneshot;
use tokio_rustls::client::TlsStream;
use weft_dns::http2::{Client, StreamError, StreamId};

use super::DohError;
use super::dial::BoxedStream;
use crate::lock::lock;

/// Why most connections end.
const CLOSED: &str = "the resolver closed it";

type Answer = Result<Vec<u8>, StreamError>;

/// One connection's HTTP/2.
pub(super) struct Link(Mutex<State>);

struct State {
    client: Client,
    /// Who waits, in the order in which they asked.
    waiting: Vec<(StreamId, oneshot::Sender<Answer>)>,
    /// Who drives it: there is more to send.
    driver: Option<Waker>,
    /// Why it is over.
    over: Option<String>,
}

impl State {
    fn place(&self, id: StreamId) -> Option<usize> {
        self.waiting.binary_search_by_key(&id, |(id, _)| *id).ok()
    }

    /// Why it takes no more queries.
    fn goodbye(&self) -> String {
        match self.client.goodbye() {
            Some(code) => format!("the resolver takes no more queries on it, code {code}"),
            None => "no more queries fit it".to_owned(),
        }
    }

    fn wake_driver(&self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }

    /// Hands over what is answered.
    fn hand_over(&mut self) {
        while let Some((id, answer)) = self.client.poll_answer() {
            if let Some(place) = self.place(id) {
                let (_, asked) = self.waiting.remove(place);
                // Who has gone meanwhile wants no answer.
                drop(asked.send(answer));
            }
        }
    }
}

impl Link {
    pub(super) fn new(client: Client) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { client, waiting: Vec::new(), driver: None, over: None })))
    }

    /// How many queries the server takes at a time; none while it has not said.
    pub(super) fn max_streams(&self) -> Option<usize> {
        self.lock().client.max_streams().map(|streams| usize::try_from(streams).unwrap_or(usize::MAX))
    }

    /// Whether no other query can be asked on it.
    pub(super) fn is_closing(&self) -> bool {
        let state = self.lock();
        state.over.is_some() || state.client.is_closing()
    }

    /// Asks for a sign of life, unless one is awaited.
    pub(super) fn ping(&self) {
        let mut state = self.lock();
        state.client.ping();
        state.wake_driver();
    }

    /// Asks a query.
    ///
    /// # Errors
    /// The connection takes no more queries.
    pub(super) fn ask(self: &Arc<Self>, query: &[u8]) -> Result<Asked, DohError> {
        let mut state = self.lock();
        if let Some(why) = &state.over {
            return Err(DohError::Lost(why.clone()));
        }
        let Some(id) = state.client.ask(query) else { return Err(DohError::Lost(state.goodbye())) };
        let (asked, answer) = oneshot::channel();
        state.waiting.push((id, asked));
        state.wake_driver();
        Ok(Asked { link: Arc::clone(self), id, answer })
    }

    /// Takes what comes over `stream` and sends what is to be sent, until the connection is over, and says why that is.
    /// `heard` is called whenever something came.
    pub(super) async fn drive(&self, mut stream: TlsStream<BoxedStream>, heard: impl Fn()) -> String {
        std::future::poll_fn(|context| self.poll(&mut stream, &heard, context)).await
    }

    fn poll(
        &self,
        stream: &mut TlsStream<BoxedStream>,
        heard: &impl Fn(),
        context: &mut Context<'_>,
    ) -> Poll<String> {
        loop {
            let mut stream = Pin::new(&mut *stream);
            let bytes = match stream.as_mut().poll_fill_buf(context) {
                Poll::Ready(Ok([])) => return Poll::Ready(CLOSED.to_owned()),
                Poll::Ready(Ok(bytes)) => bytes,
                // Many servers close without a word of TLS's.
                Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(CLOSED.to_owned());
                }
                Poll::Ready(Err(error)) => return Poll::Ready(error.to_string()),
                Poll::Pending => break,
            };
            heard();
            let count = bytes.len();
            let mut state = self.lock();
            let taken = state.client.handle_input(bytes);
            state.hand_over();
            // One that takes no more queries is of no more use.
            let is_done = state.waiting.is_empty() && state.client.goodbye().is_some();
            let goodbye = is_done.then(|| state.goodbye());
            drop(state);
            stream.as_mut().consume(count);
            if let Err(error) = taken {
                // It hears why where it listens.
                let _sent = self.poll_send(stream, context);
                return Poll::Ready(error.to_string());
            }
            if let Some(why) = goodbye {
                return Poll::Ready(why);
            }
        }
        match self.poll_send(Pin::new(stream), context) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(error.to_string()),
        }
    }

    fn poll_send(
        &self,
        mut stream: Pin<&mut TlsStream<BoxedStream>>,
        context: &mut Context<'_>,
    ) -> std::io::Result<()> {
        let mut state = self.lock();
        // Before the last look at what there is to send.
        match &mut state.driver {
            Some(driver) => driver.clone_from(context.waker()),
            None => state.driver = Some(context.waker().clone()),
        }
        while !state.client.output().is_empty() {
            match stream.as_mut().poll_write(context, state.client.output())? {
                Poll::Ready(count) => state.client.handle_sent(count),
                Poll::Pending => break,
            }
        }
        drop(state);
        match stream.poll_flush(context) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }

    /// It is over; who waits for an answer hears why.
    pub(super) fn end(&self, why: &str) {
        let mut state = self.lock();
        if state.over.is_none() {
            state.over = Some(why.to_owned());
        }
        state.waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

/// Ends a connection whose driver is dropped, be it before it began.
pub(super) struct Ending(pub(super) Arc<Link>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end("it was given up");
    }
}

/// A query on its way, which is given up where this is dropped.
pub(super) struct Asked {
    link: Arc<Link>,
    id: StreamId,
    answer: oneshot::Receiver<Answer>,
}

impl Future for Asked {
    type Output = Result<Vec<u8>, DohError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = ready!(Pin::new(&mut self.answer).poll(context));
        let lost = |_| DohError::Lost(self.link.lock().over.clone().unwrap_or_default());
        Poll::Ready(answered.map_err(lost).and_then(|answer| answer.map_err(failure)))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut state = self.link.lock();
        if let Some(place) = state.place(self.id) {
            state.waiting.remove(place);
            state.client.give_up(self.id);
            state.wake_driver();
        }
    }
}

fn failure(error: StreamError) -> DohError {
    match error {
        // It was not looked at (RFC 9113, section 8.7).
        StreamError::Refused => DohError::Busy,
        StreamError::Status(status) => DohError::Status(status),
        StreamError::NotDns => DohError::NotDns,
        StreamError::TooLong => DohError::TooLong,
        StreamError::Reset(_) | StreamError::Malformed(_) => DohError::Broken(error.to_string()),
    }
}
