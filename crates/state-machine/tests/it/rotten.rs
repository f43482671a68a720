//! A checkpoint with a damaged row never makes another machine unnoticed, and never panics.
//!
//! The store has a checksum on every row and the manifest a digest; this is the machine's own part: `load` refuses, or
//! the digest differs, or the damage has changed nothing that anyone can see.

use bytes::Bytes;
use phalanx_state_machine::command::{
    Attach, CommandKind, Detach, NewMessage, PutQueue, Receive, Send, Settle, SettleAction, SettleItem,
    TermStart, Tick, TokenRange,
};
use phalanx_state_machine::invariants;
use phalanx_state_machine::machine::{Machine, MachineKind};

use crate::support::{Driver, Rng, Rows, entry, env_number, id};
use crate::{catalog, wild};

const KINDS: [MachineKind; 2] = [MachineKind::Catalog, MachineKind::Shard(1)];

/// Histories, for each kind of machine; each is damaged 40 times.
fn rounds() -> u64 {
    env_number("PHALANX_ROTTEN_ROUNDS", 150)
}

/// A command that does something to queue 1 or 2.
fn useful(rng: &mut Rng) -> CommandKind {
    let uid = 1 + rng.below(2);
    let who = |rng: &mut Rng| id(1 + rng.below(3));
    match rng.below(10) {
        0..4 => {
            let message = |rng: &mut Rng| NewMessage {
                payload: vec![7; 1 + rng.below(9) as usize].into(),
                group: [&b""[..], b"red", b"blue"][rng.below(3) as usize].into(),
                dedup: rng.chance(30).then(|| id(rng.next() | 1)),
            };
            let messages = (0..1 + rng.below(4)).map(|_| message(rng)).collect();
            let request = rng.chance(30).then(|| id(rng.next() | 1));
            let producer = (request.is_none() && rng.chance(50)).then(|| id(100 + rng.below(2)));
            CommandKind::Send(Send {
                uid,
                producer,
                producer_sequence: 1 + rng.below(3),
                request,
                messages,
                ..Send::default()
            })
        }
        4 => CommandKind::Receive(Receive {
            uid,
            consumer: who(rng),
            request: id(rng.next() | 1),
            messages_max: 1 + rng.below(3) as u32,
            ..Default::default()
        }),
        5..7 => CommandKind::Attach(Attach {
            uid,
            consumer: who(rng),
            incarnation: 1 + rng.below(3),
            name: "worker".into(),
            window_messages: rng.below(5) as u32,
            window_bytes: 1_000,
            ..Default::default()
        }),
        7 => CommandKind::Detach(Detach {
            uid,
            consumer: who(rng),
            incarnation: 1 + rng.below(3),
            clean: rng.chance(50),
        }),
        _ => {
            let action = [SettleAction::Ack, SettleAction::Nack, SettleAction::Reject][rng.below(3) as usize];
            let tokens = vec![TokenRange { first: 1, last: 1 + rng.below(12) }];
            let item = SettleItem {
                action: action.into(),
                tokens,
                delay_ms: rng.below(3) * 50_000,
                ..Default::default()
            };
            CommandKind::Settle(Settle { uid, consumer: who(rng), items: vec![item] })
        }
    }
}

/// A machine with some history and its checkpoint.
fn history(kind: MachineKind, rng: &mut Rng) -> (Driver, Rows) {
    let mut driver = Driver::new(kind);
    let mut rows = Rows::default();
    match kind {
        MachineKind::Catalog => {
            driver.one(CommandKind::Bootstrap(catalog::plan(2)));
        }
        MachineKind::Shard(_) => {
            for uid in 1..=2 {
                driver.one(CommandKind::PutQueue(PutQueue { uid, version: 1, ..Default::default() }));
            }
            driver.one(CommandKind::TermStart(TermStart { term: 1, leader: 1 }));
        }
    }
    for _ in 0..rng.below(40) {
        driver.now_ms += rng.below(2_000);
        let command = match kind {
            MachineKind::Catalog => wild::command(rng),
            MachineKind::Shard(_) => useful(rng),
        };
        driver.one(command);
        if rng.chance(10) {
            rows.checkpoint(&mut driver.machine, rng.chance(50));
        }
    }
    rows.checkpoint(&mut driver.machine, rng.chance(50));
    (driver, rows)
}

