//! What is committed during a recording: two replicas that commit, install, report garbage and have it collected, all from a seed.
//!
//! Checks run in other processes: from the seed alone they know what each replica must hold after any of its commits.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use phalanx_storage::Error;
use phalanx_storage::checkpoint::{
    Engine, ManifestFields, ReplicaCheckpoint, SledOptions, maintain, open_redb, open_sled_with,
};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::syscalls::{Mark, mark};

/// Replicas of a recording.
pub const REPLICAS: [u64; 2] = [3, 4];
/// Replicas that come after a recovery.
pub const LATER_REPLICAS: [u64; 2] = [5, 6];
/// Value bytes that a replica keeps: small, so that images are quick to write and the engine's file is mostly garbage.
const LIVE_BYTES: usize = 500_000;
/// A recording ends after this time, so that sled's flusher (every 500 ms) has run some times ...
const RECORDING_TIME: Duration = Duration::from_millis(1_800);
/// Recordings whose seeds end in 3 or 6 are so many times as large and as long, ...
const LARGE: u32 = 4;
/// ... and none ends before this many steps.
const STEPS_MIN: u64 = 60;
/// Pause between steps: writing faster than sled cleans only makes its file longer.
const PAUSE: Duration = Duration::from_millis(7);
/// sled stores are rewritten from this size on, in recordings with rewrites.
const REWRITE_BYTES_MIN: u64 = 14 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sled { rewrites: bool },
    Redb,
}

impl Kind {
    pub fn open(self, dir: &Path) -> Result<Arc<dyn Engine>, Error> {
        match self {
            Self::Sled { rewrites } => {
                let rewrite_bytes_min = if rewrites { REWRITE_BYTES_MIN } else { u64::MAX };
                open_sled_with(dir, SledOptions { rewrite_bytes_min, ..SledOptions::default() })
            }
            Self::Redb => open_redb(dir),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Sled { rewrites: false } => "sled",
            Self::Sled { rewrites: true } => "sled-rewritten",
            Self::Redb => "redb",
        }
    }

    pub fn named(name: &str) -> Self {
        let all = [Self::Sled { rewrites: false }, Self::Sled { rewrites: true }, Self::Redb];
        all.into_iter().find(|kind| kind.name() == name).expect("a known engine")
    }
}

/// How large a recording is.
fn scale(seed: u64) -> u32 {
    if matches!(seed % 10, 3 | 6) { LARGE } else { 1 }
}

/// When and how long a value was written; its bytes follow from that and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    index: u64,
    bytes: usize,
}

impl Written {
    fn value(self, replica: u64, key: &[u8]) -> Bytes {
        let seed = u64::from(crc32c::crc32c(key)) << 32 ^ self.index << 8 ^ replica;
        let mut value = vec![0; self.bytes];
        SmallRng::seed_from_u64(seed).fill(&mut value[..]);
        Bytes::from(value)
    }
}

/// What a replica holds.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub index: u64,
    rows: BTreeMap<Vec<u8>, Written>,
    /// Rows that were reported as garbage: they may be there still.
    garbage: BTreeMap<Vec<u8>, Written>,
    bytes: usize,
}

impl Model {
    pub fn digest(&self, replica: u64) -> u64 {
        let hash = |(key, written): (&Vec<u8>, &Written)| {
            let crc = crc32c::crc32c_append(crc32c::crc32c(key), &written.value(replica, key));
            (u64::from(crc) << 8 | 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        };
        self.rows.iter().map(hash).fold(0, u64::wrapping_add)
    }

    pub fn fields(&self, replica: u64) -> ManifestFields {
        let membership = Bytes::from_static(b"three members");
        let (index, digest) = (self.index, self.digest(replica));
        ManifestFields { term: 1, index, membership, machine_time_ms: index * 10, digest }
    }

    /// Whether rows that were found are this model's; else what is wrong.
    pub fn compare(&self, replica: u64, found: &BTreeMap<Bytes, Bytes>) -> Result<(), String> {
        for (key, written) in &self.rows {
            match found.get(&key[..]) {
                None => return Err(format!("row {key:02x?} is missing")),
                Some(value) if *value != written.value(replica, key) => {
                    return Err(format!("row {key:02x?} has another value"));
                }
                Some(_) => {}
            }
        }
        for (key, value) in found.iter().filter(|(key, _)| !self.rows.contains_key(&key[..])) {
            let garbage = self.garbage.get(&key[..]).map(|written| written.value(replica, key));
            if garbage.as_ref() != Some(value) {
                return Err(format!("row {key:02x?} should not be there"));
            }
        }
        Ok(())
    }

    fn insert(&mut self, key: Vec<u8>, written: Written) {
        self.remove(&key);
        self.garbage.remove(&key);
        self.bytes += written.bytes;
        self.rows.insert(key, written);
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(written) = self.rows.remove(key) {
            self.bytes -= written.bytes;
        }
    }

    fn any(&self, random: &mut SmallRng) -> Option<Vec<u8>> {
        let count = self.rows.len();
        (count > 0)
            .then(|| self.rows.keys().nth(random.random_range(0..count)).expect("it is in range").clone())
    }
}

/// One commit of one replica.
pub struct Step {
    pub replica: u64,
    pub index: u64,
    rows: Vec<(Bytes, Option<Bytes>)>,
    garbage: Vec<(Bytes, Bytes)>,
    /// All rows, received from elsewhere.
    installs: bool,
}

/// The commits of a recording, in order.
pub struct Plan {
    random: SmallRng,
    replicas: [u64; 2],
    models: BTreeMap<u64, Model>,
    live_bytes: usize,
    /// Values are not needed to know what is where.
    with_values: bool,
}

impl Plan {
    pub fn new(seed: u64, replicas: [u64; 2], with_values: bool) -> Self {
        let models = replicas.map(|replica| (replica, Model::default())).into();
        let live_bytes = LIVE_BYTES * scale(seed) as usize;
        Self { random: SmallRng::seed_from_u64(seed), replicas, models, live_bytes, with_values }
    }

