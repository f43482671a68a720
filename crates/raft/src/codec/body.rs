//! Bodies of log entries: one byte that says what it is, and the payload.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use openraft::EntryPayload;
use phalanx_state_machine::command::Batch;
use prost::Message as _;

use super::{CodecError, membership};
use crate::types::{Entry, PeerNode, log_id};

/// Largest body of one entry, bytes: a batch of 20 MiB and its frame.
pub const ENTRY_BYTES_MAX: usize = 24 * 1024 * 1024;

/// An entry that only marks a leader's term.
const KIND_BLANK: u8 = 1;
/// A batch of commands.
const KIND_BATCH: u8 = 2;
/// A change of members.
const KIND_MEMBERSHIP: u8 = 3;

/// The body of an entry that carries a batch, as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(Bytes);

impl Body {
    /// Encodes a batch.
    #[must_use]
    pub fn encode(batch: &Batch) -> Self {
        let mut bytes = BytesMut::with_capacity(1 + batch.encoded_len());
        bytes.put_u8(KIND_BATCH);
        batch.encode(&mut bytes).expect("the buffer has room for the encoded length");
        Self(bytes.freeze())
    }

    /// Decodes the batch. Payloads inside share this body's memory.
    ///
    /// # Errors
    /// When the bytes are no batch.
    pub fn decode(&self) -> Result<Batch, CodecError> {
        Batch::decode(self.0.slice(1..)).map_err(|error| CodecError::new("batch", error))
    }

    /// Stored size, bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // never empty: there is always the kind
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.len())
    }
}

/// The stored body of an entry.
pub(crate) fn encode_payload(payload: &EntryPayload<Body, u64, PeerNode>) -> Bytes {
    match payload {
        EntryPayload::Blank => Bytes::from_static(&[KIND_BLANK]),
        EntryPayload::Normal(body) => body.0.clone(),
        EntryPayload::Membership(members) => {
            let record = membership::record_of(None, members);
            let mut bytes = BytesMut::with_capacity(1 + record.encoded_len());
            bytes.put_u8(KIND_MEMBERSHIP);
            record.encode(&mut bytes).expect("the buffer has room for the encoded length");
            bytes.freeze()
        }
    }
}

/// The entry that a stored body belongs to.
pub(crate) fn decode_entry(term: u64, index: u64, body: Bytes) -> Result<Entry, CodecError> {
    let payload = match body.first() {
        Some(&KIND_BLANK) if body.len() == 1 => EntryPayload::Blank,
        Some(&KIND_BATCH) => EntryPayload::Normal(Body(body)),
        Some(&KIND_MEMBERSHIP) => {
            let (_, members) = membership::members_of(body.slice(1..))?;
            EntryPayload::Membership(members)
        }
        Some(kind) => {
            let why = format!("entry {index} has kind {kind} and {} bytes", body.len());
            return Err(CodecError::new("entry", why));
        }
        None => return Err(CodecError::new("entry", format!("entry {index} is empty"))),
    };
    Ok(Entry { log_id: log_id(term, index), payload })
}
