//! Power cuts and rotten bits, on the real engines.
//!
//! A recording notes every change that an engine makes to its files while two replicas commit, install, and have garbage collected.
//! Then the power is cut at any point of it: images of what the disk may hold are built and opened, each in a fresh process. Promises:
//! after a cut everything that was acknowledged is there, exactly; after a flipped bit either that, or the damage is noticed.
//!
//! `PHALANX_CRASH_CUTS` and `PHALANX_CRASH_FLIPS` (each per engine), `PHALANX_CRASH_SEED` and `PHALANX_CRASH_AGAIN_EVERY` (1: each cut is
//! followed by cuts during the recovery) ask for more. A failure names the directory
//! of its case, which is checked again by `PHALANX_CRASH_CASE=<directory>` and the test `child`.
#![allow(clippy::unwrap_used)] // A test that meets an error has failed.

mod case;
mod child;
mod image;
mod syscalls;
mod workload;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use phalanx_storage::checkpoint::{ManifestFields, ReplicaCheckpoint};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use case::{CASE_VARIABLE, Case, Expectations, Then};
use image::{Disk, Image, Survives};
use syscalls::{Event, Mark, Synced};
use workload::{Kind, REPLICAS, Session, Work};

/// Cuts and flips in the test command, on each engine.
const CUTS: usize = 60;
const FLIPS: usize = 60;
/// Cuts of one recording.
const CUTS_PER_RECORDING: usize = 120;
/// Of so many cuts one is followed by another during the recovery, and one by more work.
const CUT_AGAIN_EVERY: usize = 6;
const WORK_ON_EVERY: usize = 4;
/// sled's segments, bytes: a write at the start of one that was written before means that it was cleaned and used again.
const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// One recording at a time: it is of the whole process.
static RECORDING: Mutex<()> = Mutex::new(());

fn from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

struct Recording {
    kind: Kind,
    seed: u64,
    events: Vec<Event>,
    work: Work,
}

fn record(kind: Kind, seed: u64) -> Recording {
    let _one = RECORDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    syscalls::start(dir.path(), &[]);
    let engine = kind.open(&store).unwrap();
    let mut session = Session::begin(engine, seed, REPLICAS).unwrap();
    session.run().unwrap();
    let events = syscalls::stop();
    Recording { kind, seed, events, work: session.work }
}

/// What the checks of one engine have found.
#[derive(Default)]
struct Tally {
    reports: BTreeMap<String, usize>,
    failures: Vec<String>,
    cut_again: usize,
    under_way: usize,
    unsynced: usize,
    reused_segments: usize,
    work: Work,
}

impl Tally {
    fn add_work(&mut self, recording: &Recording) {
        let Work { commits, installs, collected, rewrites } = recording.work;
        self.work.commits += commits;
        self.work.installs += installs;
        self.work.collected += collected;
        self.work.rewrites += rewrites;
        let mut seen = std::collections::BTreeSet::new();
        for event in &recording.events {
            if let Event::Write { file, offset, .. } = event
                && offset.is_multiple_of(SEGMENT_BYTES)
                && !seen.insert((*file, *offset))
            {
                self.reused_segments += 1;
            }
        }
    }
}

/// Cuts the power at `cuts` points of a recording.
fn cut(recording: &Recording, cuts: usize, first: usize, dir: &Path, tally: &mut Tally) {
    let mut random = SmallRng::seed_from_u64(recording.seed);
    let cut_again_every = from_environment("PHALANX_CRASH_AGAIN_EVERY", CUT_AGAIN_EVERY);
    let mut points: Vec<usize> = (0..cuts).map(|_| random.random_range(0..recording.events.len())).collect();
    points.sort_unstable();
    let mut points = points.into_iter().enumerate().peekable();
    let (mut disk, mut plan) = (Disk::default(), Expectations::new(recording.seed, REPLICAS));
    for (at, event) in recording.events.iter().enumerate() {
        disk.happen(event);
        plan.happen(event);
        while let Some((number, _)) = points.next_if(|(_, point)| *point == at) {
            let survives = Survives::any(&mut random);
            let then = match first + number {
                number if number % cut_again_every == 1 % cut_again_every => Then::CutAgain(random.random()),
                number if number % WORK_ON_EVERY == 2 => Then::WorkOn,
                _ => Then::Nothing,
            };
            let image = below_store(disk.image(survives, &mut random));
            tally.under_way += usize::from(plan.is_under_way());
            tally.unsynced += usize::from(image.pending > 0);
            let case = Case { kind: recording.kind, plans: vec![plan.clone()], then };
            let place = dir.join(format!("{}-{}-{number}", recording.kind.name(), recording.seed));
            let report = case::check(&place, &case, &image);
            match report.strip_prefix("ok") {
                Some(again) => tally.cut_again += again.trim().parse::<usize>().unwrap_or(0),
                None => tally.failures.push(format!(
                    "cut {number} of recording {} after {at} of {} events, {survives:?}, {then:?}: {report}; {}",
                    recording.seed,
                    recording.events.len(),
                    place.display()
                )),
            }
        }
    }
}

