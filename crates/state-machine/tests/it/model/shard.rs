//! The naive shard: queues by uid, and the check of one whole entry.

use std::collections::{BTreeMap, BTreeSet};

use phalanx_state_machine::command::{CommandKind, QueueKind};
use phalanx_state_machine::ids::Id128;
use phalanx_state_machine::machine::{ConsumerInfo, Machine, QueueInfo};
use phalanx_state_machine::reply::{Applied, Effect, Rejection, Reply};

use super::queue::{Check, Queue, Stream, ensure};
use super::time::Effects;

#[derive(Clone, Debug, Default)]
pub struct Shard {
    pub now_ms: u64,
    pub term: u64,
    pub queues: BTreeMap<u64, Queue>,
    pub dropped: BTreeSet<u64>,
}

/// The queue that a data command names.
pub fn uid_of(kind: &CommandKind) -> Option<u64> {
    match kind {
        CommandKind::PutQueue(command) => Some(command.uid),
        CommandKind::DropQueue(command) => Some(command.uid),
        CommandKind::Purge(command) => Some(command.uid),
        CommandKind::Send(command) => Some(command.uid),
        CommandKind::Receive(command) => Some(command.uid),
        CommandKind::Attach(command) => Some(command.uid),
        CommandKind::Detach(command) => Some(command.uid),
        CommandKind::SetWindow(command) => Some(command.uid),
        CommandKind::Settle(command) => Some(command.uid),
        _ => None,
    }
}

fn uid_of_effect(effect: &Effect) -> u64 {
    match effect {
        Effect::Deliver { uid, .. }
        | Effect::LeaseEnded { uid, .. }
        | Effect::Detached { uid, .. }
        | Effect::Ready { uid }
        | Effect::GroupReady { uid, .. }
        | Effect::QueueGone { uid } => *uid,
    }
}

impl Shard {
    /// Checks what one entry did.
    pub fn apply(&mut self, now_ms: u64, kinds: &[CommandKind], applied: &Applied) -> Check {
        ensure!(applied.replies.len() == kinds.len(), "{} replies", applied.replies.len());
        self.now_ms = self.now_ms.max(now_ms);
        let (mut ready, mut called) = (BTreeSet::new(), BTreeSet::new());
        let mut effects: BTreeMap<u64, Effects> = BTreeMap::new();
        for effect in &applied.effects {
            let uid = uid_of_effect(effect);
            match effect {
                Effect::Ready { .. } => _ = ready.insert(uid),
                Effect::GroupReady { consumer, .. } => _ = called.insert((uid, *consumer)),
                _ => effects.entry(uid).or_default().push_back(effect.clone()),
            }
        }
        let before: BTreeMap<u64, BTreeSet<u64>> =
            self.queues.iter().map(|(uid, queue)| (*uid, offers(queue))).collect();
        let own_before: BTreeSet<(u64, Id128)> = self.own_offers();
        for (uid, queue) in &mut self.queues {
            let effects = effects.entry(*uid).or_default();
            queue.sweep(self.now_ms, effects).map_err(|why| format!("time in queue {uid}: {why}"))?;
        }
        for (kind, reply) in kinds.iter().zip(&applied.replies) {
            self.command(kind, reply, &mut effects).map_err(|why| format!("{kind:?}: {why}"))?;
        }
        let left: Vec<_> = effects.values().flatten().collect();
        ensure!(left.is_empty(), "effects that nothing explains: {left:?}");
        for (uid, queue) in &self.queues {
            queue.check_order().map_err(|why| format!("queue {uid}: {why}"))?;
            let after = offers(queue);
            let fresh = before.get(uid).map_or(!after.is_empty(), |before| !after.is_subset(before));
            ensure!(
                !fresh || ready.contains(uid),
                "nobody was told that queue {uid} has messages: {after:?}"
            );
            ensure!(!ready.contains(uid) || !after.is_empty(), "queue {uid} is said to have messages");
        }
        let own = self.own_offers();
        let untold: Vec<_> =
            own.iter().filter(|who| !own_before.contains(who) && !called.contains(who)).collect();
        ensure!(untold.is_empty(), "the next of a group is ready and its holder was not told: {untold:?}");
        ensure!(called.is_subset(&own), "told that the next of a group is ready: {called:?}, is for {own:?}");
        Ok(())
    }

    /// Consumers without a stream that may have the next message of a group that they hold.
    fn own_offers(&self) -> BTreeSet<(u64, Id128)> {
        let mut own = BTreeSet::new();
        for (uid, queue) in &self.queues {
            let holders = queue.messages.iter().filter_map(|message| queue.offer(message).flatten());
            let alone =
                |who: &Id128| queue.consumer(*who).is_some_and(|known| known.stream != Stream::Attached);
            own.extend(holders.filter(alone).map(|who| (*uid, who)));
        }
        own
    }

