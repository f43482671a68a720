//! Flipped bits, cut, lost and overwritten files: harmless or quarantined, never silently shorter. J3, J7, J8.

use super::driver::{Driver, cases};
use super::layout::{Region, incarnation, regions};
use super::model::{State, observe, summary};
use super::rig::*;
use phalanx_storage::disk::{Disk, SimDisk};
use phalanx_storage::wal::Wal;
use std::path::PathBuf;

/// A log that was used through several segments and stopped when idle, and what it holds.
fn stopped(seed: u64) -> (SimDisk, State) {
    let disk = SimDisk::new(seed);
    let mut driver = Driver::new(seed, 3, 2500);
    for _ in 0..2 {
        let wal = open(&disk);
        for _ in 0..150 {
            driver.step(&wal).unwrap();
        }
        for group in 1..=3 {
            driver.append_to(&wal, group, 8).unwrap();
        }
        driver.settle(&wal).unwrap();
        wal.mark_idle().unwrap();
    }
    let wal = open(&disk.fork(0));
    let state = observe(&wal);
    assert!(state.values().map(|group| group.entries.len()).sum::<usize>() > 20, "{}", summary(&state));
    (disk, state)
}

fn files(disk: &SimDisk) -> Vec<PathBuf> {
    let names = disk.list(dir()).unwrap();
    names.into_iter().filter(|name| name != "lock").map(|name| file(&name)).collect()
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    files(disk).into_iter().filter(|path| path.extension().is_some_and(|e| e == "seg")).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Equal,
    Groups(Vec<u64>),
    Node,
}

/// The log opens, again and again, and every group is either as it was or out of service.
fn judge(disk: &SimDisk, state: &State, context: &str) -> Outcome {
    let wal = try_open(disk).unwrap_or_else(|e| panic!("{context}: {e}"));
    let first = outcome(&wal, state, context);
    wal.mark_idle().unwrap();
    drop(wal);
    // Once more, after a power cut: the verdict stays, and nothing was lost by giving it.
    disk.power_cut();
    let wal = try_open(disk).unwrap_or_else(|e| panic!("{context}, again: {e}"));
    let second = outcome(&wal, state, &format!("{context}, again"));
    assert_eq!(first, second, "{context}");
    first
}

fn outcome(wal: &Wal, state: &State, context: &str) -> Outcome {
    let quarantined = wal.quarantined();
    if let Some(why) = &quarantined.node {
        assert!(wal.quarantine_of(99).is_some(), "{context}: {why}");
        for group in state.keys() {
            assert!(wal.read(*group, 0..100, 1).is_err(), "{context}");
        }
        return Outcome::Node;
    }
    let bad: Vec<u64> = quarantined.groups.iter().map(|(group, _)| *group).collect();
    for (group, wanted) in state {
        if bad.contains(group) {
            assert!(wal.read(*group, 0..100, 1).is_err(), "{context}");
            continue;
        }
        let seen = wal.state(*group);
        assert_eq!(seen.vote, wanted.vote, "{context}: vote of group {group}");
        assert_eq!(seen.purged, wanted.purged, "{context}: group {group}");
        assert_eq!(seen.checkpoint_batch, wanted.checkpoint, "{context}: group {group}");
        assert_eq!(read_all(wal, *group), wanted.entries, "{context}: entries of group {group}");
    }
    if bad.is_empty() { Outcome::Equal } else { Outcome::Groups(bad) }
}

/// The newest segment and, of its batches, whether each is followed by another.
fn newest(disk: &SimDisk) -> PathBuf {
    let by_incarnation = |path: &PathBuf| incarnation(&disk.contents(path).unwrap());
    segments(disk).into_iter().max_by_key(by_incarnation).unwrap()
}

