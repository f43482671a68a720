//! What a topic and its subscriptions should do, with sets and nothing clever.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use phalanx_filter::{Attributes, Filter, Pattern};
use phalanx_state_machine::command::NewMessage;

/// A published message.
pub struct Published {
    pub new: NewMessage,
    key: String,
    headers: BTreeMap<String, Bytes>,
    at_ms: u64,
    /// It has no body.
    pub deletes: bool,
}

#[derive(Default)]
pub struct Model {
    /// In order: sequence 1 first.
    pub messages: Vec<Published>,
    pub subscriptions: BTreeMap<u64, Subscription>,
    /// Time and size for which the topic keeps messages; 0 = no limit of that kind.
    pub retain: Option<(u64, u64)>,
    /// The newest message of each key is kept.
    pub compact: bool,
}

#[derive(Debug, Default)]
pub struct Subscription {
    pattern: Option<Pattern>,
    filter: Option<Filter>,
    waits: BTreeSet<u64>,
    /// By sequence: who.
    held: BTreeMap<u64, u64>,
    /// What it takes of the past must be asked about: it had conditions some time, or the log has holes.
    pub matched: bool,
    /// Of each key only the newest message waits.
    pub latest_only: bool,
    /// Messages from .. to .. that nobody has looked at for it.
    unseen: Option<(u64, u64)>,
    marks: BTreeMap<String, u64>,
}

impl Subscription {
    fn conditions(&mut self, pattern: &str, filter: &str) {
        self.pattern = (!pattern.is_empty()).then(|| Pattern::parse(pattern).unwrap());
        self.filter = (!filter.is_empty()).then(|| Filter::parse(filter).unwrap());
        self.matched |= !matches!(pattern, "" | "#") || !filter.is_empty();
    }

    fn takes(&self, key: &str, headers: &BTreeMap<String, Bytes>) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.matches(key))
            && self.filter.as_ref().is_none_or(|filter| filter.matches(&Attributes::new(key, headers)))
    }
}

impl Model {
    pub fn create(&mut self, uid: u64, pattern: &str, filter: &str, latest_only: bool) {
        let matched = latest_only || self.compact;
        let mut subscription = Subscription { matched, latest_only, ..Subscription::default() };
        subscription.conditions(pattern, filter);
        self.subscriptions.insert(uid, subscription);
    }

    pub fn change(&mut self, uid: u64, pattern: &str, filter: &str) {
        self.of(uid).conditions(pattern, filter);
    }

    fn of(&mut self, uid: u64) -> &mut Subscription {
        self.subscriptions.get_mut(&uid).expect("a subscription that exists")
    }

    pub fn matched(&self, key: &str, headers: &BTreeMap<String, Bytes>) -> u64 {
        self.subscriptions.values().filter(|subscription| subscription.takes(key, headers)).count() as u64
    }

    pub fn publish(
        &mut self,
        key: &str,
        headers: &BTreeMap<String, Bytes>,
        new: NewMessage,
        at_ms: u64,
        deletes: bool,
    ) {
        self.messages.push(Published { new, key: key.to_owned(), headers: headers.clone(), at_ms, deletes });
        let sequence = self.messages.len() as u64;
        for subscription in
            self.subscriptions.values_mut().filter(|subscription| subscription.takes(key, headers))
        {
            subscription.waits.insert(sequence);
        }
        self.conflate();
    }

    /// Where only the newest message of a key may wait, only that waits.
    fn conflate(&mut self) {
        let messages = &self.messages;
        let key = |sequence: &u64| &messages[*sequence as usize - 1].new.group;
        for subscription in self.subscriptions.values_mut().filter(|subscription| subscription.latest_only) {
            let newest: BTreeMap<&Bytes, u64> = subscription.waits.iter().map(|at| (key(at), *at)).collect();
            subscription.waits.retain(|at| key(at).is_empty() || newest[key(at)] == *at);
        }
    }

