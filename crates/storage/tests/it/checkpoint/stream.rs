//! A snapshot is of one moment, whatever is committed while it is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use phalanx_storage::Error;
use phalanx_storage::checkpoint::{ReplicaCheckpoint, RowStream};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::{all, delete, fields, on_each_engine, put};

const SAVED_BYTES_MAX: usize = 1 << 20;

fn read(stream: &mut RowStream, bytes_max: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    loop {
        let step = stream.next(bytes_max).unwrap();
        if step.is_empty() {
            return rows;
        }
        take(&mut rows, step);
    }
}

fn take(rows: &mut BTreeMap<Vec<u8>, Vec<u8>>, step: Vec<(Bytes, Bytes)>) {
    for (key, value) in step {
        assert!(rows.last_key_value().is_none_or(|(last, _)| last[..] < key[..]), "rows come in order");
        rows.insert(key.to_vec(), value.to_vec());
    }
}

#[test]
fn commits_during_a_snapshot_do_not_change_it() {
    on_each_engine(|open| {
        let checkpoint = ReplicaCheckpoint::open(open(), 1, 0).unwrap();
        for seed in 0..6_u64 {
            let mut random = SmallRng::seed_from_u64(seed);
            let mut change = |most: u32| {
                let key = format!("{:03}", random.random_range(0..120));
                let bytes = if random.random_bool(0.1) { 80_000 } else { random.random_range(0..300) };
                let value = vec![random.random::<u8>(); bytes];
                if random.random_range(0..most) < 2 { delete(key) } else { put(key, value) }
            };
            checkpoint.commit(fields(1), (0..80).map(|_| change(9)).collect(), vec![]).unwrap();
            let before = all(&checkpoint);
            let mut stream = checkpoint.stream(64 << 20).unwrap();
            assert_eq!(stream.manifest(), &checkpoint.manifest().unwrap());
            let mut rows = BTreeMap::new();
            loop {
                checkpoint.commit(fields(2), (0..30).map(|_| change(4)).collect(), vec![]).unwrap();
                let step = stream.next(2_000).unwrap();
                if step.is_empty() {
                    break;
                }
                take(&mut rows, step);
            }
            assert!(rows == before, "seed {seed}");
        }
    });
}

#[test]
fn rows_deleted_before_the_snapshot_reaches_them_come_in_bounded_steps() {
    on_each_engine(|open| {
        let checkpoint = ReplicaCheckpoint::open(open(), 1, 0).unwrap();
        let rows = (0..200_u8).map(|number| put([number], [number; 100])).collect();
        checkpoint.commit(fields(1), rows, vec![]).unwrap();
        let before = all(&checkpoint);
        let mut stream = checkpoint.stream(SAVED_BYTES_MAX).unwrap();
        checkpoint.commit(fields(2), (0..200_u8).map(|number| delete([number])).collect(), vec![]).unwrap();
        let mut rows = BTreeMap::new();
        loop {
            let step = stream.next(1_000).unwrap();
            assert!(step.len() <= 10);
            if step.is_empty() {
                break;
            }
            take(&mut rows, step);
        }
        assert_eq!(rows, before);
    });
}

#[test]
fn a_snapshot_that_is_overtaken_by_too_much_ends_and_the_commits_do_not() {
    on_each_engine(|open| {
        let checkpoint = ReplicaCheckpoint::open(open(), 1, 0).unwrap();
        let rows = |mark: u8| (0..100_u8).map(|number| put([number], [mark; 1_000])).collect();
        checkpoint.commit(fields(1), rows(1), vec![]).unwrap();
        let mut stream = checkpoint.stream(50_000).unwrap();
        assert!(!stream.next(10_000).unwrap().is_empty());
        checkpoint.commit(fields(2), rows(2), vec![]).unwrap();
        assert!(matches!(stream.next(10_000), Err(Error::StreamEnded { replica: 1, .. })));
        drop(stream);
        let mut again = checkpoint.stream(50_000).unwrap();
        assert_eq!(read(&mut again, 10_000), all(&checkpoint));
    });
}

#[test]
fn one_snapshot_of_a_replica_is_read_at_a_time() {
    on_each_engine(|open| {
        let engine = open();
        let checkpoint = ReplicaCheckpoint::open(Arc::clone(&engine), 1, 0).unwrap();
        assert!(matches!(checkpoint.stream(SAVED_BYTES_MAX), Err(Error::StreamEnded { .. })));
        checkpoint.commit(fields(1), vec![put("a", "1")], vec![]).unwrap();
        let stream = checkpoint.stream(SAVED_BYTES_MAX).unwrap();
        assert!(matches!(checkpoint.stream(SAVED_BYTES_MAX), Err(Error::StreamBusy { replica: 1 })));
        let other = ReplicaCheckpoint::open(engine, 2, 0).unwrap();
        other.commit(fields(1), vec![put("a", "1")], vec![]).unwrap();
        other.stream(SAVED_BYTES_MAX).unwrap();
        drop(stream);
        checkpoint.stream(SAVED_BYTES_MAX).unwrap();
    });
}

#[test]
fn a_received_checkpoint_and_a_destroyed_replica_end_the_snapshot() {
    on_each_engine(|open| {
        let checkpoint = ReplicaCheckpoint::open(open(), 1, 0).unwrap();
        checkpoint.commit(fields(1), vec![put("a", "1")], vec![]).unwrap();
        let mut stream = checkpoint.stream(SAVED_BYTES_MAX).unwrap();
        checkpoint.begin_install().unwrap().finish(fields(2), 0).unwrap();
        assert!(matches!(stream.next(1_000), Err(Error::StreamEnded { .. })));
        drop(stream);
        let mut stream = checkpoint.stream(SAVED_BYTES_MAX).unwrap();
        checkpoint.destroy().unwrap();
        assert!(matches!(stream.next(1_000), Err(Error::StreamEnded { .. })));
    });
}

#[test]
fn garbage_waits_for_the_snapshot() {
    on_each_engine(|open| {
        let checkpoint = ReplicaCheckpoint::open(open(), 1, 0).unwrap();
        checkpoint.commit(fields(1), vec![put("a", "1"), put("b", "1")], vec![]).unwrap();
        let range = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
        checkpoint.commit(fields(2), vec![], vec![range]).unwrap();
        let mut stream = checkpoint.stream(SAVED_BYTES_MAX).unwrap();
        assert_eq!(checkpoint.collect_garbage(10).unwrap(), 0);
        assert_eq!(read(&mut stream, 1_000).len(), 2);
        drop(stream);
        assert_eq!(checkpoint.collect_garbage(10).unwrap(), 1);
    });
}