#[test]
fn j7_a_flip_in_every_region_is_harmless_or_quarantined() {
    let (mut equal, mut groups, mut node) = (0, 0, 0);
    for seed in 0..cases(1) {
        let (disk, state) = stopped(seed);
        for path in files(&disk) {
            let contents = disk.contents(&path).unwrap();
            let is_segment = path.extension().is_some_and(|e| e == "seg");
            let regions = if is_segment { regions(&contents) } else { Vec::new() };
            let mut offsets: Vec<usize> = Vec::new();
            for region in &regions {
                match region {
                    Region::BatchHeader(range) | Region::RecordHeader(range) => {
                        offsets.extend(range.clone().step_by(3));
                    }
                    Region::Body { range, .. } => offsets.extend([range.start, range.end - 1]),
                    Region::Padding(range) => offsets.push(range.start),
                }
            }
            if regions.is_empty() {
                offsets.extend((0..contents.len()).step_by(if is_segment { 7919 } else { 1 }));
            }
            for offset in offsets {
                let fork = disk.fork(offset as u64);
                fork.flip_bit(&path, offset as u64, (offset % 8) as u8);
                let context = format!("seed {seed}, flip in {} at {offset}", path.display());
                match judge(&fork, &state, &context) {
                    Outcome::Equal => equal += 1,
                    Outcome::Groups(_) => groups += 1,
                    Outcome::Node => node += 1,
                }
            }
        }
    }
    assert!(equal > 100 && groups > 50 && node > 100, "equal {equal}, groups {groups}, node {node}");
}

#[test]
fn j7_a_flip_in_the_body_of_a_live_entry_quarantines_its_group_only() {
    let (disk, state) = stopped(7);
    let mut hits = 0;
    for path in segments(&disk) {
        let contents = disk.contents(&path).unwrap();
        for region in regions(&contents) {
            let Region::Body { range, kind: 1, group, index } = region else { continue };
            let live =
                state.get(&group).and_then(|log| log.entries.iter().find(|entry| entry.index == index));
            // The same index may have been written, and truncated, before.
            if live.is_none_or(|entry| entry.body != contents[range.clone()]) {
                continue;
            }
            let fork = disk.fork(1);
            fork.flip_bit(&path, range.start as u64 + 3, 1);
            let outcome = judge(&fork, &state, &format!("flip in entry {index} of group {group}"));
            // A copy made by recovery may stand in an older, freed segment as well.
            if outcome != Outcome::Equal {
                assert_eq!(outcome, Outcome::Groups(vec![group]));
                hits += 1;
            }
        }
    }
    assert!(hits > 20, "{hits}");
}

#[test]
fn j7_a_flip_in_the_newest_batch_is_damage_once_it_is_marked() {
    let disk = SimDisk::new(3);
    let wal = open(&disk);
    wal.append(1, entries(1, 1..=3, 1, 500), must()).unwrap();
    wal.append(2, entries(2, 1..=3, 1, 500), must()).unwrap();
    commit_all(&wal);
    wal.mark_idle().unwrap();
    wal.mark_idle().unwrap();
    drop(wal);
    let path = newest(&disk);
    let contents = disk.contents(&path).unwrap();
    let regions = regions(&contents);
    let body = regions.iter().find_map(|region| match region {
        Region::Body { range, kind: 1, group: 2, index: 2 } => Some(range.start),
        _ => None,
    });
    let body = body.unwrap();
    let fork = disk.fork(1);
    fork.flip_bit(&path, body as u64, 0);
    let state = observe(&open(&disk.fork(2)));
    assert_eq!(judge(&fork, &state, "body"), Outcome::Groups(vec![2]));
    let fork = disk.fork(1);
    fork.flip_bit(&path, body as u64 - 20, 0);
    assert_eq!(judge(&fork, &state, "record header"), Outcome::Node);
    let fork = disk.fork(1);
    let Some(Region::BatchHeader(header)) =
        regions.iter().rfind(|r| matches!(r, Region::BatchHeader(h) if h.start < body))
    else {
        panic!("no header")
    };
    fork.flip_bit(&path, header.start as u64 + 30, 0);
    assert_eq!(judge(&fork, &state, "batch header"), Outcome::Node);
}

