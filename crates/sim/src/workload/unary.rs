//! Sends by single calls, repeated under their request ids: when nobody knows what came of them, and sometimes for no reason.

use std::sync::atomic::Ordering::Relaxed;

use phalanx_client::Id;

use super::{Actor, Stage, outcome};
use crate::history::{End, Identity, What};

/// Attempts of one send, each of which the client repeats by itself until its deadline.
const ATTEMPTS_MAX: u64 = 4;

pub(super) async fn run(mut actor: Actor) {
    while actor.board.stage() == Stage::Work {
        send(&mut actor).await;
        actor.pause(60..300).await;
    }
    actor.board.sending.fetch_sub(1, Relaxed);
}

async fn send(actor: &mut Actor) {
    let request = actor.board.identity();
    let count = actor.random.within(1..4);
    let (sendings, messages): (Vec<_>, Vec<_>) = (0..count).map(|_| actor.message()).unzip();
    for _ in 0..ATTEMPTS_MAX {
        let (queue, identity) = (actor.queue.number, Identity::Request(request));
        let messages_said = sendings.clone();
        let op = actor.recorder.begin(|op| What::Send { op, queue, identity, messages: messages_said });
        let id = Id::from_u128(u128::from(request) << 64 | 1);
        let result = actor.client.send_with_id(actor.queue.name(), messages.clone(), id).await;
        let end = outcome::of_send(result);
        let again = match end {
            End::Known(_) => actor.random.chance(15),
            End::Refused(_) | End::Unknown(_) => actor.random.chance(80),
        };
        actor.recorder.add(What::SendEnd { op, end });
        if !again {
            return;
        }
        actor.pause(20..400).await;
    }
}
