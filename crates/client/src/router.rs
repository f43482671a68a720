//! Where a call goes: to the leader of its queue when that is known and reachable, otherwise to any node, which forwards.
//!
//! Invariant: there is always a target. Addresses that failed are only avoided for a while, and when all are avoided,
//! the one whose time ends first is tried.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use phalanx_proto::channel::Channel;
use phalanx_proto::v1;
use tokio::time::Instant;

use crate::builder::Settings;
use crate::channel::Wiring;
use crate::client::cluster_client;
use crate::error::Error;
use crate::limits;
use crate::status::Failure;

/// A queue, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct QueueKey {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

/// Where to send a call.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: Arc<str>,
    pub(crate) channel: Channel,
    pub(crate) decode_bytes_max: usize,
}

pub(crate) struct Router {
    settings: Settings,
    wiring: Wiring,
    state: Mutex<State>,
}

struct State {
    /// The configured ones first.
    nodes: Vec<Node>,
    /// The one to ask next for a leader.
    preferred: usize,
    leaders: HashMap<QueueKey, Leader>,
}

struct Node {
    target: Target,
    avoid_until: Option<Instant>,
    /// The next penalty.
    penalty: Duration,
}

struct Leader {
    address: Arc<str>,
    learnt: Instant,
    /// 0: not known.
    term: u64,
    /// When another node was last asked whether it leads still.
    doubted: Option<Instant>,
}

impl Router {
    pub(crate) fn new(addresses: &[String], settings: Settings, wiring: Wiring) -> Result<Self, Error> {
        let state = State { nodes: Vec::new(), preferred: 0, leaders: HashMap::new() };
        let router = Self { settings, wiring, state: Mutex::new(state) };
        for address in addresses {
            if router.node(address)?.is_none() {
                return Err(Error::Invalid {
                    message: format!(
                        "more than {} addresses: give some of them, the client finds the others",
                        limits::ADDRESSES_MAX
                    ),
                });
            }
        }
        Ok(router)
    }

    /// The channel to `address`, made if need be; `None` when too many are known.
    fn node(&self, address: &str) -> Result<Option<Target>, Error> {
        let uri = self.wiring.uri(address);
        let mut state = self.state.lock();
        if let Some(node) = state.nodes.iter().find(|node| *node.target.address == *uri) {
            return Ok(Some(node.target.clone()));
        }
        if state.nodes.len() >= limits::ADDRESSES_MAX {
            return Ok(None);
        }
        let channel = self.wiring.channel(&uri)?;
        let decode_bytes_max = self.wiring.settings.decode_bytes_max;
        let target = Target { address: uri.into(), channel, decode_bytes_max };
        state.nodes.push(Node { target: target.clone(), avoid_until: None, penalty: limits::PENALTY_MIN });
        Ok(Some(target))
    }

    /// Any node.
    pub(crate) fn any(&self) -> Target {
        let state = self.state.lock();
        state.nodes[state.choose(Instant::now())].target.clone()
    }

    /// A node that knows the cluster by this address.
    pub(crate) fn at(&self, address: &str) -> Result<Target, Error> {
        let full = || Error::Invalid { message: format!("more than {} addresses", limits::ADDRESSES_MAX) };
        self.node(address)?.ok_or_else(full)
    }

    /// The best node for this queue.
    pub(crate) async fn target(&self, queue: &QueueKey) -> Target {
        if !self.settings.go_to_leader {
            return self.any();
        }
        if let Some(known) = self.known_leader(queue) {
            return known;
        }
        let seed = self.any();
        let mut client = cluster_client(&seed);
        let request =
            v1::TopologyRequest { namespace: queue.namespace.to_string(), queue: queue.name.to_string() };
        match tokio::time::timeout(self.settings.stall_timeout, client.topology(request)).await {
            Ok(Ok(response)) => self.learn(queue, response.into_inner()).unwrap_or(seed),
            Ok(Err(status)) => {
                // A node that answers with an error of its own (the queue may be too new for it) can still forward.
                if Failure::from_status(&status).transport {
                    self.failed(&seed);
                }
                seed
            }
            Err(_) => {
                self.failed(&seed);
                seed
            }
        }
    }

    fn known_leader(&self, queue: &QueueKey) -> Option<Target> {
        let now = Instant::now();
        let state = self.state.lock();
        let leader = state.leaders.get(queue)?;
        if !leader.is_fresh(now) {
            return None;
        }
        let node = state.nodes.iter().find(|node| node.target.address == leader.address)?;
        (!node.avoided(now)).then(|| node.target.clone())
    }