/// Flips bits at `flips` moments at which a commit was just acknowledged.
fn flip(recording: &Recording, flips: usize, dir: &Path, tally: &mut Tally) {
    let mut random = SmallRng::seed_from_u64(recording.seed ^ 0xF11B);
    let is_done = |event: &Event| matches!(event, Event::Mark(Mark::Done { .. }));
    let done: Vec<usize> =
        recording.events.iter().enumerate().filter(|(_, event)| is_done(event)).map(|(at, _)| at).collect();
    let mut points: Vec<usize> = (0..flips).map(|_| done[random.random_range(0..done.len())]).collect();
    points.sort_unstable();
    let mut points = points.into_iter().enumerate().peekable();
    let (mut disk, mut plan) = (Disk::default(), Expectations::new(recording.seed, REPLICAS));
    for (at, event) in recording.events.iter().enumerate() {
        disk.happen(event);
        plan.happen(event);
        while let Some((number, _)) = points.next_if(|(_, point)| *point == at) {
            let mut image = below_store(disk.image(Survives::Everything, &mut random));
            let what = flip_one(&mut image, &mut random);
            let case = Case { kind: recording.kind, plans: vec![plan.clone()], then: Then::Nothing };
            let place = dir.join(format!("{}-{}-flip-{number}", recording.kind.name(), recording.seed));
            let report = case::check(&place, &case, &image);
            let known =
                ["ok", "detected by the engine", "detected by the row checks", "detected by the manifest"];
            let known = known.into_iter().chain(["detected by the batch number"]);
            match known.into_iter().find(|known| report.starts_with(known)) {
                Some(known) => *tally.reports.entry(known.replace("ok", "harmless")).or_default() += 1,
                None => tally.failures.push(format!(
                    "flip {number} of recording {}, {what}: {report}; {}",
                    recording.seed,
                    place.display()
                )),
            }
        }
    }
}

/// Flips one bit of one file: most often of the large one, for it has most of the bits.
fn flip_one(image: &mut Image, random: &mut SmallRng) -> String {
    let total: usize = image.files.values().map(Vec::len).sum();
    let mut at = random.random_range(0..total);
    for (path, bytes) in &mut image.files {
        if at < bytes.len() {
            let bit = random.random_range(0..8);
            bytes[at] ^= 1 << bit;
            return format!("bit {bit} of byte {at} of {}", path.display());
        }
        at -= bytes.len();
    }
    unreachable!("the place is within the files")
}

/// The recorded directory holds the store's directory; images are of the latter.
fn below_store(image: Image) -> Image {
    let strip = |path: &Path| path.strip_prefix("store").expect("all is below the store").to_owned();
    Image {
        files: image.files.into_iter().map(|(path, bytes)| (strip(&path), bytes)).collect(),
        durable: image.durable.into_iter().map(|(path, bytes)| (strip(&path), bytes)).collect(),
        dirs: image.dirs.iter().map(|path| strip(path)).collect(),
        pending: image.pending,
    }
}

fn check_engine(name: &str, kinds: &[Kind]) {
    let cuts = from_environment("PHALANX_CRASH_CUTS", CUTS);
    let flips = from_environment("PHALANX_CRASH_FLIPS", FLIPS);
    let seed = from_environment("PHALANX_CRASH_SEED", 1) as u64;
    let dir = tempfile::tempdir().unwrap();
    let mut tally = Tally::default();
    let recordings = cuts.max(flips).div_ceil(CUTS_PER_RECORDING).next_multiple_of(kinds.len());
    for number in 0..recordings {
        let kind = kinds[number % kinds.len()];
        let recording = record(kind, seed * 1_000 + number as u64);
        tally.add_work(&recording);
        let share = |total: usize| total * (number + 1) / recordings - total * number / recordings;
        cut(&recording, share(cuts), cuts * number / recordings, dir.path(), &mut tally);
        flip(&recording, share(flips), dir.path(), &mut tally);
    }
    let silent = tally.failures.iter().filter(|failure| failure.contains("SILENT")).count();
    eprintln!(
        "{name}: {cuts} power cuts ({} during a commit, {} with unsynced changes) and {} more during recovery, \
         {flips} flips {:?}: {} violations, {silent} of them silent; {recordings} recordings: {:?}, {} segments used again",
        tally.under_way,
        tally.unsynced,
        tally.cut_again,
        tally.reports,
        tally.failures.len(),
        tally.work,
        tally.reused_segments,
    );
    if !tally.failures.is_empty() {
        let kept = dir.keep();
        panic!("{name}: {:#?}\ncases are in {}", tally.failures, kept.display());
    }
    // A run in which nothing happened proves nothing.
    assert!(cuts < 30 || tally.under_way > 0 && tally.unsynced > 0 && tally.cut_again > 0);
    assert!(tally.work.installs > 0 && tally.work.collected > 0);
    assert!(name != "sled" || tally.reused_segments > 0 && tally.work.rewrites > 0, "its cleaner was idle");
}

