//! Questions that are out: who is asked, who waits, and which answer counts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use weft_model::DnsSource;

use super::decide::Route;
use super::errors::Failure;
use super::query::Query;
use super::types::{ClientId, Request, RequestId, Target, UpstreamError, UpstreamErrorKind};
use super::{Engine, MAX_ASKED, MAX_IN_FLIGHT, QUERY_DEADLINE, Timer};
use crate::cache::{KeyBuf, Origin};
use crate::message::{self, SAFE_UDP_LIMIT, record_type, response_code};

/// How long an answer with data is preferred to one that says there are none, from the first of these on.
const POSITIVE_WAIT: Duration = Duration::from_millis(300);
/// How long who asks waits before it is given an answer whose time is over (RFC 8767, section 5).
pub(super) const STALE_WAIT: Duration = Duration::from_millis(1800);
/// The most resolvers that are remembered to give a question back in another case.
const MAX_FOLDING: usize = 64;
/// How often in a row a resolver must do so, and then answer the question in one case, until it is asked in one case
/// from the start: a forger who guesses one id and port takes no more than one question's case away.
const FOLDS_AFTER: u8 = 3;
/// The most requests that wait to be called off: all that can be under way.
const MAX_CANCELLED: usize = MAX_IN_FLIGHT * MAX_ASKED;
/// Bytes of room behind a request's message, for what who asks adds: an OPT record and padding.
const ROOM: usize = 160;
/// Bits of chance for the case of a name: more letters no name has.
const CASE_BYTES: usize = 32;

/// Who waits for an answer.
pub(super) struct Waiter {
    pub(super) client: ClientId,
    /// Its query without options: id, flags, question in its own case, and whether it has EDNS.
    pub(super) head: Vec<u8>,
    /// The longest answer it takes, in bytes.
    pub(super) limit: usize,
    pub(super) since: Instant,
}

/// One question that is out.
pub(super) struct Ask {
    pub(super) key: KeyBuf,
    /// What others who ask the same find it by; none where its answer is for its client alone.
    pub(super) shared: Option<Box<[u8]>>,
    /// What is asked, with the id 0.
    pub(super) message: Vec<u8>,
    /// Whether the case of its question may be changed.
    bendable: bool,
    pub(super) source: DnsSource,
    pub(super) origin: Origin,
    pub(super) waiters: Vec<Waiter>,
    sent: Vec<Sent>,
    deadline: Instant,
    /// The moment that its timer is set to.
    timer: Instant,
    /// An answer that is an error of its resolver's; it counts where no other comes.
    spare: Option<Vec<u8>>,
    /// The first answer that says there are no data, and how long one with data is waited for.
    negative: Option<(Vec<u8>, Instant)>,
    /// An earlier answer, for where nobody answers.
    pub(super) stale: Option<Stale>,
    error: Option<UpstreamErrorKind>,
    /// The engine's configuration when it was asked; its answer is kept while that is in force.
    pub(super) generation: u64,
    /// Whether it went out for a popular name's sake alone.
    pub(super) is_prefetch: bool,
}

pub(super) struct Stale {
    pub(super) answer: Vec<u8>,
    /// When it is given; none: it was.
    pub(super) at: Option<Instant>,
}

/// One request of an ask.
struct Sent {
    to: Target,
    id: u16,
    /// The question as it went out, where its case was changed by chance.
    bent: Option<Vec<u8>>,
    /// Whether it asks again for the case of the first answer.
    unbends: bool,
    open: bool,
}

/// What becomes of an ask.
pub(super) enum Outcome {
    /// It goes on waiting.
    Waits,
    /// This is the answer.
    Answered(Vec<u8>),
    /// There is none.
    Failed(Failure),
}

impl Ask {
    pub(super) fn is_of_portal(&self) -> bool {
        matches!(self.source, DnsSource::Portal { .. })
    }

    fn is_open(&self) -> bool {
        self.sent.iter().any(|sent| sent.open)
    }

    /// The next moment at which something is to be done.
    fn next(&self) -> Instant {
        let negative = self.negative.as_ref().map(|(_, at)| *at);
        let stale = self.stale.as_ref().and_then(|stale| stale.at);
        [negative, stale].into_iter().flatten().fold(self.deadline, Instant::min)
    }

    /// Ends it with the best that came.
    fn conclude(&mut self) -> Outcome {
        let negative = self.negative.take().map(|(answer, _)| answer);
        match negative.or_else(|| self.spare.take()) {
            Some(answer) => Outcome::Answered(answer),
            None => Outcome::Failed(Failure::Upstream(self.error.unwrap_or(UpstreamErrorKind::TimedOut))),
        }
    }

    /// Takes an answer that fits: the first that resolves the name wins, be it that there is no such name, unless
    /// one with data is preferred; an error of a resolver's own waits for the others.
    fn take(&mut self, answer: Vec<u8>, prefer_positive: bool, now: Instant) -> Outcome {
        let resolves = matches!(message::rcode(&answer), response_code::NO_ERROR | response_code::NAME_ERROR);
        if resolves && (!prefer_positive || has_data(&answer)) {
            return Outcome::Answered(answer);
        }
        if resolves {
            self.negative.get_or_insert((answer, now + POSITIVE_WAIT));
        } else {
            self.spare.get_or_insert(answer);
        }
        if self.is_open() { Outcome::Waits } else { self.conclude() }
    }
}

