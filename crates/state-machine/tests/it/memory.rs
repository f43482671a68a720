//! What a waiting message costs in memory when its payload is on disk only: the promise that long queues stand on.
//!
//! The allocator of this test binary counts the bytes that each thread has allocated and not freed; a test that
//! allocates and frees on its own thread reads its own bytes, whatever other tests do meanwhile.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use phalanx_state_machine::command::{CommandKind, NewMessage, Purge, PutQueue, Send};
use phalanx_state_machine::machine::MachineKind;
use phalanx_state_machine::reply::Reply;

use crate::support::{Driver, Rows};

/// Most bytes of RAM for a waiting message whose payload is spilled.
const WAITING_BYTES_MAX: f64 = 120.0;
/// Messages to average over.
const MESSAGES: u64 = 100_000;
/// Messages of one send.
const BATCH: u64 = 100;

thread_local! {
    // Constant and without a destructor: using it allocates nothing and is sound at any time of a thread's life.
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
}

/// The system's allocator, counting.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: i64) {
    LIVE_BYTES.with(|live| live.set(live.get().wrapping_add(bytes)));
}

// SAFETY: every call goes to the system's allocator with the same arguments, and its result comes back unchanged, so
// its contract is kept. Counting touches one constant-initialised thread-local cell, which neither allocates nor panics.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's layout, under the caller's promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the pointer came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: as above; the new size is the caller's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn live_bytes() -> i64 {
    LIVE_BYTES.with(Cell::get)
}

/// Bytes per waiting message, all payloads spilled, with groups given by `group`.
fn bytes_per_message(group: impl Fn(u64) -> Bytes) -> f64 {
    let mut driver = Driver::new(MachineKind::Shard(1));
    driver.one(CommandKind::PutQueue(PutQueue { uid: 1, version: 1, ..Default::default() }));
    Rows::default().checkpoint(&mut driver.machine, true);
    let before = live_bytes();
    for start in (0..MESSAGES).step_by(BATCH as usize) {
        let messages = (start..start + BATCH)
            .map(|number| NewMessage { payload: vec![7; 256].into(), group: group(number), dedup: None })
            .collect();
        let reply = driver.one(CommandKind::Send(Send { uid: 1, messages, ..Default::default() }));
        assert!(matches!(reply, Reply::Sent(_)), "{reply:?}");
        if start % 10_000 == 0 {
            Rows::default().checkpoint(&mut driver.machine, true);
        }
    }
    Rows::default().checkpoint(&mut driver.machine, true);
    driver.machine.spill(1, u64::MAX);
    assert_eq!(driver.machine.resident_bytes(), 0, "everything that a checkpoint holds is spilled");
    assert_eq!(driver.machine.queue_info(1).unwrap().ready_count, MESSAGES);
    (live_bytes() - before) as f64 / MESSAGES as f64
}

#[test]
fn the_allocator_counts_what_this_thread_holds() {
    let before = live_bytes();
    let held = vec![1_u8; 10_000];
    assert_eq!(live_bytes() - before, 10_000);
    drop(held);
    assert_eq!(live_bytes(), before);
}

#[test]
fn a_waiting_message_with_a_spilled_payload_costs_at_most_120_bytes() {
    let cost = bytes_per_message(|_| Bytes::new());
    assert!(cost > 0.0 && cost <= WAITING_BYTES_MAX, "{cost:.1} bytes without groups");
}

#[test]
fn a_waiting_message_of_a_group_costs_no_more() {
    let cost = bytes_per_message(|number| format!("customer-{}", number % 1_000).into());
    assert!(cost > 0.0 && cost <= WAITING_BYTES_MAX, "{cost:.1} bytes with 1,000 groups");
}

/// Most bytes that purged messages may hold while as many are sent as are purged: what one entry sends, and little more.
const PURGED_BYTES_MAX: i64 = 4 * 1024 * 1024;

#[test]
fn what_is_purged_is_freed_as_fast_as_new_messages_can_come() {
    let send = |count: usize| {
        CommandKind::Send(Send { uid: 1, messages: vec![NewMessage::default(); count], ..Default::default() })
    };
    let purge = || CommandKind::Purge(Purge { uid: 1 });
    // Many purges of nearly nothing, and few of as much as one entry can bring.
    for (count, rounds) in [(0, 1_000), (1, 1_000), (10_000, 6)] {
        let mut driver = Driver::new(MachineKind::Shard(1));
        driver.one(CommandKind::PutQueue(PutQueue { uid: 1, version: 1, ..Default::default() }));
        let before = live_bytes();
        for _ in 0..100 {
            let kinds = (0..rounds).flat_map(|_| [send(count), purge()]).collect();
            driver.apply(kinds);
        }
        driver.machine.take_changes();
        let held = live_bytes() - before;
        assert!(
            held < PURGED_BYTES_MAX,
            "{held} bytes are held for {rounds} purges of {count} in each entry"
        );
    }
}
