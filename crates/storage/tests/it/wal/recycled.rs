//! Segments that are used again: what they held before never comes back, and what is needed is never overwritten.

use super::driver::cases;
use super::rig::*;
use phalanx_storage::disk::SimDisk;
use phalanx_storage::wal::{LogEntry, Wal};

/// Entries of one append; with its header the batch is one block.
const COUNT: u64 = 8;

/// An entry whose record ends at the end of a 512 B sector: the first one shares its sector with the batch's header.
fn sector_entry(index: u64) -> LogEntry {
    let bytes = if index % COUNT == 1 { 512 - 48 - 40 } else { 512 - 40 };
    entry(1, index, 1, bytes)
}

/// Appends batches of one and the same layout, so that a sector that a power cut leaves as it was holds a whole old
/// record in the place of a new one. Answers the last index issued and the last one acknowledged.
fn run(wal: &Wal, batches: u64, purge_every: u64) -> (u64, u64) {
    let answers = Answers::default();
    let mut last = wal.state(1).last.map_or(0, |(_, index)| index);
    // A cut batch leaves a part: go on with whole ones behind it.
    let rest = last.next_multiple_of(COUNT);
    let rest: Vec<_> = (last + 1..=rest).map(sector_entry).collect();
    let mut acknowledged = last;
    let commit = |acknowledged: &mut u64| {
        let result = loop {
            match wal.commit_pending() {
                Ok(true) => {}
                Ok(false) => break true,
                Err(_) => break false,
            }
        };
        let done = answers.take().into_iter().filter(|(_, result)| result.is_ok());
        *acknowledged = done.map(|(index, _)| index).max().unwrap_or(0).max(*acknowledged);
        result
    };
    if !rest.is_empty() {
        last += rest.len() as u64;
        if wal.append(1, rest, answers.done(last)).is_err() || !commit(&mut acknowledged) {
            return (last, acknowledged);
        }
    }
    for batch in 1..=batches {
        let next: Vec<_> = (last + 1..=last + COUNT).map(sector_entry).collect();
        if wal.append(1, next, answers.done(last + COUNT)).is_err() {
            break;
        }
        last += COUNT;
        if !commit(&mut acknowledged) {
            break;
        }
        if batch % purge_every == 0 {
            wal.purge(1, (1, last - COUNT), answers.done(last));
            if !commit(&mut acknowledged) {
                break;
            }
        }
    }
    (last, acknowledged)
}

#[test]
fn an_old_record_in_the_place_of_a_torn_one_never_comes_back() {
    let prepared = SimDisk::new(0);
    let wal = open(&prepared);
    while wal.prepare_step().unwrap() {}
    run(&wal, 500, 4);
    assert!(wal.stats().rotations > 20, "every segment was used several times");
    drop(wal);
    for seed in 0..cases(400) {
        let disk = prepared.fork(seed);
        let wal = open(&disk);
        disk.cut_power_at(seed % 80);
        let (issued, acknowledged) = run(&wal, 60, 4);
        assert!(disk.is_without_power());
        drop(wal);
        disk.power_cut();
        let mut before = (acknowledged, issued);
        for look in 0..3 {
            let wal = open(&disk);
            let context = format!("seed {seed}, look {look}");
            assert!(wal.quarantined().is_empty(), "{context}: {:?}", wal.quarantined());
            let state = wal.state(1);
            let last = state.last.unwrap().1;
            assert!((before.0..=before.1).contains(&last), "{context}: {last} is not in {before:?}");
            let first = state.purged.unwrap().1 + 1;
            assert_eq!(read_all(&wal, 1), (first..=last).map(sector_entry).collect::<Vec<_>>(), "{context}");
            before = (last, last);
            drop(wal);
            disk.power_cut();
        }
    }
}

#[test]
fn a_group_at_rest_keeps_its_segment_while_others_go_round() {
    let disk = SimDisk::new(0);
    let wal = open(&disk);
    wal.append(9, entries(9, 1..=4, 1, 2000), must()).unwrap();
    wal.save_vote(9, "kept".into(), must());
    commit_all(&wal);
    run(&wal, 150, 4);
    let pressure = wal.pressure();
    let pinned = pressure.expect("the group at rest fills the log").pinned_by;
    assert!(pinned.contains(&(9, 4)), "{pinned:?}");
    assert_eq!(read_all(&wal, 9), entries(9, 1..=4, 1, 2000));
    drop(wal);
    let wal = open(&disk);
    assert_eq!(read_all(&wal, 9), entries(9, 1..=4, 1, 2000));
    assert_eq!(wal.state(9).vote.as_deref(), Some(&b"kept"[..]));
    // Once it lets go, the log shrinks to what is needed.
    wal.purge(9, (1, 4), must());
    commit_all(&wal);
    run(&wal, 60, 4);
    assert_eq!(wal.pressure(), None);
}
