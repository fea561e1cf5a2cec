//! What can go wrong, and the exit code it ends with.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use weft_ipc::{ClientError, Failure};
use weft_model::{Status, UserError};

use crate::render;

/// The table of exit codes, as `weft --help` prints it.
pub(crate) const TABLE: &str = "\
Exit codes:
  0  done
  1  failed; the message says why
  2  the command line is wrong
  3  weftd is not running
  4  permission denied: neither root nor a member of the group weft
  5  the device is not registered, or the gateway has revoked it
  6  the awaited state was not reached (connect --wait, disconnect)
  7  the administrator does not allow it
  8  weft and weftd are of different versions
  9  the name does not exist (dns query)
  10 the name could not be resolved (dns query)";

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The daemon did not do it, or could not be asked.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// The state that was waited for did not come.
    #[error("not {wanted} {within}: {}", last_status(.last))]
    NotReached {
        /// The state waited for, in words.
        wanted: &'static str,
        /// For how long, in words.
        within: String,
        /// The last state seen.
        last: Option<Box<Status>>,
    },
    /// A file could not be read or written.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The command line says what cannot be.
    #[error("{0}")]
    Usage(String),
    /// The name that was asked for does not exist.
    #[error("the name does not exist (NXDOMAIN)")]
    NoSuchName,
    /// The name that was asked for has no answer.
    #[error("the name could not be resolved ({rcode})")]
    Unresolved {
        /// The response code's mnemonic.
        rcode: String,
    },
    /// The output could not be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

fn last_status(last: &Option<Box<Status>>) -> String {
    last.as_ref().map_or_else(|| "weftd did not say why".to_owned(), |status| render::state_line(status))
}

impl Fault {
    /// What a response code says of the name asked for; none = there is an answer, if an empty one.
    pub(crate) fn of_rcode(rcode: &str) -> Option<Self> {
        match rcode {
            "NOERROR" => None,
            "NXDOMAIN" => Some(Self::NoSuchName),
            rcode => Some(Self::Unresolved { rcode: rcode.to_owned() }),
        }
    }

    /// The code that the program ends with, as in [`TABLE`].
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Client(ClientError::NotRunning { .. }) => 3,
            Self::Client(ClientError::Denied { .. } | ClientError::Failure(Failure::Denied { .. })) => 4,
            Self::Client(ClientError::Failure(Failure::User { error })) => match error {
                UserError::RegistrationMissing | UserError::RegistrationRevoked => 5,
                UserError::Forbidden { .. } => 7,
                _ => 1,
            },
            Self::Client(ClientError::Failure(Failure::Version { .. })) => 8,
            Self::NotReached { .. } => 6,
            Self::Usage(_) => 2,
            Self::NoSuchName => 9,
            Self::Unresolved { .. } => 10,
            Self::Client(_) | Self::File { .. } | Self::Output(_) => 1,
        }
    }

    /// As the system wants it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// Whether the reader of the output closed it, as `head` does.
    pub(crate) fn is_closed_output(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Says it on the error output, on one line.
    pub(crate) fn report(&self, json: bool) {
        if json {
            eprintln!("{}", serde_json::json!({ "error": self.to_string(), "exit_code": self.code() }));
        } else {
            eprintln!("weft: {self}");
        }
    }
}
