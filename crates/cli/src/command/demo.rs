//! `phalanx demo`: three real nodes, real messages, and a `kill -9` of the leader midway.
//!
//! It fails unless every confirmed message was consumed, in order, and the replicas agree at the end.

use std::time::{Duration, Instant};

use phalanx_client::{Client, Consumer, Message, Producer, QueueSettings};
use phalanx_testkit::{LocalCluster, Ports};
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use crate::args::{Common, DemoArgs, Output};
use crate::command::dev::{DataDir, options};
use crate::output::{self, Failure, Outcome, pairs, show, thousands};
use crate::progress;

const QUEUE: &str = "demo";
/// Body of a message, bytes: its number, and padding.
const BODY_BYTES: usize = 256;
/// Sends that may be unconfirmed.
const WINDOW: usize = 1024;
/// A killed node is started again after this long.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// A restarted node is ready within this, or the demo fails.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// The replicas agree within this, or the demo fails.
const AGREE_DEADLINE: Duration = Duration::from_secs(30);
/// A consumer that hears nothing for this long, although messages are missing, gives up.
const STALL_DEADLINE: Duration = Duration::from_secs(60);
/// Pause between two looks at the replicas.
const AGREE_PAUSE: Duration = Duration::from_millis(100);

/// What came out.
#[derive(Serialize)]
struct Report {
    messages: u64,
    seconds: f64,
    messages_per_second: u64,
    killed_node: u64,
    /// Longest time without a confirmation after the kill.
    gap_ms: u64,
    consumed: u64,
    redelivered: u64,
    lost: u64,
    out_of_order: u64,
    replicas_agree: bool,
}

/// What the consumer saw.
#[derive(Default)]
struct Seen {
    consumed: u64,
    redelivered: u64,
    out_of_order: u64,
}

