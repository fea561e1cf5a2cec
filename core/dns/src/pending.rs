//! One query that waits for its answer.

use std::time::Instant;

use crate::engine::{ClientId, Protocol};
use crate::message::{self, Question, response_code};

/// The most resolvers asked at once for one query.
pub(crate) const MAX_ASKED: usize = 8;

/// What an answer makes of the query that waits for it.
pub(crate) enum Outcome {
    /// It goes on waiting.
    Waits,
    /// This is the answer.
    Answered(Vec<u8>),
    /// Nobody can answer.
    Failed,
}

pub(crate) struct Pending {
    pub(crate) client: ClientId,
    pub(crate) protocol: Protocol,
    pub(crate) query: Vec<u8>,
    pub(crate) question: Question,
    pub(crate) deadline: Instant,
    /// The id that each request went out with; none once it is answered.
    pub(crate) asked: Vec<Option<u16>>,
    /// An answer that is an error of its resolver's; it counts where no other comes.
    spare: Option<Vec<u8>>,
}

impl Pending {
    pub(crate) fn new(
        client: ClientId,
        protocol: Protocol,
        query: &[u8],
        question: Question,
        deadline: Instant,
    ) -> Self {
        Self { client, protocol, query: query.to_vec(), question, deadline, asked: Vec::new(), spare: None }
    }

    /// Takes what came of request number `index`: the first answer that resolves the name wins, be it that there
    /// is no such name; an error of a resolver's own waits for the others.
    pub(crate) fn take(&mut self, index: usize, answer: Option<Vec<u8>>) -> Outcome {
        let Some(id) = self.asked.get_mut(index).and_then(Option::take) else { return Outcome::Waits };
        if let Some(answer) = answer.filter(|answer| self.is_answered_by(answer, id)) {
            match message::rcode(&answer) {
                response_code::NO_ERROR | response_code::NAME_ERROR => return Outcome::Answered(answer),
                _ => self.spare = Some(answer),
            }
        }
        if self.asked.iter().any(Option::is_some) {
            return Outcome::Waits;
        }
        self.spare.take().map_or(Outcome::Failed, Outcome::Answered)
    }

    /// What is answered at the deadline.
    pub(crate) fn give_up(&mut self) -> Outcome {
        self.spare.take().map_or(Outcome::Failed, Outcome::Answered)
    }

    fn is_answered_by(&self, answer: &[u8], id: u16) -> bool {
        message::is_answer(answer)
            && message::id(answer) == Some(id)
            && message::is_well_formed(answer)
            && message::question(answer).is_ok_and(|question| question == self.question)
    }
}
