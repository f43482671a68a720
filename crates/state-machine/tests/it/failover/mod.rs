//! J23: leases, deduplication and fail-over, every order of events within bounds.
//!
//! A model checker (stateright) drives the real machine: what is committed goes through `Machine::apply`, what restarts begins with the
//! rows of a checkpoint. The model is what surrounds it: clients that repeat, leaders that lose what they only proposed, clocks
//! that run on, requests that come twice and late, answers that do not come. Each rule but the machine's
//! own invariants has a bug, planted around the machine, that it must find.
//!
//! What is left out, because it adds no behaviour: an answer that comes late is one that came at once to a client that then does
//! nothing for a while; a request that comes late is a copy of one that was answered; a follower that lags is one that applies at once, as
//! nobody asks it. Raft is what it promises and no more: committed entries stay, in order, and any part of the rest may. Two
//! worlds whose replicas have equal digests, and whose clients and witness are equal, are taken for one.

mod bounds;
mod client;
mod planted;
mod replica;
mod witness;
mod world;

use stateright::{Checker, Model, Property};

use self::bounds::Bounds;
use self::planted::Planted;
use self::witness as rule;
use self::world::{Action, World};
use crate::support::env_number;

struct FailOver {
    bounds: Bounds,
    planted: Planted,
    /// Rules that end a history when they are broken.
    judged: u16,
    /// What must be met.
    meets: u16,
}

fn kept<const RULE: u16>(_: &FailOver, world: &World) -> bool {
    world.witness.broken & RULE == 0
}

fn met<const WHAT: u16>(_: &FailOver, world: &World) -> bool {
    world.witness.met & WHAT != 0
}

const NO_LOSS: &str = "no confirmed message is lost";
const ONE_TOKEN: &str = "no message is under two live tokens, by the machine's time or the holder's";
const NO_OLD_TOKEN: &str = "an old token does nothing to a later delivery";
const RISING: &str = "tokens rise";
const NO_DUPLICATE: &str = "a send is stored once, however often it comes";
const IN_ORDER: &str = "messages keep their producer's order";
const NO_RETURN: &str = "an acknowledged message never returns";
const NOT_REFUSED: &str = "what is due to a client is not refused";
const AGREE: &str = "replicas that applied the same entries are equal, and so are their answers";
const SAME_ANSWERS: &str = "what is asked again is answered the same way";

type Condition = fn(&FailOver, &World) -> bool;

/// What is worth nothing unless it happens.
const SOMETIMES: [(u16, &str, Condition); 9] = [
    (rule::SEND_REMEMBERED, "another leader remembers a send", met::<{ rule::SEND_REMEMBERED }>),
    (
        rule::SNAPSHOT_ANSWERS,
        "a leader that began with rows remembers a send",
        met::<{ rule::SNAPSHOT_ANSWERS }>,
    ),
    (rule::SUPPRESSED, "a message is known by its id alone", met::<{ rule::SUPPRESSED }>),
    (rule::GAP, "a send comes before the one before it", met::<{ rule::GAP }>),
    (rule::RECEIVE_REMEMBERED, "a receive is remembered", met::<{ rule::RECEIVE_REMEMBERED }>),
    (rule::REDELIVERED, "a lease runs out, its message goes on", met::<{ rule::REDELIVERED }>),
    (rule::LATE_SETTLE, "a settle comes too late", met::<{ rule::LATE_SETTLE }>),
    (rule::LATE_BESIDE_NEW, "... while another has the message", met::<{ rule::LATE_BESIDE_NEW }>),
    (rule::SUFFIX_LOST, "proposals are lost with their leader", met::<{ rule::SUFFIX_LOST }>),
];

