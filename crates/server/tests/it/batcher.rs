//! The batcher against a log that a test answers by hand.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use phalanx_server::batcher::limits::{
    ENTRY_BYTES_TARGET, IN_FLIGHT_BYTES_MAX, IN_FLIGHT_ENTRIES_MAX, IN_FLIGHT_SMALL_ENTRIES_MAX,
    WAITING_BYTES_MAX,
};
use phalanx_server::batcher::{Batcher, Log, Proposal, Ticket, WriteError};
use phalanx_server::clock::{MachineClock, SystemClock};
use phalanx_state_machine::command::{Batch, Command, CommandKind, NewMessage, Send, Settle};
use phalanx_state_machine::ids::{GroupId, Id128, NodeId};
use phalanx_state_machine::reply::Reply;
use prost::Message as _;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::SOON;

const GROUP: GroupId = 7;
const TERM: u64 = 3;

type Outcome = Result<Vec<Reply>, WriteError>;

struct Proposed {
    batch: Batch,
    term: u64,
    answer: oneshot::Sender<Outcome>,
}

impl Proposed {
    /// Applied: every command is `Done`.
    fn land(self) {
        let replies = vec![Reply::Done; self.batch.commands.len()];
        self.answer.send(Ok(replies)).expect("the batcher waits for it");
    }

    fn bytes(&self) -> usize {
        self.batch.encoded_len()
    }
}

/// Takes entries and leaves the answers to the test.
#[derive(Default)]
struct FakeLog {
    proposed: Mutex<Vec<Proposed>>,
    arrived: Notify,
    refuse: Mutex<Option<WriteError>>,
}

impl Log for FakeLog {
    fn group(&self) -> GroupId {
        GROUP
    }

    fn leader(&self) -> Option<NodeId> {
        Some(2)
    }

    fn propose(&self, batch: Batch, term: u64) -> BoxFuture<'_, Result<Proposal, WriteError>> {
        if let Some(refusal) = self.refuse.lock().clone() {
            return futures::future::ready(Err(refusal)).boxed();
        }
        let (answer, outcome) = oneshot::channel();
        self.proposed.lock().push(Proposed { batch, term, answer });
        self.arrived.notify_one();
        let outcome =
            outcome.map(|outcome| outcome.unwrap_or(Err(WriteError::OutcomeUnknown { group: GROUP })));
        let proposal: Proposal = outcome.boxed();
        futures::future::ready(Ok(proposal)).boxed()
    }
}

struct Bench {
    log: Arc<FakeLog>,
    batcher: Arc<Batcher>,
    stop: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        let log = Arc::new(FakeLog::default());
        let clock = Arc::new(MachineClock::new(Arc::new(SystemClock::default())));
        let stop = CancellationToken::new();
        let seam: Arc<dyn Log> = log.clone();
        let batcher = Batcher::spawn(seam, clock, stop.clone());
        Self { log, batcher, stop }
    }

    fn leading() -> Self {
        let bench = Self::new();
        bench.batcher.open(TERM);
        bench
    }

    fn put(&self, command: Command) -> Ticket {
        self.batcher.enqueue(command, far()).expect("there is room")
    }

    /// The next entry that the log was given.
    async fn entry(&self) -> Proposed {
        let entry = async {
            loop {
                {
                    let mut proposed = self.log.proposed.lock();
                    if !proposed.is_empty() {
                        return proposed.remove(0);
                    }
                }
                self.log.arrived.notified().await;
            }
        };
        tokio::time::timeout(SOON, entry).await.expect("an entry is proposed")
    }

    /// Lets the batcher do all it can without the log's help; entries that the log has then.
    async fn settle_down(&self) -> usize {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        self.log.proposed.lock().len()
    }

    /// Makes the log so busy that nothing small is proposed until one of these lands.
    async fn busy(&self) -> Vec<Proposed> {
        let mut held = Vec::new();
        for number in 0..IN_FLIGHT_SMALL_ENTRIES_MAX as u64 {
            drop(self.put(settle(1_000_000 + number)));
            held.push(self.entry().await);
        }
        held
    }
}

