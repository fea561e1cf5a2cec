//! How little memory the daemon lives on.

use std::ops::Range;
use std::time::Duration;

mod advise;

/// Pools that the C library's allocator keeps at most. It makes one for each of the first threads, eight a processor, and
/// each keeps some 100 KiB for itself; the threads that carry packets and cached answers allocate nothing, so that two
/// are enough for the others.
const ARENAS: i32 = 2;

/// When code is given back after the device has connected, counted from the time before. The first packets and names open
/// the connections that are kept from then on, which takes as much code as connecting; and what is needed for good comes
/// back after each.
const SETTLING: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(4)];

/// Limits what the allocator keeps for later. To be called before there are threads.
pub(crate) fn limit_allocator() {
    advise::limit_arenas(ARENAS);
}

/// Gives back what connecting took, while the device gets into its stride. Ends then; nothing wakes up for it later.
pub(crate) async fn settle() {
    for pause in SETTLING {
        tokio::time::sleep(pause).await;
        give_back_code();
    }
}

/// Lets the system take the pages of this program's code out of its memory. They stay in the system's page cache, and
/// what is run again comes back from there in pieces of 64 KiB.
///
/// Starting, reading settings and changing the network touch most of the program, and the kernel maps much around
/// each place that is touched; what runs from then on is a third of it.
fn give_back_code() {
    // Without the list nothing is given back, which harms nobody.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().filter_map(code).for_each(advise::give_back);
}

/// The addresses of a line of proc_pid_maps(5), if it is code that came out of a file and that nobody can have changed.
fn code(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (permissions, inode) = (words.next()?, words.nth(2)?);
    let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    (permissions == "r-xp" && inode != "0" && !range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_out_of_files_is_given_back() {
        let cases = [
            ("7f01000-7f03000 r-xp 00001000 fe:00 4711 /usr/sbin/weftd", Some(0x7f0_1000..0x7f0_3000)),
            (
                "7f01000-7f03000 r-xp 00001000 fe:00 4711 /usr/sbin/weftd (deleted)",
                Some(0x7f0_1000..0x7f0_3000),
            ),
            ("7f01000-7f03000 rwxp 00001000 fe:00 4711 /usr/sbin/weftd", None),
            ("7f01000-7f03000 r--p 00001000 fe:00 4711 /usr/sbin/weftd", None),
            ("7f01000-7f03000 rw-p 00001000 fe:00 4711 /usr/sbin/weftd", None),
            ("7f01000-7f03000 r-xp 00000000 00:00 0 [vdso]", None),
            ("7f01000-7f01000 r-xp 00000000 fe:00 4711 /usr/sbin/weftd", None),
            ("hello", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(code(line), expected, "{line}");
        }
    }

    /// Kilobytes of this program's code in memory.
    fn resident() -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut counts = false;
        let mut sum = 0;
        for line in maps.lines() {
            match line.strip_prefix("Rss:").and_then(|rest| rest.trim().strip_suffix(" kB")) {
                Some(kilobytes) if counts => sum += kilobytes.parse::<usize>().unwrap(),
                Some(_) => {}
                None if line.contains('-') => counts = code(line).is_some(),
                None => {}
            }
        }
        sum
    }

    #[test]
    fn the_program_goes_on_with_less_memory() {
        let before = resident();
        give_back_code();
        let after = resident();
        assert!(after < before, "{before} KB, then {after} KB");
    }
}
