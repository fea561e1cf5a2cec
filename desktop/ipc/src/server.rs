//! The daemon's side: a socket that only some may use, and connections with deadlines.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Gid, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use weft_model::UserError;
use zeroize::Zeroizing;

use crate::frame::{self, FrameBuffer, FrameError};
use crate::message::{Failure, Hello, Permission, Request, Response};
use crate::peer::{Access, PeerIdentity};

/// How long a frame that has begun may take, either way, and how long a client may wait with its first.
const FRAME_WITHIN: Duration = Duration::from_secs(5);
/// How long a client may be silent between two requests.
const IDLE: Duration = Duration::from_secs(60);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The client sent what is none of the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The client speaks another version of the protocol.
    #[error("the client speaks protocol {0}")]
    Version(u32),
    /// The peer may not speak to the daemon.
    #[error("user {uid} (process {pid}) is neither root nor a member of the group")]
    Denied {
        /// The user.
        uid: u32,
        /// The process.
        pid: i32,
    },
    /// The client was too slow.
    #[error("the client was silent for too long")]
    TooSlow,
}

/// The daemon's socket.
#[derive(Debug)]
pub struct Listener {
    inner: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens at `path`: mode 0660 for root and the group of `access`, 0600 where there is no such group. Takes the
    /// place of a socket that a former daemon left, in one step; the caller makes sure that no other daemon lives.
    ///
    /// # Errors
    /// The file system's.
    pub fn bind(path: &Path, access: &Access) -> io::Result<Self> {
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let inner = UnixListener::bind(&fresh)?;
        if let Some(group) = access.group {
            rustix::fs::chown(&fresh, None, Some(Gid::from_raw(group)))?;
        }
        let mode = if access.group.is_some() { 0o660 } else { 0o600 };
        rustix::fs::chmod(&fresh, Mode::from_raw_mode(mode))?;
        std::fs::rename(&fresh, path)?;
        Ok(Self { inner, path: path.to_owned() })
    }

    /// The next client. Nothing has been read from it, and nothing is known of it.
    ///
    /// # Errors
    /// The socket's.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.inner.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A socket that is left behind is replaced by the next daemon.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One client that has shown who it is and that it speaks the protocol.
pub struct Connection {
    stream: UnixStream,
    buffer: FrameBuffer,
    peer: PeerIdentity,
}

impl Connection {
    /// Checks who the peer is, and exchanges the first frames with it. A peer that may not speak is told so, and
    /// nothing it sent is read.
    ///
    /// # Errors
    /// A [`ServerError`]; the client has been told, and the connection is over.
    pub async fn open(stream: UnixStream, access: &Access) -> Result<Self, ServerError> {
        let peer = PeerIdentity::of(&stream)?;
        let mut connection = Self { stream, buffer: FrameBuffer::default(), peer };
        if !access.allows(&connection.peer, Permission::Read) {
            let denied = Failure::Denied { group: access.group_name.clone() };
            connection.send(&Response::Failure(denied)).await?;
            let PeerIdentity { uid, pid, .. } = connection.peer;
            return Err(ServerError::Denied { uid, pid });
        }
        let hello = connection.take_frame(FRAME_WITHIN).await?;
        let Some(hello) = hello else { return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) };
        let hello: Hello = match frame::decode(&hello) {
            Ok(hello) => hello,
            Err(error) => return Err(connection.refuse_frame(error).await),
        };
        if hello.weft != crate::PROTOCOL_VERSION {
            let version = Hello::ours().version;
            connection.send(&Response::Failure(Failure::Version { version })).await?;
            return Err(ServerError::Version(hello.weft));
        }
        connection.write_frame(&Hello::ours()).await?;
        Ok(connection)
    }

