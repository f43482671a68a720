//! Receives and settles by single calls, from the protocol files alone: every question may be asked twice, of any node.

use std::time::Duration;

use phalanx_client::Channel;
use phalanx_proto::v1;
use phalanx_proto::v1::messages_client::MessagesClient;
use tokio::time::Instant;

use super::nodes::Nodes;
use super::{Actor, Stage, number_of};
use crate::history::{Action, Delivered, End, Returned, Settled, What};

/// One attempt may take this long beyond its own wait.
const ATTEMPT: Duration = Duration::from_millis(1_500);
/// Attempts of one question.
const ATTEMPTS_MAX: u64 = 6;

/// A receiver: its identity and its way to each node.
struct Receiver {
    holder: u64,
    nodes: Nodes,
}

pub(super) async fn run(mut actor: Actor) {
    let mut receiver = Receiver { holder: actor.board.identity(), nodes: Nodes::of(&actor, ATTEMPT) };
    while actor.board.stage() != Stage::Over {
        let deliveries = receive(&mut actor, &mut receiver).await;
        for (delivery, arrived) in deliveries {
            handle(&mut actor, &mut receiver, delivery, arrived).await;
        }
        if actor.board.stage() == Stage::Work {
            actor.pause(0..250).await;
        }
    }
}

impl Receiver {
    fn id(&self) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(&u128::from(self.holder).to_be_bytes())
    }

    fn node(&mut self, actor: &mut Actor) -> MessagesClient<Channel> {
        MessagesClient::new(self.nodes.pick(&mut actor.random))
    }
}

async fn receive(actor: &mut Actor, receiver: &mut Receiver) -> Vec<(v1::Delivery, Instant)> {
    let request = actor.board.identity();
    let wait_ms = actor.random.within(0..600);
    let ask = v1::ReceiveRequest {
        namespace: String::new(),
        queue: actor.queue.name(),
        consumer_id: receiver.id(),
        request_id: bytes::Bytes::copy_from_slice(&(u128::from(request) << 64 | 2).to_be_bytes()),
        max_messages: actor.random.within(1..5) as u32,
        wait_ms,
        lease_ms: 0,
        repeated: false,
    };
    let (queue, holder) = (actor.queue.number, receiver.holder);
    let mut given = Vec::new();
    for attempt in 0..ATTEMPTS_MAX {
        let ask = v1::ReceiveRequest { repeated: attempt > 0, ..ask.clone() };
        let op = actor.recorder.begin(|op| What::Receive { op, queue, holder, request });
        let mut node = receiver.node(actor);
        let answer = tokio::time::timeout(ATTEMPT + Duration::from_millis(wait_ms), node.receive(ask)).await;
        let mut again = actor.random.chance(20) && actor.board.stage() == Stage::Work;
        let end = match answer {
            Ok(Ok(response)) => {
                let arrived = response.into_inner().deliveries;
                arrived.iter().for_each(|delivery| note(actor, holder, delivery));
                let tokens = arrived.iter().map(|delivery| delivery.token).collect();
                given = arrived.into_iter().map(|delivery| (delivery, Instant::now())).collect();
                End::Known(tokens)
            }
            failed => {
                receiver.nodes.failed();
                again = actor.board.stage() != Stage::Over;
                End::Unknown(
                    failed.map_or_else(|_| "no answer".to_owned(), |status| format!("{:?}", status.err())),
                )
            }
        };
        actor.recorder.add(What::ReceiveEnd { op, end });
        if !again {
            break;
        }
        actor.pause(10..300).await;
    }
    given
}

fn note(actor: &Actor, holder: u64, delivery: &v1::Delivery) {
    let body = delivery.message.as_ref().map(|message| message.body.clone()).unwrap_or_default();
    let redelivery = match v1::ReturnReason::try_from(delivery.redelivery) {
        Ok(v1::ReturnReason::Unspecified) => None,
        Ok(v1::ReturnReason::Nacked) => Some(Returned::Nacked),
        Ok(v1::ReturnReason::Expired) => Some(Returned::Expired),
        Ok(v1::ReturnReason::ConsumerLost) => Some(Returned::Lost),
        Ok(v1::ReturnReason::GroupReturned) => Some(Returned::Group),
        Ok(v1::ReturnReason::ConsumerClosed) => Some(Returned::Closed),
        Err(_) => Some(Returned::Other),
    };
    actor.recorder.add(What::Deliver(Delivered {
        queue: actor.queue.number,
        holder,
        token: delivery.token,
        sequence: delivery.sequence,
        message: number_of(&body),
        attempt: delivery.attempt,
        redelivery,
        left_ms: delivery.lease_left_ms,
    }));
}