fn far() -> Instant {
    Instant::now() + SOON
}

fn send(number: u64, bytes: usize) -> Command {
    let payload = vec![0; bytes].into();
    let message = NewMessage { payload, ..NewMessage::default() };
    let send = Send { uid: 1, producer_sequence: number, messages: vec![message], ..Send::default() };
    Command::from(CommandKind::Send(send))
}

fn settle(number: u64) -> Command {
    Command::from(CommandKind::Settle(Settle {
        uid: number,
        consumer: Id128 { hi: 0, lo: 1 },
        items: Vec::new(),
    }))
}

/// What the commands of an entry were: `s` and a number, or `a` (ack) and a number.
fn names(entry: &Proposed) -> Vec<String> {
    let name = |command: &Command| match command.kind.as_ref().expect("a kind") {
        CommandKind::Send(send) => format!("s{}", send.producer_sequence),
        CommandKind::Settle(settle) => format!("a{}", settle.uid),
        other => panic!("not put here: {other:?}"),
    };
    entry.batch.commands.iter().map(name).collect()
}

#[tokio::test]
async fn idle_log_gets_a_command_at_once() {
    let bench = Bench::leading();
    let ticket = bench.put(send(1, 10));
    let entry = bench.entry().await;
    assert_eq!(
        (names(&entry), entry.term, entry.batch.version),
        (vec!["s1".to_owned()], TERM, Batch::VERSION)
    );
    entry.land();
    assert_eq!(ticket.await, Ok(Reply::Done));
}

#[tokio::test]
async fn commands_gather_while_entries_are_being_written() {
    let bench = Bench::leading();
    let mut busy = bench.busy().await;
    let tickets: Vec<_> = (0..100).map(|number| bench.put(send(number, 10))).collect();
    assert_eq!(bench.settle_down().await, 0, "small commands wait for the log");
    busy.remove(0).land();
    let entry = bench.entry().await;
    assert_eq!(entry.batch.commands.len(), 100);
    entry.land();
    for ticket in tickets {
        assert_eq!(ticket.await, Ok(Reply::Done));
    }
}

#[tokio::test]
async fn settles_go_before_sends_and_both_keep_their_order() {
    let bench = Bench::leading();
    let mut busy = bench.busy().await;
    for number in 0..4 {
        drop(bench.put(send(number, 10)));
        drop(bench.put(settle(number)));
    }
    busy.remove(0).land();
    let entry = bench.entry().await;
    assert_eq!(names(&entry), ["a0", "a1", "a2", "a3", "s0", "s1", "s2", "s3"]);
}

#[tokio::test]
async fn stream_of_sends_keeps_its_order_over_many_entries() {
    let bench = Bench::leading();
    let count = 300;
    let _tickets: Vec<_> = (0..count).map(|number| bench.put(send(number, 5_000))).collect();
    let mut seen = Vec::new();
    let mut entries = 0;
    while seen.len() < count as usize {
        let entry = bench.entry().await;
        seen.extend(names(&entry));
        entries += 1;
        entry.land();
    }
    let expected: Vec<_> = (0..count).map(|number| format!("s{number}")).collect();
    assert_eq!(seen, expected);
    assert!(entries > 1, "more than one entry was needed");
}

#[tokio::test]
async fn entries_are_cut_at_the_target_and_a_command_is_never_split() {
    let bench = Bench::leading();
    let mut busy = bench.busy().await;
    for number in 0..20 {
        drop(bench.put(send(number, ENTRY_BYTES_TARGET / 3)));
    }
    drop(bench.put(send(20, ENTRY_BYTES_TARGET * 3)));
    let mut seen = Vec::new();
    while seen.len() < 21 {
        if bench.settle_down().await == 0 {
            busy.remove(0).land();
        }
        let entry = bench.entry().await;
        let alone = entry.batch.commands.len() == 1;
        assert!(alone || entry.bytes() <= ENTRY_BYTES_TARGET + 1024, "{} bytes", entry.bytes());
        seen.extend(names(&entry));
        busy.push(entry);
    }
    assert_eq!(names(busy.last().unwrap()), ["s20"], "larger than the target: alone");
}

