//! openraft's own storage suite over our log and machine stores, on the real and on the simulated disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use parking_lot::{Condvar, Mutex};
use phalanx_state_machine::machine::{Machine, MachineKind};
use phalanx_state_machine::reply::Effect;
use phalanx_storage::checkpoint::{MemoryEngine, ReplicaCheckpoint};
use phalanx_storage::disk::{Disk, RealDisk, SimDisk};
use phalanx_storage::wal::{Wal, WalOptions};

use crate::checkpoint::{CheckpointStore, Shared};
use crate::context::{EffectSink, Executor, FatalError};
use crate::log_store::LogStore;
use crate::machine_store::{MachineStore, State};
use crate::memory::PayloadMemory;
use crate::types::{StoredMembership, Types};

const GROUP: u64 = 3;
const REPLICA: u64 = 0;

struct Inline;

impl Executor for Inline {
    fn blocking(&self, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

struct Ignore;

impl EffectSink for Ignore {
    fn applied(&self, _: u64, _: &Machine, _: Vec<Effect>) {}

    fn compared(&self, group: u64, index: u64, agrees: bool) {
        assert!(agrees, "group {group} differs at {index}");
    }
}

/// Commits what waits in a log until it is dropped.
struct Committer {
    signal: Arc<(Mutex<(bool, bool)>, Condvar)>,
    thread: Option<std::thread::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Committer {
    fn start(wal: Arc<Wal>, dir: tempfile::TempDir) -> Self {
        let signal = Arc::new((Mutex::new((true, false)), Condvar::new()));
        let wake = Arc::clone(&signal);
        wal.on_pending(Arc::new(move || {
            wake.0.lock().0 = true;
            wake.1.notify_one();
        }));
        let inner = Arc::clone(&signal);
        let thread = std::thread::spawn(move || {
            loop {
                while wal.commit_pending().unwrap() {}
                let mut state = inner.0.lock();
                while !state.0 && !state.1 {
                    inner.1.wait(&mut state);
                }
                if state.1 {
                    return;
                }
                state.0 = false;
            }
        });
        Self { signal, thread: Some(thread), _dir: dir }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.signal.0.lock().1 = true;
        self.signal.1.notify_one();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the committer panicked");
        }
    }
}

struct Builder {
    real: bool,
    built: AtomicU64,
}

impl StoreBuilder<Types, LogStore, MachineStore, Committer> for Builder {
    async fn build(&self) -> Result<(Committer, LogStore, MachineStore), StorageError<Types>> {
        let tempdir = tempfile::tempdir().unwrap();
        let number = self.built.fetch_add(1, Ordering::Relaxed);
        let (disk, dir): (Arc<dyn Disk>, PathBuf) = if self.real {
            (Arc::new(RealDisk), tempdir.path().join("wal"))
        } else {
            (Arc::new(SimDisk::new(number)), PathBuf::from("/wal"))
        };
        let wal = Arc::new(Wal::open(disk, &dir, WalOptions::small()).unwrap());
        let on_fatal: Arc<dyn Fn(FatalError) + Send + Sync> = Arc::new(|fatal| panic!("{fatal}"));
        let rows = ReplicaCheckpoint::open(Arc::new(MemoryEngine::default()), REPLICA, 0).unwrap();
        let shared = Shared {
            wal: Arc::clone(&wal),
            executor: Arc::new(Inline),
            chunk_bytes: 1024,
            memory: Arc::new(PayloadMemory::new(u64::MAX)),
            on_fatal: Arc::clone(&on_fatal),
        };
        let checkpoint = CheckpointStore::new(GROUP, MachineKind::Shard(GROUP), rows, None, shared);
        let machine = Machine::shard(GROUP);
        let state = State { machine, applied: None, membership: StoredMembership::default() };
        let machines = MachineStore::new(GROUP, state, Arc::new(Ignore), checkpoint);
        let log = LogStore::new(Arc::clone(&wal), GROUP, REPLICA, 1024, on_fatal);
        Ok((Committer::start(wal, tempdir), log, machines))
    }
}

#[tokio::test]
async fn the_stores_keep_openrafts_contract_on_the_real_disk() {
    Suite::test_all(Builder { real: true, built: AtomicU64::new(0) }).await.unwrap();
}

#[tokio::test]
async fn the_stores_keep_openrafts_contract_on_the_simulated_disk() {
    Suite::test_all(Builder { real: false, built: AtomicU64::new(0) }).await.unwrap();
}
