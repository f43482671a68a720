//! What goes wrong, and when: all of it from one seed.

use crate::fail_point::FailPoint;

/// The planted faults and the disk's random numbers (splitmix64: no state beyond one word, so runs repeat).
pub(super) struct Faults {
    random: u64,
    /// Operations so far that change or sync something.
    pub(super) operations: u64,
    /// The operation at which the power fails.
    pub(super) cut_at: Option<u64>,
    /// The power has failed and is not back.
    pub(super) off: bool,
    /// Syncs to go until one fails.
    pub(super) fail_sync_in: Option<u64>,
    /// Syncs answer, and do nothing.
    pub(super) lies: bool,
    /// Bytes by which files may still grow.
    pub(super) space: Option<u64>,
    /// The boundary at which the process ends, and how often it is passed before.
    pub(super) fail_point: Option<(FailPoint, u64)>,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: seed,
            operations: 0,
            cut_at: None,
            off: false,
            fail_sync_in: None,
            lies: false,
            space: None,
            fail_point: None,
        }
    }

    pub(super) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// How likely an unsynced block survives this cut, of 8: all, none and everything between come up.
    pub(super) fn survival_of_8(&mut self) -> u64 {
        self.random() % 9
    }

    /// Counts an operation; true if the power fails during it.
    pub(super) fn count(&mut self) -> bool {
        let number = self.operations;
        self.operations += 1;
        if self.cut_at == Some(number) {
            self.off = true;
            self.cut_at = None;
        }
        self.off
    }

    /// True if the process ends at this boundary.
    pub(super) fn ends_at(&mut self, point: FailPoint) -> bool {
        match &mut self.fail_point {
            Some((armed, 0)) if *armed == point => {
                self.fail_point = None;
                self.off = true;
            }
            Some((armed, passes)) if *armed == point => *passes -= 1,
            _ => {}
        }
        self.off
    }

    pub(super) fn sync_fails(&mut self) -> bool {
        match self.fail_sync_in {
            Some(0) => {
                self.fail_sync_in = None;
                true
            }
            Some(count) => {
                self.fail_sync_in = Some(count - 1);
                false
            }
            None => false,
        }
    }
}
