//! One entry never does unbounded work, and a lease past its deadline is over although no entry has swept it yet.

use std::time::Duration;

use phalanx_state_machine::command::{
    Attach, CommandKind, Detach, NewMessage, PutQueue, QueueSettings, Receive, Send, SetWindow, Settle,
    SettleAction, SettleItem, Tick, TokenRange,
};
use phalanx_state_machine::invariants;
use phalanx_state_machine::machine::MachineKind;
use phalanx_state_machine::reply::{Effect, Rejection, Reply, ReturnReason, SettleResult};

use crate::support::{Driver, id};

const LEASES: u64 = 100_000;
const LEASE_MS: u64 = 1_000;
/// Most due items that end in one entry.
const DUE_PER_ENTRY: usize = 4_096;

fn window(consumer: u64, window_messages: u32) -> CommandKind {
    CommandKind::SetWindow(SetWindow {
        uid: 1,
        consumer: id(consumer),
        incarnation: 1,
        window_messages,
        window_bytes: u64::MAX,
    })
}

/// A queue with 100,000 live leases of two consumers, all with the same deadline, and windows closed.
fn leased() -> Driver {
    let mut driver = Driver::new(MachineKind::Shard(1));
    let settings = QueueSettings { lease_ms: LEASE_MS, ..Default::default() };
    driver.one(CommandKind::PutQueue(PutQueue { uid: 1, version: 1, settings, ..Default::default() }));
    for consumer in 1..=2 {
        driver.one(CommandKind::Attach(Attach {
            uid: 1,
            consumer: id(consumer),
            incarnation: 1,
            window_messages: 60_000,
            window_bytes: u64::MAX,
            ..Default::default()
        }));
    }
    let message = NewMessage { payload: vec![1].into(), ..Default::default() };
    let mut deliveries = 0;
    for _ in 0..LEASES / 10_000 {
        let messages = vec![message.clone(); 10_000];
        let applied = driver.apply(vec![CommandKind::Send(Send { uid: 1, messages, ..Default::default() })]);
        deliveries +=
            applied.effects.iter().filter(|effect| matches!(effect, Effect::Deliver { .. })).count();
    }
    assert_eq!(deliveries as u64, LEASES);
    driver.apply(vec![window(1, 0), window(2, 0)]);
    assert_eq!(driver.machine.queue_info(1).unwrap().leased_count, LEASES);
    driver
}

#[test]
fn a_hundred_thousand_leases_that_expire_at_once_end_in_slices_each_exactly_once() {
    let mut driver = leased();
    assert_eq!(driver.machine.next_due_ms(), Some(driver.now_ms + LEASE_MS));
    driver.now_ms += LEASE_MS;
    let mut ended = std::collections::BTreeSet::new();
    let mut entries = 0;
    while driver.machine.next_due_ms().is_some_and(|due| due <= driver.now_ms) {
        let applied = driver.apply(vec![CommandKind::Tick(Tick {})]);
        assert!(applied.effects.len() <= DUE_PER_ENTRY + 8, "{} effects in one entry", applied.effects.len());
        for effect in applied.effects {
            if let Effect::LeaseEnded { token, reason, .. } = effect {
                assert_eq!(reason, ReturnReason::Expired);
                assert!(ended.insert(token), "token {token} ended twice");
            }
        }
        entries += 1;
        assert!(entries < 100, "the machine stays due although ticks pass");
    }
    assert_eq!(ended.len() as u64, LEASES);
    assert!(entries >= LEASES.div_ceil(DUE_PER_ENTRY as u64), "only {entries} entries");
    let info = driver.machine.queue_info(1).unwrap();
    assert_eq!((info.ready_count, info.leased_count), (LEASES, 0));
    invariants::check(&driver.machine).unwrap();
}

#[test]
fn a_late_settle_is_lease_over_although_the_sweep_has_not_come_so_far() {
    for action in [SettleAction::Ack, SettleAction::Nack, SettleAction::Reject, SettleAction::Extend] {
        let mut driver = leased();
        driver.now_ms += LEASE_MS;
        // One token in each part of the backlog: the entry's own sweep reaches 4,096 of 100,000 at most.
        let tokens = [1, 20_000, 50_000, 99_999, LEASES];
        let mut late = 0;
        for consumer in 1..=2 {
            let item = SettleItem {
                action: action.into(),
                tokens: tokens.iter().map(|&token| TokenRange { first: token, last: token }).collect(),
                ..Default::default()
            };
            let reply =
                driver.one(CommandKind::Settle(Settle { uid: 1, consumer: id(consumer), items: vec![item] }));
            let Reply::Settled { outcomes } = reply else { panic!("{reply:?}") };
            assert_eq!(outcomes.len(), tokens.len());
            late += outcomes.iter().filter(|outcome| outcome.result == SettleResult::LeaseOver).count();
        }
        assert_eq!(late, 2 * tokens.len(), "{action:?}");
        let info = driver.machine.queue_info(1).unwrap();
        assert_eq!(
            info.ready_count + info.leased_count,
            LEASES,
            "{action:?} of a lease that is over changes nothing"
        );
        invariants::check(&driver.machine).unwrap();
    }
}

