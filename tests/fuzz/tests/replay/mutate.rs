//! Mutations that need no coverage to be of use: what parsers of lengths, numbers and text stumble over.

/// xorshift64* (Vigna, 2016): chance that is the same for the same seed.
pub(crate) struct Chance(u64);

impl Chance {
    /// Seeded by FNV-1a of `seed`.
    pub(crate) fn of(seed: &[u8]) -> Self {
        let hash = seed.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`; 0 where there is none.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap().max(1);
        usize::try_from((self.next() >> 16) % bound).unwrap()
    }
}

/// Bytes that are the edge of something.
const EDGES: [&[u8]; 16] = [
    &[0],
    &[0xff],
    &[0x7f],
    &[0x80],
    &[0, 0],
    &[0xff, 0xff],
    &[0, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xff],
    &[0x7f, 0xff, 0xff, 0xff],
    b"\n",
    b"\r\n",
    b"\\n",
    b"\"",
    b"\xf0\x9f\xa6\x80",
    b"99999999999999999999",
    b"-1",
];

/// `bytes` with one to four changes; some take from `other`.
pub(crate) fn mutate(bytes: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(out.len() + 1);
        let end = at + chance.below(out.len() - at + 1);
        match chance.below(9) {
            0 | 1 => flip(&mut out, chance),
            2 => out.truncate(at),
            3 => drop(out.drain(at..end.min(at + 16))),
            4 => drop(out.splice(at..at, EDGES[chance.below(EDGES.len())].iter().copied())),
            5 => {
                let edge = EDGES[chance.below(EDGES.len())];
                let end = (at + edge.len()).min(out.len());
                out.splice(at..end, edge.iter().copied());
            }
            6 => {
                let again = out[at..end.min(at + 64)].to_vec();
                out.splice(at..at, again);
            }
            7 => {
                let from = chance.below(other.len() + 1);
                let to = from + chance.below(other.len() - from + 1);
                out.splice(at..end, other[from..to].iter().copied());
            }
            _ => {
                if let Some(byte) = out.get_mut(at) {
                    *byte = byte.wrapping_add(if chance.below(2) == 0 { 1 } else { 0xff });
                }
            }
        }
    }
    out
}

fn flip(out: &mut [u8], chance: &mut Chance) {
    let at = chance.below(out.len());
    let bit = chance.below(8);
    if let Some(byte) = out.get_mut(at) {
        *byte ^= 1 << bit;
    }
}
