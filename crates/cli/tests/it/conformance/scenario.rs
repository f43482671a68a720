//! One scenario under way.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use phalanx_client::{Client, Consumer, Delivery, Error, Id, Receiver, Sent};
use phalanx_testkit::LocalCluster;

use super::load;
use super::step::{Expected, Info, Send, Settings, Step};

/// Why a step did not go as it should.
pub enum Fault {
    /// The client said so: what a step may expect.
    Client(Error),
    /// Something was seen that must not be.
    Wrong(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => write!(f, "{}: {error}", reason(error)),
            Self::Wrong(seen) => f.write_str(seen),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

/// `Err` unless the condition holds.
pub fn check(holds: bool, seen: impl FnOnce() -> String) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault::Wrong(seen())) }
}

pub struct Scenario<'a> {
    pub(super) client: &'a Client,
    cluster: &'a mut LocalCluster,
    pub(super) queue: String,
    pub(super) receivers: HashMap<String, Receiver>,
    pub(super) streams: HashMap<String, Consumer>,
    pub(super) hands: HashMap<(String, String), Delivery>,
    requests: HashMap<String, Id>,
    saved: HashMap<String, Vec<u64>>,
}

impl<'a> Scenario<'a> {
    pub fn new(client: &'a Client, cluster: &'a mut LocalCluster, queue: String) -> Self {
        Self {
            client,
            cluster,
            queue,
            receivers: HashMap::new(),
            streams: HashMap::new(),
            hands: HashMap::new(),
            requests: HashMap::new(),
            saved: HashMap::new(),
        }
    }

