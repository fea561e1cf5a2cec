//! A daemon that answers by a script, on a socket of its own.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use weft_ipc::{Access, Connection, Listener, Request, Response};

/// What the daemon says to one request: the answer, then what follows on a stream.
pub(crate) type Script = dyn Fn(&Request) -> Vec<Response> + Send + Sync;

/// The daemon, the requests it took, and a folder that goes with it.
pub(crate) struct Daemon {
    /// A folder for the test's files.
    pub(crate) directory: TempDir,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// What a run of `weft` ended with.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code.
    pub(crate) code: i32,
    /// The standard output.
    pub(crate) out: String,
    /// The error output.
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Daemon {
    /// Starts it.
    pub(crate) fn start(script: impl Fn(&Request) -> Vec<Response> + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weftd.sock");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (seen, script): (_, Arc<Script>) = (Arc::clone(&requests), Arc::new(script));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                // Root may always; everybody else who runs the tests by being the socket's owner.
                let group =
                    std::fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::gid(&own));
                let access = Access { group_name: "weft".into(), group: group.ok() };
                let listener = Listener::bind(&path, &access).unwrap();
                ready.send(()).unwrap();
                while let Ok(stream) = listener.accept().await {
                    let Ok(mut connection) = Connection::open(stream, &access).await else { continue };
                    while let Ok(Some(request)) = connection.next_request().await {
                        let answers = script(&request);
                        seen.lock().unwrap().push(request);
                        for answer in answers {
                            // A client that has seen enough goes away.
                            let _ = connection.send(&answer).await;
                        }
                    }
                }
            });
        });
        is_ready.recv().unwrap();
        Self { directory, requests }
    }

    /// `weft` with this daemon's socket, ready to be run.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.arg("--socket").arg(self.directory.path().join("weftd.sock")).args(args);
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }

    /// Runs `weft` to its end.
    pub(crate) fn weft(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// The requests taken so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The path of a file in the test's folder, with `text` in it.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}
