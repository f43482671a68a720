//! Figures only: what struck, and what became of the operations.

use super::Finding;
use crate::history::{F, Index, Kind};
use crate::nemesis::Fault;

/// Operations, and what their figures are called: `:ok`, `:fail`, `:info`.
const OPERATIONS: [(F, [&str; 3]); 8] = [
    (F::Enqueue, ["enqueue-ok", "enqueue-fail", "enqueue-info"]),
    (F::Dequeue, ["dequeue-ok", "dequeue-fail", "dequeue-info"]),
    (F::Ack, ["ack-ok", "ack-fail", "ack-info"]),
    (F::Nack, ["nack-ok", "nack-fail", "nack-info"]),
    (F::Create, ["create-ok", "create-fail", "create-info"]),
    (F::Delete, ["delete-ok", "delete-fail", "delete-info"]),
    (F::Read, ["read-ok", "read-fail", "read-info"]),
    (F::Peek, ["peek-ok", "peek-fail", "peek-info"]),
];

/// How often each fault struck. Of flips those count that flipped something.
pub(super) fn strikes(index: &Index) -> Finding {
    let mut finding = Finding::new("strikes");
    for note in index.noted(F::Fault) {
        // Kind, name, victims.
        let name = note.facts.note.as_deref().and_then(|note| note.split_whitespace().nth(1));
        let fault = name.and_then(|name| Fault::parse(name).ok()).and_then(|faults| faults.first().copied());
        if let Some(fault) = fault.filter(|fault| *fault != Fault::Flip) {
            finding.count(fault.name(), 1);
        }
    }
    let flips = index.noted(F::Damage).filter(|note| note.facts.flips.is_some_and(|flips| flips > 0));
    finding.count(Fault::Flip.name(), flips.count());
    finding
}

pub(super) fn operations(index: &Index) -> Finding {
    let mut finding = Finding::new("operations");
    for (f, names) in OPERATIONS {
        for (kind, name) in [Kind::Ok, Kind::Fail, Kind::Info].into_iter().zip(names) {
            let count = index.ops.iter().filter(|op| op.f == f && op.kind == kind).count();
            if count > 0 {
                finding.count(name, count);
            }
        }
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;
    use super::*;
    use crate::history::Facts;

    #[test]
    fn a_flip_counts_when_something_flipped() {
        let mut story = Story::of_class("plain");
        let note = |text: &str| Facts { note: Some(text.to_owned()), ..Facts::default() };
        story.note(F::Fault, Kind::Info, note("power-cut power-cut-all [1, 2, 3] leader"));
        story.note(F::Fault, Kind::Info, note("flip flip [2]")).note(F::Heal, Kind::Info, Facts::default());
        let index = |story: &Story| Index::new(story.events()).unwrap();
        assert_eq!(strikes(&index(&story)).counts, [("power-cut-all", 1), ("flip", 0)]);
        story.note(F::Damage, Kind::Info, Facts { flips: Some(2), ..Facts::default() });
        assert_eq!(strikes(&index(&story)).counts, [("power-cut-all", 1), ("flip", 1)]);
    }

    #[test]
    fn every_outcome_is_counted_by_itself() {
        let mut story = Story::of_class("plain");
        story.sent(1, 1).given(1, 1, 1, 1).settled(F::Ack, 1, 1, Kind::Info).empty();
        let index = Index::new(story.events()).unwrap();
        assert_eq!(operations(&index).counts, [("enqueue-ok", 1), ("dequeue-ok", 2), ("ack-info", 1)]);
    }
}