#[test]
fn a_receive_does_not_get_a_message_twice_while_expired_leases_wait_for_the_sweep() {
    let mut driver = leased();
    driver.now_ms += LEASE_MS;
    let applied = driver.apply(vec![window(1, 60_000), window(2, 60_000), CommandKind::Tick(Tick {})]);
    let mut sequences = std::collections::BTreeSet::new();
    for effect in &applied.effects {
        if let Effect::Deliver { delivery, .. } = effect {
            assert!(sequences.insert(delivery.sequence), "sequence {} twice in one entry", delivery.sequence);
            assert!(delivery.token > LEASES, "a new delivery has a new token");
            assert_eq!(delivery.attempt, 2);
        }
    }
    assert!(sequences.len() <= DUE_PER_ENTRY);
    invariants::check(&driver.machine).unwrap();
}

#[test]
fn a_receive_of_one_who_holds_all_it_may_is_refused_rather_than_left_waiting() {
    let mut driver = Driver::new(MachineKind::Shard(1));
    driver.one(CommandKind::PutQueue(PutQueue { uid: 1, version: 1, ..Default::default() }));
    let receive = |driver: &mut Driver, request: u64| {
        let messages = vec![NewMessage::default(); 1_024];
        driver.one(CommandKind::Send(Send { uid: 1, messages, ..Default::default() }));
        let (consumer, request) = (id(1), id(request));
        driver.one(CommandKind::Receive(Receive {
            uid: 1,
            consumer,
            request,
            messages_max: 1_024,
            ..Default::default()
        }))
    };
    for request in 1..=64 {
        let reply = receive(&mut driver, request);
        assert!(matches!(reply, Reply::Received { .. }), "{reply:?}");
    }
    assert_eq!(driver.machine.queue_info(1).unwrap().leased_count, 65_536);
    let refused = receive(&mut driver, 65);
    assert!(matches!(refused, Reply::Rejected(Rejection::Invalid(_))), "{refused:?}");
}

/// Far more than the work of one entry may take on any machine, far less than what these settles took without a bound.
const ENTRY_TIME_MAX: Duration = Duration::from_secs(5);

/// Acknowledges these ranges as consumer 1.
#[expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the test has a clock, the machine none"
)]
fn settle_results(driver: &mut Driver, ranges: Vec<TokenRange>) -> Vec<SettleResult> {
    let item = SettleItem { action: SettleAction::Ack.into(), tokens: ranges, ..Default::default() };
    let start = std::time::Instant::now();
    let reply = driver.one(CommandKind::Settle(Settle { uid: 1, consumer: id(1), items: vec![item] }));
    assert!(start.elapsed() < ENTRY_TIME_MAX, "one settle took {:?}", start.elapsed());
    let Reply::Settled { outcomes } = reply else { panic!("{reply:?}") };
    outcomes.into_iter().map(|outcome| outcome.result).collect()
}

/// The same; how many outcomes there were.
fn settle_ranges(driver: &mut Driver, ranges: Vec<TokenRange>) -> usize {
    settle_results(driver, ranges).len()
}

#[test]
fn a_settle_of_many_ranges_that_name_nothing_takes_no_longer_than_its_bound() {
    let mut driver = leased();
    let nowhere = TokenRange { first: 1 << 40, last: (1 << 40) + 49_000 };
    assert_eq!(settle_ranges(&mut driver, vec![nowhere; 65_536]), 0);
    let wide = TokenRange { first: 1 << 40, last: u64::MAX };
    assert_eq!(settle_ranges(&mut driver, vec![wide; 65_536]), 0);
}

#[test]
fn a_settle_of_all_it_ever_had_over_and_over_is_cut_at_the_bound_of_its_outcomes() {
    let mut driver = leased();
    let all = TokenRange { first: 1, last: u64::MAX };
    let acked = settle_ranges(&mut driver, vec![all; 65_536]);
    assert!((50_000..=131_072).contains(&acked), "{acked} outcomes");
    assert_eq!(driver.machine.queue_info(1).unwrap().acked_total, LEASES / 2, "all of its own were settled");
    invariants::check(&driver.machine).unwrap();
}

#[test]
fn a_receive_of_a_consumer_that_is_given_up_and_not_yet_swept_gets_leases_that_hold() {
    let mut driver = leased();
    let detach = |consumer| {
        CommandKind::Detach(Detach { uid: 1, consumer: id(consumer), incarnation: 1, clean: false })
    };
    driver.apply(vec![detach(1), detach(2)]);
    driver.now_ms += 20_000; // the leases are over, the consumers are given up, and the sweep reaches 4,096 of them
    let (consumer, request) = (id(1), id(99));
    let receive = Receive { uid: 1, consumer, request, messages_max: 1, ..Default::default() };
    let Reply::Received { deliveries, .. } = driver.one(CommandKind::Receive(receive)) else {
        panic!("a receive is answered")
    };
    assert_eq!(deliveries.len(), 1);
    let tokens = vec![TokenRange { first: deliveries[0].token, last: deliveries[0].token }];
    assert_eq!(settle_results(&mut driver, tokens), [SettleResult::Acked]);
    invariants::check(&driver.machine).unwrap();
}
