//! The command line's end of the control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Answer, Request};
use crate::dir::StateDir;

/// The time that the server has to answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Why the running server could not be asked. One line.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No server runs.
    #[error("the gateway is not running (start it with `weft-gateway run`)")]
    NotRunning,
    /// The system refused, or the server was silent.
    #[error("the running gateway cannot be reached: {0}")]
    Io(io::Error),
    /// The server answered something else.
    #[error("the running gateway gave an answer of another version: restart it")]
    Nonsense,
    /// The server failed.
    #[error("the running gateway: {0}")]
    Failed(String),
}

/// Asks the running server.
///
/// # Errors
/// [`ControlError`].
pub fn call(dir: &StateDir, request: Request) -> Result<Answer, ControlError> {
    let stream = UnixStream::connect(dir.control_socket()).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning,
        _ => ControlError::Io(error),
    })?;
    let line = exchange(stream, request).map_err(ControlError::Io)?;
    match serde_json::from_str(&line) {
        Ok(Answer::Failed { message }) => Err(ControlError::Failed(message)),
        Ok(answer) => Ok(answer),
        Err(_) => Err(ControlError::Nonsense),
    }
}

fn exchange(mut stream: UnixStream, request: Request) -> io::Result<String> {
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    stream.set_write_timeout(Some(ANSWER_TIME))?;
    let mut line = serde_json::to_string(&request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}
