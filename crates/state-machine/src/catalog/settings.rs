//! The check of a queue's settings.
//!
//! The catalog refuses what is out of bounds and stores the rest with the defaults filled in ([`limits::resolve`]), so
//! that a later change of a default never changes a queue that exists.

use crate::command::QueueSettings;
use crate::limits::{
    self, BODY_BYTES_MAX, BYTES_MAX, DEDUP_WINDOW_MAX_MS, LEASE_MAX_MS, LENGTH_MAX, RESUME_MAX_MS,
};

/// Checks settings against their bounds. 0 is always allowed: it means the default.
///
/// # Errors
/// The text names the setting, its value and the bound.
pub fn check(settings: &QueueSettings) -> Result<(), String> {
    let bounds = [
        ("lease_ms", settings.lease_ms, LEASE_MAX_MS),
        ("length_max", settings.length_max, LENGTH_MAX),
        ("bytes_max", settings.bytes_max, BYTES_MAX),
        ("dedup_window_ms", settings.dedup_window_ms, DEDUP_WINDOW_MAX_MS),
        ("resume_ms", settings.resume_ms, RESUME_MAX_MS),
        ("body_bytes_max", settings.body_bytes_max, BODY_BYTES_MAX),
    ];
    for (name, value, max) in bounds {
        if value > max {
            return Err(format!("{name} is {value}: at most {max} is allowed"));
        }
    }
    let full = limits::resolve(settings);
    if full.body_bytes_max > full.bytes_max {
        return Err(format!(
            "body_bytes_max is {} and bytes_max only {}: the largest message must fit the queue",
            full.body_bytes_max, full.bytes_max
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_is_inclusive_and_one_more_is_refused_by_name() {
        let most = QueueSettings {
            lease_ms: LEASE_MAX_MS,
            strict: true,
            length_max: LENGTH_MAX,
            bytes_max: BYTES_MAX,
            dedup_window_ms: DEDUP_WINDOW_MAX_MS,
            resume_ms: RESUME_MAX_MS,
            body_bytes_max: BODY_BYTES_MAX,
        };
        assert_eq!(check(&most), Ok(()));
        type Change = fn(&mut QueueSettings);
        let over: [(&str, Change); 6] = [
            ("lease_ms", |s| s.lease_ms += 1),
            ("length_max", |s| s.length_max += 1),
            ("bytes_max", |s| s.bytes_max += 1),
            ("dedup_window_ms", |s| s.dedup_window_ms += 1),
            ("resume_ms", |s| s.resume_ms += 1),
            ("body_bytes_max", |s| s.body_bytes_max += 1),
        ];
        for (name, break_it) in over {
            let mut settings = most.clone();
            break_it(&mut settings);
            assert!(check(&settings).unwrap_err().starts_with(name), "{name}");
        }
    }

    #[test]
    fn the_largest_body_must_fit_the_queue() {
        let settings = QueueSettings { bytes_max: 1_000, ..Default::default() };
        assert!(check(&settings).unwrap_err().contains("must fit"));
        let settings = QueueSettings { bytes_max: 1_000, body_bytes_max: 1_000, ..Default::default() };
        assert_eq!(check(&settings), Ok(()));
    }
}
