//! Linearizability of a FIFO queue in O(n log n).
//!
//! Messages are distinct, so a history is that of a queue if and only if it has none of four patterns (Bouajjani, Emmi, Enea, Hamza: On
//! reducing linearizability to state reachability, 2015; with empty receives: arXiv 2410.04581): a message taken and never sent, or
//! before it was sent; taken twice; sent after another and taken before it; and a receive that found nothing although at every moment of it some
//! message must have been there.

use std::collections::BTreeMap;

use super::Finding;
use crate::history::{F, Index, Kind, Op};

/// One operation of a queue, with the places of its beginning and end in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Or a dequeue.
    pub is_enqueue: bool,
    /// `None`: a dequeue that found nothing.
    pub value: Option<u64>,
    /// Place of its beginning.
    pub began: usize,
    /// Place of its end; `usize::MAX`: it need not have happened.
    pub ended: usize,
}

/// One message: when it was sent, and when it was taken.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    sent: (usize, usize),
    /// `None`: it is not known to have been taken.
    taken: Option<(usize, usize)>,
}

/// What is known of a queue.
#[derive(Debug, Default)]
pub struct Lives {
    lives: BTreeMap<u64, Life>,
    /// Receives that found nothing.
    empties: Vec<(usize, usize)>,
    /// Broken already by what was put in.
    broken: Vec<String>,
}

impl Lives {
    /// Of a bare history, where every dequeue is known.
    pub fn of(history: &[Call]) -> Self {
        let mut lives = Self::default();
        for call in history.iter().filter(|call| call.is_enqueue) {
            let Some(value) = call.value else { continue };
            let life = Life { sent: (call.began, call.ended), taken: None };
            if lives.lives.insert(value, life).is_some() {
                lives.broken.push(format!("{value} was sent twice"));
            }
        }
        for call in history.iter().filter(|call| !call.is_enqueue) {
            match call.value {
                None => lives.empties.push((call.began, call.ended)),
                Some(value) => lives.take(value, (call.began, call.ended)),
            }
        }
        lives
    }

    fn take(&mut self, value: u64, span: (usize, usize)) {
        match self.lives.get_mut(&value) {
            None => self.broken.push(format!("{value} was taken and never sent")),
            Some(Life { taken: Some(_), .. }) => self.broken.push(format!("{value} was taken twice")),
            Some(life) => life.taken = Some(span),
        }
    }

    /// The first pattern that no queue has.
    ///
    /// # Errors
    /// What it is.
    pub fn check(&self) -> Result<(), String> {
        if let Some(broken) = self.broken.first() {
            return Err(broken.clone());
        }
        for (value, life) in &self.lives {
            if life.taken.is_some_and(|taken| taken.1 < life.sent.0) {
                return Err(format!("{value} was taken before it was sent"));
            }
        }
        self.in_order()?;
        self.empties_were_empty()
    }

    /// Messages that were there for certain: value, and the latest end of its send, the earliest beginning of its taking.
    fn bounds(&self) -> impl Iterator<Item = (u64, Life, usize, usize)> {
        self.lives.iter().filter_map(|(value, life)| {
            // What was taken was sent before that; what is sent is taken after that.
            let sent_by = life.taken.map_or(life.sent.1, |taken| taken.1.min(life.sent.1));
            let taken_from = life.taken.map_or(usize::MAX, |taken| taken.0.max(life.sent.0));
            (sent_by != usize::MAX).then_some((*value, *life, sent_by, taken_from))
        })
    }

    /// No message was sent after another and taken before it.
    fn in_order(&self) -> Result<(), String> {
        let mut earlier: Vec<(usize, usize, u64)> =
            self.bounds().map(|(value, _, sent_by, taken_from)| (sent_by, taken_from, value)).collect();
        earlier.sort_unstable();
        let mut later: Vec<(usize, usize, u64)> = self
            .lives
            .iter()
            .filter_map(|(value, life)| Some((life.sent.0, life.taken?.1, *value)))
            .collect();
        later.sort_unstable();
        let mut next = earlier.iter().peekable();
        let mut latest: Option<(usize, u64)> = None;
        for (sent_from, taken_by, value) in later {
            while let Some((_, taken_from, other)) = next.next_if(|(sent_by, ..)| *sent_by < sent_from) {
                latest = latest.max(Some((*taken_from, *other)));
            }
            if let Some((_, other)) = latest.filter(|(taken_from, _)| *taken_from > taken_by) {
                return Err(format!("{value} was sent after {other} and taken before it"));
            }
        }
        Ok(())
    }

