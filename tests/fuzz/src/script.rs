//! Scripts: inputs of targets that have a state. One step is a byte that picks what to do, one that says how, a
//! length of two bytes, and that many bytes.

/// A step of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step<'a> {
    /// What to do.
    pub(crate) what: u8,
    /// How.
    pub(crate) how: u8,
    /// With what.
    pub(crate) bytes: &'a [u8],
}

/// The most steps of one script: enough for anything, and no run takes long.
const MAX_STEPS: usize = 64;

/// The steps of a script; what is cut short at its end has as many bytes as there are.
pub(crate) fn steps(data: &[u8]) -> impl Iterator<Item = Step<'_>> {
    let mut rest = data;
    let next = move || {
        let ([what, how, len_0, len_1], after) = rest.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes([*len_0, *len_1]));
        let (bytes, after) = after.split_at(len.min(after.len()));
        rest = after;
        Some(Step { what: *what, how: *how, bytes })
    };
    std::iter::from_fn(next).take(MAX_STEPS)
}

/// Chance that a seed decides (splitmix64), for what must not be guessed anywhere but here.
#[derive(Debug)]
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    /// Fills `bytes`.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            chunk.iter_mut().zip(mixed.to_le_bytes()).for_each(|(place, byte)| *place = byte);
        }
    }
}
