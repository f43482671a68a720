//! What every caller relies on, without faults.

use super::rig::*;
use phalanx_storage::Error;
use phalanx_storage::disk::SimDisk;
use phalanx_storage::wal::{Wal, WalOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn entries_are_readable_at_once_and_after_a_restart() {
    let disk = SimDisk::new(1);
    let answers = Answers::default();
    {
        let wal = open(&disk);
        wal.append(7, entries(7, 1..=10, 1, 100), answers.done(1)).unwrap();
        assert_eq!(read_all(&wal, 7), entries(7, 1..=10, 1, 100));
        assert!(answers.labels().is_empty(), "nothing is acknowledged before its sync");
        assert!(wal.commit_pending().unwrap());
        assert_eq!(answers.take(), [(1, Ok(()))]);
        assert!(!wal.commit_pending().unwrap());
    }
    let wal = open(&disk);
    assert!(wal.quarantined().is_empty());
    assert_eq!(read_all(&wal, 7), entries(7, 1..=10, 1, 100));
    assert_eq!(wal.state(7).last, Some((1, 10)));
}

#[test]
fn every_kind_of_state_survives_restarts() {
    let disk = SimDisk::new(1);
    for round in 0..4 {
        let wal = open(&disk);
        if round == 0 {
            wal.save_vote(1, "vote one".into(), must());
            wal.append(1, entries(1, 0..=20, 3, 50), must()).unwrap();
            wal.truncate_after(1, Some((3, 15)), must());
            wal.append(1, entries(1, 16..=18, 4, 50), must()).unwrap();
            wal.save_committed(1, (4, 17)).unwrap();
            wal.purge(1, (3, 5), must());
            wal.note_checkpoint(1, 9, must());
            wal.append(2, entries(2, 5..=6, 1, 50), must()).unwrap();
            wal.forget(2, must());
            wal.save_vote(3, "vote three".into(), must());
            wal.purge(3, (8, 100), must());
            commit_all(&wal);
        }
        let one = wal.state(1);
        assert_eq!(one.vote.as_deref(), Some(&b"vote one"[..]));
        assert_eq!((one.purged, one.last, one.committed), (Some((3, 5)), Some((4, 18)), Some((4, 17))));
        assert_eq!(one.checkpoint_batch, 9);
        let mut expected = entries(1, 6..=15, 3, 50);
        expected.extend(entries(1, 16..=18, 4, 50));
        assert_eq!(read_all(&wal, 1), expected, "round {round}");
        assert_eq!(wal.groups(), [1, 3]);
        assert_eq!(wal.state(3).last, Some((8, 100)));
        assert!(matches!(wal.read(1, 5..6, 10), Err(Error::NotFound { .. })));
    }
}

#[test]
fn reads_cap_bytes_and_are_never_empty() {
    let disk = SimDisk::new(1);
    let wal = open(&disk);
    wal.append(1, entries(1, 1..=10, 1, 1000), must()).unwrap();
    for _ in 0..2 {
        assert_eq!(wal.read(1, 3..100, 2500).unwrap(), entries(1, 3..=4, 1, 1000));
        assert_eq!(wal.read(1, 3..5, 1).unwrap(), entries(1, 3..=3, 1, 1000));
        assert_eq!(wal.read(1, 9..100, 1 << 20).unwrap(), entries(1, 9..=10, 1, 1000));
        assert!(matches!(wal.read(1, 11..12, 10), Err(Error::NotFound { index: 11, .. })));
        commit_all(&wal);
    }
}

#[test]
fn a_gap_is_refused_and_changes_nothing() {
    let disk = SimDisk::new(1);
    let wal = open(&disk);
    wal.append(1, entries(1, 1..=2, 1, 10), must()).unwrap();
    for range in [4..=5, 2..=3, 1..=1] {
        let refused = wal.append(1, entries(1, range, 1, 10), must());
        assert!(matches!(refused, Err(Error::OutOfOrder { expected: 3, .. })), "{refused:?}");
    }
    let mut broken = entries(1, 3..=4, 1, 10);
    broken.remove(0);
    broken.insert(0, entry(1, 3, 1, 10));
    broken.push(entry(1, 6, 1, 10));
    assert!(matches!(wal.append(1, broken, must()), Err(Error::OutOfOrder { expected: 5, got: 6, .. })));
    assert_eq!(read_all(&wal, 1), entries(1, 1..=2, 1, 10));
}

#[test]
fn limits_answer_clearly_and_leave_nothing_behind() {
    let disk = SimDisk::new(1);
    let options = WalOptions { pending_bytes_max: 10_000, ..WalOptions::small() };
    let wal = Wal::open(Arc::new(disk.clone()), dir(), options.clone()).unwrap();
    let too_large = options.record_bytes_max() as usize + 1;
    let refused = wal.append(1, entries(1, 1..=1, 1, too_large), must());
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    wal.append(1, entries(1, 1..=1, 1, too_large - 1), must()).unwrap();
    let refused = wal.append(1, entries(1, 2..=2, 1, 1), must());
    assert!(matches!(&refused, Err(e @ Error::Overloaded { .. }) if e.is_retryable()), "{refused:?}");
    commit_all(&wal);
    wal.append(1, entries(1, 2..=2, 1, 1), must()).unwrap();
    let answers = Answers::default();
    wal.save_vote(1, vec![0; 129].into(), answers.done(0));
    assert!(answers.take()[0].1.is_err());
    let groups_max = (3..100).find(|g| {
        let answers = Answers::default();
        wal.save_vote(*g, "v".into(), answers.done(0));
        !answers.take().is_empty()
    });
    assert_eq!(groups_max, Some(18), "groups 1 and 3..=17 fill an eighth of a segment");
    commit_all(&wal);
    drop(wal);
    let wal = open(&disk);
    assert_eq!(wal.state(1).last, Some((1, 2)));
    assert_eq!(wal.groups().len(), 16);
}

#[test]
fn callbacks_come_in_the_order_of_the_calls() {
    let disk = SimDisk::new(1);
    let wal = open(&disk);
    let answers = Answers::default();
    for round in 0..20 {
        let base = round * 10;
        wal.append(1, entries(1, base + 1..=base + 10, 1, 700), answers.done(base)).unwrap();
        wal.append(2, entries(2, round + 1..=round + 1, 1, 9000), answers.done(base + 1)).unwrap();
        wal.save_vote(3, "v".into(), answers.done(base + 2));
        wal.purge(1, (1, base + 5), answers.done(base + 3));
    }
    commit_all(&wal);
    let labels = answers.labels();
    assert_eq!(labels.len(), 80);
    assert!(labels.is_sorted(), "{labels:?}");
    assert!(wal.stats().rotations > 3, "the run used several segments");
}

#[test]
fn waiting_work_of_all_groups_shares_one_sync() {
    let disk = SimDisk::new(1);
    let wal = open(&disk);
    let before = wal.stats().syncs;
    for group in 1..=10 {
        wal.append(group, entries(group, 1..=3, 1, 100), must()).unwrap();
    }
    assert!(wal.commit_pending().unwrap());
    assert_eq!(wal.stats().syncs, before + 1);
}

#[test]
fn a_committed_position_rides_and_never_syncs_alone() {
    let disk = SimDisk::new(1);
    let wal = open(&disk);
    wal.append(1, entries(1, 1..=3, 1, 10), must()).unwrap();
    commit_all(&wal);
    let before = disk.operations();
    wal.save_committed(1, (1, 2)).unwrap();
    assert!(!wal.commit_pending().unwrap());
    assert_eq!(disk.operations(), before);
    assert_eq!(wal.state(1).committed, Some((1, 2)));
    wal.save_vote(1, "v".into(), must());
    commit_all(&wal);
    drop(wal);
    assert_eq!(open(&disk).state(1).committed, Some((1, 2)));
}

#[test]
fn the_first_work_wakes_the_committer() {
    let disk = SimDisk::new(1);
    let wal = open(&disk);
    let woken = Arc::new(AtomicUsize::new(0));
    let count = woken.clone();
    wal.on_pending(Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    wal.append(1, entries(1, 1..=3, 1, 10), must()).unwrap();
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    commit_all(&wal);
    wal.purge(1, (1, 1), must());
    assert_eq!(woken.load(Ordering::SeqCst), 2);
}

#[test]
fn bodies_beyond_the_cache_are_read_back_from_segments() {
    let disk = SimDisk::new(1);
    let wal = open(&disk);
    let mut expected = Vec::new();
    for round in 0..30 {
        let part = entries(1, round * 4 + 1..=round * 4 + 4, 1, 900);
        expected.extend(part.clone());
        wal.append(1, part, must()).unwrap();
        commit_all(&wal);
    }
    assert_eq!(read_all(&wal, 1), expected);
    assert!(wal.stats().reads_from_disk > 60, "{:?}", wal.stats());
}

#[test]
fn only_one_process_opens_a_directory() {
    let disk = SimDisk::new(1);
    let first = open(&disk);
    assert!(matches!(try_open(&disk), Err(Error::Locked { .. })));
    drop(first);
    drop(open(&disk));
    let _held = open(&disk);
    disk.kill();
    drop(open(&disk));
}

#[test]
fn an_old_append_of_an_index_never_answers_for_a_new_one() {
    let disk = SimDisk::new(1);
    let options = WalOptions { cache_bytes: 0, ..WalOptions::small() };
    let wal = Wal::open(Arc::new(disk), dir(), options).unwrap();
    wal.append(1, entries(1, 1..=3, 1, 10), must()).unwrap();
    wal.truncate_after(1, Some((1, 1)), must());
    wal.append(1, entries(1, 2..=2, 2, 10), must()).unwrap();
    commit_all(&wal);
    assert_eq!(read_all(&wal, 1), [entry(1, 1, 1, 10), entry(1, 2, 2, 10)]);
}
