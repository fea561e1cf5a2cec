//! The window of counters already seen (RFC 6479).

const WORDS: usize = 256;

/// How far behind the newest counter a datagram may come and still be taken.
pub(crate) const WINDOW: u64 = (WORDS as u64 - 1) * 64;

/// Which counters were seen: the newest, and one bit for each of the [`WINDOW`] before it.
///
/// The words are a ring that one word more than the window keeps from overlapping itself, so that moving on clears
/// whole words and never shifts bits.
pub(crate) struct ReplayWindow {
    /// One more than the newest counter seen; 0 = none yet.
    next: u64,
    words: Box<[u64; WORDS]>,
}

impl ReplayWindow {
    pub(crate) fn new() -> Self {
        Self { next: 0, words: Box::new([0; WORDS]) }
    }

    fn position(counter: u64) -> (usize, u64) {
        ((counter / 64) as usize % WORDS, 1 << (counter % 64))
    }

    /// Whether `counter` is new: neither seen nor too old. Changes nothing.
    pub(crate) fn is_new(&self, counter: u64) -> bool {
        if counter >= self.next {
            return true;
        }
        let (word, bit) = Self::position(counter);
        self.next - counter <= WINDOW && self.words.get(word).is_some_and(|bits| bits & bit == 0)
    }

    /// Marks `counter` as seen; whether it was new. Call it for authentic datagrams alone.
    pub(crate) fn accept(&mut self, counter: u64) -> bool {
        if !self.is_new(counter) {
            return false;
        }
        if counter >= self.next {
            self.advance(counter);
        }
        let (word, bit) = Self::position(counter);
        if let Some(bits) = self.words.get_mut(word) {
            *bits |= bit;
        }
        true
    }

    fn advance(&mut self, counter: u64) {
        // The word of the newest counter is in use; with none yet all words are clear.
        let newest_word = self.next.saturating_sub(1) / 64;
        let fresh = (counter / 64 - newest_word).min(WORDS as u64);
        for step in 1..=fresh {
            let word = (newest_word.wrapping_add(step) % WORDS as u64) as usize;
            if let Some(bits) = self.words.get_mut(word) {
                *bits = 0;
            }
        }
        self.next = counter.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Remembers everything; has the window's rule and nothing of its cleverness.
    #[derive(Default)]
    struct Model {
        newest: Option<u64>,
        seen: HashSet<u64>,
    }

    impl Model {
        fn accept(&mut self, counter: u64) -> bool {
            let too_old = self.newest.is_some_and(|newest| newest - newest.min(counter) >= WINDOW);
            let new = !too_old && self.seen.insert(counter);
            if new {
                self.newest = self.newest.max(Some(counter));
            }
            new
        }
    }

    #[test]
    fn the_window_spans_what_the_seam_promises() {
        const { assert!(WINDOW >= 8192) };
        let mut window = ReplayWindow::new();
        assert!(window.accept(WINDOW));
        assert!(window.accept(1));
        assert!(!window.accept(0), "exactly as old as the window is long");
        assert!(!window.accept(1));
        assert!(window.accept(u64::MAX - 1));
        assert!(!window.accept(WINDOW));
    }

    fn steps() -> impl Strategy<Value = Vec<i64>> {
        let near = -200_i64..200;
        let word = prop_oneof![Just(-64_i64), Just(64), Just(-63), Just(63), Just(-65), Just(65)];
        let edge = (-3_i64..3).prop_map(|by| by - WINDOW as i64);
        let far = -40_000_i64..40_000;
        prop::collection::vec(prop_oneof![6 => near, 2 => word, 2 => edge, 1 => far], 1..400)
    }

    proptest! {
        #[test]
        fn it_decides_as_a_model_that_remembers_everything(start in 0_u64..70_000, steps in steps()) {
            let mut window = ReplayWindow::new();
            let mut model = Model::default();
            let mut newest = start;
            for step in steps {
                let counter = newest.saturating_add_signed(step);
                prop_assert_eq!(window.is_new(counter), {
                    let mut ahead = ReplayWindow { next: window.next, words: window.words.clone() };
                    ahead.accept(counter)
                });
                prop_assert_eq!(window.accept(counter), model.accept(counter), "{}", counter);
                newest = newest.max(counter);
            }
        }
    }
}
