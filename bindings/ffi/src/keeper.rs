//! Keeps who this device is in the host's store of secrets: one value, replaced whole.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use weft_model::settings::UserChoices;
use weft_model::{Profile, Registration};
use weft_runtime::session::Host as CoreHost;
use weft_runtime::sockets::Protect;
use zeroize::Zeroizing;

use crate::errors::WeftError;
use crate::host::HostThread;

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
    host: Arc<HostThread>,
    current: Mutex<Option<Kept>>,
    /// Held while the host writes, which may take seconds, so that writes do not overtake each other.
    writing: Mutex<()>,
    warning: Mutex<Option<String>>,
}

impl Keeper {
    /// Reads what the device was left with. What cannot be read is no registration, and a warning says so: the user can
    /// enrol again.
    ///
    /// # Errors
    /// The host fails to give it.
    pub(crate) fn open(host: Arc<HostThread>) -> Result<Self, WeftError> {
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
        Ok(Self {
            host,
            current: Mutex::new(current),
            writing: Mutex::default(),
            warning: Mutex::new(warning),
        })
    }

    /// What is kept now.
    pub(crate) fn kept(&self) -> Option<Kept> {
        self.current().clone()
    }

    /// What the user should know of the store.
    pub(crate) fn warning(&self) -> Option<String> {
        self.warning.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn warn(&self, warning: Option<String>) {
        *self.warning.lock().unwrap_or_else(PoisonError::into_inner) = warning;
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
        let _writing = self.begin_write();
        // What belongs to a registration that is gone is not written any more.
        if self.current().as_ref().is_none_or(|kept| kept.registration.id != registration.id) {
            return Ok(());
        }
        let kept = Kept { registration: registration.clone(), profile: profile.cloned(), user: user.clone() };
        let written = self.write(&kept).map_err(io::Error::other);
        *self.current() = Some(kept);
        self.warn(
            written.as_ref().err().map(|error| format!("the registration could not be stored: {error}")),
        );
        written
    }
}
