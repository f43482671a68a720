//! Reads totals, again and again.

use super::{Actor, Stage};
use crate::history::{End, Totals, What};

pub(super) async fn run(mut actor: Actor) {
    while actor.board.stage() != Stage::Over {
        let queue = actor.queue.number;
        let op = actor.recorder.begin(|op| What::Read { op, queue });
        let end = match actor.client.admin().queue_info(&actor.queue.name()).await {
            Ok(info) => End::Known(Totals { sent: info.sent_total, acked: info.acked_total }),
            Err(error) => End::Unknown(error.to_string()),
        };
        actor.recorder.add(What::ReadEnd { op, end });
        actor.pause(200..900).await;
    }
}
