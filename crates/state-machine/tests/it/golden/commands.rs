//! One of each command.

use phalanx_state_machine::command::{
    Attach, Batch, Bootstrap, CheckDigest, ChunkMatches, CommandKind, ConfirmQueue, CreateQueue, DeleteQueue,
    Detach, DropQueue, GroupRow, Inbox, Mark, NewMessage, NodeRow, Place, PlaceKind, Purge, PutQueue,
    QueueKind, QueueSettings, Receive, Replay, ReplicaRow, Seek, Send, SetWindow, Settle, SettleAction,
    SettleItem, Source, TermStart, Tick, TokenRange, Transfer, TransferMessage, Transferred, UpdateQueue,
};
use phalanx_state_machine::ids::Id128;

use super::{bytes, check};

pub fn id(number: u64) -> Id128 {
    Id128 { hi: 0x1111_2222_3333_4444, lo: number }
}

pub fn settings() -> QueueSettings {
    QueueSettings {
        lease_ms: 30_001,
        strict: true,
        length_max: 30_002,
        bytes_max: 3_000_000,
        dedup_window_ms: 30_004,
        resume_ms: 30_005,
        body_bytes_max: 30_006,
        ..QueueSettings::default()
    }
}

/// A new kind of command does not compile without a name, and the tests below then ask for its file.
fn name(kind: &CommandKind) -> &'static str {
    match kind {
        CommandKind::Tick(_) => "tick",
        CommandKind::TermStart(_) => "term-start",
        CommandKind::PutQueue(put) if put.kind() == QueueKind::Binding => "put-binding",
        CommandKind::PutQueue(put) if put.start.is_some() => "put-subscription-at",
        CommandKind::PutQueue(put) if put.source.is_some() => "put-subscription",
        CommandKind::PutQueue(put) if put.settings.retain_ms != 0 => "put-topic-retained",
        CommandKind::PutQueue(put) if put.settings.expires_ms != 0 => "put-queue-expires",
        CommandKind::PutQueue(put) if put.first_token == 0 => "put-queue",
        CommandKind::PutQueue(_) => "put-queue-tokens",
        CommandKind::DropQueue(_) => "drop-queue",
        CommandKind::Purge(_) => "purge",
        CommandKind::Send(send) if send.mandatory => "send-mandatory",
        CommandKind::Send(_) => "send",
        CommandKind::Receive(receive) if receive.last => "receive-last",
        CommandKind::Receive(_) => "receive",
        CommandKind::Attach(_) => "attach",
        CommandKind::Detach(_) => "detach",
        CommandKind::SetWindow(_) => "set-window",
        CommandKind::Settle(_) => "settle",
        CommandKind::Seek(seek) => match seek.place.kind {
            None | Some(PlaceKind::Earliest(_)) => "seek-earliest",
            Some(PlaceKind::Latest(_)) => "seek-latest",
            Some(PlaceKind::Sequence(_)) => "seek-sequence",
            Some(PlaceKind::Time(_)) => "seek-time",
            Some(PlaceKind::Mark(_)) => "seek-mark",
        },
        CommandKind::Mark(_) => "mark",
        CommandKind::Replay(_) => "replay",
        CommandKind::Transfer(_) => "transfer",
        CommandKind::Transferred(_) => "transferred",
        CommandKind::OpenInbox(_) => "open-inbox",
        CommandKind::CloseInbox(_) => "close-inbox",
        CommandKind::CheckDigest(_) => "check-digest",
        CommandKind::Bootstrap(_) => "bootstrap",
        CommandKind::CreateQueue(create) if !create.target.is_empty() => "create-binding",
        CommandKind::CreateQueue(create) if create.start.is_some() => "create-subscription-at",
        CommandKind::CreateQueue(create) if create.kind != 0 => "create-subscription",
        CommandKind::CreateQueue(_) => "create-queue",
        CommandKind::UpdateQueue(update) if update.kind != 0 => "update-subscription",
        CommandKind::UpdateQueue(update) if update.uid != 0 => "update-queue-uid",
        CommandKind::UpdateQueue(_) => "update-queue",
        CommandKind::DeleteQueue(delete) if delete.kind != 0 => "delete-topic",
        CommandKind::DeleteQueue(delete) if delete.uid != 0 => "delete-queue-uid",
        CommandKind::DeleteQueue(_) => "delete-queue",
        CommandKind::ConfirmQueue(_) => "confirm-queue",
    }
}

/// Kinds of commands: one sample each, and one more of those that have grown.
const KINDS: usize = 43;

fn samples() -> Vec<CommandKind> {
    let mut all = shard_samples();
    all.extend(topic_samples());
    all.extend(binding_samples());
    all.extend(catalog_samples());
    all
}

