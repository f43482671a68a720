//! Memberships: in entries of the log, and in the manifest of a checkpoint together with the entry they came from.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;

use super::CodecError;
use crate::types::{LogId, Membership, PeerNode, StoredMembership, log_id, position};

/// Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MembershipRecord {
    /// The entry that brought it; not set inside that entry.
    #[prost(message, optional, tag = "1")]
    log_id: Option<LogIdRecord>,
    /// One set of voters; two during a change.
    #[prost(message, repeated, tag = "2")]
    voters: Vec<VotersRecord>,
    /// All members, voters and learners, in rising order.
    #[prost(message, repeated, tag = "3")]
    members: Vec<MemberRecord>,
}

/// Stored.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct LogIdRecord {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    index: u64,
}

/// Stored.
#[derive(Clone, PartialEq, prost::Message)]
struct VotersRecord {
    #[prost(uint64, repeated, tag = "1")]
    replicas: Vec<u64>,
}

/// Stored.
#[derive(Clone, PartialEq, prost::Message)]
struct MemberRecord {
    #[prost(uint64, tag = "1")]
    replica: u64,
    #[prost(uint64, tag = "2")]
    node: u64,
    #[prost(string, tag = "3")]
    address: String,
}

pub(super) fn record_of(id: Option<&LogId>, members: &Membership) -> MembershipRecord {
    let voters = |set: &BTreeSet<u64>| VotersRecord { replicas: set.iter().copied().collect() };
    let member = |(replica, peer): (&u64, &PeerNode)| MemberRecord {
        replica: *replica,
        node: peer.node,
        address: peer.address.clone(),
    };
    MembershipRecord {
        log_id: id.map(|id| {
            let (term, index) = position(id);
            LogIdRecord { term, index }
        }),
        voters: members.get_joint_config().iter().map(voters).collect(),
        members: members.nodes().map(member).collect(),
    }
}

pub(super) fn members_of(bytes: Bytes) -> Result<(Option<LogId>, Membership), CodecError> {
    let fail = |why: String| CodecError::new("membership", why);
    let record = MembershipRecord::decode(bytes).map_err(|error| fail(error.to_string()))?;
    let id = record.log_id.map(|id| log_id(id.term, id.index));
    if record.voters.is_empty() && record.members.is_empty() {
        return Ok((id, Membership::default()));
    }
    let voters = record.voters.into_iter().map(|set| set.replicas.into_iter().collect()).collect();
    let nodes =
        record.members.into_iter().map(|m| (m.replica, PeerNode { node: m.node, address: m.address }));
    let nodes: std::collections::BTreeMap<_, _> = nodes.collect();
    let members = Membership::new(voters, nodes).map_err(|error| fail(error.to_string()))?;
    Ok((id, members))
}

/// The membership of a manifest.
pub(crate) fn encode_membership(stored: &StoredMembership) -> Bytes {
    record_of(stored.log_id().as_ref(), stored.membership()).encode_to_vec().into()
}

/// Reverse of [`encode_membership`].
pub(crate) fn decode_membership(bytes: Bytes) -> Result<StoredMembership, CodecError> {
    let (id, members) = members_of(bytes)?;
    Ok(StoredMembership::new(id, members))
}
