//! Commands at random, without looking at what they do: streams, windows, settles of tokens that may be nobody's.

use phalanx_state_machine::command::{
    Attach, CommandKind, Detach, DropQueue, Mark, Place, PlaceKind, Purge, Receive, Seek, Send, SetWindow,
    Settle, SettleAction, SettleItem, TermStart, Tick, TokenRange,
};

use super::{CONDITIONS, TOPIC, message, put};
use crate::support::{Rng, id};

const SUBSCRIPTIONS: u64 = 4;

/// The commands of an entry.
pub fn commands(random: &mut Rng, round: u64) -> Vec<CommandKind> {
    (0..1 + random.below(3)).map(|_| command(random, round)).collect()
}

fn command(random: &mut Rng, round: u64) -> CommandKind {
    let uid = TOPIC + 1 + random.below(SUBSCRIPTIONS);
    let consumer = id(1 + random.below(3));
    match random.below(100) {
        0..30 => {
            let messages =
                (0..1 + random.below(5)).map(|at| message(random, round * 10 + at, true).1).collect();
            CommandKind::Send(Send { uid: TOPIC, messages, ..Send::default() })
        }
        30..45 => {
            let (pattern, filter) = *random.pick(&CONDITIONS);
            put(uid, 1 + round, Some((pattern, filter)))
        }
        45..55 => CommandKind::Attach(Attach {
            uid,
            consumer,
            incarnation: round,
            name: String::new(),
            window_messages: 1 + random.below(6) as u32,
            window_bytes: 1 << 20,
            lease_ms: 500,
            held: Vec::new(),
        }),
        55..58 => CommandKind::Detach(Detach { uid, consumer, incarnation: round, clean: random.chance(50) }),
        58..62 => CommandKind::SetWindow(SetWindow {
            uid,
            consumer,
            incarnation: round,
            window_messages: random.below(9) as u32,
            window_bytes: 1 << 20,
        }),
        62..70 => CommandKind::Receive(Receive {
            uid,
            consumer,
            request: id(10_000 + random.below(1 << 40)),
            messages_max: 1 + random.below(4) as u32,
            bytes_max: 0,
            lease_ms: 0,
            last: false,
        }),
        70..92 => {
            let action = *random.pick(&[
                SettleAction::Ack,
                SettleAction::Ack,
                SettleAction::Nack,
                SettleAction::Reject,
            ]);
            let first = random.below(60);
            let tokens = vec![TokenRange { first, last: first + random.below(6) }];
            let delay_ms = random.below(3) * 300;
            let item = SettleItem { action: action.into(), tokens, delay_ms, ..SettleItem::default() };
            CommandKind::Settle(Settle { uid, consumer, items: vec![item] })
        }
        92 => CommandKind::Purge(Purge { uid }),
        93 => {
            let kind = match random.below(4) {
                0 => PlaceKind::Earliest(true),
                1 => PlaceKind::Latest(true),
                2 => PlaceKind::Sequence(random.below(60)),
                _ => PlaceKind::Mark("m".into()),
            };
            CommandKind::Seek(Seek { uid, place: Place { kind: Some(kind) } })
        }
        94 if random.chance(60) => {
            CommandKind::Mark(Mark { uid, name: "m".into(), remove: random.chance(10) })
        }
        94..95 => CommandKind::DropQueue(DropQueue { uid }),
        95..97 => CommandKind::TermStart(TermStart { term: 1 + round, leader: 1 }),
        _ => CommandKind::Tick(Tick {}),
    }
}
