//! Lives apart: a queue that is made under the name of a deleted one is another queue. Nothing of an earlier life is in it: no message, no token,
//! no answer.
//!
//! Several use the name at once, and calls name a queue by it: an attempt that was given up may arrive in a later life. So what is held against
//! a life was over before the deletion that ended an earlier one began, and was attempted once. Not so with deletions that were answered: whoever was
//! told that the old queue is gone may make a new one, which must stay.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::total::is_drained;
use crate::history::{F, Index, Kind, Op};

pub(super) fn check(index: &Index) -> Finding {
    let mut finding = Finding::new("lives-apart");
    for queue in index.queues_of(&["lives"]) {
        let name = Name::new(index, queue);
        finding.count("lives", name.deletions.len());
        name.uids_rise(&mut finding);
        name.messages(&mut finding);
        name.tokens(&mut finding);
        name.answers(&mut finding);
        if is_drained(index, queue) {
            name.last_life(&mut finding);
        } else if is_gone(index, queue) {
            name.gone(&mut finding);
        }
    }
    finding
}

/// What is known of a name.
struct Name<'a> {
    name: &'a str,
    creations: Vec<&'a Op>,
    /// After each of them there was no queue of that name. In their order: one client makes them all.
    deletions: Vec<&'a Op>,
    /// A deletion may come at any time, or may have come unnoticed.
    is_unclear: bool,
    /// It was said of a deletion that its outcome is unknown.
    is_any_unanswered: bool,
    sends: BTreeMap<u64, &'a Op>,
    deliveries: Vec<&'a Op>,
    settles: Vec<&'a Op>,
}

/// There was no queue of that name at the end.
fn is_gone(index: &Index, queue: &str) -> bool {
    let mut drains = index.noted(F::Drain);
    drains.any(|note| note.kind == Kind::Info && note.facts.queue.as_deref() == Some(queue))
}

/// It was attempted once, and happened.
fn is_certain(op: &Op) -> bool {
    op.is_ok() && op.facts.late != Some(1)
}

fn is_suppressed(send: &Op) -> bool {
    send.facts.duplicate == Some(1)
}

impl<'a> Name<'a> {
    fn new(index: &'a Index, name: &'a str) -> Self {
        let of = |f| index.of(name, f);
        let wanted = of(F::Delete).filter(|op| op.is_possible());
        Self {
            name,
            creations: of(F::Create).filter(|op| op.is_ok()).collect(),
            is_any_unanswered: wanted.clone().any(|op| !op.is_ok()),
            is_unclear: wanted.clone().any(|op| !is_certain(op)),
            deletions: wanted.filter(|op| op.is_ok()).collect(),
            sends: of(F::Enqueue).filter_map(|op| Some((op.value?, op))).collect(),
            deliveries: index.deliveries(name).collect(),
            settles: of(F::Ack).chain(of(F::Nack)).collect(),
        }
    }

    /// What was in the queue at `before` was deleted by `after`.
    fn is_another(&self, before: usize, after: usize) -> bool {
        let next = self.deletions.partition_point(|deletion| deletion.began <= before);
        self.deletions.get(next).is_some_and(|deletion| deletion.ended < after)
    }

    /// A later queue has a higher uid.
    fn uids_rise(&self, finding: &mut Finding) {
        for pair in self.creations.windows(2).filter(|pair| self.is_another(pair[0].ended, pair[1].began)) {
            let (Some(uid), Some(next)) = (pair[0].facts.uid, pair[1].facts.uid) else { continue };
            if next <= uid {
                finding.fault(format!("{}: uid {next} was given after {uid} was deleted", self.name));
            }
        }
    }

