//! Awaits the answers that come by futures, and keeps the engine's time.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Sleep, sleep_until};
use weft_dns::{RequestId, UpstreamError};

use super::core::Core;

type Done = (RequestId, Result<Vec<u8>, UpstreamError>);

/// Runs until it is dropped, and everything under way with it. Without queries in flight it sleeps without a limit.
///
/// Answers that come together are taken under one lock.
pub(super) async fn drive(core: Arc<Core>) {
    let mut under_way: JoinSet<Done> = JoinSet::new();
    let mut handles: HashMap<RequestId, AbortHandle> = HashMap::new();
    let mut alarm = Alarm::default();
    loop {
        let errands = core.take_errands();
        for id in errands.cancelled {
            if let Some(handle) = handles.remove(&id) {
                handle.abort();
            }
        }
        for (id, resolving) in errands.resolving {
            handles.insert(id, under_way.spawn(async move { (id, resolving.await) }));
        }
        alarm.set(errands.deadline);
        tokio::select! {
            () = core.woken() => {}
            Some(done) = under_way.join_next() => {
                let mut done = Some(done);
                core.with(|state, now| {
                    while let Some(one) = done {
                        match one {
                            Ok((id, answer)) => {
                                handles.remove(&id);
                                state.engine.handle_answer(id, answer, now);
                            }
                            Err(ended) if ended.is_cancelled() => {}
                            // One that panicked has no answer; the query's deadline stands.
                            Err(_) => handles.retain(|_, handle| !handle.is_finished()),
                        }
                        done = under_way.try_join_next();
                    }
                });
            }
            () = alarm.rings() => core.with(|state, now| state.engine.handle_timeout(now)),
        }
    }
}

/// A moment to wait for. One that is put off rings at the former moment: setting the timer wakes the event loop, and most
/// deadlines are over before they come.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Rings at `deadline`, or before.
    fn set(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else { return };
        match &mut self.0 {
            Some(sleep) if sleep.deadline() <= deadline => {}
            Some(sleep) => sleep.as_mut().reset(deadline),
            None => self.0 = Some(Box::pin(sleep_until(deadline))),
        }
    }

    /// Waits for it, once; for ever where nothing is set.
    async fn rings(&mut self) {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().await,
            None => std::future::pending().await,
        }
        self.0 = None;
    }
}
