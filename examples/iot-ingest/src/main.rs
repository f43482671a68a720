//! A hundred devices send readings in bursts; the consumer is slow, and the queue is bounded.
//!
//! A burst is a batch: all of it or nothing, in order. When the queue is full the batch is refused, nothing of it is written, and the
//! device keeps it and tries again when the server says: the pressure reaches the devices, and no memory grows. Each device is a
//! group, so its readings are worked on in order while those of others flow beside them. In the middle the leader is killed.
#![allow(clippy::print_stdout)] // an example speaks to its reader

mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use clap::Parser;
use futures::future::try_join_all;
use phalanx_client::{Client, Delivery, Error, Message, Nack, Producer, QueueSettings};
use phalanx_example_stage::{Failure, Stage, Where};

use crate::store::Store;

const QUEUE: &str = "readings";
/// Readings in one burst.
const BURST: u64 = 20;
/// A device is silent this long between bursts.
const SILENCE: Duration = Duration::from_millis(20);
/// Most readings that wait.
const LENGTH_MAX: u64 = 1_000;
/// Readings that the consumer works on at the same time.
const AT_A_TIME: usize = 16;
/// All readings are stored by then, or something is lost.
const PATIENCE: Duration = Duration::from_secs(180);

#[derive(Parser)]
#[command(
    about = "Take in the readings of many devices, in order for each, with back-pressure, while the leader is killed"
)]
struct Cli {
    #[command(flatten)]
    place: Where,
    /// How many devices.
    #[arg(long, default_value_t = 100)]
    devices: u64,
    /// Readings of each device.
    #[arg(long, default_value_t = 100)]
    readings: u64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cli = Cli::parse();
    let mut stage = Stage::set(&cli.place).await?;
    let client = Client::connect(stage.addresses()).await?;
    let settings = QueueSettings { length_max: Some(LENGTH_MAX), ..QueueSettings::default() };
    client.admin().create_queue(QUEUE, settings).await?;
    let expected = cli.devices * cli.readings;
    let store = Arc::new(Store::default());

    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let consumer = client.consumer(QUEUE).name("ingest").window(64).open().await?;
    let until = async move { stopped.wait_for(|stop| *stop).await.map(drop) };
    let into = store.clone();
    let ingest = tokio::spawn(consumer.for_each_concurrent(AT_A_TIME, until, move |delivery| {
        let into = into.clone();
        async move { ingest(&delivery, &into).await }
    }));

    let held_back = Arc::new(AtomicU64::new(0));
    let devices = (0..cli.devices).map(|number| {
        let (client, held_back) = (client.clone(), held_back.clone());
        tokio::spawn(async move {
            let producer = client.producer(QUEUE).open().await?;
            device(&producer, number, cli.readings, &held_back).await?;
            producer.close().await
        })
    });
    let devices: Vec<_> = devices.collect();

    store.until(expected / 2, PATIENCE).await?;
    stage.kill_leader(&client, QUEUE).await?;
    let waiting = client.admin().queue_info(QUEUE).await?.ready;
    for device in try_join_all(devices).await? {
        device?;
    }
    store.until(expected, PATIENCE).await?;
    stop.send_replace(true);
    ingest.await??;
    stage.strike().await?;
    println!("{waiting} readings waited when the leader died; at most {LENGTH_MAX} may");
    store.verdict(expected, held_back.load(Relaxed))
}

/// One device: bursts, and patience when there is no room.
async fn device(producer: &Producer, number: u64, readings: u64, held_back: &AtomicU64) -> Result<(), Error> {
    for first in (0..readings).step_by(BURST as usize) {
        let burst: Vec<Message> = (first..readings.min(first + BURST))
            .map(|reading| Message::new(reading.to_string()).group(format!("device-{number}")))
            .collect();
        loop {
            match producer.enqueue_batch(burst.clone()).await?.await {
                Ok(_) => break,
                Err(error) if error.is_retryable() => {
                    held_back.fetch_add(1, Relaxed);
                    tokio::time::sleep(error.retry_after().unwrap_or(SILENCE)).await;
                }
                Err(error) => return Err(error),
            }
        }
        tokio::time::sleep(SILENCE).await;
    }
    Ok(())
}

/// Stores one reading, slowly.
async fn ingest(delivery: &Delivery, store: &Store) -> Result<(), Nack> {
    let reading: u64 =
        std::str::from_utf8(delivery.body()).map_err(Nack::reject)?.parse().map_err(Nack::reject)?;
    store.put(&delivery.message().group, reading).await;
    Ok(())
}
