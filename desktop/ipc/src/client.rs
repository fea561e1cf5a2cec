//! The other side: what the command line and other programs of the user call. Blocking, with deadlines.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::frame::{self, FrameBuffer, FrameError};
use crate::message::{Failure, Hello, Request, Response};

/// How long the daemon may take for its first frame, and to take a request.
const FRAME_WITHIN: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at the socket.
    #[error("weftd is not running (nobody listens at {path}): start it with `systemctl start weftd`")]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The socket's mode refuses this user.
    #[error("permission denied at {path}: run as root, or as a member of the group {group}", group = crate::GROUP)]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon answered that it does not do it.
    #[error("{0}")]
    Failure(#[from] Failure),
    /// The daemon sent what is none of the protocol.
    #[error("weftd answered with {0}")]
    Frame(#[from] FrameError),
    /// The answer is not one to the request.
    #[error("weftd gave an answer that does not fit the request")]
    Unexpected,
    /// The answer did not come in time.
    #[error("weftd does not answer")]
    TimedOut,
    /// The daemon closed the connection.
    #[error("weftd closed the connection: its log may say why (`weft log`, `journalctl -u weftd`)")]
    Closed,
    /// The socket failed.
    #[error("the connection to weftd failed: {0}")]
    Io(io::Error),
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                Self::Closed
            }
            _ => Self::Io(error),
        }
    }
}

/// A connection to the daemon.
pub struct Client {
    stream: UnixStream,
    buffer: FrameBuffer,
    daemon: Hello,
}

impl Client {
    /// Connects to the daemon that listens at `path`.
    ///
    /// # Errors
    /// A [`ClientError`]: nobody listens, the user may not, or the versions differ.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { path: path.to_owned() }
            }
            io::ErrorKind::PermissionDenied => ClientError::Denied { path: path.to_owned() },
            _ => ClientError::Io(error),
        })?;
        let daemon = Hello::ours();
        let mut client = Self { stream, buffer: FrameBuffer::default(), daemon };
        // A daemon that turns the client away may have closed already; what it said is to be read all the same.
        let sent = client.send(&Hello::ours());
        let answer = match client.read_frame(Some(Instant::now() + FRAME_WITHIN)) {
            Ok(answer) => answer,
            Err(error) => return Err(sent.err().unwrap_or(error)),
        };
        match frame::decode::<Hello>(&answer) {
            Ok(hello) if hello.weft == crate::PROTOCOL_VERSION => client.daemon = hello,
            Ok(hello) => return Err(Failure::Version { version: hello.version }.into()),
            Err(error) => {
                return Err(match frame::decode(&answer) {
                    Ok(Response::Failure(failure)) => failure.into(),
                    _ => error.into(),
                });
            }
        }
        Ok(client)
    }

    /// The daemon's version, for people.
    #[must_use]
    pub fn daemon_version(&self) -> &str {
        &self.daemon.version
    }

    /// Asks, and waits for the answer as long as the request may take.
    ///
    /// # Errors
    /// A [`ClientError`]; what the daemon refuses is [`ClientError::Failure`].
    pub fn request(&mut self, request: &Request) -> Result<Response, ClientError> {
        let deadline = Instant::now() + request.answer_within();
        let sent = self.send(request);
        match self.next_response(Some(deadline)) {
            Err(ClientError::Closed) => Err(sent.err().unwrap_or(ClientError::Closed)),
            answer => answer,
        }
    }

    /// The next response of a stream, which [`Request::Subscribe`], [`Request::Log`] or [`Request::DnsLogFollow`]
    /// began; waits until `deadline`, or for ever.
    ///
    /// # Errors
    /// A [`ClientError`]; [`ClientError::TimedOut`] leaves the stream as it was.
    pub fn next_response(&mut self, deadline: Option<Instant>) -> Result<Response, ClientError> {
        match frame::decode(&self.read_frame(deadline)?)? {
            Response::Failure(failure) => Err(failure.into()),
            response => Ok(response),
        }
    }

    fn send<T: serde::Serialize>(&mut self, message: &T) -> Result<(), ClientError> {
        self.stream.set_write_timeout(Some(FRAME_WITHIN))?;
        Ok(self.stream.write_all(&frame::encode(message)?)?)
    }

    fn read_frame(&mut self, deadline: Option<Instant>) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        let mut chunk = Zeroizing::new([0; 8192]);
        loop {
            if let Some(frame) = self.buffer.next_frame()? {
                return Ok(frame);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(ClientError::TimedOut);
            }
            self.stream.set_read_timeout(left)?;
            match self.stream.read(chunk.as_mut_slice()) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(count) => self.buffer.push(chunk.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