/// Runs `phalanx demo`.
pub async fn run(args: DemoArgs, common: &Common) -> Outcome {
    let data = DataDir::new(args.data.as_deref())?;
    output::note("starting three nodes ...");
    let mut cluster = LocalCluster::start(&options(data.path(), Ports::Free)?).await?;
    for node in cluster.nodes() {
        output::note(&format!(
            "  node {} at {}, pid {}",
            node.id(),
            node.address(),
            node.pid().unwrap_or_default()
        ));
    }
    let client = Client::connect(cluster.addresses()).await?;
    let _queue = client.admin().create_queue(QUEUE, QueueSettings::default()).await?;
    output::note(&format!(
        "sending and consuming {} messages of {BODY_BYTES} bytes ...",
        thousands(args.messages)
    ));

    let consumer = client.consumer(QUEUE).open().await?;
    let consumed = tokio::spawn(consume(consumer, args.messages));
    let producer = client.producer(QUEUE).window(WINDOW).open().await?;
    let (halfway, mut reached) = watch::channel(false);
    let sent = tokio::spawn(send(producer, args.messages, halfway));

    // An error means that the sender ended early; what it says comes below.
    let _ = reached.wait_for(|reached| *reached).await;
    let (killed, killed_at) = kill_leader(&client, &mut cluster, args.messages / 2).await?;
    tokio::time::sleep(RESTART_AFTER).await;
    cluster.node(killed).spawn()?;

    let confirmations = joined(sent.await)??;
    let seen = joined(consumed.await)??;
    cluster.node(killed).wait_ready(READY_DEADLINE).await?;
    let agree = replicas_agree(&client, &cluster).await?;
    let report = report(&args, &confirmations, killed, killed_at, &seen, agree);
    cluster.stop().await?;
    present(&report, common.output)
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, Failure> {
    result.map_err(|error| Failure::new(error.to_string()))
}

/// Sends numbered messages, pipelined; answers when each confirmation came.
async fn send(
    producer: Producer,
    messages: u64,
    halfway: watch::Sender<bool>,
) -> Result<Vec<Instant>, phalanx_client::Error> {
    let (confirmations, mut waiting) = mpsc::channel(WINDOW);
    let sender = async move {
        for number in 0..messages {
            let mut body = vec![b'.'; BODY_BYTES];
            body[..8].copy_from_slice(&number.to_be_bytes());
            let confirmation = producer.enqueue(Message::new(body)).await?;
            if confirmations.send(confirmation).await.is_err() {
                break;
            }
        }
        drop(confirmations);
        producer.close().await
    };
    let receiver = async move {
        let bar = progress::bar(Some(messages), "confirmed");
        let mut times = vec![Instant::now()];
        while let Some(confirmation) = waiting.recv().await {
            confirmation.await?;
            times.push(Instant::now());
            bar.inc(1);
            if times.len() as u64 > messages / 2 {
                halfway.send_replace(true);
            }
        }
        bar.finish_and_clear();
        Ok(times)
    };
    let (times, ()) = tokio::try_join!(receiver, sender)?;
    Ok(times)
}

/// Consumes until every number was seen once.
async fn consume(mut consumer: Consumer, messages: u64) -> Result<Seen, phalanx_client::Error> {
    let mut seen = Seen::default();
    let mut first_time = vec![true; usize::try_from(messages).unwrap_or(usize::MAX)];
    let mut highest = None;
    while seen.consumed < messages {
        // What has not come by then is lost: the report says so.
        let Ok(Some(delivery)) = tokio::time::timeout(STALL_DEADLINE, consumer.next()).await else { break };
        let delivery = delivery?;
        let number = delivery
            .body()
            .get(..8)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(u64::MAX, u64::from_be_bytes);
        match first_time.get_mut(usize::try_from(number).unwrap_or(usize::MAX)) {
            Some(first) if *first => {
                *first = false;
                seen.consumed += 1;
                seen.out_of_order += u64::from(highest.is_some_and(|highest| number < highest));
                highest = Some(number);
            }
            _ => seen.redelivered += 1,
        }
        // The answer is not waited for: an acknowledgement that is lost is repeated by the client.
        drop(delivery.ack());
    }
    consumer.close().await?;
    Ok(seen)
}

async fn kill_leader(
    client: &Client,
    cluster: &mut LocalCluster,
    after: u64,
) -> Result<(u64, Instant), Failure> {
    let leader = client.admin().queue_info(QUEUE).await?.leader_node;
    let pid = cluster.node(leader).pid().unwrap_or_default();
    let at = Instant::now();
    cluster.node(leader).kill().await?;
    output::note(&format!(
        "kill -9 {pid}: node {leader}, the leader, after {} confirmations",
        thousands(after)
    ));
    Ok((leader, at))
}

/// Whether all replicas of the queue's shard reach the same state.
async fn replicas_agree(client: &Client, cluster: &LocalCluster) -> Result<bool, Failure> {
    let shard = client.admin().queue_info(QUEUE).await?.queue.shard;
    let begin = Instant::now();
    while begin.elapsed() < AGREE_DEADLINE {
        let mut states = Vec::new();
        for address in cluster.addresses() {
            let status = client.admin().status_at(&address).await?;
            let group = status.groups.into_iter().find(|group| group.group == shard);
            states.push(group.map(|group| (group.applied_index, group.digest)));
        }
        states.dedup();
        if let [Some(_)] = states[..] {
            return Ok(true);
        }
        tokio::time::sleep(AGREE_PAUSE).await;
    }
    Ok(false)
}

fn report(
    args: &DemoArgs,
    confirmations: &[Instant],
    killed_node: u64,
    killed_at: Instant,
    seen: &Seen,
    replicas_agree: bool,
) -> Report {
    let seconds = match (confirmations.first(), confirmations.last()) {
        (Some(first), Some(last)) => last.duration_since(*first).as_secs_f64(),
        _ => 0.0,
    };
    let after_kill = confirmations.windows(2).filter(|pair| pair[1] >= killed_at);
    let gap = after_kill.map(|pair| pair[1].duration_since(pair[0])).max().unwrap_or_default();
    let sent = confirmations.len() as u64 - 1;
    Report {
        messages: args.messages,
        seconds,
        messages_per_second: (sent as f64 / seconds.max(f64::EPSILON)) as u64,
        killed_node,
        gap_ms: u64::try_from(gap.as_millis()).unwrap_or(u64::MAX),
        consumed: seen.consumed,
        redelivered: seen.redelivered,
        lost: sent - seen.consumed.min(sent),
        out_of_order: seen.out_of_order,
        replicas_agree,
    }
}

fn present(report: &Report, output: Output) -> Outcome {
    show(output, report, || {
        pairs(&[
            (
                "sent",
                format!(
                    "{} in {:.1} s, {} a second, each on disk on a majority",
                    thousands(report.messages),
                    report.seconds,
                    thousands(report.messages_per_second)
                ),
            ),
            ("leader killed", format!("node {}, started again", report.killed_node)),
            ("gap", format!("{} ms without a confirmation", thousands(report.gap_ms))),
            ("consumed", thousands(report.consumed)),
            ("redelivered", thousands(report.redelivered)),
            ("out of order", report.out_of_order.to_string()),
            ("replicas", if report.replicas_agree { "agree" } else { "DISAGREE" }.to_owned()),
            ("lost", report.lost.to_string()),
        ])
    })?;
    if report.lost > 0 || report.out_of_order > 0 || !report.replicas_agree {
        return Err(Failure::new(
            "a promise was broken: please report this with the nodes' logs (--data DIR keeps them)",
        ));
    }
    Ok(())
}