#[test]
fn j3_a_cut_lost_or_overwritten_file_is_never_a_shorter_log() {
    for seed in 0..cases(3) {
        let (disk, state) = stopped(seed);
        let newest = newest(&disk);
        for path in segments(&disk) {
            let bytes = disk.contents(&path).unwrap().len() as u64;
            let check = |what: &str, damage: &dyn Fn(&SimDisk)| {
                let fork = disk.fork(seed);
                damage(&fork);
                let context = format!("seed {seed}, {what} {}", path.display());
                let outcome = judge(&fork, &state, &context);
                if path == newest {
                    assert_eq!(outcome, Outcome::Node, "{context}");
                }
                // Nothing is deleted: what is left of the file is there under one name or the other.
                let left = fork.contents(&path).or_else(|| fork.contents(&path.with_extension("rotten")));
                assert!(left.is_some() || what == "lost", "{context}");
            };
            check("lost", &|fork| fork.lose_file(&path));
            for keep in [0, 1, 4096, 5000, bytes / 2, bytes - 4096, bytes - 1] {
                check("cut", &|fork| fork.cut_file(&path, keep));
            }
            check("zeros in", &|fork| fork.plant(&path, 0, &vec![0; bytes as usize]));
            check("garbage in", &|fork| fork.plant(&path, 0, &vec![0xA5; bytes as usize]));
            check("garbage at the start of", &|fork| fork.plant(&path, 0, &[0x5A; 4096]));
            for other in segments(&disk).into_iter().filter(|other| *other != path) {
                check("another one's bytes in", &|fork| {
                    fork.plant(&path, 0, &disk.contents(&other).unwrap())
                });
            }
        }
        for name in ["inventory", "lock"] {
            let fork = disk.fork(seed);
            if fork.contents(&file(name)).is_some() {
                fork.lose_file(&file(name));
            }
            assert_eq!(judge(&fork, &state, name), Outcome::Equal);
        }
    }
}

#[test]
fn j3_an_empty_directory_or_leftovers_of_a_first_start_open_as_a_new_log() {
    let disk = SimDisk::new(1);
    disk.plant(&file("00000000.new"), 0, b"half a segment");
    disk.plant(&file("inventory.new"), 0, b"");
    disk.plant(&file("notes.txt"), 0, b"not ours");
    let wal = open(&disk);
    assert!(wal.quarantined().is_empty() && wal.groups().is_empty());
    assert!(disk.contents(&file("notes.txt")).is_some());
}

#[test]
fn j8_a_quarantined_group_comes_back_empty_only_when_forgotten() {
    let (disk, state) = stopped(7);
    let path = segments(&disk).into_iter().find_map(|path| {
        let contents = disk.contents(&path).unwrap();
        regions(&contents).into_iter().find_map(|region| match region {
            Region::Body { range, kind: 1, group, index }
                if state.get(&group).is_some_and(|log| {
                    log.entries.iter().any(|e| e.index == index && e.body == contents[range.clone()])
                }) =>
            {
                Some((path.clone(), range.start, group))
            }
            _ => None,
        })
    });
    let (path, offset, group) = path.unwrap();
    disk.flip_bit(&path, offset as u64, 0);
    let wal = open(&disk);
    assert!(wal.quarantine_of(group).is_some());
    let answers = Answers::default();
    assert!(wal.append(group, entries(group, 1..=1, 1, 1), must()).is_err());
    wal.save_vote(group, "v".into(), answers.done(1));
    assert!(answers.take()[0].1.as_ref().is_err_and(|why| why.contains("quarantined")));
    wal.forget(group, answers.done(2));
    wal.save_vote(group, "new life".into(), answers.done(3));
    wal.append(group, entries(group, 1..=2, 9, 10), answers.done(4)).unwrap();
    commit_all(&wal);
    assert_eq!(answers.labels(), [2, 3, 4]);
    drop(wal);
    for _ in 0..3 {
        drop(open(&disk));
        disk.power_cut();
        let wal = open(&disk);
        assert!(wal.quarantined().is_empty(), "{:?}", wal.quarantined());
        assert_eq!(read_all(&wal, group), entries(group, 1..=2, 9, 10));
    }
}

