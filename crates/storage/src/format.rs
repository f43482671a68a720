//! Helpers shared by everything stored: block size, little-endian fields, crc32c with a prefix.

/// Unit of writing: a synced block is never written again while what it holds is needed, bytes.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// Rounds up to a whole block.
pub(crate) const fn block_ceil(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES as u64)
}

/// A reader of little-endian fields that answers `None` at the end instead of panicking.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N).map(|b| b.try_into().expect("bytes() answers exactly N bytes"))
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_end_without_a_panic() {
        let mut fields = Fields::new(&[1, 2, 0, 3]);
        assert_eq!(fields.u8(), Some(1));
        assert_eq!(fields.u16(), Some(2));
        assert_eq!(fields.u32(), None);
        assert!(!fields.is_empty());
        assert_eq!(fields.u8(), Some(3));
        assert!(fields.is_empty());
    }

    #[test]
    fn blocks_round_up() {
        assert_eq!([0, 1, 4096, 4097].map(block_ceil), [0, 4096, 4096, 8192]);
    }
}
