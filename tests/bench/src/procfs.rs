//! What `/proc` tells of the machine and of processes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// A process's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident now, in KiB.
    pub(crate) resident: u64,
    /// Resident at most so far, in KiB.
    pub(crate) peak: u64,
}

/// A sum of processor time, in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticks(pub u64);

impl Ticks {
    /// What has been added since `earlier`, as time.
    #[must_use]
    pub(crate) fn since(self, earlier: Self) -> Duration {
        let per_second = rustix::param::clock_ticks_per_second().max(1) as f64;
        Duration::from_secs_f64(self.0.saturating_sub(earlier.0) as f64 / per_second)
    }
}

/// The processor time that the whole machine has spent on anything, and that its host has kept from it.
///
/// # Errors
///
/// When `/proc/stat` is not what it should be.
pub(crate) fn machine_busy() -> Result<Ticks> {
    let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    parse_machine_busy(&text).context("/proc/stat")
}

fn parse_machine_busy(text: &str) -> Option<Ticks> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields = line.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
    // user, nice, system, idle, iowait, irq, softirq, steal; guest time is in user's already.
    let busy = [0, 1, 2, 5, 6, 7].map(|index| fields.get(index).copied());
    busy.into_iter().sum::<Option<u64>>().map(Ticks)
}

/// The processor time of all processes that this process sees, those that have ended and were waited for
/// included. In a PID namespace of its own that is all that has been spent in it.
///
/// # Errors
///
/// When `/proc` cannot be read.
pub(crate) fn visible_processes() -> Result<Ticks> {
    let mut sum = 0;
    for pid in numbers_in(Path::new("/proc"))? {
        // It may have ended meanwhile; then whoever waited for it has its time.
        if let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) {
            let times = parse_times(&text).with_context(|| format!("/proc/{pid}/stat"))?;
            sum += times.own + times.children;
        }
    }
    Ok(Ticks(sum))
}

/// The processor time of these processes, their threads included.
///
/// # Errors
///
/// When one has ended.
pub(crate) fn processor_time(pids: &[u32]) -> Result<Ticks> {
    let one = |pid: &u32| {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        Ok::<_, anyhow::Error>(parse_times(&text).context(path)?.own)
    };
    pids.iter().map(one).sum::<Result<u64>>().map(Ticks)
}

/// The processor time of all threads of a process, those that have ended left out: to the nanosecond where the kernel
/// tells (`/proc/PID/task/TID/sched`), else to a clock tick.
///
/// # Errors
///
/// When it has ended.
pub(crate) fn thread_time(pid: u32) -> Result<Duration> {
    let folder = format!("/proc/{pid}/task");
    let mut sum = Duration::ZERO;
    for thread in numbers_in(Path::new(&folder))? {
        let Ok(text) = fs::read_to_string(format!("{folder}/{thread}/sched")) else {
            return Ok(processor_time(&[pid])?.since(Ticks(0)));
        };
        sum += parse_run_time(&text).with_context(|| format!("{folder}/{thread}/sched"))?;
    }
    Ok(sum)
}

fn parse_run_time(sched: &str) -> Option<Duration> {
    let line = sched.lines().find_map(|line| line.strip_prefix("se.sum_exec_runtime"))?;
    let milliseconds = line.trim_start().strip_prefix(':')?.trim().parse::<f64>().ok()?;
    Duration::try_from_secs_f64(milliseconds / 1e3).ok()
}

#[derive(Debug, PartialEq, Eq)]
struct Times {
    own: u64,
    children: u64,
}

fn parse_times(stat: &str) -> Option<Times> {
    // The name stands in parentheses and may hold anything, parentheses included.
    let (_, rest) = stat.rsplit_once(')')?;
    let field = |number: usize| rest.split_whitespace().nth(number - 3)?.parse::<u64>().ok();
    Some(Times { own: field(14)? + field(15)?, children: field(16)? + field(17)? })
}

/// The memory of these processes together.
///
/// # Errors
///
/// When one has ended.
pub(crate) fn memory(pids: &[u32]) -> Result<Memory> {
    let mut sum = Memory::default();
    for pid in pids {
        let path = format!("/proc/{pid}/status");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let one = parse_memory(&text).context(path)?;
        sum = Memory { resident: sum.resident + one.resident, peak: sum.peak + one.peak };
    }
    Ok(sum)
}

fn parse_memory(status: &str) -> Option<Memory> {
    Some(Memory { resident: status_field(status, "VmRSS")?, peak: status_field(status, "VmHWM")? })
}

/// How often each thread of these processes has gone to sleep of its own accord, by thread id.
///
/// # Errors
///
/// When a process has ended.
pub(crate) fn sleeps(pids: &[u32]) -> Result<BTreeMap<u32, u64>> {
    switches(pids, &["voluntary_ctxt_switches"])
}

