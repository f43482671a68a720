//! What a disk may hold after the power went: built from a recording.
//!
//! The rule: what a completed sync covers is there. Of everything else each block of 512 bytes may hold any of the states it had since,
//! whatever its neighbours do; so may the length of a file; and names that were made, renamed or removed may have been or not.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::Rng as _;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;

use crate::syscalls::{Event, FileId, Synced, moved};

const BLOCK_BYTES: u64 = 512;
const PAGE_BYTES: u64 = 4096;

/// What survives of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Survives {
    Nothing,
    /// The process died, the power stayed.
    Everything,
    /// Each block with this chance, in any of its states.
    Blocks(f64),
    /// The same for pages.
    Pages(f64),
    /// Each write, or none of it.
    Writes(f64),
    /// The disk took the newest first.
    NewestHalf,
    NewestWrite,
}

impl Survives {
    /// What a power cut leaves, or (one in nine) the death of the process.
    pub fn any(random: &mut SmallRng) -> Self {
        let all = [
            Self::Nothing,
            Self::Everything,
            Self::Blocks(0.5),
            Self::Blocks(0.1),
            Self::Blocks(0.9),
            Self::Pages(0.5),
            Self::Writes(0.5),
            Self::NewestHalf,
            Self::NewestWrite,
        ];
        *all.choose(random).expect("there are some")
    }

    fn name(self, random: &mut SmallRng) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            _ => random.random_bool(0.5),
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, data: Arc<[u8]> },
    Truncate { len: u64 },
}

#[derive(Default)]
struct File {
    durable: Vec<u8>,
    /// Since then, with the number of the event.
    pending: Vec<(usize, Change)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    File(FileId),
    Dir,
}

/// A disk during a recording, up to some event.
#[derive(Default)]
pub struct Disk {
    files: HashMap<FileId, File>,
    names: BTreeMap<PathBuf, Node>,
    pending_names: Vec<(usize, Event)>,
    /// Syncs under way: what they cover, and the event at which they began.
    syncs: HashMap<u64, (Synced, usize)>,
    seen: usize,
}

/// The contents of a directory after a cut: files with their bytes, and directories.
#[derive(Default)]
pub struct Image {
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// If only the process died: what would be there if the power went as well.
    pub durable: BTreeMap<PathBuf, Vec<u8>>,
    pub dirs: Vec<PathBuf>,
    /// Changes that were not synced when the power went.
    pub pending: usize,
}

impl Disk {
    /// A disk that holds `files`: what is durable of each, and what is there.
    pub fn with_files(files: Vec<(PathBuf, FileId, Vec<u8>, Vec<u8>)>, dirs: Vec<PathBuf>) -> Self {
        let mut disk = Self { seen: 1, ..Self::default() };
        disk.names.extend(dirs.into_iter().map(|path| (path, Node::Dir)));
        for (path, id, durable, now) in files {
            disk.names.insert(path, Node::File(id));
            let pending = difference(&durable, &now);
            disk.files.insert(id, File { durable, pending });
        }
        disk
    }

    /// The next event has happened.
    pub fn happen(&mut self, event: &Event) {
        let at = self.seen;
        self.seen += 1;
        match event {
            Event::Create { file, .. } => {
                self.files.insert(*file, File::default());
                self.pending_names.push((at, event.clone()));
            }
            Event::MakeDir { .. } | Event::Rename { .. } | Event::RenameDir { .. } | Event::Remove { .. } => {
                self.pending_names.push((at, event.clone()));
            }
            Event::Write { file, offset, data } => {
                let change = Change::Write { offset: *offset, data: Arc::clone(data) };
                self.files.entry(*file).or_default().pending.push((at, change));
            }
            Event::Truncate { file, len } => {
                self.files.entry(*file).or_default().pending.push((at, Change::Truncate { len: *len }));
            }
            Event::SyncBegin { sync, of } => {
                self.syncs.insert(*sync, (of.clone(), at));
            }
            Event::SyncEnd { sync } => {
                let (of, begun) = self.syncs.remove(sync).expect("it has begun");
                self.synced(&of, begun);
            }
            Event::Mark(_) => {}
        }
    }

