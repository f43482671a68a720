//! The stored formats, byte by byte: key space, row framing, manifest, marks. Golden files are only ever added.

use std::sync::Arc;

use bytes::Bytes;
use phalanx_storage::checkpoint::{
    Engine, ManifestFields, MemoryEngine, ReplicaCheckpoint, collect_destroyed,
};

use super::{all, delete, put};

const VERSION_1: &str = include_str!("golden/version-1.txt");
/// Every version that was ever written.
const VERSIONS: &[&str] = &[VERSION_1];

fn fields(index: u64) -> ManifestFields {
    let membership = Bytes::from_static(b"members");
    ManifestFields {
        term: 3,
        index,
        membership,
        machine_time_ms: 1_700_000_000_000,
        digest: 0x0123_4567_89AB_CDEF,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

/// One line for each pair: key and value in hex.
fn dump(engine: &dyn Engine) -> String {
    let pairs = engine.scan(&[0], &[0xFF], 1_000, usize::MAX).unwrap();
    let line = |(key, value): (Vec<u8>, Bytes)| format!("{} {}\n", hex(&key), hex(&value));
    pairs.into_iter().map(line).collect()
}

fn written() -> Arc<dyn Engine> {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let one = ReplicaCheckpoint::open(Arc::clone(&engine), 1, 0).unwrap();
    one.commit(fields(10), vec![put("", "empty key"), put("a\0b", ""), put("gone", "x")], vec![]).unwrap();
    one.commit(fields(11), vec![delete("gone"), put([0xFF, 0x00], [7; 40])], vec![]).unwrap();
    let two = ReplicaCheckpoint::open(Arc::clone(&engine), 0x0203_0405_0607_0809, 0).unwrap();
    two.commit(fields(12), vec![put("old", "generation")], vec![]).unwrap();
    let mut install = two.begin_install().unwrap();
    install.put(vec![(Bytes::from_static(b"k"), Bytes::from_static(b"new generation"))]).unwrap();
    install.finish(fields(13), 1).unwrap();
    let three = ReplicaCheckpoint::open(Arc::clone(&engine), 3, 0).unwrap();
    three.commit(fields(14), vec![put("k", "v")], vec![]).unwrap();
    three.destroy().unwrap();
    engine
}

#[test]
fn what_is_written_is_the_golden_bytes() {
    let dumped = dump(&*written());
    assert_eq!(dumped, VERSION_1, "stored bytes have changed: old stores would not open");
}

#[test]
fn golden_bytes_of_every_version_are_read() {
    for golden in VERSIONS {
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
        let pair = |line: &str| {
            let (key, value) = line.split_once(' ').unwrap();
            (unhex(key), Some(Bytes::from(unhex(value))))
        };
        engine.write(golden.lines().map(pair).collect()).unwrap();
        let one = ReplicaCheckpoint::open(Arc::clone(&engine), 1, 2).unwrap();
        let manifest = one.manifest().unwrap();
        assert_eq!((manifest.fields, manifest.batch, manifest.row_count), (fields(11), 2, 3));
        let rows = all(&one);
        assert_eq!(rows[&b""[..]], b"empty key");
        assert_eq!(rows[&b"a\0b"[..]], b"");
        assert_eq!(rows[&[0xFF, 0x00][..]], [7; 40]);
        let two = ReplicaCheckpoint::open(Arc::clone(&engine), 0x0203_0405_0607_0809, 2).unwrap();
        assert_eq!(two.manifest().unwrap().generation, 1);
        assert_eq!(two.get(b"k").unwrap().as_deref(), Some(&b"new generation"[..]));
        assert_eq!(two.collect_garbage(10).unwrap(), 1, "the older generation is found");
        assert_eq!(collect_destroyed(&*engine, 10).unwrap(), 1, "the destroyed replica is found");
    }
}

#[test]
fn a_long_row_is_cut_as_version_1_says() {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let checkpoint = ReplicaCheckpoint::open(Arc::clone(&engine), 1, 0).unwrap();
    checkpoint.commit(fields(1), vec![put("k", [5; 36 * 1024 + 3])], vec![]).unwrap();
    let pairs = engine.scan(b"R", b"S", 10, usize::MAX).unwrap();
    let key = |piece: u8| unhex(&format!("52000000000000000100000000{}000100{piece:02x}", hex(b"k")));
    assert_eq!(pairs.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [key(0), key(1)]);
    assert_eq!(pairs.iter().map(|(_, value)| value.len()).collect::<Vec<_>>(), [7 + 36 * 1024, 7 + 3]);
    assert!(pairs.iter().all(|(_, value)| value[0] == 1 && value[5..7] == [2, 0]));
    assert_eq!(pairs[1].1[7..], [5, 5, 5]);
}
