//! Garbage goes in slices, is found again, and nothing else goes with it.

use std::sync::Arc;

use bytes::Bytes;
use phalanx_storage::checkpoint::{Engine, ReplicaCheckpoint, collect_destroyed};

use super::{all, delete, fields, map, on_each_engine, put};

#[test]
fn garbage_ranges_go_in_slices_and_the_count_stays_true() {
    on_each_engine(|open| {
        let rows: Vec<_> = (0..100_u8).map(|number| put([b'p', number], [number; 20])).collect();
        {
            let checkpoint = ReplicaCheckpoint::open(open(), 8, 0).unwrap();
            checkpoint.commit(fields(1), rows, vec![]).unwrap();
            let range = (Bytes::from_static(&[b'p', 10]), Bytes::from_static(&[b'p', 60]));
            checkpoint.commit(fields(2), vec![], vec![range]).unwrap();
            assert_eq!(checkpoint.collect_garbage(30).unwrap(), 30);
            assert_eq!(checkpoint.collect_garbage(30).unwrap(), 20);
        }
        let checkpoint = ReplicaCheckpoint::open(open(), 8, 2).unwrap();
        assert_eq!(checkpoint.manifest().unwrap().row_count, 50);
        assert_eq!(all(&checkpoint).len(), 50);
        assert_eq!(checkpoint.manifest().unwrap().fields, fields(2));
    });
}

fn stored(engine: &Arc<dyn Engine>) -> usize {
    engine.scan(b"A", b"Z", 10_000, usize::MAX).unwrap().len()
}

#[test]
fn rows_of_a_destroyed_replica_are_found_again_after_a_restart() {
    on_each_engine(|open| {
        {
            let engine = open();
            let checkpoint = ReplicaCheckpoint::open(Arc::clone(&engine), 1, 0).unwrap();
            let rows = (0..50_u8).map(|number| put([number], [number; 100])).collect();
            checkpoint.commit(fields(1), rows, vec![]).unwrap();
            let other = ReplicaCheckpoint::open(engine, 2, 0).unwrap();
            other.commit(fields(1), vec![put("k", "other")], vec![]).unwrap();
            checkpoint.destroy().unwrap();
            assert_eq!(checkpoint.collect_garbage(10).unwrap(), 10);
        }
        let engine = open();
        // The same id again, by an operator's mistake: its new rows are not the garbage of the old ones.
        let again = ReplicaCheckpoint::open(Arc::clone(&engine), 1, 0).unwrap();
        assert_eq!(again.manifest(), None);
        again.commit(fields(5), vec![put("new", "1")], vec![]).unwrap();
        let mut slices = Vec::new();
        while let pairs @ 1.. = collect_destroyed(&*engine, 15).unwrap() {
            slices.push(pairs);
        }
        assert_eq!(slices, [15, 15, 10]);
        assert_eq!(stored(&engine), 4, "two manifests and a row for each");
        assert_eq!(all(&ReplicaCheckpoint::open(Arc::clone(&engine), 1, 1).unwrap()), map([("new", "1")]));
        assert_eq!(all(&ReplicaCheckpoint::open(engine, 2, 1).unwrap()), map([("k", "other")]));
    });
}

#[test]
fn nothing_is_left_of_a_replica_that_was_destroyed_and_collected() {
    on_each_engine(|open| {
        let engine = open();
        let checkpoint = ReplicaCheckpoint::open(Arc::clone(&engine), 5, 0).unwrap();
        checkpoint.commit(fields(1), vec![put("a", "1"), put("b", [7; 100_000])], vec![]).unwrap();
        checkpoint.destroy().unwrap();
        while checkpoint.collect_garbage(2).unwrap() > 0 {}
        assert_eq!(stored(&engine), 0);
        checkpoint.commit(fields(1), vec![put("again", "1")], vec![]).unwrap();
        assert_eq!(all(&ReplicaCheckpoint::open(engine, 5, 1).unwrap()), map([("again", "1")]));
    });
}

#[test]
fn a_row_written_after_its_range_became_garbage_stays() {
    on_each_engine(|open| {
        let engine = open();
        let checkpoint = ReplicaCheckpoint::open(Arc::clone(&engine), 3, 0).unwrap();
        let rows = [b"a", b"b", b"c", b"d", b"e"].map(|key| put(key, "old")).to_vec();
        checkpoint.commit(fields(1), rows, vec![]).unwrap();
        let range = (Bytes::from_static(b"b"), Bytes::from_static(b"e"));
        checkpoint.commit(fields(2), vec![put("c", "same commit")], vec![range]).unwrap();
        checkpoint.commit(fields(3), vec![put("d", "later commit"), delete("e")], vec![]).unwrap();
        while checkpoint.collect_garbage(1).unwrap() > 0 {}
        let expected = map([("a", "old"), ("c", "same commit"), ("d", "later commit")]);
        assert_eq!(all(&checkpoint), expected);
        assert_eq!(all(&ReplicaCheckpoint::open(engine, 3, 3).unwrap()), expected);
    });
}

#[test]
fn pieces_of_a_long_row_go_together() {
    on_each_engine(|open| {
        let engine = open();
        let checkpoint = ReplicaCheckpoint::open(Arc::clone(&engine), 4, 0).unwrap();
        let rows = vec![put("a", [1; 200_000]), put("b", [2; 200_000]), put("c", "kept")];
        checkpoint.commit(fields(1), rows, vec![]).unwrap();
        let range = (Bytes::from_static(b"a"), Bytes::from_static(b"c"));
        checkpoint.commit(fields(2), vec![], vec![range]).unwrap();
        let mut left = vec![2, 1, 1];
        loop {
            let deleted = checkpoint.collect_garbage(2).unwrap();
            // After each slice the store is as sound as after a commit.
            engine.flush().unwrap();
            let manifest = ReplicaCheckpoint::open(Arc::clone(&engine), 4, 2).unwrap().manifest().unwrap();
            assert_eq!(manifest.row_count, left.remove(0));
            if deleted == 0 {
                break;
            }
        }
        assert_eq!(all(&checkpoint), map([("c", "kept")]));
    });
}