#[tokio::test]
async fn log_is_never_given_more_than_the_bounds() {
    let bench = Bench::leading();
    let large = IN_FLIGHT_BYTES_MAX / 4 - 1024;
    let _tickets: Vec<_> = (0..12).map(|number| bench.put(send(number, large))).collect();
    assert_eq!(bench.settle_down().await, 4, "bytes bound what is in flight");

    let bench = Bench::leading();
    let _tickets: Vec<_> = (0..400).map(|number| bench.put(send(number, 20_000))).collect();
    assert_eq!(bench.settle_down().await, IN_FLIGHT_ENTRIES_MAX, "entries bound what is in flight");
    bench.entry().await.land();
    assert_eq!(bench.settle_down().await, IN_FLIGHT_ENTRIES_MAX, "one landed, one more goes");
}

#[tokio::test]
async fn overload_is_refused_at_once_and_settles_still_get_in() {
    let bench = Bench::leading();
    let mut tickets = Vec::new();
    let refusal = loop {
        match bench.batcher.enqueue(send(1, 1024 * 1024), far()) {
            Ok(ticket) => tickets.push(ticket),
            Err(refusal) => break refusal,
        }
        assert!(tickets.len() < 1000, "never refused");
    };
    assert!(matches!(refusal, WriteError::Overloaded { retry_after, .. } if !retry_after.is_zero()));
    assert!(bench.batcher.waiting_bytes() <= WAITING_BYTES_MAX);
    let settled = bench.put(settle(1));
    for _ in 0..100 {
        if bench.settle_down().await == 0 {
            break;
        }
        bench.entry().await.land();
    }
    assert_eq!(settled.await, Ok(Reply::Done));
    assert!(bench.batcher.enqueue(send(2, 1024 * 1024), far()).is_ok(), "there is room again");
}

#[tokio::test]
async fn waiting_for_room_ends_when_room_comes_or_at_its_deadline() {
    let bench = Bench::leading();
    let command = send(1, 1024 * 1024);
    let mut tickets = Vec::new();
    for _ in 0..2 {
        // Once before the log has taken what it takes, once after.
        while let Ok(ticket) = bench.batcher.enqueue(command.clone(), far()) {
            tickets.push(ticket);
        }
        bench.settle_down().await;
    }
    let late = bench.batcher.reserve(&command, Instant::now() + Duration::from_millis(1)).await;
    assert!(matches!(late, Err(WriteError::Overloaded { .. })));
    let mut room = Box::pin(bench.batcher.reserve(&command, far()));
    assert!((&mut room).now_or_never().is_none());
    let place = loop {
        if let Some(place) = (&mut room).now_or_never() {
            break place.expect("room");
        }
        bench.entry().await.land();
        bench.settle_down().await;
    };
    assert!(bench.batcher.enqueue_reserved(place, command, far()).is_ok());
}

#[tokio::test]
async fn loss_of_leadership_answers_what_waits_not_leader_and_leaves_what_was_proposed_to_the_log() {
    let bench = Bench::leading();
    let mut proposed = Vec::new();
    let mut held = Vec::new();
    for number in 0..2 {
        proposed.push(bench.put(send(number, 10)));
        held.push(bench.entry().await);
    }
    let waiting = bench.put(send(9, 10));
    bench.batcher.close();
    let elsewhere = WriteError::NotLeader { group: GROUP, leader: Some(2) };
    assert_eq!(waiting.await, Err(elsewhere.clone()));
    assert_eq!(bench.batcher.enqueue(send(10, 10), far()).err(), Some(elsewhere));
    held.remove(0).land();
    assert_eq!(proposed.remove(0).await, Ok(Reply::Done), "it was committed all the same");
    drop(held);
    let unknown = WriteError::OutcomeUnknown { group: GROUP };
    assert_eq!(proposed.remove(0).await, Err(unknown), "the log did not say");
    assert_eq!(bench.settle_down().await, 0);
}

