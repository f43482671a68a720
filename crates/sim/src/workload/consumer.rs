//! A consumer with a stream: it acknowledges most of what it gets, gives some back, is too slow for some, and comes and goes.

use std::time::Duration;

use phalanx_client::{Consumer, Delivery, Id, ReturnReason};

use super::{Actor, Stage, number_of, outcome};
use crate::history::{Action, Delivered, Returned, What};

/// `open` may take this long.
const OPEN_DEADLINE: Duration = Duration::from_secs(3);
/// From a settle to its answer.
const SETTLE_DEADLINE: Duration = Duration::from_secs(4);
/// How often the stage is looked at.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn run(mut actor: Actor) {
    let mut holder = actor.board.identity();
    while actor.board.stage() != Stage::Over {
        if actor.random.chance(40) {
            holder = actor.board.identity();
        }
        attend(&mut actor, holder).await;
        actor.pause(10..200).await;
    }
}

/// From one attach to its end.
async fn attend(actor: &mut Actor, holder: u64) {
    let window = actor.random.within(1..16) as u32;
    let extends = actor.random.chance(50).then_some(Duration::from_secs(60));
    let builder = actor.client.consumer(actor.queue.name()).consumer_id(Id::from_u128(u128::from(holder)));
    let builder = builder.window(window).max_processing(extends).settle_deadline(SETTLE_DEADLINE);
    let Ok(mut consumer) = builder.open_deadline(OPEN_DEADLINE).open().await else { return };
    let mut left = actor.random.within(5..80);
    while actor.board.stage() != Stage::Over {
        let delivery = match tokio::time::timeout(LOOK, consumer.next()).await {
            Err(_) => continue,
            Ok(Some(Ok(delivery))) => delivery,
            Ok(Some(Err(_)) | None) => return,
        };
        handle(actor, holder, delivery).await;
        left = left.saturating_sub(1);
        if left == 0 && actor.board.stage() == Stage::Work {
            break;
        }
    }
    leave(actor, consumer).await;
}

async fn leave(actor: &mut Actor, consumer: Consumer) {
    // Half of them slam the door.
    if actor.random.chance(50)
        && let Err(error) = consumer.close().await
    {
        crate::trace::record(&format!("a consumer's goodbye: {error}"));
    }
}

async fn handle(actor: &mut Actor, holder: u64, delivery: Delivery) {
    actor.recorder.add(What::Deliver(Delivered {
        queue: actor.queue.number,
        holder,
        token: delivery.token(),
        sequence: delivery.sequence(),
        message: number_of(delivery.body()),
        attempt: delivery.attempt(),
        redelivery: delivery.redelivery().map(reason),
        left_ms: delivery.lease_left().as_millis() as u64,
    }));
    let dice = if actor.board.stage() == Stage::Work { actor.random.within(0..100) } else { 0 };
    match dice {
        0..75 => settle(actor, holder, delivery, Action::Ack).await,
        75..85 => {
            let delay_ms = if actor.random.chance(60) { 0 } else { actor.random.within(10..1_500) };
            settle(actor, holder, delivery, Action::Nack { delay_ms }).await;
        }
        85..88 => settle(actor, holder, delivery, Action::Reject).await,
        88..93 => {
            extend(actor, holder, &delivery).await;
            actor.pause(10..600).await;
            settle(actor, holder, delivery, Action::Ack).await;
        }
        93..96 => {
            // Out for too long: whether the lease is over now is the server's to say.
            let beyond = actor.queue.lease + Duration::from_millis(actor.random.within(0..1_500));
            tokio::time::sleep(beyond).await;
            settle(actor, holder, delivery, Action::Ack).await;
        }
        _ => drop(delivery),
    }
    if actor.board.stage() == Stage::Work {
        actor.pause(0..60).await;
    }
}

fn left_ms(delivery: &Delivery) -> u64 {
    if delivery.is_lost() { 0 } else { delivery.lease_left().as_millis() as u64 }
}

async fn extend(actor: &mut Actor, holder: u64, delivery: &Delivery) {
    let (queue, token, left_ms) = (actor.queue.number, delivery.token(), left_ms(delivery));
    let op =
        actor.recorder.begin(|op| What::Settle { op, queue, holder, token, action: Action::Extend, left_ms });
    let end = outcome::of_settle(delivery.extend(None).await);
    actor.recorder.add(What::SettleEnd { op, end });
}

async fn settle(actor: &mut Actor, holder: u64, delivery: Delivery, action: Action) {
    let (queue, token, left_ms) = (actor.queue.number, delivery.token(), left_ms(&delivery));
    let op = actor.recorder.begin(|op| What::Settle { op, queue, holder, token, action, left_ms });
    let settlement = match action {
        Action::Nack { delay_ms } => delivery.nack(Duration::from_millis(delay_ms)),
        Action::Reject => delivery.reject(),
        Action::Ack | Action::Extend => delivery.ack(),
    };
    let end = outcome::of_settle(settlement.await);
    actor.recorder.add(What::SettleEnd { op, end });
}

fn reason(reason: ReturnReason) -> Returned {
    match reason {
        ReturnReason::Nacked => Returned::Nacked,
        ReturnReason::Expired => Returned::Expired,
        ReturnReason::ConsumerLost => Returned::Lost,
        ReturnReason::GroupReturned => Returned::Group,
        ReturnReason::ConsumerClosed => Returned::Closed,
        _ => Returned::Other,
    }
}
