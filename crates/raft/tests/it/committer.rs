//! Drives a log from a thread, as a node does.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use phalanx_storage::wal::Wal;

/// Pause before trying again on a full log.
const FULL_PAUSE: Duration = Duration::from_millis(10);

#[derive(Default)]
struct State {
    pending: bool,
    stop: bool,
}

/// Commits what waits until it is dropped; then nothing more, as if the process had died.
pub struct Committer {
    signal: Arc<(Mutex<State>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    pub fn start(wal: Arc<Wal>) -> Self {
        let signal: Arc<(Mutex<State>, Condvar)> = Arc::default();
        signal.0.lock().pending = true;
        let wake = Arc::clone(&signal);
        wal.on_pending(Arc::new(move || {
            wake.0.lock().pending = true;
            wake.1.notify_one();
        }));
        let inner = Arc::clone(&signal);
        let thread = std::thread::spawn(move || {
            loop {
                {
                    let mut state = inner.0.lock();
                    while !state.pending && !state.stop {
                        inner.1.wait(&mut state);
                    }
                    if state.stop {
                        return;
                    }
                    state.pending = false;
                }
                loop {
                    match wal.commit_pending() {
                        Ok(true) => {}
                        Ok(false) => break,
                        // What waits stays in place until something was purged.
                        Err(phalanx_storage::Error::DiskFull { .. }) => std::thread::sleep(FULL_PAUSE),
                        Err(error) => panic!("commit: {error}"),
                    }
                    if inner.0.lock().stop {
                        return;
                    }
                }
                wal.mark_idle().expect("mark");
            }
        });
        Self { signal, thread: Some(thread) }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.signal.0.lock().stop = true;
        self.signal.1.notify_one();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(!matches!(ended, Some(Err(_))) || std::thread::panicking(), "the committer panicked");
    }
}
