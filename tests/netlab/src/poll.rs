//! Waiting for something to become true, with a deadline instead of a sleep.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What a check given to [`eventually`] may answer: `bool`, `Option` or `Result`.
pub trait Ready {
    /// What the caller gets once the check succeeds.
    type Value;

    /// The value, or why there is none yet (empty when there is nothing to say).
    fn ready(self) -> Result<Self::Value, String>;
}

impl Ready for bool {
    type Value = ();

    fn ready(self) -> Result<(), String> {
        if self { Ok(()) } else { Err(String::new()) }
    }
}

impl<T> Ready for Option<T> {
    type Value = T;

    fn ready(self) -> Result<T, String> {
        self.ok_or_else(String::new)
    }
}

impl<T, E: Display> Ready for Result<T, E> {
    type Value = T;

    fn ready(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:#}"))
    }
}

/// Asks `check` again and again until it answers yes (`true`, `Some` or `Ok`) and returns its value.
///
/// # Errors
///
/// When `deadline` has passed without a yes; the message names `what` and the last reason `check` gave.
/// `check` is asked at least once, and once more after the deadline.
pub fn eventually<R: Ready>(
    deadline: Duration,
    what: impl Display,
    mut check: impl FnMut() -> R,
) -> Result<R::Value> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let late = start.elapsed() >= deadline;
        match check().ready() {
            Ok(value) => return Ok(value),
            Err(reason) if late && reason.is_empty() => bail!("not within {deadline:?}: {what}"),
            Err(reason) if late => bail!("not within {deadline:?}: {what}: {reason}"),
            Err(_) => {}
        }
        std::thread::sleep(pause.min(deadline.saturating_sub(start.elapsed())));
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
