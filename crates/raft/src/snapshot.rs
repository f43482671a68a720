//! Snapshots: a durable checkpoint, read row by row by another replica.
//!
//! Nothing is built for a snapshot. The handle that openraft passes around either points at this replica's own checkpoint, or holds a
//! new generation that was received, checked (count, crc of each part, digest of the machine it makes) and not yet taken into use.
//! Invariant: a generation is taken into use only after it made a machine whose digest is the sender's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use phalanx_proto::channel::Channel;
use phalanx_proto::raft::v1;
use phalanx_proto::raft::v1::raft_client::RaftClient;
use phalanx_proto::raft::v1::snapshot_part::Part;
use phalanx_state_machine::machine::Machine;
use phalanx_storage::checkpoint::{Install, ManifestFields};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::checkpoint::{CheckpointStore, RowStream};
use crate::codec::decode_membership;
use crate::transport::wire::{self, Route};
use crate::types::{Snapshot, SnapshotMeta, Vote, log_id};

/// Parts on their way without an acknowledgement.
const PARTS_AHEAD: usize = 2;

/// What openraft calls the data of a snapshot.
pub struct SnapshotHandle {
    pub(crate) source: Source,
}

pub(crate) enum Source {
    /// This replica's own checkpoint.
    Own(Arc<CheckpointStore>),
    /// Received and checked.
    Received(Box<Received>),
}

/// A new generation that is complete, and the machine that it makes.
pub(crate) struct Received {
    pub install: Install,
    pub fields: ManifestFields,
    pub row_count: u64,
    pub machine: Machine,
}

/// What openraft knows of a checkpoint.
pub(crate) fn meta_of(fields: &ManifestFields) -> Result<SnapshotMeta, crate::codec::CodecError> {
    Ok(SnapshotMeta {
        last_log_id: Some(log_id(fields.term, fields.index)),
        last_membership: decode_membership(fields.membership.clone())?,
    })
}

/// Why a snapshot did not get across. All of them are worth another attempt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransferError {
    #[error("the checkpoint cannot be read: {0}")]
    Source(String),
    #[error("the receiver refused: {0}")]
    Refused(#[from] Status),
    #[error("no acknowledgement of a part within {0:?}")]
    Silent(Duration),
    #[error("the receiver ended the stream early")]
    Ended,
}

/// The parts of a checkpoint, in order: header, rows, trailer.
pub(crate) struct Parts {
    rows: RowStream,
    state: PartState,
    row_count: u64,
}

enum PartState {
    Header,
    Rows,
    Done,
}

impl Parts {
    pub(crate) fn new(rows: RowStream) -> Self {
        Self { rows, state: PartState::Header, row_count: 0 }
    }

    /// The next part; `None` after the trailer.
    pub(crate) async fn next(&mut self) -> Result<Option<v1::SnapshotPart>, String> {
        let part = match self.state {
            PartState::Done => return Ok(None),
            PartState::Header => {
                self.state = PartState::Rows;
                Part::Header(header_of(self.rows.fields()))
            }
            PartState::Rows => {
                let rows = self.rows.next().await.map_err(|error| error.to_string())?;
                if rows.is_empty() {
                    self.state = PartState::Done;
                    Part::Trailer(v1::SnapshotTrailer { row_count: self.row_count })
                } else {
                    self.row_count += rows.len() as u64;
                    Part::Rows(encode_rows(rows))
                }
            }
        };
        Ok(Some(v1::SnapshotPart { part: Some(part) }))
    }
}

pub(crate) fn header_of(fields: &ManifestFields) -> v1::SnapshotHeader {
    v1::SnapshotHeader {
        last: Some(v1::LogId { term: fields.term, index: fields.index }),
        membership: fields.membership.clone(),
        machine_time_ms: fields.machine_time_ms,
        digest: fields.digest,
    }
}

/// The manifest fields that a header describes.
pub(crate) fn fields_of(header: v1::SnapshotHeader) -> Result<ManifestFields, wire::WireError> {
    let last = header.last.ok_or(wire::WireError::Missing("last"))?;
    // Refused here rather than after all rows were kept.
    decode_membership(header.membership.clone())?;
    Ok(ManifestFields {
        term: last.term,
        index: last.index,
        membership: header.membership,
        machine_time_ms: header.machine_time_ms,
        digest: header.digest,
    })
}

