//! The log's limits, each with its unit, and the rules between them.

use crate::error::Error;
use crate::format::BLOCK_BYTES;

/// How large the log may grow and what it keeps in memory. Defaults suit a node with 8 to 64 groups.
#[derive(Debug, Clone)]
pub struct WalOptions {
    /// Size of one segment, bytes; fixed when the log is created. A multiple of 4 KiB, at least 64 KiB.
    pub segment_bytes: u64,
    /// Segments are pre-written up to this size, and above three quarters of it [`super::Wal::pressure`] asks for
    /// checkpoints. The log never takes more than twice this, bytes.
    pub budget_bytes: u64,
    /// A batch is closed once it has this many bytes; a single record may be larger.
    pub batch_bytes_max: usize,
    /// Bodies of recent entries kept in memory, bytes. Bodies that wait for their sync come on top.
    pub cache_bytes: usize,
    /// Bodies that may wait for their sync; beyond, `append` answers [`Error::Overloaded`], bytes.
    pub pending_bytes_max: usize,
    /// One [`super::Wal::prepare_step`] writes at most this much, bytes.
    pub prepare_bytes: usize,
}

/// Smallest segment, bytes: room for a head, a batch and a mark.
pub const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// Fewest segments in the budget: one in use, three free (see `slots`), one pinned.
pub const SEGMENTS_MIN: u64 = 5;

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            budget_bytes: 512 * 1024 * 1024,
            batch_bytes_max: 8 * 1024 * 1024,
            cache_bytes: 64 * 1024 * 1024,
            pending_bytes_max: 256 * 1024 * 1024,
            prepare_bytes: 4 * 1024 * 1024,
        }
    }
}

impl WalOptions {
    /// Small segments and caches, for tests and simulations.
    pub fn small() -> Self {
        Self {
            segment_bytes: 64 * 1024,
            budget_bytes: 8 * 64 * 1024,
            batch_bytes_max: 16 * 1024,
            cache_bytes: 32 * 1024,
            pending_bytes_max: 1024 * 1024,
            prepare_bytes: 32 * 1024,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let fail = |option, why: String| Err(Error::InvalidOption { option, why });
        if self.segment_bytes < SEGMENT_BYTES_MIN || !self.segment_bytes.is_multiple_of(BLOCK_BYTES as u64) {
            return fail("segment_bytes", format!("a multiple of 4096, at least {SEGMENT_BYTES_MIN}"));
        }
        if self.segment_bytes > u64::from(u32::MAX) {
            return fail("segment_bytes", "less than 4 GiB".into());
        }
        if self.budget_bytes < SEGMENTS_MIN * self.segment_bytes {
            return fail("budget_bytes", format!("at least {SEGMENTS_MIN} segments"));
        }
        // A head names up to twice the budget's segments in at most a sixteenth of one.
        let manifest_bytes = 2 * self.budget_segments() * super::head::MANIFEST_SEGMENT_BYTES;
        if manifest_bytes as u64 > self.segment_bytes / 16 {
            return fail("budget_bytes", "too many segments for a head: raise segment_bytes".into());
        }
        if self.batch_bytes_max == 0 || self.batch_bytes_max as u64 > self.segment_bytes / 4 {
            return fail("batch_bytes_max", "1 byte to a quarter of a segment".into());
        }
        if self.prepare_bytes < BLOCK_BYTES {
            return fail("prepare_bytes", "at least 4096".into());
        }
        Ok(())
    }

    /// Segments within the budget.
    pub(crate) fn budget_segments(&self) -> usize {
        (self.budget_bytes / self.segment_bytes) as usize
    }

    /// Largest body of one record, bytes: half a segment, so that a recovered batch and a head fit one segment.
    pub fn record_bytes_max(&self) -> u64 {
        self.segment_bytes / 2 - 2 * BLOCK_BYTES as u64
    }

    /// Groups that a head has room for: a head may take an eighth of a segment.
    pub(crate) fn groups_max(&self) -> u64 {
        self.segment_bytes / 8 / super::head::GROUP_RECORD_BYTES_MAX as u64
    }
}
