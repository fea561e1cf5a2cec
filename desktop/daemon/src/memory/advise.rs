//! Tells the system and the allocator which memory is not needed.

use std::ops::Range;

/// Takes the pages of a range of unchanged code of this program out of its memory.
pub(super) fn give_back(code: Range<usize>) {
    let start = std::ptr::with_exposed_provenance_mut(code.start);
    // SAFETY: the range is a private mapping of a file that is not writable, as the system's own list says. Its pages
    // are what the file holds, and are read from there again when they are used. Should another thread have unmapped
    // it since, nothing is there to be taken, and the call fails.
    let _taken = unsafe { libc::madvise(start, code.len(), libc::MADV_DONTNEED) };
}

/// Limits how many pools the allocator has (M_ARENA_MAX of glibc's mallopt(3); others have no such pools).
pub(super) fn limit_arenas(most: i32) {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the call takes two numbers and may be made at any time, also while others allocate.
        let _limited = unsafe { libc::mallopt(libc::M_ARENA_MAX, most) };
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = most;
}
