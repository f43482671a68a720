//! The one source of entropy and time of a simulated process.
//!
//! `getrandom` and `clock_gettime` of libc are replaced for this whole binary. While [`begin`] is in force every call, ours or a
//! dependency's, gets bytes from a seeded generator and the simulation's time; before it, and in every other use of the
//! binary, the calls go to the kernel. A process runs one seed, on one thread.
#![allow(unsafe_code)] // Symbols of libc are replaced, and raw pointers of its callers are written; each place says why it is sound.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

static IN_FORCE: AtomicBool = AtomicBool::new(false);
static STATE: AtomicU64 = AtomicU64::new(0);
static NOW_NS: AtomicU64 = AtomicU64::new(0);

/// Where the simulation's clocks begin, nanoseconds since the Unix epoch: 2023-11-14T22:13:20Z.
const EPOCH_NS: u64 = 1_700_000_000_000_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// From here on all entropy comes from `seed` and all clocks show simulated time.
pub fn begin(seed: u64) {
    STATE.store(seed.wrapping_mul(0x2545_F491_4F6C_DD1D), Relaxed);
    NOW_NS.store(0, Relaxed);
    IN_FORCE.store(true, Relaxed);
}

/// Moves the simulated clocks to `ns` nanoseconds after their beginning.
pub fn set_now_ns(ns: u64) {
    NOW_NS.store(ns, Relaxed);
}

/// Simulated nanoseconds since the beginning.
pub fn now_ns() -> u64 {
    NOW_NS.load(Relaxed)
}

/// The true wall clock, milliseconds since the Unix epoch.
pub fn wall_ms() -> u64 {
    (EPOCH_NS + now_ns()) / 1_000_000
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn next_byte() -> u8 {
    let z = STATE.fetch_add(0x9E37_79B9_7F4A_7C15, Relaxed);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) as u8
}

/// Replaces libc's `getrandom`.
///
/// # Safety
/// As for libc's: `buffer` must be writable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, flags: u32) -> isize {
    if !IN_FORCE.load(Relaxed) {
        // SAFETY: the same call with the same arguments, made directly.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as isize };
    }
    for place in 0..length {
        // SAFETY: the caller promises `length` writable bytes at `buffer`.
        unsafe { *buffer.add(place) = next_byte() };
    }
    length as isize
}

/// Replaces libc's `clock_gettime`.
///
/// # Safety
/// As for libc's: `time` must be writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> i32 {
    if !IN_FORCE.load(Relaxed) {
        // SAFETY: the same call with the same arguments, made directly.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as i32 };
    }
    let now = EPOCH_NS + NOW_NS.load(Relaxed);
    // SAFETY: the caller promises that `time` is writable.
    unsafe {
        (*time).tv_sec = (now / NS_PER_S) as libc::time_t;
        (*time).tv_nsec = (now % NS_PER_S) as libc::c_long;
    }
    0
}
