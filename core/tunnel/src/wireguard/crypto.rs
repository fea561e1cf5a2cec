//! The primitives of WireGuard's handshake: BLAKE2s, HMAC, HKDF, ChaCha20-Poly1305 and XChaCha20-Poly1305.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use blake2::digest::consts::U16;
use blake2::digest::{Digest, KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac};
use zeroize::Zeroizing;

/// Bytes of an AEAD's tag.
pub(crate) const TAG_LEN: usize = 16;

/// A 32-byte secret, wiped when dropped.
pub(crate) type Key = Zeroizing<[u8; 32]>;

/// A ciphertext whose tag is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadTag;

/// BLAKE2s-256 over `parts`, one after the other.
pub(crate) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = Blake2s256::new();
    for part in parts {
        state.update(part);
    }
    state.finalize().into()
}

/// Keyed BLAKE2s with 16 bytes of output; `key` has 32 or 16 bytes.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let Ok(mut state) = <Blake2sMac<U16> as KeyInit>::new_from_slice(key) else {
        debug_assert!(false, "BLAKE2s takes keys of up to 32 bytes");
        return [0; 16];
    };
    for part in parts {
        Mac::update(&mut state, part);
    }
    state.finalize().into_bytes().into()
}

/// HMAC (RFC 2104) with BLAKE2s-256.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Key {
    let mut inner_pad = Zeroizing::new([0x36; 64]);
    let mut outer_pad = Zeroizing::new([0x5c; 64]);
    for ((inner, outer), byte) in inner_pad.iter_mut().zip(outer_pad.iter_mut()).zip(key) {
        *inner ^= byte;
        *outer ^= byte;
    }
    let mut state = Blake2s256::new();
    state.update(inner_pad.as_slice());
    for part in parts {
        state.update(part);
    }
    let inner = Zeroizing::new(<[u8; 32]>::from(state.finalize()));
    Zeroizing::new(hash(&[outer_pad.as_slice(), inner.as_slice()]))
}

/// KDF1, KDF2 and KDF3 of the WireGuard paper (section 5.4): HKDF with the chaining key as its salt.
pub(crate) fn kdf<const N: usize>(chain: &[u8; 32], input: &[u8]) -> [Key; N] {
    let secret = hmac(chain, &[input]);
    let mut previous = Zeroizing::new([0; 32]);
    let mut number = 0;
    std::array::from_fn(|_| {
        number += 1;
        previous = if number == 1 {
            hmac(&secret, &[&[number]])
        } else {
            hmac(&secret, &[previous.as_slice(), &[number]])
        };
        previous.clone()
    })
}

/// The key of a session or of one handshake message.
pub(crate) fn aead_key(key: &[u8; 32]) -> LessSafeKey {
    #[expect(clippy::expect_used, reason = "the length, which alone can be wrong, is in the type")]
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("32 bytes are a ChaCha20 key"))
}

