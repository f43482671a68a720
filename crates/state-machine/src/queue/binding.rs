//! Bindings: a subscription whose messages go on to a queue or a topic, its target, and the target's side of it.
//!
//! What waits in a binding is its outbox. The target remembers for each binding the last message that it took, its inbox, so that however
//! often a transfer comes, each message is taken once, in the order of the topic. Invariant: a target takes from a binding only what is
//! behind the inbox's place; the binding lets go only of what the target has.

use phalanx_canary::Canary;

use super::Queue;
use super::Turn;
use super::assign::payload_of;
use super::seq_map::{bit_of, chunk_of};
use crate::command::{NewMessage, Send, TransferMessage};
use crate::digest;
use crate::ids::{QueueUid, Sequence};
use crate::limits::{
    BODY_BYTES_MAX, GROUP_KEY_BYTES_MAX, INBOXES_MAX, PAYLOAD_OVERHEAD_BYTES_MAX, SEND_BYTES_MAX,
    SEND_MESSAGES_MAX,
};
use crate::machine::{OutboxMessage, OutboxPage};
use crate::reply::{Payload, Rejection, Reply};
use crate::rows::InboxRow;

impl Queue {
    /// What it feeds, if it is a binding.
    pub(crate) fn target(&self) -> Option<QueueUid> {
        self.feed().map(|feed| feed.source.target).filter(|target| *target != 0)
    }

    /// Whether something waits to go on.
    pub(crate) fn has_outgoing(&self) -> bool {
        self.target().is_some() && self.has_waiting()
    }

