//! Sets of numbers of one width, held as the points where membership changes.

/// An unsigned number that addresses are made of.
pub(crate) trait Word: Copy + Ord {
    /// Its width in bits.
    const BITS: u32;
    /// The smallest.
    const ZERO: Self;
    /// The greatest.
    const MAX: Self;

    /// The next greater one; none above [`Word::MAX`].
    fn next(self) -> Option<Self>;
    /// The next smaller one; of 0, [`Word::MAX`].
    fn before(self) -> Self;
    /// How many of its low bits are 0.
    fn trailing_zeros(self) -> u32;
    /// The number with its `bits` low bits set to 1.
    fn fill_low(self, bits: u32) -> Self;
}

macro_rules! word {
    ($word:ty) => {
        impl Word for $word {
            const BITS: u32 = <$word>::BITS;
            const ZERO: Self = 0;
            const MAX: Self = <$word>::MAX;

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn before(self) -> Self {
                self.wrapping_sub(1)
            }

            fn trailing_zeros(self) -> u32 {
                <$word>::trailing_zeros(self)
            }

            fn fill_low(self, bits: u32) -> Self {
                self | <$word>::MAX.checked_shr(Self::BITS - bits).unwrap_or(0)
            }
        }
    };
}

word!(u32);
word!(u128);
#[cfg(test)]
word!(u8);

/// A set of numbers: ascending points, at each of which membership changes; before the first, numbers are out.
///
/// Each set has exactly one such list, so equal lists are equal sets. Looking up is one binary search over the
/// list, whose memory is one or two words a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Steps<T>(Box<[T]>);

impl<T> Default for Steps<T> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<T: Word> Steps<T> {
    /// Every number.
    pub(crate) fn everything() -> Self {
        Self(Box::new([T::ZERO]))
    }

    /// What ranges cover, each from its first to its last number. They may overlap and come in any order.
    pub(crate) fn from_ranges(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort_unstable();
        let mut steps = Vec::with_capacity(ranges.len() * 2);
        let mut open: Option<(T, T)> = None;
        for (first, last) in ranges {
            match &mut open {
                Some((_, end)) if end.next().is_none_or(|after| first <= after) => *end = last.max(*end),
                _ => {
                    push_range(&mut steps, open.replace((first, last)));
                }
            }
        }
        push_range(&mut steps, open);
        Self(steps.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, number: T) -> bool {
        self.0.partition_point(|step| *step <= number) % 2 == 1
    }

    pub(crate) fn complement(&self) -> Self {
        match self.0.split_first() {
            Some((first, rest)) if *first == T::ZERO => Self(rest.into()),
            _ => Self(std::iter::once(T::ZERO).chain(self.0.iter().copied()).collect()),
        }
    }

    /// The numbers for which `rule` holds, of their membership in this set and in the other. `rule` must not hold
    /// for numbers in neither.
    pub(crate) fn combine(&self, other: &Self, rule: impl Fn(bool, bool) -> bool) -> Self {
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        let (mut in_left, mut in_right, mut inside) = (false, false, false);
        let mut steps = Vec::with_capacity(self.0.len() + other.0.len());
        while let Some(at) = [left.peek(), right.peek()].into_iter().flatten().min().map(|step| **step) {
            in_left ^= left.next_if(|step| **step == at).is_some();
            in_right ^= right.next_if(|step| **step == at).is_some();
            if rule(in_left, in_right) != inside {
                inside = !inside;
                steps.push(at);
            }
        }
        Self(steps.into())
    }

    /// The ranges that make up the set, from first to last number, ascending, none touching the next.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (T, T)> {
        self.0.chunks(2).filter_map(|pair| match pair {
            [first, after] => Some((*first, after.before())),
            [first] => Some((*first, T::MAX)),
            _ => None,
        })
    }

    /// The fewest aligned blocks that make up the set, ascending: each with its first number and its prefix length.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (T, u32)> {
        self.ranges().flat_map(|(first, last)| {
            let mut next = Some(first);
            std::iter::from_fn(move || {
                let start = next.filter(|start| *start <= last)?;
                let mut bits = start.trailing_zeros().min(T::BITS);
                while start.fill_low(bits) > last {
                    bits -= 1;
                }
                next = start.fill_low(bits).next();
                Some((start, T::BITS - bits))
            })
        })
    }
}

