//! System services and DNS servers that others have written, each started for real on a host of the lab.

mod authority;
mod bus;
mod network_manager;
mod resolved;
mod servers;
mod systemd;
mod zones;

pub use authority::{Authority, Identity};
pub use bus::Bus;
pub use network_manager::NetworkManager;
pub use resolved::Resolved;
pub use servers::Named;
pub use systemd::Systemd;
pub use zones::{Denial, Zone};

use std::fmt::Display;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::host::Host;
use crate::poll::eventually;
use crate::process::Process;

/// How long a service may take to start, on a machine that is busy with other tests.
pub(crate) const START_DEADLINE: Duration = Duration::from_secs(30);

/// A service that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Service {
    process: Process,
}

impl Service {
    /// Starts a command and waits until `ready` says so.
    pub(crate) fn start<E: Display>(
        host: &Host,
        command: Command,
        mut ready: impl FnMut(&Process) -> Result<(), E>,
    ) -> Result<Self> {
        let mut service = Self { process: host.spawn(command)? };
        let what = format!("{} answers", service.process);
        eventually(START_DEADLINE, what, || {
            if !service.process.is_running() {
                return Ok(Err(anyhow!("{} has ended", service.process)));
            }
            ready(&service.process).map(Ok)
        })
        .and_then(|alive| alive)
        .with_context(|| format!("{}{}", service.process.stdout(), service.process.stderr()))?;
        Ok(service)
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its process, to be signalled or waited for.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    ///
    /// When it had ended before, or does not end.
    pub fn stop(mut self) -> Result<()> {
        self.process.terminate(START_DEADLINE).map(drop)
    }
}