    /// The newest message of each key.
    fn latest(&self) -> BTreeMap<&Bytes, u64> {
        let keyed = (1..).zip(&self.messages).filter(|(_, message)| !message.new.group.is_empty());
        keyed.map(|(sequence, message)| (&message.new.group, sequence)).collect()
    }

    /// Whether somebody who comes now can have a message that is there. One that deletes its key is for those who can meet an older one.
    fn is_readable(&self, sequence: u64, kept: u64, stored: &BTreeSet<u64>) -> bool {
        let of = |at: u64| &self.messages[at as usize - 1];
        let key = &of(sequence).new.group;
        let is_latest = self.compact && self.latest().get(key) == Some(&sequence);
        let older = || stored.range(..sequence).any(|at| of(*at).new.group == key);
        sequence >= kept || is_latest && (!of(sequence).deletes || older())
    }

    /// Checks a receive, and takes it over.
    pub fn received(&mut self, uid: u64, consumer: u64, given: &[u64], count_max: usize, groups: bool) {
        let of_group = |sequence: &u64| self.messages[*sequence as usize - 1].new.group.clone();
        let keys: BTreeMap<u64, Bytes> =
            (1..=self.messages.len() as u64).map(|sequence| (sequence, of_group(&sequence))).collect();
        let subscription = self.of(uid);
        let known = subscription.unseen.map_or(u64::MAX, |(at, _)| at);
        if groups {
            // A group is with one consumer at a time, and comes in order.
            for sequence in given {
                assert!(
                    *sequence < known && subscription.waits.contains(sequence),
                    "{sequence} does not wait"
                );
                let key = &keys[sequence];
                if !key.is_empty() {
                    let same = |other: &&u64| keys[*other] == *key;
                    assert!(subscription.held.iter().all(|(at, who)| keys[at] != *key || *who == consumer));
                    assert_eq!(subscription.waits.iter().find(same), Some(sequence), "a group out of order");
                }
                subscription.waits.remove(sequence);
                subscription.held.insert(*sequence, consumer);
            }
            let free = subscription.waits.range(..known).any(|sequence| {
                let key = &keys[sequence];
                key.is_empty()
                    || subscription.held.iter().all(|(at, who)| keys[at] != *key || *who == consumer)
            });
            assert!(given.len() == count_max || !free, "there was more to give");
        } else {
            let expected: Vec<u64> = subscription.waits.range(..known).copied().take(count_max).collect();
            assert_eq!(given, expected, "the first that wait, in order");
            for sequence in given {
                subscription.waits.remove(sequence);
                subscription.held.insert(*sequence, consumer);
            }
        }
    }

    pub fn done(&mut self, uid: u64, sequence: u64) {
        let subscription = self.of(uid);
        subscription.waits.remove(&sequence);
        subscription.held.remove(&sequence);
    }

    /// It came back, and with it all later ones of its group.
    pub fn returned(&mut self, uid: u64, sequence: u64) {
        let key = self.messages[sequence as usize - 1].new.group.clone();
        let groups: Vec<Bytes> = self.messages.iter().map(|message| message.new.group.clone()).collect();
        let subscription = self.of(uid);
        let back = |at: &u64| {
            *at == sequence || (!key.is_empty() && *at > sequence && groups[*at as usize - 1] == key)
        };
        let all: Vec<u64> = subscription.held.keys().copied().filter(back).collect();
        for at in all {
            subscription.held.remove(&at);
            subscription.waits.insert(at);
        }
        self.conflate();
    }

    pub fn all_returned(&mut self) {
        for subscription in self.subscriptions.values_mut() {
            subscription.waits.extend(std::mem::take(&mut subscription.held).into_keys());
        }
        self.conflate();
    }

    pub fn purge(&mut self, uid: u64) -> u64 {
        let subscription = self.of(uid);
        let count = subscription.waits.len() + subscription.held.len();
        subscription.waits.clear();
        subscription.held.clear();
        subscription.unseen = None;
        count as u64
    }

