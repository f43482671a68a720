//! Lives apart: a queue that is created under the name of a deleted one is another queue. Nothing of an earlier life is in it: no message, no
//! token, no answer.
//!
//! A life ends when a deletion is answered. What its user was told before cannot be of a later life, since nothing was asked for twice.

use std::collections::{BTreeMap, BTreeSet};

use super::Index;
use crate::history::{Action, End, History, Living, Settled, Stored, What};

pub(super) fn check(history: &History, index: &Index) -> Result<(), String> {
    let mut names: BTreeMap<u64, Name> = BTreeMap::new();
    for event in &history.events {
        let What::Life { name, event } = &event.what else { continue };
        let known = names.entry(*name).or_default();
        known.take(event).map_err(|why| format!("name {name}, life {}: {why}", known.life))?;
    }
    if let Some(why) = names.values().find_map(|known| known.uid_again.as_ref()) {
        return Err(why.clone());
    }
    let mut drained = names.iter().filter(|_| index.drained);
    drained.try_for_each(|(name, known)| {
        known.consumed().map_err(|why| format!("name {name}, life {}: {why}", known.life))
    })
}

/// What is known of a name so far.
#[derive(Default)]
struct Name {
    /// Lives that are over.
    life: u64,
    uid: u64,
    /// Uids up to this one are of earlier lives.
    uid_over: u64,
    /// A uid was given again. What came of that says more, and is told instead.
    uid_again: Option<String>,
    /// A creation or deletion may come late: the queue may be another one, unnoticed.
    unclear: bool,
    /// In which life each message was sent, and what came of it.
    messages: BTreeMap<u64, (u64, End<Stored>)>,
    /// The message at each sequence of this life.
    places: BTreeMap<u64, u64>,
    /// The message under each token of this life.
    tokens: BTreeMap<u64, u64>,
    /// Messages of this life that a settle may have removed.
    removed: BTreeSet<u64>,
    highest_token: u64,
    /// Tokens up to this one are of earlier lives.
    tokens_over: u64,
    producers: Used,
    dedups: Used,
}

/// What the server may recognise a send by.
#[derive(Default)]
struct Used {
    /// In this life.
    here: BTreeSet<u64>,
    /// By a send that may be in any life, since nobody knows what became of it.
    anywhere: BTreeSet<u64>,
}

impl Used {
    /// Notes a use. Whether this life may have known `id` before.
    fn note(&mut self, id: u64, is_known: bool) -> bool {
        let before = self.anywhere.contains(&id) || !self.here.insert(id);
        if !is_known {
            self.anywhere.insert(id);
        }
        before
    }
}

impl Name {
    fn take(&mut self, event: &Living) -> Result<(), String> {
        match event {
            Living::Created { uid } => {
                self.created(*uid);
                Ok(())
            }
            Living::Deleted => {
                self.over();
                Ok(())
            }
            Living::Unclear => {
                self.unclear = true;
                Ok(())
            }
            Living::Sent { producer, message, dedup, end } => self.sent(*producer, *message, *dedup, end),
            Living::Delivered { token, sequence, message } => self.delivered(*token, *sequence, *message),
            Living::Settled { token, action, end } => self.settled(*token, *action, end),
        }
    }

    fn created(&mut self, uid: u64) {
        self.uid = self.uid.max(uid);
        if uid <= self.uid_over && self.uid_again.is_none() {
            self.uid_again = Some(format!("life {} was given uid {uid}, of an earlier one", self.life));
        }
    }

    fn over(&mut self) {
        self.life += 1;
        (self.uid_over, self.tokens_over) = (self.uid, self.highest_token);
        self.places.clear();
        self.tokens.clear();
        self.removed.clear();
        self.producers.here.clear();
        self.dedups.here.clear();
    }

    fn sent(
        &mut self,
        producer: u64,
        message: u64,
        dedup: Option<u64>,
        end: &End<Stored>,
    ) -> Result<(), String> {
        let known = end.known();
        let may_repeat = self.producers.note(producer, known.is_some());
        let may_suppress = dedup.is_some_and(|id| self.dedups.note(id, known.is_some()));
        self.messages.insert(message, (self.life, end.clone()));
        let Some(stored) = known else { return Ok(()) };
        if stored.repeated && !may_repeat {
            return Err(format!("message {message} was answered with what producer {producer} sent before"));
        }
        if stored.duplicate {
            let why = format!("message {message} was suppressed by an id of an earlier life: {dedup:?}");
            return if may_suppress { Ok(()) } else { Err(why) };
        }
        self.put(stored.sequence, message)
    }

    fn delivered(&mut self, token: u64, sequence: u64, message: u64) -> Result<(), String> {
        let Some((life, end)) = self.messages.get(&message) else {
            return Err(format!("message {message} was delivered and never sent"));
        };
        match end {
            End::Known(_) if *life < self.life => {
                return Err(format!("message {message} of life {life} was delivered under token {token}"));
            }
            End::Known(stored) if stored.duplicate => {
                return Err(format!("message {message} was suppressed, and delivered under token {token}"));
            }
            End::Known(stored) if stored.sequence != sequence => {
                return Err(format!(
                    "message {message} was confirmed at {}, and delivered at {sequence}",
                    stored.sequence
                ));
            }
            End::Refused(why) => return Err(format!("message {message} was refused, and delivered: {why}")),
            End::Known(_) | End::Unknown(_) => {}
        }
        if token <= self.tokens_over {
            return Err(format!(
                "token {token} was given for message {message}, and earlier lives had tokens up to {}",
                self.tokens_over
            ));
        }
        self.highest_token = self.highest_token.max(token);
        match self.tokens.insert(token, message) {
            Some(other) if other != message => {
                Err(format!("token {token} names messages {other} and {message}"))
            }
            _ => self.put(sequence, message),
        }
    }

    /// A place has one message; but of a queue that may be another one by now nothing is known.
    fn put(&mut self, sequence: u64, message: u64) -> Result<(), String> {
        match self.places.insert(sequence, message) {
            Some(other) if other != message && !self.unclear => {
                Err(format!("messages {other} and {message} are both at {sequence}"))
            }
            _ => Ok(()),
        }
    }

    fn settled(&mut self, token: u64, action: Action, end: &End<Settled>) -> Result<(), String> {
        if let Some(message) = self.tokens.get(&token) {
            let may_remove = matches!(action, Action::Ack | Action::Reject)
                && matches!(end, End::Known(Settled::Done) | End::Unknown(_));
            if may_remove {
                self.removed.insert(*message);
            }
        } else if *end == End::Known(Settled::Done) {
            return Err(format!("token {token} of an earlier life was settled: {action:?}"));
        }
        Ok(())
    }

    /// The queue is empty: what this life confirmed was acknowledged.
    fn consumed(&self) -> Result<(), String> {
        let kept = self.messages.iter().find(|(message, (life, end))| {
            let is_stored = matches!(end, End::Known(stored) if !stored.duplicate);
            *life == self.life && is_stored && !self.removed.contains(message)
        });
        match kept {
            Some((message, (_, end))) if !self.unclear => Err(format!(
                "message {message} was confirmed ({end:?}), and the queue is empty, but nobody acknowledged it"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
