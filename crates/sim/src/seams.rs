//! The seam test: three real nodes boot in a simulated world, serve 1,000 sends over one leader kill, and do exactly the same
//! again when the seed is the same.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use phalanx_client::{Client, Connector, Message, QueueSettings};
use phalanx_raft::RaftOptions;

use crate::history::Recorder;
use crate::nemesis::Faults as _;
use crate::net::{Door, Transport};
use crate::world::{Setup, World};
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

/// A cell that the simulated client and the world outside it share.
type Shared<T> = Arc<Mutex<T>>;

/// What the client tells the world outside.
#[derive(Default)]
struct Progress {
    /// The node to kill, once.
    kill: Option<u64>,
    confirmed: u64,
    consumed: u64,
    end: Option<Result<(), String>>,
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

fn setup() -> Setup {
    Setup {
        nodes: 3,
        replicas: 3,
        shards: 2,
        segment_bytes: 16 * 1024 * 1024,
        budget_bytes: 128 * 1024 * 1024,
        request_bytes: 4 * 1024 * 1024,
        raft: RaftOptions::default(),
    }
}

/// Runs one seed, traced in detail. Once a process: entropy and clock are replaced for all of it.
///
/// # Errors
/// What went wrong in the simulated world.
pub fn run(seed: u64) -> Result<Outcome, String> {
    determinism::begin(seed);
    let _guard = trace::subscribe(tracing::Level::DEBUG);
    let mut world = World::new(seed, &setup(), Transport::Tonic, Recorder::default());
    let progress: Shared<Progress> = Arc::default();
    let (addresses, shared, door) = (world.addresses(), Arc::clone(&progress), world.door("client"));
    world.client("client", async move {
        let end = client(seed, addresses, door, Arc::clone(&shared)).await.map_err(|error| error.to_string());
        shared.lock().end = Some(end);
    });

    let mut restart: Option<(Duration, u64)> = None;
    loop {
        world.step()?;
        if let Some(end) = progress.lock().end.take() {
            end?;
            break;
        }
        if world.now() > SIMULATED_MAX {
            return Err(format!("not done after {SIMULATED_MAX:?}"));
        }
        if let Some(id) = progress.lock().kill.take() {
            world.kill(id);
            restart = Some((world.now() + DOWN, id));
        }
        if let Some((at, id)) = restart
            && world.now() >= at
        {
            world.start(id);
            restart = None;
        }
    }
    let (hash, events) = trace::result();
    let progress = progress.lock();
    let simulated_ms = world.now().as_millis();
    Ok(Outcome { hash, events, simulated_ms, confirmed: progress.confirmed, consumed: progress.consumed })
}

async fn client(
    seed: u64,
    addresses: Vec<String>,
    door: Arc<dyn Door>,
    progress: Shared<Progress>,
) -> Result<(), Box<dyn std::error::Error>> {
    let connector = move |endpoint| Connector::channel(door.as_ref(), endpoint);
    let client = Client::builder().addresses(addresses).connector(connector).seed(seed).build()?;
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
    Ok(())
}
