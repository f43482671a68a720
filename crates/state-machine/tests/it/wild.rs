//! Commands that nobody sane would send: every kind, with numbers at their edges.

use bytes::Bytes;
use phalanx_state_machine::command::{
    Attach, Bootstrap, CheckDigest, ChunkMatches, CommandKind, ConfirmQueue, CreateQueue, DeleteQueue,
    Detach, DropQueue, GroupRow, Inbox, Mark, NewMessage, NodeRow, Place, PlaceKind, Purge, PutQueue,
    QueueSettings, Receive, Replay, ReplicaRow, Seek, Send, SetWindow, Settle, SettleItem, Source, TermStart,
    Tick, TokenRange, Transfer, TransferMessage, Transferred, UpdateQueue,
};
use phalanx_state_machine::ids::Id128;

use crate::support::{Rng, id};

/// Kinds of commands that [`command`] draws from.
const KINDS: u64 = 24;

/// Mostly small, sometimes at an edge of the type.
pub fn number(rng: &mut Rng) -> u64 {
    match rng.below(10) {
        0..5 => rng.below(6),
        5 => u64::MAX - rng.below(3),
        6 => u64::from(u32::MAX) - 1 + rng.below(3),
        7 => 1 << 63,
        8 => rng.below(100_000),
        _ => rng.next(),
    }
}

fn uid(rng: &mut Rng) -> u64 {
    if rng.chance(90) { 1 + rng.below(3) } else { number(rng) }
}

fn who(rng: &mut Rng) -> Id128 {
    match rng.below(10) {
        0 => Id128::default(),
        1 => Id128 { hi: rng.next(), lo: rng.next() },
        _ => id(1 + rng.below(3)),
    }
}

fn settings(rng: &mut Rng) -> QueueSettings {
    QueueSettings {
        lease_ms: number(rng),
        strict: rng.chance(30),
        length_max: number(rng),
        bytes_max: number(rng),
        dedup_window_ms: number(rng),
        resume_ms: number(rng),
        body_bytes_max: number(rng),
        retain_ms: number(rng),
        retain_bytes: number(rng),
        compact: rng.chance(20),
        latest_only: rng.chance(20),
        expires_ms: if rng.chance(80) { 0 } else { number(rng) },
        exclusive: rng.chance(10),
    }
}

fn place(rng: &mut Rng) -> Place {
    let kind = match rng.below(6) {
        0 => None,
        1 => Some(PlaceKind::Earliest(rng.chance(50))),
        2 => Some(PlaceKind::Latest(rng.chance(50))),
        3 => Some(PlaceKind::Sequence(number(rng))),
        4 => Some(PlaceKind::Time(number(rng))),
        _ => Some(PlaceKind::Mark(text(rng))),
    };
    Place { kind }
}

fn source(rng: &mut Rng) -> Source {
    let target = if rng.chance(30) { uid(rng) } else { 0 };
    Source { topic: uid(rng), pattern: condition(rng), filter: condition(rng), target }
}

/// Something that is a pattern, an expression, both or neither.
fn condition(rng: &mut Rng) -> String {
    (*rng.pick(&["", "", "#", "a.*", "x = 'y'", "n > 1 or exists(z)", "((", "not"])).to_owned()
}

fn text(rng: &mut Rng) -> String {
    match rng.below(6) {
        0 => String::new(),
        1 => "x".repeat(254 + rng.below(4) as usize),
        2 => "control\u{7}".into(),
        _ => format!("q{}", rng.below(4)),
    }
}

fn ranges(rng: &mut Rng) -> Vec<TokenRange> {
    (0..rng.below(4)).map(|_| TokenRange { first: number(rng), last: number(rng) }).collect()
}

fn message(rng: &mut Rng) -> NewMessage {
    NewMessage {
        payload: Bytes::from(vec![7; rng.below(40) as usize]),
        group: Bytes::from(vec![b'g'; if rng.chance(2) { 1_025 } else { rng.below(3) as usize }]),
        dedup: rng.chance(30).then(|| who(rng)),
    }
}

fn send(rng: &mut Rng) -> Send {
    Send {
        uid: uid(rng),
        producer: rng.chance(50).then(|| who(rng)),
        producer_sequence: number(rng),
        request: rng.chance(30).then(|| who(rng)),
        messages: (0..rng.below(5)).map(|_| message(rng)).collect(),
        ..Send::default()
    }
}

fn settle(rng: &mut Rng) -> Settle {
    let items = (0..rng.below(4))
        .map(|_| SettleItem {
            action: if rng.chance(90) { rng.below(5) as i32 } else { rng.next() as i32 },
            tokens: ranges(rng),
            up_to: number(rng),
            delay_ms: number(rng),
            lease_ms: number(rng),
        })
        .collect();
    Settle { uid: uid(rng), consumer: who(rng), items }
}