    /// No receive found nothing while some message was there at every moment.
    fn empties_were_empty(&self) -> Result<(), String> {
        let mut there: Vec<(usize, usize)> =
            self.bounds().map(|(_, _, sent_by, taken_from)| (sent_by, taken_from)).collect();
        there.retain(|(from, until)| from < until);
        there.sort_unstable();
        let mut stretches: Vec<(usize, usize)> = Vec::new();
        for (from, until) in there {
            match stretches.last_mut() {
                Some(last) if from < last.1 => last.1 = last.1.max(until),
                _ => stretches.push((from, until)),
            }
        }
        for (began, ended) in &self.empties {
            let after = stretches.partition_point(|(from, _)| from < began);
            if let Some((from, until)) = after.checked_sub(1).and_then(|place| stretches.get(place))
                && until > ended
            {
                return Err(format!(
                    "a receive from {began} to {ended} found nothing, though there was something from {from} to {until}"
                ));
            }
        }
        Ok(())
    }
}

/// The first deliveries of a queue's messages as the dequeues of a FIFO queue: what comes again had its turn before.
///
/// A message that is only seen as a redelivery was taken by a receive whose answer was lost: at any time since the first of these began.
pub(super) fn of_first_deliveries(index: &Index, queue: &str) -> Lives {
    let mut lives = Lives::default();
    for send in index.of(queue, F::Enqueue).filter(|op| op.is_possible()) {
        let Some(value) = send.value else { continue };
        let life = Life { sent: (send.began, send.ended), taken: None };
        let known = lives.lives.entry(value).or_insert(life);
        // Several attempts at one message.
        known.sent = (known.sent.0.min(send.began), known.sent.1.min(send.ended));
    }
    let is_lost = |op: &&Op| op.f == F::Dequeue && op.kind == Kind::Info;
    let first_lost = index.of(queue, F::Dequeue).find(is_lost).map(|op| op.began);
    let mut again: BTreeMap<u64, usize> = BTreeMap::new();
    for op in index.of(queue, F::Dequeue).filter(|op| op.is_ok()) {
        match op.value {
            None => lives.empties.push((op.began, op.ended)),
            Some(value) if op.facts.attempt == Some(1) && op.facts.again.is_none() => {
                lives.take(value, (op.began, op.ended));
            }
            Some(value) => {
                let seen = again.entry(value).or_insert(op.ended);
                *seen = op.ended.min(*seen);
            }
        }
    }
    for (value, life) in &mut lives.lives {
        if life.taken.is_none() {
            let until = again.get(value).copied();
            let from = first_lost.map(|lost| lost.max(life.sent.0));
            life.taken = match (from, until) {
                (Some(from), until) => Some((from.min(until.unwrap_or(from)), until.unwrap_or(usize::MAX))),
                (None, Some(until)) => Some((life.sent.0, until)),
                (None, None) => None,
            };
        }
    }
    lives
}

/// As bare operations, for the search.
pub(super) fn calls(lives: &Lives) -> Vec<Call> {
    let mut calls = Vec::new();
    for (value, life) in &lives.lives {
        let value = Some(*value);
        calls.push(Call { is_enqueue: true, value, began: life.sent.0, ended: life.sent.1 });
        if let Some((began, ended)) = life.taken {
            calls.push(Call { is_enqueue: false, value, began, ended });
        }
    }
    calls
}

pub(super) fn check(index: &Index) -> Finding {
    let mut finding = Finding::new("fifo");
    for queue in index.queues_of(&["fifo"]) {
        let lives = of_first_deliveries(index, queue);
        finding.count("messages", lives.lives.len());
        finding.count("empty-receives", lives.empties.len());
        if let Err(why) = lives.check() {
            finding.fault(format!("{queue}: {why}"));
        }
    }
    // Tokens say in which order messages were offered, whoever took part.
    for queue in index.queues_of(&["fifo", "plain", "strict"]) {
        let is_first = |op: &&Op| op.facts.attempt == Some(1) && op.facts.again.is_none();
        let mut offered: Vec<(u64, u64)> = index
            .deliveries(queue)
            .filter(is_first)
            .filter_map(|op| Some((op.facts.token?, op.facts.sequence?)))
            .collect();
        offered.sort_unstable();
        for pair in offered.windows(2).filter(|pair| pair[0].1 > pair[1].1) {
            finding.fault(format!(
                "{queue}: place {} was offered (token {}) before place {} (token {})",
                pair[0].1, pair[0].0, pair[1].1, pair[1].0
            ));
        }
    }
    finding
}

#[cfg(test)]
mod tests;