/// Whether an answer holds a record of the type that is asked for.
fn has_data(answer: &[u8]) -> bool {
    let Some(place) = message::question_place(answer) else { return false };
    message::rcode(answer) == response_code::NO_ERROR
        && message::records(answer, place.end).flatten().any(|record| {
            record.section == message::Section::Answer
                && (record.kind == place.kind || place.kind == record_type::ANY)
        })
}

/// How an answer fits its request.
enum Fit {
    Whole,
    /// But for the case of its question.
    OtherCase,
    /// It answers something else.
    Other,
    /// It cannot be read.
    Garbage,
}

fn fit(answer: &[u8], asked: &[u8], sent: &Sent) -> Fit {
    let readable = message::is_sound(answer) && message::has_whole_options(answer);
    if !message::is_answer(answer) || !readable {
        return Fit::Garbage;
    }
    if message::id(answer) != Some(sent.id) || !message::asks_the_same(answer, asked) {
        return Fit::Other;
    }
    match &sent.bent {
        Some(bent) if !message::has_same_question(bent, answer) => Fit::OtherCase,
        _ => Fit::Whole,
    }
}

impl Engine {
    /// Whether one more question may go out.
    pub(super) fn has_room(&self) -> bool {
        self.asks.len() + self.holds.len() < MAX_IN_FLIGHT
    }

    /// Asks, for those in `waiters` and whoever asks by the same key. The route has somebody to ask.
    pub(super) fn ask(
        &mut self,
        query: &Query<'_>,
        shared: Option<Box<[u8]>>,
        route: Route,
        waiters: Vec<Waiter>,
        stale: Option<Vec<u8>>,
        now: Instant,
    ) {
        let number = self.next;
        self.next += 1;
        let deadline = now + QUERY_DEADLINE;
        let mut ask = Box::new(Ask {
            key: query.key.clone(),
            shared: shared.clone(),
            message: query.to_ask(),
            bendable: query.unsigned,
            source: route.source,
            origin: route.origin,
            sent: Vec::with_capacity(route.targets.len()),
            deadline,
            timer: deadline,
            spare: None,
            negative: None,
            stale: stale.map(|answer| Stale { answer, at: Some(now + STALE_WAIT) }),
            is_prefetch: waiters.is_empty(),
            waiters,
            error: None,
            generation: self.generation,
        });
        for to in &*route.targets {
            self.send(number, &mut ask, *to, true);
        }
        ask.timer = ask.next();
        self.timers.insert((ask.timer, Timer::Ask(number)));
        self.waiting += ask.waiters.len();
        if let Some(shared) = shared {
            self.joins.insert(shared, number);
        }
        self.asks.insert(number, ask);
    }

    /// Makes one request of an ask, its question in any case by chance if `bend` (draft-vixie-dnsext-dns0x20).
    fn send(&mut self, number: u64, ask: &mut Ask, to: Target, bend: bool) {
        let mut message = Vec::with_capacity(ask.message.len() + ROOM);
        message.extend_from_slice(&ask.message);
        let mut sent = Sent { to, id: 0, bent: None, unbends: !bend, open: true };
        if let Target::Plain { server, .. } = to {
            message::clamp_payload_size(&mut message, SAFE_UDP_LIMIT);
            let mut id = [0; 2];
            self.entropy.fill(&mut id);
            sent.id = u16::from_be_bytes(id);
            message::set_id(&mut message, sent.id);
            if bend && ask.bendable && !self.is_folding(server) {
                let mut bits = [0; CASE_BYTES];
                self.entropy.fill(&mut bits);
                message::randomise_case(&mut message, &bits);
                let end = message::question_place(&message).map_or(0, |place| place.end);
                sent.bent = message.get(..end).map(<[u8]>::to_vec);
            }
        }
        let id = RequestId { ask: number, index: ask.sent.len() };
        ask.sent.push(sent);
        self.requests.push_back(Request { id, to, message, deadline: ask.deadline });
    }

    /// The ways to the resolvers are others: who was asked by those of before and has not answered is asked again.
    /// Deadlines stay as they are.
    pub fn ask_again(&mut self) {
        let numbers: Vec<u64> = self.asks.keys().copied().collect();
        for number in numbers {
            let Some(mut ask) = self.asks.remove(&number) else { continue };
            self.cancel(number, &ask);
            let mut again = Vec::new();
            for sent in ask.sent.iter_mut().filter(|sent| sent.open) {
                sent.open = false;
                again.push((sent.to, !sent.unbends));
            }
            for (to, bend) in again {
                self.send(number, &mut ask, to, bend);
            }
            self.asks.insert(number, ask);
        }
    }

