//! `phalanx.v1.Queues` and `phalanx.v1.Cluster` of the fake cluster, as far as tests need them.

use phalanx_proto::v1;
use phalanx_proto::v1::cluster_server::Cluster as ClusterService;
use phalanx_proto::v1::queues_server::Queues;
use tonic::{Request, Response, Status};

use super::{Fault, Node, name, refusal};

impl Node {
    fn queue(&self, name: String) -> Result<Response<v1::Queue>, Status> {
        let state = self.cluster.state.lock();
        if !state.queues.contains_key(&name) {
            return Err(refusal("QUEUE_NOT_FOUND", None));
        }
        Ok(Response::new(v1::Queue {
            name,
            namespace: "default".into(),
            state: "live".into(),
            ..v1::Queue::default()
        }))
    }
}

#[tonic::async_trait]
impl Queues for Node {
    async fn create_queue(
        &self,
        request: Request<v1::CreateQueueRequest>,
    ) -> Result<Response<v1::Queue>, Status> {
        let name = request.into_inner().name;
        self.cluster.state.lock().queues.entry(name.clone()).or_default();
        self.queue(name)
    }

    async fn update_queue(
        &self,
        request: Request<v1::UpdateQueueRequest>,
    ) -> Result<Response<v1::Queue>, Status> {
        let request = request.into_inner();
        {
            let mut state = self.cluster.state.lock();
            if state.updates_between > 0 {
                state.updates_between -= 1;
                state.updates.push(0);
            }
            if request.if_version != state.updates.len() as u64 + 1 {
                return Err(refusal("VERSION_MISMATCH", None));
            }
            state.updates.push(request.if_version);
        }
        self.queue(request.name)
    }

    async fn delete_queue(
        &self,
        request: Request<v1::DeleteQueueRequest>,
    ) -> Result<Response<v1::DeleteQueueResponse>, Status> {
        let request = request.into_inner();
        {
            let mut state = self.cluster.state.lock();
            if request.uid != state.lives_before + 1 || state.queues.remove(&request.name).is_none() {
                return Err(refusal("QUEUE_NOT_FOUND", None));
            }
            if state.delete_faults.pop_front() != Some(Fault::BreakAfter) {
                return Ok(Response::new(v1::DeleteQueueResponse {}));
            }
            state.lives_before += 1;
            state.queues.entry(request.name).or_default();
        }
        self.cluster.net.cut(&name(self.id));
        std::future::pending().await
    }

    async fn purge_queue(
        &self,
        _: Request<v1::PurgeQueueRequest>,
    ) -> Result<Response<v1::PurgeQueueResponse>, Status> {
        let fault = {
            let mut state = self.cluster.state.lock();
            state.purges += 1;
            state.purge_faults.pop_front().unwrap_or(Fault::None)
        };
        if fault == Fault::BreakAfter {
            self.cluster.net.cut(&name(self.id));
            return std::future::pending().await;
        }
        Ok(Response::new(v1::PurgeQueueResponse { removed: 0 }))
    }

    async fn lookup(
        &self,
        request: Request<v1::LookupRequest>,
    ) -> Result<Response<v1::LookupResponse>, Status> {
        self.queue(request.into_inner().name)?;
        let state = self.cluster.state.lock();
        let (uid, version) = (state.lives_before + 1, state.updates.len() as u64 + 1);
        Ok(Response::new(v1::LookupResponse { uid, version, kind: "queue".into() }))
    }

    async fn get_queue(
        &self,
        request: Request<v1::GetQueueRequest>,
    ) -> Result<Response<v1::QueueInfo>, Status> {
        let queue = self.queue(request.into_inner().name)?.into_inner();
        Ok(Response::new(v1::QueueInfo { queue: Some(queue), ..v1::QueueInfo::default() }))
    }

    async fn peek(&self, _: Request<v1::PeekRequest>) -> Result<Response<v1::PeekResponse>, Status> {
        Err(Status::unimplemented("the scripted server shows nothing"))
    }

    async fn list_groups(
        &self,
        _: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        Err(Status::unimplemented("the scripted server shows nothing"))
    }

    async fn list_queues(
        &self,
        request: Request<v1::ListQueuesRequest>,
    ) -> Result<Response<v1::ListQueuesResponse>, Status> {
        let request = request.into_inner();
        let state = self.cluster.state.lock();
        // Pages of two, whatever was asked for: a server may always give less.
        let names: Vec<String> =
            state.queues.keys().filter(|name| **name > request.page_token).take(2).cloned().collect();
        let next_page_token = if names.len() == 2 { names[1].clone() } else { String::new() };
        let queues = names.into_iter().map(|name| v1::Queue { name, ..v1::Queue::default() }).collect();
        Ok(Response::new(v1::ListQueuesResponse { queues, next_page_token }))
    }
}

#[tonic::async_trait]
impl ClusterService for Node {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(v1::StatusResponse { node: self.id, ..v1::StatusResponse::default() }))
    }

    async fn topology(
        &self,
        request: Request<v1::TopologyRequest>,
    ) -> Result<Response<v1::TopologyResponse>, Status> {
        let mut state = self.cluster.state.lock();
        let user_agent = request.metadata().get("user-agent").and_then(|value| value.to_str().ok());
        state.user_agents.push(user_agent.unwrap_or_default().to_owned());
        let address = |node: u64| state.advertised.get(&node).cloned().unwrap_or_else(|| name(node));
        let nodes =
            (1..=self.cluster.nodes).map(|node| v1::NodeAddress { node, client_address: address(node) });
        let (leader_node, leader_term) = state.views.get(&self.id).copied().unwrap_or((state.leader, 0));
        Ok(Response::new(v1::TopologyResponse { nodes: nodes.collect(), leader_node, leader_term }))
    }
}