    /// Tells a client that there is no room for it.
    pub async fn turn_away(stream: UnixStream, detail: &str) {
        let mut stream = stream;
        let busy = Response::Failure(Failure::Busy { detail: detail.to_owned() });
        if let Ok(frame) = frame::encode(&busy) {
            // It is turned away in either case.
            let _ = timeout(FRAME_WITHIN, stream.write_all(&frame)).await;
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// The next request; none once the client is gone.
    ///
    /// # Errors
    /// A [`ServerError`]; the client has been told where it can be, and the connection is over.
    pub async fn next_request(&mut self) -> Result<Option<Request>, ServerError> {
        let Some(frame) = self.take_frame(IDLE).await? else { return Ok(None) };
        match frame::decode(&frame) {
            Ok(request) => Ok(Some(request)),
            Err(error) => Err(self.refuse_frame(error).await),
        }
    }

    /// Sends an answer, within a deadline. One that does not fit a frame becomes a failure that says so.
    ///
    /// # Errors
    /// The client is gone, or does not read.
    pub async fn send(&mut self, response: &Response) -> Result<(), ServerError> {
        match self.write_frame(response).await {
            Err(ServerError::Frame(error)) => {
                let error = UserError::Internal { detail: error.to_string() };
                self.write_frame(&Response::Failure(error.into())).await
            }
            result => result,
        }
    }

    /// Sends what a client follows, with no deadline: who stopped its program or scrolls back is to hear the rest later.
    /// Only for streams that keep nothing for their clients but what they keep anyway.
    ///
    /// # Errors
    /// The client is gone, or the response does not fit a frame.
    pub async fn send_patiently(&mut self, response: &Response) -> Result<(), ServerError> {
        Ok(self.stream.write_all(&frame::encode(response)?).await?)
    }

    /// Waits until the client of a stream of responses is gone. It has nothing more to say, so a byte of it ends the
    /// connection as well.
    pub async fn gone(&mut self) {
        let mut byte = [0; 1];
        // Bytes, end of file and errors all mean the same here.
        let _ = self.stream.read(&mut byte).await;
    }

    async fn refuse_frame(&mut self, error: FrameError) -> ServerError {
        let malformed = Failure::Malformed { detail: error.to_string() };
        match self.write_frame(&Response::Failure(malformed)).await {
            Ok(()) => error.into(),
            Err(error) => error,
        }
    }

    /// The next frame, whose first byte may take `first`. A client that sends none in time, or what is none, is told.
    async fn take_frame(&mut self, first: Duration) -> Result<Option<Zeroizing<Vec<u8>>>, ServerError> {
        match self.read_frame(first).await {
            Err(ServerError::Frame(error)) => Err(self.refuse_frame(error).await),
            Err(ServerError::TooSlow) => {
                let detail = ServerError::TooSlow.to_string();
                // The connection is over in either case.
                let _ = self.write_frame(&Response::Failure(Failure::Busy { detail })).await;
                Err(ServerError::TooSlow)
            }
            result => result,
        }
    }

    /// The next frame, whose first byte may take `first`.
    async fn read_frame(&mut self, first: Duration) -> Result<Option<Zeroizing<Vec<u8>>>, ServerError> {
        if !self.buffer.is_partial() {
            let more = timeout(first, self.read_more()).await.map_err(|_| ServerError::TooSlow)??;
            if !more {
                return Ok(None);
            }
        }
        let whole = async {
            loop {
                if let Some(frame) = self.buffer.next_frame()? {
                    return Ok(Some(frame));
                }
                if !self.read_more().await? {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
            }
        };
        timeout(FRAME_WITHIN, whole).await.map_err(|_| ServerError::TooSlow)?
    }

    async fn read_more(&mut self) -> io::Result<bool> {
        let mut chunk = Zeroizing::new([0; 8192]);
        let count = self.stream.read(chunk.as_mut_slice()).await?;
        self.buffer.push(chunk.get(..count).unwrap_or_default());
        Ok(count > 0)
    }

    async fn write_frame<T: serde::Serialize>(&mut self, message: &T) -> Result<(), ServerError> {
        let frame = frame::encode(message)?;
        let written = timeout(FRAME_WITHIN, self.stream.write_all(&frame)).await;
        Ok(written.map_err(|_| ServerError::TooSlow)??)
    }
}
