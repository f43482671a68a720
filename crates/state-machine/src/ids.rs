//! The names of things: sizes, ranges, and who hands them out.

use std::fmt;

/// A 128-bit identity chosen by a client: a producer, a consumer, a request, a deduplication hash.
///
/// Clients draw them at random (UUID v4 or alike). The all-zero value is not a valid identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message)]
pub struct Id128 {
    /// The upper 64 bits.
    #[prost(fixed64, tag = "1")]
    pub hi: u64,
    /// The lower 64 bits.
    #[prost(fixed64, tag = "2")]
    pub lo: u64,
}

impl Id128 {
    /// The identity whose big-endian bytes are `bytes`.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let value = u128::from_be_bytes(bytes);
        Self { hi: (value >> 64) as u64, lo: value as u64 }
    }

    /// The big-endian bytes of this identity.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.hi) << 64) | u128::from(self.lo)).to_be_bytes()
    }
}

impl fmt::Display for Id128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.hi, self.lo)
    }
}

/// Identity of one queue's life, given by the catalog, never reused: a namesake created later has another.
pub type QueueUid = u64;

/// Place of a message in its queue: from 1, strictly rising, never reused.
pub type Sequence = u64;

/// Fencing token of one delivery: strictly rising per queue, never reused, not even by a namesake: see
/// [`first_token`](crate::limits::first_token).
pub type Token = u64;

/// Machine time, milliseconds since the Unix epoch. Never goes back.
pub type TimestampMs = u64;

/// A Raft group: 0 is the catalog, 1.. are shards.
pub type GroupId = u64;

/// One replica of one group, never reused; openraft's node id.
pub type ReplicaId = u64;

/// A machine of the cluster, as named in the configuration: 1..=65535.
pub type NodeId = u64;
