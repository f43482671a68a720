//! `phalanx bench`: what a cluster does, measured from a client, with a check that nothing was lost or doubled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt as _};
use hdrhistogram::Histogram;
use phalanx_client::{Client, Consumer, Error, Message, QueueSettings};
use phalanx_testkit::{LocalCluster, Ports};
use serde::Serialize;

use crate::args::{BenchArgs, Common, Output, Workload};
use crate::command::connect;
use crate::command::dev::{DataDir, options};
use crate::output::{self, Failure, Outcome, show, table, thousands};

/// Sends before this are not counted: connections, caches and elections settle.
const WARM_UP: Duration = Duration::from_secs(1);
/// W1: deliveries in hand of its consumer.
const WINDOW: u32 = 256;
/// What was sent must be consumed within this after the last send.
const DRAIN_DEADLINE: Duration = Duration::from_secs(60);
/// Pause between two looks while draining.
const DRAIN_PAUSE: Duration = Duration::from_millis(20);
/// Bytes of a body that carry its number.
const NUMBER_BYTES: usize = 8;

/// One workload's figures.
#[derive(Serialize)]
struct Figures {
    workload: &'static str,
    seconds: f64,
    body_bytes: u32,
    sent_per_second: u64,
    consumed_per_second: u64,
    send_ms_p50: f64,
    send_ms_p99: f64,
    send_ms_p999: f64,
    send_ms_max: f64,
    /// From send to delivery.
    end_to_end_ms_p50: Option<f64>,
    end_to_end_ms_p99: Option<f64>,
    /// CPU seconds of all nodes per million messages; only with --spawn.
    node_cpu_seconds_per_million: Option<f64>,
    /// Peak resident memory of all nodes, MB; only with --spawn.
    node_peak_mb: Option<u64>,
    lost: u64,
    duplicated: u64,
}

/// What all tasks of a run share.
struct Run {
    begin: Instant,
    /// Sends are counted from here ...
    from: Instant,
    /// ... to here.
    to: Instant,
    body_bytes: usize,
    stop: AtomicBool,
    confirmed: AtomicU64,
    consumed_total: AtomicU64,
}

impl Run {
    fn new(args: &BenchArgs) -> Arc<Self> {
        let begin = Instant::now();
        let from = begin + WARM_UP;
        Arc::new(Self {
            begin,
            from,
            to: from + Duration::from_secs(args.seconds),
            body_bytes: args.size as usize,
            stop: AtomicBool::new(false),
            confirmed: AtomicU64::new(0),
            consumed_total: AtomicU64::new(0),
        })
    }

    fn counts(&self, at: Instant) -> bool {
        at >= self.from && at < self.to
    }

    /// A body that says when it was sent and, by its number, which message it is.
    fn body(&self, number: u64) -> Vec<u8> {
        let mut body = vec![b'.'; self.body_bytes.max(2 * NUMBER_BYTES)];
        body[..NUMBER_BYTES].copy_from_slice(&number.to_be_bytes());
        let now_us = u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        body[NUMBER_BYTES..2 * NUMBER_BYTES].copy_from_slice(&now_us.to_be_bytes());
        body
    }
}

/// Latencies in microseconds, and how many.
struct Latencies(Histogram<u64>);

impl Latencies {
    /// Longest latency that is told apart from longer ones, µs.
    const MAX_US: u64 = 60_000_000;

    fn new() -> Result<Self, Failure> {
        Histogram::new_with_bounds(1, Self::MAX_US, 3)
            .map(Self)
            .map_err(|error| Failure::new(error.to_string()))
    }

    fn record(&mut self, latency: Duration) {
        self.0
            .saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).clamp(1, Self::MAX_US));
    }

    fn add(&mut self, other: &Self) -> Outcome {
        self.0.add(&other.0).map_err(|error| Failure::new(error.to_string()))
    }

    fn ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// Runs `phalanx bench`.
