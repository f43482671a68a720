//! One run: a cluster, its clients and its faults from one seed; then the oracle.
//!
//! First the clients work while the nemesis strikes (safety). Then everything is healed, and within a bound of simulated time every
//! message must be consumed and all replicas must be level (liveness).

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use phalanx_raft::RaftOptions;
use phalanx_storage::fail_point::{FailPoint, Persist};

use crate::history::{Bounds, End, Event, Fan, Recorder, What};
use crate::invariant::{self, Violation};
use crate::nemesis::{Nemesis, edge, plan, stir};
use crate::net::Transport;
use crate::random::Random;
use crate::report::Report;
use crate::workload::{Board, RESUME, Stage, Workload};
use crate::world::{Betrayal, End as Ending, Setup, World};
use crate::{determinism, trace};

/// The cluster and its queues must be there by then.
const PREPARE_MAX: Duration = Duration::from_secs(30);
/// Everything is consumed and level this long after healing, or the run has failed.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// Clients stop within this.
const END_MAX: Duration = Duration::from_secs(15);
/// Longest time that an answer is under way: delays add up over the frames of a connection.
const TRANSIT_MAX_MS: u64 = 1_000;

/// Between two processes that end at a boundary, ms.
const AMBUSH_EVERY_MS: u64 = 1_500;
/// Processes that end at a boundary in one run, at most.
const AMBUSHES_MAX: u64 = 3;
/// How often a common boundary is passed before, at most.
const PASSES_MAX: u64 = 4;
/// How long the faults go on in a run for a boundary, ms.
const STIR_MS: u64 = 17_500;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Decides everything that is not said here.
    pub seed: u64,
    /// What connects the hosts.
    pub transport: Transport,
    /// Nodes of the cluster.
    pub nodes: Option<u64>,
    /// Processes end at this boundary, in this way.
    pub fail_point: Option<(FailPoint, Ending)>,
    /// The world breaks a promise that every node relies on: the oracle must find out.
    pub planted: Option<Betrayal>,
}

/// How fast a run goes: with messages runs are shorter, and more.
struct Pace {
    /// How long the faults go on, ms.
    work: Range<u64>,
    /// Leases of the queues, ms: the end waits for some of them.
    lease: Range<u64>,
    /// Between heartbeats, ms; elections are in proportion. `None`: as in production.
    heartbeat: Option<Range<u64>>,
}

impl Pace {
    fn of(transport: Transport) -> Self {
        match transport {
            Transport::Tonic => Self { work: 9_000..16_000, lease: 3_500..6_000, heartbeat: None },
            Transport::Message => Self { work: 4_000..6_500, lease: 2_500..4_000, heartbeat: Some(150..251) },
        }
    }
}

/// The cluster of a seed. Small logs and frequent checkpoints: segments are recycled and snapshots sent within seconds.
fn setup(seed: u64, nodes: Option<u64>, pace: &Pace) -> Setup {
    let mut random = Random::new(seed, 1);
    let drawn = if random.chance(30) { 5 } else { 3 };
    let nodes = nodes.unwrap_or(drawn);
    let replicas = if nodes >= 5 && random.chance(50) { 5 } else { 3 };
    let mut raft = RaftOptions {
        checkpoint_interval: Duration::from_millis(random.within(150..900)),
        log_keep_entries: random.within(8..120),
        snapshot_chunk_bytes: 8 * 1024,
        refill_timeout: Duration::from_secs(5),
        ..RaftOptions::default()
    };
    if let Some(range) = &pace.heartbeat {
        let heartbeat = Duration::from_millis(Random::new(seed, 9).within(range.clone()));
        (raft.election_min, raft.election_max) = (heartbeat * 3, heartbeat * 5);
        raft.heartbeat = heartbeat;
    }
    Setup {
        nodes,
        replicas,
        shards: 2,
        segment_bytes: 1024 * 1024,
        budget_bytes: 5 * 1024 * 1024,
        request_bytes: 128 * 1024,
        raft,
    }
}

/// Runs one seed. Once a process: entropy and clock are replaced for all of it.
pub fn run(order: Order) -> Report {
    let seed = order.seed;
    determinism::begin(seed);
    let _guard = trace::subscribe(tracing::Level::INFO);
    let pace = Pace::of(order.transport);
    let mut setup = setup(seed, order.nodes, &pace);
    if order.fail_point.is_some() {
        // Whoever was away for a moment needs a snapshot.
        setup.raft.log_keep_entries = 8;
    }
    let recorder = Recorder::default();
    recorder.bound(Bounds { resume_ms: RESUME.as_millis() as u64, transit_ms: TRANSIT_MAX_MS });
    let mut run = Run {
        order,
        pace,
        ambush: Random::new(seed, 7),
        next_ambush_ms: 0,
        world: World::new(seed, &setup, order.transport, recorder.clone()),
        recorder,
        board: Board::default(),
        report: Report { seed, transport: order.transport, nodes: setup.nodes, ..Report::default() },
    };
    if let Err(violation) = run.all() {
        run.report.violations.push(violation);
    }
    let Run { world, recorder, mut report, .. } = run;
    report.fail_point_hits = world.ambushes();
    report.network = world.befell().into_iter().map(|(what, count)| (what.to_owned(), count)).collect();
    report.simulated_ms = world.now().as_millis() as u64;
    let history = recorder.take();
    report.count(&history);
    report.violations.extend(invariant::check(&history));
    let (hash, events) = trace::result();
    (report.trace, report.trace_events) = (format!("{hash:016x}"), events);
    report
}

