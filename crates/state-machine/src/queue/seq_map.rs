//! A map from rising numbers (sequences, tokens) to values, in chunks of 64.
//!
//! Entries are appended with rising numbers and removed in any order. A chunk holds only the slots that were filled, found
//! by counting bits; it is compacted when half of them are gone and removed when all are, so a lone survivor costs
//! little. `M` is what the owner keeps for each chunk (dirty bits, rows).
//! Invariant: `live` ⊆ `present`, `slots.len()` = bits in `present`, no chunk has `live == 0`.

use std::collections::BTreeMap;

/// Numbers in one chunk.
pub(crate) const CHUNK: u64 = 64;

#[derive(Debug)]
pub(crate) struct Chunk<T, M> {
    present: u64,
    live: u64,
    slots: Vec<T>,
    pub(crate) meta: M,
}

#[derive(Debug, Default)]
pub(crate) struct SeqMap<T, M> {
    chunks: BTreeMap<u64, Chunk<T, M>>,
    len: usize,
}

/// What [`SeqMap::remove`] took out.
pub(crate) struct Removed<T, M> {
    pub(crate) value: T,
    /// The chunk's own, if this was its last entry and it is gone.
    pub(crate) emptied: Option<M>,
}

/// The chunk that holds `number`.
#[inline]
pub(crate) const fn chunk_of(number: u64) -> u64 {
    number / CHUNK
}

/// The lowest number of a chunk.
#[inline]
pub(crate) const fn first_of(chunk: u64) -> u64 {
    chunk * CHUNK
}

/// The bit of `number` in its chunk.
#[inline]
pub(crate) const fn bit_of(number: u64) -> u64 {
    1 << (number % CHUNK)
}

/// Positions of the set bits, rising.
pub(crate) fn bits(mut mask: u64) -> impl Iterator<Item = u64> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let position = mask.trailing_zeros();
        mask &= mask - 1;
        Some(u64::from(position))
    })
}

impl<T: Default, M: Default> Chunk<T, M> {
    #[inline]
    fn index(&self, bit: u64) -> usize {
        (self.present & (bit - 1)).count_ones() as usize
    }

    #[inline]
    fn get(&self, bit: u64) -> Option<&T> {
        if self.live & bit == 0 { None } else { self.slots.get(self.index(bit)) }
    }

    #[inline]
    fn get_mut(&mut self, bit: u64) -> Option<&mut T> {
        if self.live & bit == 0 {
            return None;
        }
        let index = self.index(bit);
        self.slots.get_mut(index)
    }

    /// Which entries are here.
    pub(crate) fn live(&self) -> u64 {
        self.live
    }

    /// The entry at a position of `live`.
    pub(crate) fn at(&self, position: u64) -> Option<&T> {
        self.get(1 << position)
    }

    /// The entry at a position of `live`, and the chunk's own.
    pub(crate) fn at_mut(&mut self, position: u64) -> Option<&mut T> {
        self.get_mut(1 << position)
    }

    fn compact(&mut self) {
        let (mut left, live) = (self.present, self.live);
        self.slots.retain(|_| {
            let bit = left & left.wrapping_neg();
            left &= left.wrapping_sub(1);
            live & bit != 0
        });
        self.present = self.live;
        if self.slots.capacity() > 4 * self.slots.len() {
            self.slots.shrink_to_fit();
        }
    }
}