impl Model for FailOver {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        world.actions(self, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.step(action, self);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let always = [
            Property::always(NO_LOSS, kept::<{ rule::LOST }>),
            Property::always(ONE_TOKEN, kept::<{ rule::TWO_TOKENS }>),
            Property::always(NO_OLD_TOKEN, kept::<{ rule::OLD_TOKEN }>),
            Property::always(RISING, kept::<{ rule::NOT_RISING }>),
            Property::always(NO_DUPLICATE, kept::<{ rule::DUPLICATE }>),
            Property::always(IN_ORDER, kept::<{ rule::DISORDER }>),
            Property::always(AGREE, kept::<{ rule::REPLICAS }>),
            Property::always(NO_RETURN, kept::<{ rule::RETURNED }>),
            Property::always(SAME_ANSWERS, kept::<{ rule::ANSWERS }>),
            Property::always(NOT_REFUSED, kept::<{ rule::REFUSED }>),
            Property::always("the machine's invariants hold", kept::<{ rule::UNSOUND }>),
        ];
        let wanted = SOMETIMES.iter().filter(|(bit, ..)| self.meets & bit != 0);
        let sometimes = wanted.map(|(_, name, is_met)| Property::sometimes(name, *is_met));
        always.into_iter().chain(sometimes).collect()
    }
}

/// Looks at every history within bounds; the number of states.
#[expect(clippy::print_stdout, reason = "the figures of docs/TESTING.md; shown with --nocapture")]
fn explore(name: &str, bounds: Bounds, meets: u16, threads: usize) -> usize {
    let model = FailOver { bounds, planted: Planted::Nothing, judged: u16::MAX, meets };
    let checker = model.checker().threads(threads).spawn_bfs().join();
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    println!("{name}: {states} states, {steps} steps");
    checker.assert_properties();
    states
}

/// With `PHALANX_FAILOVER_WIDE=1`, the wider bounds.
fn is_wide() -> bool {
    env_number("PHALANX_FAILOVER_WIDE", 0) != 0
}

/// The tests of the narrow bounds run beside each other.
fn threads() -> usize {
    if is_wide() { 2 } else { 1 }
}

#[test]
fn j23_every_history_of_sends_keeps_the_promises() {
    let bounds = if is_wide() { bounds::SENDS_WIDE } else { bounds::SENDS };
    let meets =
        rule::SEND_REMEMBERED | rule::SNAPSHOT_ANSWERS | rule::SUPPRESSED | rule::GAP | rule::SUFFIX_LOST;
    explore("sends", bounds, meets, threads());
}

#[test]
fn j23_every_history_of_a_message_and_its_leases_keeps_the_promises() {
    let bounds = if is_wide() { bounds::LEASES_WIDE } else { bounds::LEASES };
    explore("leases", bounds, LEASES_MEET, threads());
}

#[test]
fn j23_every_history_of_leases_and_restarts_keeps_the_promises() {
    let bounds = if is_wide() { bounds::RESTARTS_WIDE } else { bounds::RESTARTS };
    explore("restarts", bounds, LEASES_MEET | rule::SEND_REMEMBERED | rule::SNAPSHOT_ANSWERS, threads());
}

#[test]
fn j23_every_history_of_four_messages_keeps_the_promises() {
    let bounds = if is_wide() { bounds::FOUR_WIDE } else { bounds::FOUR };
    explore("four messages", bounds, rule::SUFFIX_LOST | rule::REDELIVERED | rule::LATE_SETTLE, threads());
}

#[test]
fn j23_the_same_bounds_make_the_same_states_whatever_the_order_of_the_search() {
    for (bounds, meets) in [(bounds::SMALL, LEASES_MEET), (bounds::SMALL_SENDS, rule::SUPPRESSED)] {
        let counts = [1, 2].map(|threads| explore("small", bounds, meets, threads));
        assert_eq!(counts[0], counts[1]);
    }
}

const LEASES_MEET: u16 = rule::RECEIVE_REMEMBERED
    | rule::REDELIVERED
    | rule::LATE_SETTLE
    | rule::LATE_BESIDE_NEW
    | rule::SUFFIX_LOST;
