//! Consumers.

use std::time::Duration;

use phalanx_client::Delivery;
use rand::Rng as _;
use tokio::task::JoinSet;

use super::Role;
use super::client::Scribe;

/// After a call that failed.
const PAUSE: Duration = Duration::from_millis(100);
/// Settles that a consumer waits for at once.
const OPEN_MAX: usize = 128;
/// The lease of the queue `mutex`, and of `pauses` at most.
const LEASE_MS: u64 = 3_000;

/// How a consumer works, in percent.
#[derive(Clone, Copy)]
pub struct Habits {
    /// Gives back.
    pub nacks: u32,
    /// Forgets.
    pub drops: u32,
    /// Goes on when the lease is over.
    pub oversleeps: u32,
    /// Waits for a message this long, ms.
    pub wait_ms: u64,
}

impl Default for Habits {
    fn default() -> Self {
        Self { nacks: 0, drops: 0, oversleeps: 0, wait_ms: 500 }
    }
}

/// One message after the other, each by a call.
pub async fn by_calls(mut role: Role, habits: Habits) {
    let receiver = role.client.receiver(&role.scribe.queue);
    let wait = Duration::from_millis(habits.wait_ms);
    let mut acks = JoinSet::new();
    while !role.is_over() {
        match role.scribe.receive(&receiver, wait).await {
            Ok(Some(delivery)) => {
                let chance = role.random.random_range(0..100);
                if chance < habits.oversleeps {
                    let too_long =
                        delivery.lease_left() + Duration::from_millis(role.random.random_range(0..1_500));
                    role.rest(too_long).await;
                }
                let nacks = chance >= habits.oversleeps && chance < habits.oversleeps + habits.nacks;
                acks.spawn(settle(role.scribe.clone(), delivery, nacks));
            }
            Ok(None) => role.rest(Duration::from_millis(50)).await,
            Err(_) => role.rest(PAUSE).await,
        }
        while acks.len() >= OPEN_MAX {
            acks.join_next().await;
        }
        while acks.try_join_next().is_some() {}
    }
    while acks.join_next().await.is_some() {}
}

pub(super) async fn settle(scribe: Scribe, delivery: Delivery, nacks: bool) {
    if nacks {
        scribe.nack(delivery, Duration::ZERO).await;
    } else {
        scribe.ack(delivery).await;
    }
}

/// By a stream. Settles are sent in the order of deliveries.
pub async fn by_stream(mut role: Role, habits: Habits) {
    while !role.is_over() {
        let builder =
            role.client.consumer(&role.scribe.queue).window(64).settle_deadline(Duration::from_secs(10));
        let Ok(mut consumer) = builder.open().await else {
            role.rest(PAUSE).await;
            continue;
        };
        let mut acks = JoinSet::new();
        let mut stop = role.stage.stop.clone();
        loop {
            let next = tokio::select! {
                next = role.scribe.next(&mut consumer) => next,
                _ = stop.wait_for(|stop| *stop) => None,
            };
            let Some(delivery) = next else { break };
            let chance = role.random.random_range(0..100);
            if chance < habits.drops {
                drop(delivery);
            } else {
                acks.spawn(settle(role.scribe.clone(), delivery, chance < habits.drops + habits.nacks));
            }
            while acks.len() >= OPEN_MAX {
                acks.join_next().await;
            }
            while acks.try_join_next().is_some() {}
        }
        // What was not settled is given back at once.
        let _ = consumer.close().await;
        while acks.join_next().await.is_some() {}
    }
}

/// Takes the lock, holds it for a while (sometimes beyond its lease), and gives it back.
pub async fn lock(mut role: Role) {
    let receiver = role.client.receiver(&role.scribe.queue);
    while !role.is_over() {
        match role.scribe.receive(&receiver, Duration::from_secs(1)).await {
            Ok(Some(delivery)) => {
                let is_long = role.random.random_range(0..100) < 20;
                let hold_ms = if is_long { LEASE_MS + 1_000 } else { role.random.random_range(0..300) };
                role.rest(Duration::from_millis(hold_ms)).await;
                role.scribe.nack(delivery, Duration::ZERO).await;
            }
            Ok(None) => {}
            Err(_) => role.rest(PAUSE).await,
        }
    }
}
