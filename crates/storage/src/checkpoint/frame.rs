//! How a stored value is framed: version, crc over key and value, number of pieces, payload.
//!
//! ```text
//! version:u8  crc32c:u32le (of key, then all that follows)  pieces:u16le  payload
//! ```
//! A row longer than [`PIECE_BYTES_MAX`] is cut into pieces under keys of their own; the first piece says how many there are.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::Error;
use crate::format::Fields;

/// Format written; others are refused.
const VERSION: u8 = 1;
/// Longest payload of one piece, bytes: a page of messages with its head fits into one. sled keeps up to 16 items in a leaf before it
/// splits it, and adds those of a leaf with fewer than 4; a leaf of a quarter segment would become a blob file (see the sled engine).
pub(super) const PIECE_BYTES_MAX: usize = 36 * 1024;
/// Bytes before the payload.
const HEAD_BYTES: usize = 1 + 4 + 2;

fn crc(key: &[u8], pieces: u16, payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(key);
    let crc = crc32c::crc32c_append(crc, &pieces.to_le_bytes());
    crc32c::crc32c_append(crc, payload)
}

/// Frames one piece of a row that has `pieces` of them.
pub(super) fn encode(key: &[u8], pieces: u16, payload: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(HEAD_BYTES + payload.len());
    framed.put_u8(VERSION);
    framed.put_u32_le(crc(key, pieces, payload));
    framed.put_u16_le(pieces);
    framed.put_slice(payload);
    framed.freeze()
}

/// Number of pieces and payload of a framed value.
pub(super) fn decode(key: &[u8], framed: &Bytes) -> Result<(u16, Bytes), Error> {
    let wrong =
        |why: &str| Error::Corrupt { what: format!("checkpoint row {}", hex(key)), why: why.to_owned() };
    let mut fields = Fields::new(framed);
    let head = (|| Some((fields.u8()?, fields.u32()?, fields.u16()?)))();
    let (version, stored, pieces) = head.ok_or_else(|| wrong("it is shorter than its head"))?;
    if version != VERSION {
        return Err(wrong(&format!("it has format version {version}, this program reads {VERSION}")));
    }
    let payload = framed.slice(HEAD_BYTES..);
    if crc(key, pieces, &payload) != stored {
        return Err(wrong("its checksum does not match"));
    }
    Ok((pieces, payload))
}

/// What a stored pair adds to the digest of its generation. For pairs that were just encoded or decoded: it trusts the crc.
pub(super) fn fingerprint(framed: &[u8]) -> u64 {
    let mut crc = [0; 4];
    crc.copy_from_slice(&framed[1..5]);
    // Spreads the crc over 64 bits (splitmix64), so that sums of many do not cancel out.
    let mut mixed =
        (u64::from(u32::from_le_bytes(crc)) << 32 | framed.len() as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// How many pieces a row of `bytes` has.
pub(super) fn pieces(bytes: usize) -> Option<u16> {
    u16::try_from(bytes.div_ceil(PIECE_BYTES_MAX).max(1)).ok()
}

/// A key for people, shortened.
pub(super) fn hex(key: &[u8]) -> String {
    /// Longer keys are cut in messages.
    const SHOWN: usize = 48;
    let mut text: String = key.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    if key.len() > SHOWN {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_belongs_to_its_key() {
        let framed = encode(b"key", 3, b"payload");
        assert_eq!(decode(b"key", &framed).unwrap(), (3, Bytes::from_static(b"payload")));
        assert!(matches!(decode(b"kez", &framed), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_detected() {
        let framed = encode(b"key", 1, b"payload");
        for bit in 0..framed.len() * 8 {
            let mut flipped = framed.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(b"key", &Bytes::from(flipped)).is_err(), "bit {bit}");
        }
        for cut in 0..framed.len() {
            assert!(decode(b"key", &framed.slice(..cut)).is_err(), "cut {cut}");
        }
    }
}
