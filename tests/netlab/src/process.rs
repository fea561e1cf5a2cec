//! Programs running in the lab: started, watched, logged and always ended.

use std::fmt;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

/// What a program has written so far; shared with the lab, which prints it when the test fails.
#[derive(Debug)]
pub(crate) struct Log {
    title: String,
    written: Mutex<Written>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Written {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    open: usize,
}

impl Log {
    fn new(title: String) -> Arc<Self> {
        Arc::new(Self { title, written: Mutex::default(), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(self: &Arc<Self>, mut from: impl Read + Send + 'static, stderr: bool) -> Result<()> {
        self.lock().open += 1;
        let log = Arc::clone(self);
        let read = move || {
            let mut buffer = vec![0; 16 * 1024];
            loop {
                let read = from.read(&mut buffer).unwrap_or(0);
                let mut written = log.lock();
                let bytes = buffer.get(..read).unwrap_or_default();
                if stderr { &mut written.stderr } else { &mut written.stdout }.extend_from_slice(bytes);
                if read == 0 {
                    written.open -= 1;
                }
                log.changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("log".into()).spawn(read)?;
        Ok(())
    }

    /// Waits until `done` says so of what is written, or the deadline passes, and says which it was.
    fn wait_until(&self, deadline: Instant, mut done: impl FnMut(&Written) -> bool) -> bool {
        let mut written = self.lock();
        loop {
            if done(&written) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(written, left);
            written = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = self.lock();
        for (name, bytes) in [("stdout", &written.stdout), ("stderr", &written.stderr)] {
            if !bytes.is_empty() {
                writeln!(f, "--- {} ({name}) ---", self.title)?;
                for line in String::from_utf8_lossy(bytes).lines() {
                    writeln!(f, "{line}")?;
                }
            }
        }
        Ok(())
    }
}

/// What a program that has ended left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, with anything that is not UTF-8 replaced.
    pub stdout: String,
    /// Its standard error, with anything that is not UTF-8 replaced.
    pub stderr: String,
}

impl Output {
    /// The output itself if the program succeeded.
    ///
    /// # Errors
    ///
    /// When its exit status is not 0; the message has what it wrote.
    pub fn success(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        bail!("{}: {}\n{}{}", self.command, self.status, self.stdout, self.stderr)
    }
}

/// A running program. Dropping it kills it, and everything in its process group, and reaps it; what has left
/// the group ends with the lab.
pub struct Process {
    title: String,
    child: Child,
    pid: Pid,
    log: Arc<Log>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.title, self.child.id())
    }
}

impl Process {
    /// Starts `command` in a process group of its own, its output collected; its input is empty.
    pub(crate) fn start(mut command: Command, place: &str) -> Result<Self> {
        let title = format!("{place}: {}", describe(&command));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot start {title}"))?;
        let log = Log::new(title.clone());
        if let Some(stdout) = child.stdout.take() {
            log.collect(stdout, false)?;
        }
        if let Some(stderr) = child.stderr.take() {
            log.collect(stderr, true)?;
        }
        let pid = Pid::from_child(&child);
        Ok(Self { title, child, pid, log })
    }

    pub(crate) fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// Its process id, as seen in the lab.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has written to its standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().stdout).into_owned()
    }

    /// What it has written to its standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().stderr).into_owned()
    }

    /// Waits until a whole line that contains `pattern` has been written, to either output, since the start,
    /// and returns that line.
    ///
    /// # Errors
    ///
    /// When the deadline passes, or both outputs end, without such a line; the message has what was written.
    pub fn wait_for_line(&self, pattern: &str, deadline: Duration) -> Result<String> {
        let mut found = None;
        let done = |written: &Written| {
            found = line_with(&written.stdout, pattern).or_else(|| line_with(&written.stderr, pattern));
            found.is_some() || written.open == 0
        };
        self.log.wait_until(Instant::now() + deadline, done);
        found.ok_or_else(|| anyhow!("{self} wrote no line with {pattern:?} in {deadline:?}\n{}", self.log))
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When it still runs at the deadline; it goes on running.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + deadline;
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let handle = pidfd_open(self.pid, PidfdFlags::empty()).context("pidfd_open")?;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap_or_default();
            let _interrupted = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout));
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if left.is_zero() {
                bail!("{self} still runs after {deadline:?}\n{}", self.log);
            }
        }
    }

    /// Waits for its end and returns all that it wrote.
    ///
    /// # Errors
    ///
    /// When it still runs at the deadline; it is killed then.
    pub fn output(mut self, deadline: Duration) -> Result<Output> {
        let status = self.wait(deadline)?;
        // A daemon that it left behind may hold the pipes open for ever.
        self.log.wait_until(Instant::now() + Duration::from_secs(1), |written| written.open == 0);
        Ok(Output { command: self.title.clone(), status, stdout: self.stdout(), stderr: self.stderr() })
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// When it has ended already.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if !self.is_running() {
            bail!("{self} has ended already\n{}", self.log);
        }
        kill_process(self.pid, signal).with_context(|| format!("cannot signal {self}"))
    }

    /// Kills it (SIGKILL), itself alone and not its children, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// When it had ended before.
    pub fn kill9(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(10)).map(drop)
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    ///
    /// When it had ended before, or still runs at the deadline.
    pub fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(deadline)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its children may outlive it in its group; a group that is empty is no error worth telling.
        let _gone = kill_process_group(self.pid, Signal::KILL);
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn line_with(bytes: &[u8], pattern: &str) -> Option<String> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n')?;
    let text = String::from_utf8_lossy(bytes.get(..whole)?);
    text.lines().find(|line| line.contains(pattern)).map(str::to_owned)
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