    pub fn model(&self, replica: u64) -> &Model {
        &self.models[&replica]
    }

    pub fn next(&mut self) -> Step {
        let random = &mut self.random;
        let replica = self.replicas[random.random_range(0..self.replicas.len())];
        let model = self.models.get_mut(&replica).expect("there is one for each");
        model.index += 1;
        let index = model.index;
        let mut touched = BTreeMap::<Vec<u8>, ()>::new();
        for _ in 0..random.random_range(5..40) {
            let is_old = random.random_bool(0.4);
            let fresh = [&[random.random_range(0..6)][..], &random.random::<[u8; 4]>()].concat();
            let key = if is_old { model.any(random).unwrap_or(fresh) } else { fresh };
            model.insert(key.clone(), Written { index, bytes: length(random) });
            touched.insert(key, ());
            while model.bytes > self.live_bytes {
                let key = model.any(random).expect("it has bytes");
                model.remove(&key);
                touched.insert(key, ());
            }
        }
        let mut garbage = Vec::new();
        if random.random_bool(0.1) {
            let (start, end) = (vec![random.random_range(0..6)], random.random_range(1..=u8::MAX));
            let end = [start[0], end].to_vec();
            let range: Vec<_> =
                model.rows.range(start.clone()..end.clone()).map(|(key, at)| (key.clone(), *at)).collect();
            // Rows of this very commit would stay; those are left out of it.
            for (key, written) in range.into_iter().filter(|(key, _)| !touched.contains_key(key)) {
                model.remove(&key);
                model.garbage.insert(key, written);
            }
            garbage.push((Bytes::from(start), Bytes::from(end)));
        }
        let installs = random.random_bool(0.03);
        let rows = if installs {
            model.garbage.clear();
            model.rows.keys().cloned().collect()
        } else {
            touched.into_keys().collect::<Vec<_>>()
        };
        for key in rows.iter().filter(|key| !model.rows.contains_key(*key)) {
            model.garbage.remove(key);
        }
        let with_values = self.with_values;
        let value = |key: &Vec<u8>| {
            let written = model.rows.get(key)?;
            Some(if with_values { written.value(replica, key) } else { Bytes::new() })
        };
        let rows = rows.iter().map(|key| (Bytes::from(key.clone()), value(key))).collect();
        Step { replica, index, rows, garbage, installs }
    }
}

fn length(random: &mut SmallRng) -> usize {
    match random.random_range(0..100) {
        0..70 => random.random_range(0..3_000),
        70..99 => random.random_range(3_000..33_000),
        // Several pieces.
        _ => random.random_range(70_000..120_000),
    }
}

/// What a recording did, to see that it was worth something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    pub commits: u64,
    pub installs: u64,
    pub collected: u64,
    pub rewrites: u64,
}

/// A store that is in use.
pub struct Session {
    engine: Arc<dyn Engine>,
    replicas: BTreeMap<u64, ReplicaCheckpoint>,
    plan: Plan,
    was_rewriting: bool,
    time: Duration,
    pub work: Work,
}

impl Session {
    /// Replicas that the store does not have yet.
    pub fn begin(engine: Arc<dyn Engine>, seed: u64, replicas: [u64; 2]) -> Result<Self, Error> {
        let mut opened = BTreeMap::new();
        for replica in replicas {
            opened.insert(replica, ReplicaCheckpoint::open(Arc::clone(&engine), replica, 0)?);
        }
        let plan = Plan::new(seed, replicas, true);
        let time = RECORDING_TIME * scale(seed);
        Ok(Self { engine, replicas: opened, plan, was_rewriting: false, time, work: Work::default() })
    }

    /// Commits a step, and does a part of what is done in the background.
    pub fn step(&mut self) -> Result<(), Error> {
        let step = self.plan.next();
        let checkpoint = &self.replicas[&step.replica];
        self.work.commits += 1;
        self.work.installs += u64::from(step.installs);
        commit(checkpoint, &self.plan, step)?;
        self.work.collected += checkpoint.collect_garbage(60)? as u64;
        let is_rewriting = maintain(&*self.engine, 60)?;
        self.work.rewrites += u64::from(self.was_rewriting && !is_rewriting);
        self.was_rewriting = is_rewriting;
        Ok(())
    }

    /// Works for as long as a recording takes.
    pub fn run(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        while self.work.commits < STEPS_MIN || begun.elapsed() < self.time {
            self.step()?;
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

/// Commits a step and marks it.
fn commit(checkpoint: &ReplicaCheckpoint, plan: &Plan, step: Step) -> Result<(), Error> {
    let Step { replica, index, rows, garbage, installs } = step;
    let fields = plan.model(replica).fields(replica);
    mark(Mark::Begin { replica, index });
    let manifest = if installs {
        let count = rows.len() as u64;
        let mut install = checkpoint.begin_install()?;
        let rows: Vec<_> = rows.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect();
        for part in rows.chunks(30) {
            install.put(part.to_vec())?;
        }
        install.finish(fields, count)?
    } else {
        checkpoint.commit(fields, rows, garbage)?
    };
    mark(Mark::Done { replica, index, batch: manifest.batch });
    Ok(())
}
