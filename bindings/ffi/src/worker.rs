//! Work that may wait, on a thread of its own for as long as it takes: callers of the boundary bring no event loop, and
//! must not be held up.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use tokio::sync::oneshot;

use crate::errors::WeftError;

/// Does `work` on a thread named `name`. The work goes on where its caller goes away.
pub(crate) async fn run<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WeftError> {
    let (answer, answered) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned());
    // Whoever asked may have gone away meanwhile.
    let spawned = thread.spawn(move || drop(answer.send(work())));
    spawned.map_err(|error| WeftError::internal(format_args!("the system gives no thread: {error}")))?;
    answered.await.map_err(|_| WeftError::internal(format_args!("{name} panicked")))
}

/// As [`run`], for work that needs the system's network and time, until `stop` resolves.
pub(crate) async fn run_async<T, F>(
    name: &str,
    stop: impl Future<Output = ()> + Send + 'static,
    work: F,
) -> Result<T, WeftError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, WeftError>> + Send + 'static,
{
    let stopped = || WeftError::closed("the session");
    let whole = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| WeftError::internal(format_args!("no event loop: {error}")))?;
        let result = runtime.block_on(async {
            tokio::select! {
                result = work => result,
                () = stop => Err(stopped()),
            }
        });
        // A look-up by the system cannot be called off; it is left to end by itself.
        runtime.shutdown_background();
        result
    };
    run(name, whole).await?
}

/// Waits for `work`, which the control thread answers at once, where there is nobody to await it.
pub(crate) fn wait<T>(work: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut work = pin!(work);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match work.as_mut().poll(&mut context) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}
