//! Makes lines of events. Spans are not kept: the core has none.

use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use weft_model::Civil;

use super::Log;
use super::ring::LONGEST;
use crate::errors::WeftError;
use crate::text::one_line;

/// The level in force, by its place in [`LEVELS`].
static IN_FORCE: AtomicUsize = AtomicUsize::new(0);

const LEVELS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

fn in_force() -> LevelFilter {
    LEVELS.get(IN_FORCE.load(Ordering::Relaxed)).copied().unwrap_or(LevelFilter::OFF)
}

pub(super) struct Lines(&'static Log);

impl Lines {
    /// The first call makes it the process's subscriber; later ones change the level.
    ///
    /// # Errors
    /// The process has another one already.
    pub(super) fn install(log: &'static Log, level: LevelFilter) -> Result<(), WeftError> {
        static INSTALLED: Mutex<bool> = Mutex::new(false);
        let place = LEVELS.iter().position(|known| *known == level).unwrap_or_default();
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if !*installed {
            tracing::subscriber::set_global_default(Self(log))
                .map_err(|_| WeftError::wrong_order("the process has another subscriber for logs already"))?;
            *installed = true;
        }
        IN_FORCE.store(place, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= in_force()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(in_force())
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let metadata = event.metadata();
        self.0.write(*metadata.level(), metadata.target(), &text.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message, then the other fields as `name=value`; one line, of a bounded length.
struct Text(String);

impl Text {
    fn add(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let before = self.0.len();
        // Writing into a string does not fail.
        let _written = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        if field.name() == "message" && before > 0 {
            self.0.insert(before, ' ');
        }
        if self.0.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|end| self.0.is_char_boundary(*end)).unwrap_or_default();
            self.0.truncate(end);
        }
        if self.0.contains(char::is_control) {
            self.0 = one_line(&self.0, LONGEST);
        }
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field, value);
    }
}

/// A line as it is kept: the moment in UTC, the level, where it comes from, the text.
pub(super) fn with_time(level: Level, target: &str, text: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let Civil { year, month, day, hour, minute, second } =
        Civil::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let millis = since.subsec_millis();
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z {level:>5} {target}: {text}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_keeps_the_subscriber_that_it_has() {
        tracing::subscriber::set_global_default(tracing::subscriber::NoSubscriber::new()).unwrap();
        let refused = Lines::install(Box::leak(Box::default()), LevelFilter::DEBUG);
        assert!(matches!(refused, Err(WeftError::WrongOrder { .. })), "{refused:?}");
        assert_eq!(in_force(), LevelFilter::OFF);
    }
}
