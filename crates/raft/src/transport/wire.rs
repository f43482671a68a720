//! From openraft's requests and answers to messages of `raft.proto`, and back.
//!
//! Invariant: nothing that arrives is trusted; what does not make sense is an error, never a panic.

use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest, VoteRequest,
    VoteResponse,
};
use phalanx_proto::raft::v1;
use phalanx_state_machine::ids::Id128;

use crate::codec::{CodecError, decode_entry, encode_payload};
use crate::types::{Entry, LogId, Types, Vote, log_id, position, vote};

/// A message that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("field {0} is missing")]
    Missing(&'static str),
    #[error("entries are not in order")]
    Order,
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl From<WireError> for tonic::Status {
    fn from(error: WireError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

/// Who speaks to whom, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub cluster: Id128,
    pub group: u64,
    pub from: u64,
    pub to: u64,
}

impl Route {
    pub(crate) fn encode(self) -> v1::Peer {
        v1::Peer {
            cluster_id: self.cluster.to_bytes().to_vec().into(),
            group: self.group,
            from_replica: self.from,
            to_replica: self.to,
        }
    }

    pub(crate) fn decode(peer: Option<&v1::Peer>) -> Result<Self, WireError> {
        let peer = peer.ok_or(WireError::Missing("peer"))?;
        let cluster = cluster(&peer.cluster_id)?;
        Ok(Self { cluster, group: peer.group, from: peer.from_replica, to: peer.to_replica })
    }
}

pub(crate) fn cluster(bytes: &[u8]) -> Result<Id128, WireError> {
    let bytes = <[u8; 16]>::try_from(bytes).map_err(|_| WireError::Missing("cluster_id"))?;
    Ok(Id128::from_bytes(bytes))
}

pub(crate) fn encode_id(id: &LogId) -> v1::LogId {
    let (term, index) = position(id);
    v1::LogId { term, index }
}

pub(crate) fn decode_id(id: v1::LogId) -> LogId {
    log_id(id.term, id.index)
}

pub(crate) fn encode_vote(cast: &Vote) -> v1::Ballot {
    v1::Ballot { term: cast.leader_id.term, replica: cast.leader_id.voted_for, committed: cast.committed }
}

pub(crate) fn decode_vote(ballot: Option<v1::Ballot>) -> Result<Vote, WireError> {
    let ballot = ballot.ok_or(WireError::Missing("ballot"))?;
    Ok(vote(ballot.term, ballot.replica, ballot.committed))
}

fn encode_entry(entry: &Entry) -> v1::Entry {
    let (term, index) = position(&entry.log_id);
    v1::Entry { term, index, body: encode_payload(&entry.payload) }
}

pub(crate) fn encode_append(request: &AppendEntriesRequest<Types>) -> v1::Append {
    v1::Append {
        ballot: Some(encode_vote(&request.vote)),
        previous: request.prev_log_id.as_ref().map(encode_id),
        committed: request.leader_commit.as_ref().map(encode_id),
        entries: request.entries.iter().map(encode_entry).collect(),
    }
}

pub(crate) fn decode_append(append: v1::Append) -> Result<AppendEntriesRequest<Types>, WireError> {
    let previous = append.previous.map(decode_id);
    let first = previous.map_or(Some(0), |id| id.index.checked_add(1)).ok_or(WireError::Order)?;
    let mut entries = Vec::with_capacity(append.entries.len());
    for (expected, entry) in (first..=u64::MAX).zip(append.entries) {
        if entry.index != expected {
            return Err(WireError::Order);
        }
        entries.push(decode_entry(entry.term, entry.index, entry.body)?);
    }
    Ok(AppendEntriesRequest {
        vote: decode_vote(append.ballot)?,
        prev_log_id: previous,
        leader_commit: append.committed.map(decode_id),
        entries,
    })
}

pub(crate) fn encode_append_result(result: &StreamAppendResult<Types>) -> v1::AppendResponse {
    use v1::append_response::Result as Answer;
    let answer = match result {
        Ok(matched) => Answer::Matched(v1::Matched { log_id: matched.as_ref().map(encode_id) }),
        Err(StreamAppendError::Conflict(id)) => Answer::Conflict(encode_id(id)),
        Err(StreamAppendError::HigherVote(higher)) => Answer::Higher(encode_vote(higher)),
    };
    v1::AppendResponse { result: Some(answer) }
}

pub(crate) fn decode_append_result(
    response: v1::AppendResponse,
) -> Result<StreamAppendResult<Types>, WireError> {
    use v1::append_response::Result as Answer;
    Ok(match response.result.ok_or(WireError::Missing("result"))? {
        Answer::Matched(matched) => Ok(matched.log_id.map(decode_id)),
        Answer::Conflict(id) => Err(StreamAppendError::Conflict(decode_id(id))),
        Answer::Higher(ballot) => Err(StreamAppendError::HigherVote(decode_vote(Some(ballot))?)),
    })
}

pub(crate) fn encode_vote_request(
    route: Route,
    request: &VoteRequest<Types>,
    pre_vote: bool,
) -> v1::VoteRequest {
    v1::VoteRequest {
        peer: Some(route.encode()),
        ballot: Some(encode_vote(&request.vote)),
        last: request.last_log_id.as_ref().map(encode_id),
        pre_vote,
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn decode_vote_request(request: &v1::VoteRequest) -> Result<VoteRequest<Types>, WireError> {
    let mut decoded = VoteRequest::new(decode_vote(request.ballot)?, request.last.map(decode_id));
    decoded.leadership_transfer = request.leadership_transfer;
    Ok(decoded)
}

pub(crate) fn encode_vote_response(response: &VoteResponse<Types>) -> v1::VoteResponse {
    v1::VoteResponse {
        ballot: Some(encode_vote(&response.vote)),
        last: response.last_log_id.as_ref().map(encode_id),
        granted: response.vote_granted,
    }
}

pub(crate) fn decode_vote_response(response: v1::VoteResponse) -> Result<VoteResponse<Types>, WireError> {
    let cast = decode_vote(response.ballot)?;
    Ok(VoteResponse::new(cast, response.last.map(decode_id), response.granted))
}

pub(crate) fn encode_transfer(
    route: Route,
    request: &TransferLeaderRequest<Types>,
) -> v1::TransferLeaderRequest {
    v1::TransferLeaderRequest {
        peer: Some(route.encode()),
        from_leader: Some(encode_vote(request.from_leader())),
        to_replica: *request.to_node_id(),
        last: request.last_log_id().map(encode_id),
    }
}

pub(crate) fn decode_transfer(
    request: &v1::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<Types>, WireError> {
    let from = decode_vote(request.from_leader)?;
    Ok(TransferLeaderRequest::new(from, request.to_replica, request.last.map(decode_id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(previous: Option<u64>, indexes: &[u64]) -> v1::Append {
        let entry = |index: &u64| v1::Entry { term: 1, index: *index, body: vec![1].into() };
        v1::Append {
            ballot: Some(v1::Ballot { term: 1, replica: 1, committed: true }),
            previous: previous.map(|index| v1::LogId { term: 1, index }),
            committed: None,
            entries: indexes.iter().map(entry).collect(),
        }
    }

    #[test]
    fn an_append_comes_back() {
        for (previous, indexes) in [(None, &[0, 1][..]), (Some(4), &[5, 6]), (Some(4), &[])] {
            let message = append(previous, indexes);
            let decoded = decode_append(message.clone()).unwrap();
            assert_eq!(encode_append(&decoded), message);
        }
    }

    #[test]
    fn entries_with_a_gap_are_refused() {
        for (previous, indexes) in
            [(None, &[1][..]), (Some(4), &[5, 7]), (Some(4), &[4]), (Some(u64::MAX), &[0])]
        {
            assert_eq!(decode_append(append(previous, indexes)).err(), Some(WireError::Order));
        }
    }

    #[test]
    fn a_message_without_its_ballot_or_route_is_refused() {
        let mut message = append(None, &[]);
        message.ballot = None;
        assert_eq!(decode_append(message).err(), Some(WireError::Missing("ballot")));
        assert!(Route::decode(None).is_err());
        let short = v1::Peer { cluster_id: vec![1, 2].into(), ..v1::Peer::default() };
        assert_eq!(Route::decode(Some(&short)), Err(WireError::Missing("cluster_id")));
    }
}
