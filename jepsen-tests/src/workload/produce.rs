//! Producers.

use std::time::Duration;

use phalanx_client::{Client, Message};
use rand::Rng as _;
use tokio::task::JoinSet;

use super::Role;
use super::client::connect;
use crate::history::{Facts, Kind as End};

/// Ordering groups.
const GROUPS: u64 = 8;
/// A confirmation may take this long.
const SEND_DEADLINE: Duration = Duration::from_secs(8);
/// Confirmations that a producer waits for at once.
const OPEN_MAX: usize = 64;

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Just a number.
    Plain,
    /// With an ordering key.
    Grouped,
    /// To a topic, with what patterns and filters look at.
    Published,
}

fn message(role: &mut Role, kind: Kind) -> (Message, u64, Facts) {
    let value = role.stage.recorder.fresh_value();
    let message = Message::new(value.to_string());
    match kind {
        Kind::Plain => (message, value, Facts::default()),
        Kind::Grouped => {
            let group = role.random.random_range(0..GROUPS);
            let facts = Facts { group: Some(group), ..Facts::default() };
            (message.group(group.to_string()), value, facts)
        }
        Kind::Published => {
            let parity = if value.is_multiple_of(2) { "even" } else { "odd" };
            let message = message.routing_key(format!("numbers.{parity}")).header("parity", parity);
            (message, value, Facts::default())
        }
    }
}

/// One message after the other, each by a call.
pub async fn by_calls(mut role: Role, kind: Kind) {
    while !role.is_over() {
        let (message, value, facts) = message(&mut role, kind);
        role.scribe.send(&role.client, message, value, facts, None).await;
        let pace = role.stage.pace;
        role.rest(pace).await;
    }
}

/// Pipelined.
pub async fn by_stream(mut role: Role, kind: Kind) {
    let mut producers = 0;
    while !role.is_over() {
        let builder = role.client.producer(&role.scribe.queue).window(OPEN_MAX);
        let Ok(producer) = builder.send_deadline(SEND_DEADLINE).open().await else {
            role.rest(Duration::from_millis(200)).await;
            continue;
        };
        producers += 1;
        // Every producer has a name of its own, and counts its sends.
        let name = role.scribe.holder * 1_000_000 + producers;
        let mut confirmations = JoinSet::new();
        let mut place = 0;
        while !role.is_over() {
            let (message, value, facts) = message(&mut role, kind);
            let facts = Facts { producer: Some(name), place: Some(place), ..facts };
            place += 1;
            match role.scribe.enqueue(&producer, message, value, facts).await {
                Ok(confirmation) => drop(confirmations.spawn(confirmation)),
                Err(_) => break,
            }
            while confirmations.len() >= OPEN_MAX {
                confirmations.join_next().await;
            }
            while confirmations.try_join_next().is_some() {}
            let pace = role.stage.pace;
            role.rest(pace).await;
        }
        while confirmations.join_next().await.is_some() {}
    }
}

/// Says things twice: the same request through another node, and other messages with the same deduplication id.
pub async fn repeating(mut role: Role) {
    let addresses = role.stage.addresses.clone();
    let others: Result<Vec<Client>, _> = (0..addresses.len() as u64)
        .map(|node| {
            connect(&addresses, node + (node + role.scribe.holder) % 4 * 64 * addresses.len() as u64, true)
        })
        .collect();
    let Ok(others) = others else { return };
    let mut rounds = 0;
    while !role.is_over() {
        rounds += 1;
        let name = role.scribe.holder * 1_000_000 + rounds;
        let mut pick = || others[role.random.random_range(0..others.len())].clone();
        let (first, second) = (pick(), pick());
        if rounds.is_multiple_of(2) {
            let id = role.client.random_id();
            let value = role.stage.recorder.fresh_value();
            let facts = Facts { request: Some(name), ..Facts::default() };
            // At the same time, or one after the other.
            let scribe = &role.scribe;
            let send = |client: Client| {
                let facts = facts.clone();
                async move { scribe.send(&client, value.to_string().into(), value, facts, Some(id)).await }
            };
            if rounds.is_multiple_of(4) {
                futures::join!(send(first), send(second));
            } else if send(first).await != End::Fail {
                send(second).await;
            }
        } else {
            // A new id, or one that was used before: it is remembered for minutes.
            let earlier = role.random.random_range(0..rounds.min(200)) & !1;
            let name = if role.random.random_bool(0.5) { name } else { name - earlier };
            let facts = Facts { dedup: Some(name), ..Facts::default() };
            let scribe = &role.scribe;
            let send = |client: Client| {
                let (facts, value) = (facts.clone(), role.stage.recorder.fresh_value());
                let message = Message::new(value.to_string()).deduplication_id(name.to_string());
                async move { scribe.send(&client, message, value, facts, None).await }
            };
            futures::join!(send(first), send(second));
        }
        let pace = role.stage.pace;
        role.rest(pace).await;
    }
}
