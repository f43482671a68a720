//! Appends to a log on a real disk as fast as it goes: messages and syncs a second, and what was written for them.
//!
//! `cargo run --release -p phalanx-storage --example wal_bench -- [DIR] [SECONDS]`. One thread a group keeps a few
//! appends of 64 messages of 256 bytes in flight, as a shard's leader does; one thread commits.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use phalanx_storage::disk::RealDisk;
use phalanx_storage::wal::{LogEntry, Wal, WalOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const GROUPS: u64 = 4;
const MESSAGE_BYTES: usize = 256;
const MESSAGES: usize = 64;
const IN_FLIGHT: u64 = 8;

struct Signal(Mutex<bool>, Condvar);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(|| std::env::temp_dir().join("wal-bench"), PathBuf::from);
    let seconds = arguments.next().map_or(5, |text| text.parse().unwrap());
    let start = Instant::now();
    let wal = Arc::new(Wal::open(Arc::new(RealDisk), &dir, WalOptions::default()).unwrap());
    println!("opened {} in {:?}, groups {:?}", dir.display(), start.elapsed(), wal.groups());
    for group in wal.groups() {
        wal.forget(group, Box::new(|result| result.unwrap()));
    }
    while wal.commit_pending().unwrap() {}
    let start = Instant::now();
    while wal.prepare_step().unwrap() {}
    println!("pre-written in {:?}", start.elapsed());
    let before = wal.stats();

    let stop = Arc::new(AtomicBool::new(false));
    let signal = Arc::new(Signal(Mutex::new(false), Condvar::new()));
    let waker = signal.clone();
    wal.on_pending(Arc::new(move || {
        *waker.0.lock() = true;
        waker.1.notify_one();
    }));
    let committer = {
        let (wal, stop) = (wal.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if !wal.commit_pending().unwrap() {
                    let mut woken = signal.0.lock();
                    if !*woken {
                        signal.1.wait_for(&mut woken, Duration::from_millis(10));
                    }
                    *woken = false;
                }
            }
        })
    };
    let writers: Vec<_> = (0..GROUPS).map(|group| spawn_writer(group, wal.clone(), stop.clone())).collect();
    let start = Instant::now();
    std::thread::sleep(Duration::from_secs(seconds));
    stop.store(true, Ordering::Relaxed);
    let elapsed = start.elapsed().as_secs_f64();
    let appends: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
    committer.join().unwrap();
    let now = wal.stats();
    let (syncs, body) = (now.syncs - before.syncs, now.body_bytes - before.body_bytes);
    println!("{:.0} messages/s of {MESSAGE_BYTES} B", appends as f64 * MESSAGES as f64 / elapsed);
    println!("{:.0} syncs/s, {:.0} bytes a sync", syncs as f64 / elapsed, body as f64 / syncs as f64);
    println!("write amplification {:.3}", (now.written_bytes - before.written_bytes) as f64 / body as f64);
    println!("{:?}", wal.stats());
}

/// Answers the appends that were acknowledged.
fn spawn_writer(group: u64, wal: Arc<Wal>, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let body = Bytes::from(vec![group as u8; MESSAGE_BYTES * MESSAGES]);
    std::thread::spawn(move || {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let (me, mut index) = (std::thread::current(), 0);
        while !stop.load(Ordering::Relaxed) {
            if index >= acknowledged.load(Ordering::Acquire) + IN_FLIGHT {
                std::thread::park_timeout(Duration::from_millis(10));
                continue;
            }
            index += 1;
            let (count, waiter) = (acknowledged.clone(), me.clone());
            let entry = LogEntry { index, term: 1, body: body.clone() };
            let done = Box::new(move |result: Result<(), _>| {
                result.unwrap();
                count.fetch_add(1, Ordering::Release);
                waiter.unpark();
            });
            wal.append(group, vec![entry], done).unwrap();
            if index.is_multiple_of(1024) {
                wal.purge(group, (1, index - 512), Box::new(|result| result.unwrap()));
            }
        }
        acknowledged.load(Ordering::Acquire)
    })
}
