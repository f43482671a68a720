//! Idempotent producers: what each has sent, so that a repetition is answered and never appended.
//!
//! Only the last sequence + 1 is accepted. The last 1,024 results are kept, rejections included: a repeated send gets
//! the answer it got. A producer that was forgotten is told so; it is never taken for a new one: it is known by a sequence
//! above 1, and one that has only used 1 is not forgotten for want of room while it may still repeat that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::digest;
use crate::ids::{Id128, TimestampMs};
use crate::limits::{PRODUCER_IDLE_MS, PRODUCER_RESULTS_MAX, PRODUCERS_PER_QUEUE_MAX, REQUEST_WINDOW_MS};
use crate::reply::{Rejection, Reply, Sent};
use crate::rows::ResultRow;

/// Results of one row: results of sequences `run * RUN .. (run + 1) * RUN`.
pub(super) const RUN: u64 = 64;

/// A result, small in the common case.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// All messages appended: first sequence, count.
    Sent(u64, u32),
    /// Anything else.
    Other(Box<ResultRow>),
}

impl Outcome {
    pub(super) fn of(reply: &Reply) -> Option<Self> {
        match reply {
            Reply::Sent(sent) if sent.duplicates.is_empty() && sent.matched == 0 => {
                Some(Self::Sent(sent.first, sent.count))
            }
            Reply::Sent(_) | Reply::Rejected(_) => Some(Self::Other(Box::new(ResultRow::of(reply)?))),
            _ => None,
        }
    }

    /// The answer to a repetition.
    pub(super) fn repeat(&self) -> Reply {
        match self {
            Self::Sent(first, count) => Reply::Sent(Sent {
                first: *first,
                count: *count,
                duplicates: Vec::new(),
                matched: 0,
                repeated: true,
            }),
            Self::Other(row) => row.repeat(),
        }
    }

    pub(super) fn row(&self) -> ResultRow {
        match self {
            Self::Sent(first, count) => ResultRow { first: *first, count: *count, ..ResultRow::default() },
            Self::Other(row) => (**row).clone(),
        }
    }

    pub(super) fn of_row(row: ResultRow) -> Self {
        if row.is_plain() { Self::Sent(row.first, row.count) } else { Self::Other(Box::new(row)) }
    }

