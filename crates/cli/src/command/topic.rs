//! `phalanx topic` and `phalanx subscription`. What waits in a subscription is for `phalanx queue` to show.

use std::time::Duration;

use phalanx_client::{Error, Subscription, SubscriptionSettings, Topic, TopicInfo, TopicSettings};
use serde::Serialize;

use crate::args::{Common, Output, SubscriptionArgs, SubscriptionCommand, TopicArgs, TopicCommand};
use crate::command::connect;
use crate::command::queue::confirm;
use crate::output::{Failure, Outcome, duration, millis, pairs, show, table, thousands};
use crate::print;

/// A topic, as `--output json` shows it.
#[derive(Serialize)]
struct TopicJson {
    namespace: String,
    name: String,
    uid: u64,
    shard: u64,
    state: String,
    version: u64,
    created_ms: u64,
    settings: TopicSettingsJson,
}

#[derive(Serialize)]
struct TopicSettingsJson {
    length_max: Option<u64>,
    bytes_max: Option<u64>,
    dedup_window_ms: Option<u64>,
    body_bytes_max: Option<u64>,
    retain_ms: Option<u64>,
    retain_bytes: Option<u64>,
    compact: bool,
}

#[derive(Serialize)]
struct InfoJson {
    #[serde(flatten)]
    topic: TopicJson,
    stored: u64,
    bytes: u64,
    oldest_age_ms: Option<u64>,
    first_sequence: u64,
    next_sequence: u64,
    producers: u64,
    published_total: u64,
    leader_node: u64,
    subscriptions: Vec<SubscriptionJson>,
}

/// A subscription, as `--output json` shows it.
#[derive(Serialize)]
struct SubscriptionJson {
    namespace: String,
    topic: String,
    name: String,
    queue: String,
    uid: u64,
    shard: u64,
    state: String,
    version: u64,
    created_ms: u64,
    pattern: String,
    filter: String,
    lease_ms: Option<u64>,
    strict: bool,
    resume_ms: Option<u64>,
    latest_only: bool,
    expires_ms: Option<u64>,
    exclusive: bool,
}

/// Runs `phalanx topic ...`.
pub async fn topic(command: TopicCommand, common: &Common) -> Outcome {
    let admin = connect(common).await?.admin();
    match command {
        TopicCommand::Create { name, settings } => {
            let topic = admin.create_topic(&name, merge_topic(TopicSettings::default(), &settings)).await?;
            show(common.output, &topic_json(&topic), || {
                format!("topic {} is on shard {}", topic.name, topic.shard)
            })
        }
        TopicCommand::List => list(&admin.list_topics().await?, common.output),
        TopicCommand::Info { name } => {
            let info = admin.topic_info(&name).await.map_err(|error| hint(error, &name))?;
            let subscriptions = admin.list_subscriptions(&name).await?;
            self::info(&info, &subscriptions, common.output)
        }
        TopicCommand::Update { name, settings } => {
            let before = admin.topic_info(&name).await.map_err(|error| hint(error, &name))?.topic;
            let wanted = merge_topic(before.settings, &settings);
            let topic = admin.update_topic(&name, wanted, Some(before.version)).await?;
            show(common.output, &topic_json(&topic), || {
                format!("topic {} has settings version {}", topic.name, topic.version)
            })
        }
        TopicCommand::Read(args) => super::read_log::run(&admin, args, common).await,
        TopicCommand::Delete { name, yes } => {
            confirm(yes, &format!("Delete topic {name} with all its subscriptions and their messages?"))?;
            admin.delete_topic(&name).await?;
            show(common.output, &serde_json::json!({ "deleted": name }), || {
                format!("topic {name} is deleted")
            })
        }
    }
}

