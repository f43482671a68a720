//! A disk in memory that fails like a real one, from a seed.
//!
//! Every file has a durable image and a cache. Reads and writes go to the cache; a sync copies it to the image; a
//! power cut throws the cache away, except for a seeded subset of the unsynced 512 B blocks, in no order. Names
//! behave alike: a creation, rename or removal that was not followed by `sync_dir` is kept or lost by seed.
//! Faults are planted through [`SimDisk`]; clones share the disk, so a test keeps one while the log owns another.

mod faults;
mod file;
mod names;

use super::{Disk, DiskFile, DiskLock};
use crate::error::Error;
use crate::fail_point::FailPoint;
use faults::Faults;
use file::FileImage;
use names::Names;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Unit in which unsynced bytes survive a power cut, bytes.
pub const SIM_BLOCK_BYTES: usize = 512;

/// The simulated disk; clones share it.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    files: BTreeMap<u64, FileImage>,
    next_file: u64,
    names: Names,
    locks: BTreeSet<PathBuf>,
    faults: Faults,
    /// Rises at every end of a process: handles and locks of earlier ones are dead.
    epoch: u64,
}

struct SimFile {
    disk: SimDisk,
    id: u64,
    path: PathBuf,
    epoch: u64,
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    epoch: u64,
}

impl SimDisk {
    /// An empty disk. Equal seeds and equal calls give equal faults.
    pub fn new(seed: u64) -> Self {
        let state = State {
            files: BTreeMap::new(),
            next_file: 0,
            names: Names::default(),
            locks: BTreeSet::new(),
            faults: Faults::new(seed),
            epoch: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The power fails now and comes back: unsynced bytes and names survive by seed, open handles are dead.
    pub fn power_cut(&self) {
        let mut state = self.state.lock();
        let state = &mut *state;
        for file in state.files.values_mut() {
            file.power_cut(&mut state.faults);
        }
        state.names.power_cut(&mut state.faults);
        state.end_process();
    }

    /// The process is killed: nothing is lost, open handles and locks are dead.
    pub fn kill(&self) {
        self.state.lock().end_process();
    }

    /// Plants a power failure at the n-th operation from now that changes or syncs something (0: the next one): it is
    /// done in part, and everything fails until [`SimDisk::power_cut`] brings the disk back.
    pub fn cut_power_at(&self, operations_from_now: u64) {
        let faults = &mut self.state.lock().faults;
        faults.cut_at = Some(faults.operations + operations_from_now);
    }

    /// Plants the end of the process at this boundary, the n-th time from now that it is reached (0: the next one). Everything
    /// fails from then on, until [`SimDisk::kill`] or [`SimDisk::power_cut`] says how it ended.
    pub fn end_at(&self, point: FailPoint, passes: u64) {
        self.state.lock().faults.fail_point = Some((point, passes));
    }

    /// Whether a planted end is still to come.
    pub fn awaits_end(&self) -> bool {
        self.state.lock().faults.fail_point.is_some()
    }

    /// True once a planted power failure has happened, until [`SimDisk::power_cut`].
    pub fn is_without_power(&self) -> bool {
        self.state.lock().faults.off
    }

    /// Operations so far that change or sync something.
    pub fn operations(&self) -> u64 {
        self.state.lock().faults.operations
    }

    /// The n-th sync of file data from now fails once (0: the next one), and what it covered is marked clean although
    /// it was never written, as Linux does.
    pub fn fail_sync_at(&self, syncs_from_now: u64) {
        self.state.lock().faults.fail_sync_in = Some(syncs_from_now);
    }

    /// From now on syncs of file data answer at once and do nothing: a disk that no log can stand on. For tests of tests.
    pub fn lie_about_syncs(&self) {
        self.state.lock().faults.lies = true;
    }

    /// Takes back planted faults that have not happened yet, and makes space endless. What was lost stays lost.
    pub fn heal(&self) {
        let faults = &mut self.state.lock().faults;
        (faults.cut_at, faults.fail_sync_in, faults.space) = (None, None, None);
        faults.fail_point = None;
    }

    /// Files may grow by this many bytes more, then the disk is full. `None`: endless.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.state.lock().faults.space = bytes;
    }

    /// Flips one bit of a stored file, for good.
    ///
    /// # Panics
    /// If there is no such file or byte: the test would test nothing.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) {
        self.with_file(path, |file| file.flip(offset, bit));
    }

