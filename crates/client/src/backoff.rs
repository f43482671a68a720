//! Pauses between attempts, and the only source of randomness of the client.

use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::id::Id;
use crate::limits::{BACKOFF_MAX, BACKOFF_MIN, RETRY_AFTER_MAX};

/// Randomness: identities and jitter. Seeded, it makes a client repeatable.
pub(crate) struct Entropy(Mutex<SmallRng>);

impl Entropy {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(Mutex::new(match seed {
            Some(seed) => SmallRng::seed_from_u64(seed),
            None => SmallRng::from_rng(&mut rand::rng()),
        }))
    }

    pub(crate) fn id(&self) -> Id {
        Id::from_u128(self.0.lock().random())
    }

    /// Between half of `span` and all of it.
    fn jitter(&self, span: Duration) -> Duration {
        span.mul_f64(self.0.lock().random_range(0.5..=1.0))
    }
}

/// Exponential back-off with jitter.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next pause: the exponential one, or the server's if that is longer.
    pub(crate) fn next(&mut self, entropy: &Entropy, asked: Option<Duration>) -> Duration {
        let span = BACKOFF_MIN.saturating_mul(1 << self.attempts.min(16)).min(BACKOFF_MAX);
        self.attempts = self.attempts.saturating_add(1);
        entropy.jitter(span.max(asked.unwrap_or_default().min(RETRY_AFTER_MAX)))
    }

    /// Something worked.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_bound_and_are_spread() {
        let entropy = Entropy::new(Some(7));
        let mut backoff = Backoff::default();
        let first = backoff.next(&entropy, None);
        assert!(first >= BACKOFF_MIN / 2 && first <= BACKOFF_MIN, "{first:?}");
        let pauses: Vec<Duration> = (0..100).map(|_| backoff.next(&entropy, None)).collect();
        assert!(pauses.iter().all(|p| *p <= BACKOFF_MAX));
        assert!(pauses[50..].iter().all(|p| *p >= BACKOFF_MAX / 2));
        assert!(pauses[50..].windows(2).any(|w| w[0] != w[1]));
        backoff.reset();
        assert!(backoff.next(&entropy, None) <= BACKOFF_MIN);
        assert!(backoff.next(&entropy, Some(Duration::from_secs(60))) <= RETRY_AFTER_MAX);
    }

    #[test]
    fn one_seed_gives_one_sequence_of_ids() {
        let ids = |seed| {
            let entropy = Entropy::new(Some(seed));
            [entropy.id(), entropy.id(), entropy.id()]
        };
        assert_eq!(ids(1), ids(1));
        assert_ne!(ids(1), ids(2));
        assert_ne!(Entropy::new(None).id(), Entropy::new(None).id());
    }
}
