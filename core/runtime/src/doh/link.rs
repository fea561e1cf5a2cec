//! A connection's HTTP/2: what its queries and whoever drives it share.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use tokio::io::{AsyncBufRead as _, AsyncWrite as _};
use tokio::sync::oneshot;
use tokio_rustls::client::TlsStream;
use weft_dns::RequestId;
use weft_dns::http2::{Client, StreamError, StreamId};

use super::DohError;
use super::dial::BoxedStream;
use super::ticket::{Sent, settle};
use crate::lock::lock;

/// Why most connections end.
const CLOSED: &str = "the resolver closed it";

type Answer = Result<Vec<u8>, StreamError>;

/// Who hears what becomes of a query.
enum Waiter {
    /// Who waits for this one.
    Future(oneshot::Sender<Answer>),
    /// Who is told when it comes.
    Ticket(Sent),
}

/// One connection's HTTP/2.
pub(super) struct Link(Mutex<State>);

struct State {
    client: Client,
    /// In the order in which they asked.
    waiting: Vec<(StreamId, Waiter)>,
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

    /// Hands over what is answered, and gives what is to be told once the lock is given back.
    fn hand_over(&mut self) -> Vec<(Sent, Result<Vec<u8>, DohError>)> {
        let mut tickets = Vec::new();
        while let Some((id, answer)) = self.client.poll_answer() {
            let Some(place) = self.place(id) else { continue };
            match self.waiting.remove(place) {
                // Who has gone meanwhile wants no answer.
                (_, Waiter::Future(asked)) => drop(asked.send(answer)),
                (_, Waiter::Ticket(sent)) => tickets.push((sent, answer.map_err(failure))),
            }
        }
        tickets
    }

    /// Gives up the query at this place.
    fn give_up(&mut self, place: usize) -> Waiter {
        let (id, waiter) = self.waiting.remove(place);
        self.client.give_up(id);
        self.wake_driver();
        waiter
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
        state.waiting.push((id, Waiter::Future(asked)));
        state.wake_driver();
        Ok(Asked { link: Arc::clone(self), id, answer })
    }

    /// Asks a query that nobody waits for. It comes back where the connection takes no more.
    pub(super) fn send(&self, sent: Sent) -> Result<(), Sent> {
        let mut state = self.lock();
        if state.over.is_some() {
            return Err(sent);
        }
        let Some(id) = state.client.ask(&sent.ticket.query) else { return Err(sent) };
        state.waiting.push((id, Waiter::Ticket(sent)));
        state.wake_driver();
        Ok(())
    }

    /// Gives up a query that nobody waits for.
    pub(super) fn give_up(&self, id: RequestId) {
        let mut state = self.lock();
        let is_it =
            |(_, waiter): &(StreamId, Waiter)| matches!(waiter, Waiter::Ticket(sent) if sent.ticket.id == id);
        let given_up = state.waiting.iter().position(is_it).map(|place| state.give_up(place));
        drop(state);
        drop(given_up);
    }

    /// Nothing has been heard since a moment: what nobody waits for is asked elsewhere as well.
    pub(super) fn fall_silent(self: &Arc<Self>, since: Instant) {
        let mut state = self.lock();
        let mut tickets = Vec::new();
        for (id, waiter) in &mut state.waiting {
            if matches!(waiter, Waiter::Ticket(_)) {
                let (asked, answer) = oneshot::channel();
                let former = std::mem::replace(waiter, Waiter::Future(asked));
                tickets.push((former, Asked { link: Arc::clone(self), id: *id, answer }));
            }
        }
        drop(state);
        for (waiter, asked) in tickets {
            if let Waiter::Ticket(sent) = waiter {
                sent.ask_beside(asked, since);
            }
        }
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
            let answered = state.hand_over();
            // One that takes no more queries is of no more use.
            let is_done = state.waiting.is_empty() && state.client.goodbye().is_some();
            let goodbye = is_done.then(|| state.goodbye());
            drop(state);
            settle(answered);
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
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for (_, waiter) in waiting {
            if let Waiter::Ticket(sent) = waiter {
                sent.ask_again();
            }
        }
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
            let _gone = state.give_up(place);
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
