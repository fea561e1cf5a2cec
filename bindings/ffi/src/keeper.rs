//! Keeps who this device is in the host's store of secrets: one value, replaced whole.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_model::settings::UserChoices;
use weft_model::{Profile, Registration};
use weft_runtime::session::Host as CoreHost;
use weft_runtime::sockets::Protect;
use zeroize::Zeroizing;

use crate::errors::WeftError;
use crate::host::HostThread;
use crate::warnings::Warnings;

/// The name of the secret that holds the state.
const STATE: &str = "state";

/// What the store holds, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) registration: Registration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<Profile>,
    #[serde(default)]
    pub(crate) user: UserChoices,
}

/// The store, and what it holds.
pub(crate) struct Keeper {
    me: Weak<Self>,
    host: Arc<HostThread>,
    current: Mutex<Option<Kept>>,
    /// Held while the host writes, which may take seconds, so that writes do not overtake each other.
    writing: Mutex<()>,
    behind: Mutex<Behind>,
    caught_up: Condvar,
    warnings: Arc<Warnings>,
}

/// How far the store is behind.
#[derive(Debug, Default)]
struct Behind {
    /// What is kept is newer than what the store was given.
    newer: bool,
    /// A thread is at work.
    works: bool,
}

impl Keeper {
    /// Reads what the device was left with. What cannot be read is no registration, and a warning says so: the user can
    /// enrol again.
    ///
    /// # Errors
    /// The host fails to give it.
    pub(crate) fn open(host: Arc<HostThread>, warnings: Arc<Warnings>) -> Result<Arc<Self>, WeftError> {
        let stored = host.load_secret(STATE)?;
        let (current, warning) = match stored.as_deref().map(|bytes| read(bytes)) {
            None => (None, None),
            Some(Ok(kept)) => (Some(kept), None),
            Some(Err(why)) => {
                tracing::error!("the stored registration cannot be used: {why}");
                (
                    None,
                    Some(format!("the stored registration cannot be used ({why}): enrol the device again")),
                )
            }
        };
        warnings.set_store(warning);
        Ok(Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            host,
            current: Mutex::new(current),
            writing: Mutex::default(),
            behind: Mutex::default(),
            caught_up: Condvar::new(),
            warnings,
        }))
    }

    /// What is kept now.
    pub(crate) fn kept(&self) -> Option<Kept> {
        self.current().clone()
    }

    pub(crate) fn warn(&self, warning: Option<String>) {
        self.warnings.set_store(warning);
    }

    /// Keeps another registration.
    ///
    /// # Errors
    /// The host fails to store it; nothing has changed then.
    pub(crate) fn adopt(&self, kept: Kept) -> Result<(), WeftError> {
        let _writing = self.begin_write();
        self.write(&kept)?;
        *self.current() = Some(kept);
        self.warn(None);
        Ok(())
    }

    /// Forgets the registration and all that belongs to it.
    ///
    /// # Errors
    /// The host fails to remove it; this session has none all the same.
    pub(crate) fn forget(&self) -> Result<(), WeftError> {
        let _writing = self.begin_write();
        *self.current() = None;
        Ok(self.host.store_secret(STATE, None)?)
    }

    fn write(&self, kept: &Kept) -> Result<(), WeftError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
        serde_json::to_writer(&mut *bytes, kept).map_err(WeftError::internal)?;
        // The host gets a copy, which the boundary's own memory holds: that one cannot be wiped.
        Ok(self.host.store_secret(STATE, Some(bytes.to_vec()))?)
    }

    /// Gives the store what is kept, on a thread of its own: a key store takes seconds, and whoever changes something
    /// must not wait for it. What changes meanwhile is given next, its newest state alone.
    fn write_soon(&self) {
        let mut behind = self.behind();
        behind.newer = true;
        let Some(me) = self.me.upgrade().filter(|_| !behind.works) else { return };
        let thread = std::thread::Builder::new().name("weft-store".to_owned());
        behind.works = thread.spawn(move || me.catch_up()).is_ok();
        if !behind.works {
            behind.newer = false;
            drop(behind);
            self.warn(Some("the registration could not be stored: the system gives no thread".to_owned()));
        }
    }

    fn catch_up(&self) {
        loop {
            {
                let mut behind = self.behind();
                if !std::mem::take(&mut behind.newer) {
                    behind.works = false;
                    self.caught_up.notify_all();
                    return;
                }
            }
            let _writing = self.begin_write();
            let Some(kept) = self.kept() else { continue };
            let written = self.write(&kept);
            let failed = written.err().map(|error| format!("the registration could not be stored: {error}"));
            if let Some(failed) = &failed {
                tracing::warn!("{failed}");
            }
            self.warn(failed);
        }
    }

    /// Waits until the store has what is kept, `within` at most.
    pub(crate) fn wait_until_written(&self, within: Duration) -> bool {
        let waited = self.caught_up.wait_timeout_while(self.behind(), within, |behind| behind.works);
        waited.map(|(behind, _)| !behind.works).unwrap_or(false)
    }

    fn behind(&self) -> MutexGuard<'_, Behind> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_write(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> MutexGuard<'_, Option<Kept>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where it is damaged, never what stands there: it may be a key.
fn read(bytes: &[u8]) -> Result<Kept, String> {
    let kept: Kept = serde_json::from_slice(bytes)
        .map_err(|error| format!("damaged at line {}, column {}", error.line(), error.column()))?;
    if kept.registration.gateways.is_empty() {
        return Err("it names no gateway".to_owned());
    }
    kept.profile.as_ref().map(Profile::validate).transpose().map_err(|error| error.to_string())?;
    Ok(kept)
}

impl CoreHost for Keeper {
    fn protect(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.host.protect(socket)
    }

    fn store(
        &self,
        registration: &Registration,
        profile: Option<&Profile>,
        user: &UserChoices,
    ) -> io::Result<()> {
        let mut current = self.current();
        // What belongs to a registration that is gone is not written any more.
        if current.as_ref().is_none_or(|kept| kept.registration.id != registration.id) {
            return Ok(());
        }
        *current =
            Some(Kept { registration: registration.clone(), profile: profile.cloned(), user: user.clone() });
        drop(current);
        self.write_soon();
        Ok(())
    }
}
