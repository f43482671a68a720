//! Every bound of a batcher, with its unit, and how they hang together.
//!
//! What a group may hold at once on its leader: commands that wait, and commands that were handed to Raft and whose entry has
//! not been applied. The second bound covers what is committed but not applied: an entry leaves it only when its replies are there.

use std::time::Duration;

/// An entry is cut no larger than this, unless one command alone is: commands are never split. Bytes.
pub const ENTRY_BYTES_TARGET: usize = 256 * 1024;
/// As soon as this much waits, another entry is cut although several are being written. Bytes.
pub const ENTRY_BYTES_WORTHWHILE: usize = 64 * 1024;
/// Of an entry, settles and other small commands take at most this much while sends wait too. Bytes.
pub const ENTRY_SMALL_BYTES_SHARE: usize = ENTRY_BYTES_TARGET / 2;
/// Most commands of one entry: bounds the work of one `apply`.
pub const ENTRY_COMMANDS_MAX: usize = 4_096;

/// Entries handed to Raft and not applied yet.
pub const IN_FLIGHT_ENTRIES_MAX: usize = 8;
/// Of those, entries that were cut although little waited. Two keep the log busy; more would only make entries smaller.
pub const IN_FLIGHT_SMALL_ENTRIES_MAX: usize = 2;
/// Bytes handed to Raft and not applied yet. One larger command goes alone.
pub const IN_FLIGHT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Committed but not applied, bytes, as design.md promises.
pub const UNAPPLIED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes that wait in front of one group's log. A larger single command is let in when nothing else waits.
pub const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Kept free for what gets work off the node: settles, detaches, deletes, purges, ticks. Bytes, on top.
pub const WAITING_BYTES_RESERVED: usize = 2 * 1024 * 1024;
/// A command counts at least this much, so that the byte bounds bound the number of commands too.
pub const COMMAND_BYTES_MIN: usize = 256;
/// Tokens that a settle may concern count as one byte: a few bytes can extend all leases of the largest window, and an entry must not
/// be made of thousands of such.
pub const TOKENS_PER_BYTE: usize = 16;

/// Deadline of a command whose submitter names none.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(10);

const _: () = assert!(ENTRY_BYTES_WORTHWHILE <= ENTRY_BYTES_TARGET);
const _: () = assert!(ENTRY_BYTES_TARGET <= IN_FLIGHT_BYTES_MAX);
const _: () = assert!(IN_FLIGHT_BYTES_MAX <= UNAPPLIED_BYTES_MAX);
const _: () = assert!(IN_FLIGHT_SMALL_ENTRIES_MAX < IN_FLIGHT_ENTRIES_MAX);
