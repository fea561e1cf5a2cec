//! What the boundary itself warns of, beside the core.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Warnings of one session, one a kind. That they changed is news, until it is told.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    current: Mutex<Current>,
    untold: AtomicBool,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Current {
    store: Option<String>,
    network: Option<String>,
    managed: Option<String>,
}

impl Warnings {
    /// What the user should know of the store of secrets.
    pub(crate) fn set_store(&self, warning: Option<String>) {
        self.set(|current| &mut current.store, warning);
    }

    /// What the last report of the network has to warn of.
    pub(crate) fn set_network(&self, warning: Option<String>) {
        self.set(|current| &mut current.network, warning);
    }

    /// Why what the administrator set on the device counts as nothing.
    pub(crate) fn set_managed(&self, warning: Option<String>) {
        self.set(|current| &mut current.managed, warning);
    }

    fn set(&self, place: impl FnOnce(&mut Current) -> &mut Option<String>, warning: Option<String>) {
        let mut current = self.current();
        let place = place(&mut current);
        if *place != warning {
            *place = warning;
            drop(current);
            self.untold.store(true, Ordering::Release);
            self.changed.notify_one();
        }
    }

    /// All of them.
    pub(crate) fn list(&self) -> Vec<String> {
        let current = self.current();
        [&current.store, &current.network, &current.managed].into_iter().flatten().cloned().collect()
    }

    /// Whether they changed since the last [`tell`](Self::tell).
    pub(crate) fn are_untold(&self) -> bool {
        self.untold.load(Ordering::Acquire)
    }

    /// Whoever lists them next has told them.
    pub(crate) fn tell(&self) {
        self.untold.store(false, Ordering::Release);
    }

    /// Resolves when they may have changed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
