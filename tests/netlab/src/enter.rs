//! From the machine into the lab: the process starts itself again in namespaces of its own.

use std::any::type_name;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::geteuid;

use crate::lab::{Lab, Skip};
use crate::poll::eventually;
use crate::process::Process;
use crate::sys::life;

const INSIDE: &str = "NETLAB_INSIDE";
const LIFELINE: &str = "NETLAB_LIFELINE";
const SKIPPED: &str = "netlab: ";
const MANY_IDS: &str = "0 0 65536\n";
const REMEDY: &str =
    "the lab needs user namespaces, and this machine refuses them. As root, what applies here:
  sysctl -w user.max_user_namespaces=65536
  sysctl -w kernel.unprivileged_userns_clone=1                (Debian)
  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0    (Ubuntu)
In a container: start it with --privileged, or with --security-opt seccomp=unconfined and CAP_SYS_ADMIN.";

/// How long a test may take, start of the lab included, unless it says otherwise with [`run_within`].
pub const TEST_DEADLINE: Duration = Duration::from_secs(120);

/// The variables that mark a process as being inside; what the lab starts must not inherit them.
pub(crate) const MARKS: [&str; 2] = [INSIDE, LIFELINE];

/// Runs the body of a `#[test]` in a lab of its own, within [`TEST_DEADLINE`]. See [`run_within`].
///
/// # Panics
///
/// When the test fails, so that it is to be called from a test alone.
pub fn run<F: FnOnce(&Lab) -> Result<()>>(test: F) {
    run_within(TEST_DEADLINE, test);
}

/// Runs the body of a `#[test]` in a lab of its own: the test binary starts itself again for exactly this
/// test, in namespaces of its own, and there calls `test`. All that the test started ends with it, also when
/// it panics, or when the process that runs the tests is killed. A [`Skip`] is printed, and passes.
///
/// To be called directly in the `#[test]` function; what stands before it in there runs twice.
///
/// # Panics
///
/// When `test` returns an error, panics, or has not ended by `deadline`, or no lab can be made.
pub fn run_within<F: FnOnce(&Lab) -> Result<()>>(deadline: Duration, test: F) {
    if env::var_os(INSIDE).is_some() {
        return run_inside(test);
    }
    let name = test_name(std::thread::current().name(), type_name::<F>());
    if let Err(error) = run_outside(&name, deadline) {
        panic!("{error:?}");
    }
}

fn run_inside(test: impl FnOnce(&Lab) -> Result<()>) {
    let lab = match open() {
        Ok(lab) => lab,
        Err(error) => panic!("{error:?}"),
    };
    match catch_unwind(AssertUnwindSafe(|| test(&lab))) {
        Ok(Ok(())) => {}
        Ok(Err(error)) if error.is::<Skip>() => println!("\n{SKIPPED}{error}"),
        Ok(Err(error)) => {
            lab.print_logs();
            panic!("{error:?}");
        }
        Err(panic) => {
            lab.print_logs();
            resume_unwind(panic);
        }
    }
}

fn run_outside(name: &str, deadline: Duration) -> Result<()> {
    let arguments = ["--exact", name, "--nocapture", "--include-ignored", "--test-threads=1"];
    let (mut command, life) = launcher(name)?;
    command.args(arguments);
    let started = Process::start(command, name)?;
    drop(life.inner_end);
    let output = started.output(deadline)?;
    // Through the macro, so that the test harness shows it for failed tests alone.
    print!("{}{}", output.stdout, output.stderr);
    if !output.status.success() {
        bail!("{name} failed in its lab: {}", output.status);
    }
    if !output.stdout.contains("1 passed") {
        bail!("no test was run in the lab: run() has to be called directly in the #[test] {name}");
    }
    if let Some(line) = output.stdout.lines().find(|line| line.starts_with(SKIPPED)) {
        let notice = format!("test {name} ... {}\n", line.trim_start_matches(SKIPPED));
        // Past the macros: a skipped test must be seen although it passes.
        std::io::stderr().write_all(notice.as_bytes())?;
    }
    Ok(())
}

/// The path of the test function, as the harness's `--exact` wants it.
fn test_name(thread: Option<&str>, closure: &str) -> String {
    if let Some(name) = thread.filter(|name| *name != "main") {
        return name.to_owned();
    }
    // The harness runs tests on the main thread when it may use one only; then the name of the closure,
    // `crate::path::of::test::{{closure}}`, tells.
    let path = closure.split_once("::").map_or(closure, |(_, path)| path);
    path.split("::{{closure}}").next().unwrap_or(path).to_owned()
}

