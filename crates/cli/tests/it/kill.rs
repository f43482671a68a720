//! `kill -9` under load, of the leader and of everybody, loses nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use phalanx_client::{Client, Message, QueueSettings, Receiver};
use phalanx_testkit::{LocalCluster, Options};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ledger::{Ledger, Name, Seen};

const QUEUE: &str = "orders";
/// Of the calls without a stream.
const CALLS: &str = "calls";
/// Kills of the leader, unless `PHALANX_KILLS` says otherwise.
const KILLS: u64 = 5;
const PRODUCERS: usize = 4;
const CONSUMERS: usize = 4;
/// Messages that one producer sends at most in a second, unless `PHALANX_KILL_RATE` says otherwise (0: as many as it
/// can): the suite shares its machine with other tests.
const RATE: u64 = 2_000;
/// Producers that are held back pause this often in a second.
const PAUSES: u64 = 100;
/// Sends must be confirmed again this long after a kill, on a machine that other tests load too. `PHALANX_KILL_GAP_MS`
/// sets another bound; on an idle one 1 s holds.
const GAP_MAX: Duration = Duration::from_secs(8);
/// Settling, draining and starting, each.
const PATIENCE: Duration = Duration::from_secs(40);

async fn start(dir: &Path) -> LocalCluster {
    let mut options = Options::new(env!("CARGO_BIN_EXE_phalanx"), dir);
    options.shards = 2;
    // Small segments: they are recycled under the load of the test.
    options.config = String::from(
        "[wal]\nsegment_bytes = 16777216\nbudget_bytes = 134217728\n[limits]\nrequest_bytes = 4194304\n",
    );
    LocalCluster::start(&options).await.expect("three nodes on an empty machine become a cluster")
}

async fn produce(client: Client, producer: usize, ledger: Arc<Ledger>, stop: watch::Receiver<bool>) {
    let handle = client.producer(QUEUE).window(256).open().await.expect("the queue is there");
    let (sender, mut confirmations) = tokio::sync::mpsc::channel(1_024);
    let book = ledger.clone();
    let booking = tokio::spawn(async move {
        while let Some((name, enqueued, confirmation)) = confirmations.recv().await {
            let confirmation: phalanx_client::Confirmation = confirmation;
            match confirmation.await {
                Ok(sent) => book.confirmed(name, sent.sequence, enqueued),
                // Not even an unknown outcome: the producer finds out what became of it.
                Err(error) => book.problem(format!("{name:?} was not confirmed: {error}")),
            }
        }
    });
    let each = number_from("PHALANX_KILL_RATE").unwrap_or(RATE) / PAUSES;
    for number in 0.. {
        if *stop.borrow() {
            break;
        }
        let name = Name { producer, number };
        ledger.attempted(name);
        let enqueued = Instant::now();
        let message = Message::new(name.body()).group(name.group());
        let confirmation = handle.enqueue(message).await.expect("the window has room in time");
        sender.send((name, enqueued, confirmation)).await.expect("the bookkeeper lives as long");
        if each > 0 && number % each == 0 {
            tokio::time::sleep(Duration::from_secs(1) / PAUSES as u32).await;
        }
    }
    drop(sender);
    booking.await.expect("the bookkeeper does not panic");
    handle.close().await.expect("all was confirmed");
}