/// Runs `phalanx subscription ...`.
pub async fn subscription(command: SubscriptionCommand, common: &Common) -> Outcome {
    let admin = connect(common).await?.admin();
    match command {
        SubscriptionCommand::Create { topic, name, from, settings } => {
            let settings = merge_subscription(SubscriptionSettings::default(), &settings);
            let made = match from {
                Some(place) => admin.create_subscription_at(&topic, &name, settings, place).await,
                None => admin.create_subscription(&topic, &name, settings).await,
            };
            let made = made.map_err(|error| hint(error, &topic))?;
            show(common.output, &subscription_json(&made), || {
                format!("subscription {name} of topic {topic} is queue {}", made.queue)
            })
        }
        SubscriptionCommand::List { topic } => {
            let all = admin.list_subscriptions(&topic).await.map_err(|error| hint(error, &topic))?;
            let rows: Vec<SubscriptionJson> = all.iter().map(subscription_json).collect();
            show(common.output, &rows, || {
                if all.is_empty() {
                    return format!("no subscriptions; `phalanx subscription create {topic} NAME` makes one");
                }
                subscriptions_table(&all)
            })
        }
        SubscriptionCommand::Update { topic, name, settings } => {
            let all = admin.list_subscriptions(&topic).await.map_err(|error| hint(error, &topic))?;
            let before = all.into_iter().find(|one| one.name == name);
            let before =
                before.ok_or_else(|| Failure::new(format!("topic {topic} has no subscription {name}")))?;
            let wanted = merge_subscription(before.settings, &settings);
            let now = admin.update_subscription(&topic, &name, wanted, Some(before.version)).await?;
            show(common.output, &subscription_json(&now), || {
                format!("subscription {name} of topic {topic} has version {}", now.version)
            })
        }
        SubscriptionCommand::Seek { topic, name, place } => {
            let sequence = admin.seek_subscription(&topic, &name, place).await?;
            show(common.output, &serde_json::json!({ "sequence": sequence }), || {
                format!("subscription {name} of topic {topic} goes on with sequence {sequence}")
            })
        }
        SubscriptionCommand::Mark { topic, name, mark, remove } => {
            let sequence = if remove {
                admin.remove_mark(&topic, &name, &mark).await?
            } else {
                admin.mark_subscription(&topic, &name, &mark).await?
            };
            show(common.output, &serde_json::json!({ "mark": mark, "sequence": sequence }), || {
                let done = if remove { "was removed; it was" } else { "is" };
                format!("mark {mark} {done} at sequence {sequence}")
            })
        }
        SubscriptionCommand::Delete { topic, name, yes } => {
            confirm(
                yes,
                &format!("Delete subscription {name} of topic {topic} with all that waits for it?"),
            )?;
            admin.delete_subscription(&topic, &name).await?;
            show(common.output, &serde_json::json!({ "deleted": name, "topic": topic }), || {
                format!("subscription {name} of topic {topic} is deleted")
            })
        }
    }
}

/// A client error, with what to do about a missing topic.
pub fn hint(error: Error, topic: &str) -> Failure {
    let missing = matches!(error, Error::QueueNotFound { .. });
    let mut failure = Failure::from(error);
    if missing {
        failure.message.push_str(&format!(" (`phalanx topic create {topic}` makes it)"));
    }
    failure
}

fn merge_topic(base: TopicSettings, wanted: &TopicArgs) -> TopicSettings {
    TopicSettings {
        length_max: wanted.length_max.or(base.length_max),
        bytes_max: wanted.bytes_max.or(base.bytes_max),
        dedup_window: wanted.dedup_window.map(Duration::from_millis).or(base.dedup_window),
        body_bytes_max: wanted.body_bytes_max.or(base.body_bytes_max),
        retain: span(wanted.retain, base.retain),
        retain_bytes: wanted.retain_bytes.or(base.retain_bytes),
        compact: wanted.compact.unwrap_or(base.compact),
    }
}

fn merge_subscription(base: SubscriptionSettings, wanted: &SubscriptionArgs) -> SubscriptionSettings {
    SubscriptionSettings {
        pattern: wanted.pattern.clone().unwrap_or(base.pattern),
        filter: wanted.filter.clone().unwrap_or(base.filter),
        lease: wanted.lease.map(Duration::from_millis).or(base.lease),
        strict: wanted.strict.unwrap_or(base.strict),
        resume: wanted.resume.map(Duration::from_millis).or(base.resume),
        latest_only: wanted.latest_only.unwrap_or(base.latest_only),
        expires: span(wanted.expires, base.expires),
        exclusive: wanted.exclusive.unwrap_or(base.exclusive),
    }
}

/// A span that 0 takes back.
pub fn span(wanted_ms: Option<u64>, base: Option<Duration>) -> Option<Duration> {
    match wanted_ms {
        Some(0) => None,
        Some(ms) => Some(Duration::from_millis(ms)),
        None => base,
    }
}

fn list(topics: &[Topic], output: Output) -> Outcome {
    let rows: Vec<TopicJson> = topics.iter().map(topic_json).collect();
    show(output, &rows, || {
        if topics.is_empty() {
            return "no topics; `phalanx topic create NAME` makes one".to_owned();
        }
        let row = |topic: &Topic| {
            vec![topic.name.clone(), topic.shard.to_string(), topic.state.clone(), topic.version.to_string()]
        };
        table(&["topic", "shard", "state", "settings version"], topics.iter().map(row).collect())
    })
}

