//! Seeds of packets as a host hands them over.

use crate::Seeds;

/// So many offsets as the array has, and so many bytes of packets.
fn batch(offsets: &[u32], bytes: usize) -> Vec<u8> {
    let mut data = vec![u8::try_from(offsets.len()).unwrap()];
    data.extend(offsets.iter().flat_map(|offset| offset.to_le_bytes()));
    data.extend((0..bytes).map(|at| at.to_le_bytes()[0]));
    data
}

pub(crate) fn seeds() -> Seeds {
    vec![
        ("ok-none", batch(&[0], 0)),
        ("ok-one", batch(&[0, 40], 40)),
        ("ok-three", batch(&[0, 1, 61, 101], 101)),
        ("bad-no-offsets", batch(&[], 40)),
        ("bad-first", batch(&[1, 40], 40)),
        ("bad-last", batch(&[0, 39], 40)),
        ("bad-beyond", batch(&[0, u32::MAX], 40)),
        ("bad-back", batch(&[0, 30, 20, 40], 40)),
        ("bad-empty-packet", batch(&[0, 20, 20, 40], 40)),
        ("bad-long-packet", batch(&[0, 70_000], 70_000)),
        ("bad-cut", vec![3, 0, 0]),
    ]
}
