//! Power cuts and kills, at every write boundary and in rows: J3, J5, J9, J16.

use super::driver::{Driver, cases};
use super::rig::*;
use phalanx_storage::disk::SimDisk;
use phalanx_storage::wal::LogEntry;
use std::sync::Arc;

const STEPS: u64 = 160;

/// Runs a script until the disk says stop. Answers the operations used.
fn run(disk: &SimDisk, driver: &mut Driver, steps: u64) {
    let wal = match try_open(disk) {
        Ok(wal) => wal,
        Err(error) => {
            assert!(disk.is_without_power() || error.is_fatal(), "{error}");
            return;
        }
    };
    for _ in 0..steps {
        if let Err(error) = driver.step(&wal) {
            assert!(disk.is_without_power() || error.is_fatal(), "{error}");
            assert!(!error.is_fatal() || wal.commit_pending().is_err(), "a dead log stays dead");
            return;
        }
    }
}

#[test]
fn j16_power_cut_at_every_write_boundary_loses_nothing_acknowledged() {
    for seed in 0..cases(3) {
        let whole = SimDisk::new(seed);
        run(&whole, &mut Driver::new(seed, 3, 3000), STEPS);
        let operations = whole.operations();
        assert!(operations > 100, "{operations}");
        for cut in 0..operations {
            let context = format!("seed {seed}, power cut at operation {cut}");
            let disk = SimDisk::new(seed * 1_000_003 + cut);
            let mut driver = Driver::new(seed, 3, 3000);
            disk.cut_power_at(cut);
            run(&disk, &mut driver, STEPS);
            assert!(disk.is_without_power(), "{context}: not reached");
            disk.power_cut();
            let wal = try_open(&disk).unwrap_or_else(|e| panic!("{context}: {e}"));
            driver.model.check_recovered(&wal, &context);
        }
    }
}

#[test]
fn j3_crashes_in_a_row_lose_nothing_and_bring_nothing_back() {
    for seed in 0..cases(250) {
        let disk = SimDisk::new(seed);
        let mut driver = Driver::new(seed ^ 0x5EED, 1 + seed % 4, 200 + (seed as usize * 97) % 6000);
        for life in 0..12 {
            let context = format!("seed {seed}, life {life}");
            let cut = match driver.random(4) {
                // Crash inside recovery, soon after it, or anywhere.
                0 => driver.random(8),
                1 => driver.random(25),
                _ => driver.random(400),
            };
            disk.cut_power_at(cut);
            if driver.random(5) == 0 {
                disk.fail_sync_at(driver.random(40));
            }
            let steps = driver.random(150);
            run(&disk, &mut driver, steps);
            let killed = driver.random(3) == 0 && !disk.is_without_power();
            if killed {
                disk.kill();
            } else {
                disk.power_cut();
            }
            disk.heal();
            // Look at a copy now and then, so that this look's own recovery is not always part of the story. Not after
            // a kill: what the cache shows becomes durable only by the recovery that reports it.
            let look = if !killed && driver.random(2) == 0 { disk.fork(seed) } else { disk.clone() };
            let wal = try_open(&look).unwrap_or_else(|e| panic!("{context}: {e}"));
            driver.model.check_recovered(&wal, &context);
            drop(wal);
            if driver.random(2) == 0 {
                look.power_cut();
                let wal = try_open(&look).unwrap_or_else(|e| panic!("{context}, looked twice: {e}"));
                driver.model.check_recovered(&wal, &format!("{context}, looked twice"));
                drop(wal);
            }
            // What was looked at in a copy did not happen: the prefix found there is found again.
        }
    }
}

/// Opens, with the power failing at each operation in turn, and then for good: nothing acknowledged is missing.
fn cut_everywhere_in_an_open(disk: &SimDisk, acknowledged: &[LogEntry], context: &str) {
    for cut in 0.. {
        for seed in 0..cases(8) {
            let fork = disk.fork(cut * 1000 + seed);
            fork.cut_power_at(cut);
            drop(try_open(&fork));
            let reached = fork.is_without_power();
            fork.power_cut();
            let wal = open(&fork);
            assert!(wal.quarantined().is_empty(), "{context}, cut {cut}: {:?}", wal.quarantined());
            let found = read_all(&wal, 1);
            assert!(
                found.starts_with(acknowledged),
                "{context}, cut {cut}, seed {seed}: {} entries",
                found.len()
            );
            if !reached {
                return;
            }
        }
    }
}

