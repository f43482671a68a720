//! One group's replica speaking to another, as openraft wants it.
//!
//! Appends are one stream each way, pipelined; the answers come in order. A snapshot goes in acknowledged parts. Every wait has a
//! deadline: openraft's own for votes and heartbeats, ours for what takes long.
//! Invariant: a peer that cannot be reached is `Unreachable` (openraft backs off), anything else `Network` (it tries again soon).

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use phalanx_proto::raft::v1;
use phalanx_state_machine::ids::Id128;
use tonic::{Code, Status};

use super::connections::{Connections, PeerConnection};
use super::wire::{self, Route};
use crate::snapshot::{self, SnapshotHandle};
use crate::types::{PeerNode, Snapshot, Types, Vote};

/// An append stream must be set up within this time.
const STREAM_SETUP: Duration = Duration::from_secs(2);
/// An append must be answered within this time: it covers a slow sync at the peer.
const APPEND_ANSWER: Duration = Duration::from_secs(5);
/// Pauses between attempts at an unreachable peer; the last repeats.
const BACKOFF_MS: [u64; 4] = [20, 50, 100, 200];

type RpcError = RPCError<Types>;
type AppendAnswers<'s> = BoxStream<'s, Result<StreamAppendResult<Types>, RpcError>>;

/// Makes the clients of one group.
pub(crate) struct Factory {
    pub connections: Arc<Connections>,
    pub cluster: Id128,
    pub group: u64,
    pub replica: u64,
    pub chunk_timeout: Duration,
}

/// Speaks to one replica.
pub(crate) struct Client {
    peer: Arc<PeerConnection>,
    route: Route,
    chunk_timeout: Duration,
    /// For heartbeats: they travel on the control connection, gathered with other groups'.
    heartbeats: bool,
}

impl Factory {
    fn client(&self, target: u64, node: &PeerNode, heartbeats: bool) -> Client {
        Client {
            peer: self.connections.to(&node.address),
            route: Route { cluster: self.cluster, group: self.group, from: self.replica, to: target },
            chunk_timeout: self.chunk_timeout,
            heartbeats,
        }
    }
}

impl RaftNetworkFactory<Types> for Factory {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &PeerNode) -> Client {
        self.client(target, node, false)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &PeerNode) -> Client {
        self.client(target, node, true)
    }
}

/// True when no process was reached, so that nothing can have happened there.
fn is_unreachable(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::FailedPrecondition | Code::NotFound | Code::Unimplemented
    )
}

fn rpc_error(status: &Status) -> RpcError {
    if is_unreachable(status) {
        RPCError::Unreachable(Unreachable::from_string(status))
    } else {
        RPCError::Network(NetworkError::from_string(status))
    }
}

fn network_error(why: impl ToString) -> RpcError {
    RPCError::Network(NetworkError::from_string(why))
}

impl Client {
    fn timeout(&self, action: RPCTypes, timeout: Duration) -> RpcError {
        RPCError::Timeout(Timeout { action, id: self.route.from, target: self.route.to, timeout })
    }

