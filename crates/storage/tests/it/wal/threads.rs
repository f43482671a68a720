//! Many threads append, one commits; on a real disk.

use super::rig::*;
use parking_lot::{Condvar, Mutex};
use phalanx_storage::Error;
use phalanx_storage::disk::RealDisk;
use phalanx_storage::wal::{Wal, WalOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

fn open_real(dir: &Path) -> Result<Wal, Error> {
    Wal::open(
        Arc::new(RealDisk),
        dir,
        WalOptions {
            segment_bytes: 256 * 1024,
            budget_bytes: 4 << 20,
            pending_bytes_max: 64 << 20,
            ..WalOptions::small()
        },
    )
}

const THREADS: u64 = 6;
const APPENDS: u64 = 300;

#[test]
fn many_threads_append_while_one_commits_and_nothing_is_lost() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("deep/down/wal");
    let wal = Arc::new(open_real(&dir).unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let wake = Arc::new((Mutex::new(false), Condvar::new()));
    let waker = wake.clone();
    wal.on_pending(Arc::new(move || {
        *waker.0.lock() = true;
        waker.1.notify_one();
    }));
    let committer = {
        let (wal, stop) = (wal.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if wal.commit_pending().unwrap() {
                    continue;
                }
                wal.prepare_step().unwrap();
                let mut woken = wake.0.lock();
                if !*woken {
                    wake.1.wait_for(&mut woken, Duration::from_millis(10));
                }
                *woken = false;
            }
            while wal.commit_pending().unwrap() {}
        })
    };
    let acknowledged: Vec<Arc<AtomicU64>> = (0..THREADS).map(|_| Arc::default()).collect();
    let writers: Vec<_> = (0..THREADS)
        .map(|group| {
            let (wal, last) = (wal.clone(), acknowledged[group as usize].clone());
            std::thread::spawn(move || {
                for round in 0..APPENDS {
                    let first = round * 2 + 1;
                    let batch = entries(group, first..=first + 1, 1, 300);
                    let seen = last.clone();
                    let done = Box::new(move |result: Result<(), Error>| {
                        result.unwrap();
                        let before = seen.swap(first + 1, Ordering::SeqCst);
                        assert_eq!(before + 2, first + 1, "callbacks of a group come in order");
                    });
                    wal.append(group, batch.clone(), done).unwrap();
                    assert_eq!(wal.read(group, first..first + 2, usize::MAX).unwrap(), batch);
                    if round % 50 == 49 {
                        // Old entries are read from segments while new ones are written.
                        assert_eq!(
                            wal.read(group, first - 20..first - 19, 1).unwrap()[0],
                            entry(group, first - 20, 1, 300)
                        );
                        wal.purge(group, (1, first - 40), must());
                    }
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    stop.store(true, Ordering::Relaxed);
    committer.join().unwrap();
    assert!(wal.stats().syncs < THREADS * APPENDS, "threads share syncs: {:?}", wal.stats());
    assert!(matches!(open_real(&dir), Err(Error::Locked { .. })));
    let expected: Vec<_> = (0..THREADS).map(|group| read_all(&wal, group)).collect();
    drop(wal);
    let wal = open_real(&dir).unwrap();
    for group in 0..THREADS {
        assert_eq!(acknowledged[group as usize].load(Ordering::SeqCst), APPENDS * 2);
        assert_eq!(read_all(&wal, group), expected[group as usize]);
        assert_eq!(wal.state(group).last, Some((1, APPENDS * 2)));
    }
}
