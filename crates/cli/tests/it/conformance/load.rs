//! The step `load`: producers and consumers at once, a kill in the middle, and what must be true afterwards.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use phalanx_client::{Client, Delivery, Error, Message, Sent, Settlement};
use phalanx_testkit::LocalCluster;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::PATIENCE;
use super::scenario::{Fault, check};
use super::step::Load;

/// Longer than any fail-over.
const LEASE: Duration = Duration::from_secs(120);
/// Pause between two looks at how far the load is.
const GLANCE: Duration = Duration::from_millis(1);
/// One look for a message.
const LOOK: Duration = Duration::from_millis(200);

/// A delivery that was acknowledged.
struct Acked {
    body: String,
    token: u64,
    sequence: u64,
    ack: Settlement,
}

#[derive(Default)]
struct Book {
    /// Body and sequence, in the order of each producer's sends.
    confirmed: BTreeMap<usize, Vec<(String, u64)>>,
    acked: Vec<Acked>,
}

struct Work {
    client: Client,
    queue: String,
    load: Load,
    book: Mutex<Book>,
}

pub async fn run(client: &Client, cluster: &mut LocalCluster, queue: &str, load: &Load) -> Result<(), Fault> {
    let work =
        Work { client: client.clone(), queue: queue.to_owned(), load: load.clone(), book: Mutex::default() };
    let work = Arc::new(work);
    let everything = load.producers * load.messages;
    let mut tasks = JoinSet::new();
    for number in 0..load.producers {
        let work = work.clone();
        tasks.spawn(async move {
            if work.load.calls { work.call(number).await } else { work.produce(number).await }
        });
    }
    for _ in 0..load.consumers {
        let work = work.clone();
        tasks.spawn(async move { if work.load.calls { work.receive().await } else { work.consume().await } });
    }
    let begin = Instant::now();
    while work.confirmed() < everything / 3 && begin.elapsed() < PATIENCE {
        tokio::time::sleep(GLANCE).await;
    }
    check(work.confirmed() < everything, || "the load was over before its middle".into())?;
    if load.kill {
        let leader = client.admin().queue_info(queue).await?.leader_node;
        cluster.node(leader).kill().await.expect("it was running");
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no task panics")?;
    }
    for node in cluster.nodes().iter_mut().filter(|node| node.pid().is_none()) {
        node.spawn().expect("it starts again");
    }
    cluster.wait_ready(PATIENCE).await.expect("it comes back");
    work.judge().await
}

impl Work {
    fn confirmed(&self) -> usize {
        self.book.lock().confirmed.values().map(Vec::len).sum()
    }

    fn is_over(&self) -> bool {
        self.book.lock().acked.len() >= self.load.producers * self.load.messages
    }

    fn message(producer: usize, number: usize) -> Message {
        Message::new(format!("{producer}/{number}")).group(format!("group-{producer}"))
    }

    fn book(&self, producer: usize, number: usize, sent: Sent) {
        let entry = (format!("{producer}/{number}"), sent.sequence);
        self.book.lock().confirmed.entry(producer).or_default().push(entry);
    }

    async fn call(&self, producer: usize) -> Result<(), Error> {
        for number in 0..self.load.messages {
            let sent = self.client.send(&self.queue, [Self::message(producer, number)]).await?;
            self.book(producer, number, sent[0]);
        }
        Ok(())
    }

    async fn produce(&self, producer: usize) -> Result<(), Error> {
        let handle = self.client.producer(&self.queue).window(64).open().await?;
        let (sender, mut confirmations) = tokio::sync::mpsc::channel(self.load.messages);
        let enqueue = async {
            for number in 0..self.load.messages {
                let confirmation = handle.enqueue(Self::message(producer, number)).await?;
                sender.try_send((number, confirmation)).expect("there is room for all");
            }
            drop(sender);
            Ok(())
        };
        let book = async {
            while let Some((number, confirmation)) = confirmations.recv().await {
                self.book(producer, number, confirmation.await?);
            }
            Ok::<(), Error>(())
        };
        let (enqueued, booked) = tokio::join!(enqueue, book);
        enqueued.and(booked)?;
        handle.close().await
    }

    async fn consume(&self) -> Result<(), Error> {
        let begin = Instant::now();
        let mut handle = self.client.consumer(&self.queue).window(32).lease(LEASE).open().await?;
        while !self.is_over() && begin.elapsed() < 2 * PATIENCE {
            if let Ok(Some(delivery)) = tokio::time::timeout(LOOK, handle.next()).await {
                self.ack(delivery?);
            }
        }
        handle.close().await
    }

    async fn receive(&self) -> Result<(), Error> {
        let begin = Instant::now();
        let handle = self.client.receiver(&self.queue).lease(LEASE);
        while !self.is_over() && begin.elapsed() < 2 * PATIENCE {
            for delivery in handle.receive(4, LOOK).await? {
                self.ack(delivery);
            }
        }
        Ok(())
    }

    fn ack(&self, delivery: Delivery) {
        let body = String::from_utf8_lossy(delivery.body()).into_owned();
        let (token, sequence) = (delivery.token(), delivery.sequence());
        self.book.lock().acked.push(Acked { body, token, sequence, ack: delivery.ack() });
    }

    async fn judge(&self) -> Result<(), Fault> {
        let Book { confirmed, acked } = std::mem::take(&mut *self.book.lock());
        let everything = self.load.producers * self.load.messages;
        let mut sequences = HashMap::new();
        for (producer, sent) in confirmed {
            let rising = sent.is_sorted_by(|before, after| before.1 < after.1);
            check(rising, || format!("the order of producer {producer}: {sent:?}"))?;
            sequences.extend(sent);
        }
        check(sequences.len() == everything, || format!("{} were confirmed", sequences.len()))?;
        let mut groups: BTreeMap<String, BTreeMap<u64, u64>> = BTreeMap::new();
        for Acked { body, token, sequence, ack } in acked {
            ack.await?;
            let sent = sequences.remove(&body);
            check(sent == Some(sequence), || {
                format!("{body} came at {sequence}, sent and not yet acked: {sent:?}")
            })?;
            let group = body.split('/').next().unwrap_or_default().to_owned();
            groups.entry(group).or_default().insert(token, sequence);
        }
        check(sequences.is_empty(), || format!("lost: {sequences:?}"))?;
        for (group, by_token) in groups {
            check(by_token.values().is_sorted(), || format!("the order of group {group}: {by_token:?}"))?;
        }
        let info = self.client.admin().queue_info(&self.queue).await?;
        check((info.ready, info.leased) == (0, 0), || format!("left in the queue: {info:?}"))
    }
}
