//! Who turns the crank: threads for the log's committer and for blocking jobs.
//!
//! Storage offers steps and starts no thread; these are the threads of production. The simulation drives the same steps from tasks.
//! Invariant: the first error of a step ends the drive and reaches the callback; nothing is committed after it.

mod tasks;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use phalanx_raft::Executor;
use phalanx_storage::wal::Wal;

pub use tasks::{TaskDrive, TaskExecutor};

/// Idle time after which the log's newest batch is marked.
pub const MARK_AFTER: Duration = Duration::from_millis(10);
/// The committer wakes at least this often, so that its pulse shows that it lives.
pub const PULSE: Duration = Duration::from_millis(500);
/// Pause before trying again on a full disk.
pub const DISK_FULL_PAUSE: Duration = Duration::from_millis(100);
/// Threads for blocking jobs (checkpoints, read-back, snapshots).
const EXECUTOR_THREADS: usize = 4;

/// Runs the log's committer.
pub trait Drive: Send + Sync + 'static {
    /// Starts committing what waits in `wal`, until the handle is dropped. `on_fatal` hears of the error that ends it.
    fn start(&self, wal: Arc<Wal>, on_fatal: Arc<dyn Fn(String) + Send + Sync>) -> Box<dyn DriveHandle>;
}

/// A running committer. Dropping it stops it after what waits has been written.
pub trait DriveHandle: Send + Sync {
    /// Rises while the committer moves, also when there is nothing to do.
    fn pulse(&self) -> u64;
}

/// A thread of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadDrive;

struct Signal {
    pending: Mutex<bool>,
    wake: Condvar,
    stop: AtomicBool,
    pulse: AtomicU64,
}

impl Signal {
    fn raise(&self) {
        *self.pending.lock() = true;
        self.wake.notify_one();
    }

    /// Waits for work; whether there is some.
    fn wait(&self, timeout: Duration) -> bool {
        let mut pending = self.pending.lock();
        if !*pending {
            self.wake.wait_for(&mut pending, timeout);
        }
        std::mem::take(&mut *pending)
    }
}

impl Drive for ThreadDrive {
    fn start(&self, wal: Arc<Wal>, on_fatal: Arc<dyn Fn(String) + Send + Sync>) -> Box<dyn DriveHandle> {
        let signal = Arc::new(Signal {
            pending: Mutex::new(true),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
            pulse: AtomicU64::new(0),
        });
        let waker = Arc::clone(&signal);
        wal.on_pending(Arc::new(move || waker.raise()));
        let (inner, fatal) = (Arc::clone(&signal), Arc::clone(&on_fatal));
        let spawned = std::thread::Builder::new().name("wal-commit".to_owned()).spawn(move || {
            let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&wal, &inner)));
            match end {
                Ok(Ok(())) => {}
                Ok(Err(error)) => fatal(format!("the log cannot go on: {error}")),
                Err(_) => fatal("the log's committer panicked".to_owned()),
            }
        });
        let thread = match spawned {
            Ok(thread) => Some(thread),
            Err(error) => {
                on_fatal(format!("start the log's committer: {error}"));
                None
            }
        };
        Box::new(ThreadHandle { signal, thread })
    }
}

fn run(wal: &Wal, signal: &Signal) -> Result<(), phalanx_storage::Error> {
    let mut marked = false;
    let mut prepared = false;
    loop {
        signal.pulse.fetch_add(1, Ordering::Relaxed);
        match wal.commit_pending() {
            Ok(true) => {
                (marked, prepared) = (false, false);
                continue;
            }
            Ok(false) => {}
            Err(phalanx_storage::Error::DiskFull { .. }) if !signal.stop.load(Ordering::Acquire) => {
                std::thread::sleep(DISK_FULL_PAUSE);
                continue;
            }
            Err(error) => return Err(error),
        }
        if signal.stop.load(Ordering::Acquire) {
            return Ok(());
        }
        if !prepared {
            // Between batches, a bounded piece at a time: a commit never waits for more than one.
            prepared = match wal.prepare_step() {
                Ok(more) => !more,
                // Nothing to pre-write into; segments are then taken as they come, until space is back.
                Err(phalanx_storage::Error::DiskFull { .. }) => true,
                Err(error) => return Err(error),
            };
            if !prepared {
                continue;
            }
        }
        if signal.wait(if marked { PULSE } else { MARK_AFTER }) {
            continue;
        }
        // Entries that are refused for want of space wake nobody: whether there is some again is for this loop to find out.
        prepared &= !wal.is_full();
        if !marked {
            marked = match wal.mark_idle() {
                Ok(()) => true,
                // It stays in flight and is written before anything else, once there is space.
                Err(phalanx_storage::Error::DiskFull { .. }) => false,
                Err(error) => return Err(error),
            };
        }
    }
}

