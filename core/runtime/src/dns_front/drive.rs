//! Makes the engine's requests and keeps its time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::{AbortHandle, JoinSet};
use weft_dns::{RequestId, UpstreamError};

use super::core::Core;

type Done = (RequestId, Result<Vec<u8>, UpstreamError>);

/// Runs until it is dropped, and everything under way with it. Without queries in flight it sleeps without a limit.
///
/// All requests are made here, so that a batch of queries wakes the event loop once, and answers that come together are
/// taken under one lock.
pub(super) async fn drive(core: Arc<Core>) {
    let mut under_way: JoinSet<Done> = JoinSet::new();
    let mut handles: HashMap<RequestId, AbortHandle> = HashMap::new();
    loop {
        let (errands, resolve) = core.take_errands();
        for id in errands.cancelled {
            if let Some(handle) = handles.remove(&id) {
                handle.abort();
            }
        }
        for request in errands.requests {
            let resolving = resolve.resolve(request.to, request.message, request.deadline);
            let id = request.id;
            handles.insert(id, under_way.spawn(async move { (id, resolving.await) }));
        }
        drop(resolve);
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
            () = sleep_until(errands.deadline) => core.with(|state, now| state.engine.handle_timeout(now)),
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
