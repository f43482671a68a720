//! A pipelined, idempotent producer.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use phalanx_client::Confirmation;
use tokio::task::JoinSet;

use super::{Actor, CALL_DEADLINE, Stage, outcome};
use crate::history::{Identity, Op, Recorder, What};

/// Messages of one life of a producer.
const LIFE: std::ops::Range<u64> = 8..60;

pub(super) async fn run(mut actor: Actor) {
    while actor.board.stage() == Stage::Work {
        live(&mut actor).await;
    }
    actor.board.sending.fetch_sub(1, Relaxed);
}

/// One life: an identity, and what is sent under it.
async fn live(actor: &mut Actor) {
    let window = actor.random.within(1..12) as usize;
    let coalesce = *actor.random.pick(&[1, 1, 8]);
    let builder = actor.client.producer(actor.queue.name()).window(window).coalesce(coalesce);
    let builder = builder.send_deadline(CALL_DEADLINE).open_deadline(CALL_DEADLINE);
    let Ok(producer) = builder.open().await else {
        actor.pause(100..300).await;
        return;
    };
    let identity = actor.board.identity();
    let mut confirmations = JoinSet::new();
    let count = actor.random.within(LIFE);
    for place in 0..count {
        if actor.board.stage() != Stage::Work {
            break;
        }
        let (sending, message) = actor.message();
        let (queue, identity) = (actor.queue.number, Identity::Stream { producer: identity, place });
        let op = actor.recorder.begin(|op| What::Send { op, queue, identity, messages: vec![sending] });
        match producer.enqueue(message).await {
            Ok(confirmation) => {
                confirmations.spawn(confirmed(actor.recorder.clone(), op, confirmation));
            }
            Err(error) => actor.recorder.add(What::SendEnd { op, end: outcome::of_send(Err(error)) }),
        }
        let slow = if actor.random.chance(5) { 10 } else { 1 };
        actor.pause(5 * slow..120 * slow).await;
    }
    if actor.random.chance(20) {
        // Left in the middle of things: what is not confirmed now has an unknown outcome.
        drop(producer);
    } else {
        let flushed = tokio::time::timeout(CALL_DEADLINE + Duration::from_secs(1), producer.close()).await;
        if flushed.is_err() {
            crate::trace::record("a producer did not close in time");
        }
    }
    while confirmations.join_next().await.is_some() {}
}

async fn confirmed(recorder: Recorder, op: Op, confirmation: Confirmation) {
    let result = confirmation.await.map(|sent| vec![sent]);
    recorder.add(What::SendEnd { op, end: outcome::of_send(result) });
}
