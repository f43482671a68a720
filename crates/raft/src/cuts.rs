//! Checkpoints whose caller has gone: a peer that asked for one and hung up.

use std::sync::Arc;

use futures::FutureExt as _;
use parking_lot::Mutex;
use phalanx_state_machine::machine::{Machine, MachineKind};
use phalanx_state_machine::reply::Effect;
use phalanx_storage::checkpoint::{MemoryEngine, ReplicaCheckpoint};
use phalanx_storage::disk::SimDisk;
use phalanx_storage::wal::{Wal, WalOptions};

use crate::checkpoint::{CheckpointStore, Shared};
use crate::context::{EffectSink, Executor};
use crate::machine_store::{MachineStore, State};
use crate::types::{StoredMembership, log_id};

const GROUP: u64 = 3;
const REPLICA: u64 = 11;
/// The entry that the machine has applied.
const APPLIED: u64 = 5;

type Job = Box<dyn FnOnce() + Send>;

/// Keeps jobs until they are run by hand.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<Vec<Job>>>);

impl Executor for Held {
    fn blocking(&self, job: Job) {
        self.0.lock().push(job);
    }
}

struct Ignore;

impl EffectSink for Ignore {
    fn applied(&self, _: u64, _: &Machine, _: Vec<Effect>) {}

    fn compared(&self, group: u64, index: u64, agrees: bool) {
        assert!(agrees, "group {group} differs at {index}");
    }
}

/// A machine with something to write.
fn store(executor: &Held, wal: &Arc<Wal>) -> MachineStore {
    let rows = ReplicaCheckpoint::open(Arc::new(MemoryEngine::default()), REPLICA, 0).unwrap();
    let shared = Shared {
        wal: Arc::clone(wal),
        executor: Arc::new(executor.clone()),
        chunk_bytes: 1024,
        memory: Arc::new(crate::memory::PayloadMemory::new(u64::MAX)),
        on_fatal: Arc::new(|fatal| panic!("{fatal}")),
    };
    let checkpoint = CheckpointStore::new(GROUP, MachineKind::Shard(GROUP), rows, None, shared);
    let (machine, applied) = (Machine::shard(GROUP), Some(log_id(1, APPLIED)));
    let state = State { machine, applied, membership: StoredMembership::default() };
    MachineStore::new(GROUP, state, Arc::new(Ignore), checkpoint)
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_checkpoint_that_nobody_waits_for_any_more_is_kept_all_the_same() {
    let executor = Held::default();
    let wal = Wal::open(Arc::new(SimDisk::new(1)), std::path::Path::new("/wal"), WalOptions::small());
    let wal = Arc::new(wal.unwrap());
    let store = store(&executor, &wal);
    // Its rows have left the machine when the caller gives up.
    let mut asked = Box::pin(store.cut_checkpoint(false));
    assert!((&mut asked).now_or_never().is_none());
    settle().await;
    drop(asked);
    // Nobody else may cut one, or take a snapshot into use, while that one is written.
    let mut next = Box::pin(store.cut_checkpoint(true));
    assert!((&mut next).now_or_never().is_none());
    settle().await;
    let jobs = std::mem::take(&mut *executor.0.lock());
    assert_eq!(jobs.len(), 1, "one at a time");
    jobs.into_iter().for_each(|job| job());
    settle().await;
    assert_eq!(store.checkpoint().durable().map(|fields| fields.index), Some(APPLIED));
    while wal.commit_pending().unwrap() {}
    assert_eq!(wal.state(GROUP).checkpoint_batch, 1, "the log remembers it");
}
