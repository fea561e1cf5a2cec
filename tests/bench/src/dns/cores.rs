//! Which processor does what.

use std::process::Command;

use anyhow::{Context, Result};
use netlab::Host;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// One core for the proxy that is measured, and another for the load generator, the upstream, the wire and this
/// program; the same one where there is no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    proxy: usize,
    rest: usize,
}

impl Cores {
    /// Takes this thread, and all threads and programs that it starts from now on, to the core of the rest.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn divide() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("sched_getaffinity")?;
        let cores =
            choose((0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core))).context("no core at all")?;
        let mut rest = CpuSet::new();
        rest.set(cores.rest);
        sched_setaffinity(None, &rest).context("sched_setaffinity")?;
        Ok(cores)
    }

    /// Whether proxy and load share one core.
    #[must_use]
    pub(crate) fn shared(self) -> bool {
        self.proxy == self.rest
    }

    /// A command that runs a program of a host on the proxy's core.
    #[must_use]
    pub(crate) fn proxy_command(self, host: &Host, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = host.command("taskset");
        command.args(["--cpu-list", &self.proxy.to_string()]).arg(program);
        command
    }
}

fn choose(mut allowed: impl Iterator<Item = usize>) -> Option<Cores> {
    let rest = allowed.next()?;
    Some(Cores { proxy: allowed.next().unwrap_or(rest), rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_two_cores_are_taken() {
        assert_eq!(choose([2, 5, 7].into_iter()), Some(Cores { proxy: 5, rest: 2 }));
        assert!(choose([3].into_iter()).is_some_and(Cores::shared));
        assert_eq!(choose([].into_iter()), None);
    }
}
