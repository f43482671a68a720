//! A file system in memory that knows what was synced.
//!
//! Every file has the bytes that programs see and those that survive; every directory the names. A sync of a file makes its bytes survive, a sync of a
//! directory the changes of its names, as POSIX says and no more. When power is lost, unsynced blocks survive by chance, each by
//! itself (a write of several may be torn), and of the unsynced changes of names those up to some moment, as with a journal.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use rand::Rng as _;
use rand::rngs::SmallRng;

/// What survives, or does not, as a whole, bytes.
pub const BLOCK_BYTES: usize = 512;
/// The top directory.
pub const ROOT: u64 = 1;

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such name or file.
    Missing,
    /// The name is taken.
    Taken,
    /// The directory holds something.
    NotEmpty,
    /// It is the other kind of thing.
    WrongKind,
    /// The disk is full.
    NoSpace,
    /// The disk is broken.
    Broken,
}

type Names = BTreeMap<OsString, u64>;

/// A file or a directory.
#[derive(Debug, Default)]
struct Inode {
    /// `None`: a file.
    names: Option<(Names, Names)>,
    seen: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    open: u64,
}

/// Names that change together: directory, name, what it stands for from now on.
type Change = Vec<(u64, OsString, Option<u64>)>;

/// The file system of one machine.
#[derive(Debug)]
pub struct Tree {
    inodes: BTreeMap<u64, Inode>,
    next: u64,
    /// Changes of names that were not synced, in their order.
    pending: Vec<Change>,
    /// Files do not grow.
    pub is_full: bool,
    /// The next sync fails, and what it was to sync is lost with the power.
    pub next_sync_fails: bool,
    /// Syncs that failed.
    pub syncs_failed: u64,
}

impl Default for Tree {
    fn default() -> Self {
        let root = Inode { names: Some(Default::default()), ..Inode::default() };
        let inodes = BTreeMap::from([(ROOT, root)]);
        Self {
            inodes,
            next: ROOT + 1,
            pending: Vec::new(),
            is_full: false,
            next_sync_fails: false,
            syncs_failed: 0,
        }
    }
}

impl Tree {
    fn inode(&self, id: u64) -> Result<&Inode, Refusal> {
        self.inodes.get(&id).ok_or(Refusal::Missing)
    }

    fn inode_mut(&mut self, id: u64) -> Result<&mut Inode, Refusal> {
        self.inodes.get_mut(&id).ok_or(Refusal::Missing)
    }

    fn names(&self, directory: u64) -> Result<&Names, Refusal> {
        self.inode(directory)?.names.as_ref().map(|(seen, _)| seen).ok_or(Refusal::WrongKind)
    }

    /// What a name stands for.
    ///
    /// # Errors
    /// [`Refusal::Missing`].
    pub fn lookup(&self, directory: u64, name: &OsStr) -> Result<u64, Refusal> {
        self.names(directory)?.get(name).copied().ok_or(Refusal::Missing)
    }

    /// All names of a directory.
    ///
    /// # Errors
    /// When it is none.
    pub fn list(&self, directory: u64) -> Result<Vec<(OsString, u64)>, Refusal> {
        Ok(self.names(directory)?.iter().map(|(name, id)| (name.clone(), *id)).collect())
    }

    /// Whether it is a directory, and the length of the file.
    ///
    /// # Errors
    /// When there is none.
    pub fn look(&self, id: u64) -> Result<(bool, u64), Refusal> {
        let inode = self.inode(id)?;
        Ok((inode.names.is_some(), inode.seen.len() as u64))
    }

    fn change(&mut self, change: Change) {
        for (directory, name, to) in &change {
            let Some((seen, _)) = self.inodes.get_mut(directory).and_then(|inode| inode.names.as_mut())
            else {
                continue;
            };
            match to {
                Some(id) => seen.insert(name.clone(), *id),
                None => seen.remove(name),
            };
        }
        self.pending.push(change);
    }