pub async fn run(args: BenchArgs, common: &Common) -> Outcome {
    let data = DataDir::new(None)?;
    let mut cluster = None;
    let client = if args.spawn {
        output::note("starting three nodes ...");
        let started = LocalCluster::start(&options(data.path(), Ports::Free)?).await?;
        let client = Client::connect(started.addresses()).await?;
        cluster = Some(started);
        client
    } else {
        connect(common).await?
    };
    let workloads =
        if args.workloads.is_empty() { vec![Workload::W1, Workload::W2] } else { args.workloads.clone() };
    let mut results = Vec::new();
    for workload in workloads {
        let pids =
            cluster.as_mut().map(|cluster| cluster.nodes().iter().filter_map(|node| node.pid()).collect());
        let figures = measure(&client, workload, &args, pids).await?;
        results.push(figures);
    }
    if let Some(mut cluster) = cluster {
        cluster.stop().await?;
    }
    present(&results, common.output)?;
    match results.iter().find(|figures| figures.lost > 0) {
        Some(figures) => Err(Failure::new(format!(
            "{}: {} confirmed messages did not come",
            figures.workload, figures.lost
        ))),
        None => Ok(()),
    }
}

async fn measure(
    client: &Client,
    workload: Workload,
    args: &BenchArgs,
    pids: Option<Vec<u32>>,
) -> Result<Figures, Failure> {
    let (name, producers, window, consumers, in_hand) = match workload {
        Workload::W1 => ("W1", 1, 1, 1, WINDOW),
        Workload::W2 => ("W2", args.producers, args.window as usize, args.consumers, args.window),
    };
    output::note(&format!("{name}: {producers} x {window} sends in flight, {} s ...", args.seconds));
    let queue = format!("bench-{}", client.random_id());
    let _queue = client.admin().create_queue(&queue, QueueSettings::default()).await?;
    let run = Run::new(args);
    let cpu_before = pids.as_deref().map(cpu_seconds);

    let mut consuming = Vec::new();
    for _ in 0..consumers {
        let consumer = client.consumer(&queue).window(in_hand).open().await?;
        consuming.push(tokio::spawn(consume(Arc::clone(&run), consumer)));
    }
    let mut producing = Vec::new();
    for place in 0..producers {
        let (client, queue, run) = (client.clone(), queue.clone(), Arc::clone(&run));
        producing
            .push(tokio::spawn(async move { produce(&run, &client, &queue, place.into(), window).await }));
    }
    let mut sends = Latencies::new()?;
    for task in producing {
        sends.add(&joined(task.await)??)?;
    }
    let confirmed = run.confirmed.load(Ordering::Relaxed);
    let drained = Instant::now() + DRAIN_DEADLINE;
    while consumers > 0 && run.consumed_total.load(Ordering::Relaxed) < confirmed && Instant::now() < drained
    {
        tokio::time::sleep(DRAIN_PAUSE).await;
    }
    run.stop.store(true, Ordering::Relaxed);
    let (mut ends, mut seen) = (Latencies::new()?, Vec::new());
    for task in consuming {
        let (latencies, numbers) = joined(task.await)??;
        ends.add(&latencies)?;
        seen.extend(numbers);
    }
    let cpu = cpu_before.zip(pids.as_deref().map(cpu_seconds)).map(|(before, after)| after - before);
    client.admin().delete_queue(&queue).await?;
    Ok(figures(name, args, &sends, &ends, confirmed, seen, cpu, pids.as_deref()))
}

#[allow(clippy::too_many_arguments)] // The figures are made in one place.
fn figures(
    workload: &'static str,
    args: &BenchArgs,
    sends: &Latencies,
    ends: &Latencies,
    confirmed: u64,
    mut seen: Vec<u64>,
    cpu: Option<f64>,
    pids: Option<&[u32]>,
) -> Figures {
    let deliveries = seen.len() as u64;
    seen.sort_unstable();
    seen.dedup();
    let distinct = seen.len() as u64;
    let seconds = args.seconds as f64;
    Figures {
        workload,
        seconds,
        body_bytes: args.size.max(2 * NUMBER_BYTES as u32),
        sent_per_second: (sends.0.len() as f64 / seconds) as u64,
        consumed_per_second: (ends.0.len() as f64 / seconds) as u64,
        send_ms_p50: sends.ms(0.5),
        send_ms_p99: sends.ms(0.99),
        send_ms_p999: sends.ms(0.999),
        send_ms_max: sends.0.max() as f64 / 1000.0,
        end_to_end_ms_p50: (!ends.0.is_empty()).then(|| ends.ms(0.5)),
        end_to_end_ms_p99: (!ends.0.is_empty()).then(|| ends.ms(0.99)),
        node_cpu_seconds_per_million: cpu.map(|cpu| cpu / confirmed.max(1) as f64 * 1e6),
        node_peak_mb: pids.map(peak_mb),
        lost: if args.consumers == 0 && workload == "W2" { 0 } else { confirmed.saturating_sub(distinct) },
        duplicated: deliveries - distinct,
    }
}

