//! Logs: one subscriber for the whole process, which keeps the last lines in memory for the app to show and share, and
//! writes them to the system's log and, where the app says so, to a file.

mod file;
mod ring;
mod subscriber;
mod system;

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::level_filters::LevelFilter;

use self::file::RollingFile;
use self::ring::Ring;
use self::subscriber::Lines;
use crate::errors::WeftError;

/// How much is logged. Names that users ask for and clients' addresses are at `Debug` and below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum LogLevel {
    /// What should not happen.
    Error,
    /// What an administrator would want to know.
    Warn,
    /// What changes.
    Info,
    /// What is done, names of users' queries among it.
    Debug,
    /// Everything, packets among it.
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Where every line goes.
#[derive(Debug, Default)]
pub(crate) struct Log {
    ring: Mutex<Ring>,
    file: Mutex<Option<RollingFile>>,
}

impl Log {
    fn write(&self, level: tracing::Level, target: &str, text: &str) {
        system::write(level, target, text);
        let line = subscriber::with_time(level, target, text);
        if let Some(file) = &mut *self.file.lock().unwrap_or_else(PoisonError::into_inner) {
            file.write(&line);
        }
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// The process has one log, as it has one subscriber.
static LOG: OnceLock<Log> = OnceLock::new();

fn log() -> &'static Log {
    LOG.get_or_init(Log::default)
}

/// Logs at `level`, and into files in `directory` where one is named: `weft.log`, and `weft.log.1` before it, of 1 MiB
/// each, readable by the app alone. The first call takes the process's `tracing` subscriber; later ones change the
/// level and the directory.
///
/// # Errors
/// [`WeftError::InvalidInput`] where the directory cannot be written to; everything else is in force then.
#[uniffi::export]
pub fn init_logging(level: LogLevel, directory: Option<String>) -> Result<(), WeftError> {
    Lines::install(log(), level.into())?;
    crate::panic::install_hook();
    let file = directory.map(|directory| RollingFile::open(PathBuf::from(directory))).transpose();
    let file = file.map_err(|error| WeftError::invalid(format_args!("the directory of logs: {error}")))?;
    *log().file.lock().unwrap_or_else(PoisonError::into_inner) = file;
    Ok(())
}

/// The last lines that were logged, the oldest first: 1,000 at most, and 256 KiB.
#[uniffi::export]
pub fn recent_log() -> Vec<String> {
    log().ring.lock().unwrap_or_else(PoisonError::into_inner).lines()
}
