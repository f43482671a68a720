//! Votes, and whose they are.

use bytes::Bytes;
use prost::Message as _;

use super::CodecError;
use crate::types::{Vote, vote};

/// Stored.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct VoteRecord {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    voted_for: u64,
    #[prost(bool, tag = "3")]
    committed: bool,
    /// The replica that cast it: the log of one replica is never taken for another's.
    #[prost(uint64, tag = "4")]
    replica: u64,
}

/// The vote that `replica` cast.
pub(crate) fn encode_vote(cast: &Vote, replica: u64) -> Bytes {
    let record = VoteRecord {
        term: cast.leader_id.term,
        voted_for: cast.leader_id.voted_for,
        committed: cast.committed,
        replica,
    };
    record.encode_to_vec().into()
}

/// Reverse of [`encode_vote`].
pub(crate) fn decode_vote(bytes: &[u8]) -> Result<Vote, CodecError> {
    let record = decode(bytes)?;
    Ok(vote(record.term, record.voted_for, record.committed))
}

/// The replica that cast a stored vote.
pub(crate) fn replica_of_vote(bytes: &[u8]) -> Result<u64, CodecError> {
    decode(bytes).map(|record| record.replica)
}

fn decode(bytes: &[u8]) -> Result<VoteRecord, CodecError> {
    VoteRecord::decode(bytes).map_err(|error| CodecError::new("vote", error))
}
