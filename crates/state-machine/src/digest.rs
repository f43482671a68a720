//! Hashes for the digest of the logical state.
//!
//! The digest is a wrapping sum of one hash an item, so that it can be kept incrementally and does not depend on order:
//! adding an item adds its hash, removing it subtracts the same. It detects accidents (a lost row, a diverged
//! replica), not attackers. The functions are part of the format: manifests hold their results.

const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0xd6e8_feb8_6659_fd93;
const K2: u64 = 0xa076_1d64_78bd_642f;

/// Folds a 64 × 64 bit product: every input bit reaches every output bit.
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Mixes two words.
#[inline]
#[must_use]
pub const fn mix(a: u64, b: u64) -> u64 {
    fold(a ^ K0, b ^ K1)
}

/// Hash of an item that is a few words; `kind` separates items that have the same words.
#[inline]
#[must_use]
pub fn words(kind: u64, words: &[u64]) -> u64 {
    let mut hash = fold(kind ^ K2, words.len() as u64 ^ K1);
    for &word in words {
        hash = mix(hash, word);
    }
    fold(hash ^ K2, K0)
}

/// Hash of bytes.
#[inline]
#[must_use]
pub fn bytes(bytes: &[u8]) -> u64 {
    let mut hash = fold(bytes.len() as u64 ^ K2, K1);
    let mut pairs = bytes.chunks_exact(16);
    for pair in &mut pairs {
        let (a, b) = pair.split_at(8);
        hash = fold(read(a) ^ hash, read(b) ^ K1).wrapping_add(hash);
    }
    let rest = pairs.remainder();
    if rest.len() > 8 {
        let (a, b) = rest.split_at(8);
        hash = fold(read(a) ^ hash, read(b) ^ K1).wrapping_add(hash);
    } else if !rest.is_empty() {
        hash = fold(read(rest) ^ hash, K0).wrapping_add(hash);
    }
    fold(hash ^ K2, K0)
}

/// Up to eight bytes, little-endian.
#[inline]
fn read(bytes: &[u8]) -> u64 {
    if let Ok(eight) = <[u8; 8]>::try_from(bytes) {
        return u64::from_le_bytes(eight);
    }
    let mut eight = [0; 8];
    eight[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_bit_flip_changes_the_hash() {
        for length in 0..70_usize {
            let mut data: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
            let before = bytes(&data);
            for bit in 0..length * 8 {
                data[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(bytes(&data), before, "length {length} bit {bit}");
                data[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn trailing_zero_bytes_and_word_order_count() {
        assert_ne!(bytes(&[]), bytes(&[0]));
        assert_ne!(bytes(&[1]), bytes(&[1, 0]));
        assert_ne!(words(1, &[2, 3]), words(1, &[3, 2]));
        assert_ne!(words(1, &[2]), words(2, &[2]));
        assert_ne!(words(1, &[]), words(1, &[0]));
    }

    #[test]
    fn stored_digests_stay_comparable() {
        // Part of the format: a change here makes every existing checkpoint look damaged. The figures were computed
        // by a second implementation, in Python.
        assert_eq!(bytes(b"phalanx"), 4029793578133902732);
        assert_eq!(words(7, &[1, 2, 3]), 15835005132091961331);
    }
}
