//! Bytes on disk, version 1: golden files are only ever added, never changed.

use super::rig::*;
use phalanx_storage::disk::SimDisk;
use phalanx_storage::wal::Wal;
use std::path::PathBuf;

/// Segment files and the inventory after the script below, without the zeros behind the last batch.
const FILES: [&str; 3] = ["00000000.seg", "00000001.seg", "inventory"];

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("wal-v1-{name}"))
}

/// Every kind of record, a mark, and a second head with everything a head can say.
fn script(disk: &SimDisk) {
    let wal = open(disk);
    wal.save_vote(1, "a vote".into(), must());
    wal.append(1, entries(1, 1..=4, 2, 40), must()).unwrap();
    commit_all(&wal);
    wal.save_committed(1, (2, 3)).unwrap();
    wal.truncate_after(1, Some((2, 3)), must());
    wal.purge(1, (2, 1), must());
    wal.note_checkpoint(1, 77, must());
    wal.append(2, entries(2, 9..=9, 5, 0), must()).unwrap();
    wal.truncate_after(2, None, must());
    wal.save_vote(3, "gone".into(), must());
    wal.forget(3, must());
    wal.release_node(must());
    commit_all(&wal);
    wal.mark_idle().unwrap();
    while wal.prepare_step().unwrap() {}
    drop(wal);
    drop(open(disk));
}

fn check_state(wal: &Wal) {
    assert!(wal.quarantined().is_empty());
    assert_eq!(read_all(wal, 1), entries(1, 2..=3, 2, 40));
    let state = wal.state(1);
    assert_eq!(state.vote.as_deref(), Some(&b"a vote"[..]));
    assert_eq!((state.purged, state.committed, state.checkpoint_batch), (Some((2, 1)), Some((2, 3)), 77));
    assert_eq!(wal.state(2).last, None);
    assert!(!wal.groups().contains(&3));
}

fn trimmed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(end);
    bytes
}

#[test]
fn version_1_is_written_as_it_was() {
    let disk = SimDisk::new(0);
    script(&disk);
    for name in FILES {
        let written = trimmed(disk.contents(&file(name)).unwrap());
        let path = golden(name);
        if std::env::var_os("PHALANX_WRITE_GOLDEN").is_some() && !path.exists() {
            std::fs::write(&path, &written).unwrap();
        }
        let wanted = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(written == wanted, "{name} differs from the golden file: a new format needs a new version");
    }
}

#[test]
fn version_1_is_read_for_ever() {
    let disk = SimDisk::new(0);
    let segment_bytes = 64 * 1024;
    for name in ["00000000.seg", "00000001.seg"] {
        let mut bytes = std::fs::read(golden(name)).unwrap();
        bytes.resize(segment_bytes, 0);
        disk.plant(&file(name), 0, &bytes);
    }
    check_state(&open(&disk));
    disk.kill();
    check_state(&open(&disk));
}
