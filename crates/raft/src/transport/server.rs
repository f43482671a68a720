//! The Raft service on the peer listener.
//!
//! Invariant: a request reaches a replica only if cluster, group and replica are the ones it was meant for.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use futures::{FutureExt as _, Stream};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use phalanx_proto::raft::v1;
use phalanx_proto::raft::v1::heartbeat_response::Outcome;
use phalanx_proto::raft::v1::raft_server::Raft;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::wire::{self, Route, WireError};
use crate::assemble::Assembly;
use crate::group::Group;
use crate::groups::Groups;
use crate::snapshot::{Received, SnapshotHandle, Source, meta_of, part_stream};
use crate::types::{Snapshot, Types, Vote};

/// Most heartbeats in one call; more is not one of ours.
const HEARTBEATS_MAX: usize = 8192;
/// How long the first message of an append stream may take.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// See the module.
pub struct PeerService {
    groups: Arc<Groups>,
}

impl PeerService {
    pub(crate) fn new(groups: Arc<Groups>) -> Self {
        Self { groups }
    }

    /// The replica that a request is meant for.
    fn replica(&self, route: Route) -> Result<Arc<Group>, Status> {
        if route.cluster != self.groups.cluster() {
            return Err(Status::failed_precondition(format!(
                "this node belongs to cluster {}, not {}",
                self.groups.cluster(),
                route.cluster
            )));
        }
        let group = self.groups.get(route.group);
        let group =
            group.ok_or_else(|| Status::not_found(format!("group {} is not open here", route.group)))?;
        if group.replica() != route.to {
            let here = group.replica();
            return Err(Status::failed_precondition(format!(
                "group {} has replica {here} here, not {}",
                route.group, route.to
            )));
        }
        Ok(group)
    }

    fn same_cluster(&self, cluster_id: &[u8]) -> Result<(), Status> {
        let cluster = wire::cluster(cluster_id)?;
        if cluster == self.groups.cluster() {
            return Ok(());
        }
        Err(Status::failed_precondition(format!("this node belongs to cluster {}", self.groups.cluster())))
    }

    /// Answers one gathered heartbeat.
    async fn beat(&self, item: v1::HeartbeatItem) -> v1::HeartbeatResponse {
        let tag = item.tag;
        let outcome = match self.append_one(item).await {
            Ok(result) => Outcome::Answer(wire::encode_append_result(&result)),
            Err(status) => Outcome::Refusal(status.message().to_owned()),
        };
        v1::HeartbeatResponse { tag, outcome: Some(outcome) }
    }

    async fn append_one(&self, item: v1::HeartbeatItem) -> Result<StreamAppendResult<Types>, Status> {
        let group = self.replica(Route::decode(item.peer.as_ref())?)?;
        let append = wire::decode_append(item.append.ok_or(WireError::Missing("append"))?)?;
        let previous = append.prev_log_id;
        let last = append.entries.last().map_or(previous, |entry| Some(entry.log_id));
        let response = group.raft().append_entries(append).await.map_err(stopped)?;
        Ok(response.into_stream_result(previous, last))
    }
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

/// The appends of a stream, until it ends or one makes no sense.
fn appends(requests: Streaming<v1::AppendRequest>) -> impl Stream<Item = AppendEntriesRequest<Types>> + Send {
    futures::stream::unfold(requests, |mut requests| async move {
        let append = match requests.message().await {
            Ok(Some(request)) => request.append,
            // The stream's end and its failure are the same to the log: no more appends on it.
            Ok(None) | Err(_) => return None,
        };
        match wire::decode_append(append?) {
            Ok(append) => Some((append, requests)),
            Err(error) => {
                tracing::warn!(%error, "an append makes no sense; its stream is closed");
                None
            }
        }
    })
}

#[tonic::async_trait]
impl Raft for PeerService {
    type AppendStream = Answers<v1::AppendResponse>;
    type HeartbeatStream = Answers<v1::HeartbeatResponse>;
    type InstallSnapshotStream = Answers<v1::InstallSnapshotResponse>;
    type FetchSnapshotStream = Answers<v1::SnapshotPart>;
    type WatchStream = Answers<v1::WatchResponse>;

