//! Panics of this library: logged, told as an event, never an abort of the app.

use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Mutex, Once, PoisonError};
use std::task::Poll;

use tokio::sync::Notify;
use weft_runtime::panic_message;

use crate::errors::WeftError;

/// Panics that may wait to be told; of more, the first ones stay: they say most of the cause.
const TOLD: usize = 8;

/// Panics of one session that nobody has been told of yet.
#[derive(Debug, Default)]
pub(crate) struct Panics {
    waiting: Mutex<VecDeque<String>>,
    changed: Notify,
}

impl Panics {
    pub(crate) fn push(&self, detail: String) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < TOLD {
            waiting.push_back(detail);
        }
        drop(waiting);
        self.changed.notify_one();
    }

    pub(crate) fn take(&self) -> Option<String> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Resolves when there may be one to take.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Does `work`; a panic of it is told and becomes an error.
    pub(crate) fn guard<T>(&self, work: impl FnOnce() -> Result<T, WeftError>) -> Result<T, WeftError> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(self.caught(payload)))
    }

    /// As [`guard`](Self::guard), for what takes time.
    pub(crate) async fn guard_async<T>(
        &self,
        work: impl Future<Output = Result<T, WeftError>>,
    ) -> Result<T, WeftError> {
        let mut work = pin!(work);
        let caught = std::future::poll_fn(|context| {
            match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
                Err(payload) => Poll::Ready(Err(payload)),
            }
        });
        caught.await.unwrap_or_else(|payload| Err(self.caught(payload)))
    }

    fn caught(&self, payload: Box<dyn Any + Send>) -> WeftError {
        let detail = panic_message(payload.as_ref());
        self.push(detail.clone());
        WeftError::Internal { detail }
    }
}

/// Logs the panics of the library's own threads, besides what the app's own hook does with them.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("a thread of the app");
            tracing::error!("{name} panicked at {place}: {}", panic_message(info.payload()));
            former(info);
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_is_told_once() {
        let panics = Panics::default();
        let result: Result<(), _> = panics.guard(|| panic!("one"));
        assert_eq!(result, Err(WeftError::Internal { detail: "one".into() }));
        let later = async {
            tokio::task::yield_now().await;
            panic!("number {}", 2)
        };
        let result: Result<(), _> = panics.guard_async(later).await;
        assert_eq!(result, Err(WeftError::Internal { detail: "number 2".into() }));
        panics.changed().await;
        assert_eq!(panics.take().as_deref(), Some("one"));
        assert_eq!(panics.take().as_deref(), Some("number 2"));
        assert_eq!(panics.take(), None);
        assert_eq!(panics.guard(|| Ok(3)), Ok(3));
    }
}
