//! Workloads: what clients do while faults strike.
//!
//! A workload declares its queues, with the class that tells the checkers what to hold them to, and starts clients. They work until they are told to
//! stop; what is left in the queues is taken out afterwards by [`crate::run`].

pub mod client;
mod consume;
mod lives;
mod parts;
mod produce;
mod reads;

use std::time::Duration;

use phalanx_client::{Client, Conditions, QueueSettings, SubscriptionSettings, TopicSettings};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::history::{F, Facts, Kind, Recorder};
use client::{Repeats, Scribe};

/// Every workload and what it is.
pub const ALL: [(&str, &str); 10] = [
    ("queue", "producers, pipelined and by call; consumers that sometimes give back"),
    ("fifo", "one message at a time, by calls, with receives of an empty queue"),
    ("groups", "ordering groups and a strict queue, with consumers that give back"),
    ("mutex", "a queue of one message as a lock that is sometimes held too long"),
    ("dedup", "the same request through other nodes, and deduplication ids"),
    ("pauses", "consumers that go on after their lease has run out"),
    (
        "fan-out",
        "a topic whose subscriptions take all, by pattern, by filter, with bindings to another shard",
    ),
    ("lives", "queues that are deleted and made again under load, with tokens and ids of earlier lives"),
    ("reads", "figures and messages of a queue, read by way of every node"),
    ("mixed", "all of them at once"),
];

/// Queues that are made again and again.
const LIVES: [&str; 3] = ["lives-1", "lives-2", "lives-3"];
/// Queues that are made for a binding until one is on another shard than its topic.
const BOUND_MAX: usize = 8;

/// What all clients of a run share.
#[derive(Clone)]
pub struct Stage {
    /// Of the nodes.
    pub addresses: Vec<String>,
    /// The history.
    pub recorder: Recorder,
    /// True: no more.
    pub stop: watch::Receiver<bool>,
    /// Pause between two messages of a producer.
    pub pace: Duration,
}

/// The clients of a run.
pub struct Cast {
    stage: Stage,
    random: SmallRng,
    tasks: JoinSet<()>,
    holders: u64,
}

/// What a client of a run is given.
pub struct Role {
    /// Shared by all.
    pub stage: Stage,
    /// Its connection.
    pub client: Client,
    /// Its name, its queue.
    pub scribe: Scribe,
    /// Its own chance.
    pub random: SmallRng,
}

impl Role {
    /// It is over.
    pub fn is_over(&self) -> bool {
        *self.stage.stop.borrow() || self.stage.recorder.is_full()
    }

    /// Waits, or until it is over.
    pub async fn rest(&mut self, time: Duration) {
        let mut stop = self.stage.stop.clone();
        let _ = tokio::time::timeout(time, stop.wait_for(|stop| *stop)).await;
    }
}

impl Cast {
    /// Nobody yet.
    pub fn new(stage: Stage, seed: u64) -> Self {
        Self { stage, random: SmallRng::seed_from_u64(seed), tasks: JoinSet::new(), holders: 0 }
    }

