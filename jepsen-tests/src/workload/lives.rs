//! Queues that are deleted and made again under load. Of each name one client decides whether there is a queue; others use the name as if it
//! were always the same queue, with tokens and deduplication ids of earlier lives.

use std::time::Duration;

use phalanx_client::{Client, Delivery, Error, Message, QueueSettings};
use rand::Rng as _;
use tokio::task::JoinSet;

use super::client::{Scribe, is_unknown};
use super::consume::settle;
use super::{Role, lease};
use crate::history::{F, Facts, Kind};

/// Deduplication ids: few enough for every life to use those of the one before.
const DEDUP_IDS: u64 = 3;
/// Deliveries that a client keeps for later.
const HELD_MAX: usize = 12;
/// After a call that failed.
const PAUSE: Duration = Duration::from_millis(100);
/// After the faults a queue is made within this time.
const LAST_LIFE_DEADLINE: Duration = Duration::from_secs(60);

impl Scribe {
    /// Makes the queue; answers with the one of that name if there is one.
    async fn create(&self, client: &Client, settings: QueueSettings) -> Kind {
        let open = self.recorder.begin(F::Create, None, self.facts());
        let (result, late) = self.attempt(client.admin().create_queue(&self.queue, settings)).await;
        match result {
            Ok(made) => {
                self.recorder.end(
                    open,
                    Kind::Ok,
                    None,
                    Facts { uid: Some(made.uid), late, ..Facts::default() },
                );
                Kind::Ok
            }
            Err(error) => self.failed(open, late, &error),
        }
    }

    /// Deletes the queue. Well done, too, when there is none.
    async fn delete(&self, client: &Client) -> Kind {
        let open = self.recorder.begin(F::Delete, None, self.facts());
        let (result, late) = self.attempt(client.admin().delete_queue(&self.queue)).await;
        match result {
            Ok(()) | Err(Error::QueueNotFound { .. }) => {
                self.recorder.end(open, Kind::Ok, None, Facts { late, ..Facts::default() });
                Kind::Ok
            }
            Err(error) => self.failed(open, late, &error),
        }
    }

    /// What an attempt that was given up did is unknown, whatever the last one did.
    fn failed(&self, open: crate::history::Open, late: Option<u64>, error: &Error) -> Kind {
        let kind = if late.is_some() || is_unknown(error) { Kind::Info } else { Kind::Fail };
        self.recorder.end_error(open, kind == Kind::Info, error);
        kind
    }
}

/// Makes the queue and deletes it, again and again; at the end there is one.
pub async fn own(mut role: Role) {
    while !role.is_over() {
        if role.scribe.create(&role.client, lease(8)).await != Kind::Ok {
            role.rest(PAUSE).await;
            continue;
        }
        let life = Duration::from_millis(role.random.random_range(300..2_500));
        role.rest(life).await;
        while !role.is_over() && role.scribe.delete(&role.client).await != Kind::Ok {
            role.rest(PAUSE).await;
        }
        let none = Duration::from_millis(role.random.random_range(0..150));
        role.rest(none).await;
    }
    let last = async {
        while role.scribe.create(&role.client, lease(8)).await != Kind::Ok {
            tokio::time::sleep(PAUSE).await;
        }
    };
    // Without it the queue cannot be drained, which says so.
    let _ = tokio::time::timeout(LAST_LIFE_DEADLINE, last).await;
}

/// Sends, whether there is a queue or not.
pub async fn send(mut role: Role) {
    while !role.is_over() {
        let value = role.stage.recorder.fresh_value();
        let mut message = Message::new(value.to_string());
        let dedup = role.random.random_bool(0.3).then(|| role.random.random_range(0..DEDUP_IDS));
        if let Some(id) = dedup {
            message = message.deduplication_id(id.to_string());
        }
        let facts = Facts { dedup, ..Facts::default() };
        let sent = role.scribe.send(&role.client, message, value, facts, None).await;
        let pause = if sent == Kind::Ok { role.stage.pace } else { PAUSE };
        role.rest(pause).await;
    }
}

/// Receives, and settles at once, or much later.
pub async fn receive(mut role: Role) {
    let mut receiver = role.client.receiver(&role.scribe.queue);
    let mut held: Vec<Delivery> = Vec::new();
    let mut settles = JoinSet::new();
    while !role.is_over() {
        match role.scribe.receive(&receiver, Duration::from_millis(200)).await {
            Ok(Some(delivery)) => match role.random.random_range(0..100) {
                chance @ 0..60 => {
                    settles.spawn(settle(role.scribe.clone(), delivery, chance >= 50));
                }
                _ => held.push(delivery),
            },
            Ok(None) => {}
            Err(error) => {
                if matches!(error, Error::QueueNotFound { .. } | Error::QueueGone { .. }) {
                    // What it has in hand stays with the old one.
                    receiver = role.client.receiver(&role.scribe.queue);
                }
                role.rest(PAUSE).await;
            }
        }
        if held.len() > HELD_MAX || (!held.is_empty() && role.random.random_bool(0.15)) {
            let old = held.swap_remove(role.random.random_range(0..held.len()));
            settles.spawn(settle(role.scribe.clone(), old, role.random.random_bool(0.3)));
        }
        while settles.try_join_next().is_some() {}
    }
    for old in held {
        settles.spawn(settle(role.scribe.clone(), old, false));
    }
    while settles.join_next().await.is_some() {}
}
