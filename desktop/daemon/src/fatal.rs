//! What ends the program, and the exit code it ends with.

use weft_platform::PlatformError;

/// Why the program ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fatal {
    /// Something is missing or held by another program.
    #[error("{0}")]
    Preflight(String),
    /// Something is missing or held by another program, and the device, which was left connected, is blocked.
    #[error(
        "{0}; the device was left connected, so tunnelled destinations stay blocked until weftd can start, or \
         `weftd --undo` is run"
    )]
    Blocked(PlatformError),
    /// Another daemon is running.
    #[error("another weftd is running (it holds {0}): stop it first")]
    Running(String),
    /// Something could not be undone.
    #[error("something of Weft's is left")]
    Left,
    /// DNS settings could not be put back, since the program that keeps them does not run, or nobody is there to restart
    /// it.
    #[error(
        "{keeper} still has Weft's DNS settings and cannot be told: start {keeper}, or restart it, and run \
         `weftd --undo` again"
    )]
    Owed {
        /// The program.
        keeper: &'static str,
    },
    /// Anything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl From<PlatformError> for Fatal {
    fn from(error: PlatformError) -> Self {
        Self::Preflight(error.to_string())
    }
}

impl Fatal {
    /// The exit code, as `weftd --help` lists it.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Left | Self::Other(_) => 1,
            Self::Preflight(_) => 3,
            Self::Running(_) => 4,
            Self::Blocked(_) => 5,
            Self::Owed { .. } => 6,
        }
    }
}
