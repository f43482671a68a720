//! Topics and subscriptions between `phalanx.v1` and the catalog's rows.

use phalanx_proto::v1;
use phalanx_state_machine::catalog::QueueEntry;
use phalanx_state_machine::command::{Place, PlaceKind, QueueSettings};
use phalanx_state_machine::machine::QueueInfo;
use tonic::Status;

use super::{queue_name, state_text};
use crate::status;

/// A place in a log, as clients name it.
///
/// # Errors
/// `INVALID_ARGUMENT` when there is none.
pub fn place_in(field: &str, place: Option<v1::Place>) -> Result<Place, Status> {
    let kind = match place.and_then(|place| place.kind) {
        Some(v1::place::Kind::Earliest(_)) => PlaceKind::Earliest(true),
        Some(v1::place::Kind::Latest(_)) => PlaceKind::Latest(true),
        Some(v1::place::Kind::Sequence(sequence)) => PlaceKind::Sequence(sequence),
        Some(v1::place::Kind::TimeMs(time_ms)) => PlaceKind::Time(time_ms),
        Some(v1::place::Kind::Mark(name)) => PlaceKind::Mark(name),
        None => {
            return Err(status::invalid(
                field,
                "must say where: earliest, latest, a sequence, a time or a mark",
            ));
        }
    };
    Ok(Place { kind: Some(kind) })
}

/// What a subscription or a binding is called among the queues.
///
/// # Errors
/// `INVALID_ARGUMENT`, also when the two together are too long.
pub fn full_name(topic: &str, name: &str) -> Result<String, Status> {
    queue_name("name", name)?;
    if name.contains('/') {
        return Err(status::invalid("name", "of a subscription or a binding must not hold a slash"));
    }
    let full = format!("{topic}/{name}");
    if full.len() > super::NAME_BYTES_MAX {
        let text = format!(
            "topic and name have {} bytes together, at most {}",
            full.len() - 1,
            super::NAME_BYTES_MAX - 1
        );
        return Err(status::invalid("name", text));
    }
    Ok(full)
}

/// A topic's settings as clients write them.
#[must_use]
pub fn settings_of_topic(settings: v1::TopicSettings) -> QueueSettings {
    QueueSettings {
        length_max: settings.length_max,
        bytes_max: settings.bytes_max,
        dedup_window_ms: settings.dedup_window_ms,
        body_bytes_max: settings.body_bytes_max,
        retain_ms: settings.retain_ms,
        retain_bytes: settings.retain_bytes,
        compact: settings.compact,
        ..QueueSettings::default()
    }
}

/// A subscription's settings as clients write them.
#[must_use]
pub fn settings_of_subscription(settings: v1::SubscriptionSettings) -> QueueSettings {
    QueueSettings {
        lease_ms: settings.lease_ms,
        strict: settings.strict,
        resume_ms: settings.resume_ms,
        latest_only: settings.latest_only,
        expires_ms: settings.expires_ms,
        exclusive: settings.exclusive,
        ..QueueSettings::default()
    }
}

/// A topic's row as clients read it.
#[must_use]
pub fn topic_out(entry: &QueueEntry) -> v1::Topic {
    let settings = &entry.settings;
    v1::Topic {
        namespace: entry.namespace.clone(),
        name: entry.name.clone(),
        uid: entry.uid,
        shard: entry.group,
        version: entry.version,
        settings: Some(v1::TopicSettings {
            length_max: settings.length_max,
            bytes_max: settings.bytes_max,
            dedup_window_ms: settings.dedup_window_ms,
            body_bytes_max: settings.body_bytes_max,
            retain_ms: settings.retain_ms,
            retain_bytes: settings.retain_bytes,
            compact: settings.compact,
        }),
        created_ms: entry.created_ms,
        state: state_text(entry.state).to_owned(),
    }
}

/// What is known of a topic, as clients read it.
#[must_use]
pub fn info_out(entry: &QueueEntry, info: &QueueInfo, now_ms: u64, leader_node: u64) -> v1::TopicInfo {
    v1::TopicInfo {
        topic: Some(topic_out(entry)),
        stored: info.ready_count,
        bytes: info.bytes,
        oldest_age_ms: info.oldest_enqueued_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest)),
        subscriptions: info.subscription_count,
        next_sequence: info.next_sequence,
        producers: info.producer_count,
        published_total: info.sent_total,
        leader_node,
        first_sequence: info.kept_from,
    }
}

/// A subscription's row as clients read it.
#[must_use]
pub fn subscription_out(entry: &QueueEntry) -> v1::Subscription {
    // A subscription's own name has no slash: the catalog sees to that.
    let (topic, name) = entry.name.rsplit_once('/').unwrap_or_default();
    let source = entry.source.clone().unwrap_or_default();
    v1::Subscription {
        namespace: entry.namespace.clone(),
        topic: topic.to_owned(),
        name: name.to_owned(),
        queue: entry.name.clone(),
        uid: entry.uid,
        shard: entry.group,
        version: entry.version,
        settings: Some(v1::SubscriptionSettings {
            lease_ms: entry.settings.lease_ms,
            strict: entry.settings.strict,
            resume_ms: entry.settings.resume_ms,
            latest_only: entry.settings.latest_only,
            expires_ms: entry.settings.expires_ms,
            exclusive: entry.settings.exclusive,
        }),
        pattern: source.pattern,
        filter: source.filter,
        created_ms: entry.created_ms,
        state: state_text(entry.state).to_owned(),
    }
}

/// A binding's row as clients read it.
#[must_use]
pub fn binding_out(entry: &QueueEntry) -> v1::Binding {
    let (topic, name) = entry.name.rsplit_once('/').unwrap_or_default();
    let source = entry.source.clone().unwrap_or_default();
    v1::Binding {
        namespace: entry.namespace.clone(),
        topic: topic.to_owned(),
        name: name.to_owned(),
        target: entry.target.clone(),
        uid: entry.uid,
        shard: entry.group,
        version: entry.version,
        pattern: source.pattern,
        filter: source.filter,
        created_ms: entry.created_ms,
        state: state_text(entry.state).to_owned(),
    }
}

/// State of a binding whose target is gone.
pub const TARGET_DELETED: &str = "target-deleted";

/// What is known of a binding, as clients read it.
#[must_use]
pub fn binding_info_out(binding: v1::Binding, info: &QueueInfo, now_ms: u64) -> v1::BindingInfo {
    v1::BindingInfo {
        target_gone: binding.state == TARGET_DELETED,
        binding: Some(binding),
        waiting: info.ready_count,
        waiting_bytes: info.bytes,
        oldest_age_ms: info.oldest_enqueued_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest)),
        carried_total: info.acked_total,
        unseen: info.unseen_count,
    }
}
