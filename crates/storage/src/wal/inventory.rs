//! Which segment files must be there: a small file of its own, replaced as a whole.
//!
//! Without it a lost newest segment would look like one that never was, and the log would be silently shorter.
//! Invariant: a slot is used only after the inventory that names it is durable.

use crate::disk::Disk;
use crate::error::Error;
use crate::format::Fields;
use std::path::{Path, PathBuf};

const MAGIC: u64 = u64::from_le_bytes(*b"PXWINV\0\x01");
/// File name of the inventory.
pub(crate) const NAME: &str = "inventory";
const NAME_NEW: &str = "inventory.new";
/// Far more slots than any budget has: a larger count is damage.
const SLOTS_MAX: u32 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotUse {
    InService,
    /// Evidence of damage: renamed, kept for the operator, never written again.
    SetAside,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inventory {
    pub(crate) segment_bytes: u64,
    pub(crate) slots: Vec<SlotUse>,
}

impl Inventory {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.extend_from_slice(&self.segment_bytes.to_le_bytes());
        bytes.extend_from_slice(&(self.slots.len() as u32).to_le_bytes());
        bytes.extend(self.slots.iter().map(|slot| u8::from(*slot == SlotUse::SetAside)));
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (covered, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc != crc32c::crc32c(covered).to_le_bytes() {
            return None;
        }
        let mut fields = Fields::new(covered);
        if fields.u64()? != MAGIC {
            return None;
        }
        let segment_bytes = fields.u64()?;
        let count = fields.u32()?;
        let mut slots = Vec::new();
        for _ in 0..count {
            slots.push(if fields.u8()? == 0 { SlotUse::InService } else { SlotUse::SetAside });
        }
        fields.is_empty().then_some(Self { segment_bytes, slots })
    }

    /// `None` if there is none or it is damaged: then the files that are there are taken as the whole.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path, names: &[String]) -> Result<Option<Self>, Error> {
        if !names.iter().any(|name| name == NAME) {
            return Ok(None);
        }
        let file = disk.open(&dir.join(NAME))?;
        let mut bytes = vec![0; file.len()?.min(u64::from(SLOTS_MAX)) as usize];
        let count = file.read_at(0, &mut bytes)?;
        let inventory = Self::decode(&bytes[..count]);
        if inventory.is_none() {
            tracing::warn!(path = %dir.join(NAME).display(), "damaged inventory of the log: rebuilt from the files found");
        }
        Ok(inventory)
    }

    pub(crate) fn save(&self, disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
        let new: PathBuf = dir.join(NAME_NEW);
        let file = disk.create(&new)?;
        file.write_at(0, &self.encode())?;
        file.sync_data()?;
        disk.rename(&new, &dir.join(NAME))?;
        disk.sync_dir(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_seen() {
        let inventory =
            Inventory { segment_bytes: 65536, slots: vec![SlotUse::InService, SlotUse::SetAside] };
        let bytes = inventory.encode();
        assert_eq!(Inventory::decode(&bytes), Some(inventory));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Inventory::decode(&flipped), None, "bit {bit}");
        }
    }
}
