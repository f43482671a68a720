//! Limits: a clear error, and nothing left behind.

use super::scenario::{Scenario, UID, id, message};
use crate::command::{CommandKind, DropQueue, NewMessage, PutQueue, QueueSettings, Send, Tick};
use crate::ids::Id128;
use crate::machine::Machine;
use crate::reply::{Effect, Rejection, Reply};
use bytes::Bytes;

#[test]
fn a_batch_that_does_not_fit_leaves_nothing_behind() {
    let mut queue =
        Scenario::with(QueueSettings { length_max: 3, bytes_max: 100, ..QueueSettings::default() });
    queue.at(0).send(&["m1", "m2"]);
    let before = queue.machine.digest();
    let long = "x".repeat(99);
    for bodies in [vec!["m3", "m4"], vec![long.as_str()]] {
        let messages = bodies.into_iter().map(message).collect();
        let refused = queue.at(0).try_send(Send { messages, ..Send::default() });
        assert!(matches!(refused, Err(Rejection::QueueFull(_))), "{refused:?}");
    }
    assert_eq!(queue.machine.digest(), before);
    assert_eq!(queue.at(0).send(&["m3"]).first, 3);
}

#[test]
fn malformed_sends_are_refused_by_the_rule_they_break() {
    let mut queue = Scenario::with(QueueSettings { body_bytes_max: 10, ..QueueSettings::default() });
    let large = NewMessage { payload: Bytes::from(vec![0; 140_000]), ..message("") };
    let keyed = NewMessage { group: Bytes::from(vec![b'g'; 1025]), ..message("m") };
    let zero = NewMessage { dedup: Some(Id128 { hi: 0, lo: 0 }), ..message("m") };
    for messages in [vec![], vec![message("m"), large], vec![keyed], vec![zero]] {
        let refused = queue.at(0).try_send(Send { messages, ..Send::default() });
        assert!(matches!(refused, Err(Rejection::Invalid(_))), "{refused:?}");
    }
    assert_eq!(queue.info().next_sequence, 1);
}

#[test]
fn a_dead_uid_is_gone_and_a_late_command_does_not_bring_it_back() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1"]);
    queue.at(0).attach("ann", 1, 8);
    queue.checkpoint();
    assert_eq!(queue.at(1).apply(CommandKind::DropQueue(DropQueue { uid: UID })), Reply::Done);
    assert_eq!(queue.effects, [Effect::QueueGone { uid: UID }]);
    queue.checkpoint();
    assert_eq!(queue.rows().len(), 2, "the machine's row and a tombstone");
    let loaded = Machine::load(queue.machine.kind(), queue.rows().into_iter()).unwrap();
    assert_eq!(loaded.digest(), queue.machine.digest());
    queue.machine = loaded;
    let put = PutQueue { uid: UID, version: 9, ..PutQueue::default() };
    for late in [
        CommandKind::PutQueue(put),
        CommandKind::Send(Send { uid: UID, messages: vec![message("m")], ..Send::default() }),
    ] {
        assert_eq!(queue.at(2).apply(late), Reply::Rejected(Rejection::QueueGone));
    }
    assert_eq!(queue.at(3).apply(CommandKind::DropQueue(DropQueue { uid: UID })), Reply::Done);
}

#[test]
fn newer_settings_count_and_older_ones_do_not() {
    let mut queue = Scenario::new();
    let put = |version, lease_ms, strict| {
        let settings = QueueSettings { lease_ms, strict, ..QueueSettings::default() };
        CommandKind::PutQueue(PutQueue {
            uid: UID,
            version,
            namespace: "default".into(),
            name: "orders".into(),
            settings,
            first_token: 0,
            ..PutQueue::default()
        })
    };
    queue.at(0).apply(put(5, 777, true));
    assert_eq!(queue.at(0).apply(put(4, 888, false)), Reply::Done);
    let (settings, version) = queue.machine.queue_settings(UID).unwrap();
    assert_eq!((settings.lease_ms, settings.strict, version), (777, false, 5), "strict is fixed");
    queue.restart();
    assert_eq!(queue.machine.queue_settings(UID).unwrap().0.lease_ms, 777);
}

#[test]
fn commands_of_another_kind_of_group_are_unsupported() {
    let mut queue = Scenario::new();
    let create = CommandKind::CreateQueue(crate::command::CreateQueue::default());
    assert_eq!(queue.at(0).apply(create), Reply::Rejected(Rejection::Unsupported));
    let mut catalog = Machine::catalog();
    let batch = crate::command::Batch {
        version: 1,
        now_ms: 5,
        commands: vec![CommandKind::Send(Send { uid: UID, ..Send::default() }).into(), Default::default()],
    };
    let applied = catalog.apply(crate::machine::Entry { index: 1, term: 1, batch });
    assert_eq!(applied.replies, vec![Reply::Rejected(Rejection::Unsupported); 2]);
}

#[test]
fn a_batch_of_a_newer_format_is_refused_as_a_whole() {
    let mut queue = Scenario::new();
    let batch = crate::command::Batch {
        version: crate::command::Batch::VERSION + 1,
        now_ms: 99,
        commands: vec![CommandKind::Tick(Tick {}).into(); 2],
    };
    let applied = queue.machine.apply(crate::machine::Entry { index: 50, term: 1, batch });
    assert_eq!(applied.replies, vec![Reply::Rejected(Rejection::Unsupported); 2]);
    assert_eq!((queue.machine.now_ms(), queue.machine.applied_index()), (0, 50));
}

#[test]
fn a_digest_is_compared_with_the_one_after_that_entry() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1"]);
    let (index, digest) = (queue.machine.applied_index(), queue.machine.digest());
    queue.at(1).send(&["m2"]);
    let check = |digest, index| CommandKind::CheckDigest(crate::command::CheckDigest { index, digest });
    assert_eq!(queue.at(2).apply(check(digest, index)), Reply::Digest { agrees: true });
    assert_eq!(queue.at(2).apply(check(digest ^ 1, index)), Reply::Digest { agrees: false });
    let unknown = queue.at(2).apply(check(digest, 1_000));
    assert!(matches!(unknown, Reply::Rejected(Rejection::Invalid(_))));
}

#[test]
fn zero_is_no_identity() {
    let mut queue = Scenario::new();
    let zero = Id128 { hi: 0, lo: 0 };
    let attach = crate::command::Attach { uid: UID, consumer: zero, ..Default::default() };
    let receive =
        crate::command::Receive { uid: UID, consumer: zero, request: id("r"), ..Default::default() };
    for kind in [CommandKind::Attach(attach), CommandKind::Receive(receive)] {
        assert!(matches!(queue.at(0).apply(kind), Reply::Rejected(Rejection::Invalid(_))));
    }
}
