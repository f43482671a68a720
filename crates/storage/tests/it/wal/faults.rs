//! A failing sync and a full disk.

use super::driver::{Driver, cases};
use super::rig::*;
use phalanx_storage::Error;
use phalanx_storage::disk::SimDisk;

#[test]
fn a_failed_sync_is_never_acknowledged_and_ends_the_log_for_ever() {
    let disk = SimDisk::new(1);
    let wal = open(&disk);
    let answers = Answers::default();
    wal.append(1, entries(1, 1..=3, 1, 100), answers.done(1)).unwrap();
    commit_all(&wal);
    disk.fail_sync_at(0);
    wal.append(1, entries(1, 4..=6, 1, 100), answers.done(2)).unwrap();
    wal.save_vote(2, "v".into(), answers.done(3));
    let error = wal.commit_pending().unwrap_err();
    assert!(error.is_fatal(), "{error}");
    wal.save_vote(1, "later".into(), answers.done(4));
    let answered = answers.take();
    assert_eq!(answered[0], (1, Ok(())));
    assert_eq!(answered.iter().map(|(label, _)| *label).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(answered[1..].iter().all(|(_, result)| result.is_err()));
    let calls = [
        wal.append(1, entries(1, 7..=7, 1, 1), must()).unwrap_err(),
        wal.read(1, 1..2, 10).unwrap_err(),
        wal.commit_pending().unwrap_err(),
        wal.mark_idle().unwrap_err(),
        wal.prepare_step().unwrap_err(),
        wal.save_committed(1, (1, 1)).unwrap_err(),
        wal.failure().unwrap(),
    ];
    for error in calls {
        assert!(error.is_fatal(), "{error}");
    }
}

#[test]
fn what_recovery_reports_after_a_failed_sync_survives_a_power_cut() {
    // The kernel shows bytes that never reached the disk: a restart must not take them for durable.
    for sync in 0..12 {
        let disk = SimDisk::new(sync);
        {
            let wal = open(&disk);
            disk.fail_sync_at(sync);
            for round in 0..30 {
                let _ = wal.append(1, entries(1, round * 3 + 1..=round * 3 + 3, 1, 3000), whatever());
                if wal.commit_pending().is_err() {
                    break;
                }
            }
            assert!(wal.failure().is_some());
        }
        disk.kill();
        let reported = read_all(&open(&disk), 1);
        disk.power_cut();
        let wal = open(&disk);
        assert!(wal.quarantined().is_empty(), "{:?}", wal.quarantined());
        assert_eq!(read_all(&wal, 1), reported, "sync {sync}");
    }
}

/// Appends until refused. Answers how many entries were taken.
fn fill(wal: &phalanx_storage::wal::Wal, first: u64, answers: &Answers) -> u64 {
    let mut index = first;
    loop {
        match wal.append(1, entries(1, index..=index, 1, 5000), answers.done(index)) {
            Ok(()) => index += 1,
            Err(Error::DiskFull { .. }) => return index - first,
            Err(error) => panic!("{error}"),
        }
        match wal.commit_pending() {
            Ok(_) | Err(Error::DiskFull { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(index < 10_000, "never full");
    }
}

#[test]
fn a_full_disk_refuses_entries_keeps_votes_and_purges_and_resumes() {
    // At least four segments: one that is full, one to go on in, two in reserve.
    for space in [200_000, 300_000, 500_000] {
        let disk = SimDisk::new(1);
        let wal = open(&disk);
        disk.set_space(Some(space));
        let answers = Answers::default();
        let taken = fill(&wal, 1, &answers);
        assert!(wal.is_full());
        // What was taken and found no room waits; nothing of it is lost.
        let last = wal.state(1).last.unwrap().1;
        assert_eq!(last, taken);
        wal.save_vote(2, "still possible".into(), answers.done(100_000));
        wal.purge(1, (1, last.saturating_sub(4)), answers.done(100_001));
        let calm = (0..1000).any(|_| matches!(wal.commit_pending(), Ok(false)));
        assert!(calm, "space {space}: still waiting for room");
        let labels = answers.labels();
        assert!(labels.contains(&100_000) && labels.contains(&100_001), "space {space}: {labels:?}");
        assert!((1..=last).all(|index| labels.contains(&index)), "space {space}: purging made room");
        wal.append(1, entries(1, last + 1..=last + 1, 1, 5000), answers.done(last + 1)).unwrap();
        commit_all(&wal);
        drop(wal);
        let wal = open(&disk);
        assert_eq!(wal.state(2).vote.as_deref(), Some(&b"still possible"[..]));
        let wanted: Vec<_> = (last.saturating_sub(4) + 1..=last + 1).map(|i| entry(1, i, 1, 5000)).collect();
        assert_eq!(read_all(&wal, 1), wanted, "space {space}");
    }
}

#[test]
fn a_vote_is_never_reported_ahead_of_entries_of_its_own_group() {
    // Whoever hears that the vote is durable takes everything of the group that was written before it for durable as well.
    let disk = SimDisk::new(1);
    let wal = open(&disk);
    disk.set_space(Some(300_000));
    let answers = Answers::default();
    // Each entry takes a whole block: far more than is reckoned with, so that entries are taken which then find no room.
    let mut last = 0;
    while wal.commit_pending().is_ok() {
        last += 1;
        wal.append(1, entries(1, last..=last, 1, 10), answers.done(last)).unwrap();
        assert!(last < 10_000, "never full");
    }
    assert!(!answers.labels().contains(&last), "it waits for room");
    wal.save_vote(1, "of the waiting entry's group".into(), answers.done(100_001));
    wal.save_vote(2, "of another".into(), answers.done(100_002));
    assert!(matches!(wal.commit_pending(), Err(Error::DiskFull { .. })));
    let labels = answers.labels();
    assert!(labels.contains(&100_002), "another group's vote gets through");
    assert!(!labels.contains(&last) && !labels.contains(&100_001), "{labels:?}");
    // A purge makes room, if there was none yet.
    wal.purge(1, (1, last - 4), answers.done(100_003));
    assert!((0..1000).any(|_| matches!(wal.commit_pending(), Ok(false))), "still waiting for room");
    let labels = answers.labels();
    let at = |label: u64| labels.iter().position(|found| *found == label).expect("answered");
    assert!(at(last) < at(100_001), "{labels:?}");
}

#[test]
fn a_full_disk_that_gets_space_takes_what_waited() {
    let disk = SimDisk::new(1);
    let wal = open(&disk);
    disk.set_space(Some(0));
    let answers = Answers::default();
    let taken = fill(&wal, 1, &answers);
    assert!(wal.is_full());
    assert!(!wal.prepare_step().unwrap(), "nothing to do without space");
    assert!(wal.is_full());
    disk.set_space(Some(1 << 20));
    while wal.prepare_step().unwrap() {}
    commit_all(&wal);
    assert!(!wal.is_full());
    wal.append(1, entries(1, taken + 1..=taken + 1, 1, 5000), answers.done(0)).unwrap();
    commit_all(&wal);
    assert_eq!(answers.labels().len() as u64, taken + 1);
    assert_eq!(read_all(&wal, 1).len() as u64, taken + 1);
}

#[test]
fn restarts_work_on_a_full_disk() {
    for seed in 0..cases(20) {
        let disk = SimDisk::new(seed);
        let wal = open(&disk);
        while wal.prepare_step().unwrap() {}
        disk.set_space(Some(0));
        let answers = Answers::default();
        let taken = fill(&wal, 1, &answers);
        while matches!(wal.commit_pending(), Ok(true)) {}
        let durable = answers.labels().len() as u64;
        drop(wal);
        for round in 0..30 {
            disk.power_cut();
            let wal = try_open(&disk).unwrap_or_else(|e| panic!("seed {seed}, restart {round}: {e}"));
            let last = wal.state(1).last.unwrap().1;
            assert!((durable..=taken).contains(&last), "seed {seed}, restart {round}: {last}");
            // An election leaves a vote; a commit or two more.
            wal.save_vote(1, format!("vote {round}").into(), must());
            let _ = wal.commit_pending();
            wal.note_checkpoint(1, round, must());
            let _ = wal.commit_pending();
        }
        let wal = open(&disk);
        let last = wal.state(1).last.unwrap();
        wal.purge(1, last, must());
        while matches!(wal.commit_pending(), Ok(true)) {}
        wal.append(1, entries(1, last.1 + 1..=last.1 + 1, 2, 5000), must()).unwrap();
        commit_all(&wal);
    }
}

#[test]
fn random_work_on_a_disk_that_fills_and_empties_equals_the_model() {
    for seed in 0..cases(60) {
        let disk = SimDisk::new(seed);
        let mut driver = Driver::new(seed, 3, 4000);
        driver.model.overtaking = true;
        for life in 0..4 {
            let wal = open(&disk);
            for step in 0..200 {
                if driver.random(20) == 0 {
                    disk.set_space(Some(driver.random(200_000)));
                }
                match driver.step(&wal) {
                    Ok(()) | Err(Error::DiskFull { .. }) => {}
                    Err(error) => panic!("seed {seed}, life {life}, step {step}: {error}"),
                }
                driver.model.check_equal(&wal, &format!("seed {seed}, life {life}, step {step}"));
            }
            disk.set_space(None);
            while wal.prepare_step().unwrap() {}
            commit_all(&wal);
            driver.model.check_equal(&wal, &format!("seed {seed}, life {life}"));
            drop(wal);
            disk.power_cut();
            let wal = open(&disk);
            driver.model.check_equal(&wal, &format!("seed {seed}, life {life}, reopened"));
        }
    }
}