    async fn append(
        &self,
        request: Request<Streaming<v1::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let mut requests = request.into_inner();
        let hello = tokio::time::timeout(HELLO_TIMEOUT, requests.message()).await;
        let hello = hello.map_err(|_| Status::deadline_exceeded("no first message"))??;
        let route = Route::decode(hello.and_then(|hello| hello.peer).as_ref())?;
        let group = self.replica(route)?;
        let answers = group.raft().stream_append(appends(requests));
        let answers = answers.map(|answer| match answer {
            Ok(result) => Ok(wire::encode_append_result(&result)),
            Err(fatal) => Err(stopped(fatal)),
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<Self::HeartbeatStream>, Status> {
        let items = request.into_inner().items;
        if items.len() > HEARTBEATS_MAX {
            return Err(Status::invalid_argument("too many heartbeats in one call"));
        }
        let service = Self { groups: Arc::clone(&self.groups) };
        let (answers, answered) = mpsc::channel(items.len().max(1));
        let all = async move {
            let mut beats: FuturesUnordered<_> = items.into_iter().map(|item| service.beat(item)).collect();
            while let Some(answer) = beats.next().await {
                // There is room for every answer: only a caller that is gone takes none.
                if answers.try_send(Ok(answer)).is_err() {
                    return;
                }
            }
        };
        // As part of the answer stream, so that it ends with the call.
        let driver = all.into_stream().filter_map(|()| std::future::ready(None));
        Ok(Response::new(futures::stream::select(ReceiverStream::new(answered), driver).boxed()))
    }

    async fn vote(&self, request: Request<v1::VoteRequest>) -> Result<Response<v1::VoteResponse>, Status> {
        let request = request.into_inner();
        let group = self.replica(Route::decode(request.peer.as_ref())?)?;
        let decoded = wire::decode_vote_request(&request)?;
        let answer = if request.pre_vote {
            group.raft().pre_vote(decoded).await
        } else {
            group.raft().vote(decoded).await
        };
        Ok(Response::new(wire::encode_vote_response(&answer.map_err(stopped)?)))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let request = request.into_inner();
        let group = self.replica(Route::decode(request.peer.as_ref())?)?;
        let decoded = wire::decode_transfer(&request)?;
        let outcome = group.raft().handle_transfer_leader(decoded).await.map_err(stopped)?;
        let refusal = outcome.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(Response::new(v1::TransferLeaderResponse { refusal }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<v1::InstallSnapshotRequest>>,
    ) -> Result<Response<Self::InstallSnapshotStream>, Status> {
        let mut requests = request.into_inner();
        let first = tokio::time::timeout(HELLO_TIMEOUT, requests.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no first message"))??;
        let first = first.ok_or(WireError::Missing("header"))?;
        let group = self.replica(Route::decode(first.peer.as_ref())?)?;
        let vote = wire::decode_vote(first.ballot)?;
        let part_timeout = group.options().snapshot_chunk_timeout;
        let receiving =
            Receiving { assembly: Assembly::new(Arc::clone(group.store().checkpoint())), group, vote };
        // Taking the place of an older transfer ends it: its sender has given up or lost its term.
        let turn = receiving.group.begin_receive();
        let state = Some((receiving, requests, first.part, turn));
        let answers = futures::stream::try_unfold(state, move |state| async move {
            let Some((mut receiving, mut requests, part, turn)) = state else { return Ok(None) };
            let part = match part {
                Some(part) => part,
                None => {
                    let next = tokio::time::timeout(part_timeout, requests.message()).await;
                    let next = next.map_err(|_| Status::deadline_exceeded("no next part"))??;
                    let Some(next) = next else { return Err(Status::cancelled("the snapshot ended early")) };
                    next.part.ok_or(WireError::Missing("part"))?
                }
            };
            if turn.is_over() {
                return Err(Status::aborted("a newer snapshot is on its way"));
            }
            let ballot = receiving.take(part).await?;
            let state = ballot.is_none().then_some((receiving, requests, None, turn));
            Ok::<_, Status>(Some((v1::InstallSnapshotResponse { ballot }, state)))
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn fetch_snapshot(
        &self,
        request: Request<v1::FetchSnapshotRequest>,
    ) -> Result<Response<Self::FetchSnapshotStream>, Status> {
        let request = request.into_inner();
        let mut route = Route::decode(request.peer.as_ref())?;
        if route.to == 0
            && let Some(group) = self.groups.get(route.group)
        {
            route.to = group.replica();
        }
        let group = self.replica(route)?;
        let rows = group.stream_checkpoint(request.index_at_least).await.map_err(Status::unavailable)?;
        let part_timeout = group.options().snapshot_chunk_timeout;
        let (parts, answers) = mpsc::channel(1);
        // A task of its own: a caller that stops reading must not keep checkpoints out for longer than one part may take.
        tokio::spawn(async move {
            let mut stream = std::pin::pin!(part_stream(rows));
            while let Some(part) = stream.next().await {
                if tokio::time::timeout(part_timeout, parts.send(part)).await.is_err() {
                    return;
                }
                if parts.is_closed() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers).boxed()))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.same_cluster(&request.into_inner().cluster_id)?;
        let hello = futures::stream::once(std::future::ready(Ok(v1::WatchResponse {})));
        // Ends cleanly when this node shuts down by itself.
        let end = self.groups.stopping().into_stream().filter_map(|()| std::future::ready(None));
        Ok(Response::new(hello.chain(end).boxed()))
    }

    async fn ping(&self, request: Request<v1::PingRequest>) -> Result<Response<v1::PingResponse>, Status> {
        self.same_cluster(&request.into_inner().cluster_id)?;
        Ok(Response::new(v1::PingResponse {}))
    }
}

/// A snapshot on its way into a replica.
struct Receiving {
    group: Arc<Group>,
    vote: Vote,
    assembly: Assembly,
}

impl Receiving {
    /// Takes one part; after the trailer, what Raft made of the snapshot.
    async fn take(&mut self, part: v1::SnapshotPart) -> Result<Option<v1::Ballot>, Status> {
        let taken = self.assembly.take(part).await;
        match taken.map_err(|error| Status::data_loss(error.to_string()))? {
            None => Ok(None),
            Some(received) => self.install(received).await.map(Some),
        }
    }

    async fn install(&self, received: Received) -> Result<v1::Ballot, Status> {
        let meta = meta_of(&received.fields).map_err(|error| Status::data_loss(error.to_string()))?;
        tracing::info!(group_id = self.group.id(), index = received.fields.index, "a snapshot was received");
        let source = Source::Received(Box::new(received));
        let snapshot = Snapshot { meta, snapshot: SnapshotHandle { source } };
        let answer = self.group.raft().install_full_snapshot(self.vote, snapshot).await.map_err(stopped)?;
        Ok(wire::encode_vote(&answer.vote))
    }
}
