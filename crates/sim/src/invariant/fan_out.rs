//! Fan-out is complete: a publish that was answered reaches each subscription that was there and that it matches, at one place, and no
//! other one. One whose outcome nobody knows reached all of them or none. What a binding carries to a queue is there at one place, in the order of
//! the topic.

use std::collections::{BTreeMap, BTreeSet};

use super::Index;
use crate::history::{End, Fan, History, Look, Published, What, takes};

pub(super) fn check(history: &History, index: &Index) -> Result<(), String> {
    let mut topic = Topic::default();
    for event in &history.events {
        if let What::Fan(event) = &event.what {
            topic.take(event)?;
        }
    }
    if index.drained { topic.complete() } else { Ok(()) }
}

#[derive(Default)]
struct Subscription {
    is_made: bool,
    is_doomed: bool,
    /// Messages whose publish was answered before anybody asked for this subscription.
    before: BTreeSet<u64>,
    /// Messages that were published while it was there for certain.
    due: BTreeSet<u64>,
    places: BTreeMap<u64, u64>,
    got: BTreeMap<u64, u64>,
}

#[derive(Default)]
struct Topic {
    subscriptions: BTreeMap<u64, Subscription>,
    messages: BTreeMap<u64, (Look, End<Published>)>,
}

impl Topic {
    fn take(&mut self, event: &Fan) -> Result<(), String> {
        match event {
            Fan::Asked { subscription } => {
                let known = self.messages.iter().filter(|(_, (_, end))| end.known().is_some());
                let before = known.map(|(message, _)| *message).collect();
                let new = Subscription { before, ..Subscription::default() };
                self.subscriptions.entry(*subscription).or_insert(new);
            }
            Fan::Made { subscription } => self.of(*subscription)?.is_made = true,
            Fan::Rewinding { subscription } => self.of(*subscription)?.before.clear(),
            Fan::Rewound { subscription } => {
                let taken = self.messages.iter().filter(|(_, (look, _))| takes(*subscription, *look));
                let taken: Vec<u64> = taken.map(|(message, _)| *message).collect();
                self.of(*subscription)?.due.extend(taken);
            }
            Fan::Doomed { subscription } => self.of(*subscription)?.is_doomed = true,
            Fan::Published { message, look, end } => return self.published(*message, *look, end),
            Fan::Delivered { subscription, message, sequence } => {
                self.at_place(*subscription, *message, *sequence)?;
                return self.delivered(*subscription, *message, *sequence);
            }
            Fan::Carried { binding, message, sequence } => {
                self.delivered(*binding, *message, *sequence)?;
                return self.in_order(*binding);
            }
        }
        Ok(())
    }

    fn of(&mut self, number: u64) -> Result<&mut Subscription, String> {
        self.subscriptions
            .get_mut(&number)
            .ok_or_else(|| format!("subscription {number} was never asked for"))
    }

    fn published(&mut self, message: u64, look: Look, end: &End<Published>) -> Result<(), String> {
        self.messages.insert(message, (look, end.clone()));
        let mut certain = 0;
        let mut is_certain = true;
        for (number, subscription) in &mut self.subscriptions {
            if subscription.is_made && !subscription.is_doomed && takes(*number, look) {
                subscription.due.insert(message);
                certain += 1;
            }
            is_certain &= subscription.is_made && !subscription.is_doomed;
        }
        match end.known() {
            Some(known) if is_certain && known.matched != certain => Err(format!(
                "message {message} matched {}, and {certain} subscriptions take it",
                known.matched
            )),
            _ => Ok(()),
        }
    }

    /// A subscription has its messages where its topic has them.
    fn at_place(&self, number: u64, message: u64, sequence: u64) -> Result<(), String> {
        let known = self.messages.get(&message).and_then(|(_, end)| end.known());
        match known.filter(|known| known.sequence != sequence) {
            Some(known) => Err(format!(
                "subscription {number}, message {message} at {sequence}: confirmed at {}",
                known.sequence
            )),
            None => Ok(()),
        }
    }

    /// A queue has the messages of a binding in the order of the topic.
    fn in_order(&mut self, number: u64) -> Result<(), String> {
        let known = |message: &u64| Some(self.messages.get(message)?.1.known()?.sequence);
        let Some(binding) = self.subscriptions.get(&number) else { return Ok(()) };
        let places = binding.places.iter().filter_map(|(place, message)| Some((place, known(message)?)));
        let places: Vec<(&u64, u64)> = places.collect();
        match places.windows(2).find(|pair| pair[0].1 >= pair[1].1) {
            Some(pair) => Err(format!(
                "binding {number}: message {} of the topic is at {}, and {} at {}",
                pair[0].1, pair[0].0, pair[1].1, pair[1].0
            )),
            None => Ok(()),
        }
    }

    fn delivered(&mut self, number: u64, message: u64, sequence: u64) -> Result<(), String> {
        let place = format!("subscription {number}, message {message} at {sequence}");
        let Some((look, end)) = self.messages.get(&message).cloned() else {
            return Err(format!("{place}: never published"));
        };
        if !takes(number, look) {
            return Err(format!("{place}: it does not take {look:?}"));
        }
        if let End::Refused(why) = &end {
            return Err(format!("{place}: it was refused: {why}"));
        }
        let subscription = self.of(number)?;
        if subscription.before.contains(&message) {
            return Err(format!("{place}: published before there was such a subscription"));
        }
        let before = subscription.places.insert(sequence, message);
        if before.is_some_and(|before| before != message) {
            return Err(format!("{place}: message {before:?} is there"));
        }
        let before = subscription.got.insert(message, sequence);
        if before.is_some_and(|before| before != sequence) {
            return Err(format!("{place}: it was at {before:?}"));
        }
        Ok(())
    }

    /// Everything was consumed.
    fn complete(&self) -> Result<(), String> {
        for (message, (look, end)) in &self.messages {
            let due = self
                .subscriptions
                .iter()
                .filter(|(_, subscription)| subscription.due.contains(message) && !subscription.is_doomed);
            let (got, missed): (Vec<_>, Vec<_>) =
                due.partition(|(_, subscription)| subscription.got.contains_key(message));
            let numbers =
                |all: &[(&u64, &Subscription)]| all.iter().map(|(number, _)| **number).collect::<Vec<_>>();
            let must = matches!(end, End::Known(_)) || !got.is_empty();
            if must && !missed.is_empty() {
                return Err(format!(
                    "message {message} ({look:?}, {end:?}) reached subscriptions {:?} and not {:?}",
                    numbers(&got),
                    numbers(&missed)
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
