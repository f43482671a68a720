//! The checkpoint's rows: key layout and stored structs.
//!
//! A key is a table byte and a place, big-endian, so that rows sort as bytes:
//!
//! ```text
//! 00                                  the machine row
//! 01 uid                              a queue that was dropped here (tombstone)
//! 10 uid table place…                 a queue's rows, see `Table`; its queue row first
//! 40 …                                the catalog's rows
//! ```
//!
//! Values are protobuf (prost): fields are only ever added. Invariant: a row is never trusted for a size; what it
//! says is checked when it is loaded.

use bytes::Bytes;

use crate::ids::{QueueUid, TimestampMs};

/// First key byte of the machine row.
pub const MACHINE: u8 = 0x00;
/// First key byte of tombstones.
pub const TOMBSTONE: u8 = 0x01;
/// First key byte of a queue's rows.
pub const QUEUE: u8 = 0x10;
/// First key byte of the catalog's rows.
pub const CATALOG: u8 = 0x40;
/// Newest format of the rows as a whole; a machine row with a higher one is refused.
pub const FORMAT: u32 = 1;

/// The machine row. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MachineRow {
    /// [`FORMAT`].
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// The Raft group; 0 = the catalog.
    #[prost(uint64, tag = "2")]
    pub group: u64,
    /// Machine time.
    #[prost(uint64, tag = "3")]
    pub now_ms: TimestampMs,
    /// Highest leader term seen by `TermStart`.
    #[prost(uint64, tag = "4")]
    pub term: u64,
    /// Log index of the last entry applied.
    #[prost(uint64, tag = "5")]
    pub applied_index: u64,
}

/// Key of the machine row.
#[must_use]
pub fn machine_key() -> Bytes {
    Bytes::from_static(&[MACHINE])
}

/// Key of a dropped queue's tombstone.
#[must_use]
pub fn tombstone_key(uid: QueueUid) -> Bytes {
    let mut key = Vec::with_capacity(9);
    key.push(TOMBSTONE);
    key.extend_from_slice(&uid.to_be_bytes());
    Bytes::from(key)
}
