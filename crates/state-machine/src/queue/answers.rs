//! Answers a consumer got for its tokens, so that settling twice is answered the same way twice.
//!
//! Kept in the order of settling, in segments; inside a segment sorted by token. The oldest segment goes as a whole, so
//! between 65,536 and 67,584 answers are remembered. A segment is a row of the checkpoint; only the newest changes.

use std::collections::VecDeque;

use crate::digest;
use crate::ids::Token;
use crate::limits::ANSWERS_MIN;
use crate::reply::SettleResult;

/// Answers of one segment: a row stays under 32 KiB even with the widest tokens.
pub(super) const SEGMENT: usize = 2048;
const SEGMENTS_MAX: usize = ANSWERS_MIN / SEGMENT + 1;
const RESULT_BITS: u32 = 2;

/// A token and its answer in one word. Tokens stay far below 2^62.
fn pack(token: Token, result: SettleResult) -> u64 {
    let code = match result {
        SettleResult::Acked => 0,
        SettleResult::Nacked => 1,
        SettleResult::Rejected => 2,
        SettleResult::LeaseOver | SettleResult::Extended(_) => 3,
    };
    (token << RESULT_BITS) | code
}

fn unpack(word: u64) -> (Token, SettleResult) {
    let result = match word & 3 {
        0 => SettleResult::Acked,
        1 => SettleResult::Nacked,
        2 => SettleResult::Rejected,
        _ => SettleResult::LeaseOver,
    };
    (word >> RESULT_BITS, result)
}

#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Oldest first; all but the last are full.
    pub(super) segments: VecDeque<Vec<u64>>,
    /// Number of the first of `segments`.
    pub(super) first_segment: u64,
    /// Sum of the hashes of all answers.
    pub(super) sum: u64,
    /// Segments below this number are in the checkpoint as they are.
    pub(super) clean_below: u64,
    /// Segments that have a row.
    pub(super) rows: std::ops::Range<u64>,
}

impl Answers {
    pub(super) fn remember(&mut self, consumer: u64, token: Token, result: SettleResult) {
        if self.segments.back().is_none_or(|segment| segment.len() >= SEGMENT) {
            self.segments.push_back(Vec::new());
            if self.segments.len() > SEGMENTS_MAX {
                for word in self.segments.pop_front().unwrap_or_default() {
                    self.sum = self.sum.wrapping_sub(digest::mix(consumer ^ 3, word));
                }
                self.first_segment += 1;
            }
        }
        let newest = self.first_segment + self.segments.len() as u64 - 1;
        self.clean_below = self.clean_below.min(newest);
        let word = pack(token, result);
        let segment = self.segments.back_mut().expect("pushed above");
        let place = match segment.last() {
            Some(last) if *last > word => segment.partition_point(|other| *other < word),
            _ => segment.len(),
        };
        segment.insert(place, word);
        self.sum = self.sum.wrapping_add(digest::mix(consumer ^ 3, word));
    }

    pub(super) fn answer(&self, token: Token) -> Option<SettleResult> {
        let least = token << RESULT_BITS;
        self.segments.iter().rev().find_map(|segment| {
            let (first, last) = (segment.first()?, segment.last()?);
            if least > *last || least | 3 < *first {
                return None;
            }
            let word = *segment.get(segment.partition_point(|word| *word < least))?;
            (word >> RESULT_BITS == token).then(|| unpack(word).1)
        })
    }

    /// All remembered answers for `first..=last`, by token.
    pub(super) fn range(&self, first: Token, last: Token) -> Vec<(Token, SettleResult)> {
        let (least, most) =
            (first.min(u64::MAX >> 2) << RESULT_BITS, (last.min(u64::MAX >> 2) << RESULT_BITS) | 3);
        let mut words: Vec<u64> = Vec::new();
        for segment in &self.segments {
            let begin = segment.partition_point(|word| *word < least);
            let end = segment.partition_point(|word| *word <= most);
            words.extend_from_slice(&segment[begin..end.max(begin)]);
        }
        words.sort_unstable();
        words.into_iter().map(unpack).collect()
    }

    /// The sum as it must be.
    pub(super) fn recompute(&self, consumer: u64) -> u64 {
        self.segments
            .iter()
            .flatten()
            .fold(0, |sum: u64, word| sum.wrapping_add(digest::mix(consumer ^ 3, *word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_65536_answers_are_remembered_in_whatever_order_tokens_were_settled() {
        let mut answers = Answers::default();
        let total = 200_000_u64;
        let token_of = |i: u64| (i * 7919) % total + 1; // a permutation: 7919 is prime to 200,000
        for i in 0..total {
            answers.remember(
                9,
                token_of(i),
                if i % 2 == 0 { SettleResult::Acked } else { SettleResult::Nacked },
            );
        }
        for i in total - 65_536..total {
            let expected = if i % 2 == 0 { SettleResult::Acked } else { SettleResult::Nacked };
            assert_eq!(answers.answer(token_of(i)), Some(expected));
        }
        let count: usize = answers.segments.iter().map(Vec::len).sum();
        assert!((65_536..=65_536 + 2 * SEGMENT).contains(&count), "{count} remembered");
        assert_eq!(answers.answer(token_of(0)), None);
        assert_eq!(answers.sum, answers.recompute(9));
    }

    #[test]
    fn a_range_lists_each_remembered_token_once_and_absurd_tokens_are_unknown() {
        let mut answers = Answers::default();
        for token in [5, 3, 9] {
            answers.remember(1, token, SettleResult::Rejected);
        }
        let tokens =
            |list: Vec<(Token, SettleResult)>| list.into_iter().map(|(token, _)| token).collect::<Vec<_>>();
        assert_eq!(tokens(answers.range(3, 5)), [3, 5]);
        assert_eq!(tokens(answers.range(0, u64::MAX)), [3, 5, 9]);
        assert_eq!(tokens(answers.range(9, 3)), [] as [u64; 0]);
        assert_eq!(answers.answer(u64::MAX), None);
    }
}
