//! The check of a queue's settings.
//!
//! The catalog refuses what is out of bounds and stores the rest with the defaults filled in ([`limits::resolve`]), so
//! that a later change of a default never changes a queue that exists.

use crate::command::{Place, PlaceKind, QueueKind, QueueSettings};
use crate::limits::{
    self, BODY_BYTES_MAX, BYTES_MAX, DEDUP_WINDOW_MAX_MS, EXPIRES_MAX_MS, EXPIRES_MIN_MS, LEASE_MAX_MS,
    LENGTH_MAX, RESUME_MAX_MS, RETAIN_MAX_MS,
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
        ("retain_ms", settings.retain_ms, RETAIN_MAX_MS),
        ("retain_bytes", settings.retain_bytes, BYTES_MAX),
        ("expires_ms", settings.expires_ms, EXPIRES_MAX_MS),
    ];
    for (name, value, max) in bounds {
        if value > max {
            return Err(format!("{name} is {value}: at most {max} is allowed"));
        }
    }
    if (1..EXPIRES_MIN_MS).contains(&settings.expires_ms) {
        return Err(format!(
            "expires_ms is {}: at least {EXPIRES_MIN_MS} is allowed, or 0 for never",
            settings.expires_ms
        ));
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

/// Checks the settings of a queue, topic or subscription: those that mean nothing to it are refused, unless they say what the default says.
///
/// # Errors
/// As [`check`].
pub fn check_kind(kind: QueueKind, settings: &QueueSettings) -> Result<(), String> {
    check(settings)?;
    let default = limits::resolve(&QueueSettings::default());
    let of_consumers = [
        ("lease_ms", settings.lease_ms, default.lease_ms),
        ("strict", u64::from(settings.strict), u64::from(default.strict)),
        ("resume_ms", settings.resume_ms, default.resume_ms),
        ("expires_ms", settings.expires_ms, default.expires_ms),
        ("exclusive", u64::from(settings.exclusive), u64::from(default.exclusive)),
    ];
    let of_senders = [
        ("length_max", settings.length_max, default.length_max),
        ("bytes_max", settings.bytes_max, default.bytes_max),
        ("dedup_window_ms", settings.dedup_window_ms, default.dedup_window_ms),
        ("body_bytes_max", settings.body_bytes_max, default.body_bytes_max),
    ];
    let own = [
        ("retain_ms", settings.retain_ms != 0, QueueKind::Topic),
        ("retain_bytes", settings.retain_bytes != 0, QueueKind::Topic),
        ("compact", settings.compact, QueueKind::Topic),
        ("latest_only", settings.latest_only, QueueKind::Subscription),
    ];
    if let Some((name, _, of)) = own.iter().find(|(_, set, of)| *set && kind != *of) {
        return Err(format!("{name} is a setting of a {}, not of a {}", of.noun(), kind.noun()));
    }
    let all = [of_consumers.as_slice(), of_senders.as_slice()].concat();
    let (meaningless, why) = match kind {
        QueueKind::Queue => return Ok(()),
        QueueKind::Topic => (of_consumers.as_slice(), "of a topic's subscriptions, not of the topic"),
        QueueKind::Subscription => (of_senders.as_slice(), "of the topic, not of its subscriptions"),
        QueueKind::Binding => {
            (all.as_slice(), "of the topic or of what it feeds: a binding has none of its own")
        }
    };
    match meaningless.iter().find(|(_, value, default)| *value != 0 && value != default) {
        Some((name, ..)) => Err(format!("{name} is a setting {why}")),
        None => Ok(()),
    }
}

/// Checks that nothing changes which is fixed when a queue is made: see [`QueueSettings::with_fixed_of`].
///
/// # Errors
/// The text names the setting.
pub fn check_fixed(made: &QueueSettings, wanted: &QueueSettings) -> Result<(), String> {
    let fixed = [
        // Groups that flow in parallel cannot become one, nor the reverse, while their messages are in hand.
        ("strict", made.strict != wanted.strict),
        // What was let go cannot be had back, and what a cursor passes over cannot be taken out.
        ("compact", made.compact != wanted.compact),
        ("latest_only", made.latest_only != wanted.latest_only),
    ];
    match fixed.iter().find(|(_, changed)| *changed) {
        Some((name, _)) => Err(format!("{name} is fixed when a queue is created: create another queue")),
        None => Ok(()),
    }
}

/// Checks where something new is to begin.
///
/// # Errors
/// If it is no subscription, or has no such place.
pub fn check_start(kind: QueueKind, start: Option<&Place>) -> Result<(), String> {
    match start {
        None => Ok(()),
        Some(_) if matches!(kind, QueueKind::Queue | QueueKind::Topic) => {
            Err(format!("a {} begins empty", kind.noun()))
        }
        Some(Place { kind: None }) => Err("a place of an unknown kind".into()),
        Some(Place { kind: Some(PlaceKind::Mark(_)) }) => {
            Err("a new subscription has no marks yet: begin at a sequence or a time".into())
        }
        Some(_) => Ok(()),
    }
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
            retain_ms: RETAIN_MAX_MS,
            retain_bytes: BYTES_MAX,
            expires_ms: EXPIRES_MAX_MS,
            compact: true,
            latest_only: true,
            exclusive: true,
        };
        assert_eq!(check(&most), Ok(()));
        type Change = fn(&mut QueueSettings);
        let over: [(&str, Change); 9] = [
            ("lease_ms", |s| s.lease_ms += 1),
            ("length_max", |s| s.length_max += 1),
            ("bytes_max", |s| s.bytes_max += 1),
            ("dedup_window_ms", |s| s.dedup_window_ms += 1),
            ("resume_ms", |s| s.resume_ms += 1),
            ("body_bytes_max", |s| s.body_bytes_max += 1),
            ("retain_ms", |s| s.retain_ms += 1),
            ("retain_bytes", |s| s.retain_bytes += 1),
            ("expires_ms", |s| s.expires_ms += 1),
        ];
        for (name, break_it) in over {
            let mut settings = most.clone();
            break_it(&mut settings);
            assert!(check(&settings).unwrap_err().starts_with(name), "{name}");
        }
    }

    #[test]
    fn what_is_fixed_does_not_change() {
        let made = QueueSettings::default();
        assert_eq!(check_fixed(&made, &QueueSettings { lease_ms: 7, ..made.clone() }), Ok(()));
        type Change = fn(&mut QueueSettings);
        let changes: [(&str, Change); 3] = [
            ("strict", |s| s.strict = true),
            ("compact", |s| s.compact = true),
            ("latest_only", |s| s.latest_only = true),
        ];
        for (name, change) in changes {
            let mut wanted = made.clone();
            change(&mut wanted);
            assert!(check_fixed(&made, &wanted).unwrap_err().starts_with(name), "{name}");
            assert_eq!(wanted.with_fixed_of(&made), made, "a shard keeps it as well");
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