    fn command(&mut self, kind: &CommandKind, reply: &Reply, effects: &mut BTreeMap<u64, Effects>) -> Check {
        let now_ms = self.now_ms;
        match kind {
            CommandKind::Tick(_) => ensure!(*reply == Reply::Done, "answered {reply:?}"),
            CommandKind::TermStart(start) => {
                ensure!(*reply == Reply::Done, "answered {reply:?}");
                if start.term > self.term {
                    self.term = start.term;
                    for (uid, queue) in &mut self.queues {
                        queue.term_start(now_ms, effects.entry(*uid).or_default())?;
                    }
                }
            }
            CommandKind::PutQueue(put) if self.dropped.contains(&put.uid) => {
                let refused = matches!(reply, Reply::Done | Reply::Rejected(Rejection::QueueGone));
                ensure!(refused, "a dropped queue was put back: {reply:?}");
            }
            CommandKind::PutQueue(put) => {
                ensure!(*reply == Reply::Done, "answered {reply:?}");
                self.queues.entry(put.uid).or_insert_with(|| Queue::new(put)).put(now_ms, put);
            }
            CommandKind::DropQueue(drop) => {
                ensure!(*reply == Reply::Done, "answered {reply:?}");
                self.dropped.insert(drop.uid);
                if self.queues.remove(&drop.uid).is_some() {
                    let told = effects.remove(&drop.uid).unwrap_or_default();
                    ensure!(told.contains(&Effect::QueueGone { uid: drop.uid }), "not told: {told:?}");
                }
            }
            _ => {
                let Some(queue) = uid_of(kind).and_then(|uid| self.queues.get_mut(&uid)) else {
                    ensure!(*reply == Reply::Rejected(Rejection::QueueGone), "answered {reply:?}");
                    return Ok(());
                };
                let effects = effects.entry(queue.uid).or_default();
                queue.command(now_ms, kind, reply, effects)?;
                queue.assign(now_ms, effects)?;
            }
        }
        Ok(())
    }

    /// Compares what the machine says of its queues.
    pub fn compare(&self, machine: &Machine) -> Check {
        let uids: Vec<u64> = machine.queue_uids().collect();
        let expected: Vec<u64> = self.queues.keys().copied().collect();
        ensure!(uids == expected, "queues {uids:?} instead of {expected:?}");
        for (uid, queue) in &self.queues {
            let info = machine.queue_info(*uid).ok_or("no info")?;
            same_info(queue, info).map_err(|why| format!("queue {uid}: {why}"))?;
            let (settings, version) = machine.queue_settings(*uid).ok_or("no settings")?;
            ensure!(
                *settings == queue.settings && version == queue.version,
                "settings: {settings:?} {version}"
            );
        }
        let due = self.queues.values().filter_map(Queue::due_ms).min();
        let said = machine.next_due_ms();
        ensure!(due.is_none_or(|due| said.is_some_and(|said| said <= due)), "due at {due:?}, not {said:?}");
        ensure!(
            said.is_none_or(|said| said > self.now_ms),
            "still due at {said:?} although it was just swept"
        );
        Ok(())
    }
}

impl Queue {
    fn command(&mut self, now_ms: u64, kind: &CommandKind, reply: &Reply, effects: &mut Effects) -> Check {
        match kind {
            CommandKind::Send(send) => self.send(now_ms, send, reply),
            CommandKind::Receive(receive) => self.receive(now_ms, receive, reply),
            CommandKind::Attach(attach) => self.attach(now_ms, attach, reply, effects),
            CommandKind::Detach(detach) => self.detach(now_ms, detach, reply, effects),
            CommandKind::SetWindow(window) => self.set_window(window, reply),
            CommandKind::Settle(settle) => self.settle(now_ms, settle, reply, effects),
            CommandKind::Purge(_) => self.purge(reply, effects),
            other => Err(format!("the model does not know {other:?}")),
        }
    }
}

/// Sequences that anybody may receive now.
fn offers(queue: &Queue) -> BTreeSet<u64> {
    let anybody = |message: &&super::queue::Message| queue.offer(message) == Some(None);
    queue.messages.iter().filter(anybody).map(|message| message.sequence).collect()
}

fn same_info(queue: &Queue, info: QueueInfo) -> Check {
    let leased = queue.leased_count();
    let delayed =
        |message: &&super::queue::Message| matches!(message.place, super::queue::Place::Delayed { .. });
    let mut groups: Vec<_> =
        queue.messages.iter().map(|message| &message.group).filter(|group| !group.is_empty()).collect();
    groups.sort();
    groups.dedup();
    let expected = QueueInfo {
        kind: QueueKind::Queue,
        subscription_count: 0,
        version: queue.version,
        ready_count: queue.messages.len() as u64 - leased,
        delayed_count: queue.messages.iter().filter(delayed).count() as u64,
        leased_count: leased,
        bytes: queue.bytes(),
        group_count: groups.len() as u64,
        oldest_enqueued_ms: queue.messages.first().map(|message| message.enqueued_ms),
        kept_from: queue.next_sequence,
        unseen_count: 0,
        marks: Vec::new(),
        next_sequence: queue.next_sequence,
        next_token: queue.next_token,
        producer_count: info.producer_count,
        sent_total: queue.totals.sent,
        acked_total: queue.totals.acked,
        delivered_total: queue.totals.delivered,
        redelivered_total: queue.totals.redelivered,
        consumers: info.consumers.clone(),
    };
    ensure!(info == expected, "{info:?} instead of {expected:?}");
    same_consumers(queue, &info.consumers)
}

/// Consumers that were closed or given up may be listed or not.
fn same_consumers(queue: &Queue, listed: &[ConsumerInfo]) -> Check {
    for known in &queue.consumers {
        let info = listed.iter().find(|info| info.consumer == known.id);
        let in_hand = queue.hand(known.id).len() as u32;
        let Some(info) = info else {
            let may_miss = matches!(known.stream, Stream::None { .. }) && in_hand == 0;
            ensure!(may_miss, "consumer {} is not listed", known.id);
            continue;
        };
        ensure!(info.attached == (known.stream == Stream::Attached), "attached: {info:?}, {known:?}");
        ensure!(info.in_hand == in_hand, "{in_hand} in hand: {info:?}");
        if known.stream == Stream::Attached {
            let same = info.name == known.name && info.window_messages == known.window_messages;
            ensure!(same, "{info:?} instead of {known:?}");
        }
    }
    let unknown = listed.iter().find(|info| queue.consumer(info.consumer).is_none());
    ensure!(unknown.is_none(), "a consumer that never came: {unknown:?}");
    Ok(())
}