fn push_range<T: Word>(steps: &mut Vec<T>, range: Option<(T, T)>) {
    if let Some((first, last)) = range {
        steps.push(first);
        steps.extend(last.next());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Naive = [bool; 256];

    fn naive(ranges: &[(u8, u8)]) -> Naive {
        std::array::from_fn(|number| {
            ranges.iter().any(|(first, last)| (usize::from(*first)..=usize::from(*last)).contains(&number))
        })
    }

    fn members(steps: &Steps<u8>) -> Naive {
        std::array::from_fn(|number| steps.contains(u8::try_from(number).unwrap()))
    }

    fn ranges() -> impl Strategy<Value = Vec<(u8, u8)>> {
        let range = (any::<u8>(), any::<u8>()).prop_map(|(a, b)| (a.min(b), a.max(b)));
        let short = (any::<u8>(), 0_u8..6).prop_map(|(a, len)| (a, a.saturating_add(len)));
        prop::collection::vec(prop_oneof![range, short], 0..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn sets_hold_what_their_ranges_cover(ranges in ranges()) {
            let steps = Steps::from_ranges(ranges.clone());
            prop_assert_eq!(members(&steps), naive(&ranges));
            prop_assert!(steps.0.is_sorted_by(|a, b| a < b));
        }

        #[test]
        fn the_algebra_is_that_of_sets(a in ranges(), b in ranges()) {
            let (left, right) = (naive(&a), naive(&b));
            let (a, b) = (Steps::from_ranges(a), Steps::from_ranges(b));
            let both = |rule: fn(bool, bool) -> bool| -> Naive {
                std::array::from_fn(|number| rule(left[number], right[number]))
            };
            prop_assert_eq!(members(&a.combine(&b, |a, b| a || b)), both(|a, b| a || b));
            prop_assert_eq!(members(&a.combine(&b, |a, b| a && !b)), both(|a, b| a && !b));
            prop_assert_eq!(members(&a.combine(&b, |a, b| a && b)), both(|a, b| a && b));
            prop_assert_eq!(members(&a.complement()), left.map(|inside| !inside));
        }

        #[test]
        fn equal_sets_are_equal(a in ranges(), b in ranges()) {
            let (a, b) = (Steps::from_ranges(a), Steps::from_ranges(b));
            prop_assert_eq!(&a.complement().complement(), &a);
            let union = a.combine(&b, |a, b| a || b);
            prop_assert_eq!(&b.combine(&a, |a, b| a || b), &union);
            let by_complements = a.complement().combine(&b.complement(), |a, b| a && b).complement();
            prop_assert_eq!(&by_complements, &union);
            prop_assert_eq!(&Steps::from_ranges(union.ranges().collect()), &union);
        }

        #[test]
        fn blocks_are_the_fewest_that_make_up_the_set(ranges in ranges()) {
            let steps = Steps::from_ranges(ranges);
            let blocks: Vec<(u32, u32)> =
                steps.blocks().map(|(first, prefix)| (u32::from(first), 8 - prefix)).collect();
            let mut covered = [false; 256];
            let mut least = 0;
            for (first, bits) in &blocks {
                prop_assert_eq!(first % (1 << bits), 0, "aligned");
                prop_assert!(*first >= least, "ascending and disjoint");
                least = first + (1 << bits);
                covered[*first as usize..least as usize].fill(true);
            }
            prop_assert_eq!(covered, members(&steps));
            for pair in blocks.windows(2) {
                let [(a, a_bits), (b, b_bits)] = pair else { unreachable!() };
                let siblings = a_bits == b_bits && a % (2 << a_bits) == 0 && *b == a + (1 << a_bits);
                prop_assert!(!siblings, "{a} and {b} would be one block");
            }
        }
    }

    #[test]
    fn the_whole_range_is_one_block() {
        assert_eq!(Steps::<u8>::everything().blocks().collect::<Vec<_>>(), [(0, 0)]);
        assert_eq!(Steps::<u32>::everything().blocks().collect::<Vec<_>>(), [(0, 0)]);
        assert_eq!(Steps::<u128>::from_ranges(vec![(0, u128::MAX)]), Steps::everything());
        assert!(Steps::<u128>::everything().complement().is_empty());
    }
}