#[test]
fn j8_a_quarantined_node_takes_groups_back_one_by_one() {
    let (disk, state) = stopped(5);
    disk.cut_file(&newest(&disk), 4096);
    let wal = open(&disk);
    assert!(wal.quarantined().node.is_some());
    let known: Vec<u64> = state.keys().copied().collect();
    assert!(known.iter().all(|group| wal.quarantine_of(*group).is_some()));
    wal.forget(known[0], must());
    wal.forget(55, must());
    wal.append(known[0], entries(known[0], 1..=5, 7, 100), must()).unwrap();
    commit_all(&wal);
    drop(wal);
    let wal = open(&disk);
    assert!(wal.quarantined().node.is_some());
    assert_eq!(wal.quarantine_of(known[0]), None);
    assert_eq!(wal.quarantine_of(55), None);
    assert!(wal.quarantine_of(56).is_some() && wal.quarantine_of(known[1]).is_some());
    assert_eq!(read_all(&wal, known[0]), entries(known[0], 1..=5, 7, 100));
    for group in &known[1..] {
        wal.forget(*group, must());
    }
    wal.release_node(must());
    commit_all(&wal);
    drop(wal);
    let wal = open(&disk);
    assert!(wal.quarantined().is_empty(), "{:?}", wal.quarantined());
    assert_eq!(wal.quarantine_of(56), None);
    assert_eq!(read_all(&wal, known[0]), entries(known[0], 1..=5, 7, 100));
    let aside = disk.list(dir()).unwrap().into_iter().filter(|name| name.ends_with(".rotten")).count();
    assert!(aside > 0, "the damaged files are kept for the operator");
}

#[test]
fn a_crash_while_a_node_is_quarantined_never_ends_in_an_empty_log() {
    let (stopped_disk, state) = stopped(5);
    stopped_disk.flip_bit(&newest(&stopped_disk), 20, 3);
    for cut in 0..60 {
        for seed in 0..cases(4) {
            let disk = stopped_disk.fork(cut * 100 + seed);
            disk.cut_power_at(cut);
            drop(try_open(&disk));
            disk.power_cut();
            let context = format!("cut {cut}, seed {seed}");
            assert_eq!(judge(&disk, &state, &context), Outcome::Node, "{context}");
        }
    }
}

#[test]
fn damage_found_by_a_read_takes_the_group_out_of_service() {
    let disk = SimDisk::new(3);
    let wal = open(&disk);
    for round in 0..30 {
        wal.append(1, entries(1, round * 4 + 1..=round * 4 + 4, 1, 900), must()).unwrap();
        commit_all(&wal);
    }
    let first = segments(&disk)
        .into_iter()
        .filter(|path| incarnation(&disk.contents(path).unwrap()) > 0)
        .min_by_key(|path| incarnation(&disk.contents(path).unwrap()))
        .unwrap();
    let contents = disk.contents(&first).unwrap();
    let body = regions(&contents).into_iter().find_map(|region| match region {
        Region::Body { range, kind: 1, index: 5, .. } => Some(range.start),
        _ => None,
    });
    disk.flip_bit(&first, body.unwrap() as u64, 0);
    assert_eq!(wal.read(1, 4..5, 1 << 20).unwrap(), entries(1, 4..=4, 1, 900));
    let error = wal.read(1, 5..6, 1 << 20).unwrap_err();
    assert!(!error.is_fatal() && error.to_string().contains("quarantined"), "{error}");
    assert!(wal.quarantine_of(1).is_some());
}