    /// Remembers the answer; the leader's node, unless it is unknown or to be avoided.
    fn learn(&self, queue: &QueueKey, topology: v1::TopologyResponse) -> Option<Target> {
        let mut leader = None;
        for node in topology.nodes {
            // An address that a node advertises and nobody can use is passed over: there is always the seed.
            let target = self.node(&node.client_address).ok().flatten();
            if node.node == topology.leader_node && node.node != 0 {
                leader = target;
            }
        }
        let leader = leader?;
        let now = Instant::now();
        let mut state = self.state.lock();
        let known = state.leaders.get(queue).filter(|known| known.is_fresh(now));
        if known.is_some_and(|known| known.term > topology.leader_term) {
            return None; // by a node that has not heard of the newer one
        }
        let doubted = known.and_then(|known| known.doubted);
        if state.leaders.len() >= limits::TOPOLOGY_QUEUES_MAX {
            state.leaders.retain(|_, leader| leader.is_fresh(now));
            if state.leaders.len() >= limits::TOPOLOGY_QUEUES_MAX {
                state.leaders.clear();
            }
        }
        let (address, term) = (leader.address.clone(), topology.leader_term);
        state.leaders.insert(queue.clone(), Leader { address, learnt: now, term, doubted });
        let avoided =
            state.nodes.iter().any(|node| node.target.address == leader.address && node.avoided(now));
        (!avoided).then_some(leader)
    }

    /// Whether that node is thought to lead the queue.
    pub(crate) fn leads(&self, queue: &QueueKey, target: &Target) -> bool {
        let state = self.state.lock();
        state.leaders.get(queue).is_some_and(|leader| leader.address == target.address)
    }

    /// Whether another node leads a queue than the silent one that did: asks one of the others, unless somebody has just done so.
    pub(crate) async fn has_moved(&self, queue: &QueueKey, silent: &Target) -> bool {
        if let Some(other) = self.witness(queue, silent) {
            let mut client = cluster_client(&other);
            let request =
                v1::TopologyRequest { namespace: queue.namespace.to_string(), queue: queue.name.to_string() };
            let answer = tokio::time::timeout(limits::DOUBT_AFTER, client.topology(request)).await;
            if let Ok(Ok(response)) = answer {
                self.learn(queue, response.into_inner());
            }
        }
        self.known_leader(queue).is_some_and(|leader| leader.address != silent.address)
    }

    /// The node to ask about a silent one, if it is time to ask. A different one each time.
    fn witness(&self, queue: &QueueKey, silent: &Target) -> Option<Target> {
        let now = Instant::now();
        let mut state = self.state.lock();
        // Without a leader it is being looked for by whoever found out.
        let leader = state.leaders.get_mut(queue).filter(|leader| leader.address == silent.address)?;
        if leader.doubted.is_some_and(|asked| now.duration_since(asked) < limits::DOUBT_AFTER / 2) {
            return None;
        }
        leader.doubted = Some(now);
        state.rotate();
        let others = state.nodes.iter().filter(|node| node.target.address != silent.address).count();
        for _ in 0..others {
            let at = state.choose(now);
            if state.nodes[at].target.address != silent.address {
                return Some(state.nodes[at].target.clone());
            }
            state.rotate();
        }
        None
    }

    /// The node, or the way to it, failed: others first, for a while.
    pub(crate) fn failed(&self, target: &Target) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.leaders.retain(|_, leader| leader.address != target.address);
        if let Some(node) = state.nodes.iter_mut().find(|node| node.target.address == target.address)
            && !node.avoided(now)
        {
            node.avoid_until = Some(now + node.penalty);
            node.penalty = (node.penalty * 2).min(limits::PENALTY_MAX);
        }
        state.rotate();
    }

    /// The node answered.
    pub(crate) fn worked(&self, target: &Target) {
        let mut state = self.state.lock();
        if let Some(node) = state.nodes.iter_mut().find(|node| node.target.address == target.address) {
            node.avoid_until = None;
            node.penalty = limits::PENALTY_MIN;
        }
    }

    /// The queue's leader is not where it was thought to be; the next question goes to another node.
    pub(crate) fn moved(&self, queue: &QueueKey) {
        let mut state = self.state.lock();
        state.leaders.remove(queue);
        state.rotate();
    }
}

impl State {
    /// Index of the node to use when any will do.
    fn choose(&self, now: Instant) -> usize {
        let count = self.nodes.len();
        let from_preferred = (0..count).map(|step| (self.preferred + step) % count);
        from_preferred
            .min_by_key(|index| {
                let node = &self.nodes[*index];
                if node.avoided(now) { node.avoid_until } else { None }
            })
            .expect("a router has at least one address")
    }

    fn rotate(&mut self) {
        self.preferred = (self.preferred + 1) % self.nodes.len();
    }
}

impl Leader {
    fn is_fresh(&self, now: Instant) -> bool {
        now.duration_since(self.learnt) <= limits::TOPOLOGY_AGE_MAX
    }
}

impl Node {
    fn avoided(&self, now: Instant) -> bool {
        self.avoid_until.is_some_and(|until| now < until)
    }
}