fn place(kind: PlaceKind) -> Place {
    Place { kind: Some(kind) }
}

fn topic_samples() -> Vec<CommandKind> {
    vec![
        CommandKind::PutQueue(PutQueue {
            uid: 5,
            version: 6,
            kind: QueueKind::Subscription.into(),
            source: Some(Source { topic: 4, pattern: "*.eu".into(), filter: "n >= 2".into(), target: 0 }),
            ..PutQueue::default()
        }),
        CommandKind::Send(Send { uid: 4, mandatory: true, ..Send::default() }),
        CommandKind::Receive(Receive { uid: 3, last: true, ..Receive::default() }),
        CommandKind::PutQueue(PutQueue {
            uid: 5,
            version: 6,
            kind: QueueKind::Subscription.into(),
            start: Some(place(PlaceKind::Time(1_700_000_000_001))),
            ..PutQueue::default()
        }),
        CommandKind::PutQueue(PutQueue {
            uid: 4,
            version: 7,
            settings: QueueSettings {
                retain_ms: 3_600_000,
                retain_bytes: 70_000,
                ..QueueSettings::default()
            },
            kind: QueueKind::Topic.into(),
            ..PutQueue::default()
        }),
        CommandKind::PutQueue(PutQueue {
            uid: 4,
            version: 8,
            settings: QueueSettings {
                compact: true,
                latest_only: true,
                expires_ms: 60_007,
                exclusive: true,
                ..QueueSettings::default()
            },
            ..PutQueue::default()
        }),
        CommandKind::DeleteQueue(DeleteQueue { name: "reply".into(), uid: 9, ..DeleteQueue::default() }),
        CommandKind::UpdateQueue(UpdateQueue { name: "reply".into(), uid: 9, ..UpdateQueue::default() }),
        CommandKind::CreateQueue(CreateQueue {
            name: "prices/eu".into(),
            kind: QueueKind::Subscription.into(),
            start: Some(place(PlaceKind::Sequence(77))),
            ..CreateQueue::default()
        }),
        CommandKind::Seek(Seek { uid: 5, place: place(PlaceKind::Earliest(true)) }),
        CommandKind::Seek(Seek { uid: 5, place: place(PlaceKind::Latest(true)) }),
        CommandKind::Seek(Seek { uid: 5, place: place(PlaceKind::Sequence(78)) }),
        CommandKind::Seek(Seek { uid: 5, place: place(PlaceKind::Time(1_700_000_000_002)) }),
        CommandKind::Seek(Seek { uid: 5, place: place(PlaceKind::Mark("before".into())) }),
        CommandKind::Mark(Mark { uid: 5, name: "before".into(), remove: true }),
        CommandKind::Replay(Replay {
            uid: 5,
            version: 6,
            from: 100,
            end: 164,
            matches: vec![ChunkMatches { chunk: 2, bits: 0x8000_0000_0000_0001 }],
        }),
    ]
}

fn receive() -> Receive {
    Receive {
        uid: 3,
        consumer: id(4),
        request: id(5),
        messages_max: 6,
        bytes_max: 7_000,
        lease_ms: 8_000,
        ..Receive::default()
    }
}

fn shard_samples() -> Vec<CommandKind> {
    let range = |first| TokenRange { first, last: first + 10 };
    let message = |payload, group, dedup| NewMessage { payload: bytes(payload), group: bytes(group), dedup };
    let item = |action: SettleAction, first| SettleItem {
        action: action.into(),
        tokens: vec![range(first), range(first + 100)],
        up_to: first + 300,
        delay_ms: 1_500,
        lease_ms: 2_500,
    };
    vec![
        CommandKind::Tick(Tick {}),
        CommandKind::TermStart(TermStart { term: 7, leader: 12 }),
        CommandKind::PutQueue(PutQueue {
            uid: 3,
            version: 4,
            namespace: "default".into(),
            name: "orders".into(),
            settings: settings(),
            first_token: 0,
            ..PutQueue::default()
        }),
        CommandKind::PutQueue(PutQueue { uid: 3, version: 1, first_token: 2 << 40, ..Default::default() }),
        CommandKind::DropQueue(DropQueue { uid: 3 }),
        CommandKind::Purge(Purge { uid: 3 }),
        CommandKind::Send(Send {
            uid: 3,
            producer: Some(id(1)),
            producer_sequence: 8,
            request: Some(id(2)),
            messages: vec![message("first", "customer-1", Some(id(3))), message("second", "", None)],
            ..Send::default()
        }),
        CommandKind::Receive(receive()),
        CommandKind::Attach(Attach {
            uid: 3,
            consumer: id(4),
            incarnation: 2,
            name: "worker".into(),
            window_messages: 256,
            window_bytes: 8_000_000,
            lease_ms: 9_000,
            held: vec![range(20), range(40)],
        }),
        CommandKind::Detach(Detach { uid: 3, consumer: id(4), incarnation: 2, clean: true }),
        CommandKind::SetWindow(SetWindow {
            uid: 3,
            consumer: id(4),
            incarnation: 2,
            window_messages: 16,
            window_bytes: 17_000,
        }),
        CommandKind::Settle(Settle {
            uid: 3,
            consumer: id(4),
            items: vec![
                item(SettleAction::Ack, 1),
                item(SettleAction::Nack, 2),
                item(SettleAction::Reject, 3),
                item(SettleAction::Extend, 4),
            ],
        }),
        CommandKind::CheckDigest(CheckDigest { index: 99, digest: 0x0102_0304_0506_0708 }),
    ]
}