    pub async fn run(&mut self, settings: Settings, steps: &[Expected]) -> Result<(), String> {
        if !matches!(steps.first(), Some((Step::Create { .. }, _))) {
            let created = self.client.admin().create_queue(&self.queue, settings.to_client()).await;
            created.map_err(|error| error.to_string())?;
        }
        for (place, (step, wanted)) in steps.iter().enumerate() {
            let why = match (self.step(step).await, wanted) {
                (Ok(()), None) => continue,
                (Err(Fault::Client(error)), Some(wanted)) if reason(&error) == wanted => continue,
                (Ok(()), Some(wanted)) => format!("expected {wanted}, got success"),
                (Err(fault), _) => fault.to_string(),
            };
            return Err(format!("step {}, {step:?}: {why}", place + 1));
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<(), Fault> {
        let admin = self.client.admin();
        match step {
            Step::Create { settings } => drop(admin.create_queue(&self.queue, settings.to_client()).await?),
            Step::Update { settings, if_version } => {
                drop(admin.update_queue(&self.queue, settings.to_client(), *if_version).await?);
            }
            Step::Delete {} => admin.delete_queue(&self.queue).await?,
            Step::Purge { removed } => {
                let count = admin.purge_queue(&self.queue).await?;
                check(count == *removed, || format!("{count} were removed"))?;
            }
            Step::Info(wanted) => self.info(wanted).await?,
            Step::Listed { r#as } => {
                let listed = admin.list_queues().await?.iter().any(|queue| queue.name == self.queue);
                check(listed == *r#as, || format!("listed: {listed}"))?;
            }
            Step::Nodes { count } => {
                let nodes = admin.status().await?.nodes;
                check(nodes.len() == *count && nodes.iter().all(|node| node.reachable), || {
                    format!("{nodes:?}")
                })?;
            }
            Step::Send(send) => self.send(send).await?,
            Step::Produce(send) => self.produce(send).await?,
            Step::Receive(expect) => self.receive(expect).await?,
            Step::Take(expect) => self.take(expect).await?,
            Step::Open { consumer, window, lease_ms, max_processing_ms } => {
                let never = *max_processing_ms == Some(0);
                self.open(consumer, *window, *lease_ms, never).await?;
            }
            Step::Close { consumer } => {
                self.hands.retain(|(holder, _), _| holder != consumer);
                self.streams.remove(consumer).expect("it was opened").close().await?;
            }
            Step::Ack(settle) | Step::Nack(settle) | Step::Reject(settle) | Step::Extend(settle) => {
                self.settle(step, settle).await?;
            }
            Step::Lost { consumer, body, reason } => self.lost(consumer, body, reason).await?,
            Step::Sleep { ms } => tokio::time::sleep(Duration::from_millis(*ms)).await,
            Step::Load(load) => load::run(self.client, self.cluster, &self.queue, load).await?,
        }
        Ok(())
    }

    async fn info(&self, wanted: &Info) -> Result<(), Fault> {
        let info = self.client.admin().queue_info(&self.queue).await?;
        let pairs = [
            (wanted.ready, info.ready),
            (wanted.leased, info.leased),
            (wanted.delayed, info.delayed),
            (wanted.version, info.queue.version),
        ];
        check(pairs.iter().all(|(wanted, seen)| wanted.is_none_or(|wanted| wanted == *seen)), || {
            format!("{info:?}")
        })
    }

    async fn send(&mut self, send: &Send) -> Result<(), Fault> {
        let id = match &send.request {
            Some(name) => *self.requests.entry(name.clone()).or_insert_with(|| self.client.random_id()),
            None => self.client.random_id(),
        };
        let sent = self.client.send_with_id(&self.queue, send.messages(), id).await?;
        self.sent(&sent, send)
    }

    async fn produce(&mut self, send: &Send) -> Result<(), Fault> {
        let producer = self.client.producer(&self.queue).open().await?;
        let mut sent = Vec::new();
        if send.batch {
            sent = producer.enqueue_batch(send.messages()).await?.await?;
        } else {
            let mut confirmations = Vec::new();
            for message in send.messages() {
                confirmations.push(producer.enqueue(message).await?);
            }
            for confirmation in confirmations {
                sent.push(confirmation.await?);
            }
        }
        producer.close().await?;
        check(sent.is_sorted_by(|before, after| before.sequence < after.sequence), || format!("{sent:?}"))?;
        self.sent(&sent, send)
    }

    fn sent(&mut self, sent: &[Sent], send: &Send) -> Result<(), Fault> {
        let sequences: Vec<u64> = sent.iter().map(|one| one.sequence).collect();
        if let Some(name) = &send.save {
            self.saved.insert(name.clone(), sequences.clone());
        }
        if let Some(name) = &send.same_as {
            check(self.saved[name] == sequences, || format!("sequences {sequences:?}"))?;
        }
        let duplicate = |one: &Sent| send.duplicate.is_none_or(|wanted| one.duplicate == wanted);
        check(sent.iter().all(duplicate), || format!("{sent:?}"))
    }

    async fn open(
        &mut self,
        consumer: &str,
        window: Option<u32>,
        lease_ms: Option<u64>,
        never_extend: bool,
    ) -> Result<(), Fault> {
        let mut builder = self.client.consumer(&self.queue).name(consumer);
        if let Some(window) = window {
            builder = builder.window(window);
        }
        if let Some(lease_ms) = lease_ms {
            builder = builder.lease(Duration::from_millis(lease_ms));
        }
        if never_extend {
            builder = builder.max_processing(None);
        }
        self.streams.insert(consumer.to_owned(), builder.open().await?);
        Ok(())
    }
}

/// The reason, as docs/errors has it.
fn reason(error: &Error) -> &str {
    match error {
        Error::OutcomeUnknown { .. } => "OUTCOME_UNKNOWN",
        Error::QueueFull { .. } => "QUEUE_FULL",
        Error::Invalid { .. } => "INVALID_ARGUMENT",
        Error::QueueNotFound { .. } => "QUEUE_NOT_FOUND",
        Error::QueueGone { .. } => "QUEUE_GONE",
        Error::AlreadyExists { .. } => "ALREADY_EXISTS",
        Error::VersionMismatch { .. } => "VERSION_MISMATCH",
        Error::LeaseOver { .. } => "LEASE_OVER",
        _ => "(no scenario expects it)",
    }
}
