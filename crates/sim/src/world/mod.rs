//! A cluster of real nodes over real tonic, on a simulated network, with simulated disks and clocks.
//!
//! The world steps simulated time, looks at the replicas, and carries faults out. It ends and starts processes; a process that must not go
//! on, by its own word or for want of power, is ended at the end of the step in which that happened.

mod clock;
mod faults;
mod host;

pub use host::{Machine, Setup};

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use phalanx_storage::fail_point::FailPoint;
use turmoil::Sim;

use crate::determinism;
use crate::history::{Recorder, Replica, What};
use crate::trace;

/// Length of a step.
const TICK: Duration = Duration::from_millis(1);
/// A network in order delivers within this.
const LATENCY_MAX: Duration = Duration::from_millis(5);
/// Between two looks at the replicas.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// A process that ended by itself, with a cause that was planted, is started again after this time.
const RESTART_AFTER: Duration = Duration::from_millis(500);

/// See the module.
pub struct World {
    sim: Sim<'static>,
    nodes: Vec<Machine>,
    up: Vec<bool>,
    recorder: Recorder,
    clients: Vec<String>,
    clients_left: Arc<AtomicUsize>,
    /// Who is not heard by whom, while partitions last.
    cuts: Vec<(String, String)>,
    next_look: Duration,
    seen: BTreeMap<(u64, u64), Replica>,
    /// Machines whose power fails within their next writes: until when that is waited for.
    failing_power: BTreeMap<u64, Duration>,
    /// Nodes that may stop by themselves, and why.
    planted: BTreeMap<u64, &'static str>,
    /// Nodes that are kept down.
    held: Vec<bool>,
    /// A boundary at which processes end.
    ambush: Option<Ambush>,
    /// When to start a process that ended by itself.
    restarts: BTreeMap<u64, Duration>,
}