/// WireGuard's nonce: four zero bytes and the counter, little end first.
pub(crate) fn counter_nonce(counter: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn seal_with(key: &[u8; 32], nonce: Nonce, aad: &[u8], plain: &[u8], sealed: &mut [u8]) {
    debug_assert_eq!(sealed.len(), plain.len() + TAG_LEN);
    let Some((text, tag_room)) = sealed.split_at_mut_checked(plain.len()) else { return };
    text.copy_from_slice(plain);
    if let Ok(tag) = aead_key(key).seal_in_place_separate_tag(nonce, Aad::from(aad), text) {
        tag_room.copy_from_slice(tag.as_ref());
    }
}

fn open_with(
    key: &[u8; 32],
    nonce: Nonce,
    aad: &[u8],
    sealed: &[u8],
    plain: &mut [u8],
) -> Result<(), BadTag> {
    let (text, tag) = sealed.split_at_checked(plain.len()).ok_or(BadTag)?;
    aead_key(key).open_separate_gather(nonce, Aad::from(aad), text, tag, plain).map_err(|_| BadTag)
}

/// Seals `plain` under a key that is used once, into `sealed` of [`TAG_LEN`] bytes more.
pub(crate) fn seal_once(key: &[u8; 32], aad: &[u8], plain: &[u8], sealed: &mut [u8]) {
    seal_with(key, counter_nonce(0), aad, plain, sealed);
}

/// Opens what [`seal_once`] sealed into `plain` of [`TAG_LEN`] bytes less.
pub(crate) fn open_once(key: &[u8; 32], aad: &[u8], sealed: &[u8], plain: &mut [u8]) -> Result<(), BadTag> {
    open_with(key, counter_nonce(0), aad, sealed, plain)
}

/// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): the subkey and the nonce for ChaCha20-Poly1305.
fn extend(key: &[u8; 32], nonce: &[u8; 24]) -> (Key, Nonce) {
    let (first, last) = nonce.split_at(16);
    let mut rest = [0; NONCE_LEN];
    rest[4..].copy_from_slice(last);
    let mut input = [0; 16];
    input.copy_from_slice(first);
    (hchacha20(key, &input), Nonce::assume_unique_for_key(rest))
}

/// Seals `plain` with XChaCha20-Poly1305 into `sealed` of [`TAG_LEN`] bytes more.
pub(crate) fn xseal(key: &[u8; 32], nonce: &[u8; 24], aad: &[u8], plain: &[u8], sealed: &mut [u8]) {
    let (subkey, rest) = extend(key, nonce);
    seal_with(&subkey, rest, aad, plain, sealed);
}

/// Opens what [`xseal`] sealed into `plain` of [`TAG_LEN`] bytes less.
pub(crate) fn xopen(
    key: &[u8; 32],
    nonce: &[u8; 24],
    aad: &[u8],
    sealed: &[u8],
    plain: &mut [u8],
) -> Result<(), BadTag> {
    let (subkey, rest) = extend(key, nonce);
    open_with(&subkey, rest, aad, sealed, plain)
}

/// HChaCha20 (draft-irtf-cfrg-xchacha-03, section 2.2): a subkey out of a key and 16 bytes of nonce.
fn hchacha20(key: &[u8; 32], input: &[u8; 16]) -> Key {
    let mut state = Zeroizing::new([0_u32; 16]);
    let (words, _) = b"expand 32-byte k".as_chunks::<4>();
    let (key_words, _) = key.as_chunks::<4>();
    let (input_words, _) = input.as_chunks::<4>();
    for (word, bytes) in state.iter_mut().zip(words.iter().chain(key_words).chain(input_words)) {
        *word = u32::from_le_bytes(*bytes);
    }
    for _ in 0..10 {
        for column in 0..4 {
            quarter_round(&mut state, [column, 4 + column, 8 + column, 12 + column]);
        }
        for diagonal in 0..4 {
            let at = |row: usize| 4 * row + (diagonal + row) % 4;
            quarter_round(&mut state, [at(0), at(1), at(2), at(3)]);
        }
    }
    let mut subkey = Zeroizing::new([0; 32]);
    let ends = state.iter().take(4).chain(state.iter().skip(12));
    for (bytes, word) in subkey.chunks_exact_mut(4).zip(ends) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    subkey
}

/// The quarter round of ChaCha (RFC 8439, section 2.1) on four words of the state.
#[expect(clippy::indexing_slicing, reason = "hchacha20 passes numbers below 16 alone")]
fn quarter_round(state: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    for (x, y, z, turn) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
        state[x] = state[x].wrapping_add(state[y]);
        state[z] = (state[z] ^ state[x]).rotate_left(turn);
    }
}

/// Compares in a time that depends on the length alone.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    verify_slices_are_equal(one, other).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let text: String = text.split_whitespace().collect();
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn hchacha20_is_that_of_the_draft() {
        let key: [u8; 32] = std::array::from_fn(|at| at as u8);
        let input: [u8; 16] = hex("000000090000004a0000000031415927").try_into().unwrap();
        assert_eq!(
            hchacha20(&key, &input).as_slice(),
            hex("82413b4227b27bfed30e42508a877d73 a0f9e4d58a74a853c12ec41326d3ecdc")
        );
    }

    #[test]
    fn xchacha20_poly1305_is_that_of_the_draft() {
        // draft-irtf-cfrg-xchacha-03, appendix A.3.1.
        let key: [u8; 32] = std::array::from_fn(|at| 0x80 + at as u8);
        let nonce: [u8; 24] = std::array::from_fn(|at| 0x40 + at as u8);
        let aad = hex("50515253c0c1c2c3c4c5c6c7");
        let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the \
future, sunscreen would be it.";
        let mut sealed = vec![0; plain.len() + TAG_LEN];
        xseal(&key, &nonce, &aad, plain, &mut sealed);
        assert_eq!(sealed[..16], hex("bd6d179d3e83d43b9576579493c0e939"));
        assert_eq!(sealed[plain.len()..], hex("c0875924c1c7987947deafd8780acf49"));
        let mut opened = vec![0; plain.len()];
        assert_eq!(xopen(&key, &nonce, &aad, &sealed, &mut opened), Ok(()));
        assert_eq!(opened, plain);
        sealed[3] ^= 1;
        assert_eq!(xopen(&key, &nonce, &aad, &sealed, &mut opened), Err(BadTag));
    }

    #[test]
    fn keyed_blake2s_takes_both_lengths_of_key() {
        assert_ne!(mac(&[1; 32], &[b"ab"]), mac(&[1; 16], &[b"ab"]));
        assert_eq!(mac(&[1; 32], &[b"a", b"b"]), mac(&[1; 32], &[b"ab"]));
    }

    #[test]
    fn comparison_sees_every_byte_and_the_length() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd"));
        assert!(!same(b"abc", b"ab"));
    }
}