    /// Cuts a stored file, for good.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn cut_file(&self, path: &Path, bytes: u64) {
        self.with_file(path, |file| file.cut(bytes));
    }

    /// Removes a stored file, for good.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn lose_file(&self, path: &Path) {
        self.state.lock().names.lose(path);
    }

    /// Overwrites bytes of a stored file (created if missing), for good.
    pub fn plant(&self, path: &Path, offset: u64, bytes: &[u8]) {
        let mut state = self.state.lock();
        if state.names.get(path).is_none() {
            let id = state.new_file();
            state.names.plant(path, id);
        }
        drop(state);
        self.with_file(path, |file| file.plant(offset, bytes));
    }

    /// The bytes of a file as a read would see them.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let id = state.names.get(path)?;
        state.files.get(&id).map(|f| f.cache.clone())
    }

    /// A copy of the whole disk as it is now, with a seed of its own: one state, many ends.
    pub fn fork(&self, seed: u64) -> Self {
        let state = self.state.lock();
        let mut faults = Faults::new(seed);
        faults.off = state.faults.off;
        let copy = State {
            files: state.files.clone(),
            next_file: state.next_file,
            names: state.names.clone(),
            locks: state.locks.clone(),
            faults,
            epoch: state.epoch,
        };
        Self { state: Arc::new(Mutex::new(copy)) }
    }

    fn with_file(&self, path: &Path, change: impl FnOnce(&mut FileImage)) {
        let mut state = self.state.lock();
        let id = state.names.get(path).unwrap_or_else(|| panic!("no file {}", path.display()));
        change(state.files.get_mut(&id).expect("every name points at a file"));
    }
}

impl State {
    fn new_file(&mut self) -> u64 {
        let id = self.next_file;
        self.next_file += 1;
        self.files.insert(id, FileImage::default());
        id
    }

    fn end_process(&mut self) {
        self.epoch += 1;
        self.locks.clear();
        self.faults.off = false;
        self.faults.cut_at = None;
        let names = &self.names;
        self.files.retain(|id, _| names.mentions(*id));
    }

    /// Counts an operation; an error if the power is off, or fails now (`true`: the operation is the torn one).
    fn begin(&mut self, path: &Path) -> Result<bool, Error> {
        if self.faults.off {
            return Err(power_off(path));
        }
        Ok(self.faults.count())
    }
}

fn power_off(path: &Path) -> Error {
    Error::io("use without power", path, std::io::Error::other("the simulated power is off"))
}

