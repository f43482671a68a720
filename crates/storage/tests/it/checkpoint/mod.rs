//! One suite for every engine: what a replica's checkpoint promises.

mod engine;
mod garbage;
mod golden;
mod stores;
mod stream;
mod threads;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use phalanx_storage::Error;
use phalanx_storage::checkpoint::{
    Engine, ManifestFields, MemoryEngine, ReplicaCheckpoint, open_redb, open_sled,
};

/// Runs a test on each engine. The argument opens the same store again, as a restarted process does.
fn on_each_engine(test: impl Fn(&dyn Fn() -> Arc<dyn Engine>)) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (sled, redb) = (at("sled"), at("redb"));
    test(&|| open_sled(&sled).unwrap());
    test(&|| open_redb(&redb).unwrap());
    let memory: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    test(&|| Arc::clone(&memory));
}

fn fields(index: u64) -> ManifestFields {
    let membership = Bytes::from_static(b"one two three");
    ManifestFields { term: 1, index, membership, machine_time_ms: index * 10, digest: index * 100 }
}

fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> (Bytes, Option<Bytes>) {
    (Bytes::copy_from_slice(key.as_ref()), Some(Bytes::copy_from_slice(value.as_ref())))
}

fn delete(key: impl AsRef<[u8]>) -> (Bytes, Option<Bytes>) {
    (Bytes::copy_from_slice(key.as_ref()), None)
}

fn all(checkpoint: &ReplicaCheckpoint) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (mut rows, mut after) = (BTreeMap::new(), None::<Bytes>);
    loop {
        // A small step, so that several are needed.
        let step = checkpoint.rows(after.as_deref(), 700).unwrap();
        let Some((last, _)) = step.last() else { return rows };
        after = Some(last.clone());
        for (key, value) in step {
            assert!(rows.insert(key.to_vec(), value.to_vec()).is_none(), "a row came twice");
        }
    }
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    pairs.map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).into()
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    on_each_engine(|open| {
        {
            let checkpoint = ReplicaCheckpoint::open(open(), 7, 0).unwrap();
            assert_eq!(checkpoint.manifest(), None);
            checkpoint
                .commit(fields(1), vec![put("a", "1"), put("b", "2"), put("", "empty key")], vec![])
                .unwrap();
            checkpoint
                .commit(fields(2), vec![put("a", "3"), delete("b"), delete("never"), put("c", "")], vec![])
                .unwrap();
        }
        let checkpoint = ReplicaCheckpoint::open(open(), 7, 2).unwrap();
        let manifest = checkpoint.manifest().unwrap();
        assert_eq!((manifest.fields, manifest.batch, manifest.row_count), (fields(2), 2, 3));
        assert_eq!(all(&checkpoint), map([("", "empty key"), ("a", "3"), ("c", "")]));
        assert_eq!(checkpoint.get(b"a").unwrap().as_deref(), Some(&b"3"[..]));
        assert_eq!(checkpoint.get(b"b").unwrap(), None);
    });
}

#[test]
fn replicas_of_one_store_do_not_see_each_other() {
    on_each_engine(|open| {
        let engine = open();
        let one = ReplicaCheckpoint::open(Arc::clone(&engine), 1, 0).unwrap();
        let two = ReplicaCheckpoint::open(Arc::clone(&engine), 2, 0).unwrap();
        one.commit(fields(1), vec![put("k", "one")], vec![]).unwrap();
        two.commit(fields(5), vec![put("k", "two"), put("l", "two")], vec![]).unwrap();
        one.destroy().unwrap();
        while one.collect_garbage(1).unwrap() > 0 {}
        assert_eq!(all(&two), map([("k", "two"), ("l", "two")]));
        assert_eq!(ReplicaCheckpoint::open(engine, 1, 0).unwrap().manifest(), None);
    });
}

#[test]
fn long_rows_come_back_whole_and_shrink() {
    on_each_engine(|open| {
        let long: Vec<u8> = (0..3_000_000_u32).map(|place| (place % 251) as u8).collect();
        {
            let checkpoint = ReplicaCheckpoint::open(open(), 3, 0).unwrap();
            checkpoint.commit(fields(1), vec![put("k", &long), put("l", "short")], vec![]).unwrap();
        }
        let checkpoint = ReplicaCheckpoint::open(open(), 3, 1).unwrap();
        assert_eq!(checkpoint.manifest().unwrap().row_count, 2);
        assert_eq!(all(&checkpoint)[&b"k"[..]], long);
        assert_eq!(checkpoint.get(b"k").unwrap().unwrap(), long);
        checkpoint.commit(fields(2), vec![put("k", &long[..10])], vec![]).unwrap();
        assert_eq!(all(&checkpoint)[&b"k"[..]], long[..10]);
        checkpoint.commit(fields(3), vec![delete("k")], vec![]).unwrap();
        assert_eq!(all(&checkpoint), map([("l", "short")]));
    });
}

