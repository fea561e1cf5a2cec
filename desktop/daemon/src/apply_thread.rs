//! The thread that owns the system: plans come in, the newest counts, and what became of each goes out.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};
use weft_model::{Plan, PlanNumber};

use crate::applier::Applier;

/// What the thread has to tell.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// An interface was made; this is where its packets are.
    Tun(OwnedFd),
    /// A plan is in force, or why not.
    Applied(PlanNumber, Result<(), String>),
}

type Job = Box<dyn FnOnce(&mut Applier) + Send>;

#[derive(Default)]
struct Queue {
    plan: Option<Box<Plan>>,
    jobs: VecDeque<Job>,
    /// What goes after a plan that waits.
    questions: VecDeque<Job>,
    /// No plan is taken any more.
    closed: bool,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Next {
    Job(Job),
    Plan(Box<Plan>),
}

/// The thread. Dropping it waits for the step it is at; what is applied stays.
pub(crate) struct ApplyThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl ApplyThread {
    /// Hands the system over to a thread. What it has to tell arrives at the receiver, in order.
    pub(crate) fn start(applier: Applier) -> io::Result<(Self, mpsc::UnboundedReceiver<Outcome>)> {
        let (tell, outcomes) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("weft-apply".to_owned())
            .spawn(move || work(applier, &of_thread, &tell))?;
        Ok((Self { shared, thread: Some(thread) }, outcomes))
    }

    /// Asks for a plan. It takes the place of one that was not begun yet, whose number it acknowledges too.
    pub(crate) fn submit(&self, plan: Box<Plan>) {
        let mut queue = self.shared.lock();
        if !queue.closed {
            queue.plan = Some(plan);
            self.shared.wake.notify_one();
        }
    }

    /// Takes no plan any more, not even one that waits.
    pub(crate) fn close(&self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        queue.plan = None;
    }

    /// Runs `job` on the thread, before any plan that waits. None: the thread has died.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Applier) -> T + Send + 'static,
    ) -> Option<T> {
        self.queue(|queue| &mut queue.jobs, |_| true, job).await
    }

    /// As [`ApplyThread::run`], for what may wait: whoever keeps the DNS settings may take seconds to answer, and
    /// neither a plan nor a firewall that was removed is to wait for that. A question whose asker has gone away is not
    /// asked.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Applier) -> T + Send + 'static,
    ) -> Option<T> {
        self.queue(|queue| &mut queue.questions, |answer| !answer.is_closed(), job).await
    }

    async fn queue<T: Send + 'static>(
        &self,
        place: impl FnOnce(&mut Queue) -> &mut VecDeque<Job>,
        is_wanted: fn(&oneshot::Sender<T>) -> bool,
        job: impl FnOnce(&mut Applier) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |applier| {
            if is_wanted(&answer) {
                // Whoever asked may have gone away meanwhile.
                drop(answer.send(job(applier)));
            }
        });
        place(&mut self.shared.lock()).push_back(job);
        self.shared.wake.notify_one();
        answered.await.ok()
    }
}

impl Drop for ApplyThread {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of it has been told as the end of its outcomes.
            let _panicked = thread.join();
        }
    }
}

fn work(mut applier: Applier, shared: &Shared, tell: &mpsc::UnboundedSender<Outcome>) {
    while let Some(next) = next(shared) {
        match next {
            Next::Job(job) => job(&mut applier),
            Next::Plan(plan) => {
                let number = plan.number;
                // The receiver ends after this thread.
                let result = applier.apply(&plan, &mut |tun| drop(tell.send(Outcome::Tun(tun))));
                if let Err(error) = &result {
                    tracing::warn!("plan {number} is not in force: {error}");
                }
                drop(tell.send(Outcome::Applied(number, result.map_err(|error| error.to_string()))));
            }
        }
    }
}