#[test]
fn j16_a_recovery_whose_sync_failed_frees_nothing() {
    // The head of that recovery is seen by the next one although it never reached the disk.
    for syncs in 0..3 {
        let disk = SimDisk::new(syncs);
        let wal = open(&disk);
        while wal.prepare_step().unwrap() {}
        wal.append(1, entries(1, 1..=5, 1, 500), must()).unwrap();
        commit_all(&wal);
        drop(wal);
        for failures in 1..5 {
            disk.fail_sync_at(syncs);
            let opened = try_open(&disk);
            assert_eq!(opened.is_err(), syncs < 2, "a head and a mark are synced");
            drop(opened);
            disk.heal();
            disk.kill();
            cut_everywhere_in_an_open(
                &disk,
                &entries(1, 1..=5, 1, 500),
                &format!("{failures} failures of sync {syncs}"),
            );
        }
    }
}

#[test]
fn j16_a_rotation_whose_sync_failed_frees_nothing() {
    let mut tested = 0;
    for syncs in 0..60 {
        let disk = SimDisk::new(syncs);
        let wal = open(&disk);
        while wal.prepare_step().unwrap() {}
        disk.fail_sync_at(syncs);
        let answers = Answers::default();
        for index in 1..=40 {
            let _ = wal.append(1, entries(1, index..=index, 1, 9000), answers.done(index));
            if index > 6 {
                wal.purge(1, (1, index - 6), answers.done(index));
            }
            let _ = wal.commit_pending();
        }
        let acknowledged = answers.take().into_iter().filter(|(_, result)| result.is_ok());
        let last = acknowledged.map(|(index, _)| index).max().unwrap_or(0);
        if wal.failure().is_none() {
            break;
        }
        tested += 1;
        drop(wal);
        disk.kill();
        for cut in 0..8 {
            let fork = disk.fork(cut * 77 + syncs);
            fork.cut_power_at(cut);
            drop(try_open(&fork));
            fork.power_cut();
            let wal = open(&fork);
            assert!(wal.quarantined().is_empty(), "sync {syncs}, cut {cut}: {:?}", wal.quarantined());
            let found = wal.state(1).last.map_or(0, |(_, index)| index);
            assert!(found >= last, "sync {syncs}, cut {cut}: {found} < {last}");
            let _ = read_all(&wal, 1);
        }
    }
    assert!(tested > 30, "{tested}");
}

#[test]
fn random_work_with_restarts_equals_the_model() {
    for seed in 0..cases(60) {
        let disk = SimDisk::new(seed);
        let mut driver = Driver::new(seed, 1 + seed % 5, 100 + (seed as usize * 131) % 5000);
        for life in 0..6 {
            let wal = open(&disk);
            driver.model.check_recovered(&wal, &format!("seed {seed}, life {life}"));
            for step in 0..200 {
                driver.step(&wal).unwrap();
                if step % 20 == 0 {
                    driver.model.check_equal(&wal, &format!("seed {seed}, life {life}, step {step}"));
                }
            }
            driver.settle(&wal).unwrap();
            driver.model.check_equal(&wal, &format!("seed {seed}, life {life}"));
        }
    }
}

#[test]
fn a_synced_block_is_never_written_again_while_it_is_needed() {
    // A copy of the disk taken at any sync must recover everything acknowledged then, whatever is written later.
    let disk = SimDisk::new(9);
    let mut driver = Driver::new(9, 3, 3000);
    let wal = open(&disk);
    for step in 0..400 {
        driver.step(&wal).unwrap();
        if step % 40 == 0 {
            let copy = disk.fork(step);
            copy.power_cut();
            let recovered = Arc::new(try_open(&copy).unwrap());
            assert!(recovered.quarantined().is_empty());
        }
    }
}