/// Keeps `window` sends in flight until the run is over, then waits for the last ones.
async fn produce(
    run: &Run,
    client: &Client,
    queue: &str,
    place: u64,
    window: usize,
) -> Result<Latencies, Failure> {
    let producer = client.producer(queue).window(window).open().await?;
    let mut latencies = Latencies::new()?;
    let mut flying = FuturesUnordered::new();
    let mut number = place << 40;
    loop {
        while flying.len() < window && Instant::now() < run.to {
            let sent = Instant::now();
            let confirmation = producer.enqueue(Message::new(run.body(number))).await?;
            number += 1;
            flying.push(async move { confirmation.await.map(|_| (sent, Instant::now())) });
        }
        let Some(answer) = flying.next().await else { break };
        let (sent, confirmed) = answer?;
        run.confirmed.fetch_add(1, Ordering::Relaxed);
        if run.counts(confirmed) {
            latencies.record(confirmed - sent);
        }
    }
    producer.close().await?;
    Ok(latencies)
}

/// Acknowledges one by one until the run stops; answers the time from send to delivery, and the numbers that came.
async fn consume(run: Arc<Run>, mut consumer: Consumer) -> Result<(Latencies, Vec<u64>), Error> {
    let mut latencies = Latencies::new().map_err(|failure| Error::Invalid { message: failure.message })?;
    let mut numbers = Vec::new();
    while !run.stop.load(Ordering::Relaxed) {
        let Ok(next) = tokio::time::timeout(DRAIN_PAUSE, consumer.next()).await else { continue };
        let Some(delivery) = next else { break };
        let delivery = delivery?;
        let field = |from: usize| {
            let bytes =
                delivery.body().get(from..from + NUMBER_BYTES).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(u64::MAX, u64::from_be_bytes)
        };
        let (number, sent_us) = (field(0), field(NUMBER_BYTES));
        let now = Instant::now();
        if run.counts(now) {
            latencies.record((now - run.begin).saturating_sub(Duration::from_micros(sent_us)));
        }
        numbers.push(number);
        run.consumed_total.fetch_add(1, Ordering::Relaxed);
        // Its answer is not waited for: that is what a window is for.
        drop(delivery.ack());
    }
    consumer.close().await?;
    Ok((latencies, numbers))
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, Failure> {
    result.map_err(|error| Failure::new(error.to_string()))
}

/// User and system time of these processes so far, from `/proc`; 0 where there is none.
fn cpu_seconds(pids: &[u32]) -> f64 {
    /// Ticks a second in `/proc/PID/stat`; fixed at 100 on Linux.
    const TICKS: f64 = 100.0;
    let ticks = |pid: &u32| -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command name, in parentheses, may hold anything; utime and stime are fields 14 and 15.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
    };
    pids.iter().filter_map(ticks).sum::<f64>() / TICKS
}

/// Peak resident memory of these processes, MB.
fn peak_mb(pids: &[u32]) -> u64 {
    let kilobytes = |pid: &u32| -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    pids.iter().filter_map(kilobytes).sum::<u64>() / 1024
}

fn present(results: &[Figures], output: Output) -> Outcome {
    show(output, &results, || {
        let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let row = |figures: &Figures| {
            vec![
                figures.workload.to_owned(),
                thousands(figures.sent_per_second),
                thousands(figures.consumed_per_second),
                format!(
                    "{:.2} / {:.2} / {:.2}",
                    figures.send_ms_p50, figures.send_ms_p99, figures.send_ms_max
                ),
                format!("{} / {}", ms(figures.end_to_end_ms_p50), ms(figures.end_to_end_ms_p99)),
                figures
                    .node_cpu_seconds_per_million
                    .map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.1}")),
                figures.node_peak_mb.map_or_else(|| "-".to_owned(), thousands),
                format!("{} / {}", figures.lost, figures.duplicated),
            ]
        };
        table(
            &[
                "workload",
                "sent/s",
                "consumed/s",
                "send ms p50/p99/max",
                "end to end ms p50/p99",
                "node CPU s per million",
                "nodes MB",
                "lost / twice",
            ],
            results.iter().map(row).collect(),
        )
    })
}