#[test]
fn an_older_checkpoint_than_the_log_remembers_is_refused() {
    on_each_engine(|open| {
        let engine = open();
        let checkpoint = ReplicaCheckpoint::open(Arc::clone(&engine), 4, 0).unwrap();
        checkpoint.commit(fields(1), vec![put("a", "1")], vec![]).unwrap();
        assert!(matches!(ReplicaCheckpoint::open(Arc::clone(&engine), 4, 2), Err(Error::Corrupt { .. })));
        // Nor may a store that lost everything pass for a new one.
        assert!(matches!(ReplicaCheckpoint::open(engine, 5, 1), Err(Error::Corrupt { .. })));
    });
}

#[test]
fn a_received_checkpoint_replaces_the_old_one_at_once_or_not_at_all() {
    on_each_engine(|open| {
        {
            let checkpoint = ReplicaCheckpoint::open(open(), 6, 0).unwrap();
            checkpoint.commit(fields(1), vec![put("old", "1"), put("both", "1")], vec![]).unwrap();
            let mut given_up = checkpoint.begin_install().unwrap();
            given_up.put(vec![("half".into(), "1".into())]).unwrap();
            let mut short = checkpoint.begin_install().unwrap();
            short.put(vec![("both".into(), "9".into())]).unwrap();
            assert!(matches!(short.finish(fields(9), 2), Err(Error::Corrupt { .. })));
            assert_eq!(all(&checkpoint), map([("both", "1"), ("old", "1")]));
            // Neither is collected before the process ends.
            drop(given_up);
        }
        let checkpoint = ReplicaCheckpoint::open(open(), 6, 1).unwrap();
        assert_eq!(all(&checkpoint), map([("both", "1"), ("old", "1")]));
        let mut install = checkpoint.begin_install().unwrap();
        install.put(vec![("both".into(), "2".into())]).unwrap();
        install.put(vec![("new".into(), "2".into())]).unwrap();
        assert_eq!(install.rows(None, 1 << 20).unwrap().len(), 2);
        let manifest = install.finish(fields(9), 2).unwrap();
        assert_eq!((manifest.batch, manifest.row_count), (2, 2));
        assert_eq!(all(&checkpoint), map([("both", "2"), ("new", "2")]));
        let mut deleted = 0;
        while let rows @ 1.. = checkpoint.collect_garbage(1).unwrap() {
            deleted += rows;
        }
        assert_eq!(deleted, 4, "two old rows, and one of each install that was given up");
        drop(checkpoint);
        let checkpoint = ReplicaCheckpoint::open(open(), 6, 2).unwrap();
        assert_eq!(all(&checkpoint), map([("both", "2"), ("new", "2")]));
        checkpoint.commit(fields(10), vec![put("new", "3")], vec![]).unwrap();
        assert_eq!(all(&checkpoint), map([("both", "2"), ("new", "3")]));
    });
}

#[test]
fn a_rejected_checkpoint_is_replaced_by_a_received_one() {
    on_each_engine(|open| {
        let engine = open();
        let checkpoint = ReplicaCheckpoint::open(Arc::clone(&engine), 9, 0).unwrap();
        for index in 1..=3 {
            checkpoint.commit(fields(index), vec![put("a", "bad"), put("b", "bad")], vec![]).unwrap();
        }
        let rejected = ReplicaCheckpoint::open_rejected(Arc::clone(&engine), 9, 3).unwrap();
        let mut install = rejected.begin_install().unwrap();
        install.put(vec![("a".into(), "good".into())]).unwrap();
        let manifest = install.finish(fields(7), 1).unwrap();
        assert!(manifest.batch > 3);
        let again = ReplicaCheckpoint::open(engine, 9, manifest.batch).unwrap();
        assert_eq!(all(&again), map([("a", "good")]));
    });
}

#[test]
fn j7_a_flip_in_any_stored_row_rejects_the_checkpoint() {
    let engine = Arc::new(MemoryEngine::new());
    let open = || ReplicaCheckpoint::open(Arc::clone(&engine) as Arc<dyn Engine>, 1, 1);
    open_at(&engine).commit(fields(1), vec![put("a", "1"), put("b", [7; 600_000])], vec![]).unwrap();
    assert!(open().is_ok());
    // The manifest, row `a`, and the 17 pieces of row `b`.
    for row in 0..19 {
        for bit in [0, 9, 40, 55, 60] {
            assert!(engine.flip(row, bit));
            assert!(matches!(open(), Err(Error::Corrupt { .. })), "row {row} bit {bit}");
            assert!(engine.flip(row, bit));
        }
    }
    assert!(open().is_ok());
}

