//! One simulated file: what reads see, what is durable, and which blocks differ.

use super::SIM_BLOCK_BYTES;
use super::faults::Faults;
use std::collections::BTreeSet;

#[derive(Default, Clone)]
pub(super) struct FileImage {
    /// What reads see.
    pub(super) cache: Vec<u8>,
    durable: Vec<u8>,
    /// Blocks written since the last sync that covered them.
    dirty: BTreeSet<usize>,
}

impl FileImage {
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.cache.len());
        let count = buffer.len().min(self.cache.len() - start);
        buffer[..count].copy_from_slice(&self.cache[start..start + count]);
        count
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let start = offset as usize;
        let end = start + bytes.len();
        if self.cache.len() < end {
            self.set_len(end as u64);
        }
        self.cache[start..end].copy_from_slice(bytes);
        self.mark(start, end);
    }

    pub(super) fn set_len(&mut self, bytes: u64) {
        let (old, new) = (self.cache.len(), bytes as usize);
        self.cache.resize(new, 0);
        if new > old {
            self.mark(old, new);
        } else {
            // Cut bytes read as zeros if the file grows again.
            self.dirty.retain(|block| block * SIM_BLOCK_BYTES < new);
            self.mark(new, new);
        }
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.cache.len(), 0);
        for block in std::mem::take(&mut self.dirty) {
            copy_block(&self.cache, &mut self.durable, block);
        }
    }

    /// A failed sync: the kernel calls the blocks clean, but they never reached the disk.
    pub(super) fn forget_dirty(&mut self) {
        self.dirty.clear();
    }

    pub(super) fn power_cut(&mut self, faults: &mut Faults) {
        let survival = faults.survival_of_8();
        let (old, new) = (self.durable.len(), self.cache.len());
        if old != new && !self.dirty.is_empty() {
            // The length goes through the journal on its own: any length between the two may be found.
            let shorter = old.min(new);
            let span = (old.max(new) - shorter) as u64;
            let length = match faults.random() % 3 {
                0 => old,
                1 => new,
                _ => shorter + (faults.random() % (span + 1)) as usize,
            };
            self.durable.resize(length, 0);
        }
        for block in std::mem::take(&mut self.dirty) {
            if faults.random() % 8 < survival {
                copy_block(&self.cache, &mut self.durable, block);
            }
        }
        self.cache.clone_from(&self.durable);
    }

    pub(super) fn flip(&mut self, offset: u64, bit: u8) {
        let at = offset as usize;
        assert!(at < self.cache.len(), "byte {at} of a file of {} bytes", self.cache.len());
        self.cache[at] ^= 1 << bit;
        if at < self.durable.len() {
            self.durable[at] ^= 1 << bit;
        }
    }

    pub(super) fn cut(&mut self, bytes: u64) {
        self.cache.truncate(bytes as usize);
        self.durable.truncate(bytes as usize);
        self.dirty.retain(|block| block * SIM_BLOCK_BYTES < bytes as usize);
    }

    pub(super) fn plant(&mut self, offset: u64, bytes: &[u8]) {
        self.write(offset, bytes);
        self.sync();
    }

    fn mark(&mut self, start: usize, end: usize) {
        self.dirty.extend(start / SIM_BLOCK_BYTES..=end.saturating_sub(1).max(start) / SIM_BLOCK_BYTES);
    }
}

/// Copies what both images have of the block.
fn copy_block(from: &[u8], to: &mut [u8], block: usize) {
    let start = block * SIM_BLOCK_BYTES;
    let end = (start + SIM_BLOCK_BYTES).min(from.len()).min(to.len());
    if start < end {
        to[start..end].copy_from_slice(&from[start..end]);
    }
}