#[tokio::test]
async fn next_term_proposes_in_that_term_only() {
    let bench = Bench::leading();
    let _busy = bench.busy().await;
    let old = bench.put(send(1, 10));
    bench.batcher.close();
    bench.batcher.open(TERM + 1);
    assert!(matches!(old.await, Err(WriteError::NotLeader { .. })));
    let _new: Vec<_> = (0..200).map(|number| bench.put(send(number, 1000))).collect();
    let entry = bench.entry().await;
    assert_eq!(entry.term, TERM + 1);
    assert_eq!(names(&entry)[0], "s0");
}

#[tokio::test]
async fn deadline_before_the_log_takes_the_command_back() {
    let bench = Bench::leading();
    let mut busy = bench.busy().await;
    let late = bench.batcher.enqueue(send(1, 10), Instant::now() + Duration::from_millis(1)).unwrap();
    assert_eq!(late.await, Err(WriteError::NotInTime { group: GROUP }), "and nothing was written");
    let next = bench.put(send(2, 10));
    busy.remove(0).land();
    let entry = bench.entry().await;
    assert_eq!(names(&entry), ["s2"]);
    entry.land();
    assert_eq!(next.await, Ok(Reply::Done));
}

#[tokio::test]
async fn deadline_after_the_log_took_the_command_is_an_unknown_outcome() {
    let bench = Bench::leading();
    let late = bench.batcher.enqueue(send(1, 10), Instant::now() + Duration::from_millis(1)).unwrap();
    let _held = bench.entry().await;
    assert_eq!(late.await, Err(WriteError::OutcomeUnknown { group: GROUP }));
}

#[tokio::test]
async fn refusals_of_the_log_reach_every_submitter_of_the_entry() {
    let bench = Bench::leading();
    let mut busy = bench.busy().await;
    let tickets: Vec<_> = (0..3).map(|number| bench.put(send(number, 10))).collect();
    let refusal = WriteError::Overloaded { group: GROUP, retry_after: Duration::from_millis(5) };
    *bench.log.refuse.lock() = Some(refusal.clone());
    busy.remove(0).land();
    for ticket in tickets {
        assert_eq!(ticket.await, Err(refusal.clone()));
    }
}

#[tokio::test]
async fn entry_with_another_number_of_replies_is_an_unknown_outcome() {
    let bench = Bench::leading();
    let ticket = bench.put(send(1, 10));
    let entry = bench.entry().await;
    entry.answer.send(Ok(Vec::new())).unwrap();
    assert_eq!(ticket.await, Err(WriteError::OutcomeUnknown { group: GROUP }));
}

#[tokio::test]
async fn stopped_batcher_takes_nothing_and_leaves_nobody_waiting() {
    let bench = Bench::leading();
    let proposed = bench.put(send(1, 10));
    let _held = bench.entry().await;
    drop(bench.put(send(2, 10)));
    let _other = bench.entry().await;
    let waiting = bench.put(send(3, 10));
    bench.stop.cancel();
    assert_eq!(waiting.await, Err(WriteError::Stopped { group: GROUP }));
    assert_eq!(proposed.await, Err(WriteError::OutcomeUnknown { group: GROUP }));
    assert_eq!(bench.batcher.submit(send(3, 10)).await, Err(WriteError::Stopped { group: GROUP }));
    bench.batcher.open(TERM + 1);
    assert!(bench.batcher.submit(send(3, 10)).await.is_err(), "a stopped batcher stays stopped");
}
