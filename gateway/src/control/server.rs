//! The server's end of the control socket.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::{Answer, MAX_REQUEST, Request};
use crate::dir::StateDir;

/// The time that a command has for its request.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// Answers a request; may block.
pub type Handler = Arc<dyn Fn(Request) -> Answer + Send + Sync>;

/// Binds the socket, mode 0600, in place of one that a crashed server left, and serves it.
///
/// The caller holds the state directory's lock, so nobody else serves it.
///
/// # Errors
/// Where the socket cannot be bound.
pub fn serve(dir: &StateDir, handler: Handler) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    let path = dir.control_socket();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let handler = Arc::clone(&handler);
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, handler).await {
                            tracing::debug!(%error, "a command is gone");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a command could not be heard");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    })
}

async fn converse(mut stream: UnixStream, handler: Handler) -> io::Result<()> {
    let caller = stream.peer_cred()?.uid();
    if caller != 0 && caller != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut limited = BufReader::new(read).take(MAX_REQUEST as u64);
    timeout(REQUEST_TIME, limited.read_line(&mut line)).await??;
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(request) => tokio::task::spawn_blocking(move || handler(request)).await?,
        Err(_) => Answer::Failed { message: "it does not know this request".to_owned() },
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    write.write_all(text.as_bytes()).await?;
    write.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::super::{ControlError, call};
    use super::*;

    fn run<T: Send + 'static>(dir: &StateDir, ask: impl FnOnce(StateDir) -> T + Send + 'static) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = dir.clone();
        runtime.block_on(async move {
            let handler: Handler = Arc::new(|request| match request {
                Request::Reload => Answer::Done,
                Request::Status => Answer::Failed { message: "no".to_owned() },
            });
            tokio::spawn(serve(&dir, handler).unwrap());
            tokio::task::spawn_blocking(move || ask(dir)).await.unwrap()
        })
    }

    #[test]
    fn a_command_reaches_the_server_and_only_while_it_runs() {
        let home = tempfile::tempdir().unwrap();
        let dir = StateDir::new(home.path());
        assert!(matches!(call(&dir, Request::Reload), Err(ControlError::NotRunning)));
        for _ in 0..2 {
            let (done, failed) = run(&dir, |dir| (call(&dir, Request::Reload), call(&dir, Request::Status)));
            assert_eq!(done.unwrap(), Answer::Done);
            assert!(matches!(failed, Err(ControlError::Failed(message)) if message == "no"));
            // The socket file is still there, as after a crash.
            assert!(matches!(call(&dir, Request::Reload), Err(ControlError::NotRunning)));
        }
    }

    #[test]
    fn nonsense_and_endless_lines_are_refused() {
        use std::io::{Read, Write};
        let home = tempfile::tempdir().unwrap();
        let dir = StateDir::new(home.path());
        let answers = run(&dir, |dir| {
            ["{}\n".to_owned(), format!("{}\n", "x".repeat(MAX_REQUEST * 2))].map(|line| {
                let mut stream = std::os::unix::net::UnixStream::connect(dir.control_socket()).unwrap();
                // The server may have hung up before all of it was written.
                let _ = stream.write_all(line.as_bytes());
                let mut answer = String::new();
                let _ = stream.read_to_string(&mut answer);
                answer
            })
        });
        assert!(answers[0].contains("failed"), "{}", answers[0]);
        assert!(!answers[1].contains("done"), "{}", answers[1]);
    }
}
