//! Every decoder of bytes that a disk or a peer may have damaged: what it must do with any bytes at all, and valid bytes to begin with.
//!
//! For tests only. `tests/it` feeds the targets mutated and absurd bytes on stable; the programs in `fuzz/` feed the same functions to a
//! fuzzer. Golden files are the corpus where there are some.
#![deny(missing_docs)]

mod corpus;
mod mutate;

pub use mutate::{Random, mutate};

/// A decoder.
pub struct Target {
    /// Its name, and that of its program in `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// Feeds it bytes; whether it accepted them. Panics when a promise is broken.
    pub run: fn(&[u8]) -> bool,
    /// Bytes that it accepts.
    pub corpus: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "wal_batch", run: phalanx_storage::fuzzing::wal_batch, corpus: corpus::wal_batch },
    Target { name: "wal_head", run: phalanx_storage::fuzzing::wal_head, corpus: corpus::wal_head },
    Target {
        name: "wal_inventory",
        run: phalanx_storage::fuzzing::wal_inventory,
        corpus: corpus::wal_inventory,
    },
    Target {
        name: "checkpoint_row",
        run: phalanx_storage::fuzzing::checkpoint_row,
        corpus: corpus::checkpoint_row,
    },
    Target {
        name: "checkpoint_manifest",
        run: phalanx_storage::fuzzing::checkpoint_manifest,
        corpus: corpus::checkpoint_manifest,
    },
    Target {
        name: "checkpoint_key",
        run: phalanx_storage::fuzzing::checkpoint_key,
        corpus: corpus::checkpoint_key,
    },
    Target { name: "command_batch", run: phalanx_state_machine::fuzzing::batch, corpus: corpus::batch },
    Target { name: "machine_row", run: phalanx_state_machine::fuzzing::row, corpus: corpus::row },
    Target {
        name: "machine_checkpoint",
        run: phalanx_state_machine::fuzzing::checkpoint,
        corpus: corpus::checkpoint,
    },
    Target { name: "log_entry", run: phalanx_raft::fuzzing::entry, corpus: corpus::entry },
    Target { name: "vote", run: phalanx_raft::fuzzing::vote, corpus: corpus::vote },
    Target { name: "membership", run: phalanx_raft::fuzzing::membership, corpus: corpus::membership },
    Target { name: "wire_message", run: phalanx_raft::fuzzing::wire_message, corpus: corpus::wire_message },
    Target {
        name: "snapshot_part",
        run: phalanx_raft::fuzzing::snapshot_part,
        corpus: corpus::snapshot_part,
    },
    Target { name: "config_file", run: phalanx_server::fuzzing::config_file, corpus: corpus::config_file },
    Target {
        name: "identity_file",
        run: phalanx_server::fuzzing::identity_file,
        corpus: corpus::identity_file,
    },
];

/// Feeds `data` to the target of that name: the body of each fuzz program.
///
/// # Panics
/// When there is none of that name, or the decoder breaks a promise.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("no decoder is called {name}"));
    (target.run)(data);
}
