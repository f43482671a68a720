//! Fail-over trials: one cluster, and its leader struck again and again.
//!
//! A trial is measured from before the strike to the next confirmed send of several clients that send one message after the other. What is
//! confirmed within [`ON_THE_WAY`] of the strike may have been confirmed by the old leader, and does not count. Before each trial, sends
//! rest until all replicas are level.

use std::sync::Arc;
use std::time::{Duration, Instant};

use phalanx_client::{Client, QueueSettings};
use tokio::sync::{RwLock, watch};
use tokio::task::JoinSet;

use super::{Settings, Watch, conclude, finish, prepare_dir, stage, until};
use crate::check::Results;
use crate::cluster::START_DEADLINE;
use crate::history::{F, Facts, Kind, Recorder};
use crate::nemesis::Nemesis;
use crate::net::End;
use crate::survey;
use crate::workload::client::{PATIENT, Repeats, Scribe, connect};
use crate::workload::{Cast, Stage, drink};

/// The queue whose leader is struck.
const QUEUE: &str = "failover";
/// Clients that send.
const SENDERS: u64 = 6;
/// Between two messages of a client.
const PACE: Duration = Duration::from_millis(10);
/// Before each strike.
const WARM_UP: Duration = Duration::from_millis(700);
/// An answer that comes so soon after a strike was on its way.
const ON_THE_WAY: Duration = Duration::from_millis(50);
/// A trial in which nothing is confirmed for so long has failed.
const NEVER: Duration = Duration::from_secs(30);
/// Between two looks whether a send was confirmed. Its time is taken from the history.
const LOOK: Duration = Duration::from_millis(10);
/// After the first confirmation, before everything is healed.
const AFTER: Duration = Duration::from_millis(300);
/// A send, all its repetitions included: none of them ends in a trial without an outcome.
const SEND_DEADLINE: Duration = Duration::from_secs(60);

/// What strikes the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Blow {
    /// Its packets get nowhere, and nobody is told. Those of clients still reach it.
    Isolate,
    /// `kill -9`.
    Kill,
}

impl Blow {
    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Isolate => "isolate",
            Self::Kill => "kill",
        }
    }

    /// 99 of 100 trials are to take no longer.
    pub fn bound(self) -> Duration {
        match self {
            Self::Isolate => Duration::from_secs(2),
            Self::Kill => Duration::from_millis(500),
        }
    }
}

/// What is tried.
#[derive(Clone, Debug)]
pub struct Order {
    /// The cluster.
    pub settings: Settings,
    /// What strikes.
    pub blow: Blow,
    /// How often.
    pub trials: u64,
    /// The clients' stall timeout: a call leaves a node that owes it an answer for twice as long.
    pub stall: Duration,
}

/// One trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Who led.
    pub node: u64,
    /// From the strike to the next confirmed send; `None`: nothing was confirmed.
    pub took: Option<Duration>,
}

/// Tries, and writes what [`super::run`] writes. The trials so far, also when it is interrupted.
///
/// # Errors
/// When nothing could be written.
pub async fn failover(
    order: &Order,
    watch: &mut dyn Watch,
    interrupted: impl Future<Output = ()>,
) -> Result<(Vec<Trial>, Results), String> {
    prepare_dir(&order.settings)?;
    let recorder = Recorder::default();
    let mut trials = Vec::new();
    watch.tell(Duration::ZERO, 0, 0, 0, "starting");
    let outcome = until(act(order, &recorder, &mut trials, watch), interrupted).await;
    let results = conclude(&order.settings.dir, &recorder, outcome)?;
    Ok((trials, results))
}

/// The cluster and the clients that send while nobody holds the gate.
struct Theatre {
    nemesis: Nemesis,
    /// Patient, for questions.
    client: Client,
    gate: Arc<RwLock<()>>,
}

async fn act(
    order: &Order,
    recorder: &Recorder,
    trials: &mut Vec<Trial>,
    watch: &mut dyn Watch,
) -> Result<(), String> {
    let (cluster, machines) = stage::build(&order.settings).await?;
    let addresses = cluster.addresses();
    let client = connect(&addresses, PATIENT, false).map_err(|error| error.to_string())?;
    let (queue, recorder) = (QUEUE.to_owned(), recorder.clone());
    let nemesis = Nemesis { cluster, machines, recorder: recorder.clone(), client: client.clone(), queue };
    let mut theatre = Theatre { nemesis, client, gate: Arc::default() };
    let started = theatre.nemesis.cluster.start_all().await;
    started.map_err(|error| format!("the cluster does not start: {error}"))?;
    let made = theatre.client.admin().create_queue(QUEUE, QueueSettings::default()).await;
    made.map_err(|error| format!("queue {QUEUE}: {error}"))?;
    let class = Facts { note: Some("plain".to_owned()), queue: Some(QUEUE.to_owned()), ..Facts::default() };
    recorder.note(F::Queue, Kind::Info, class);
    let (stop, stopped) = watch::channel(false);
    let mut senders = theatre.send(order, &recorder, &stopped)?;
    let stage = Stage { addresses, recorder: recorder.clone(), stop: stopped, pace: PACE };
    let mut consumers = Cast::new(stage, order.settings.seed);
    (0..2).try_for_each(|_| consumers.enter(QUEUE, drink))?;
    let begin = Instant::now();
    for number in 0..order.trials {
        let (events, confirmed) = recorder.counts();
        watch.tell(begin.elapsed(), events, confirmed, number, order.blow.name());
        trials.push(theatre.trial(order.blow).await?);
    }
    recorder.note(F::Healed, Kind::Info, Facts::default());
    watch.tell(begin.elapsed(), recorder.counts().0, recorder.counts().1, order.trials, "draining");
    finish::settle_down(&mut theatre.nemesis, &theatre.client).await;
    stop.send_replace(true);
    while let Some(sender) = senders.join_next().await {
        sender.map_err(|error| format!("a client of the test: {error}"))?;
    }
    consumers.leave().await?;
    finish::finish(&mut theatre.nemesis, &theatre.client).await
}