    fn synced(&mut self, of: &Synced, begun: usize) {
        match of {
            Synced::File(file) => {
                let file = self.files.entry(*file).or_default();
                let covered = file.pending.partition_point(|(at, _)| *at < begun);
                for (_, change) in file.pending.drain(..covered) {
                    apply(&mut file.durable, &change);
                }
            }
            Synced::Dir(dir) => {
                let (covered, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending_names)
                    .into_iter()
                    .partition(|(at, event)| *at < begun && is_in(event, dir));
                self.pending_names = rest;
                covered.iter().for_each(|(_, event)| rename(&mut self.names, event));
            }
        }
    }

    /// What is there if the power goes now.
    pub fn image(&self, survives: Survives, random: &mut SmallRng) -> Image {
        let mut names = self.names.clone();
        // Half of the time in order, as journals do; half of the time whatever.
        let in_order = random.random_bool(0.5).then(|| random.random_range(0..=self.pending_names.len()));
        for (place, (_, event)) in self.pending_names.iter().enumerate() {
            let is_there = match (survives, in_order) {
                (Survives::Nothing | Survives::Everything, _) | (_, None) => survives.name(random),
                (_, Some(count)) => place < count,
            };
            if is_there {
                rename(&mut names, event);
            }
        }
        let mut image = Image { pending: self.pending_names.len(), ..Image::default() };
        for (path, node) in &names {
            let is_reachable = path
                .ancestors()
                .skip(1)
                .all(|dir| dir == Path::new("") || names.get(dir) == Some(&Node::Dir));
            match node {
                _ if !is_reachable => {}
                Node::Dir => image.dirs.push(path.clone()),
                Node::File(file) => {
                    let file = self.files.get(file);
                    image.pending += file.map_or(0, |file| file.pending.len());
                    let bytes = file.map_or(Vec::new(), |file| file.image(survives, random));
                    if survives == Survives::Everything {
                        let durable = file.map_or(Vec::new(), |file| file.durable.clone());
                        image.durable.insert(path.clone(), durable);
                    }
                    image.files.insert(path.clone(), bytes);
                }
            }
        }
        image
    }
}

/// Whether a directory's sync covers a change of a name.
fn is_in(event: &Event, dir: &Path) -> bool {
    let parent = |path: &PathBuf| path.parent().unwrap_or(Path::new("")) == dir;
    match event {
        Event::Create { path, .. } | Event::MakeDir { path } | Event::Remove { path } => parent(path),
        Event::Rename { from, to, .. } | Event::RenameDir { from, to } => parent(from) && parent(to),
        _ => false,
    }
}

fn rename(names: &mut BTreeMap<PathBuf, Node>, event: &Event) {
    match event {
        Event::Create { path, file } => drop(names.insert(path.clone(), Node::File(*file))),
        Event::MakeDir { path } => drop(names.insert(path.clone(), Node::Dir)),
        Event::Remove { path } => drop(names.remove(path)),
        Event::Rename { from, to, file } => {
            if names.get(from) == Some(&Node::File(*file)) {
                names.remove(from);
            }
            names.insert(to.clone(), Node::File(*file));
        }
        Event::RenameDir { from, to } => {
            let all = std::mem::take(names).into_iter();
            *names = all.map(|(path, node)| (moved(&path, from, to).unwrap_or(path), node)).collect();
        }
        _ => {}
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Truncate { len } => bytes.resize(*len as usize, 0),
        Change::Write { offset, data } => {
            let (from, to) = (*offset as usize, *offset as usize + data.len());
            if bytes.len() < to {
                bytes.resize(to, 0);
            }
            bytes[from..to].copy_from_slice(data);
        }
    }
}

/// The writes that lead from one content to another.
fn difference(durable: &[u8], now: &[u8]) -> Vec<(usize, Change)> {
    let mut changes = Vec::new();
    if now.len() < durable.len() {
        changes.push((0, Change::Truncate { len: now.len() as u64 }));
    }
    let block = BLOCK_BYTES as usize;
    for (number, data) in now.chunks(block).enumerate() {
        let from = number * block;
        if durable.get(from..from + data.len()) != Some(data) {
            changes.push((0, Change::Write { offset: from as u64, data: data.into() }));
        }
    }
    changes
}