/// How often each thread of these processes has left its processor, of its own accord or not, by thread id.
///
/// # Errors
///
/// When a process has ended.
pub(crate) fn all_switches(pids: &[u32]) -> Result<BTreeMap<u32, u64>> {
    switches(pids, &["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"])
}

fn switches(pids: &[u32], kinds: &[&str]) -> Result<BTreeMap<u32, u64>> {
    let mut threads = BTreeMap::new();
    for pid in pids {
        let folder = format!("/proc/{pid}/task");
        for thread in numbers_in(Path::new(&folder))? {
            // A thread may end meanwhile.
            if let Ok(text) = fs::read_to_string(format!("{folder}/{thread}/status")) {
                let counts = kinds.iter().map(|kind| status_field(&text, kind));
                threads.insert(thread, counts.sum::<Option<u64>>().context("a thread's status")?);
            }
        }
    }
    Ok(threads)
}

/// How many sleeps have been added from `earlier` to `later`; threads that ended in between are left out.
#[must_use]
pub(crate) fn sleeps_between(earlier: &BTreeMap<u32, u64>, later: &BTreeMap<u32, u64>) -> u64 {
    let added = |(thread, count): (&u32, &u64)| {
        count.saturating_sub(earlier.get(thread).copied().unwrap_or_default())
    };
    later.iter().map(added).sum()
}

fn status_field(status: &str, name: &str) -> Option<u64> {
    let of_name = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
    status.lines().find_map(of_name)?.split_whitespace().next()?.parse().ok()
}

fn numbers_in(folder: &Path) -> Result<Vec<u32>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tweftd\nVmPeak:\t  999 kB\nVmHWM:\t    6004 kB\nVmRSS:\t    5120 kB\n\
                          voluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t900\n";

    #[test]
    fn the_machines_line_is_summed_without_idling() {
        let text = "cpu  100 20 30 4000 500 6 7 8 50 0\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 5\n";
        assert_eq!(parse_machine_busy(text), Some(Ticks(100 + 20 + 30 + 6 + 7 + 8)));
        assert_eq!(parse_machine_busy("cpu0 1 2 3\n"), None);
        assert_eq!(parse_machine_busy("cpu  1 2 3\n"), None);
    }

    #[test]
    fn times_are_found_behind_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 111 22 3 4 20 0 1 0 5";
        let times = Some(Times { own: 133, children: 7 });
        assert_eq!(parse_times(&format!("42 (weftd) {rest}")), times);
        assert_eq!(parse_times(&format!("42 (a) b (c) {rest}")), times);
        assert_eq!(parse_times("42 (weftd) S 1 2"), None);
    }

    #[test]
    fn memory_and_sleeps_are_read_by_their_whole_names() {
        assert_eq!(parse_memory(STATUS), Some(Memory { resident: 5120, peak: 6004 }));
        assert_eq!(status_field(STATUS, "voluntary_ctxt_switches"), Some(17));
        assert_eq!(status_field(STATUS, "Vm"), None);
        assert_eq!(parse_memory("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn run_time_is_in_milliseconds() {
        let sched = "dnsmasq (42, #threads: 1)\n---\nse.exec_start    :   9.5\nse.sum_exec_runtime    :   1234.567890\n";
        assert_eq!(parse_run_time(sched), Some(Duration::from_nanos(1_234_567_890)));
        assert_eq!(parse_run_time("se.exec_start : 9.5\n"), None);
    }

    #[test]
    fn sleeps_count_per_thread() {
        let earlier = BTreeMap::from([(1, 10), (2, 20), (3, 30)]);
        let later = BTreeMap::from([(1, 15), (2, 20), (4, 7)]);
        assert_eq!(sleeps_between(&earlier, &later), 5 + 7);
    }

    #[test]
    fn this_process_is_seen() {
        let own = [std::process::id()];
        let before = processor_time(&own).unwrap();
        netlab::eventually(Duration::from_secs(20), "a tick of processor time", || {
            let work = (0..1_000_000_u64).fold(0_u64, |sum, next| std::hint::black_box(sum ^ next));
            std::hint::black_box(work);
            processor_time(&own).unwrap() > before
        })
        .unwrap();
        let memory = memory(&own).unwrap();
        assert!(memory.resident > 0 && memory.peak >= memory.resident / 2);
        assert!(!sleeps(&own).unwrap().is_empty());
        assert!(thread_time(std::process::id()).unwrap() > Duration::ZERO);
        assert!(visible_processes().unwrap() >= processor_time(&own).unwrap());
        assert!(machine_busy().unwrap() > Ticks(0));
    }
}
