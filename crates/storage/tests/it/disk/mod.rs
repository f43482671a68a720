//! The disks: both keep the contract that the log relies on.

use phalanx_storage::Error;
use phalanx_storage::disk::{Disk, RealDisk, SIM_BLOCK_BYTES, SimDisk};
use std::path::{Path, PathBuf};

fn on_both(check: impl Fn(&dyn Disk, &Path)) {
    let place = tempfile::tempdir().unwrap();
    check(&RealDisk, &place.path().join("a/b"));
    check(&SimDisk::new(1), Path::new("/a/b"));
}

#[test]
fn files_are_written_read_cut_renamed_and_removed() {
    on_both(|disk, dir| {
        disk.create_dir_all(dir).unwrap();
        disk.create_dir_all(dir).unwrap();
        let path = dir.join("one");
        let file = disk.create(&path).unwrap();
        file.write_at(5, b"hello").unwrap();
        assert_eq!(file.len().unwrap(), 10);
        file.sync_data().unwrap();
        disk.sync_dir(dir).unwrap();
        let mut buffer = [9; 20];
        assert_eq!(disk.open(&path).unwrap().read_at(3, &mut buffer).unwrap(), 7);
        assert_eq!(&buffer[..8], b"\0\0hello\x09");
        file.set_len(7).unwrap();
        assert_eq!(file.read_at(0, &mut buffer).unwrap(), 7);
        assert_eq!(file.read_at(100, &mut buffer).unwrap(), 0);
        disk.create(&dir.join("two")).unwrap();
        disk.rename(&path, &dir.join("two")).unwrap();
        assert_eq!(disk.list(dir).unwrap(), ["two"]);
        assert_eq!(file.len().unwrap(), 7, "an open file keeps its contents under its new name");
        assert!(disk.create(&dir.join("two")).unwrap().is_empty().unwrap());
        disk.remove(&dir.join("two")).unwrap();
        assert!(matches!(disk.open(&path), Err(Error::Io { .. })));
        assert!(matches!(disk.rename(&path, &dir.join("x")), Err(Error::Io { .. })));
        assert!(matches!(disk.remove(&path), Err(Error::Io { .. })));
    });
}

#[test]
fn a_lock_is_exclusive_until_it_is_dropped() {
    on_both(|disk, dir| {
        disk.create_dir_all(dir).unwrap();
        let path = dir.join("lock");
        let held = disk.lock(&path).unwrap();
        assert!(matches!(disk.lock(&path), Err(Error::Locked { .. })));
        drop(held);
        drop(disk.lock(&path).unwrap());
    });
}

fn path() -> PathBuf {
    PathBuf::from("/d/file")
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_any_subset_of_the_rest() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let file = disk.create(&path()).unwrap();
        file.write_at(0, &[1; 4 * SIM_BLOCK_BYTES]).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_at(SIM_BLOCK_BYTES as u64, &[2; 3 * SIM_BLOCK_BYTES]).unwrap();
        disk.power_cut();
        assert!(file.read_at(0, &mut [0]).is_err(), "handles of before are dead");
        let bytes = disk.contents(&path()).unwrap();
        assert_eq!(bytes.len(), 4 * SIM_BLOCK_BYTES);
        assert!(bytes[..SIM_BLOCK_BYTES].iter().all(|byte| *byte == 1));
        let blocks: Vec<u8> = bytes.chunks(SIM_BLOCK_BYTES).map(|block| block[0]).collect();
        assert!(bytes.chunks(SIM_BLOCK_BYTES).all(|block| block.iter().all(|byte| *byte == block[0])));
        seen.insert(blocks);
    }
    assert_eq!(seen.len(), 8, "every subset of the three blocks came up: {seen:?}");
}

#[test]
fn names_are_kept_or_lost_until_the_directory_is_synced() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let file = disk.create(&path()).unwrap();
        file.write_at(0, b"x").unwrap();
        file.sync_data().unwrap();
        disk.power_cut();
        *(if disk.contents(&path()).is_some() { &mut kept } else { &mut lost }) += 1;
        let disk = SimDisk::new(seed);
        disk.create(&path()).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.power_cut();
        assert!(disk.contents(&path()).is_some());
    }
    assert!(kept > 20 && lost > 20, "kept {kept}, lost {lost}");
}

#[test]
fn a_failed_sync_shows_bytes_that_a_power_cut_takes() {
    let disk = SimDisk::new(1);
    let file = disk.create(&path()).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_at(0, &[1; 100]).unwrap();
    file.sync_data().unwrap();
    file.write_at(0, &[2; 100]).unwrap();
    disk.fail_sync_at(0);
    assert!(file.sync_data().unwrap_err().is_fatal());
    file.sync_data().expect("the second sync has nothing to do and says so");
    assert_eq!(disk.contents(&path()).unwrap(), [2; 100]);
    disk.power_cut();
    assert_eq!(disk.contents(&path()).unwrap(), [1; 100]);
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let disk = SimDisk::new(1);
    let file = disk.create(&path()).unwrap();
    disk.set_space(Some(100));
    file.write_at(0, &[1; 80]).unwrap();
    assert!(matches!(file.write_at(80, &[1; 30]), Err(Error::DiskFull { .. })));
    file.write_at(0, &[2; 80]).unwrap();
    file.write_at(80, &[1; 20]).unwrap();
    assert!(matches!(file.set_len(101), Err(Error::DiskFull { .. })));
}

#[test]
fn equal_seeds_give_equal_faults() {
    let run = |seed| {
        let disk = SimDisk::new(seed);
        let file = disk.create(&path()).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_at(0, &vec![7; 50 * SIM_BLOCK_BYTES]).unwrap();
        disk.cut_power_at(1);
        file.write_at(0, &[8; 10]).unwrap();
        assert!(file.write_at(600, &vec![9; 5000]).is_err());
        assert!(disk.is_without_power());
        assert!(file.sync_data().is_err());
        disk.power_cut();
        (disk.operations(), disk.contents(&path()))
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
