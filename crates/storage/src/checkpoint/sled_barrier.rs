//! Makes sled's durability barrier a real one.
//!
//! sled 0.34.7 ends a flush with `sync_file_range`, which syncs neither the file's metadata nor the device's cache (its issue 1452).
//! This module defines that symbol for the whole program: it calls `fdatasync`, and returns its error, so that a failed sync
//! fails `flush()`. Whoever links this crate gets it; [`calls`] lets the engine prove at start that it is the one called.
#![allow(unsafe_code)] // One libc symbol is replaced and one is called; both places say why they are sound.

use std::sync::atomic::{AtomicU64, Ordering};

static CALLS: AtomicU64 = AtomicU64::new(0);
static FAILURES: AtomicU64 = AtomicU64::new(0);

/// How often the barrier was used by this process.
pub(super) fn calls() -> u64 {
    CALLS.load(Ordering::Acquire)
}

/// How often it failed. sled only logs a failure that its background flusher meets.
pub(super) fn failures() -> u64 {
    FAILURES.load(Ordering::Acquire)
}

/// Takes the place of libc's `sync_file_range`: syncs all data of the file.
#[unsafe(no_mangle)]
pub extern "C" fn sync_file_range(
    fd: libc::c_int,
    _offset: i64,
    _bytes: i64,
    _flags: libc::c_uint,
) -> libc::c_int {
    CALLS.fetch_add(1, Ordering::AcqRel);
    // SAFETY: `fdatasync` takes a file descriptor by value and touches no memory; a bad one is answered with an error.
    let result = unsafe { libc::fdatasync(fd) };
    if result != 0 {
        FAILURES.fetch_add(1, Ordering::AcqRel);
    }
    result
}
