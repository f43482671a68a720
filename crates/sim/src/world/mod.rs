//! A cluster of real nodes on a simulated network of either kind, with simulated disks and clocks.
//!
//! The world steps simulated time, looks at the replicas, and carries faults out. It ends and starts processes; a process that must not go
//! on, by its own word or for want of power, is ended at the end of the step in which that happened.

mod clock;
mod faults;
mod host;
mod look;

pub use host::{Machine, Setup};

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use phalanx_storage::fail_point::FailPoint;
use turmoil::Sim;

use crate::determinism;
use crate::history::{Recorder, Replica, What};
use crate::net::{Door, LATENCY_MAX, LATENCY_MIN, Network, Transport};
use crate::trace;

/// Between two looks at the replicas.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// A process that ended by itself, with a cause that was planted, is started again after this time.
const RESTART_AFTER: Duration = Duration::from_millis(500);

/// What the first panic of this process said, and where.
static FIRST_PANIC: OnceLock<String> = OnceLock::new();

/// Keeps the first panic for the report; those that follow from it say less.
fn remember_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = FIRST_PANIC.set(panic.to_string());
        before(panic);
    }));
}

/// See the module.
pub struct World {
    sim: Sim<'static>,
    network: Box<dyn Network>,
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
    pub fn new(seed: u64, setup: &Setup, transport: Transport, recorder: Recorder) -> Self {
        remember_panics();
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .simulation_duration(Duration::from_secs(3_600))
            .tick_duration(transport.tick())
            .min_message_latency(LATENCY_MIN)
            .max_message_latency(LATENCY_MAX)
            .tcp_capacity(65_536)
            .enable_random_order()
            .build();
        let mut network = transport.network(seed);
        let machine = |id| Machine::new(id, setup, seed, network.as_mut());
        let nodes: Vec<Machine> = (1..=setup.nodes).map(machine).collect();
        for machine in &nodes {
            let machine = machine.clone();
            sim.host(machine.name(), move || machine.clone().run());
        }
        let count = nodes.len();
        Self {
            sim,
            network,
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

    /// Breaks a promise on every machine, from now on.
    pub fn betray(&mut self, betrayal: Betrayal) {
        for machine in &self.nodes {
            match betrayal {
                Betrayal::LyingDisk => machine.disk.lie_about_syncs(),
                Betrayal::JumpingClock => machine.wall.move_all(),
            }
        }
    }

    /// Where clients reach the nodes.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(Machine::address).collect()
    }

    /// The way into the network for the host of a client.
    pub fn door(&mut self, host: &str) -> Arc<dyn Door> {
        self.network.door(host)
    }

    /// What befell messages so far, by kind.
    pub fn befell(&self) -> BTreeMap<&'static str, u64> {
        self.network.befell()
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
        self.network.step(self.sim.elapsed());
        let stepped = catch_unwind(AssertUnwindSafe(|| self.sim.step()));
        determinism::set_now_ns(u64::try_from(self.sim.elapsed().as_nanos()).unwrap_or(u64::MAX));
        match stepped {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("a host ended: {error}")),
            Err(_) => return Err(FIRST_PANIC.get().cloned().unwrap_or_else(|| "a task panicked".to_owned())),
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
        self.network.ends(&machine.name());
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
}

/// A promise of the surroundings that no node can do without. Shows that the oracle is awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Betrayal {
    /// Disks answer syncs and do nothing.
    LyingDisk,
    /// Monotonic clocks jump with the wall clock.
    JumpingClock,
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
