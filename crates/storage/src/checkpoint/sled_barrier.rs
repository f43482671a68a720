//! Makes sled's durability barriers real ones.
//!
//! sled 0.34.7 ends a flush with `sync_file_range`, which syncs neither the file's metadata nor the device's cache (its issue 1452). And
//! its recovery renames a snapshot of what it has found into place, does not sync the directory, and then overwrites the segments that
//! are free according to that snapshot: if the power goes between, the next recovery may meet a half-overwritten segment without the
//! snapshot, take it for the end of the log, and clear all that comes after it.
//! This module defines both symbols for the whole program. `sync_file_range` calls `fdatasync`; `rename` syncs the directory if the new
//! name is that of a snapshot, and is what it was otherwise. Both return the error of the sync, so that flush or open fail.
//! Whoever links this crate gets them; [`calls`] and [`renames`] let the engine prove at start that they are the ones called.
#![allow(unsafe_code)] // Two libc symbols are replaced and their like called; each place says why it is sound.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

static CALLS: AtomicU64 = AtomicU64::new(0);
static RENAMES: AtomicU64 = AtomicU64::new(0);
static FAILURES: AtomicU64 = AtomicU64::new(0);

/// How often the barrier of a flush was used by this process.
pub(super) fn calls() -> u64 {
    CALLS.load(Ordering::Acquire)
}

/// How often a file was renamed by this process.
pub(super) fn renames() -> u64 {
    RENAMES.load(Ordering::Acquire)
}

/// How often a barrier failed. sled only logs a failure that its background flusher meets.
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

/// Takes the place of libc's `rename`: a snapshot of sled's is durable under its new name on return.
///
/// # Safety
/// As for libc's: both are C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const libc::c_char, to: *const libc::c_char) -> libc::c_int {
    RENAMES.fetch_add(1, Ordering::AcqRel);
    // SAFETY: the caller's arguments, with the meaning that `rename` has.
    let result = unsafe { libc::renameat(libc::AT_FDCWD, from, libc::AT_FDCWD, to) };
    if result != 0 {
        return result;
    }
    // SAFETY: the call has succeeded, so it is a C string; it outlives this call.
    let to = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(to) }.to_bytes()));
    let Err(error) = sync_snapshot(to) else { return 0 };
    FAILURES.fetch_add(1, Ordering::AcqRel);
    // SAFETY: the C library's own place for this thread's error.
    unsafe { *libc::__errno_location() = error.raw_os_error().unwrap_or(libc::EIO) };
    -1
}

/// Syncs the directory of a file that is named as sled names its snapshots.
fn sync_snapshot(path: &Path) -> io::Result<()> {
    let is_snapshot = path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"snap."));
    match path.parent() {
        Some(dir) if is_snapshot => File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}