fn bootstrap(rng: &mut Rng) -> Bootstrap {
    let node = |rng: &mut Rng| NodeRow { node: number(rng), store: who(rng), ..Default::default() };
    let replica = |rng: &mut Rng| ReplicaRow { replica: number(rng), node: number(rng) };
    Bootstrap {
        cluster: who(rng),
        nodes: (0..rng.below(4)).map(|_| node(rng)).collect(),
        groups: (0..rng.below(4))
            .map(|_| GroupRow {
                group: number(rng),
                replicas: (0..rng.below(3)).map(|_| replica(rng)).collect(),
            })
            .collect(),
    }
}

/// Any command, of either kind of group.
pub fn command(rng: &mut Rng) -> CommandKind {
    match rng.below(KINDS) {
        0 => CommandKind::Tick(Tick {}),
        1 => CommandKind::TermStart(TermStart { term: number(rng), leader: number(rng) }),
        2 => CommandKind::PutQueue(PutQueue {
            uid: uid(rng),
            version: number(rng),
            namespace: text(rng),
            name: text(rng),
            settings: settings(rng),
            first_token: number(rng),
            kind: rng.below(5) as i32,
            source: rng.chance(30).then(|| source(rng)),
            start: rng.chance(30).then(|| place(rng)),
        }),
        3 => CommandKind::DropQueue(DropQueue { uid: uid(rng) }),
        4 => CommandKind::Purge(Purge { uid: uid(rng) }),
        5 => CommandKind::Send(send(rng)),
        6 => CommandKind::Receive(Receive {
            uid: uid(rng),
            consumer: who(rng),
            request: who(rng),
            messages_max: number(rng) as u32,
            bytes_max: number(rng),
            lease_ms: number(rng),
            last: rng.chance(30),
        }),
        7 => CommandKind::Attach(Attach {
            uid: uid(rng),
            consumer: who(rng),
            incarnation: number(rng),
            name: text(rng),
            window_messages: number(rng) as u32,
            window_bytes: number(rng),
            lease_ms: number(rng),
            held: ranges(rng),
        }),
        8 => CommandKind::Detach(Detach {
            uid: uid(rng),
            consumer: who(rng),
            incarnation: number(rng),
            clean: rng.chance(50),
        }),
        9 => CommandKind::SetWindow(SetWindow {
            uid: uid(rng),
            consumer: who(rng),
            incarnation: number(rng),
            window_messages: number(rng) as u32,
            window_bytes: number(rng),
        }),
        10 => CommandKind::Settle(settle(rng)),
        11 => CommandKind::CheckDigest(CheckDigest { index: number(rng), digest: rng.next() }),
        12 => CommandKind::Bootstrap(bootstrap(rng)),
        13 => create(rng),
        14 => update(rng),
        15 => delete(rng),
        16 => CommandKind::Seek(Seek { uid: uid(rng), place: place(rng) }),
        17 => CommandKind::Mark(Mark { uid: uid(rng), name: text(rng), remove: rng.chance(30) }),
        18 => replay(rng),
        19 => CommandKind::OpenInbox(Inbox { uid: uid(rng), binding: uid(rng) }),
        20 => CommandKind::CloseInbox(Inbox { uid: uid(rng), binding: uid(rng) }),
        21 => transfer(rng),
        22 => CommandKind::Transferred(Transferred { uid: uid(rng), through: number(rng) }),
        _ => CommandKind::ConfirmQueue(ConfirmQueue {
            uid: uid(rng),
            version: number(rng),
            dropped: rng.chance(50),
        }),
    }
}

fn replay(rng: &mut Rng) -> CommandKind {
    let matches = (0..rng.below(4)).map(|_| ChunkMatches { chunk: number(rng), bits: rng.next() }).collect();
    let (from, end) = (number(rng), number(rng));
    CommandKind::Replay(Replay { uid: uid(rng), version: number(rng), from, end, matches })
}

fn transfer(rng: &mut Rng) -> CommandKind {
    let message = |rng: &mut Rng| {
        let NewMessage { payload, group, .. } = message(rng);
        TransferMessage { sequence: number(rng), payload, group }
    };
    let messages = (0..rng.below(5)).map(|_| message(rng)).collect();
    CommandKind::Transfer(Transfer { uid: uid(rng), binding: uid(rng), messages })
}

fn create(rng: &mut Rng) -> CommandKind {
    CommandKind::CreateQueue(CreateQueue {
        namespace: text(rng),
        name: text(rng),
        settings: settings(rng),
        kind: rng.below(5) as i32,
        topic: text(rng),
        pattern: condition(rng),
        filter: condition(rng),
        start: rng.chance(30).then(|| place(rng)),
        target: text(rng),
    })
}

fn update(rng: &mut Rng) -> CommandKind {
    CommandKind::UpdateQueue(UpdateQueue {
        namespace: text(rng),
        name: text(rng),
        settings: settings(rng),
        if_version: number(rng),
        pattern: condition(rng),
        filter: condition(rng),
        kind: rng.below(5) as i32,
        uid: if rng.chance(70) { 0 } else { uid(rng) },
    })
}

fn delete(rng: &mut Rng) -> CommandKind {
    CommandKind::DeleteQueue(DeleteQueue {
        namespace: text(rng),
        name: text(rng),
        kind: rng.below(5) as i32,
        uid: if rng.chance(70) { 0 } else { uid(rng) },
    })
}
