//! What a shell asks of a session, and what a session tells its shell.

use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::profile::ServiceMode;
use crate::settings::Settings;
use crate::status::Status;

/// The number of a plan; grows by one with each plan that differs from the one before.
pub type PlanNumber = u64;

/// What a shell asks of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Command {
    /// Bring the tunnel up and keep it up.
    Connect,
    /// Take the tunnel down and put the device's network back.
    Disconnect,
    /// Choose a service mode, where the profile lets the user.
    SetMode {
        /// The mode.
        mode: ServiceMode,
    },
    /// Fetch the profile now.
    RefreshProfile,
}

/// What a session tells its shell. Pulled, never pushed; [`Event::Plan`] asks for an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The state, or the reason for it, has changed.
    Status(Status),
    /// The values in force have changed.
    Settings(Box<Settings>),
    /// Apply this, then acknowledge its number. A newer one replaces an older one that was not applied yet.
    Plan(Box<Plan>),
    /// The gateway no longer knows the device; the registration is of no more use.
    Revoked,
}