/// One damage: flips in a value or a key, a cut, a lost row, a row in the place of another, a doubled row.
fn damage(rng: &mut Rng, rows: &mut Rows) {
    let keys: Vec<Bytes> = rows.rows.keys().cloned().collect();
    let key = rng.pick(&keys).clone();
    let value = rows.rows[&key].clone();
    let flipped = |rng: &mut Rng, bytes: &Bytes| {
        let mut bytes = bytes.to_vec();
        if !bytes.is_empty() {
            let bit = rng.below(bytes.len() as u64 * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        Bytes::from(bytes)
    };
    match rng.below(10) {
        0 => drop(rows.rows.remove(&key)),
        1 => drop(rows.rows.insert(key, value.slice(..rng.below(value.len() as u64) as usize))),
        2 => drop(rows.rows.insert(flipped(rng, &key), value)),
        3 => {
            rows.rows.remove(&key);
            rows.rows.insert(flipped(rng, &key), value);
        }
        4 => {
            let other = rng.pick(&keys).clone();
            let moved = rows.rows[&other].clone();
            rows.rows.insert(key, moved);
        }
        5 => drop(rows.rows.insert(key.slice(..rng.below(key.len() as u64) as usize), value)),
        _ => drop(rows.rows.insert(key, flipped(rng, &value))),
    }
}

/// What anyone can see of a machine, now and in what it does next.
fn look(machine: &mut Machine, seed: u64) -> String {
    let mut seen = String::new();
    let mut rng = Rng::new(seed);
    for step in 0..12 {
        let uids: Vec<u64> = machine.queue_uids().collect();
        let infos: Vec<_> = uids.iter().map(|uid| machine.queue_info(*uid)).collect();
        seen.push_str(&format!("{:016x} {uids:?} {infos:?}\n", machine.digest()));
        let command = match (machine.kind(), step) {
            (MachineKind::Catalog, _) => wild::command(&mut rng),
            (_, 0) => CommandKind::Tick(Tick {}),
            _ => useful(&mut rng),
        };
        let now_ms = machine.now_ms() + rng.below(20_000);
        let applied = machine.apply(entry(machine.applied_index() + 1, now_ms, vec![command]));
        seen.push_str(&format!("{applied:?}\n"));
    }
    seen
}

#[test]
fn a_damaged_row_is_refused_or_changes_the_digest_or_changes_nothing() {
    let (mut refused, mut different, mut harmless) = (0_u64, 0_u64, 0_u64);
    for kind in KINDS {
        for seed in 0..rounds() {
            let mut rng = Rng::new(seed);
            let (driver, rows) = history(kind, &mut rng);
            for _ in 0..40 {
                let mut rotten = rows.clone();
                damage(&mut rng, &mut rotten);
                let Ok(mut machine) = rotten.load(kind) else {
                    refused += 1;
                    continue;
                };
                let manifest =
                    |machine: &Machine| (machine.digest(), machine.applied_index(), machine.now_ms());
                if manifest(&machine) != manifest(&driver.machine) {
                    different += 1; // the manifest tells
                    continue;
                }
                harmless += 1;
                invariants::check(&machine).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
                let mut sound = rows.load(kind).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
                assert_eq!(
                    look(&mut machine, seed),
                    look(&mut sound, seed),
                    "seed {seed}: another machine, same digest"
                );
            }
        }
    }
    assert!(refused > 0 && different > 0 && harmless > 0, "{refused} {different} {harmless}");
}

#[test]
fn rows_of_another_kind_of_group_are_refused() {
    for (kind, other) in [
        (MachineKind::Catalog, MachineKind::Shard(1)),
        (MachineKind::Shard(1), MachineKind::Catalog),
        (MachineKind::Shard(1), MachineKind::Shard(2)),
    ] {
        let (_, rows) = history(kind, &mut Rng::new(1));
        assert!(rows.load(kind).is_ok());
        assert!(rows.load(other).is_err(), "rows of {kind:?} were loaded as {other:?}");
    }
}

#[test]
fn noise_is_never_a_checkpoint_and_never_panics() {
    for seed in 0..rounds() * 10 {
        let mut rng = Rng::new(seed);
        let mut rows = Rows::default();
        for _ in 0..1 + rng.below(5) {
            let bytes = |rng: &mut Rng, first: &[u8]| {
                let mut bytes = first.to_vec();
                bytes.extend((0..rng.below(24)).map(|_| rng.next() as u8));
                Bytes::from(bytes)
            };
            let table =
                [&[0x10, 0, 0, 0, 0, 0, 0, 0, 1, 1 + rng.below(12) as u8][..], &[0x40, 3], &[0], &[1], &[]];
            let table = table[rng.below(5) as usize];
            let key = bytes(&mut rng, table);
            rows.rows.insert(key, bytes(&mut rng, &[]));
        }
        for kind in KINDS {
            assert!(rows.load(kind).is_err(), "seed {seed}: noise was loaded");
        }
    }
}