/// Moves a whole program into a lab: the first call starts the same program with the same arguments inside,
/// waits for it and exits with its exit code; inside, it returns the lab. To be called first in `main`,
/// before any thread is started.
///
/// # Errors
///
/// When no lab can be made; where user namespaces are refused the message has the remedy.
pub fn enter() -> Result<Lab> {
    if env::var_os(INSIDE).is_some() {
        return open();
    }
    let (mut command, life) = launcher("main")?;
    command.args(env::args_os().skip(1));
    let status = command.status().context("cannot start the lab")?;
    drop(life);
    std::process::exit(status.code().unwrap_or(101));
}

fn open() -> Result<Lab> {
    let lifeline = env::var(LIFELINE).context("NETLAB_INSIDE is set, but this process is in no lab")?;
    life::end_when_closed(lifeline.parse()?).context("the lab's lifeline")?;
    Lab::open()
}

/// What keeps the lab alive; its outer end closes when this process ends, however it does.
struct Life {
    inner_end: OwnedFd,
    _outer_end: OwnedFd,
    _anchor: Option<Anchor>,
}

/// The command that starts this program again in a lab; its arguments are still to be given.
fn launcher(mark: &str) -> Result<(Command, Life)> {
    static REFUSED: OnceLock<Option<String>> = OnceLock::new();
    let refused = REFUSED.get_or_init(|| probe().err().map(|error| format!("{error:#}")));
    if let Some(reason) = refused {
        bail!("{REMEDY}\nThe attempt said: {reason}");
    }
    let (mut command, anchor) = namespaces()?;
    // Not as seen by the new process: within its own mount of /proc the link would lead elsewhere.
    command.arg(env::current_exe().context("the path of this program")?);
    let (inner_end, outer_end) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfd(&inner_end, FdFlags::empty())?;
    command.env(INSIDE, mark).env(LIFELINE, inner_end.as_raw_fd().to_string());
    Ok((command, Life { inner_end, _outer_end: outer_end, _anchor: anchor }))
}

fn probe() -> Result<()> {
    let (mut command, _anchor) = namespaces()?;
    let output = command.args(["ip", "link", "set", "lo", "up"]).stdin(Stdio::null()).output();
    let output = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("unshare (util-linux) is not installed"),
        other => other?,
    };
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The command that runs its further arguments as the first process of new namespaces.
fn namespaces() -> Result<(Command, Option<Anchor>)> {
    let anchor = if geteuid().is_root() { Anchor::new().ok() } else { None };
    let path = sane_path();
    let mut command = if let Some(anchor) = &anchor {
        let mut command = Command::new("nsenter");
        command.args(["--user", "--target", &anchor.0.id().to_string(), "--", "unshare"]);
        command
    } else {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user"]);
        command
    };
    command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.env("PATH", path);
    Ok((command, anchor))
}

/// An ordinary user's PATH often lacks the folders of `ip` and `nft`.
fn sane_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
    path
}

/// A process that waits in a user namespace whose ids root has mapped, for the lab to join that namespace:
/// `unshare` maps a range with the help of `newuidmap` only, which few machines have.
struct Anchor(Child);

impl Anchor {
    fn new() -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--user", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let anchor = Self(command.spawn().context("cannot start unshare")?);
        let folder = format!("/proc/{}", anchor.0.id());
        let own = fs::read_link("/proc/self/ns/user")?;
        eventually(Duration::from_secs(5), "a new user namespace", || {
            match fs::read_link(format!("{folder}/ns/user")) {
                Ok(theirs) if theirs != own => Ok(()),
                Ok(_) => Err(anyhow!("unshare has not made one")),
                Err(error) => Err(error.into()),
            }
        })?;
        fs::write(format!("{folder}/uid_map"), MANY_IDS).context("uid_map")?;
        fs::write(format!("{folder}/gid_map"), MANY_IDS).context("gid_map")?;
        Ok(anchor)
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::test_name;

    #[test]
    fn a_test_is_known_by_its_thread_or_else_by_its_closure() {
        assert_eq!(test_name(Some("a::b"), "x::y::{{closure}}"), "a::b");
        assert_eq!(test_name(Some("main"), "krate::a::b::{{closure}}"), "a::b");
        assert_eq!(test_name(None, "krate::b::{{closure}}"), "b");
    }
}
