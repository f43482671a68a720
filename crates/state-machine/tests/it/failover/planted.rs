//! Bugs beside the machine: each is found by the rule that it breaks.

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use super::bounds::{Bounds, CALM};
use super::witness as rule;
use super::{
    AGREE, FailOver, IN_ORDER, NO_DUPLICATE, NO_LOSS, NO_OLD_TOKEN, NO_RETURN, NOT_REFUSED, ONE_TOKEN,
    RISING, SAME_ANSWERS,
};

/// A bug beside the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    Nothing,
    /// A send is confirmed when it is proposed.
    ConfirmsEarly,
    /// A repeated send comes without what tells that it is one.
    RetryIsNew,
    /// A repeated receive comes with a new id.
    RetriedReceiveIsNew,
    /// Sends come with their messages' ids, without the producer's sequences.
    NoSequences,
    /// A leader answers an acknowledgement and does not propose it.
    AcksUnwritten,
    /// A settle is taken for the message's newest delivery.
    SettlesByMessage,
    /// A new leader judges leases by a clock of its own, which is ahead.
    OwnClock,
    /// A new leader takes all leases back at once.
    TermEndsLeases,
    /// A new leader tells tokens from 1 again.
    TokensRestart,
    /// A leader is elected without the last committed entry.
    LosesCommitted,
    /// A deposed leader keeps in its machine what was never committed.
    KeepsLostSuffix,
    /// Checkpoints and snapshots hold nothing of what was sent by whom.
    SnapshotForgetsSends,
    /// A snapshot holds one entry less than it says.
    SnapshotIsOld,
    /// A restarted replica does not apply again what its checkpoint does not hold.
    RestartForgets,
}

const FAIL_OVER: Bounds = Bounds { fail_overs: 1, ..CALM };
const LOST_ANSWER: Bounds = Bounds { lost_answers: 1, ..CALM };
const EXPIRY: Bounds = Bounds { waits: 1, ..CALM };
const EXPIRY_AND_FAIL_OVER: Bounds = Bounds { waits: 1, ..FAIL_OVER };
const PIPELINE: Bounds = Bounds { messages: 2, pipeline: 2, receives: 0, ..FAIL_OVER };
const RESTART: Bounds = Bounds { receives: 0, restarts: 1, lost_answers: 1, ..FAIL_OVER };

/// The bug, what it takes to see it, and the rule that must see it, by its bit and its name.
const BUGS: [(Planted, Bounds, u16, &str); 16] = [
    (Planted::ConfirmsEarly, FAIL_OVER, rule::LOST, NO_LOSS),
    (Planted::RetryIsNew, LOST_ANSWER, rule::DUPLICATE, NO_DUPLICATE),
    (Planted::RetriedReceiveIsNew, LOST_ANSWER, rule::ANSWERS, SAME_ANSWERS),
    (Planted::NoSequences, PIPELINE, rule::DISORDER, IN_ORDER),
    (Planted::AcksUnwritten, EXPIRY, rule::RETURNED, NO_RETURN),
    (Planted::SettlesByMessage, EXPIRY, rule::OLD_TOKEN, NO_OLD_TOKEN),
    (Planted::OwnClock, FAIL_OVER, rule::TWO_TOKENS, ONE_TOKEN),
    (Planted::TermEndsLeases, FAIL_OVER, rule::TWO_TOKENS, ONE_TOKEN),
    (Planted::TermEndsLeases, FAIL_OVER, rule::REFUSED, NOT_REFUSED),
    (Planted::TokensRestart, EXPIRY_AND_FAIL_OVER, rule::NOT_RISING, RISING),
    (Planted::LosesCommitted, FAIL_OVER, rule::LOST, NO_LOSS),
    (Planted::KeepsLostSuffix, FAIL_OVER, rule::REPLICAS, AGREE),
    (Planted::SnapshotForgetsSends, RESTART, rule::DUPLICATE, NO_DUPLICATE),
    (Planted::SnapshotForgetsSends, RESTART, rule::REPLICAS, AGREE),
    (Planted::SnapshotIsOld, RESTART, rule::LOST, NO_LOSS),
    (Planted::RestartForgets, RESTART, rule::LOST, NO_LOSS),
];

#[test]
fn j23_a_bug_planted_beside_the_machine_is_found_by_the_rule_it_breaks() {
    for (planted, bounds, judged, name) in BUGS {
        let model = FailOver { bounds, planted, judged, meets: 0 };
        let enough = HasDiscoveries::AllOf(BTreeSet::from([name]));
        let checker = model.checker().finish_when(enough).spawn_bfs().join();
        assert!(checker.discovery(name).is_some(), "{planted:?} went unnoticed by: {name}");
        // It is the bug that is found, and not something that these histories do anyway.
        super::explore("the same without it", bounds, 0, 1);
    }
}