pub fn node() -> NodeRow {
    NodeRow {
        node: 2,
        store: id(6),
        client_address: "10.0.0.2:7420".into(),
        peer_address: "10.0.0.2:7520".into(),
        zone: "b".into(),
    }
}

pub fn group() -> GroupRow {
    GroupRow { group: 1, replicas: vec![ReplicaRow { replica: 11, node: 2 }] }
}

fn binding_samples() -> Vec<CommandKind> {
    let kind = QueueKind::Binding.into();
    let source = Source { topic: 4, pattern: "*.eu".into(), filter: "n >= 2".into(), target: 11 };
    let message =
        TransferMessage { sequence: 70, payload: bytes::Bytes::from_static(b"body"), group: "g".into() };
    let inbox = Inbox { uid: 11, binding: 5 };
    vec![
        CommandKind::PutQueue(PutQueue {
            uid: 5,
            version: 6,
            kind,
            source: Some(source),
            ..PutQueue::default()
        }),
        CommandKind::CreateQueue(CreateQueue {
            name: "orders/archive".into(),
            kind,
            topic: "orders".into(),
            pattern: "*.eu".into(),
            filter: "n >= 2".into(),
            target: "archive".into(),
            ..CreateQueue::default()
        }),
        CommandKind::Transfer(Transfer { uid: 11, binding: 5, messages: vec![message] }),
        CommandKind::Transferred(Transferred { uid: 5, through: 70 }),
        CommandKind::OpenInbox(inbox),
        CommandKind::CloseInbox(inbox),
    ]
}

fn catalog_samples() -> Vec<CommandKind> {
    let (namespace, name) = (String::from("default"), String::from("orders"));
    vec![
        CommandKind::Bootstrap(Bootstrap { cluster: id(9), nodes: vec![node()], groups: vec![group()] }),
        CommandKind::CreateQueue(CreateQueue {
            namespace: namespace.clone(),
            name: name.clone(),
            settings: settings(),
            ..CreateQueue::default()
        }),
        CommandKind::UpdateQueue(UpdateQueue {
            namespace: namespace.clone(),
            name: name.clone(),
            settings: settings(),
            if_version: 5,
            ..UpdateQueue::default()
        }),
        CommandKind::CreateQueue(CreateQueue {
            name: "orders/europe".into(),
            kind: QueueKind::Subscription.into(),
            topic: name.clone(),
            pattern: "*.eu".into(),
            filter: "n >= 2".into(),
            ..CreateQueue::default()
        }),
        CommandKind::UpdateQueue(UpdateQueue {
            name: "orders/europe".into(),
            pattern: "#.eu".into(),
            filter: "n >= 3".into(),
            kind: QueueKind::Subscription.into(),
            ..UpdateQueue::default()
        }),
        CommandKind::DeleteQueue(DeleteQueue { kind: QueueKind::Topic.into(), ..DeleteQueue::default() }),
        CommandKind::DeleteQueue(DeleteQueue { namespace, name, ..DeleteQueue::default() }),
        CommandKind::ConfirmQueue(ConfirmQueue { uid: 3, version: 4, dropped: true }),
    ]
}

pub fn names() -> Vec<String> {
    samples().iter().map(|kind| format!("command-{}", name(kind))).collect()
}

#[test]
fn golden_commands_decode_to_the_same_and_encode_to_the_same() {
    let samples = samples();
    let distinct: std::collections::BTreeSet<_> = samples.iter().map(name).collect();
    assert_eq!((samples.len(), distinct.len()), (KINDS, KINDS), "one sample of each kind");
    for kind in samples {
        let file = format!("command-{}", name(&kind));
        check(&file, &Batch { version: 1, now_ms: 1_700_000_000_000, commands: vec![kind.into()] });
    }
}