async fn handle(actor: &mut Actor, receiver: &mut Receiver, delivery: v1::Delivery, arrived: Instant) {
    let dice = if actor.board.stage() == Stage::Work { actor.random.within(0..100) } else { 0 };
    let action = match dice {
        0..75 => Action::Ack,
        75..85 => Action::Nack { delay_ms: *actor.random.pick(&[0, 0, 300]) },
        85..88 => Action::Reject,
        88..92 => {
            settle(actor, receiver, &delivery, Action::Extend, arrived).await;
            Action::Ack
        }
        92..96 => {
            let beyond = actor.queue.lease + Duration::from_millis(actor.random.within(0..1_500));
            tokio::time::sleep(beyond).await;
            Action::Ack
        }
        _ => return,
    };
    settle(actor, receiver, &delivery, action, arrived).await;
}

async fn settle(
    actor: &mut Actor,
    receiver: &mut Receiver,
    delivery: &v1::Delivery,
    action: Action,
    arrived: Instant,
) {
    let (kind, delay_ms) = match action {
        Action::Ack => (v1::SettleAction::Ack, 0),
        Action::Nack { delay_ms } => (v1::SettleAction::Nack, delay_ms),
        Action::Reject => (v1::SettleAction::Reject, 0),
        Action::Extend => (v1::SettleAction::Extend, 0),
    };
    let token = delivery.token;
    let item = v1::SettleItem {
        action: kind as i32,
        tokens: vec![v1::TokenRange { first: token, last: token }],
        up_to: 0,
        delay_ms,
        lease_ms: 0,
    };
    let ask = v1::SettleRequest {
        namespace: String::new(),
        queue: actor.queue.name(),
        consumer_id: receiver.id(),
        items: vec![item],
    };
    let (queue, holder) = (actor.queue.number, receiver.holder);
    for _ in 0..ATTEMPTS_MAX {
        let left_ms = delivery.lease_left_ms.saturating_sub(arrived.elapsed().as_millis() as u64);
        let op = actor.recorder.begin(|op| What::Settle { op, queue, holder, token, action, left_ms });
        let mut node = receiver.node(actor);
        let answer = tokio::time::timeout(ATTEMPT, node.settle(ask.clone())).await;
        let mut again = actor.random.chance(20) && actor.board.stage() == Stage::Work;
        let end = match answer {
            Ok(Ok(response)) => told(&response.into_inner(), token, kind),
            failed => {
                receiver.nodes.failed();
                again = actor.board.stage() != Stage::Over;
                End::Unknown(
                    failed.map_or_else(|_| "no answer".to_owned(), |status| format!("{:?}", status.err())),
                )
            }
        };
        actor.recorder.add(What::SettleEnd { op, end });
        if !again {
            return;
        }
        actor.pause(5..200).await;
    }
}

/// What an answer says of a token.
pub(super) fn told(response: &v1::SettleResponse, token: u64, asked: v1::SettleAction) -> End<Settled> {
    let about = response.outcomes.iter().find(|outcome| {
        outcome.tokens.as_ref().is_some_and(|range| (range.first..=range.last).contains(&token))
    });
    let Some(outcome) = about else { return End::Unknown("the answer does not name the token".to_owned()) };
    let done = match asked {
        v1::SettleAction::Ack => v1::SettleResult::Acked,
        v1::SettleAction::Nack => v1::SettleResult::Nacked,
        v1::SettleAction::Reject => v1::SettleResult::Rejected,
        v1::SettleAction::Extend | v1::SettleAction::Unspecified => v1::SettleResult::Extended,
    };
    if outcome.result == done as i32 {
        End::Known(Settled::Done)
    } else if outcome.result == v1::SettleResult::LeaseOver as i32 {
        End::Known(Settled::Over)
    } else {
        // Never asked: only an extension that comes after the end of its lease may be answered with how that ended.
        End::Unknown(format!("answered {}", outcome.result))
    }
}