struct ThreadHandle {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl DriveHandle for ThreadHandle {
    fn pulse(&self) -> u64 {
        self.signal.pulse.load(Ordering::Relaxed)
    }
}

impl Drop for ThreadHandle {
    fn drop(&mut self) {
        self.signal.stop.store(true, Ordering::Release);
        self.signal.raise();
        if let Some(thread) = self.thread.take() {
            // A panic in it was caught there and told to the callback.
            let _ = thread.join();
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads for jobs that block. Who submits bounds how many wait: each group has at most a few.
pub struct ThreadExecutor {
    jobs: mpsc::Sender<Job>,
}

impl ThreadExecutor {
    /// Starts the threads. They end when the executor is dropped and the jobs are done.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..EXECUTOR_THREADS {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new().name(format!("blocking-{number}")).spawn(move || {
                loop {
                    let job = queue.lock().recv();
                    let Ok(job) = job else { return };
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                        tracing::error!("a blocking job panicked");
                    }
                }
            })?;
        }
        Ok(Self { jobs })
    }
}

impl Executor for ThreadExecutor {
    fn blocking(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            tracing::error!("a blocking job was refused: its threads have ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use phalanx_storage::disk::SimDisk;
    use phalanx_storage::wal::{LogEntry, WalOptions};

    use super::*;

    /// Far longer than anything here takes.
    const SOON: Duration = Duration::from_secs(30);

    type Durable = mpsc::Receiver<Result<(), phalanx_storage::Error>>;

    fn append(wal: &Wal, index: u64) -> Result<Durable, phalanx_storage::Error> {
        let (done, durable) = mpsc::channel();
        let entry = LogEntry { index, term: 1, body: Bytes::from(vec![7; 8 * 1024]) };
        wal.append(1, vec![entry], Box::new(move |result| drop(done.send(result))))?;
        Ok(durable)
    }

    fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
        let began = std::time::Instant::now();
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            assert!(began.elapsed() < SOON, "waited in vain");
            std::thread::sleep(MARK_AFTER);
        }
    }

    #[test]
    fn a_full_log_takes_entries_again_once_there_is_space_even_if_nothing_else_happens() {
        let disk = SimDisk::new(1);
        let wal = Wal::open(Arc::new(disk.clone()), Path::new("/wal"), WalOptions::small()).unwrap();
        let wal = Arc::new(wal);
        disk.set_space(Some(0));
        let drive = ThreadDrive.start(Arc::clone(&wal), Arc::new(|why| panic!("{why}")));
        let mut waiting = Vec::new();
        let mut next = 1..1_000;
        let refused = next.find(|index| {
            let Ok(durable) = append(&wal, *index) else { return true };
            // An entry that was taken before the committer met the end of the disk waits for space.
            let stored = eventually(|| match durable.try_recv() {
                Ok(result) => Some(result.is_ok()),
                Err(_) => wal.is_full().then_some(false),
            });
            if !stored {
                waiting.push(durable);
            }
            false
        });
        let refused = refused.expect("the log is full some time");
        assert!(wal.is_full());
        // Everything that could wake the committer is over.
        std::thread::sleep(PULSE * 2);
        disk.set_space(None);
        waiting.push(eventually(|| append(&wal, refused).ok()));
        for durable in waiting {
            durable.recv_timeout(SOON).expect("the committer answers").expect("there is space");
        }
        drop(drive);
    }
}