impl<T: Default, M: Default> SeqMap<T, M> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends. `number` must be higher than any ever appended. Returns the chunk's own.
    pub(crate) fn push(&mut self, number: u64, value: T) -> &mut M {
        let chunk = self.chunks.entry(chunk_of(number)).or_insert_with(|| Chunk {
            present: 0,
            live: 0,
            slots: Vec::new(),
            meta: M::default(),
        });
        let bit = bit_of(number);
        assert!(chunk.present < bit, "numbers only rise");
        if chunk.slots.len() == chunk.slots.capacity() && chunk.slots.len() >= 16 {
            chunk.slots.reserve_exact(CHUNK as usize - chunk.slots.len());
        }
        chunk.present |= bit;
        chunk.live |= bit;
        chunk.slots.push(value);
        self.len += 1;
        &mut chunk.meta
    }

    #[inline]
    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.chunks.get(&chunk_of(number))?.get(bit_of(number))
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        self.chunks.get_mut(&chunk_of(number))?.get_mut(bit_of(number))
    }

    /// The entry and its chunk's own.
    #[inline]
    pub(crate) fn get_both(&mut self, number: u64) -> Option<(&mut T, &mut M)> {
        let chunk = self.chunks.get_mut(&chunk_of(number))?;
        let bit = bit_of(number);
        if chunk.live & bit == 0 {
            return None;
        }
        let index = chunk.index(bit);
        chunk.slots.get_mut(index).map(|slot| (slot, &mut chunk.meta))
    }

    /// Takes an entry out; `note` may first change its chunk's own.
    pub(crate) fn remove(&mut self, number: u64, note: impl FnOnce(&mut M)) -> Option<Removed<T, M>> {
        let chunk = self.chunks.get_mut(&chunk_of(number))?;
        let bit = bit_of(number);
        let value = std::mem::take(chunk.get_mut(bit)?);
        chunk.live &= !bit;
        self.len -= 1;
        note(&mut chunk.meta);
        if chunk.live == 0 {
            let chunk = self.chunks.remove(&chunk_of(number)).expect("found above");
            return Some(Removed { value, emptied: Some(chunk.meta) });
        }
        if chunk.live.count_ones() as usize * 2 <= chunk.slots.len() {
            chunk.compact();
        }
        Some(Removed { value, emptied: None })
    }

    pub(crate) fn chunk(&self, chunk: u64) -> Option<&Chunk<T, M>> {
        self.chunks.get(&chunk)
    }

    pub(crate) fn chunk_mut(&mut self, chunk: u64) -> Option<&mut Chunk<T, M>> {
        self.chunks.get_mut(&chunk)
    }

    /// All chunks from `chunk` on.
    pub(crate) fn chunks_from(&self, chunk: u64) -> impl Iterator<Item = (u64, &Chunk<T, M>)> {
        self.chunks.range(chunk..).map(|(number, chunk)| (*number, chunk))
    }

    /// All chunks from `chunk` on.
    pub(crate) fn chunks_from_mut(&mut self, chunk: u64) -> impl Iterator<Item = (u64, &mut Chunk<T, M>)> {
        self.chunks.range_mut(chunk..).map(|(number, chunk)| (*number, chunk))
    }

    /// All entries, rising.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.chunks.iter().flat_map(|(number, chunk)| {
            bits(chunk.live)
                .filter_map(move |position| chunk.at(position).map(|slot| (number * CHUNK + position, slot)))
        })
    }

    /// All entries from `number` on, rising.
    pub(crate) fn iter_from(&self, number: u64) -> impl Iterator<Item = (u64, &T)> {
        let chunks = self.chunks_from(chunk_of(number));
        let all = chunks.flat_map(|(index, chunk)| {
            bits(chunk.live)
                .filter_map(move |position| chunk.at(position).map(|slot| (index * CHUNK + position, slot)))
        });
        all.skip_while(move |(found, _)| *found < number)
    }

    pub(crate) fn first(&self) -> Option<(u64, &T)> {
        self.iter().next()
    }

    /// Frees the first chunk whatever it holds; `false` if there was none.
    pub(crate) fn drop_first_chunk(&mut self) -> bool {
        let Some((_, chunk)) = self.chunks.pop_first() else { return false };
        self.len -= chunk.live.count_ones() as usize;
        true
    }

    /// Checks the invariant of the module.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut len = 0;
        for (number, chunk) in &self.chunks {
            if chunk.live == 0
                || chunk.live & !chunk.present != 0
                || chunk.slots.len() != chunk.present.count_ones() as usize
            {
                return Err(format!("chunk {number} is malformed"));
            }
            len += chunk.live.count_ones() as usize;
        }
        if len == self.len { Ok(()) } else { Err(format!("{len} entries, counted {}", self.len)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survivors_stay_in_order_whatever_is_removed_around_them() {
        for keep_every in [1_u64, 2, 3, 7, 63, 64, 65] {
            let mut map: SeqMap<u64, ()> = SeqMap::default();
            for number in 1..=1000 {
                map.push(number, number * 10);
            }
            for number in (1..=1000).rev().filter(|number| number % keep_every != 0) {
                assert_eq!(map.remove(number, |()| ()).unwrap().value, number * 10);
                assert!(map.remove(number, |()| ()).is_none());
            }
            map.check().unwrap();
            let left: Vec<_> = map.iter().map(|(number, value)| (number, *value)).collect();
            let expected: Vec<_> = (1..=1000)
                .filter(|number| number % keep_every == 0)
                .map(|number| (number, number * 10))
                .collect();
            assert_eq!(left, expected);
            assert!(left.iter().all(|(number, value)| map.get(*number) == Some(value)));
        }
    }

    #[test]
    fn numbers_may_be_appended_after_a_chunk_was_compacted_or_removed() {
        let mut map: SeqMap<u64, u32> = SeqMap::default();
        for number in 1..=40 {
            *map.push(number, number) += 1;
        }
        for number in 1..=39 {
            assert!(map.remove(number, |_| ()).unwrap().emptied.is_none());
        }
        assert_eq!(map.remove(40, |meta| *meta += 1).unwrap().emptied, Some(41));
        map.push(41, 41);
        map.push(200, 200);
        assert_eq!(map.iter().map(|(number, _)| number).collect::<Vec<_>>(), [41, 200]);
        map.check().unwrap();
    }
}
