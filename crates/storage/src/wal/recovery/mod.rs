//! Opening: find the newest segment, replay what its head names, and start a new segment.
//!
//! Recovery never writes behind what it found. It starts a segment of its own, whose head says where the one before
//! ends, and copies the last batch into it: that batch alone may have been written but never synced, or be torn; the
//! ones before it are proven durable by it. So what recovery reports is durable when it returns, however the process
//! ended, and a cut is decided once: the next recovery finds the same end, and what lies behind it is void.
//!
//! Damage is told from a torn end by what follows it: a later batch of the same incarnation, or a later segment.

mod moves;
mod replay;
mod scan;

use super::Wal;
use super::committer::Committer;
use super::head::NodeQuarantine;
use super::inventory::{Inventory, SlotUse};
use super::ledger::Ledger;
use super::options::WalOptions;
use super::shared::Shared;
use super::slots::{Files, Slots, set_aside_name, slot_name, slot_of};
use crate::disk::{Disk, DiskFile, DiskLock};
use crate::error::Error;
use replay::Replayed;
use scan::{Head, Probe};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Name of the lock file.
const LOCK_NAME: &str = "lock";

/// What is in the directory.
struct Found {
    probes: BTreeMap<u32, Probe>,
    files: BTreeMap<u32, Arc<dyn DiskFile>>,
    /// Slots that must be there and are not.
    missing: Vec<u32>,
    inventory: Inventory,
    /// The stored inventory says the same.
    inventory_is_current: bool,
}

pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path, mut options: WalOptions) -> Result<Wal, Error> {
    options.check()?;
    disk.create_dir_all(dir)?;
    let lock = disk.lock(&dir.join(LOCK_NAME))?;
    let found = find(&*disk, dir, &options)?;
    if found.inventory.segment_bytes != options.segment_bytes {
        let (asked, kept) = (options.segment_bytes, found.inventory.segment_bytes);
        tracing::warn!(asked, kept, "the log keeps the segment size it was created with");
        options.segment_bytes = kept;
        options.check()?;
    }
    let (mut replayed, damage) = match found.newest() {
        Ok(Some((slot, head))) => {
            let replayed = replay::replay(&found.files, slot, head, options.segment_bytes)?;
            (replayed, found.missing_why())
        }
        Ok(None) => (Replayed::default(), found.missing_why()),
        Err(why) => (found.replay_what_is_sound(options.segment_bytes)?, Some(why)),
    };
    let (incarnation, number) = found.newest_seen();
    replayed.last_number = replayed.last_number.max(number);
    if let Some(why) = damage.or_else(|| replayed.damage.take()) {
        tracing::error!(dir = %dir.display(), why, "the log is damaged: every group of this node is quarantined");
        replayed.quarantine_node(NodeQuarantine { why, before: incarnation + 1 });
    }
    for (group, log) in &replayed.groups {
        if let Some(why) = &log.quarantined {
            tracing::error!(group_id = group, why, "the log of the group is damaged: it is quarantined");
        }
    }
    start(disk, dir, options, lock, &found, replayed, incarnation + 1)
}

fn find(disk: &dyn Disk, dir: &Path, options: &WalOptions) -> Result<Found, Error> {
    let names = disk.list(dir)?;
    let is_there = |name: String| names.contains(&name);
    let loaded = Inventory::load(disk, dir, &names)?;
    let mut files: BTreeMap<u32, Arc<dyn DiskFile>> = BTreeMap::new();
    for slot in names.iter().filter_map(|name| slot_of(name)) {
        files.insert(slot, disk.open(&dir.join(slot_name(slot)))?);
    }
    let mut inventory = match &loaded {
        Some(inventory) => inventory.clone(),
        None => {
            let mut bytes = 0;
            for file in files.values() {
                bytes = file.len()?.max(bytes);
            }
            let segment_bytes = if bytes == 0 { options.segment_bytes } else { bytes };
            Inventory { segment_bytes, slots: Vec::new() }
        }
    };
    // A file that the inventory does not name yet was made, and never used. Without an inventory all are such.
    let named = inventory.slots.len() as u32;
    let count = files.keys().next_back().map_or(0, |last| last + 1).max(named);
    for slot in named..count {
        let aside = !files.contains_key(&slot) && is_there(set_aside_name(slot));
        inventory.slots.push(if aside { SlotUse::SetAside } else { SlotUse::InService });
    }
    files.retain(|slot, _| inventory.slots[*slot as usize] == SlotUse::InService);
    let in_service = (0..count).filter(|slot| inventory.slots[*slot as usize] == SlotUse::InService);
    let missing = in_service.filter(|slot| !files.contains_key(slot)).collect();
    let mut probes = BTreeMap::new();
    for (slot, file) in &files {
        probes.insert(*slot, scan::probe(&**file, *slot, inventory.segment_bytes)?);
    }
    let inventory_is_current = loaded.as_ref() == Some(&inventory);
    Ok(Found { probes, files, missing, inventory, inventory_is_current })
}

impl Found {
    fn heads(&self) -> impl Iterator<Item = (u32, &Head)> {
        self.probes.iter().filter_map(|(slot, probe)| match probe {
            Probe::Head(head) => Some((*slot, head)),
            Probe::Blank | Probe::Torn { .. } | Probe::Damaged { .. } => None,
        })
    }

    fn newest_head(&self) -> Option<(u32, &Head)> {
        self.heads().max_by_key(|(_, head)| head.incarnation)
    }

