//! The same work on tasks, for nodes whose disk is memory: nothing blocks, no thread is started, and all time is tokio's.

use std::sync::Arc;
use std::time::Duration;

use phalanx_raft::Executor;
use phalanx_storage::wal::Wal;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{DISK_FULL_PAUSE, Drive, DriveHandle, MARK_AFTER, PULSE};

/// Blocking jobs as tasks.
#[derive(Clone, Copy, Debug)]
pub struct TaskExecutor {
    /// What a job takes.
    pub job_time: Duration,
}

impl Executor for TaskExecutor {
    fn blocking(&self, job: Box<dyn FnOnce() + Send>) {
        let job_time = self.job_time;
        tokio::spawn(async move {
            tokio::time::sleep(job_time).await;
            job();
        });
    }
}

/// The log's committer as a task: the same steps in the same order as the thread of production.
#[derive(Clone, Copy, Debug)]
pub struct TaskDrive {
    /// What one write with its sync takes.
    pub sync_time: Duration,
}

struct TaskHandle {
    task: AbortHandle,
    since: Instant,
}

impl Drive for TaskDrive {
    fn start(&self, wal: Arc<Wal>, on_fatal: Arc<dyn Fn(String) + Send + Sync>) -> Box<dyn DriveHandle> {
        let sync_time = self.sync_time;
        let pending = Arc::new(Notify::new());
        let waker = Arc::clone(&pending);
        wal.on_pending(Arc::new(move || waker.notify_one()));
        let task = tokio::spawn(async move {
            if let Err(error) = commit(&wal, &pending, sync_time).await {
                on_fatal(format!("the log cannot go on: {error}"));
            }
        });
        Box::new(TaskHandle { task: task.abort_handle(), since: Instant::now() })
    }
}

async fn commit(wal: &Wal, pending: &Notify, sync_time: Duration) -> Result<(), phalanx_storage::Error> {
    let (mut marked, mut prepared) = (false, false);
    loop {
        tokio::time::sleep(sync_time).await;
        match wal.commit_pending() {
            Ok(true) => {
                (marked, prepared) = (false, false);
                continue;
            }
            Ok(false) => {}
            Err(phalanx_storage::Error::DiskFull { .. }) => {
                tokio::time::sleep(DISK_FULL_PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        }
        if !prepared {
            prepared = match wal.prepare_step() {
                Ok(more) => !more,
                Err(phalanx_storage::Error::DiskFull { .. }) => true,
                Err(error) => return Err(error),
            };
            if !prepared {
                continue;
            }
        }
        let patience = if marked { PULSE } else { MARK_AFTER };
        if tokio::time::timeout(patience, pending.notified()).await.is_ok() {
            continue;
        }
        prepared &= !wal.is_full();
        if !marked {
            wal.mark_idle()?;
            marked = true;
        }
    }
}

impl DriveHandle for TaskHandle {
    fn pulse(&self) -> u64 {
        // Time stands in for movement: a task cannot hang while tokio's time goes on.
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Drop for TaskHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}