fn subscriptions_table(all: &[Subscription]) -> String {
    let or_all = |text: &str| if text.is_empty() { "any".to_owned() } else { print::text(text.as_bytes()) };
    let row = |one: &Subscription| {
        let settings = &one.settings;
        vec![
            one.name.clone(),
            one.queue.clone(),
            or_all(&settings.pattern),
            or_all(&settings.filter),
            one.state.clone(),
        ]
    };
    table(&["subscription", "queue", "routing keys", "headers", "state"], all.iter().map(row).collect())
}

fn info(info: &TopicInfo, subscriptions: &[Subscription], output: Output) -> Outcome {
    let topic = &info.topic;
    let json = InfoJson {
        topic: topic_json(topic),
        stored: info.stored,
        bytes: info.bytes,
        oldest_age_ms: info.oldest_age.map(millis),
        first_sequence: info.first_sequence,
        next_sequence: info.next_sequence,
        producers: info.producers,
        published_total: info.published_total,
        leader_node: info.leader_node,
        subscriptions: subscriptions.iter().map(subscription_json).collect(),
    };
    show(output, &json, || {
        let settings = &topic.settings;
        let or_default = |value: Option<String>| value.unwrap_or_else(|| "default".to_owned());
        let mut text = pairs(&[
            ("topic", format!("{}/{} ({})", topic.namespace, topic.name, topic.state)),
            ("shard", format!("{}, led by node {}", topic.shard, info.leader_node)),
            ("stored", thousands(info.stored)),
            ("bytes", thousands(info.bytes)),
            ("oldest message", info.oldest_age.map_or("none".to_owned(), |age| duration(millis(age)))),
            ("sequences kept", sequences(info)),
            ("published", thousands(info.published_total)),
            ("producers", thousands(info.producers)),
            ("subscriptions", thousands(info.subscriptions)),
            ("length max", or_default(settings.length_max.map(thousands))),
            ("bytes max", or_default(settings.bytes_max.map(thousands))),
            ("dedup window", or_default(settings.dedup_window.map(|window| duration(millis(window))))),
            ("body bytes max", or_default(settings.body_bytes_max.map(thousands))),
            ("retained", retention(settings)),
        ]);
        if !subscriptions.is_empty() {
            text.push('\n');
            text.push_str(&subscriptions_table(subscriptions));
        }
        text
    })
}

fn sequences(info: &TopicInfo) -> String {
    if info.first_sequence >= info.next_sequence {
        return format!("none; the next one is {}", info.next_sequence);
    }
    format!("all from {} to {}", info.first_sequence, info.next_sequence - 1)
}

fn retention(settings: &TopicSettings) -> String {
    let time = settings.retain.map(|span| format!("for {}", duration(millis(span))));
    let size = settings.retain_bytes.map(|bytes| format!("up to {} bytes", thousands(bytes)));
    let compact = settings.compact.then(|| "the newest of each key".to_owned());
    let parts: Vec<String> = [time, size, compact].into_iter().flatten().collect();
    if parts.is_empty() { "only what is not settled".to_owned() } else { parts.join(", ") }
}

fn topic_json(topic: &Topic) -> TopicJson {
    let settings = &topic.settings;
    TopicJson {
        namespace: topic.namespace.clone(),
        name: topic.name.clone(),
        uid: topic.uid,
        shard: topic.shard,
        state: topic.state.clone(),
        version: topic.version,
        created_ms: print::unix_ms(topic.created),
        settings: TopicSettingsJson {
            length_max: settings.length_max,
            bytes_max: settings.bytes_max,
            dedup_window_ms: settings.dedup_window.map(millis),
            body_bytes_max: settings.body_bytes_max,
            retain_ms: settings.retain.map(millis),
            retain_bytes: settings.retain_bytes,
            compact: settings.compact,
        },
    }
}

fn subscription_json(one: &Subscription) -> SubscriptionJson {
    let settings = &one.settings;
    SubscriptionJson {
        namespace: one.namespace.clone(),
        topic: one.topic.clone(),
        name: one.name.clone(),
        queue: one.queue.clone(),
        uid: one.uid,
        shard: one.shard,
        state: one.state.clone(),
        version: one.version,
        created_ms: print::unix_ms(one.created),
        pattern: settings.pattern.clone(),
        filter: settings.filter.clone(),
        lease_ms: settings.lease.map(millis),
        strict: settings.strict,
        resume_ms: settings.resume.map(millis),
        latest_only: settings.latest_only,
        expires_ms: settings.expires.map(millis),
        exclusive: settings.exclusive,
    }
}
