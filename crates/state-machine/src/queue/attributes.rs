//! What filters see of a message.
//!
//! A payload is an encoded `phalanx.v1.Message`. Only topics with filters look into it, and only at its headers and its routing key: the
//! fields below have the numbers that they have there.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;

use crate::reply::Rejection;

/// The part of a message that filters see.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Attributes {
    #[prost(bytes = "bytes", tag = "1")]
    body: Bytes,
    #[prost(btree_map = "string, bytes", tag = "2")]
    headers: BTreeMap<String, Bytes>,
    #[prost(string, tag = "9")]
    routing_key: String,
}

impl Attributes {
    pub(super) fn of(payload: &Bytes) -> Result<Self, Rejection> {
        let unreadable = |why| Rejection::Invalid(format!("a message that does not decode: {why}"));
        Self::decode(payload.clone()).map_err(unreadable)
    }

    /// It has no body.
    pub(super) fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    pub(super) fn shown(&self) -> phalanx_filter::Attributes<'_> {
        phalanx_filter::Attributes::new(&self.routing_key, &self.headers)
    }
}