/// Blocks that a write touches.
fn blocks(offset: u64, bytes: usize, block_bytes: u64) -> std::ops::Range<u64> {
    offset / block_bytes..(offset + bytes as u64).div_ceil(block_bytes)
}

impl File {
    fn image(&self, survives: Survives, random: &mut SmallRng) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        if self.pending.is_empty() || survives == Survives::Nothing {
            return bytes;
        }
        let block_bytes = if matches!(survives, Survives::Pages(_)) { PAGE_BYTES } else { BLOCK_BYTES };
        let states = self.states(survives, block_bytes, random);
        let lengths = self.lengths();
        let changes_of_length = match survives {
            Survives::Everything | Survives::NewestHalf | Survives::NewestWrite => lengths,
            _ => random.random_range(0..=lengths),
        };
        let (mut len, mut changes, mut passed) = (bytes.len() as u64, 0, HashMap::<u64, usize>::new());
        for (_, change) in &self.pending {
            match change {
                Change::Truncate { len: new } => {
                    (len, changes) = (*new, changes + 1);
                    if changes <= changes_of_length {
                        bytes.resize(*new as usize, 0);
                    }
                }
                Change::Write { offset, data } => {
                    let end = offset + data.len() as u64;
                    if end > len {
                        (len, changes) = (end, changes + 1);
                        if changes <= changes_of_length && bytes.len() < end as usize {
                            bytes.resize(end as usize, 0);
                        }
                    }
                    for block in blocks(*offset, data.len(), block_bytes) {
                        let state = passed.entry(block).or_default();
                        *state += 1;
                        if *state <= states[&block] {
                            copy_block(&mut bytes, block, block_bytes, *offset, data);
                        }
                    }
                }
            }
        }
        bytes
    }

    /// How many of the writes to it each block has seen.
    fn states(&self, survives: Survives, block_bytes: u64, random: &mut SmallRng) -> HashMap<u64, usize> {
        let mut written = HashMap::<u64, usize>::new();
        let mut states = HashMap::<u64, usize>::new();
        for (number, (_, change)) in self.pending.iter().enumerate() {
            let Change::Write { offset, data } = change else { continue };
            let is_there = match survives {
                Survives::Writes(chance) => random.random_bool(chance),
                Survives::NewestHalf => number * 2 >= self.pending.len(),
                Survives::NewestWrite => number + 1 == self.pending.len(),
                _ => true,
            };
            for block in blocks(*offset, data.len(), block_bytes) {
                let count = written.entry(block).or_default();
                *count += 1;
                let state = states.entry(block).or_default();
                if is_there {
                    *state = *count;
                }
            }
        }
        if let Survives::Blocks(chance) | Survives::Pages(chance) = survives {
            // In the order of the blocks, so that a seed means one image.
            let mut order: Vec<_> = written.into_iter().collect();
            order.sort_unstable();
            for (block, count) in order {
                let any = random.random_range(0..=count);
                states.insert(block, if random.random_bool(chance) { count } else { any.min(count - 1) });
            }
        }
        states
    }

    fn lengths(&self) -> usize {
        let (mut len, mut lengths) = (self.durable.len() as u64, 0);
        for (_, change) in &self.pending {
            let new = match change {
                Change::Truncate { len } => *len,
                Change::Write { offset, data } if offset + data.len() as u64 > len => {
                    offset + data.len() as u64
                }
                Change::Write { .. } => continue,
            };
            (len, lengths) = (new, lengths + 1);
        }
        lengths
    }
}

fn copy_block(bytes: &mut [u8], block: u64, block_bytes: u64, offset: u64, data: &[u8]) {
    let from = (block * block_bytes).max(offset);
    let to = ((block + 1) * block_bytes).min(offset + data.len() as u64).min(bytes.len() as u64);
    if from < to {
        let part = &data[(from - offset) as usize..(to - offset) as usize];
        bytes[from as usize..to as usize].copy_from_slice(part);
    }
}