    async fn within<T>(
        &self,
        action: RPCTypes,
        limit: Duration,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, RpcError> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(rpc_error(&status)),
            Err(_) => Err(self.timeout(action, limit)),
        }
    }

    async fn ask_vote(
        &self,
        request: VoteRequest<Types>,
        option: &RPCOption,
        pre_vote: bool,
    ) -> Result<VoteResponse<Types>, RpcError> {
        let mut control = self.peer.control.clone();
        let message = wire::encode_vote_request(self.route, &request, pre_vote);
        let answer = self.within(RPCTypes::Vote, option.soft_ttl(), control.vote(message)).await?;
        wire::decode_vote_response(answer.into_inner()).map_err(network_error)
    }

    /// One append on the control connection, gathered with other groups' heartbeats.
    async fn beat(
        &self,
        request: &AppendEntriesRequest<Types>,
        limit: Duration,
    ) -> Result<StreamAppendResult<Types>, RpcError> {
        let sent = self.peer.heartbeats.send(self.route.encode(), wire::encode_append(request));
        match tokio::time::timeout(limit, sent).await {
            Ok(Ok(answer)) => wire::decode_append_result(answer).map_err(network_error),
            Ok(Err(why)) => Err(network_error(why)),
            Err(_) => Err(self.timeout(RPCTypes::AppendEntries, limit)),
        }
    }

    async fn open_stream<S>(&self, mut input: S) -> Result<AppendAnswers<'static>, RpcError>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        // openraft waits out its back-off when it is asked for a request: connecting before that would try a dead peer in a hot loop.
        let Some(first) = input.next().await else {
            return Ok(Box::pin(futures::stream::empty()));
        };
        let input = futures::stream::iter([first]).chain(input);
        let unanswered = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&unanswered);
        let hello = v1::AppendRequest { peer: Some(self.route.encode()), append: None };
        let requests = input.map(move |request| {
            counter.fetch_add(1, Ordering::AcqRel);
            v1::AppendRequest { peer: None, append: Some(wire::encode_append(&request)) }
        });
        let outgoing = futures::stream::once(async move { hello }).chain(requests);
        let mut bulk = self.peer.bulk.clone();
        let answers = self.within(RPCTypes::AppendEntries, STREAM_SETUP, bulk.append(outgoing)).await?;
        let state = Some((answers.into_inner(), unanswered));
        let expired = self.timeout(RPCTypes::AppendEntries, APPEND_ANSWER);
        Ok(Box::pin(futures::stream::unfold(state, move |state| {
            let expired = expired.clone();
            async move {
                let (mut answers, unanswered) = state?;
                match next_answer(&mut answers, &unanswered).await {
                    None => Some((Err(expired), None)),
                    Some(Ok(Some(answer))) => {
                        unanswered.fetch_sub(1, Ordering::AcqRel);
                        let answer = wire::decode_append_result(answer).map_err(network_error);
                        Some((answer, Some((answers, unanswered))))
                    }
                    Some(Ok(None)) => None,
                    Some(Err(status)) => Some((Err(rpc_error(&status)), None)),
                }
            }
        })))
    }
}

/// The next answer; `None` when an append was left unanswered for too long. An idle stream may stay silent for ever.
async fn next_answer(
    answers: &mut tonic::Streaming<v1::AppendResponse>,
    unanswered: &AtomicUsize,
) -> Option<Result<Option<v1::AppendResponse>, Status>> {
    let next = answers.message();
    tokio::pin!(next);
    let mut waited = false;
    loop {
        if let Ok(answer) = tokio::time::timeout(APPEND_ANSWER, next.as_mut()).await {
            return Some(answer);
        }
        // An append that was sent just now has not waited a full round yet.
        let waits = unanswered.load(Ordering::Acquire) > 0;
        if waits && waited {
            return None;
        }
        waited = waits;
    }
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = SnapshotHandle;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RpcError> {
        // openraft replicates through `stream_append`; a single append is as good as a heartbeat.
        self.beat(&request, option.soft_ttl()).await.map(AppendEntriesResponse::from)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<AppendAnswers<'s>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            if !self.heartbeats {
                let answers: AppendAnswers<'s> = self.open_stream(input).await?;
                return Ok(answers);
            }
            let (client, limit) = (&*self, option.soft_ttl());
            let answers: AppendAnswers<'s> =
                Box::pin(futures::stream::unfold(input, move |mut input| async move {
                    let request = input.next().await?;
                    Some((client.beat(&request, limit).await, input))
                }));
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        self.ask_vote(request, &option, false).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        self.ask_vote(request, &option, true).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let bulk = self.peer.bulk.clone();
        let send = snapshot::send(bulk, self.route, vote, snapshot, self.chunk_timeout);
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = send => match sent {
                Ok(answer) => Ok(SnapshotResponse::new(answer)),
                // Never `StorageError`, which would end the leader's group: a stream that fails can be sent again.
                Err(why) => {
                    tracing::warn!(group_id = self.route.group, to = self.route.to, %why, "a snapshot did not get across");
                    Err(StreamingError::Unreachable(Unreachable::from_string(why)))
                }
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RpcError> {
        let mut control = self.peer.control.clone();
        let message = wire::encode_transfer(self.route, &request);
        // The target waits for its log to be synced, for up to an election timeout.
        let call = control.transfer_leader(message);
        let answer = self.within(RPCTypes::TransferLeader, option.soft_ttl(), call).await?.into_inner();
        if answer.refusal.is_empty() {
            return Ok(Ok(()));
        }
        tracing::warn!(
            group_id = self.route.group,
            to = self.route.to,
            why = answer.refusal,
            "transfer refused"
        );
        let expected = request.last_log_id().copied();
        Ok(Err(TransferLeaderError::LogNotFlushed { expected, actual: None }))
    }

    fn backoff(&self) -> Option<Backoff> {
        let last = BACKOFF_MS.last().copied();
        let pauses = BACKOFF_MS.into_iter().chain(std::iter::repeat_with(move || last.unwrap_or(200)));
        Some(Backoff::new(pauses.map(Duration::from_millis)))
    }
}