struct Run {
    order: Order,
    pace: Pace,
    ambush: Random,
    next_ambush_ms: u64,
    world: World,
    recorder: Recorder,
    board: Board,
    report: Report,
}

impl Run {
    fn all(&mut self) -> Result<(), Violation> {
        let (seed, lease) = (self.order.seed, self.pace.lease.clone());
        let addresses = self.world.addresses();
        let workload = Workload::new(seed, lease, addresses, self.recorder.clone(), self.board.clone());
        let clients = workload.hosts(|name| self.world.door(name));
        for (name, client) in clients {
            self.world.client(&name, client);
        }
        let board = self.board.clone();
        self.until("the cluster and its queues are there", PREPARE_MAX, move |_| {
            board.prepared.load(Relaxed)
        })?;
        self.work()?;
        self.drain()?;
        self.board.enter(Stage::Over);
        let until = self.world.now() + END_MAX;
        while self.world.now() < until && !self.world.clients_are_done() {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Violation> {
        self.lie_in_wait();
        self.world.step().map_err(|evidence| Violation { invariant: "no-panic".to_owned(), evidence })
    }

    fn until(
        &mut self,
        what: &str,
        within: Duration,
        mut holds: impl FnMut(&World) -> bool,
    ) -> Result<(), Violation> {
        let from = self.world.now();
        while !holds(&self.world) {
            if self.world.now() - from > within {
                let evidence = format!("not within {within:?}: {what}\n  {}", self.world.describe());
                return Err(Violation { invariant: "liveness".to_owned(), evidence });
            }
            self.step()?;
        }
        Ok(())
    }

    /// Plants the next end at the boundary that was asked for.
    fn lie_in_wait(&mut self) {
        let Some((point, how)) = self.order.fail_point else { return };
        let now_ms = self.world.now().as_millis() as u64;
        if self.board.stage() as u8 > Stage::Work as u8 || self.world.ambushes() >= AMBUSHES_MAX {
            return;
        }
        if !self.world.is_quiet() {
            self.next_ambush_ms = now_ms + AMBUSH_EVERY_MS;
        } else if now_ms >= self.next_ambush_ms {
            let random = &mut self.ambush;
            let is_rare = matches!(point.persist, Persist::Truncate | Persist::Install | Persist::Flip);
            let passes = || if is_rare { 0 } else { random.within(0..PASSES_MAX) };
            self.world.lie_in_wait(point, how, passes);
        }
    }

    /// The safety phase.
    fn work(&mut self) -> Result<(), Violation> {
        self.board.enter(Stage::Work);
        if let Some(betrayal) = self.order.planted {
            self.world.betray(betrayal);
        }
        let seed = self.order.seed;
        let (during_ms, planned) = if self.order.fail_point.is_some() {
            (STIR_MS, stir(STIR_MS))
        } else {
            let during_ms = Random::new(seed, 6).within(self.pace.work.clone());
            (during_ms, edge(seed).unwrap_or_else(|| plan(seed, during_ms)))
        };
        let mut nemesis = Nemesis::new(seed, planned);
        let begin = self.world.now();
        let mut seen = self.recorder.len();
        loop {
            let now_ms = (self.world.now() - begin).as_millis() as u64;
            if now_ms >= during_ms {
                break;
            }
            for begun in nemesis.step(now_ms, &mut self.world) {
                *self.report.faults.entry(begun.kind.to_owned()).or_default() += 1;
                self.recorder.add(What::Fault { kind: begun.kind, detail: begun.detail });
            }
            self.step()?;
            let confirmed = self
                .recorder
                .since(seen, |events| events.iter().filter(|event| is_confirmed_send(event)).count());
            seen = self.recorder.len();
            if nemesis.is_active() {
                self.report.sends_confirmed_in_fault += confirmed as u64;
            }
        }
        nemesis.heal(&mut self.world);
        self.recorder.add(What::Healed);
        Ok(())
    }

    /// The liveness phase.
    fn drain(&mut self) -> Result<(), Violation> {
        self.board.enter(Stage::Drain);
        let healed = self.world.now();
        let board = self.board.clone();
        self.until("everything is consumed, and all replicas are level", DRAIN_MAX, move |world| {
            board.sending.load(Relaxed) == 0 && world.depth() == Some(0) && world.is_level()
        })?;
        self.report.drained_after_ms = (self.world.now() - healed).as_millis() as u64;
        self.recorder.add(What::Drained);
        Ok(())
    }
}

fn is_confirmed_send(event: &Event) -> bool {
    matches!(
        &event.what,
        What::SendEnd { end: End::Known(_), .. } | What::Fan(Fan::Published { end: End::Known(_), .. })
    )
}