pub(crate) fn encode_rows(rows: Vec<(Bytes, Bytes)>) -> v1::SnapshotRows {
    let rows: Vec<_> = rows.into_iter().map(|(key, value)| v1::SnapshotRow { key, value }).collect();
    v1::SnapshotRows { crc: crc_of(&rows), rows }
}

/// Rows of a part, if their crc is right.
pub(crate) fn decode_rows(part: v1::SnapshotRows) -> Result<Vec<(Bytes, Bytes)>, String> {
    if crc_of(&part.rows) != part.crc {
        return Err("a part of the snapshot was damaged on its way".to_owned());
    }
    Ok(part.rows.into_iter().map(|row| (row.key, row.value)).collect())
}

fn crc_of(rows: &[v1::SnapshotRow]) -> u32 {
    let step =
        |crc, row: &v1::SnapshotRow| crc32c::crc32c_append(crc32c::crc32c_append(crc, &row.key), &row.value);
    rows.iter().fold(0, step)
}

/// Sends a snapshot to a follower; its vote afterwards.
pub(crate) async fn send(
    mut bulk: RaftClient<Channel>,
    route: Route,
    vote: Vote,
    snapshot: Snapshot,
    part_timeout: Duration,
) -> Result<Vote, TransferError> {
    let Source::Own(checkpoint) = snapshot.snapshot.source else {
        return Err(TransferError::Source("a received snapshot is not sent on".to_owned()));
    };
    let rows = checkpoint.stream().await.map_err(|error| TransferError::Source(error.to_string()))?;
    let mut parts = Parts::new(rows);
    let (outgoing, requests) = mpsc::channel(1);
    let ballot = wire::encode_vote(&vote);
    let silent = |_| TransferError::Silent(part_timeout);
    // The receiver answers the call once it has the first message, so that one goes ahead of it.
    let header = parts.next().await.map_err(TransferError::Source)?;
    let hello = v1::InstallSnapshotRequest { peer: Some(route.encode()), ballot: Some(ballot), part: header };
    outgoing.try_send(hello).map_err(|_| TransferError::Ended)?;
    let call = bulk.install_snapshot(ReceiverStream::new(requests));
    let mut answers = tokio::time::timeout(part_timeout, call).await.map_err(silent)??.into_inner();
    let mut ahead = 1;
    while let Some(part) = parts.next().await.map_err(TransferError::Source)? {
        let request = v1::InstallSnapshotRequest { peer: None, ballot: None, part: Some(part) };
        let sent = tokio::time::timeout(part_timeout, outgoing.send(request)).await.map_err(silent)?;
        if sent.is_err() {
            // The call ended: its status says why.
            return Err(acknowledged(&mut answers, part_timeout).await.err().unwrap_or(TransferError::Ended));
        }
        ahead += 1;
        if ahead > PARTS_AHEAD {
            acknowledged(&mut answers, part_timeout).await?;
            ahead -= 1;
        }
    }
    drop(outgoing);
    let mut last = None;
    while ahead > 0 {
        last = acknowledged(&mut answers, part_timeout).await?;
        ahead -= 1;
    }
    let ballot = last.ok_or(TransferError::Ended)?;
    wire::decode_vote(Some(ballot)).map_err(|error| TransferError::Refused(error.into()))
}

async fn acknowledged(
    answers: &mut Streaming<v1::InstallSnapshotResponse>,
    part_timeout: Duration,
) -> Result<Option<v1::Ballot>, TransferError> {
    let next = tokio::time::timeout(part_timeout, answers.message()).await;
    let next = next.map_err(|_| TransferError::Silent(part_timeout))?;
    next?.map(|answer| answer.ballot).ok_or(TransferError::Ended)
}

/// A checkpoint's parts as the answer to a fetch.
pub(crate) fn part_stream(
    rows: RowStream,
) -> impl futures::Stream<Item = Result<v1::SnapshotPart, Status>> + Send {
    futures::stream::try_unfold(Parts::new(rows), |mut parts| async move {
        let next = parts.next().await.map_err(Status::unavailable)?;
        Ok(next.map(|part| (part, parts)))
    })
    .boxed()
}