    /// Makes a file or a directory.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn make(&mut self, directory: u64, name: &OsStr, is_directory: bool) -> Result<u64, Refusal> {
        if self.names(directory)?.contains_key(name) {
            return Err(Refusal::Taken);
        }
        let id = self.next;
        self.next += 1;
        let names = is_directory.then(Default::default);
        self.inodes.insert(id, Inode { names, ..Inode::default() });
        self.change(vec![(directory, name.to_owned(), Some(id))]);
        Ok(id)
    }

    /// Takes a name away.
    ///
    /// # Errors
    /// When there is none, or it stands for the other kind of thing, or for a directory with something in it.
    pub fn remove(&mut self, directory: u64, name: &OsStr, is_directory: bool) -> Result<(), Refusal> {
        let id = self.lookup(directory, name)?;
        match &self.inode(id)?.names {
            Some((seen, _)) if is_directory && !seen.is_empty() => return Err(Refusal::NotEmpty),
            names if names.is_some() != is_directory => return Err(Refusal::WrongKind),
            _ => {}
        }
        self.change(vec![(directory, name.to_owned(), None)]);
        Ok(())
    }

    /// Gives a thing another name; what had that name is gone. Both happen, or neither.
    ///
    /// # Errors
    /// When there is nothing of that name.
    pub fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Refusal> {
        let id = self.lookup(from.0, from.1)?;
        self.names(to.0)?;
        if from != to {
            self.change(vec![(from.0, from.1.to_owned(), None), (to.0, to.1.to_owned(), Some(id))]);
        }
        Ok(())
    }

    /// Bytes as programs see them; fewer at the end of the file.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn read(&self, id: u64, offset: u64, length: usize) -> Result<&[u8], Refusal> {
        let seen = &self.inode(id)?.seen;
        let begin = (offset as usize).min(seen.len());
        Ok(&seen[begin..begin.saturating_add(length).min(seen.len())])
    }

    /// Writes, and lets the file grow if need be.
    ///
    /// # Errors
    /// [`Refusal::NoSpace`] when a full disk would have to hold more.
    pub fn write(&mut self, id: u64, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let is_full = self.is_full;
        let inode = self.inode_mut(id)?;
        let (begin, end) = (offset as usize, offset as usize + bytes.len());
        if end > inode.seen.len() {
            if is_full {
                return Err(Refusal::NoSpace);
            }
            inode.seen.resize(end, 0);
        }
        inode.seen[begin..end].copy_from_slice(bytes);
        inode.dirty.extend(begin / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES));
        Ok(())
    }

    /// Cuts a file, or lets it grow by zeros.
    ///
    /// # Errors
    /// As [`Tree::write`].
    pub fn set_length(&mut self, id: u64, length: u64) -> Result<(), Refusal> {
        let is_full = self.is_full;
        let inode = self.inode_mut(id)?;
        let (before, after) = (inode.seen.len(), length as usize);
        if after > before && is_full {
            return Err(Refusal::NoSpace);
        }
        inode.seen.resize(after, 0);
        // What is cut off and grows again are zeros, not what was there.
        inode.dirty.extend(before.min(after) / BLOCK_BYTES..before.max(after).div_ceil(BLOCK_BYTES));
        Ok(())
    }

    /// Makes the bytes of a file, or the changes of a directory's names, survive.
    ///
    /// # Errors
    /// [`Refusal::Broken`] once after [`Tree::next_sync_fails`] was set; a later sync succeeds, and syncs nothing of what this one lost.
    pub fn sync(&mut self, id: u64) -> Result<(), Refusal> {
        if self.inode(id)?.names.is_some() {
            self.sync_names(id);
            self.forget_unreachable();
            return Ok(());
        }
        if std::mem::take(&mut self.next_sync_fails) {
            self.syncs_failed += 1;
            self.inode_mut(id)?.dirty.clear();
            return Err(Refusal::Broken);
        }
        let inode = self.inode_mut(id)?;
        inode.durable.resize(inode.seen.len(), 0);
        for block in std::mem::take(&mut inode.dirty) {
            keep(inode, block);
        }
        Ok(())
    }

    fn sync_names(&mut self, directory: u64) {
        let pending = std::mem::take(&mut self.pending);
        for change in pending {
            if change.iter().any(|(changed, ..)| *changed == directory) {
                self.survive(&change);
            } else {
                self.pending.push(change);
            }
        }
    }

    fn survive(&mut self, change: &Change) {
        for (directory, name, to) in change {
            let Some((_, durable)) = self.inodes.get_mut(directory).and_then(|inode| inode.names.as_mut())
            else {
                continue;
            };
            match to {
                Some(id) => durable.insert(name.clone(), *id),
                None => durable.remove(name),
            };
        }
    }

    /// A program has it open.
    pub fn opened(&mut self, id: u64) {
        if let Ok(inode) = self.inode_mut(id) {
            inode.open += 1;
        }
    }

    /// A program has closed it.
    pub fn closed(&mut self, id: u64) {
        if let Ok(inode) = self.inode_mut(id) {
            inode.open = inode.open.saturating_sub(1);
        }
    }

    fn forget_unreachable(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut next: Vec<u64> = vec![ROOT];
        next.extend(self.pending.iter().flatten().filter_map(|(_, _, to)| *to));
        next.extend(self.inodes.iter().filter(|(_, inode)| inode.open > 0).map(|(id, _)| *id));
        while let Some(id) = next.pop() {
            reached.insert(id);
            if let Some((seen, durable)) = self.inodes.get(&id).and_then(|inode| inode.names.as_ref()) {
                next.extend(seen.values().chain(durable.values()).filter(|id| !reached.contains(id)));
            }
        }
        self.inodes.retain(|id, _| reached.contains(id));
    }

    /// The power goes. What was not synced survives by chance; how many blocks did not.
    pub fn power_cut(&mut self, random: &mut SmallRng) -> usize {
        // None, all, or some of it: a crash right after a sync is as likely as one with much in the cache.
        let survivors_percent = [0, 50, 90, 100][random.random_range(0..4)];
        let pending = std::mem::take(&mut self.pending);
        let kept = if pending.is_empty() { 0 } else { random.random_range(0..=pending.len()) };
        for change in &pending[..kept] {
            self.survive(change);
        }
        let mut lost = 0;
        for inode in self.inodes.values_mut() {
            inode.open = 0;
            if let Some((seen, durable)) = &mut inode.names {
                seen.clone_from(durable);
                continue;
            }
            let survives = |random: &mut SmallRng| random.random_range(0..100) < survivors_percent;
            if inode.seen.len() != inode.durable.len() && survives(random) {
                inode.durable.resize(inode.seen.len(), 0);
            }
            for block in std::mem::take(&mut inode.dirty) {
                if survives(random) {
                    keep(inode, block);
                } else {
                    lost += 1;
                }
            }
            inode.seen.clone_from(&inode.durable);
        }
        (self.next_sync_fails, self.is_full) = (false, false);
        self.forget_unreachable();
        lost
    }
}

/// A block survives, as far as the surviving length reaches.
fn keep(inode: &mut Inode, block: usize) {
    let begin = block * BLOCK_BYTES;
    let end = (begin + BLOCK_BYTES).min(inode.seen.len()).min(inode.durable.len());
    if begin < end {
        inode.durable[begin..end].copy_from_slice(&inode.seen[begin..end]);
    }
}

#[cfg(test)]
mod tests;
