//! Other programs, run for what they do or say: with a deadline, and with a bound on what they say.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// Where programs are looked for, whatever the daemon's own environment says.
pub(super) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// How long one may take. Hooks of resolvconf's restart other services, and openresolv waits for its lock for 10 s.
const DEADLINE: Duration = Duration::from_secs(15);
/// The most that one may say, in bytes; it cannot write more.
const MAX_OUTPUT: u64 = 64 << 10;
/// What programs write is for every user to read, whatever this process's own umask.
const WITH_UMASK: &str = "umask 022; exec \"$@\"";

/// What became of a program.
pub(super) struct Output {
    pub(super) status: ExitStatus,
    /// What it said, on both of its outputs.
    pub(super) text: String,
}

/// Runs a program to its end.
///
/// # Errors
/// It cannot be run, or does not end in time: then it is killed, with all that it started.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> io::Result<Output> {
    run_within(DEADLINE, program, arguments, input)
}

fn run_within(deadline: Duration, program: &str, arguments: &[&str], input: &str) -> io::Result<Output> {
    // Memory instead of pipes: whoever a hook leaves running may keep them open, and nobody waits for that.
    let mut stdin = memory(SealFlags::empty())?;
    stdin.write_all(input.as_bytes())?;
    stdin.rewind()?;
    let said = memory(SealFlags::GROW | SealFlags::SHRINK)?;
    let mut child = Command::new("sh")
        .args(["-c", WITH_UMASK, "sh", program])
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(stdin)
        .stdout(Stdio::from(said.try_clone()?))
        .stderr(Stdio::from(said.try_clone()?))
        .process_group(0)
        .spawn()?;
    let ended = wait(&child, deadline);
    if !matches!(ended, Ok(true)) {
        kill(&child);
    }
    let status = child.wait()?;
    match ended? {
        true => Ok(Output { status, text: read(said)? }),
        false => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("{program} does not end within {} s", deadline.as_secs_f32()),
        )),
    }
}

/// A file in memory. With seals it has room for [`MAX_OUTPUT`], and cannot change its length.
fn memory(seals: SealFlags) -> io::Result<File> {
    let file = File::from(memfd_create("weft-program", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    if !seals.is_empty() {
        ftruncate(&file, MAX_OUTPUT)?;
        fcntl_add_seals(&file, seals)?;
    }
    Ok(file)
}

/// What was written, up to where the program's outputs, which share their place with this file, have come.
fn read(mut file: File) -> io::Result<String> {
    let length = file.stream_position()?;
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(child.id().cast_signed())
}

/// Waits for a child's end; false = it has not ended in time.
fn wait(child: &Child, deadline: Duration) -> io::Result<bool> {
    let pid = pid(child).ok_or(io::ErrorKind::InvalidInput)?;
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    let until = std::time::Instant::now() + deadline;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => {}
            ended => return Ok(ended? > 0),
        }
    }
}

/// Kills a child that nobody has waited for yet, and all that it started and that is still of its group.
fn kill(child: &Child) {
    if let Some(pid) = pid(child) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, input: &str) -> io::Result<Output> {
        run("sh", &["-c", script], input)
    }

    #[test]
    fn what_a_program_is_told_and_says() {
        let output = shell("cat; echo said >&2; exit 3", "told\n").unwrap();
        assert_eq!(output.text, "told\nsaid\n");
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(run("no-such-program-of-wefts", &[], "").unwrap().status.code(), Some(127));
    }

    #[test]
    fn a_program_writes_files_for_everybody() {
        assert_eq!(shell("umask", "").unwrap().text.trim(), "0022");
    }

    #[test]
    fn more_than_the_bound_is_not_kept() {
        let output = shell("head -c 1000000 /dev/zero | tr '\\0' x", "").unwrap();
        assert!(output.text.len() as u64 <= MAX_OUTPUT);
    }

    /// The program ends while what it started holds its outputs.
    #[test]
    fn what_a_program_leaves_running_is_not_waited_for() {
        let output = shell("sleep 1000 & echo $!", "").unwrap();
        assert!(output.status.success());
        let left = output.text.trim().parse().ok().and_then(Pid::from_raw).unwrap();
        rustix::process::kill_process(left, Signal::KILL).unwrap();
    }

    #[test]
    fn a_program_that_does_not_end_is_killed_with_what_it_started() {
        let script = "sleep 1000 & echo $! >&2; echo $! > \"$0\"; wait";
        let path = std::env::temp_dir().join(format!("weft-program-{}", std::process::id()));
        let name = path.to_str().unwrap();
        // Long enough for the shell to have started the other one.
        let failed = run_within(Duration::from_secs(2), "sh", &["-c", script, name], "");
        let error = failed.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "sh does not end within 2 s");
        let started: u32 = std::fs::read_to_string(&path).unwrap().trim().parse().unwrap();
        std::fs::remove_file(&path).unwrap();
        // Dead, be it waited for by its new parent or not.
        let is_dead = || {
            let stat = std::fs::read_to_string(format!("/proc/{started}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ")
        };
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while !is_dead() {
            assert!(std::time::Instant::now() < until, "{started} lives on");
            std::thread::yield_now();
        }
    }
}
