//! Queries that are under way on a connection without anybody who waits for each.
//!
//! A future a query costs more than the query does. So one that finds a connection open goes out at once, and is kept by the
//! connection with the name of who takes the answer. What takes longer, since the connection is lost or falls silent, goes on
//! as a future after all.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Instant;

use weft_dns::{RequestId, UpstreamError};

use super::DohError;
use super::client::{Inner, Padded};
use super::connection::WeakLease;
use super::link::Asked;

/// An answer that is awaited. Dropping it gives it up.
pub type Resolving = Pin<Box<dyn Future<Output = Result<Vec<u8>, UpstreamError>> + Send>>;

/// What came of a query.
pub type Answered = (RequestId, Result<Vec<u8>, UpstreamError>);

/// Takes what becomes of queries that went out at once.
pub trait Answers: Send + Sync {
    /// Takes answers, or why there are none.
    fn answered(&self, answers: Vec<Answered>);

    /// Takes the rest of a query that takes longer: its answer comes by this future, if it is polled.
    fn go_on(&self, id: RequestId, rest: Resolving);
}

/// A query that nobody waits for, and who takes its answer.
pub(super) struct Ticket {
    pub(super) id: RequestId,
    pub(super) query: Padded,
    pub(super) client: Weak<Inner>,
    pub(super) answers: Weak<dyn Answers>,
}

/// One that is under way, with its place on the connection.
pub(super) struct Sent {
    pub(super) ticket: Ticket,
    pub(super) place: WeakLease,
}

/// Hands answers to who takes them.
pub(super) fn settle(answered: Vec<(Sent, Result<Vec<u8>, DohError>)>) {
    let mut answered = answered.into_iter().peekable();
    while let Some((Sent { ticket, .. }, _)) = answered.peek() {
        let answers = Weak::clone(&ticket.answers);
        let same =
            std::iter::from_fn(|| answered.next_if(|(sent, _)| Weak::ptr_eq(&sent.ticket.answers, &answers)));
        let told: Vec<Answered> = same.filter_map(|(sent, answer)| sent.ticket.judge(answer)).collect();
        if let Some(answers) = answers.upgrade() {
            answers.answered(told);
        }
    }
}

impl Sent {
    /// Asks once more: the connection is lost.
    pub(super) fn ask_again(self) {
        self.ticket.ask_again();
    }

    /// Asks once more beside the connection, which has been silent since a moment and may still bring the answer.
    pub(super) fn ask_beside(self, asked: Asked, since: Instant) {
        let Some(lease) = self.place.upgrade() else { return self.ticket.ask_again() };
        self.ticket.go_on(|client, query| {
            client.distrust(since);
            Box::pin(async move {
                let answer = client.ask_beside(std::pin::pin!(asked), &query).await;
                drop(lease);
                Ok(query.answer(answer)?)
            })
        });
    }
}

impl Ticket {
    /// What is to be told; nothing where the query is worth another attempt, which goes on.
    fn judge(self, answer: Result<Vec<u8>, DohError>) -> Option<(RequestId, Result<Vec<u8>, UpstreamError>)> {
        if answer.as_ref().is_err_and(DohError::is_worth_another) {
            self.ask_again();
            return None;
        }
        Some((self.id, self.query.answer(answer).map_err(UpstreamError::from)))
    }

    fn ask_again(self) {
        self.go_on(|client, query| {
            Box::pin(async move { Ok(query.answer(client.ask_again(&query).await)?) })
        });
    }

    /// Hands over the rest. With a client that is gone there is none: the query's deadline stands.
    fn go_on(self, rest: impl FnOnce(Arc<Inner>, Padded) -> Resolving) {
        if let (Some(client), Some(answers)) = (self.client.upgrade(), self.answers.upgrade()) {
            answers.go_on(self.id, rest(client, self.query));
        }
    }
}