    /// It begins anew at a sequence.
    pub fn seek(&mut self, uid: u64, to: u64) {
        self.purge(uid);
        let end = self.messages.len() as u64 + 1;
        let subscription = self.of(uid);
        if subscription.matched {
            subscription.unseen = (to < end).then_some((to, end));
        } else {
            subscription.waits = (to..end).collect();
        }
    }

    /// Someone looks at messages of the past for it; those that match.
    pub fn replay(&mut self, uid: u64, from: u64, end: u64, kept: u64, stored: &BTreeSet<u64>) -> Vec<u64> {
        let readable: Vec<u64> =
            stored.range(from..end).copied().filter(|at| self.is_readable(*at, kept, stored)).collect();
        let all = &self.messages;
        let subscription = self.subscriptions.get_mut(&uid).expect("a subscription that exists");
        let (at, last) = subscription.unseen.expect("it replays");
        assert!(at == from && end <= last, "it replays {at}..{last}, not {from}..{end}");
        let takes = |at: &u64| {
            let message = &all[*at as usize - 1];
            subscription.takes(&message.key, &message.headers)
        };
        let found: Vec<u64> = readable.into_iter().filter(takes).collect();
        subscription.waits.extend(&found);
        subscription.unseen = (end < last).then_some((end, last));
        self.conflate();
        found
    }

    /// The first message of those stored that was published then or later.
    pub fn since(&self, time_ms: u64, stored: &BTreeSet<u64>) -> u64 {
        let found = stored.iter().find(|at| self.messages[**at as usize - 1].at_ms >= time_ms);
        found.copied().unwrap_or(self.messages.len() as u64 + 1)
    }

    /// Where a subscription stands.
    pub fn position(&self, uid: u64) -> u64 {
        let subscription = &self.subscriptions[&uid];
        let first = [
            subscription.waits.first().copied(),
            subscription.held.keys().next().copied(),
            subscription.unseen.map(|(at, _)| at),
        ];
        first.into_iter().flatten().min().unwrap_or(self.messages.len() as u64 + 1)
    }

    pub fn set_mark(&mut self, uid: u64, name: &str) -> u64 {
        let position = self.position(uid);
        self.of(uid).marks.insert(name.to_owned(), position);
        position
    }

    pub fn mark(&self, uid: u64, name: &str) -> Option<u64> {
        self.subscriptions[&uid].marks.get(name).copied()
    }

    /// The first message that retention keeps, at a time.
    pub fn retained_from(&self, now_ms: u64) -> u64 {
        let end = self.messages.len() as u64 + 1;
        let Some((retain_ms, retain_bytes)) = self.retain else { return end };
        let mut bytes = 0;
        let young = self.messages.iter().rev().take_while(|message| {
            bytes += message.new.payload.len() as u64;
            bytes <= retain_bytes && (retain_ms == 0 || message.at_ms + retain_ms > now_ms)
        });
        end - young.count() as u64
    }

    pub fn waits(&self, uid: u64) -> bool {
        let waits = |of: &Subscription| !of.waits.is_empty() || of.unseen.is_some();
        self.subscriptions.get(&uid).is_some_and(waits)
    }

    /// Messages that some subscription has not settled, or may have to take, and those that retention keeps.
    pub fn needed(&self, now_ms: u64, kept: u64) -> BTreeSet<u64> {
        let end = self.messages.len() as u64 + 1;
        let mut needed: BTreeSet<u64> = (self.retained_from(now_ms)..end).collect();
        for of in self.subscriptions.values() {
            needed.extend(of.waits.iter().chain(of.held.keys()));
            needed.extend(of.unseen.map_or(end, |(at, _)| at.max(kept))..end);
        }
        for (key, last) in self.latest().into_iter().filter(|_| self.compact) {
            // One that deletes its key is there for those that could meet an older one.
            let older = needed.range(..last).any(|at| self.messages[*at as usize - 1].new.group == key);
            if !self.messages[last as usize - 1].deletes || older {
                needed.insert(last);
            }
        }
        needed
    }
}
