//! An engine in memory: for the simulation, and as the plainest member of the conformance suite.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::Error;
use crate::disk::{Disk as _, SimDisk};
use crate::fail_point::FailPoint;

use super::engine::Engine;

type Rows = BTreeMap<Vec<u8>, Bytes>;

/// Rows in memory. [`MemoryEngine::power_cut`] takes back what was not flushed.
#[derive(Default)]
pub struct MemoryEngine {
    inner: Mutex<Inner>,
    /// Of the machine that it is in.
    disk: Option<SimDisk>,
}

#[derive(Debug, Default)]
struct Inner {
    rows: Rows,
    /// What each row changed since the last flush was before.
    undo: BTreeMap<Vec<u8>, Option<Bytes>>,
}

impl MemoryEngine {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one in the machine with this disk: it works only while that has power.
    #[must_use]
    pub fn beside(disk: SimDisk) -> Self {
        Self { disk: Some(disk), ..Self::default() }
    }

    fn check_power(&self) -> Result<(), Error> {
        if self.disk.as_ref().is_some_and(SimDisk::is_without_power) {
            return Err(Error::Engine { operation: "use", why: "the simulated power is off".to_owned() });
        }
        Ok(())
    }

    /// The power goes: everything since the last flush is gone.
    pub fn power_cut(&self) {
        let mut inner = self.inner.lock();
        for (key, before) in std::mem::take(&mut inner.undo) {
            match before {
                Some(value) => inner.rows.insert(key, value),
                None => inner.rows.remove(&key),
            };
        }
    }

    /// Flips one bit of the `row`-th stored value (counting around); false when there is nothing to flip.
    pub fn flip(&self, row: usize, bit: usize) -> bool {
        let mut inner = self.inner.lock();
        let count = inner.rows.len();
        let Some((_, value)) = inner.rows.iter_mut().nth(row.checked_rem(count).unwrap_or(0)) else {
            return false;
        };
        let mut bytes = value.to_vec();
        let Some(at) = bit.checked_rem(bytes.len() * 8) else { return false };
        bytes[at / 8] ^= 1 << (at % 8);
        *value = Bytes::from(bytes);
        true
    }
}

impl Engine for MemoryEngine {
    fn write(&self, batch: Vec<(Vec<u8>, Option<Bytes>)>) -> Result<(), Error> {
        self.check_power()?;
        let mut inner = self.inner.lock();
        for (key, value) in batch {
            let before = match value {
                // A row of its own: the batch's buffer must not live as long as one row of it.
                Some(value) => inner.rows.insert(key.clone(), Bytes::copy_from_slice(&value)),
                None => inner.rows.remove(&key),
            };
            inner.undo.entry(key).or_insert(before);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), Error> {
        self.check_power()?;
        self.inner.lock().undo.clear();
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.check_power()?;
        Ok(self.inner.lock().rows.get(key).cloned())
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, Error> {
        self.check_power()?;
        if start >= end {
            return Ok(Vec::new());
        }
        let inner = self.inner.lock();
        let mut rows = Vec::new();
        let mut bytes = 0;
        for (key, value) in inner.rows.range(start.to_vec()..end.to_vec()) {
            if rows.len() >= rows_max.max(1) || bytes >= bytes_max {
                break;
            }
            bytes += value.len();
            rows.push((key.clone(), value.clone()));
        }
        Ok(rows)
    }

    fn disk_bytes(&self) -> u64 {
        self.inner.lock().rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    fn reached(&self, point: FailPoint) -> Result<(), Error> {
        self.disk.as_ref().map_or(Ok(()), |disk| disk.reached(point))
    }
}
