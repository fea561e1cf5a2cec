//! Figures count only where the rest of the machine was quiet.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::procfs::{self, Ticks};

/// How much of one core the rest of the machine may take during a measurement.
pub(crate) const TOLERATED: f64 = 0.35;

const SAMPLE: Duration = Duration::from_millis(400);

/// The machine's and the lab's processor time at one moment.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    machine: Ticks,
    lab: Ticks,
}

impl Moment {
    fn now() -> Result<Self> {
        let lab = procfs::visible_processes()?;
        Ok(Self { at: Instant::now(), machine: procfs::machine_busy()?, lab })
    }

    /// How many cores the rest of the machine has taken since.
    fn rest_since(self) -> Result<f64> {
        let now = Self::now()?;
        let elapsed = now.at.saturating_duration_since(self.at);
        Ok(rest(now.machine.since(self.machine), now.lab.since(self.lab), elapsed))
    }
}

/// How many cores others than the lab have taken.
fn rest(machine: Duration, lab: Duration, elapsed: Duration) -> f64 {
    let others = machine.saturating_sub(lab);
    if elapsed.is_zero() { 0.0 } else { others.as_secs_f64() / elapsed.as_secs_f64() }
}

/// Sees to it that measurements are undisturbed, as far as patience lasts.
#[derive(Debug)]
pub(crate) struct Quiet {
    patience: Duration,
    taken: u32,
    disturbed: Vec<f64>,
}

impl Quiet {
    /// Waits and repeats for `patience` altogether.
    #[must_use]
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, taken: 0, disturbed: Vec::new() }
    }

    /// Takes a measurement once the machine is quiet, and again while it was disturbed. When patience is at
    /// its end, the least disturbed one counts.
    ///
    /// # Errors
    ///
    /// What `attempt` returns.
    pub(crate) fn measure<T>(&mut self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let mut best: Option<(f64, T)> = None;
        loop {
            self.wait()?;
            let before = Moment::now()?;
            let value = attempt()?;
            let rest = before.rest_since()?;
            let (least, value) = match best.take() {
                Some((earlier, kept)) if earlier <= rest => (earlier, kept),
                _ => (rest, value),
            };
            if least <= TOLERATED || self.patience.is_zero() {
                self.taken += 1;
                if least > TOLERATED {
                    self.disturbed.push(least);
                }
                return Ok(value);
            }
            self.patience = self.patience.saturating_sub(before.at.elapsed());
            best = Some((least, value));
        }
    }

    fn wait(&mut self) -> Result<()> {
        while !self.patience.is_zero() {
            let before = Moment::now()?;
            std::thread::sleep(SAMPLE);
            if before.rest_since()? <= TOLERATED {
                return Ok(());
            }
            self.patience = self.patience.saturating_sub(before.at.elapsed());
        }
        Ok(())
    }

    /// What is to be said of the measurements that stayed disturbed; nothing where there are none.
    #[must_use]
    pub(crate) fn complaint(&self) -> Option<String> {
        let worst = self.disturbed.iter().copied().reduce(f64::max)?;
        let (disturbed, taken) = (self.disturbed.len(), self.taken);
        Some(format!(
            "{disturbed} of {taken} measurements were disturbed: the rest of the machine took over {:.0} % of a \
             core, {:.0} % at worst",
            TOLERATED * 100.0,
            worst * 100.0
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_what_the_lab_has_not_taken() {
        let seconds = Duration::from_secs_f64;
        let near = |value: f64, expected: f64| (value - expected).abs() < 1e-9;
        assert!(near(rest(seconds(8.0), seconds(6.0), seconds(4.0)), 0.5));
        assert!(near(rest(seconds(5.0), seconds(6.0), seconds(4.0)), 0.0));
        assert!(near(rest(seconds(1.0), seconds(0.0), Duration::ZERO), 0.0));
    }

    #[test]
    fn without_patience_the_first_attempt_counts() {
        let mut quiet = Quiet::new(Duration::ZERO);
        let mut attempts = 0;
        let value = quiet.measure(|| {
            attempts += 1;
            Ok(attempts)
        });
        assert_eq!((value.unwrap(), attempts, quiet.taken), (1, 1, 1));
    }

    #[test]
    fn disturbed_measurements_are_told() {
        let mut quiet = Quiet::new(Duration::ZERO);
        assert_eq!(quiet.complaint(), None);
        quiet.taken = 9;
        quiet.disturbed = vec![0.4, 1.25, 0.9];
        let complaint = quiet.complaint().unwrap();
        assert!(complaint.starts_with("3 of 9") && complaint.ends_with("125 % at worst"), "{complaint}");
    }

    #[test]
    fn a_failed_attempt_is_not_repeated() {
        let mut attempts = 0;
        let result = Quiet::new(Duration::ZERO).measure(|| -> Result<()> {
            attempts += 1;
            anyhow::bail!("no")
        });
        assert!(result.is_err());
        assert_eq!(attempts, 1);
    }
}
