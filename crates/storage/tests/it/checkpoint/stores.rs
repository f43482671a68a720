//! A store that has grown is rewritten while it is used; one that cannot be read is set aside.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use phalanx_storage::Error;
use phalanx_storage::checkpoint::{
    Engine, ReplicaCheckpoint, SledOptions, maintain, open_or_set_aside, open_redb, open_sled, open_sled_with,
};

use super::{all, delete, fields, put};

fn open(dir: &Path) -> Arc<dyn Engine> {
    open_sled_with(dir, SledOptions { rewrite_bytes_min: 1, ..SledOptions::default() }).unwrap()
}

fn stores(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn page(number: u16) -> (Bytes, Option<Bytes>) {
    put(number.to_be_bytes(), vec![number as u8; 30_000])
}

#[test]
fn a_grown_store_is_rewritten_in_steps_while_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sled");
    let expected = {
        let engine = open(&path);
        let checkpoint = ReplicaCheckpoint::open(Arc::clone(&engine), 1, 0).unwrap();
        checkpoint.commit(fields(1), (0..600).map(page).collect(), vec![]).unwrap();
        checkpoint
            .commit(fields(2), (300..600_u16).map(|n| delete(n.to_be_bytes())).collect(), vec![])
            .unwrap();
        let (mut index, mut steps) = (2, 0);
        // Nothing counts as live, so that the store takes many times what it needs.
        while engine.rewrite_step(0).unwrap() {
            steps += 1;
            index += 1;
            assert!(steps < 100, "it must come to an end");
            // Changes before and behind what was copied.
            let changes = vec![put([0, 1], [steps]), delete([1, 4]), put([9, steps], [steps]), page(10)];
            checkpoint.commit(fields(index), changes, vec![]).unwrap();
            assert_eq!(checkpoint.get(&[0, 1]).unwrap().as_deref(), Some(&[steps][..]));
        }
        assert!(steps >= 3, "{steps} steps");
        assert_eq!(stores(&path), ["store-00000002"]);
        checkpoint.commit(fields(99), vec![put("last", "one")], vec![]).unwrap();
        all(&checkpoint)
    };
    let checkpoint = ReplicaCheckpoint::open(open(&path), 1, 3).unwrap();
    assert_eq!(checkpoint.manifest().unwrap().fields, fields(99));
    assert_eq!(all(&checkpoint), expected);
    assert_eq!(stores(&path), ["store-00000002"]);
}

#[test]
fn a_store_within_its_bounds_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open_sled(dir.path()).unwrap();
    let checkpoint = ReplicaCheckpoint::open(Arc::clone(&engine), 1, 0).unwrap();
    checkpoint.commit(fields(1), (0..100).map(page).collect(), vec![]).unwrap();
    assert!(!maintain(&*engine, 100).unwrap());
    assert_eq!(stores(dir.path()), ["store-00000001"]);
}

#[test]
fn space_is_measured_against_what_the_manifests_count() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let checkpoint = ReplicaCheckpoint::open(Arc::clone(&engine), 1, 0).unwrap();
    let manifest = checkpoint.commit(fields(1), (0..100).map(page).collect(), vec![]).unwrap();
    assert!((3_000_000..3_100_000).contains(&manifest.row_bytes), "{}", manifest.row_bytes);
    let manifest = checkpoint
        .commit(fields(2), (1..100_u16).map(|n| delete(n.to_be_bytes())).collect(), vec![])
        .unwrap();
    assert!((30_000..31_000).contains(&manifest.row_bytes), "{}", manifest.row_bytes);
    assert!(engine.disk_bytes() > 9 * manifest.row_bytes);
    while maintain(&*engine, 100).unwrap() {}
    assert_eq!(stores(dir.path()), ["store-00000002"]);
    // A second one would gain nothing.
    assert!(!maintain(&*engine, 100).unwrap());
    assert_eq!(stores(dir.path()), ["store-00000002"]);
}

