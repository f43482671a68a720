//! Whatever bytes an entry holds, `apply` answers and the machine stays sound: a panic would stop every replica alike.

use phalanx_state_machine::command::{Batch, Command, CommandKind, PutQueue};
use phalanx_state_machine::invariants;
use phalanx_state_machine::machine::{Entry, Machine, MachineKind};
use phalanx_state_machine::reply::{Rejection, Reply};
use prost::Message;

use crate::support::{Driver, Rng, env_number};
use crate::{catalog, wild};

const KINDS: [MachineKind; 2] = [MachineKind::Catalog, MachineKind::Shard(1)];

/// Rounds of each test, per kind of machine.
fn rounds() -> u64 {
    env_number("PHALANX_GARBAGE_ROUNDS", 400)
}

/// A machine on which commands of [`wild`] find something to work on.
fn furnished(kind: MachineKind) -> Driver {
    let mut driver = Driver::new(kind);
    match kind {
        MachineKind::Catalog => {
            driver.one(CommandKind::Bootstrap(catalog::plan(2)));
        }
        MachineKind::Shard(_) => {
            for uid in 1..=2 {
                driver.one(CommandKind::PutQueue(PutQueue { uid, version: 1, ..Default::default() }));
            }
        }
    }
    driver
}

fn check(machine: &Machine, seed: u64) {
    invariants::check(machine).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
}

#[test]
fn absurd_commands_never_panic_and_leave_the_machine_sound() {
    for kind in KINDS {
        for seed in 0..rounds() {
            let mut rng = Rng::new(seed);
            let mut driver = furnished(kind);
            for _ in 0..40 {
                driver.now_ms = match rng.below(40) {
                    0 => u64::MAX - rng.below(2),
                    1 => 0,
                    _ => driver.now_ms.saturating_add(rng.below(20_000)),
                };
                driver.apply((0..rng.below(4)).map(|_| wild::command(&mut rng)).collect());
                check(&driver.machine, seed);
            }
        }
    }
}

#[test]
fn flipped_cut_and_spliced_batches_never_panic() {
    for kind in KINDS {
        let mut decoded = 0_u64;
        for seed in 0..rounds() {
            let mut rng = Rng::new(seed);
            let mut driver = furnished(kind);
            for index in 0..40 {
                let commands: Vec<Command> =
                    (0..1 + rng.below(3)).map(|_| wild::command(&mut rng).into()).collect();
                let batch = Batch { version: 1, now_ms: driver.now_ms + index, commands };
                let mut bytes = batch.encode_to_vec();
                damage(&mut rng, &mut bytes);
                if let Ok(batch) = Batch::decode(bytes.as_slice()) {
                    decoded += 1;
                    let count = batch.commands.len();
                    let applied = driver.machine.apply(Entry { index: 1_000 + index, term: 1, batch });
                    assert_eq!(applied.replies.len(), count, "seed {seed}: one reply for each command");
                    check(&driver.machine, seed);
                }
            }
        }
        assert!(decoded > rounds(), "the damage left nothing to apply: {decoded}");
    }
}

/// One to three flips, a cut, a doubled piece, or nothing but noise.
fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let length = bytes.len() as u64;
    match rng.below(6) {
        0 => bytes.truncate(rng.below(length) as usize),
        1 => {
            let (from, to) = (rng.below(length) as usize, rng.below(length) as usize);
            let piece = bytes[from..].to_vec();
            bytes.truncate(to);
            bytes.extend(piece);
        }
        2 => bytes.iter_mut().for_each(|byte| *byte = rng.next() as u8),
        _ => {
            for _ in 0..1 + rng.below(3) {
                let bit = rng.below(length * 8);
                bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            }
        }
    }
}

#[test]
fn a_command_from_a_newer_version_is_answered_unsupported() {
    for kind in KINDS {
        let mut driver = furnished(kind);
        // Field 39 of `Command`: a kind that this version does not know.
        let newer = Command::decode([0xba, 0x02, 0x00].as_slice()).unwrap();
        assert_eq!(newer.kind, None);
        let batch = Batch { version: Batch::VERSION, now_ms: driver.now_ms, commands: vec![newer] };
        let applied = driver.machine.apply(Entry { index: 50, term: 1, batch });
        assert_eq!(applied.replies, [Reply::Rejected(Rejection::Unsupported)]);
    }
}

#[test]
fn a_batch_of_a_newer_format_is_refused_as_a_whole() {
    for kind in KINDS {
        let mut driver = furnished(kind);
        let put = CommandKind::PutQueue(PutQueue { uid: 9, version: 1, ..Default::default() });
        let create = wild::command(&mut Rng::new(1));
        let commands: Vec<Command> = vec![put.into(), create.into()];
        let batch = Batch { version: Batch::VERSION + 1, now_ms: driver.now_ms, commands };
        let applied = driver.machine.apply(Entry { index: 50, term: 1, batch });
        assert_eq!(applied.replies, vec![Reply::Rejected(Rejection::Unsupported); 2]);
        assert!(applied.effects.is_empty());
        assert_eq!(driver.machine.queue_info(9), None);
    }
}
