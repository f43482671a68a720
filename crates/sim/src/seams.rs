//! The seam test: three real nodes boot in a simulated world, serve 1,000 sends over one leader kill, and do exactly the same
//! again when the seed is the same.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use phalanx_client::{Client, Message, QueueSettings};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::host::{Machine, Shared};
use crate::net::SimNet;
use crate::{determinism, trace};

/// Messages of a run.
const SENDS: u64 = 1_000;
/// The leader is killed after this many confirmations.
const KILL_AFTER: u64 = 500;
/// Sends in flight.
const WINDOW: usize = 16;
/// Simulated time between the kill and the restart.
const DOWN: Duration = Duration::from_secs(2);
/// A run that takes longer, in simulated time, has hung.
const SIMULATED_MAX: Duration = Duration::from_secs(300);
const TICK: Duration = Duration::from_millis(1);
const NODES: u64 = 3;

/// What the client tells the world outside.
#[derive(Default)]
struct Progress {
    /// The node to kill, once.
    kill: Option<u64>,
    confirmed: u64,
    consumed: u64,
    done: bool,
}

/// What a run came to.
pub struct Outcome {
    /// Hash of the trace.
    pub hash: u64,
    /// Events in it.
    pub events: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u128,
    /// Messages confirmed, and consumed in order.
    pub confirmed: u64,
    /// See `confirmed`.
    pub consumed: u64,
}

/// Runs one seed. Once a process: entropy and clock are replaced for all of it.
///
/// # Errors
/// What went wrong in the simulated world.
pub fn run(seed: u64) -> Result<Outcome, Box<dyn std::error::Error>> {
    determinism::begin(seed);
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(trace::TraceLayer));
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(SIMULATED_MAX)
        .tick_duration(TICK)
        .min_message_latency(Duration::from_micros(200))
        .max_message_latency(Duration::from_millis(5))
        .tcp_capacity(65_536)
        .enable_random_order()
        .build();
    let machines: Vec<Machine> = (1..=NODES).map(|id| Machine::new(id, NODES, seed)).collect();
    for machine in &machines {
        let machine = machine.clone();
        sim.host(machine.name(), move || machine.clone().run());
    }
    let progress: Shared<Progress> = Arc::default();
    let addresses: Vec<String> = machines.iter().map(Machine::address).collect();
    let client_progress = Arc::clone(&progress);
    sim.client("client", async move { client(seed, addresses, client_progress).await });

    let mut restart: Option<(Duration, u64)> = None;
    loop {
        let finished = sim.step()?;
        determinism::set_now_ns(u64::try_from(sim.elapsed().as_nanos()).unwrap_or(u64::MAX));
        if finished || progress.lock().done {
            break;
        }
        if let Some(id) = progress.lock().kill.take() {
            let machine = &machines[id as usize - 1];
            trace::record(&format!("kill {}", machine.name()));
            sim.crash(machine.name());
            machine.killed();
            restart = Some((sim.elapsed() + DOWN, id));
        }
        if let Some((at, id)) = restart
            && sim.elapsed() >= at
        {
            sim.bounce(machines[id as usize - 1].name());
            restart = None;
        }
    }
    let (hash, events) = trace::result();
    let progress = progress.lock();
    let simulated_ms = sim.elapsed().as_millis();
    Ok(Outcome { hash, events, simulated_ms, confirmed: progress.confirmed, consumed: progress.consumed })
}

async fn client(
    seed: u64,
    addresses: Vec<String>,
    progress: Shared<Progress>,
) -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::builder().addresses(addresses).connector(SimNet).seed(seed).build()?;
    let _queue = client.admin().create_queue("seams", QueueSettings::default()).await?;
    let producer = client.producer("seams").window(WINDOW).coalesce(1).open().await?;
    let mut flying = FuturesUnordered::new();
    let mut next = 0;
    loop {
        while flying.len() < WINDOW && next < SENDS {
            flying.push(producer.enqueue(Message::new(next.to_be_bytes().to_vec())).await?);
            next += 1;
        }
        let Some(confirmation) = flying.next().await else { break };
        let sent = confirmation?;
        let confirmed = {
            let mut progress = progress.lock();
            progress.confirmed += 1;
            progress.confirmed
        };
        trace::record(&format!("confirmed {}", sent.sequence));
        if confirmed == KILL_AFTER {
            let leader = client.admin().queue_info("seams").await?.leader_node;
            progress.lock().kill = Some(leader);
        }
    }
    producer.close().await?;
    let mut consumer = client.consumer("seams").open().await?;
    for expected in 0..SENDS {
        let delivery = consumer.next().await.ok_or("the consumer ended")??;
        let number = u64::from_be_bytes(delivery.body()[..].try_into()?);
        if number != expected {
            return Err(format!("message {number} came where {expected} was due").into());
        }
        delivery.ack().await?;
        progress.lock().consumed += 1;
    }
    consumer.close().await?;
    progress.lock().done = true;
    Ok(())
}