#[test]
fn an_interrupted_rewrite_leaves_the_store_that_was_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let expected: BTreeMap<_, _> = {
        let engine = open(dir.path());
        let checkpoint = ReplicaCheckpoint::open(Arc::clone(&engine), 1, 0).unwrap();
        checkpoint.commit(fields(1), (0..400).map(page).collect(), vec![]).unwrap();
        assert!(engine.rewrite_step(0).unwrap() && engine.rewrite_step(0).unwrap());
        checkpoint.commit(fields(2), vec![put([0, 0], "changed")], vec![]).unwrap();
        assert_eq!(stores(dir.path()), ["store-00000001", "store-00000002"]);
        all(&checkpoint)
    };
    let checkpoint = ReplicaCheckpoint::open(open(dir.path()), 1, 2).unwrap();
    assert_eq!(all(&checkpoint), expected);
    assert_eq!(stores(dir.path()), ["store-00000001"]);
}

#[test]
fn a_store_whose_mark_is_lost_or_cannot_be_looked_at_is_never_deleted() {
    let dir = tempfile::tempdir().unwrap();
    {
        let checkpoint = ReplicaCheckpoint::open(open_redb(dir.path()).unwrap(), 1, 0).unwrap();
        checkpoint.commit(fields(1), vec![put("key", "value")], vec![]).unwrap();
    }
    let mark = dir.path().join("store-00000001/complete");
    std::fs::remove_file(&mark).unwrap();
    // The file system answers neither yes nor no.
    std::os::unix::fs::symlink("complete", &mark).unwrap();
    assert!(open_redb(dir.path()).is_err());
    assert_eq!(stores(dir.path()), ["store-00000001"]);
    // It is gone: the store may be half of one, so it is not used, and it may be all there is, so it stays.
    std::fs::remove_file(&mark).unwrap();
    let engine = open_redb(dir.path()).unwrap();
    assert!(ReplicaCheckpoint::open(Arc::clone(&engine), 1, 1).is_err(), "the log remembers a checkpoint");
    drop(engine);
    assert_eq!(stores(dir.path()), ["store-00000001", "store-00000001.damaged-1"]);
    let kept = dir.path().join("store-00000001.damaged-1");
    std::fs::File::create(kept.join("complete")).unwrap();
    std::fs::remove_dir_all(dir.path().join("store-00000001")).unwrap();
    std::fs::rename(kept, dir.path().join("store-00000001")).unwrap();
    let checkpoint = ReplicaCheckpoint::open(open_redb(dir.path()).unwrap(), 1, 1).unwrap();
    assert_eq!(checkpoint.get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
}

#[test]
fn j8_a_store_that_cannot_be_read_is_set_aside_whole() {
    let dir = tempfile::tempdir().unwrap();
    for (name, file, open) in [
        ("sled", "store-00000001/db", &open_sled as &dyn Fn(&Path) -> Result<Arc<dyn Engine>, Error>),
        ("redb", "store-00000001/rows.redb", &open_redb),
    ] {
        let path = dir.path().join(name);
        {
            let (engine, aside) = open_or_set_aside(&path, open).unwrap();
            assert!(aside.is_none());
            let checkpoint = ReplicaCheckpoint::open(engine, 1, 0).unwrap();
            for part in 0..4 {
                checkpoint
                    .commit(fields(1), (part * 100..part * 100 + 100).map(page).collect(), vec![])
                    .unwrap();
            }
        }
        let mut bytes = std::fs::read(path.join(file)).unwrap();
        let half = bytes.len() / 2;
        bytes[..half].iter_mut().step_by(100).for_each(|byte| *byte ^= 0x5A);
        std::fs::write(path.join(file), &bytes).unwrap();
        let (engine, aside) = open_or_set_aside(&path, open).unwrap();
        let aside = aside.unwrap_or_else(|| panic!("{name} was damaged"));
        assert_eq!(aside.path, dir.path().join(format!("{name}.damaged-1")));
        // Byte by byte it is what the engine's own recovery has made of it: both write to a file before they give it up.
        assert!(std::fs::metadata(aside.path.join(file)).unwrap().len() > 0);
        // The log remembers that there was a checkpoint, so the empty store is no new one.
        let lost = ReplicaCheckpoint::open(Arc::clone(&engine), 1, 1);
        assert!(matches!(lost, Err(Error::Corrupt { .. })));
        let refill = ReplicaCheckpoint::open_rejected(engine, 1, 1).unwrap().begin_install().unwrap();
        assert_eq!(refill.finish(fields(7), 0).unwrap().batch, 2);
    }
}