#[test]
fn j5_j7_sled_loses_nothing_acknowledged_and_hides_no_flip() {
    check_engine("sled", &[Kind::Sled { rewrites: false }, Kind::Sled { rewrites: true }]);
}

#[test]
fn j5_j7_redb_loses_nothing_acknowledged_and_hides_no_flip() {
    check_engine("redb", &[Kind::Redb]);
}

#[test]
fn a_store_without_its_syncs_is_found_out() {
    // A canary: if files were never synced, cuts would be noticed.
    let mut recording = record(Kind::Sled { rewrites: false }, 77);
    let mut of_files = std::collections::BTreeSet::new();
    recording.events.retain(|event| match event {
        Event::SyncBegin { sync, of: Synced::File(_) } => !of_files.insert(*sync),
        Event::SyncEnd { sync } => !of_files.contains(sync),
        _ => true,
    });
    let dir = tempfile::tempdir().unwrap();
    let mut tally = Tally::default();
    cut(&recording, 6, 3, dir.path(), &mut tally);
    assert!(tally.failures.len() >= 2, "{:?}", tally.failures);
}

#[test]
fn a_failed_sync_is_fatal_and_stays_so() {
    let put =
        |value: &'static str| vec![(Bytes::from_static(b"key"), Some(Bytes::from_static(value.as_bytes())))];
    for kind in [Kind::Sled { rewrites: false }, Kind::Redb] {
        let _one = RECORDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        syscalls::start(dir.path(), &[]);
        let engine = kind.open(&dir.path().join("store")).unwrap();
        let checkpoint = ReplicaCheckpoint::open(engine, 1, 0).unwrap();
        let commit = |value| checkpoint.commit(ManifestFields::default(), put(value), vec![]);
        commit("first").unwrap();
        syscalls::fail_syncs(true);
        let failed = commit("second").unwrap_err();
        assert!(failed.is_fatal() && !failed.is_retryable(), "{}: {failed}", kind.name());
        syscalls::fail_syncs(false);
        // The kernel may have dropped what it could not write: that the next sync succeeds means nothing.
        let failed = commit("third");
        assert!(failed.is_err(), "{}: {failed:?}", kind.name());
        syscalls::stop();
    }
}

#[test]
fn a_sync_that_failed_in_sleds_own_thread_is_fatal_too() {
    let _one = RECORDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    syscalls::start(dir.path(), &[]);
    let engine = Kind::Sled { rewrites: false }.open(&dir.path().join("store")).unwrap();
    syscalls::fail_syncs(true);
    engine.write(vec![(b"key".to_vec(), Some(Bytes::from_static(b"value")))]).unwrap();
    // Twice the time between two rounds of its flusher.
    std::thread::sleep(std::time::Duration::from_millis(1_000));
    syscalls::fail_syncs(false);
    assert!(engine.flush().unwrap_err().is_fatal());
    syscalls::stop();
}

/// Not a test of its own: the process that checks one image.
#[test]
fn child() {
    if let Some(dir) = std::env::var_os(CASE_VARIABLE) {
        child::run(Path::new(&dir));
    }
}

/// A canary: what is built on must be able to fail.
#[test]
fn an_image_forgets_what_was_not_synced_and_keeps_what_was() {
    let mut random = SmallRng::seed_from_u64(7);
    let write = |offset, byte| Event::Write { file: 0, offset, data: Arc::from([byte; 1024]) };
    let mut disk = Disk::default();
    let file = syscalls::Synced::File(0);
    let events = [
        Event::Create { path: "a".into(), file: 0 },
        write(0, 1),
        Event::SyncBegin { sync: 1, of: file.clone() },
        write(1024, 2),
        Event::SyncEnd { sync: 1 },
        Event::SyncBegin { sync: 2, of: syscalls::Synced::Dir("".into()) },
        Event::SyncEnd { sync: 2 },
        write(0, 3),
    ];
    events.iter().for_each(|event| disk.happen(event));
    let bytes = |image: Image| image.files.into_values().next().unwrap();
    assert_eq!(bytes(disk.image(Survives::Nothing, &mut random)), [1; 1024]);
    let all = bytes(disk.image(Survives::Everything, &mut random));
    assert_eq!(all, [[3; 1024], [2; 1024]].concat());
    let mut mixed = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let bytes = bytes(disk.image(Survives::Blocks(0.5), &mut random));
        assert!(bytes.chunks(512).all(|block| block.iter().all(|byte| *byte == block[0])));
        mixed.insert(bytes.chunks(512).map(|block| block[0]).collect::<Vec<_>>());
    }
    // Two blocks of two states each, and the tail: absent, or each of its blocks lost or there.
    assert_eq!(mixed.len(), 4 * 5);
}
