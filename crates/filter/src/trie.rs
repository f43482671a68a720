//! Patterns of many subscriptions, by their words.
//!
//! A key is looked up word by word, with all places at once where the words so far may lead: the cost follows the places that match, not
//! the patterns there are.

use std::collections::{BTreeMap, BTreeSet};

use crate::pattern::Word;

#[derive(Debug)]
pub(crate) struct Trie<Id> {
    next: BTreeMap<Word, Trie<Id>>,
    here: BTreeSet<Id>,
}

impl<Id> Default for Trie<Id> {
    fn default() -> Self {
        Self { next: BTreeMap::new(), here: BTreeSet::new() }
    }
}

impl<Id: Copy + Ord> Trie<Id> {
    pub(crate) fn insert(&mut self, words: &[Word], id: Id) {
        let mut at = self;
        for word in words {
            at = at.next.entry(word.clone()).or_default();
        }
        at.here.insert(id);
    }

    /// Nodes that lead nowhere go.
    pub(crate) fn remove(&mut self, words: &[Word], id: Id) {
        let Some((first, rest)) = words.split_first() else {
            self.here.remove(&id);
            return;
        };
        let Some(next) = self.next.get_mut(first) else { return };
        next.remove(rest, id);
        if next.here.is_empty() && next.next.is_empty() {
            self.next.remove(first);
        }
    }

    /// Adds all whose pattern matches the key; one may come more than once.
    pub(crate) fn matching(&self, key: &str, found: &mut Vec<Id>) {
        // Each place once: by its address, since the same node may be reached in many ways.
        let mut places: BTreeMap<usize, (&Self, bool)> = BTreeMap::new();
        self.enter(false, &mut places);
        for word in key.split('.') {
            let plain = Word::Plain(word.into());
            let before = std::mem::take(&mut places);
            for (node, stays) in before.into_values() {
                if stays {
                    node.enter(true, &mut places);
                }
                for way in [&plain, &Word::One] {
                    if let Some(next) = node.next.get(way) {
                        next.enter(false, &mut places);
                    }
                }
            }
            if places.is_empty() {
                return;
            }
        }
        for (node, _) in places.into_values() {
            found.extend(&node.here);
        }
    }

    /// This place is reached, and with it the one behind a `#` that stands for nothing. `stays`: it is such a one.
    fn enter<'a>(&'a self, stays: bool, places: &mut BTreeMap<usize, (&'a Self, bool)>) {
        let address = std::ptr::from_ref(self).addr();
        if places.insert(address, (self, stays)).is_none()
            && let Some(any) = self.next.get(&Word::Any)
        {
            any.enter(true, places);
        }
    }
}
