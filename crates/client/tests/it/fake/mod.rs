//! A cluster in this process that speaks the real API over a network in memory, and does what the test's script says.

mod messages;
mod net;
mod queue;
mod rest;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use phalanx_client::{Client, ClientBuilder};
use phalanx_proto::v1::cluster_server::ClusterServer;
use phalanx_proto::v1::messages_server::MessagesServer;
use phalanx_proto::v1::queues_server::QueuesServer;
use tokio::sync::Notify;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Server;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

pub use net::Net;
pub use queue::{LEASE, Queue};

/// What happens to one call, batch or frame of settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The connection breaks before it is carried out.
    BreakBefore,
    /// It is carried out, and the connection breaks before the answer is out.
    BreakAfter,
    /// It is carried out and never answered.
    Swallow,
    /// It is refused for this reason; its number is not used up.
    Refuse(&'static str),
    /// It is refused for this reason; its number is used up.
    Consume(&'static str),
}

#[derive(Default)]
pub struct State {
    pub queues: BTreeMap<String, Queue>,
    pub leader: u64,
    /// Leader and term as a node believes them to be; others say who leads.
    pub views: HashMap<u64, (u64, u64)>,
    /// Nodes that do not lead forward what they get; otherwise they refuse it.
    pub forwarding: bool,
    /// For the next sends (unary) and batches (streams), one each.
    pub send_faults: VecDeque<Fault>,
    /// For the next frames or calls of settles.
    pub settle_faults: VecDeque<Fault>,
    pub receive_faults: VecDeque<Fault>,
    pub purges: usize,
    /// With the fault of breaking, somebody else creates the queue anew at once.
    pub delete_faults: VecDeque<Fault>,
    /// How often that has happened: one less than the uid of every queue.
    pub lives_before: u64,
    /// Versions of settings that updates replaced; the newest is the next.
    pub updates: Vec<u64>,
    /// Updates of others that come before the next ones.
    pub updates_between: u64,
    pub purge_faults: VecDeque<Fault>,
    /// Calls of the Messages service, by node.
    pub calls: HashMap<u64, usize>,
    /// Streams of sends that are open.
    pub send_streams: usize,
    pub consume_streams: usize,
    /// Of the calls for the topology.
    pub user_agents: Vec<String>,
    /// Address told to clients in place of the real one.
    pub advertised: HashMap<u64, String>,
}

pub struct Shared {
    pub state: Mutex<State>,
    pub changed: Notify,
    pub net: Net,
    pub nodes: u64,
}

#[derive(Clone)]
pub struct Cluster(pub Arc<Shared>);

/// One node's view.
#[derive(Clone)]
pub struct Node {
    pub cluster: Arc<Shared>,
    pub id: u64,
}

impl Cluster {
    /// Nodes n1, n2, ...; the first leads, and there is the queue `q`.
    pub fn start(nodes: u64) -> Self {
        let state = State { leader: 1, forwarding: true, ..State::default() };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), changed: Notify::new(), net: Net::default(), nodes });
        let cluster = Self(shared);
        cluster.lock().queues.insert("q".into(), Queue::default());
        for id in 1..=nodes {
            let incoming = UnboundedReceiverStream::new(cluster.0.net.listen(&name(id)));
            let node = Node { cluster: cluster.0.clone(), id };
            let server = Server::builder()
                .add_service(MessagesServer::new(node.clone()))
                .add_service(QueuesServer::new(node.clone()))
                .add_service(ClusterServer::new(node));
            tokio::spawn(server.serve_with_incoming(incoming));
        }
        let expiry = cluster.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                expiry.with(Queue::expire);
            }
        });
        cluster
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    pub fn net(&self) -> &Net {
        &self.0.net
    }

    /// Does something to the queue `q`, and gives out what became ready.
    pub fn with<T>(&self, f: impl FnOnce(&mut Queue) -> T) -> T {
        let mut state = self.lock();
        let queue = state.queues.get_mut("q").expect("the queue of the test");
        let result = f(queue);
        queue.dispatch();
        drop(state);
        self.0.changed.notify_waiters();
        result
    }

    pub fn bodies(&self) -> Vec<String> {
        self.with(|queue| queue.log.iter().map(|body| String::from_utf8_lossy(body).into_owned()).collect())
    }

    pub fn builder(&self) -> ClientBuilder {
        let addresses = (1..=self.0.nodes).map(|id| format!("http://{}", name(id)));
        Client::builder().addresses(addresses).connector(self.0.net.connector()).seed(42)
    }

    pub async fn client(&self) -> Client {
        self.builder().connect().await.expect("the fake cluster is there")
    }

    /// Waits until the condition holds.
    pub async fn until(&self, condition: impl Fn(&State) -> bool) {
        for _ in 0..10_000 {
            if condition(&self.lock()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the condition never held");
    }
}

pub fn name(id: u64) -> String {
    format!("n{id}")
}

/// A status as Phalanx nodes make them.
pub fn refusal(reason: &str, retry: Option<Duration>) -> Status {
    let code = match reason {
        "QUEUE_NOT_FOUND" => Code::NotFound,
        "OVERLOADED" | "QUEUE_FULL" => Code::ResourceExhausted,
        "CONSUMER_REPLACED" => Code::Aborted,
        "NOT_LEADER" => Code::Unavailable,
        _ => Code::Unknown,
    };
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, "phalanx", HashMap::new());
    if retry.is_some() {
        details.set_retry_info(retry);
    }
    Status::with_error_details(code, reason.to_lowercase(), details)
}
