//! What the decoders of log entries, votes, memberships, wire messages and snapshots must do with any bytes at all, one function each: the
//! property tests and the fuzz targets call these.
//!
//! Each answers whether the bytes were accepted, and panics when a decoder breaks its promise: never a panic of its own, and what it
//! accepted comes back from its encoding as it is. Not for products.

use bytes::Bytes;
use openraft::EntryPayload;
use phalanx_proto::raft::v1;
use phalanx_proto::raft::v1::snapshot_part::Part;
use phalanx_state_machine::ids::Id128;
use prost::Message;

use crate::codec;
use crate::snapshot;
use crate::transport::wire::{self, Route};

/// The term and index under which entries are read.
const PLACE: (u64, u64) = (5, 6);

/// The body of an entry of the log.
pub fn entry(data: &[u8]) -> bool {
    let (term, index) = PLACE;
    let Ok(entry) = codec::decode_entry(term, index, Bytes::copy_from_slice(data)) else { return false };
    let again = codec::decode_entry(term, index, codec::encode_payload(&entry.payload));
    assert_eq!(again.as_ref().map(|again| &again.payload), Ok(&entry.payload));
    match entry.payload {
        EntryPayload::Normal(body) => body.decode().is_ok(),
        EntryPayload::Blank | EntryPayload::Membership(_) => true,
    }
}

/// A stored vote.
pub fn vote(data: &[u8]) -> bool {
    let (Ok(vote), Ok(replica)) = (codec::decode_vote(data), codec::replica_of_vote(data)) else {
        return false;
    };
    let stored = codec::encode_vote(&vote, replica);
    assert_eq!(codec::decode_vote(&stored).as_ref(), Ok(&vote));
    assert_eq!(codec::replica_of_vote(&stored), Ok(replica));
    true
}

/// The membership in a manifest.
pub fn membership(data: &[u8]) -> bool {
    let Ok(members) = codec::decode_membership(Bytes::copy_from_slice(data)) else { return false };
    assert_eq!(codec::decode_membership(codec::encode_membership(&members)).as_ref(), Ok(&members));
    true
}

/// A message between replicas, whichever it is.
pub fn wire_message(data: &[u8]) -> bool {
    let readers: [fn(&[u8]) -> bool; 6] =
        [append, append_response, vote_request, vote_response, transfer, heartbeat];
    readers.into_iter().filter(|read| read(data)).count() > 0
}

fn decode<T: Message + Default>(data: &[u8]) -> Option<T> {
    T::decode(data).ok()
}

fn append(data: &[u8]) -> bool {
    let Some(request) = decode::<v1::AppendRequest>(data) else { return false };
    let route = Route::decode(request.peer.as_ref());
    if let Ok(route) = route {
        assert_eq!(Route::decode(Some(&route.encode())), Ok(route));
    }
    let Some(Ok(append)) = request.append.map(wire::decode_append) else { return route.is_ok() };
    let once = wire::encode_append(&append);
    let again = wire::decode_append(once.clone()).expect("what was encoded decodes");
    assert_eq!(wire::encode_append(&again), once);
    true
}

fn append_response(data: &[u8]) -> bool {
    let decoded =
        decode::<v1::AppendResponse>(data).and_then(|answer| wire::decode_append_result(answer).ok());
    let Some(result) = decoded else { return false };
    let once = wire::encode_append_result(&result);
    let again = wire::decode_append_result(once).expect("what was encoded decodes");
    assert_eq!(wire::encode_append_result(&again), once);
    true
}

fn vote_request(data: &[u8]) -> bool {
    let Some(message) = decode::<v1::VoteRequest>(data) else { return false };
    let Ok(request) = wire::decode_vote_request(&message) else { return false };
    let once = wire::encode_vote_request(route(), &request, message.pre_vote);
    let again = wire::decode_vote_request(&once).expect("what was encoded decodes");
    assert_eq!(wire::encode_vote_request(route(), &again, message.pre_vote), once);
    true
}

fn vote_response(data: &[u8]) -> bool {
    let decoded = decode::<v1::VoteResponse>(data).and_then(|answer| wire::decode_vote_response(answer).ok());
    let Some(response) = decoded else { return false };
    let once = wire::encode_vote_response(&response);
    let again = wire::decode_vote_response(once).expect("what was encoded decodes");
    assert_eq!(wire::encode_vote_response(&again), once);
    true
}

fn transfer(data: &[u8]) -> bool {
    let Some(message) = decode::<v1::TransferLeaderRequest>(data) else { return false };
    let Ok(request) = wire::decode_transfer(&message) else { return false };
    let once = wire::encode_transfer(route(), &request);
    let again = wire::decode_transfer(&once).expect("what was encoded decodes");
    assert_eq!(wire::encode_transfer(route(), &again), once);
    true
}

fn heartbeat(data: &[u8]) -> bool {
    decode::<v1::HeartbeatRequest>(data).is_some_and(|message| !message.encode_to_vec().is_empty())
}

fn route() -> Route {
    Route { cluster: Id128 { hi: 1, lo: 2 }, group: 3, from: 4, to: 5 }
}

/// A part of a snapshot; rows once more with the right checksum.
pub fn snapshot_part(data: &[u8]) -> bool {
    let Some(message) = decode::<v1::SnapshotPart>(data) else { return false };
    match message.part {
        Some(Part::Header(header)) => {
            let Ok(fields) = snapshot::fields_of(header) else { return false };
            let again = snapshot::fields_of(snapshot::header_of(&fields)).expect("what was encoded decodes");
            assert_eq!(again, fields);
            true
        }
        Some(Part::Rows(part)) => {
            let rows: Vec<_> = part.rows.iter().map(|row| (row.key.clone(), row.value.clone())).collect();
            let sealed = snapshot::decode_rows(snapshot::encode_rows(rows.clone()));
            assert_eq!(sealed, Ok(rows));
            snapshot::decode_rows(part).is_ok()
        }
        Some(Part::Trailer(_)) => true,
        None => false,
    }
}

/// A part of a snapshot that carries these rows, encoded.
#[must_use]
pub fn write_snapshot_rows(rows: Vec<(Bytes, Bytes)>) -> Vec<u8> {
    v1::SnapshotPart { part: Some(Part::Rows(snapshot::encode_rows(rows))) }.encode_to_vec()
}
