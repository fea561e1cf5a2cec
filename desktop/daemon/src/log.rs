//! The daemon's log: to the error output, which journald reads, and in memory for `weft log`.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};
use weft_ipc::LogLine;

/// The variable that says what is logged, as `tracing-subscriber` writes its filters; "info" without it.
const FILTER: &str = "WEFT_LOG";
/// The most lines that are kept, and the most bytes of their texts. Both together fit one frame of the protocol.
const MAX_LINES: usize = 2000;
const MAX_BYTES: usize = 256 * 1024;
/// The most bytes of one line.
const MAX_LINE: usize = 2048;

/// The newest lines of the log. Copies share them.
#[derive(Clone)]
pub(crate) struct LogRing(Arc<Shared>);

struct Shared {
    ring: Mutex<Ring>,
    next: watch::Sender<u64>,
}

#[derive(Default)]
struct Ring {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// The number of the line that comes next.
    next: u64,
}

impl Default for LogRing {
    fn default() -> Self {
        Self(Arc::new(Shared { ring: Mutex::default(), next: watch::Sender::new(0) }))
    }
}

impl LogRing {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest lines, `count` at most, and the number of the line that comes next.
    pub(crate) fn newest(&self, count: usize) -> (Vec<LogLine>, u64) {
        let ring = self.lock();
        let skipped = ring.lines.len().saturating_sub(count);
        (ring.lines.iter().skip(skipped).cloned().collect(), ring.next)
    }

    /// The lines from the number `from` on, as far as they are still there, and the number that comes next.
    pub(crate) fn since(&self, from: u64) -> (Vec<LogLine>, u64) {
        let next = self.lock().next;
        let missing = usize::try_from(next.saturating_sub(from)).unwrap_or(usize::MAX);
        self.newest(missing)
    }

    /// Tells of each new line; a slow reader is told once of many.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.0.next.subscribe()
    }

    fn push(&self, line: LogLine) {
        let next = {
            let mut ring = self.lock();
            ring.bytes += line.text.len();
            ring.lines.push_back(line);
            while ring.lines.len() > MAX_LINES || ring.bytes > MAX_BYTES {
                let Some(oldest) = ring.lines.pop_front() else { break };
                ring.bytes -= oldest.text.len();
            }
            ring.next += 1;
            ring.next
        };
        self.0.next.send_replace(next);
    }
}

/// The text of an event: its message, then its fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a String never fails.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

impl Text {
    /// On one line, without control characters, and not too long.
    fn into_line(self) -> String {
        let mut line: String =
            (self.message + &self.fields).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if line.len() > MAX_LINE {
            let end = (0..=MAX_LINE).rev().find(|end| line.is_char_boundary(*end)).unwrap_or_default();
            line.truncate(end);
            line.push_str("...");
        }
        line
    }
}

impl<S: Subscriber> Layer<S> for LogRing {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.push(LogLine {
            unix_ms: u64::try_from(now.as_millis()).unwrap_or_default(),
            level: event.metadata().level().to_string(),
            target: event.metadata().target().to_owned(),
            text: text.into_line(),
        });
    }
}

/// Sends what is logged from now on to the error output and into the ring.
pub(crate) fn start() -> LogRing {
    let ring = LogRing::default();
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // journald notes the time itself.
    let lines = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => lines.without_time().boxed(),
        None => lines.boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).with(ring.clone()).init();
    ring
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogLine {
        LogLine { unix_ms: 0, level: "INFO".into(), target: "weftd".into(), text: text.into() }
    }

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn events_become_lines_of_one_line() {
        let ring = LogRing::default();
        let subscriber = tracing_subscriber::registry().with(ring.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(plan = 7, "two\nlines\u{1b}[31m");
            tracing::info!("{}", "x".repeat(3 * MAX_LINE));
        });
        let (lines, next) = ring.newest(10);
        assert_eq!(next, 2);
        assert_eq!((lines[0].level.as_str(), lines[0].text.as_str()), ("WARN", "two lines [31m plan=7"));
        assert_eq!(lines[1].text.len(), MAX_LINE + 3);
    }

    #[test]
    fn the_newest_lines_are_kept_within_bounds() {
        let ring = LogRing::default();
        for number in 0..MAX_LINES + 5 {
            ring.push(line(&number.to_string()));
        }
        let (lines, next) = ring.newest(usize::MAX);
        assert_eq!((lines.len(), next), (MAX_LINES, MAX_LINES as u64 + 5));
        assert_eq!(lines[0].text, "5");
        assert_eq!(texts(&ring.newest(2).0), ["2003", "2004"]);
        assert_eq!(texts(&ring.since(next - 1).0), ["2004"]);
        assert!(ring.since(next).0.is_empty());
        for _ in 0..200 {
            ring.push(line(&"y".repeat(MAX_LINE)));
        }
        let (lines, _) = ring.newest(usize::MAX);
        assert!(lines.iter().map(|line| line.text.len()).sum::<usize>() <= MAX_BYTES);
        let frame = weft_ipc::frame::encode(&weft_ipc::Response::Log(lines)).unwrap();
        assert!(frame.len() < weft_ipc::MAX_FRAME);
    }

    #[tokio::test]
    async fn a_watcher_hears_of_new_lines() {
        let ring = LogRing::default();
        let mut watch = ring.watch();
        ring.push(line("one"));
        ring.push(line("two"));
        watch.changed().await.unwrap();
        assert_eq!(texts(&ring.since(0).0), ["one", "two"]);
    }
}
