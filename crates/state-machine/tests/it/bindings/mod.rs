//! Bindings against a naive model: topics and queues on two shards, transfers whose answers are lost, come twice and come late, targets that
//! are full and targets that go.
//!
//! `PHALANX_BINDING_HISTORIES` sets how many, `PHALANX_BINDING_SEED` the first seed.

mod catalog;
mod refusals;
mod world;

use phalanx_state_machine::command::CommandKind;
use phalanx_state_machine::reply::Reply;

use crate::support::env_number;
use world::World;

/// Histories when the environment names no number.
const HISTORIES: u64 = 2_000;
const STEPS: u64 = 80;

#[test]
fn what_a_binding_carries_arrives_once_and_in_order() {
    let first = env_number("PHALANX_BINDING_SEED", 1);
    let mut carried = 0;
    for seed in first..first + env_number("PHALANX_BINDING_HISTORIES", HISTORIES) {
        let caught = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..STEPS).for_each(|_| world.step());
            world.heal();
            world.check_complete()
        });
        carried += caught.unwrap_or_else(|_| {
            panic!("seed {seed}: PHALANX_BINDING_SEED={seed} PHALANX_BINDING_HISTORIES=1")
        });
    }
    assert!(carried > 0, "no binding carried anything");
}

#[test]
fn a_target_on_the_same_shard_has_it_in_the_same_entry() {
    let mut world = World::new(1);
    let bindings = [world::QUEUE_A, world::TOPIC_A2].map(|to| world.bind(world::TOPIC_A, to, "", ""));
    world.bind(world::TOPIC_A2, world::QUEUE_A2, "", "");
    world.publish(world::TOPIC_A);
    let ready = |world: &World, uid| world.info(uid).ready_count;
    assert!(ready(&world, world::QUEUE_A) > 0, "one hop");
    assert_eq!(ready(&world, world::QUEUE_A2), ready(&world, world::QUEUE_A), "two hops");
    for binding in bindings {
        assert_eq!(ready(&world, binding), 0, "nothing is left to do");
    }
}

#[test]
fn a_binding_is_no_queue() {
    for kind in refusals::commands() {
        let mut world = World::new(1);
        let binding = world.bind(world::TOPIC_A, world::QUEUE_A, "", "");
        let kind = refusals::of(kind, binding);
        let reply = world.apply(world::TOPIC_A, kind.clone());
        assert!(matches!(reply, Reply::Rejected(_)), "{kind:?}: {reply:?}");
    }
}

#[test]
fn a_target_never_takes_from_a_binding_that_was_taken_off_it() {
    let mut world = World::new(3);
    let binding = world.bind(world::TOPIC_A, world::QUEUE_B, "", "");
    world.publish(world::TOPIC_A);
    let transfer = world.next_transfer(binding, 100).expect("something waits");
    world.unbind(binding);
    let late = world.apply(world::QUEUE_B, CommandKind::Transfer(transfer));
    assert!(matches!(late, Reply::Rejected(_)), "{late:?}");
    let again = world.open(world::QUEUE_B, binding);
    assert!(matches!(again, Reply::Rejected(_)), "{again:?}");
    assert_eq!(world.info(world::QUEUE_B).ready_count, 0);
}