async fn consume(client: Client, consumer: usize, ledger: Arc<Ledger>, mut stop: watch::Receiver<bool>) {
    let handle = client.consumer(QUEUE).name(format!("consumer-{consumer}")).lease(Duration::from_secs(120));
    let mut handle = handle.open().await.expect("the queue is there");
    let mut acks = JoinSet::new();
    loop {
        let delivery = tokio::select! {
            delivery = handle.next() => delivery.expect("nobody closed it").expect("the queue is there"),
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let name = Name::parse(delivery.body()).expect("only the test sends");
        let (token, sequence, attempt) = (delivery.token(), delivery.sequence(), delivery.attempt());
        ledger.delivered(Seen { token, sequence, attempt, name, acked: false, consumer });
        let (ack, book) = (delivery.ack(), ledger.clone());
        acks.spawn(async move {
            match ack.await {
                Ok(()) => book.acked(token),
                Err(error) => book.problem(format!("ack of {name:?} under {token}: {error}")),
            }
        });
        while acks.try_join_next().is_some() {}
    }
    while acks.join_next().await.is_some() {}
    handle.close().await.expect("a clean goodbye");
}

/// Calls without a stream, one after the other: a send, a receive, an ack, a look. No error may reach the caller.
async fn call(client: Client, ledger: Arc<Ledger>, stop: watch::Receiver<bool>) {
    let receiver = client.receiver(CALLS);
    let mut last = 0;
    while !*stop.borrow() {
        if let Err(error) = round(&client, &receiver, &mut last).await {
            ledger.problem(format!("a call failed: {error}"));
        }
    }
}

async fn round(client: &Client, receiver: &Receiver, last: &mut u64) -> Result<(), phalanx_client::Error> {
    let sent = client.send(CALLS, ["call"]).await?[0].sequence;
    assert_eq!(sent, *last + 1, "nothing is sent twice, and nothing is lost");
    *last = sent;
    let mut received = receiver.receive(1, PATIENCE).await?;
    let delivery = received.pop().expect("it waits until there is one");
    assert_eq!(delivery.sequence(), sent);
    delivery.ack().await?;
    assert_eq!(client.admin().queue_info(CALLS).await?.ready, 0);
    Ok(())
}

/// The load: it runs until it is told to stop.
struct Load {
    ledger: Arc<Ledger>,
    stop_producing: watch::Sender<bool>,
    stop_consuming: watch::Sender<bool>,
    producers: JoinSet<()>,
    consumers: JoinSet<()>,
}

impl Load {
    async fn start(addresses: &[String]) -> Self {
        let ledger = Arc::new(Ledger::default());
        let (stop_producing, producing) = watch::channel(false);
        let (stop_consuming, consuming) = watch::channel(false);
        let (mut producers, mut consumers) = (JoinSet::new(), JoinSet::new());
        for consumer in 0..CONSUMERS {
            let client = Client::connect(addresses).await.expect("the cluster is there");
            consumers.spawn(consume(client, consumer, ledger.clone(), consuming.clone()));
        }
        let client = Client::connect(addresses).await.expect("the cluster is there");
        producers.spawn(call(client, ledger.clone(), producing.clone()));
        for producer in 0..PRODUCERS {
            let client = Client::connect(addresses).await.expect("the cluster is there");
            producers.spawn(produce(client, producer, ledger.clone(), producing.clone()));
        }
        Self { ledger, stop_producing, stop_consuming, producers, consumers }
    }

    /// Waits until a message enqueued from now on is confirmed; how long that took.
    async fn recovered(&self, since: Instant) -> Duration {
        loop {
            if let Some(at) = self.ledger.confirmed_after(since) {
                return at.duration_since(since);
            }
            assert!(since.elapsed() < PATIENCE, "no send was confirmed for {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Stops producing, waits until everything was consumed, and stops consuming.
    async fn finish(mut self) -> Arc<Ledger> {
        self.stop_producing.send_replace(true);
        while let Some(done) = self.producers.join_next().await {
            done.expect("no producer panics");
        }
        let begin = Instant::now();
        while self.ledger.missing() > 0 && begin.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.stop_consuming.send_replace(true);
        while let Some(done) = self.consumers.join_next().await {
            done.expect("no consumer panics");
        }
        self.ledger
    }
}

async fn leader(client: &Client) -> u64 {
    let begin = Instant::now();
    loop {
        match client.admin().topology(QUEUE).await {
            Ok(topology) if topology.leader_node.is_some() => {
                return topology.leader_node.unwrap_or_default();
            }
            other => assert!(begin.elapsed() < PATIENCE, "no leader: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn gap_max() -> Duration {
    number_from("PHALANX_KILL_GAP_MS").map_or(GAP_MAX, Duration::from_millis)
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_the_leader_under_load_and_then_of_all_loses_nothing() {
    let _alone = crate::MACHINE.write().await;
    let dir = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = start(dir.path()).await;
    let addresses = cluster.addresses();
    let client = Client::connect(&addresses).await.expect("the cluster is there");
    for queue in [QUEUE, CALLS] {
        client.admin().create_queue(queue, QueueSettings::default()).await.expect("a new queue");
    }
    let load = Load::start(&addresses).await;
    load.recovered(Instant::now()).await;

    let mut gaps = Vec::new();
    for _ in 0..number_from("PHALANX_KILLS").unwrap_or(KILLS) {
        let node = leader(&client).await;
        cluster.node(node).kill().await.expect("it was running");
        // Counted from when it is dead: what was enqueued before may have been confirmed by its last breath.
        gaps.push(load.recovered(Instant::now()).await);
        cluster.node(node).spawn().expect("it starts again");
        cluster.node(node).wait_ready(PATIENCE).await.expect("it comes back");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let before = load.ledger.counts();
    for node in cluster.nodes() {
        node.kill().await.expect("it was running");
    }
    let all = Instant::now();
    for node in cluster.nodes() {
        node.spawn().expect("it starts again");
    }
    cluster.wait_ready(PATIENCE).await.expect("all come back");
    let all_gap = load.recovered(all).await;
    let ledger = load.finish().await;

    let (confirmed, delivered, acked) = ledger.counts();
    println!("gaps after each kill of the leader: {gaps:?}; after the kill of all: {all_gap:?}");
    println!(
        "{confirmed} confirmed ({} before the kill of all), {delivered} delivered, {acked} acked",
        before.0
    );
    let broken = ledger.verdict();
    assert!(
        broken.is_empty(),
        "{} promises broken, first: {:#?}",
        broken.len(),
        &broken[..broken.len().min(5)]
    );
    assert!(before.0 > 1_000 && confirmed > before.0, "the load ran through it all: {before:?}, {confirmed}");
    assert!(gaps.iter().all(|gap| *gap <= gap_max()), "{gaps:?}, at most {:?}", gap_max());
    let info = client.admin().queue_info(QUEUE).await.expect("the queue is there");
    assert_eq!((info.ready, info.leased), (0, 0), "everything was acknowledged");
    cluster.stop().await.expect("they stop");
}
