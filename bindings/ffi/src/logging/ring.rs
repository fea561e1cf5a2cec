//! The last lines, in memory.

use std::collections::VecDeque;

/// Lines that are kept.
const LINES: usize = 1000;
/// Bytes of lines that are kept, their own memory aside (24 bytes each): enough for 1,000 lines of the usual length,
/// and little beside the 15 MB of a session.
const BYTES: usize = 256 << 10;
/// The longest line that is kept, in bytes.
pub(super) const LONGEST: usize = 4 << 10;

#[derive(Debug, Default)]
pub(super) struct Ring {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Ring {
    pub(super) fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES || self.bytes > BYTES {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_stay_within_both_bounds() {
        let mut ring = Ring::default();
        for number in 0..2 * LINES {
            ring.push(format!("line {number}"));
        }
        let lines = ring.lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines.first().map(String::as_str), Some("line 1000"));
        assert_eq!(lines.last().map(String::as_str), Some("line 1999"));
        for _ in 0..LINES {
            ring.push("x".repeat(LONGEST));
        }
        assert_eq!(ring.lines().len(), BYTES / LONGEST);
        assert_eq!(ring.bytes, ring.lines.iter().map(String::len).sum::<usize>());
    }
}