    /// One more client, which begins at some node.
    pub fn enter<T, Fut>(&mut self, queue: &str, part: T) -> Result<(), String>
    where
        T: FnOnce(Role) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let first = self.random.random();
        self.enter_at(queue, first, false, part)
    }

    /// One more client, which begins at this node, and with `stays` knows no other.
    pub fn enter_at<T, Fut>(&mut self, queue: &str, first: u64, stays: bool, part: T) -> Result<(), String>
    where
        T: FnOnce(Role) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.holders += 1;
        let repeats = Repeats::default();
        let client = client::connect_counting(&self.stage.addresses, first, stays, repeats.clone());
        let client = client.map_err(|error| error.to_string())?;
        let recorder = self.stage.recorder.clone();
        let scribe = Scribe { recorder, queue: queue.to_owned(), holder: self.holders, repeats };
        let random = SmallRng::seed_from_u64(self.random.random());
        self.tasks.spawn(part(Role { stage: self.stage.clone(), client, scribe, random }));
        Ok(())
    }

    /// Waits until all have left; they must have been told to.
    ///
    /// # Errors
    /// When one of them panicked.
    pub async fn leave(mut self) -> Result<(), String> {
        while let Some(left) = self.tasks.join_next().await {
            left.map_err(|error| format!("a client of the test: {error}"))?;
        }
        Ok(())
    }

    /// Makes a queue, and notes its class.
    async fn queue(
        &self,
        client: &Client,
        name: &str,
        class: &str,
        settings: QueueSettings,
    ) -> Result<(), String> {
        let made = client.admin().create_queue(name, settings).await;
        made.map_err(|error| format!("queue {name}: {error}"))?;
        self.declare(name, class);
        Ok(())
    }

    fn declare(&self, name: &str, class: &str) {
        let (queue, note) = (Some(name.to_owned()), Some(class.to_owned()));
        self.stage.recorder.note(F::Queue, Kind::Info, Facts { queue, note, ..Facts::default() });
    }

    /// A topic with all that it feeds; the queues from which that is taken.
    async fn topic(&self, client: &Client, topic: &str) -> Result<Vec<String>, String> {
        let admin = client.admin();
        let failed = |error: phalanx_client::Error| format!("topic {topic}: {error}");
        let shard = admin.create_topic(topic, TopicSettings::default()).await.map_err(failed)?.shard;
        self.declare(topic, "topic");
        let mut fed = Vec::new();
        let base = SubscriptionSettings { lease: Some(Duration::from_secs(8)), ..Default::default() };
        // The name says what it takes: see the checker.
        for (name, pattern, filter) in
            [("all", "", ""), ("even-by-pattern", "*.even", ""), ("odd-by-filter", "", "parity = 'odd'")]
        {
            let (pattern, filter) = (pattern.to_owned(), filter.to_owned());
            let settings = SubscriptionSettings { pattern, filter, ..base.clone() };
            let made = admin.create_subscription(topic, name, settings).await.map_err(failed)?;
            self.declare(&made.queue, "subscription");
            fed.push(made.queue);
        }
        for (name, filter) in [("all", ""), ("odd", "parity = 'odd'")] {
            let queue = self.elsewhere(client, name, topic, shard).await?;
            let taken = Conditions { filter: filter.to_owned(), ..Conditions::default() };
            admin.create_binding(topic, &queue, &queue, taken, None).await.map_err(failed)?;
            self.declare(&queue, "bound");
            fed.push(queue);
        }
        Ok(fed)
    }

    /// A queue on another shard than its topic, so that what it gets must be carried there.
    async fn elsewhere(
        &self,
        client: &Client,
        name: &str,
        topic: &str,
        shard: u64,
    ) -> Result<String, String> {
        for attempt in 0..BOUND_MAX {
            let queue = format!("{name}-{attempt}-of-{topic}");
            let made = client.admin().create_queue(&queue, lease(8)).await;
            if made.map_err(|error| format!("queue {queue}: {error}"))?.shard != shard {
                return Ok(queue);
            }
        }
        Err(format!("all of {BOUND_MAX} queues are on the shard of {topic}"))
    }

    /// Starts a workload; its queues are made first.
    ///
    /// # Errors
    /// When they cannot be made, or there is no such workload.
    pub async fn start(&mut self, client: &Client, workload: &str) -> Result<(), String> {
        match workload {
            "queue" => {
                self.queue(client, "queue", "plain", lease(8)).await?;
                parts::queue(self)
            }
            "fifo" => {
                self.queue(client, "fifo", "fifo", lease(8)).await?;
                parts::fifo(self)
            }
            "groups" => {
                self.queue(client, "groups", "groups", lease(8)).await?;
                self.queue(client, "strict", "strict", QueueSettings { strict: true, ..lease(8) }).await?;
                parts::groups(self)
            }
            "mutex" => {
                self.queue(client, "mutex", "mutex", lease(3)).await?;
                parts::mutex(self)
            }
            "dedup" => {
                self.queue(client, "dedup", "dedup", lease(8)).await?;
                parts::dedup(self)
            }
            "pauses" => {
                self.queue(client, "pauses", "plain", lease(2)).await?;
                parts::pauses(self)
            }
            "fan-out" => {
                let fed = self.topic(client, "topic").await?;
                parts::fan_out(self, &fed)
            }
            "lives" => {
                LIVES.into_iter().for_each(|queue| self.declare(queue, "lives"));
                parts::lives(self)
            }
            "reads" => {
                self.queue(client, "reads", "plain", lease(8)).await?;
                parts::reads(self)
            }
            "mixed" => {
                for (workload, _) in ALL.iter().filter(|(name, _)| *name != "mixed") {
                    Box::pin(self.start(client, workload)).await?;
                }
                Ok(())
            }
            other => Err(format!("there is no workload {other:?}")),
        }
    }
}

/// Takes what comes and acknowledges it.
pub async fn drink(role: Role) {
    consume::by_stream(role, consume::Habits::default()).await;
}

/// Settings of a queue with leases of so many seconds.
fn lease(seconds: u64) -> QueueSettings {
    QueueSettings { lease: Some(Duration::from_secs(seconds)), ..QueueSettings::default() }
}
