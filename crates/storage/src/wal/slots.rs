//! The segment files: made in bounded steps, numbered for ever, handed out when free.
//!
//! A file is filled under the name `.new`, synced, renamed, and only used once the inventory names it: a file under
//! its final name is whole, or damaged. Kept free: one slot for control records when entries are refused, one for the
//! next start.

use super::batch::{BatchBuilder, BatchKind};
use super::inventory::{Inventory, SlotUse};
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::fail_point::{FailPoint, Persist, Step};
use crate::format::BLOCK_BYTES;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Slots that stay free when entries take a new one.
pub(crate) const RESERVE_ENTRIES: usize = 2;
/// Slots that stay free when only control records (votes, purges, ...) take a new one.
pub(crate) const RESERVE_CONTROL: usize = 1;

pub(crate) fn slot_name(slot: u32) -> String {
    format!("{slot:08}.seg")
}

/// The slot of a file in service.
pub(crate) fn slot_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg")?;
    if digits.len() == 8 { digits.parse().ok() } else { None }
}

pub(crate) fn set_aside_name(slot: u32) -> String {
    format!("{slot:08}.rotten")
}

/// Files by slot; none for those set aside.
pub(crate) type Files = Vec<Option<Arc<dyn DiskFile>>>;

struct Making {
    slot: u32,
    file: Arc<dyn DiskFile>,
    filled: u64,
}

pub(crate) struct Slots {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    inventory: Inventory,
    pub(crate) files: Files,
    pub(crate) free: VecDeque<u32>,
    making: Option<Making>,
    step_bytes: u64,
    /// Slots that are pre-written without being asked for.
    budget: usize,
    /// The last attempt to make one failed.
    pub(crate) no_space: bool,
}

impl Slots {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        inventory: Inventory,
        files: Files,
        step_bytes: usize,
        budget: usize,
    ) -> Self {
        Self {
            disk,
            dir: dir.to_path_buf(),
            inventory,
            files,
            free: VecDeque::new(),
            making: None,
            step_bytes: step_bytes as u64,
            budget,
            no_space: false,
        }
    }

    fn in_service(&self) -> usize {
        self.files.iter().flatten().count()
    }

    /// Segments that may still be made: twice the budget is the end.
    pub(crate) fn growth(&self) -> usize {
        (2 * self.budget).saturating_sub(self.in_service())
    }

    /// Another segment may be made.
    pub(crate) fn may_grow(&self) -> bool {
        self.growth() > 0
    }

    /// True while segments of the budget are missing, or the free ones do not cover the reserve.
    pub(crate) fn wants_more(&self) -> bool {
        let reserve = self.free.len() <= RESERVE_ENTRIES && self.may_grow();
        self.making.is_some() || self.in_service() < self.budget || reserve
    }

    /// Writes a bounded part of the next segment file. True once that file is in service.
    pub(crate) fn make_step(&mut self) -> Result<bool, Error> {
        let result = self.try_make_step();
        self.no_space = matches!(result, Err(Error::DiskFull { .. }));
        if result.is_err() {
            self.making = None; // the next attempt starts over with an empty file
        }
        result
    }

    fn new_path(&self, slot: u32) -> PathBuf {
        self.dir.join(format!("{slot:08}.new"))
    }

    fn try_make_step(&mut self) -> Result<bool, Error> {
        let segment_bytes = self.inventory.segment_bytes;
        let making = match &mut self.making {
            Some(making) => making,
            None => {
                let slot = self.inventory.slots.len() as u32;
                let file = self.disk.create(&self.new_path(slot))?;
                self.making.insert(Making { slot, file, filled: 0 })
            }
        };
        let slot = making.slot;
        let count = self.step_bytes.min(segment_bytes - making.filled);
        let mut zeros = vec![0; count as usize];
        if making.filled == 0 {
            let blank = blank_block(slot);
            zeros[..blank.len()].copy_from_slice(&blank);
        }
        making.file.write_at(making.filled, &zeros)?;
        making.file.sync_data()?;
        making.filled += count;
        if making.filled < segment_bytes {
            return Ok(false);
        }
        let file = making.file.clone();
        self.making = None;
        self.disk.reached(FailPoint::new(Persist::Make, Step::Written))?;
        self.disk.rename(&self.new_path(slot), &self.dir.join(slot_name(slot)))?;
        self.disk.sync_dir(&self.dir)?;
        self.disk.reached(FailPoint::new(Persist::Make, Step::Durable))?;
        self.inventory.slots.push(SlotUse::InService);
        if let Err(error) = self.inventory.save(&*self.disk, &self.dir) {
            self.inventory.slots.pop();
            return Err(error);
        }
        self.files.push(Some(file));
        self.free.push_back(slot);
        Ok(true)
    }

    /// Makes one whole segment file now.
    pub(crate) fn make_now(&mut self) -> Result<(), Error> {
        while !self.make_step()? {}
        Ok(())
    }

    /// Makes the inventory say what is there; recovery calls it after it has adopted files.
    pub(crate) fn save_inventory(&self) -> Result<(), Error> {
        self.inventory.save(&*self.disk, &self.dir)
    }

    /// Takes damaged files out of service: renamed, never written again.
    pub(crate) fn set_aside(&mut self, slots: &[u32]) -> Result<(), Error> {
        for slot in slots {
            self.inventory.slots[*slot as usize] = SlotUse::SetAside;
        }
        self.save_inventory()?;
        for slot in slots {
            self.files[*slot as usize] = None;
            self.free.retain(|free| free != slot);
            let from = self.dir.join(slot_name(*slot));
            match self.disk.rename(&from, &self.dir.join(set_aside_name(*slot))) {
                Ok(()) => {}
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.disk.sync_dir(&self.dir)
    }
}

/// The first block of a segment that was never used.
pub(crate) fn blank_block(slot: u32) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    builder.begin(0, 0);
    let block = builder.finish(BatchKind::Blank, slot, 0, 0).to_vec();
    assert_eq!(block.len(), BLOCK_BYTES, "an empty batch is one block");
    block
}