/// Waits for something to do; none once the thread shall end.
fn next(shared: &Shared) -> Option<Next> {
    let mut queue = shared.lock();
    loop {
        if queue.ended {
            return None;
        }
        if let Some(job) = queue.jobs.pop_front() {
            return Some(Next::Job(job));
        }
        if let Some(plan) = queue.plan.take() {
            return Some(Next::Plan(plan));
        }
        if let Some(question) = queue.questions.pop_front() {
            return Some(Next::Job(question));
        }
        queue = shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests {
    use weft_platform::fake::{self, FakeSystem, Step};

    use super::*;
    use crate::applier::DnsLook;
    use crate::journal::Journal;
    use crate::state::StateDir;
    use crate::testing::{connected, connecting};

    fn start() -> (ApplyThread, mpsc::UnboundedReceiver<Outcome>, FakeSystem, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let (platform, system) = fake::platform();
        let applier = Applier::new(platform, Journal::open(&state).unwrap().0);
        let (thread, outcomes) = ApplyThread::start(applier).unwrap();
        (thread, outcomes, system, folder)
    }

    #[tokio::test]
    async fn the_interface_comes_before_the_acknowledgement() {
        let (thread, mut outcomes, _system, _folder) = start();
        thread.submit(Box::new(connecting(1)));
        assert!(matches!(outcomes.recv().await, Some(Outcome::Tun(_))));
        assert!(matches!(outcomes.recv().await, Some(Outcome::Applied(1, Ok(())))));
    }

    #[tokio::test]
    async fn the_newest_plan_takes_the_place_of_those_that_wait() {
        let (thread, mut outcomes, system, _folder) = start();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let busy = thread.run(move |_| held.recv());
        tokio::pin!(busy);
        // The job is queued by its first poll.
        assert!(futures_poll(busy.as_mut()).is_none());
        for plan in [connecting(1), connected(2), Plan::disconnected(3)] {
            thread.submit(Box::new(plan));
        }
        drop(hold);
        busy.await;
        assert!(matches!(outcomes.recv().await, Some(Outcome::Applied(3, Ok(())))));
        assert!(!system.take_steps().contains(&Step::TunEnsure));
    }

    #[tokio::test]
    async fn a_question_waits_for_the_plan_and_a_job_does_not() {
        let (thread, mut outcomes, _system, _folder) = start();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (order, in_order) = std::sync::mpsc::channel();
        let busy = thread.run(move |_| held.recv());
        let told = order.clone();
        let is_set = |applier: &Applier| matches!(applier.look_at_dns(), DnsLook::Set(..));
        let question = thread.ask(move |applier| told.send(("question", is_set(applier))));
        let job = thread.run(move |applier| order.send(("job", is_set(applier))));
        tokio::pin!(busy, question, job);
        assert!(futures_poll(busy.as_mut()).is_none());
        assert!(futures_poll(question.as_mut()).is_none());
        thread.submit(Box::new(connected(1)));
        assert!(futures_poll(job.as_mut()).is_none());
        drop(hold);
        let _ = (question.await, job.await, busy.await);
        assert_eq!(in_order.try_iter().collect::<Vec<_>>(), [("job", false), ("question", true)]);
        assert!(matches!(outcomes.recv().await, Some(Outcome::Tun(_))));
    }

    #[tokio::test]
    async fn a_question_that_nobody_waits_for_is_not_asked_and_a_job_is_done() {
        let (thread, _outcomes, _system, _folder) = start();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (order, in_order) = std::sync::mpsc::channel();
        let busy = thread.run(move |_| held.recv());
        tokio::pin!(busy);
        assert!(futures_poll(busy.as_mut()).is_none());
        {
            let (of_question, of_job) = (order.clone(), order.clone());
            let question = thread.ask(move |_| of_question.send("question"));
            let job = thread.run(move |_| of_job.send("job"));
            tokio::pin!(question, job);
            assert!(futures_poll(question.as_mut()).is_none());
            assert!(futures_poll(job.as_mut()).is_none());
        }
        drop(hold);
        let _ = busy.await;
        let _ = thread.ask(move |_| order.send("last")).await;
        assert_eq!(in_order.try_iter().collect::<Vec<_>>(), ["job", "last"]);
    }

    fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn a_failure_is_told_with_its_part() {
        let (thread, mut outcomes, system, _folder) = start();
        system.fail_next(Step::RoutesApply, "no");
        thread.submit(Box::new(connected(4)));
        assert!(matches!(outcomes.recv().await, Some(Outcome::Tun(_))));
        let Some(Outcome::Applied(4, Err(why))) = outcomes.recv().await else { panic!("it was applied") };
        assert!(why.starts_with("routes: "), "{why}");
    }

    #[tokio::test]
    async fn a_closed_thread_takes_jobs_and_no_plans() {
        let (thread, mut outcomes, system, _folder) = start();
        thread.close();
        thread.submit(Box::new(connected(1)));
        assert_eq!(thread.run(|applier| applier.undo()).await, Some(Vec::new()));
        drop(thread);
        assert!(outcomes.recv().await.is_none());
        assert!(system.is_clean());
    }
}