impl Theatre {
    /// Starts the clients that send.
    fn send(
        &self,
        order: &Order,
        recorder: &Recorder,
        stopped: &watch::Receiver<bool>,
    ) -> Result<JoinSet<()>, String> {
        let mut senders = JoinSet::new();
        let addresses = self.nemesis.cluster.addresses();
        for number in 0..SENDERS {
            let mut ordered = addresses.clone();
            ordered.rotate_left(number as usize % addresses.len());
            let builder = Client::builder().addresses(ordered).request_deadline(SEND_DEADLINE);
            let client = builder.stall_timeout(order.stall).build().map_err(|error| error.to_string())?;
            let (recorder, queue) = (recorder.clone(), QUEUE.to_owned());
            let scribe = Scribe { recorder, queue, holder: number, repeats: Repeats::default() };
            let (gate, stopped) = (self.gate.clone(), stopped.clone());
            senders.spawn(async move {
                while !*stopped.borrow() {
                    let open = gate.read().await;
                    let value = scribe.recorder.fresh_value();
                    scribe.send(&client, value.to_string().into(), value, Facts::default(), None).await;
                    drop(open);
                    tokio::time::sleep(PACE).await;
                }
            });
        }
        Ok(senders)
    }

    async fn trial(&mut self, blow: Blow) -> Result<Trial, String> {
        self.make_level().await?;
        tokio::time::sleep(WARM_UP).await;
        let node = self.leader().await?;
        let recorder = self.nemesis.recorder.clone();
        let kind = if blow == Blow::Kill { "kill kill" } else { "partition isolated-leader" };
        let facts = Facts {
            note: Some(format!("{kind} [{node}] leader")),
            queue: Some(QUEUE.to_owned()),
            node: Some(node),
            leader: Some(1),
            majority: Some(1),
            ..Facts::default()
        };
        let struck_ns = recorder.now_ns();
        recorder.note(F::Fault, Kind::Info, facts);
        self.strike(blow, node).await.map_err(|error| format!("node {node} cannot be struck: {error}"))?;
        let counts_from_ns = recorder.now_ns() + ON_THE_WAY.as_nanos() as u64;
        let begin = Instant::now();
        let confirmed_ns = loop {
            tokio::time::sleep(LOOK).await;
            let confirmed = recorder.confirmed_since(counts_from_ns);
            if confirmed.is_some() || begin.elapsed() >= NEVER {
                break confirmed;
            }
        };
        tokio::time::sleep(AFTER).await;
        self.nemesis.heal().await.map_err(|error| format!("node {node} cannot be healed: {error}"))?;
        let took = confirmed_ns.map(|ns| Duration::from_nanos(ns - struck_ns));
        Ok(Trial { node, took })
    }

    async fn strike(&mut self, blow: Blow, node: u64) -> std::io::Result<()> {
        let cluster = &mut self.nemesis.cluster;
        if blow == Blow::Kill {
            cluster.node(node).strike()?;
            return cluster.node(node).kill().await;
        }
        let others = (1..=cluster.size()).filter(|other| *other != node).map(End::Node);
        let mut links = vec![(End::Node(node), End::Clients)];
        links.extend(others.flat_map(|other| [(End::Node(node), other), (other, End::Node(node))]));
        cluster.network().cut(&links).await
    }

    /// Holds the sends up until all nodes serve and all replicas are level.
    async fn make_level(&mut self) -> Result<(), String> {
        let gate = self.gate.clone();
        let closed = gate.write().await;
        self.nemesis.supervise().map_err(|error| error.to_string())?;
        let cluster = &mut self.nemesis.cluster;
        for id in 1..=cluster.size() {
            cluster.wait_ready(id, START_DEADLINE).await.map_err(|error| error.to_string())?;
        }
        let (_, level) = survey::wait_level(&self.client, &cluster.addresses(), START_DEADLINE).await;
        drop(closed);
        if level { Ok(()) } else { Err(format!("replicas are not level after {START_DEADLINE:?}")) }
    }

    async fn leader(&self) -> Result<u64, String> {
        let begin = Instant::now();
        while begin.elapsed() < START_DEADLINE {
            // Asked of the queue itself: what nodes say of each other may be old.
            if let Ok(info) = self.client.admin().queue_info(QUEUE).await {
                return Ok(info.leader_node);
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(format!("{QUEUE} has no leader for {START_DEADLINE:?}"))
    }
}