fn open_at(engine: &Arc<MemoryEngine>) -> ReplicaCheckpoint {
    ReplicaCheckpoint::open(Arc::clone(engine) as Arc<dyn Engine>, 1, 0).unwrap()
}

#[test]
fn a_power_cut_takes_back_only_what_was_not_committed() {
    let engine = Arc::new(MemoryEngine::new());
    let checkpoint = open_at(&engine);
    checkpoint.commit(fields(1), vec![put("a", "1")], vec![]).unwrap();
    let mut install = checkpoint.begin_install().unwrap();
    install.put(vec![("b".into(), "2".into())]).unwrap();
    engine.power_cut();
    assert_eq!(all(&open_at(&engine)), map([("a", "1")]));
}

#[test]
fn a_row_that_fell_back_to_an_older_state_of_its_own_is_noticed() {
    on_each_engine(|open| {
        let engine = open();
        let checkpoint = ReplicaCheckpoint::open(Arc::clone(&engine), 10, 0).unwrap();
        checkpoint.commit(fields(1), vec![put("a", "old"), put("b", "1")], vec![]).unwrap();
        let old = engine.scan(b"R", b"S", 10, usize::MAX).unwrap();
        checkpoint.commit(fields(2), vec![put("a", "new")], vec![]).unwrap();
        let (key, value) = old[0].clone();
        engine.write(vec![(key, Some(value))]).unwrap();
        assert!(matches!(ReplicaCheckpoint::open(engine, 10, 2), Err(Error::Corrupt { .. })));
    });
}

#[test]
fn of_two_changes_of_one_row_the_later_counts() {
    on_each_engine(|open| {
        let engine = open();
        let checkpoint = ReplicaCheckpoint::open(Arc::clone(&engine), 11, 0).unwrap();
        let changes =
            vec![put("a", "1"), put("b", "1"), put("a", "2"), delete("b"), put("c", "1"), put("c", "2")];
        let manifest = checkpoint.commit(fields(1), changes, vec![]).unwrap();
        assert_eq!(manifest.row_count, 2);
        let mut install = checkpoint.begin_install().unwrap();
        install.put(vec![("x".into(), "1".into()), ("x".into(), "2".into())]).unwrap();
        install.put(vec![("x".into(), "3".into())]).unwrap();
        assert_eq!(all(&checkpoint), map([("a", "2"), ("c", "2")]));
        install.finish(fields(2), 1).unwrap();
        assert_eq!(all(&ReplicaCheckpoint::open(engine, 11, 2).unwrap()), map([("x", "3")]));
    });
}

#[test]
fn a_rejected_checkpoint_stays_as_it_is_until_another_is_in_use() {
    on_each_engine(|open| {
        let engine = open();
        let checkpoint = ReplicaCheckpoint::open(Arc::clone(&engine), 12, 0).unwrap();
        checkpoint.commit(fields(1), vec![put("a", "1"), put("b", "2")], vec![]).unwrap();
        let stored = || engine.scan(b"A", b"Z", 100, usize::MAX).unwrap();
        let before = stored();
        let rejected = ReplicaCheckpoint::open_rejected(Arc::clone(&engine), 12, 1).unwrap();
        assert_eq!(rejected.manifest(), None);
        let mut given_up = rejected.begin_install().unwrap();
        given_up.put(vec![("c".into(), "3".into())]).unwrap();
        drop(given_up);
        while rejected.collect_garbage(10).unwrap() > 0 {}
        assert_eq!(stored(), before);
        let install = rejected.begin_install().unwrap();
        install.finish(fields(2), 0).unwrap();
        while rejected.collect_garbage(10).unwrap() > 0 {}
        assert_eq!(stored().len(), 1, "only the new manifest is left");
    });
}

#[test]
fn sled_refuses_a_store_with_blobs_and_names_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sled");
    drop(open_sled(&path).unwrap());
    std::fs::write(path.join("store-00000001").join("blobs").join("1"), b"x").unwrap();
    let Err(Error::Corrupt { what, .. }) = open_sled(&path) else { panic!("blobs must be refused") };
    assert!(Path::new(&what).ends_with("blobs"));
}

#[test]
fn sled_opens_although_a_snapshot_of_its_own_was_torn() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sled");
    {
        let checkpoint = ReplicaCheckpoint::open(open_sled(&path).unwrap(), 1, 0).unwrap();
        checkpoint.commit(fields(1), vec![put("a", "1")], vec![]).unwrap();
    }
    std::fs::write(path.join("store-00000001").join("snap.0000000000000001.generating"), b"torn").unwrap();
    let checkpoint = ReplicaCheckpoint::open(open_sled(&path).unwrap(), 1, 1).unwrap();
    assert_eq!(all(&checkpoint), map([("a", "1")]));
}