fn missing(operation: &'static str, path: &Path) -> Error {
    Error::io(operation, path, std::io::ErrorKind::NotFound.into())
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> Result<(), Error> {
        let state = self.state.lock();
        if state.faults.off { Err(power_off(dir)) } else { Ok(()) }
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, Error> {
        let state = self.state.lock();
        if state.faults.off { Err(power_off(dir)) } else { Ok(state.names.list(dir)) }
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, Error> {
        let state = self.state.lock();
        if state.faults.off {
            return Err(power_off(path));
        }
        let id = state.names.get(path).ok_or_else(|| missing("open", path))?;
        let file = SimFile { disk: self.clone(), id, path: path.to_path_buf(), epoch: state.epoch };
        Ok(Arc::new(file))
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, Error> {
        let mut state = self.state.lock();
        if state.begin(path)? {
            return Err(power_off(path));
        }
        let id = match state.names.get(path) {
            Some(id) => {
                state.files.get_mut(&id).expect("every name points at a file").set_len(0);
                id
            }
            None => {
                let id = state.new_file();
                state.names.create(path, id);
                id
            }
        };
        let file = SimFile { disk: self.clone(), id, path: path.to_path_buf(), epoch: state.epoch };
        Ok(Arc::new(file))
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        let mut state = self.state.lock();
        if state.begin(path)? {
            return Err(power_off(path));
        }
        if state.names.remove(path) { Ok(()) } else { Err(missing("remove", path)) }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        let mut state = self.state.lock();
        let torn = state.begin(from)?;
        // A rename is atomic: with the power failing it is pending, or it never was.
        let done = state.names.rename(from, to);
        match (torn, done) {
            (true, _) => Err(power_off(from)),
            (false, true) => Ok(()),
            (false, false) => Err(missing("rename", from)),
        }
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        let mut state = self.state.lock();
        if state.begin(dir)? {
            return Err(power_off(dir));
        }
        state.names.sync(dir);
        Ok(())
    }

    fn reached(&self, point: FailPoint) -> Result<(), Error> {
        let ends = self.state.lock().faults.ends_at(point);
        if ends { Err(power_off(Path::new("fail point"))) } else { Ok(()) }
    }

    fn lock(&self, path: &Path) -> Result<DiskLock, Error> {
        let mut state = self.state.lock();
        if state.faults.off {
            return Err(power_off(path));
        }
        if !state.locks.insert(path.to_path_buf()) {
            return Err(Error::Locked { path: path.to_path_buf() });
        }
        let held = SimLock { disk: self.clone(), path: path.to_path_buf(), epoch: state.epoch };
        Ok(DiskLock::new(held))
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.epoch == self.epoch {
            state.locks.remove(&self.path);
        }
    }
}

impl SimFile {
    fn with<R>(&self, act: impl FnOnce(&mut FileImage, &mut Faults) -> Result<R, Error>) -> Result<R, Error> {
        let mut state = self.disk.state.lock();
        let state = &mut *state;
        if state.epoch != self.epoch || state.faults.off {
            return Err(power_off(&self.path));
        }
        let file = state.files.get_mut(&self.id).ok_or_else(|| missing("use", &self.path))?;
        act(file, &mut state.faults)
    }

    /// Takes the bytes by which the file would grow out of the free space.
    fn grow(&self, file: &FileImage, end: u64, faults: &mut Faults) -> Result<(), Error> {
        let growth = end.saturating_sub(file.cache.len() as u64);
        match &mut faults.space {
            Some(space) if *space < growth => {
                Err(Error::io("write", &self.path, std::io::ErrorKind::StorageFull.into()))
            }
            Some(space) => {
                *space -= growth;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        self.with(|file, _| Ok(file.read(offset, buffer)))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.with(|file, faults| {
            let torn = faults.count();
            self.grow(file, offset + bytes.len() as u64, faults)?;
            file.write(offset, bytes);
            if torn { Err(power_off(&self.path)) } else { Ok(()) }
        })
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.with(|file, faults| {
            if faults.count() {
                return Err(power_off(&self.path));
            }
            if faults.sync_fails() {
                file.forget_dirty();
                return Err(Error::SyncFailed {
                    why: format!("fdatasync {}: simulated", self.path.display()),
                });
            }
            if !faults.lies {
                file.sync();
            }
            Ok(())
        })
    }

    fn len(&self) -> Result<u64, Error> {
        self.with(|file, _| Ok(file.cache.len() as u64))
    }

    fn set_len(&self, bytes: u64) -> Result<(), Error> {
        self.with(|file, faults| {
            let torn = faults.count();
            self.grow(file, bytes, faults)?;
            file.set_len(bytes);
            if torn { Err(power_off(&self.path)) } else { Ok(()) }
        })
    }
}
