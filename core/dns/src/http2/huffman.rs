//! The Huffman code of header compression (RFC 7541, appendix B), decoded.
//!
//! The code is canonical: those of one length are consecutive numbers, in the order of what they stand for, and begin where the
//! shorter ones ended. So a list of how many there are of each length and the order of all says everything.

/// Lengths in bits, and how many codes have each.
const LENGTHS: [(u32, u32); 21] = [
    (5, 10),
    (6, 26),
    (7, 32),
    (8, 6),
    (10, 5),
    (11, 3),
    (12, 2),
    (13, 6),
    (14, 2),
    (15, 3),
    (19, 3),
    (20, 8),
    (21, 13),
    (22, 26),
    (23, 29),
    (24, 12),
    (25, 4),
    (26, 15),
    (27, 19),
    (28, 29),
    (30, 3),
];

/// What the codes stand for. The end of a string, which has the last one, is not among them: it must not be sent.
#[rustfmt::skip]
const SYMBOLS: [u8; 256] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55,
    56, 57, 61, 65, 95, 98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117, 58, 66, 67, 68,
    69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89,
    106, 107, 113, 118, 119, 120, 121, 122, 38, 42, 44, 59, 88, 90, 33, 34, 40, 41, 63, 39,
    43, 124, 35, 62, 0, 36, 64, 91, 93, 126, 94, 125, 60, 96, 123, 92, 195, 208, 128, 130,
    131, 162, 184, 194, 224, 226, 153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230, 129,
    132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190,
    196, 198, 228, 232, 233, 1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157,
    158, 165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142, 144, 145, 148, 159,
    171, 206, 215, 225, 236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213, 218, 219,
    238, 240, 242, 243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250,
    251, 252, 253, 254, 2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20,
    21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127, 220, 249, 10, 13, 22,
];

/// Appends what `coded` stands for to `text`; false where it is not this code.
pub(super) fn decode(coded: &[u8], text: &mut Vec<u8>) -> bool {
    let (mut bits, mut count) = (0_u64, 0_u32);
    let mut rest = coded.iter();
    loop {
        while count <= 32 {
            let Some(byte) = rest.next() else { break };
            bits = bits << 8 | u64::from(*byte);
            count += 8;
        }
        match symbol(bits, count) {
            Some((symbol, length)) => {
                text.push(symbol);
                count -= length;
                bits &= (1 << count) - 1;
            }
            // What is left is padding: ones, and less than a byte of them.
            None => return rest.len() == 0 && count < 8 && bits + 1 == 1 << count,
        }
    }
}

/// The symbol that the first of `count` bits are the code of, and its length.
fn symbol(bits: u64, count: u32) -> Option<(u8, u32)> {
    let (mut first, mut before, mut former) = (0_u64, 0_u64, 0);
    for (length, codes) in LENGTHS {
        let left = count.checked_sub(length)?;
        first <<= length - former;
        let code = bits >> left;
        if code < first + u64::from(codes) {
            let place = usize::try_from(before + code.checked_sub(first)?).ok()?;
            return SYMBOLS.get(place).map(|symbol| (*symbol, length));
        }
        first += u64::from(codes);
        before += u64::from(codes);
        former = length;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        decode(coded, &mut text).then_some(text)
    }

    #[test]
    fn the_examples_of_the_standard_are_decoded() {
        // RFC 7541, appendices C.4 and C.6.
        let cases: [(&[u8], &str); 5] = [
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff], "www.example.com"),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x64, 0x02], "302"),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
            (
                &[
                    0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b, 0x81,
                    0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
                ],
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
        ];
        for (coded, text) in cases {
            assert_eq!(decoded(coded).as_deref(), Some(text.as_bytes()));
        }
        assert_eq!(decoded(&[]), Some(Vec::new()));
    }

    #[test]
    fn what_is_not_the_code_is_refused() {
        let cases: [&[u8]; 4] = [
            // Padding of a whole byte, of zeros, and the end of a string.
            &[0x64, 0x02, 0xff],
            &[0x64, 0x00, 0x00],
            &[0xff, 0xff, 0xff, 0xff],
            &[0xff, 0xff, 0xff, 0xff, 0xff],
        ];
        for coded in cases {
            assert_eq!(decoded(coded), None, "{coded:x?}");
        }
    }

    #[test]
    fn every_symbol_has_a_code() {
        // A code of each length, with what follows of ones, and how many symbols all have together.
        let (mut code, mut former, mut symbols) = (0_u64, 0, Vec::new());
        for (length, codes) in LENGTHS {
            code <<= length - former;
            former = length;
            for _ in 0..codes {
                let padded = code << (40 - length) | ((1 << (40 - length)) - 1);
                let bytes = padded.to_be_bytes();
                let used = 3 + usize::try_from(length.div_ceil(8)).unwrap();
                symbols.extend(decoded(&bytes[3..used]).unwrap());
                code += 1;
            }
        }
        symbols.sort_unstable();
        assert_eq!(symbols, (0..=255).collect::<Vec<u8>>());
        // The one code that is left is the end of a string.
        assert_eq!(code + 1, 1 << former);
    }
}