    /// What goes on next: no more than so many messages and bytes, but one message always.
    pub(crate) fn outgoing<'a>(
        &'a self,
        topic: &'a Self,
        count_max: usize,
        bytes_max: u64,
    ) -> impl Iterator<Item = OutboxMessage> + 'a {
        let mut bytes = 0;
        // Behind a replay nothing goes on before it.
        let end = self.replaying().map_or(Sequence::MAX, |(_, replaying)| replaying.at);
        let next = self.waiting_from(topic, 0).take_while(move |(sequence, _)| *sequence < end);
        next.take(count_max).enumerate().map_while(move |(position, (sequence, slot))| {
            bytes += u64::from(slot.payload_bytes);
            let fits = position == 0 || bytes <= bytes_max;
            let group = topic.groups.key(slot.group);
            fits.then(|| OutboxMessage { sequence, group, payload: payload_of(slot) })
        })
    }

    /// A page of what goes on next.
    pub(crate) fn outbox_page(&self, topic: &Self, count_max: usize, bytes_max: u64) -> Option<OutboxPage> {
        let messages = self.outgoing(topic, count_max, bytes_max).collect();
        Some(OutboxPage { binding: self.uid, target: self.target()?, topic: topic.uid, messages })
    }

    /// The target has all that waits up to `through`.
    pub(crate) fn pass(&mut self, topic: &mut Self, through: Sequence) {
        let passed: Vec<(Sequence, u64)> = self
            .outgoing(topic, SEND_MESSAGES_MAX, u64::MAX)
            .take_while(|message| message.sequence <= through)
            .map(|message| (message.sequence, u64::from(topic.bytes_of(message.sequence))))
            .collect();
        let Some((last, _)) = passed.last().copied() else { return };
        let (uid, count) = (self.uid, passed.len() as u64);
        let cursor = std::mem::replace(&mut self.next_sequence, last + 1);
        let Some(feed) = self.feed_mut() else { return };
        feed.waiting -= count;
        feed.waiting_bytes -= passed.iter().map(|(_, bytes)| bytes).sum::<u64>();
        match &mut feed.matches {
            Some(matches) => {
                for (sequence, _) in passed {
                    matches.change(chunk_of(sequence), |bits| bits & !bit_of(sequence));
                    topic.release(sequence);
                }
            }
            None => {
                if let Some(topic) = topic.topic_mut() {
                    topic.move_cursor(uid, cursor, last + 1);
                }
            }
        }
        self.totals.delivered += count;
        self.totals.acked += count;
        self.dirty = true;
    }

    /// A binding may feed it from now on.
    pub(crate) fn open_inbox(&mut self, binding: QueueUid) -> Reply {
        if self.feed().is_some() {
            return Reply::Rejected(Rejection::Invalid("a binding feeds a queue or a topic".into()));
        }
        if self.inboxes.len() >= INBOXES_MAX && !self.inboxes.contains_key(&binding) {
            let text = format!("{INBOXES_MAX} bindings feed it, as many as may");
            return Reply::Rejected(Rejection::Invalid(text));
        }
        self.inboxes.entry(binding).or_insert(0);
        Reply::Done
    }

    /// A binding feeds it no more.
    pub(crate) fn close_inbox(&mut self, binding: QueueUid) -> Reply {
        self.inboxes.remove(&binding);
        Reply::Done
    }

    /// Takes what it has room for of messages that it has not had of a binding. Says up to where it has them.
    ///
    /// # Errors
    /// `QueueGone` if the binding does not feed it, `QueueFull` if it has room for none.
    pub(crate) fn take_transfer(
        &mut self,
        turn: &mut Turn<'_>,
        binding: QueueUid,
        messages: &[TransferMessage],
    ) -> Result<Sequence, Rejection> {
        let Some(mut taken) = self.inboxes.get(&binding).copied() else { return Err(Rejection::QueueGone) };
        if Canary::InboxForgets.is_planted() {
            taken = 0;
        }
        let new = &messages[messages.partition_point(|message| message.sequence <= taken)..];
        if new.is_empty() {
            return Ok(taken);
        }
        let mut count = self.room_for(new)?;
        loop {
            let send = Send { uid: self.uid, messages: new_messages(&new[..count]), ..Send::default() };
            match self.append_all(&send, turn.now_ms) {
                Ok(()) => break,
                // More matches than one command may bring about: fewer messages have fewer.
                Err(_) if count > 1 => count /= 2,
                Err(rejection) => return Err(rejection),
            }
        }
        let through = new[count - 1].sequence;
        self.inboxes.insert(binding, through);
        self.assign(turn);
        Ok(through)
    }

    /// How many of these messages may come, those that it has had already included, were it asked now. `None`: the binding does not feed it.
    ///
    /// # Errors
    /// `QueueFull` if it has room for none.
    pub(crate) fn transfer_room(
        &self,
        binding: QueueUid,
        messages: &[TransferMessage],
    ) -> Option<Result<usize, Rejection>> {
        let taken = self.inboxes.get(&binding).copied()?;
        let known = messages.partition_point(|message| message.sequence <= taken);
        match &messages[known..] {
            [] => Some(Ok(known)),
            new => Some(self.room_for(new).map(|count| known + count)),
        }
    }

    /// How many it has room for. An empty queue has room for one, however large: what a topic took is never stuck for good.
    fn room_for(&self, messages: &[TransferMessage]) -> Result<usize, Rejection> {
        let (length, bytes) = self.counted();
        let (length_max, bytes_max) = (self.settings.length_max, self.settings.bytes_max);
        let (mut length_then, mut bytes_then) = (length, bytes);
        let fits = |message: &&TransferMessage| {
            let is_first = length_then == 0;
            length_then += 1;
            bytes_then += message.payload.len() as u64;
            length_then <= length_max && (bytes_then <= bytes_max || is_first)
        };
        match messages.iter().take_while(fits).count() {
            0 => Err(Rejection::QueueFull(format!(
                "{length} of {length_max} messages, {bytes} of {bytes_max} bytes"
            ))),
            count => Ok(count),
        }
    }

    pub(super) fn inbox_rows(&self) -> Vec<InboxRow> {
        let row = |(&binding, &through): (&QueueUid, &Sequence)| InboxRow { binding, through };
        self.inboxes.iter().map(row).collect()
    }

    /// For the digest; 0 without inboxes, so that older checkpoints keep theirs.
    pub(super) fn inbox_hash(&self) -> u64 {
        let hash = |(&binding, &through): (&QueueUid, &Sequence)| digest::words(35, &[binding, through]);
        self.inboxes.iter().map(hash).fold(0, u64::wrapping_add)
    }
}

fn new_messages(messages: &[TransferMessage]) -> Vec<NewMessage> {
    let new = |message: &TransferMessage| NewMessage {
        payload: message.payload.clone(),
        group: message.group.clone(),
        dedup: None,
    };
    messages.iter().map(new).collect()
}

/// Refuses what no binding brings.
pub(crate) fn check_transfer(messages: &[TransferMessage]) -> Result<(), Rejection> {
    let rising = messages.windows(2).all(|pair| pair[0].sequence < pair[1].sequence);
    let payload_max = BODY_BYTES_MAX + PAYLOAD_OVERHEAD_BYTES_MAX;
    let sized = |message: &TransferMessage| {
        message.payload.len() as u64 <= payload_max && message.group.len() <= GROUP_KEY_BYTES_MAX
    };
    let bytes: u64 = messages.iter().map(|message| message.payload.len() as u64).sum();
    let bounded = messages.len() <= SEND_MESSAGES_MAX && bytes <= SEND_BYTES_MAX;
    if rising && bounded && messages.iter().all(sized) {
        Ok(())
    } else {
        Err(Rejection::Invalid("a transfer that no binding makes".into()))
    }
}

/// The resident payload of a message that goes on in the entry that brought it.
pub(crate) fn resident(message: OutboxMessage) -> Option<TransferMessage> {
    let Payload::Resident(payload) = message.payload else { return None };
    Some(TransferMessage { sequence: message.sequence, payload, group: message.group })
}