    /// A message is delivered in the life in which it was sent, at its place, and not after it was acknowledged.
    fn messages(&self, finding: &mut Finding) {
        let name = self.name;
        let acks = self.settles.iter().filter(|settle| settle.f == F::Ack && settle.is_ok());
        let acked: BTreeMap<u64, usize> = acks.filter_map(|ack| Some((ack.value?, ack.ended))).collect();
        for delivery in &self.deliveries {
            let value = delivery.value.unwrap_or_default();
            let Some(send) = self.sends.get(&value) else {
                finding.fault(format!("unexpected: {value} came out of {name} and was never sent to it"));
                continue;
            };
            if !send.is_possible() {
                finding.fault(format!("unexpected: the send of {value} to {name} failed for certain"));
            }
            if !is_certain(send) {
                finding.count("delivered-of-unknown-life", 1);
                continue;
            }
            let what = format!("{name}: {value}, sent with place {:?}", send.facts.sequence);
            if is_suppressed(send) {
                finding.fault(format!("{what}, was suppressed, and delivered"));
            } else if self.is_another(send.ended, delivery.began) {
                finding.fault(format!("{what}, was delivered when its queue had been deleted"));
            } else if send.facts.sequence != delivery.facts.sequence {
                finding.fault(format!("{what}, was delivered at {:?}", delivery.facts.sequence));
            } else if acked.get(&value).is_some_and(|ended| *ended < delivery.began) {
                finding.fault(format!("{what}, was acknowledged, and came again"));
            }
        }
        finding.count("delivered", self.deliveries.len());
    }

    /// A token of an earlier life settles nothing.
    fn tokens(&self, finding: &mut Finding) {
        let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
        for delivery in &self.deliveries {
            let first = seen.entry(delivery.facts.token.unwrap_or_default()).or_insert(delivery.ended);
            *first = delivery.ended.min(*first);
        }
        for settle in &self.settles {
            let Some(token) = settle.facts.token else { continue };
            if !seen.get(&token).is_some_and(|ended| self.is_another(*ended, settle.began)) {
                continue;
            }
            finding.count("late-settles", 1);
            if settle.is_ok() {
                finding.fault(format!("{}: token {token} of a deleted queue was settled", self.name));
            }
        }
    }

    /// No send is answered with what an earlier life remembered.
    fn answers(&self, finding: &mut Finding) {
        let mut of_id: BTreeMap<u64, Vec<&Op>> = BTreeMap::new();
        for send in self.sends.values().filter(|send| send.is_possible()) {
            if let Some(id) = send.facts.dedup {
                of_id.entry(id).or_default().push(send);
            }
        }
        for (id, sends) in &of_id {
            for send in sends.iter().filter(|send| is_certain(send) && is_suppressed(send)) {
                finding.count("suppressed", 1);
                let may_be_here = |other: &&&Op| {
                    let is_over = is_certain(other) && self.is_another(other.ended, send.began);
                    other.value != send.value && other.began < send.ended && !is_over
                };
                if sends.iter().find(may_be_here).is_none() {
                    finding.fault(format!(
                        "{}: {:?} was suppressed by deduplication id {id} of a deleted queue",
                        self.name, send.value
                    ));
                }
            }
        }
    }

    /// A queue stays until somebody wants it deleted. One that was made when all deletions had been answered is not gone.
    fn gone(&self, finding: &mut Finding) {
        let last = self.deletions.last().map_or(0, |deletion| deletion.ended);
        let Some(made) = self.creations.iter().rev().find(|creation| creation.began > last) else { return };
        if self.is_any_unanswered {
            finding.count("gone-by-an-unknown-deletion", 1);
            return;
        }
        finding.fault(format!(
            "lost: {} is gone, which was made (uid {:?}) when every deletion had been answered: one was carried out again",
            self.name, made.facts.uid
        ));
    }

    /// What was confirmed after the last deletion was delivered and acknowledged: the queue is empty.
    fn last_life(&self, finding: &mut Finding) {
        if self.is_unclear {
            finding.count("last-life-unclear", 1);
            return;
        }
        let last = self.deletions.last().map_or(0, |deletion| deletion.ended);
        let acks = self.settles.iter().filter(|settle| settle.f == F::Ack && settle.is_possible());
        let acked: BTreeSet<u64> = acks.filter_map(|ack| ack.value).collect();
        for (value, send) in self.sends.iter().filter(|(_, send)| is_certain(send) && send.began > last) {
            finding.count("of-last-life", 1);
            if !is_suppressed(send) && !acked.contains(value) {
                finding.fault(format!(
                    "lost: {value} was confirmed, {} is empty, and nobody acknowledged it",
                    self.name
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests;
