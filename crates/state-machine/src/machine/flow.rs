//! Messages that go on over bindings: in the entry that published them where the target is on this shard, by a transfer where it is not,
//! or was full.
//!
//! Invariant: what goes on at once was not preceded by anything that waits in the binding; what does not go on waits there, in order.

use std::collections::VecDeque;

use super::{Machine, gone, invalid, mark, queue_mut};
use crate::command::{Inbox, Transfer, TransferMessage};
use crate::ids::{QueueUid, Sequence};
use crate::limits::{FLOW_PER_COMMAND_MAX, SEND_BYTES_MAX, SEND_MESSAGES_MAX};
use crate::queue::{Turn, check_transfer, resident};
use crate::reply::{Effect, Rejection, Reply};

/// What one command sets in motion.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Bindings with new messages, and the first of these.
    pub(super) bindings: VecDeque<(QueueUid, Sequence)>,
    /// Topics that took messages, and how many.
    pub(super) topics: Vec<(QueueUid, usize)>,
    /// Messages that have gone on.
    count: usize,
}

impl Machine {
    /// Carries on what can go on at once, and trims the topics. Ends whatever the bindings are: each step takes of a bounded count.
    pub(super) fn follow(&mut self, mut flow: Flow, effects: &mut Vec<Effect>) {
        while let Some((binding, first)) = flow.bindings.pop_front() {
            self.carry_on(binding, first, &mut flow, effects);
        }
        for (uid, count) in flow.topics {
            if let Some(topic) = self.topics.get_mut(&uid) {
                topic.retain(self.now_ms, count);
                topic.trim(count);
            }
        }
    }

    /// One binding: nothing if earlier messages wait in it, or its target is on another shard.
    fn carry_on(&mut self, binding: QueueUid, first: Sequence, flow: &mut Flow, effects: &mut Vec<Effect>) {
        let Some(queue) = self.queues.get(&binding) else { return };
        let (Some(target), Some(topic)) = (queue.target(), self.topic_of(queue)) else { return };
        if self.queue(target).is_none() {
            return;
        }
        let room = FLOW_PER_COMMAND_MAX.saturating_sub(flow.count).min(SEND_MESSAGES_MAX);
        let mut next = queue.outgoing(topic, room, SEND_BYTES_MAX).peekable();
        if next.peek().is_none_or(|message| message.sequence < first) {
            return;
        }
        let messages: Vec<TransferMessage> = next.map_while(resident).collect();
        // A refusal (it is full, or does not know the binding yet) is met again by the outbox.
        if let Ok(through) = self.take_transfer(target, binding, &messages, flow, effects) {
            self.pass(binding, through);
        }
    }

    /// The target takes what it has room for.
    fn take_transfer(
        &mut self,
        target: QueueUid,
        binding: QueueUid,
        messages: &[TransferMessage],
        flow: &mut Flow,
        effects: &mut Vec<Effect>,
    ) -> Result<Sequence, Rejection> {
        if self.expired.contains(&target) {
            return Err(Rejection::QueueGone);
        }
        let queue = queue_mut(&mut self.queues, &mut self.topics, target).ok_or(Rejection::QueueGone)?;
        mark(&mut self.touched, queue);
        let mut turn = Turn { now_ms: self.now_ms, effects, topic: None };
        let through = queue.take_transfer(&mut turn, binding, messages)?;
        flow.count += messages.len();
        if queue.topic().is_some() {
            let routes = queue.take_routes();
            self.spread(target, &routes, flow, effects);
        }
        Ok(through)
    }

    fn pass(&mut self, binding: QueueUid, through: Sequence) {
        let Some(queue) = self.queues.get_mut(&binding) else { return };
        let Some(topic) = queue.topic_uid().and_then(|topic| self.topics.get_mut(&topic)) else { return };
        mark(&mut self.touched, queue);
        mark(&mut self.touched, topic);
        queue.pass(topic, through);
    }

    /// A leader brings what waits in a binding to its target.
    pub(super) fn transfer(&mut self, transfer: &Transfer, effects: &mut Vec<Effect>) -> Reply {
        if let Err(rejection) = check_transfer(&transfer.messages) {
            return Reply::Rejected(rejection);
        }
        let (target, binding) = (transfer.uid, transfer.binding);
        let mut flow = Flow::default();
        let taken = self.take_transfer(target, binding, &transfer.messages, &mut flow, effects);
        self.follow(flow, effects);
        match taken {
            Ok(through) => {
                // On one shard both sides know at once.
                if self.queues.get(&binding).is_some_and(|queue| queue.target() == Some(target)) {
                    self.transferred(binding, through);
                }
                Reply::Transferred { through }
            }
            Err(rejection) => Reply::Rejected(rejection),
        }
    }

    /// A binding is told what its target has.
    pub(super) fn transferred(&mut self, binding: QueueUid, through: Sequence) -> Reply {
        let Some(queue) = self.queues.get(&binding) else { return gone() };
        let Some(topic) = queue.target().and(queue.topic_uid()) else {
            return invalid("only a binding has its messages transferred");
        };
        self.pass(binding, through);
        if let Some(topic) = self.topics.get_mut(&topic) {
            topic.trim(0);
        }
        Reply::Done
    }

    pub(super) fn open_inbox(&mut self, inbox: Inbox) -> Reply {
        if self.tombstones.contains(&inbox.binding) {
            return gone();
        }
        let Some(queue) = queue_mut(&mut self.queues, &mut self.topics, inbox.uid) else { return gone() };
        mark(&mut self.touched, queue);
        queue.open_inbox(inbox.binding)
    }

    /// For good: a late transfer of the binding finds nothing.
    pub(super) fn close_inbox(&mut self, inbox: Inbox) -> Reply {
        if let Some(queue) = queue_mut(&mut self.queues, &mut self.topics, inbox.uid) {
            mark(&mut self.touched, queue);
            queue.close_inbox(inbox.binding);
        }
        self.bury_inbox(inbox.binding);
        Reply::Done
    }

    /// Unless the binding itself is here: then its own end says so.
    fn bury_inbox(&mut self, binding: QueueUid) {
        if self.queue(binding).is_none() {
            self.bury(binding);
        }
    }
}