impl World {
    /// Machines with empty disks, started.
    pub fn new(seed: u64, setup: &Setup, recorder: Recorder) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .simulation_duration(Duration::from_secs(3_600))
            .tick_duration(TICK)
            .min_message_latency(Duration::from_micros(200))
            .max_message_latency(LATENCY_MAX)
            .tcp_capacity(65_536)
            .enable_random_order()
            .build();
        let nodes: Vec<Machine> = (1..=setup.nodes).map(|id| Machine::new(id, setup, seed)).collect();
        for machine in &nodes {
            let machine = machine.clone();
            sim.host(machine.name(), move || machine.clone().run());
        }
        let count = nodes.len();
        Self {
            sim,
            nodes,
            up: vec![true; count],
            recorder,
            clients: Vec::new(),
            clients_left: Arc::default(),
            cuts: Vec::new(),
            next_look: Duration::ZERO,
            seen: BTreeMap::new(),
            failing_power: BTreeMap::new(),
            planted: BTreeMap::new(),
            held: vec![false; count],
            ambush: None,
            restarts: BTreeMap::new(),
        }
    }

    /// Where clients reach the nodes.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(Machine::address).collect()
    }

    /// Runs `client` on a host of its own.
    pub fn client(&mut self, name: &str, client: impl Future<Output = ()> + 'static) {
        self.clients.push(name.to_owned());
        let left = Arc::clone(&self.clients_left);
        left.fetch_add(1, Relaxed);
        self.sim.client(name, async move {
            client.await;
            left.fetch_sub(1, Relaxed);
            Ok(())
        });
    }

    /// Whether all clients have ended.
    pub fn clients_are_done(&self) -> bool {
        self.clients_left.load(Relaxed) == 0
    }

    /// Simulated time.
    pub fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    /// One step of simulated time.
    ///
    /// # Errors
    /// A panic inside, in words.
    pub fn step(&mut self) -> Result<(), String> {
        let stepped = catch_unwind(AssertUnwindSafe(|| self.sim.step()));
        determinism::set_now_ns(u64::try_from(self.sim.elapsed().as_nanos()).unwrap_or(u64::MAX));
        match stepped {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("a host ended: {error}")),
            Err(_) => return Err("a task panicked".to_owned()),
        }
        self.bury();
        if self.now() >= self.next_look {
            self.next_look = self.now() + LOOK_EVERY;
            self.look();
        }
        Ok(())
    }

    /// Ends processes that must not go on, and starts those whose time has come.
    fn bury(&mut self) {
        for at in 0..self.nodes.len() {
            let id = at as u64 + 1;
            if !self.up[at] {
                continue;
            }
            let patience_is_over = self.failing_power.get(&id).is_some_and(|until| *until <= self.now());
            if self.nodes[at].disk.is_without_power()
                && !self.failing_power.contains_key(&id)
                && self.ambush.is_some()
            {
                self.ambushed(id);
                continue;
            }
            if self.nodes[at].disk.is_without_power() || patience_is_over {
                self.end(id, End::PowerCut);
                continue;
            }
            let (fatal, refused) = {
                let telling = self.nodes[at].telling.lock();
                (telling.fatal.clone(), telling.refused.clone())
            };
            if let Some(why) = fatal.or(refused) {
                let planted = self.planted.remove(&id);
                self.recorder.add(What::Stopped { node: id, why, planted });
                self.end(id, End::Kill);
                if !self.held[at] {
                    self.restarts.insert(id, self.now() + RESTART_AFTER);
                }
            }
        }
        let due: Vec<u64> =
            self.restarts.iter().filter(|(_, at)| **at <= self.now()).map(|(id, _)| *id).collect();
        for id in due {
            self.restarts.remove(&id);
            self.start_node(id);
        }
    }

    fn end(&mut self, id: u64, how: End) {
        let at = id as usize - 1;
        if !self.up[at] {
            return;
        }
        let machine = self.nodes[at].clone();
        trace::record(&format!("{how:?} {}", machine.name()));
        if how == End::PowerCut {
            // A machine without power says goodbye to nobody: its peers hear nothing more.
            self.silence(id);
        }
        self.sim.crash(machine.name());
        match how {
            End::Kill => machine.killed(),
            End::PowerCut => machine.power_failed(),
        }
        self.failing_power.remove(&id);
        self.up[at] = false;
    }

    /// The process on `id` ends at a boundary: one at a time.
    fn ambushed(&mut self, id: u64) {
        let Some(ambush) = &mut self.ambush else { return };
        ambush.hits += 1;
        ambush.armed = false;
        let how = ambush.how;
        let detail = format!("node {id}, {how:?}");
        self.recorder.add(What::Fault { kind: "fail point", detail });
        self.end(id, how);
        if !self.held[id as usize - 1] {
            self.restarts.insert(id, self.now() + RESTART_AFTER);
        }
        for machine in &self.nodes {
            machine.disk.heal();
        }
    }

    fn start_node(&mut self, id: u64) {
        let at = id as usize - 1;
        self.held[at] = false;
        if !self.up[at] {
            self.up[at] = true;
            self.speak(id);
            self.sim.bounce(self.nodes[at].name());
        }
    }

    /// Notes what has changed about the replicas.
    fn look(&mut self) {
        for (at, machine) in self.nodes.iter().enumerate() {
            let id = at as u64 + 1;
            let Some(node) = machine.node().filter(|_| self.up[at]) else { continue };
            let start = machine.telling.lock().starts;
            for shard in node.shards() {
                let status = shard.group.status();
                let now_ms = shard.group.read(|machine| machine.now_ms());
                let replica = Replica {
                    node: id,
                    start,
                    group: status.group,
                    replica: status.replica,
                    term: status.term,
                    leads: status.is_leader,
                    applied: status.applied,
                    digest: status.digest,
                    now_ms,
                };
                if self.seen.get(&(id, status.group)) != Some(&replica) {
                    self.seen.insert((id, status.group), replica.clone());
                    self.recorder.add(What::Replica(replica));
                }
            }
        }
    }

    /// The next process that reaches `point` ends there; each passes it `passes` times before.
    pub fn lie_in_wait(&mut self, point: FailPoint, how: End, mut passes: impl FnMut() -> u64) {
        let hits = self.ambush.as_ref().map_or(0, |ambush| ambush.hits);
        self.ambush = Some(Ambush { how, armed: true, hits });
        for machine in &self.nodes {
            machine.disk.end_at(point, passes());
        }
    }

    /// Whether nobody lies in wait and every process runs.
    pub fn is_quiet(&self) -> bool {
        self.ambush.as_ref().is_none_or(|ambush| !ambush.armed) && self.restarts.is_empty()
    }

    /// Processes that ended at a boundary.
    pub fn ambushes(&self) -> u64 {
        self.ambush.as_ref().map_or(0, |ambush| ambush.hits)
    }

    /// Messages in all queues, waiting or leased, as their leaders see them; `None` while a group has no leader.
    pub fn depth(&self) -> Option<u64> {
        let mut depths: BTreeMap<u64, Option<u64>> = BTreeMap::new();
        for node in self.nodes.iter().filter_map(Machine::node) {
            for shard in node.shards() {
                let depth = depths.entry(shard.id()).or_default();
                if shard.is_leader() {
                    *depth = Some(shard.group.read(|machine| {
                        let queues = machine.queue_uids().filter_map(|uid| machine.queue_info(uid));
                        queues.map(|info| info.ready_count + info.leased_count).sum()
                    }));
                }
            }
        }
        depths.into_values().sum()
    }

    /// Whether every node takes part and all replicas of each group are at the same entry.
    pub fn is_level(&self) -> bool {
        let nodes: Vec<_> = self.nodes.iter().filter_map(Machine::node).collect();
        let mut applied: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        let mut hosted = 0;
        for shard in nodes.iter().flat_map(|node| node.shards()) {
            hosted += 1;
            let index = shard.group.status().applied;
            let range = applied.entry(shard.id()).or_insert((index, index));
            *range = (range.0.min(index), range.1.max(index));
        }
        let planned: usize = nodes
            .first()
            .map_or(0, |node| node.identity.plan.groups.iter().map(|group| group.replicas.len()).sum());
        nodes.len() == self.nodes.len()
            && hosted == planned
            && applied.values().all(|(least, most)| least == most)
    }

    /// What is where, for the report of a run that does not come to rest.
    pub fn describe(&self) -> String {
        let mut lines = Vec::new();
        for (at, machine) in self.nodes.iter().enumerate() {
            let Some(node) = machine.node() else {
                lines.push(format!("node {}: up {}, takes no part", at + 1, self.up[at]));
                continue;
            };
            for shard in node.shards() {
                let status = shard.group.status();
                let depth: Vec<String> = shard.group.read(|machine| {
                    let queues = machine.queue_uids().filter_map(|uid| machine.queue_info(uid));
                    queues.map(|info| format!("{}+{}", info.ready_count, info.leased_count)).collect()
                });
                lines.push(format!(
                    "node {} group {}: term {}, leader {:?}, leads {}, log {}, committed {}, applied {}, ready+leased {depth:?}",
                    at + 1,
                    status.group,
                    status.term,
                    status.leader,
                    status.is_leader,
                    status.last_index,
                    status.committed,
                    status.applied
                ));
            }
        }
        lines.join("\n  ")
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What it wrote stays.
    Kill,
    /// What it did not sync is lost.
    PowerCut,
}

/// Processes end at a boundary, one after the other.
#[derive(Debug)]
struct Ambush {
    how: End,
    armed: bool,
    hits: u64,
}
