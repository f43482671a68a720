//! `phalanx.raft.v1.Node` on the peer listener: what nodes ask each other beside Raft.

use std::sync::{Arc, OnceLock};

use phalanx_proto::raft::v1::node_server::Node;
use phalanx_proto::raft::v1::{
    CarryOutRequest, CarryOutResponse, HelloRequest, HelloResponse, LeaderRequest, LeaderResponse,
    LookupRequest, LookupResponse, PrepareRequest, PrepareResponse, ReplaceReplicaRequest,
    ReplaceReplicaResponse, TimeRequest, TimeResponse,
};
use phalanx_raft::PeerNode;
use phalanx_state_machine::command::Command;
use prost::Message as _;
use tonic::{Request, Response, Status};

use crate::desk::Desk;
use crate::identity::Plan;
use crate::router::LOOKUP_DEADLINE;
use crate::state::NodeState;
use crate::status::{self, Reason};
use crate::{carry_out, catalog_read};

/// Answers from the papers alone until the groups are open.
#[derive(Clone)]
pub struct NodeService {
    desk: Arc<Desk>,
    state: Arc<OnceLock<Arc<NodeState>>>,
}

impl NodeService {
    /// `state` is filled when the groups are open.
    #[must_use]
    pub fn new(desk: Arc<Desk>, state: Arc<OnceLock<Arc<NodeState>>>) -> Self {
        Self { desk, state }
    }

    fn state(&self) -> Result<&Arc<NodeState>, Status> {
        self.state.get().ok_or_else(|| status::unavailable("the node is starting"))
    }
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        Ok(Response::new(self.desk.hello(request.get_ref())))
    }

    async fn prepare(&self, request: Request<PrepareRequest>) -> Result<Response<PrepareResponse>, Status> {
        let plan = request.get_ref().plan.as_ref().and_then(Plan::from_proto);
        let Some(plan) = plan else {
            return Err(status::invalid("plan", "is missing or malformed"));
        };
        let refusal = self.desk.prepare(&plan).err().unwrap_or_default();
        if !refusal.is_empty() {
            tracing::warn!(cluster = %plan.cluster, refusal, "refuses the plan of a cluster");
        }
        Ok(Response::new(PrepareResponse { refusal }))
    }

    async fn lookup(&self, request: Request<LookupRequest>) -> Result<Response<LookupResponse>, Status> {
        let request = request.into_inner();
        let shard = self.state()?.catalog();
        let entry =
            catalog_read::entry_here(shard, &request.namespace, &request.name, LOOKUP_DEADLINE).await?;
        let entry = entry.map(|entry| entry.encode_to_vec().into()).unwrap_or_default();
        Ok(Response::new(LookupResponse { entry }))
    }

    async fn leader(&self, request: Request<LeaderRequest>) -> Result<Response<LeaderResponse>, Status> {
        let shard = self.state()?.shard(request.get_ref().group);
        let leadership = shard.map(|shard| shard.group.leadership().borrow().clone());
        // Of itself a node says so only while it has its quorum.
        let own = self.desk.node();
        let leader = leadership.and_then(|now| now.leader.filter(|(_, node)| *node != own || now.is_leader));
        Ok(Response::new(LeaderResponse { leader_node: leader.map_or(0, |(_, node)| node) }))
    }

    async fn time(&self, request: Request<TimeRequest>) -> Result<Response<TimeResponse>, Status> {
        let group = request.get_ref().group;
        let shard = self.state()?.shard(group).ok_or_else(|| status::not_leader(group, None))?;
        let clock = &shard.clock;
        Ok(Response::new(TimeResponse {
            in_step: clock.is_in_step(),
            machine_time_ms: clock.now_ms(),
            wall_ms: clock.wall_ms(),
        }))
    }

    async fn carry_out(
        &self,
        request: Request<CarryOutRequest>,
    ) -> Result<Response<CarryOutResponse>, Status> {
        let request = request.into_inner();
        let command = Command::decode(request.command).map_err(|error| status::invalid("command", error))?;
        if !carry_out::may_be(&command) {
            return Err(status::new(Reason::Unsupported, "that command cannot be carried out for a peer"));
        }
        let shard = self.state()?.shard(request.group);
        let shard = shard.ok_or_else(|| status::not_leader(request.group, None))?;
        let through = carry_out::here(&shard, command).await?;
        Ok(Response::new(CarryOutResponse { through }))
    }

    async fn replace_replica(
        &self,
        request: Request<ReplaceReplicaRequest>,
    ) -> Result<Response<ReplaceReplicaResponse>, Status> {
        let request = request.into_inner();
        let state = self.state()?;
        let planned = state.identity.plan.node(request.node);
        let planned = planned.ok_or_else(|| status::invalid("node", "is not of this cluster"))?;
        let shard = state.shard(request.group).ok_or_else(|| status::not_leader(request.group, None))?;
        let peer = PeerNode { node: request.node, address: planned.peer_address.clone() };
        let voters = shard.group.status().voters;
        let here =
            || voters.iter().filter(|(_, peer)| peer.node == request.node).map(|(replica, _)| *replica);
        if here().any(|replica| replica > request.replica) {
            return Err(status::invalid("replica", "has a successor already"));
        }
        let Some(old) = here().find(|replica| *replica != request.replica) else {
            return if shard.group.has_vote(request.replica) {
                Ok(Response::new(ReplaceReplicaResponse {}))
            } else if voters.contains_key(&request.replica) {
                Err(status::unavailable("the change of members is not committed yet"))
            } else {
                Err(status::invalid("node", "has no vote in this group"))
            };
        };
        tracing::warn!(
            group_id = request.group,
            node = request.node,
            old,
            new = request.replica,
            "a replica is replaced: its log was damaged"
        );
        match shard.group.replace_replica(old, request.replica, peer).await {
            Ok(()) => Ok(Response::new(ReplaceReplicaResponse {})),
            Err(error) => Err(status::from_change(&error)),
        }
    }
}
