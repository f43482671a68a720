//! Many subscriptions, and which of them a message matches.

use std::collections::{BTreeMap, BTreeSet};

use crate::trie::Trie;
use crate::{Attributes, Filter, Pattern};

/// Subscriptions by what they take.
///
/// A subscription is found in the cheapest way there is: by a header value that its filter demands (`=` and `in`, alone, under `and`s, or in every
/// branch of an `or`); else by its pattern; else it is tried on every message.
#[derive(Debug)]
pub struct Index<Id> {
    all: BTreeMap<Id, Conditions>,
    /// Header → value → who demands it.
    by_value: BTreeMap<String, BTreeMap<String, BTreeSet<Id>>>,
    by_pattern: Trie<Id>,
    /// Those that are tried on every message.
    rest: BTreeSet<Id>,
}

#[derive(Debug)]
struct Conditions {
    pattern: Option<Pattern>,
    filter: Option<Filter>,
}

/// How a subscription is found.
enum Way<'a> {
    Values(Vec<(String, String)>),
    Pattern(&'a Pattern),
    Rest,
}

impl Conditions {
    fn way(&self) -> Way<'_> {
        if let Some(keys) = self.filter.as_ref().and_then(Filter::keys) {
            return Way::Values(keys);
        }
        self.pattern.as_ref().map_or(Way::Rest, Way::Pattern)
    }

    fn hold(&self, attributes: &Attributes<'_>) -> bool {
        let pattern = self.pattern.as_ref().is_none_or(|pattern| pattern.matches(attributes.key));
        pattern && self.filter.as_ref().is_none_or(|filter| filter.matches(attributes))
    }
}

impl<Id> Default for Index<Id> {
    fn default() -> Self {
        Self {
            all: BTreeMap::new(),
            by_value: BTreeMap::new(),
            by_pattern: Trie::default(),
            rest: BTreeSet::new(),
        }
    }
}

impl<Id: Copy + Ord> Index<Id> {
    /// Whether there are no subscriptions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Puts a subscription in, in place of what it was. Both conditions must hold; one that is absent always does.
    pub fn insert(&mut self, id: Id, pattern: Option<Pattern>, filter: Option<Filter>) {
        self.remove(id);
        let conditions = Conditions { pattern, filter };
        match conditions.way() {
            Way::Values(keys) => {
                for (name, value) in keys {
                    self.by_value.entry(name).or_default().entry(value).or_default().insert(id);
                }
            }
            Way::Pattern(pattern) => self.by_pattern.insert(pattern.words(), id),
            Way::Rest => {
                self.rest.insert(id);
            }
        }
        self.all.insert(id, conditions);
    }

    /// Takes a subscription out.
    pub fn remove(&mut self, id: Id) {
        let Some(conditions) = self.all.remove(&id) else { return };
        match conditions.way() {
            Way::Values(keys) => keys.iter().for_each(|(name, value)| self.remove_value(id, name, value)),
            Way::Pattern(pattern) => self.by_pattern.remove(pattern.words(), id),
            Way::Rest => {
                self.rest.remove(&id);
            }
        }
    }

    fn remove_value(&mut self, id: Id, name: &str, value: &str) {
        let Some(values) = self.by_value.get_mut(name) else { return };
        if let Some(ids) = values.get_mut(value) {
            ids.remove(&id);
            if ids.is_empty() {
                values.remove(value);
            }
        }
        if values.is_empty() {
            self.by_value.remove(name);
        }
    }

    /// Puts those that a message matches into `found`, which is emptied first: rising, each once.
    pub fn matching(&self, attributes: &Attributes<'_>, found: &mut Vec<Id>) {
        found.clear();
        for (name, values) in &self.by_value {
            let value = attributes.headers.get(name).and_then(|value| std::str::from_utf8(value).ok());
            found.extend(value.and_then(|value| values.get(value)).into_iter().flatten());
        }
        self.by_pattern.matching(attributes.key, found);
        found.extend(&self.rest);
        found.sort_unstable();
        found.dedup();
        found.retain(|id| self.all.get(id).is_some_and(|conditions| conditions.hold(attributes)));
    }
}
