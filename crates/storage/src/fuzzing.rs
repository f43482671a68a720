//! What the decoders of stored bytes must do with any bytes at all, one function each: the property tests and the fuzz targets call these.
//!
//! Each answers whether the bytes were accepted, and panics when a decoder breaks its promise: never a panic of its own, and what it
//! accepted comes back from its encoding as it is. Not for products.

use bytes::Bytes;

use crate::checkpoint::fuzzing as checkpoint;
use crate::wal::fuzzing as wal;

pub use checkpoint::{checkpoint_key, checkpoint_manifest, checkpoint_row, write_checkpoint_row};
pub use wal::{wal_batch, wal_head, wal_inventory};

/// Accepted values come back from their encoding. A value may be normalised once (a text that is too long is cut).
pub(crate) fn comes_back<T: PartialEq + std::fmt::Debug>(
    value: &T,
    encode: impl Fn(&T) -> Bytes,
    decode: impl Fn(&Bytes) -> Option<T>,
) {
    let once = decode(&encode(value)).expect("what was encoded decodes");
    let twice = decode(&encode(&once)).expect("what was encoded decodes");
    assert_eq!(once, twice, "a value changes each time that it is stored");
}
