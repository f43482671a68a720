//! Stored bytes of this crate: entry bodies, votes, memberships.
//!
//! openraft's own types are no stable format, so everything that reaches a disk is encoded here. Fields are only ever added, a
//! number is never reused, and golden files in `tests/golden/` hold one of each.
//! Invariant: a body is the same bytes in the log, on the wire and in memory; none is copied on the way.

mod body;
#[cfg(test)]
mod golden;
mod membership;
mod vote;

pub use body::{Body, ENTRY_BYTES_MAX};
pub(crate) use body::{decode_entry, encode_payload};
pub(crate) use membership::{decode_membership, encode_membership};
pub(crate) use vote::{decode_vote, encode_vote, replica_of_vote};

/// Stored bytes that do not parse: damaged in a way that no checksum saw, or written by a newer version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored {what} does not parse: {why}")]
pub struct CodecError {
    /// What it should have been.
    pub what: &'static str,
    /// Why it is not.
    pub why: String,
}

impl CodecError {
    fn new(what: &'static str, why: impl ToString) -> Self {
        Self { what, why: why.to_string() }
    }
}

impl From<CodecError> for std::io::Error {
    fn from(error: CodecError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}