    /// Whether the answer to a request is of use still.
    #[must_use]
    pub fn awaits(&self, id: RequestId) -> bool {
        self.asks.get(&id.ask).and_then(|ask| ask.sent.get(id.index)).is_some_and(|sent| sent.open)
    }

    /// Takes what came of a request. An answer that does not fit it counts as none.
    pub fn handle_answer(&mut self, id: RequestId, answer: Result<Vec<u8>, UpstreamError>, now: Instant) {
        let Some(mut ask) = self.asks.remove(&id.ask) else { return };
        let Some(sent) = ask.sent.get_mut(id.index).filter(|sent| sent.open) else {
            self.asks.insert(id.ask, ask);
            return;
        };
        sent.open = false;
        let outcome = match answer {
            Err(error) => {
                ask.error = Some(error.kind);
                if ask.is_open() { Outcome::Waits } else { ask.conclude() }
            }
            Ok(answer) => self.judge(id, &mut ask, answer, now),
        };
        self.settle(id.ask, ask, outcome, now);
    }

    fn judge(&mut self, id: RequestId, ask: &mut Ask, answer: Vec<u8>, now: Instant) -> Outcome {
        let Some(sent) = ask.sent.get(id.index) else { return Outcome::Waits };
        let (fit, to) = (fit(&answer, &ask.message, sent), sent.to);
        match fit {
            Fit::Whole => {
                let (is_bent, unbends) = (sent.bent.is_some(), sent.unbends);
                if let Target::Plain { server, .. } = to {
                    self.note_case(server, is_bent, unbends);
                }
                return ask.take(answer, self.config.prefer_positive, now);
            }
            Fit::OtherCase => {
                self.stats.mismatched += 1;
                self.send(id.ask, ask, to, false);
            }
            Fit::Other => {
                self.stats.mismatched += 1;
                ask.error = Some(UpstreamErrorKind::Garbage);
            }
            Fit::Garbage => ask.error = Some(UpstreamErrorKind::Garbage),
        }
        if ask.is_open() { Outcome::Waits } else { ask.conclude() }
    }

    /// Whether a resolver gives questions back in another case.
    fn is_folding(&self, server: IpAddr) -> bool {
        self.folding.get(&server).is_some_and(|times| *times >= FOLDS_AFTER)
    }

    /// A resolver has answered: in the case by chance it was asked in, or asked again without a change of case.
    fn note_case(&mut self, server: IpAddr, is_bent: bool, is_again: bool) {
        if is_bent {
            self.folding.remove(&server);
        } else if is_again && (self.folding.len() < MAX_FOLDING || self.folding.contains_key(&server)) {
            let times = self.folding.entry(server).or_default();
            *times = times.saturating_add(1);
        }
    }

    /// Ends an ask, or puts it back and sets its timer anew.
    fn settle(&mut self, number: u64, mut ask: Box<Ask>, outcome: Outcome, now: Instant) {
        if matches!(outcome, Outcome::Waits) {
            let next = ask.next();
            if next != ask.timer {
                self.timers.remove(&(ask.timer, Timer::Ask(number)));
                self.timers.insert((next, Timer::Ask(number)));
                ask.timer = next;
            }
            self.asks.insert(number, ask);
            return;
        }
        self.timers.remove(&(ask.timer, Timer::Ask(number)));
        self.cancel(number, &ask);
        self.waiting -= ask.waiters.len();
        if let Some(shared) = &ask.shared
            && self.joins.get(shared) == Some(&number)
        {
            self.joins.remove(shared);
        }
        self.finish(ask, outcome, now);
    }

    /// Calls off what is still under way of an ask.
    fn cancel(&mut self, number: u64, ask: &Ask) {
        if !self.requests.is_empty() {
            self.requests.retain(|request| request.id.ask != number);
        }
        let open = ask.sent.iter().enumerate().filter(|(_, sent)| sent.open);
        self.cancelled.extend(open.map(|(index, _)| RequestId { ask: number, index }));
        while self.cancelled.len() > MAX_CANCELLED {
            self.cancelled.pop_front();
        }
    }

    /// A moment of an ask has come.
    pub(super) fn ask_is_due(&mut self, number: u64, now: Instant) {
        let Some(mut ask) = self.asks.remove(&number) else { return };
        let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_over(Some(ask.deadline)) || is_over(ask.negative.as_ref().map(|(_, at)| *at)) {
            let outcome = ask.conclude();
            self.settle(number, ask, outcome, now);
            return;
        }
        if is_over(ask.stale.as_ref().and_then(|stale| stale.at)) {
            self.waiting -= ask.waiters.len();
            self.give_stale(&mut ask, now);
        }
        self.settle(number, ask, Outcome::Waits, now);
    }

    /// Ends those that `which` picks.
    pub(super) fn fail_asks(&mut self, failure: Failure, which: impl Fn(&Ask) -> bool, now: Instant) {
        let picked: BTreeSet<u64> =
            self.asks.iter().filter(|(_, ask)| which(ask)).map(|(number, _)| *number).collect();
        for number in picked {
            if let Some(ask) = self.asks.remove(&number) {
                self.settle(number, ask, Outcome::Failed(failure), now);
            }
        }
    }
}