    /// Slots that must not be overwritten until the new head is durable. A head that nothing follows may be seen
    /// although its sync failed: a power cut takes it away, and then the one before it is the newest again.
    fn protected(&self) -> BTreeSet<u32> {
        let mut heads: Vec<_> = self.heads().collect();
        heads.sort_unstable_by_key(|(_, head)| Reverse(head.incarnation));
        let mut protected = BTreeSet::new();
        for (slot, head) in heads {
            protected.insert(slot);
            protected.extend(head.manifest.segments.iter().map(|sealed| sealed.slot));
            if head.is_proven {
                break;
            }
        }
        protected
    }

    /// The newest head. The error says why the newest cannot be known.
    fn newest(&self) -> Result<Option<(u32, &Head)>, String> {
        let newest = self.newest_head();
        let incarnation = newest.map_or(0, |(_, head)| head.incarnation);
        for (slot, probe) in &self.probes {
            let Probe::Damaged { newest_batch, why, harmless } = probe else {
                continue;
            };
            let is_newer = newest_batch.is_some_and(|(batch, _)| batch > incarnation);
            if is_newer || !harmless {
                return Err(format!("segment file {}: {why}", slot_name(*slot)));
            }
        }
        Ok(newest)
    }

    /// For diagnosis only: what the newest sound head knows.
    fn replay_what_is_sound(&self, segment_bytes: u64) -> Result<Replayed, Error> {
        match self.newest_head() {
            Some((slot, head)) => replay::replay(&self.files, slot, head, segment_bytes),
            None => Ok(Replayed::default()),
        }
    }

    fn missing_why(&self) -> Option<String> {
        let slot = self.missing.first()?;
        Some(format!("segment file {} is missing", slot_name(*slot)))
    }

    /// Incarnation and batch number that nothing on this disk exceeds.
    fn newest_seen(&self) -> (u64, u64) {
        let seen = || self.probes.values().map(Probe::newest);
        (seen().map(|(i, _)| i).max().unwrap_or(0), seen().map(|(_, n)| n).max().unwrap_or(0))
    }

    /// Files of before a quarantine of the node, damaged ones and missing ones: they leave the service.
    fn evidence(&self, ledger: &Ledger) -> Vec<u32> {
        let Some(node) = &ledger.node else {
            return Vec::new();
        };
        let live = |slot: u32| ledger.segments.iter().any(|segment| segment.slot == slot);
        let old = self.probes.iter().filter(|(slot, probe)| match probe {
            Probe::Blank => false,
            Probe::Head(head) => head.incarnation < node.before && !live(**slot),
            Probe::Torn { incarnation, .. } => *incarnation < node.before,
            Probe::Damaged { .. } => !live(**slot),
        });
        old.map(|(slot, _)| *slot).chain(self.missing.iter().copied()).collect()
    }
}

/// Starts the new segment, and with it the log.
fn start(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: WalOptions,
    lock: DiskLock,
    found: &Found,
    replayed: Replayed,
    incarnation: u64,
) -> Result<Wal, Error> {
    let Replayed { mut ledger, mut groups, tail, last_number, damage: _ } = replayed;
    let mut files: Files = vec![None; found.inventory.slots.len()];
    for (slot, file) in &found.files {
        files[*slot as usize] = Some(file.clone());
    }
    let budget = options.budget_segments();
    let mut slots =
        Slots::new(disk.clone(), dir, found.inventory.clone(), files, options.prepare_bytes, budget);
    if !found.inventory_is_current {
        slots.save_inventory()?;
    }
    let evidence = found.evidence(&ledger);
    let protected = found.protected();
    let unused = |slot: &u32| !protected.contains(slot) && !evidence.contains(slot);
    slots.free = found.files.keys().copied().filter(unused).collect();
    if slots.free.is_empty() {
        slots.make_now()?;
    }
    let slot = slots.free.pop_front().expect("one was made");

    let moved = moves::leave_tail(&mut ledger, &groups, tail.as_ref(), options.segment_bytes);
    let file = slots.files[slot as usize].clone().expect("a free slot has a file");
    let mut committer = Committer::new(ledger, file, last_number + 1, incarnation, &options);
    moves::write_head(&mut committer, slot, &moved, tail.as_ref(), &mut groups);
    let mut shared = Shared::new(dir.to_path_buf(), groups, committer.ledger.node.as_ref());
    shared.files.clone_from(&slots.files);
    shared.incarnations = vec![0; slots.files.len()];
    for segment in &committer.ledger.segments {
        shared.incarnations[segment.slot as usize] = segment.incarnation;
    }
    let wal = Wal::assemble(options, dir, disk, shared, committer, slots, lock);
    {
        let mut committer = wal.committer.lock();
        wal.complete(&mut committer)?;
        moves::enter(&mut committer.ledger, &moved);
        // Proves the head to the next recovery.
        wal.mark_step(&mut committer)?;
        wal.free_unneeded(&committer, &evidence);
        // Only now: until the head is durable, the files in their place are what says that they are damaged.
        let mut slots = wal.slots.lock();
        if !evidence.is_empty() {
            slots.set_aside(&evidence)?;
        }
        wal.shared.lock().files.clone_from(&slots.files);
    }
    Ok(wal)
}

impl Wal {
    /// The new head is durable: whatever it does not name is free.
    fn free_unneeded(&self, committer: &Committer, evidence: &[u32]) {
        let live = |slot: u32| committer.ledger.segments.iter().any(|segment| segment.slot == slot);
        let mut slots = self.slots.lock();
        let free: Vec<u32> = (0..slots.files.len() as u32)
            .filter(|slot| slots.files[*slot as usize].is_some() && !live(*slot) && !evidence.contains(slot))
            .collect();
        slots.free = free.into();
    }
}
