//! Power cuts and kills, at every write boundary and in rows: J3, J5, J9, J16.

use super::driver::{Driver, cases};
use super::rig::*;
use phalanx_storage::disk::SimDisk;
use std::sync::Arc;

const STEPS: u64 = 160;

/// Runs a script until the disk says stop. Answers the operations used.
fn run(disk: &SimDisk, driver: &mut Driver, steps: u64) {
    let Ok(wal) = try_open(disk) else {
        assert!(disk.is_without_power(), "only a power cut may keep the log from opening");
        return;
    };
    for _ in 0..steps {
        if let Err(error) = driver.step(&wal) {
            assert!(disk.is_without_power(), "{error}");
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
    for seed in 0..cases(400) {
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
            let steps = driver.random(150);
            run(&disk, &mut driver, steps);
            if driver.random(3) == 0 && !disk.is_without_power() {
                disk.kill();
            } else {
                disk.power_cut();
            }
            // Look with a copy now and then, so that this look's own recovery is not always part of the story.
            let look = if driver.random(2) == 0 { disk.fork(seed) } else { disk.clone() };
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