    pub(super) fn hash(&self) -> u64 {
        match self {
            Self::Sent(first, count) => digest::mix(*first, u64::from(*count)),
            Self::Other(row) => row.hash(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Producer {
    /// Highest sequence that was accepted or refused for good.
    pub(super) last: u64,
    pub(super) active_ms: TimestampMs,
    /// Results of `last + 1 - results.len() ..= last`.
    pub(super) results: VecDeque<Outcome>,
    /// In `Producers::dirty`.
    pub(super) queued: bool,
    /// Results of sequences below this are in the checkpoint.
    pub(super) clean_below: u64,
    /// Runs that have a row.
    pub(super) rows: std::ops::Range<u64>,
    pub(super) written: bool,
}

impl Producer {
    pub(super) fn first_result(&self) -> u64 {
        self.last + 1 - self.results.len() as u64
    }

    fn head_hash(&self, id: Id128) -> u64 {
        digest::words(4, &[id.hi, id.lo, self.last, self.active_ms])
    }

    fn result_hash(id: Id128, sequence: u64, outcome: &Outcome) -> u64 {
        digest::words(5, &[id.lo, sequence, outcome.hash()])
    }
}

#[derive(Debug, Default)]
pub(super) struct Producers {
    pub(super) by_id: BTreeMap<Id128, Producer>,
    pub(super) idle: BTreeSet<(TimestampMs, Id128)>,
    pub(super) sum: u64,
    pub(super) dirty: Vec<Id128>,
    /// Forgotten producers that have rows: their run numbers.
    pub(super) removed: Vec<(Id128, std::ops::Range<u64>)>,
}

impl Producers {
    /// What a producer's sequence deserves: `Ok` to go on, or the answer.
    pub(super) fn judge(&self, id: Id128, sequence: u64, now_ms: TimestampMs) -> Result<(), Reply> {
        let invalid = |text: &str| Err(Reply::Rejected(Rejection::Invalid(text.into())));
        if sequence == 0 {
            return invalid("producer sequence must be at least 1");
        }
        let known =
            self.by_id.get(&id).filter(|known| now_ms.saturating_sub(known.active_ms) < PRODUCER_IDLE_MS);
        let Some(producer) = known else {
            return match sequence {
                1 if self.has_room(id, now_ms) => Ok(()),
                1 => Err(Reply::Rejected(Rejection::DedupFull(format!(
                    "{PRODUCERS_PER_QUEUE_MAX} producers that sent within {REQUEST_WINDOW_MS} ms"
                )))),
                _ => Err(Reply::Rejected(Rejection::ProducerForgotten)),
            };
        };
        if sequence > producer.last {
            let expected = producer.last.saturating_add(1);
            return if sequence == expected {
                Ok(())
            } else {
                Err(Reply::Rejected(Rejection::SequenceGap { expected }))
            };
        }
        if sequence < producer.first_result() {
            return Err(Reply::Rejected(Rejection::Duplicate));
        }
        let place = usize::try_from(sequence - producer.first_result()).unwrap_or(usize::MAX);
        Err(producer.results.get(place).map_or(Reply::Rejected(Rejection::Duplicate), Outcome::repeat))
    }

    /// Whether a producer can be added, at the cost of forgetting another one if need be.
    fn has_room(&self, id: Id128, now_ms: TimestampMs) -> bool {
        let idle = |active_ms: TimestampMs| now_ms.saturating_sub(active_ms) >= REQUEST_WINDOW_MS;
        self.by_id.len() < PRODUCERS_PER_QUEUE_MAX
            || self.by_id.contains_key(&id)
            || self.idle.first().is_some_and(|(active_ms, _)| idle(*active_ms))
    }

    /// Uses up the sequence that was judged `Ok`, and remembers its result.
    pub(super) fn record(&mut self, id: Id128, sequence: u64, outcome: Outcome, now_ms: TimestampMs) {
        if sequence == 1 {
            self.forget_one(id); // it may be there, idle for too long
            if self.by_id.len() >= PRODUCERS_PER_QUEUE_MAX
                && let Some((_, oldest)) = self.idle.first().copied()
            {
                self.forget_one(oldest);
            }
            let producer = Producer { active_ms: now_ms, ..Producer::default() };
            self.sum = self.sum.wrapping_add(producer.head_hash(id));
            self.idle.insert((now_ms, id));
            self.by_id.insert(id, producer);
        }
        let Some(producer) = self.by_id.get_mut(&id) else { return };
        self.sum = self.sum.wrapping_sub(producer.head_hash(id));
        if producer.active_ms != now_ms {
            self.idle.remove(&(producer.active_ms, id));
            self.idle.insert((now_ms, id));
            producer.active_ms = now_ms;
        }
        producer.last = sequence;
        self.sum = self.sum.wrapping_add(producer.head_hash(id));
        self.sum = self.sum.wrapping_add(Producer::result_hash(id, sequence, &outcome));
        producer.results.push_back(outcome);
        if producer.results.len() as u64 > PRODUCER_RESULTS_MAX {
            let oldest = producer.first_result();
            if let Some(outcome) = producer.results.pop_front() {
                self.sum = self.sum.wrapping_sub(Producer::result_hash(id, oldest, &outcome));
            }
        }
        if !producer.queued {
            producer.queued = true;
            self.dirty.push(id);
        }
    }

    /// Forgets producers that were idle for too long, at most `budget`, which is lowered.
    pub(super) fn forget(&mut self, now_ms: TimestampMs, budget: &mut usize) {
        while *budget > 0 && self.due_ms().is_some_and(|due| due <= now_ms) {
            let Some((_, id)) = self.idle.first().copied() else { break };
            *budget -= 1;
            self.forget_one(id);
        }
    }

    /// When the first producer may be forgotten.
    pub(super) fn due_ms(&self) -> Option<TimestampMs> {
        self.idle.first().map(|(active, _)| active.saturating_add(PRODUCER_IDLE_MS))
    }

    fn forget_one(&mut self, id: Id128) {
        let Some(producer) = self.by_id.remove(&id) else { return };
        self.idle.remove(&(producer.active_ms, id));
        self.sum = self.sum.wrapping_sub(Self::hash(id, &producer));
        if producer.written {
            self.removed.push((id, producer.rows));
        }
    }

    /// Adds a producer of a checkpoint.
    pub(super) fn load(&mut self, id: Id128, producer: Producer) {
        self.idle.insert((producer.active_ms, id));
        self.sum = self.sum.wrapping_add(Self::hash(id, &producer));
        self.by_id.insert(id, producer);
    }

    fn hash(id: Id128, producer: &Producer) -> u64 {
        let results = (producer.first_result()..).zip(&producer.results);
        results.fold(producer.head_hash(id), |sum, (sequence, outcome)| {
            sum.wrapping_add(Producer::result_hash(id, sequence, outcome))
        })
    }

    /// Checks the index and recomputes the sum.
    pub(super) fn check(&self) -> Result<(), String> {
        let sum =
            self.by_id.iter().fold(0_u64, |sum, (id, producer)| sum.wrapping_add(Self::hash(*id, producer)));
        if sum != self.sum {
            return Err("sum of producers is wrong".into());
        }
        let idle: BTreeSet<_> = self.by_id.iter().map(|(id, producer)| (producer.active_ms, *id)).collect();
        if idle != self.idle {
            return Err("producers by idle time are wrong".into());
        }
        Ok(())
    }
}
