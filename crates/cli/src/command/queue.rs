//! `phalanx queue`: create, list, info, update, delete, purge; the rest is in `look`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _};
use std::time::Duration;

use phalanx_client::{Error, Queue, QueueInfo, QueueSettings};
use serde::Serialize;

use crate::args::{Common, Output, QueueCommand, SettingsArgs};
use crate::command::connect;
use crate::command::look::{self, ConsumerJson};
use crate::command::topic::span as span_or;
use crate::output::{self, Failure, Outcome, duration, messages, millis, pairs, show, table, thousands};
use crate::print;

/// A queue, as `--output json` shows it.
#[derive(Serialize)]
struct QueueJson {
    namespace: String,
    name: String,
    uid: u64,
    shard: u64,
    state: String,
    version: u64,
    created_ms: u64,
    settings: SettingsJson,
}

#[derive(Serialize)]
struct SettingsJson {
    lease_ms: Option<u64>,
    strict: bool,
    length_max: Option<u64>,
    bytes_max: Option<u64>,
    dedup_window_ms: Option<u64>,
    resume_ms: Option<u64>,
    body_bytes_max: Option<u64>,
    expires_ms: Option<u64>,
    exclusive: bool,
}

#[derive(Serialize)]
struct InfoJson {
    #[serde(flatten)]
    queue: QueueJson,
    ready: u64,
    leased: u64,
    delayed: u64,
    bytes: u64,
    groups: u64,
    oldest_age_ms: Option<u64>,
    next_sequence: u64,
    producers: u64,
    sent_total: u64,
    acked_total: u64,
    delivered_total: u64,
    redelivered_total: u64,
    leader_node: u64,
    unseen: u64,
    marks: BTreeMap<String, u64>,
    consumers: Vec<ConsumerJson>,
}

/// Runs `phalanx queue ...`.
pub async fn run(command: QueueCommand, common: &Common) -> Outcome {
    let admin = connect(common).await?.admin();
    match command {
        QueueCommand::Create { name, settings } => {
            let queue = admin.create_queue(&name, merge(QueueSettings::default(), &settings)).await?;
            show(common.output, &queue_json(&queue), || {
                format!("queue {} is on shard {}", queue.name, queue.shard)
            })
        }
        QueueCommand::List => list(&admin.list_queues().await?, common.output),
        QueueCommand::Info { name } => info(&admin.queue_info(&name).await?, common.output),
        QueueCommand::Update { name, settings } => {
            let before = admin.queue_info(&name).await?.queue;
            let wanted = merge(before.settings.clone(), &settings);
            let queue = admin.update_queue(&name, wanted, Some(before.version)).await?;
            show(common.output, &queue_json(&queue), || {
                format!("queue {} has settings version {}", queue.name, queue.version)
            })
        }
        QueueCommand::Delete { name, yes } => {
            confirm(yes, &format!("Delete queue {name} with all its messages?"))?;
            admin.delete_queue(&name).await?;
            show(common.output, &serde_json::json!({ "deleted": name }), || {
                format!("queue {name} is deleted")
            })
        }
        QueueCommand::Peek(args) => look::peek(&admin, &args, common.output).await,
        QueueCommand::Groups(args) => look::groups(&admin, &args, common.output).await,
        QueueCommand::Consumers { name } => look::consumers(&admin, &name, common.output).await,
        QueueCommand::Purge { name, yes } => {
            confirm(yes, &format!("Remove all messages of queue {name}?"))?;
            let removed = admin.purge_queue(&name).await.map_err(unknown_purge)?;
            show(common.output, &serde_json::json!({ "purged": name, "removed": removed }), || {
                format!("{} removed from queue {name}", messages(removed))
            })
        }
    }
}

fn unknown_purge(error: Error) -> Failure {
    let unknown = error.is_outcome_unknown();
    let mut failure = Failure::from(error);
    if unknown {
        failure.message.push_str("; look at `phalanx queue info` before you purge again");
    }
    failure
}

/// Asks a person; a program must say --yes.
pub fn confirm(yes: bool, question: &str) -> Outcome {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "standard input is not a terminal: say --yes to go on without being asked",
        ));
    }
    output::note(&format!("{question} [y/N]"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new("not done")),
    }
}

fn merge(base: QueueSettings, wanted: &SettingsArgs) -> QueueSettings {
    let duration = |ms: Option<u64>| ms.map(Duration::from_millis);
    QueueSettings {
        lease: duration(wanted.lease).or(base.lease),
        strict: wanted.strict.unwrap_or(base.strict),
        length_max: wanted.length_max.or(base.length_max),
        bytes_max: wanted.bytes_max.or(base.bytes_max),
        dedup_window: duration(wanted.dedup_window).or(base.dedup_window),
        resume: duration(wanted.resume).or(base.resume),
        body_bytes_max: wanted.body_bytes_max.or(base.body_bytes_max),
        expires: span_or(wanted.expires, base.expires),
        exclusive: wanted.exclusive.unwrap_or(base.exclusive),
    }
}

fn list(queues: &[Queue], output: Output) -> Outcome {
    let rows: Vec<QueueJson> = queues.iter().map(queue_json).collect();
    show(output, &rows, || {
        if queues.is_empty() {
            return "no queues; `phalanx queue create NAME` makes one".to_owned();
        }
        let row = |queue: &Queue| {
            vec![queue.name.clone(), queue.shard.to_string(), queue.state.clone(), queue.version.to_string()]
        };
        table(&["queue", "shard", "state", "settings version"], queues.iter().map(row).collect())
    })
}

fn info(info: &QueueInfo, output: Output) -> Outcome {
    show(output, &info_json(info), || {
        let queue = &info.queue;
        let settings = &queue.settings;
        let or_default = |value: Option<String>| value.unwrap_or_else(|| "default".to_owned());
        let span = |value: Option<Duration>| or_default(value.map(|value| duration(millis(value))));
        let count = |value: Option<u64>| or_default(value.map(thousands));
        let mut text = pairs(&[
            ("queue", format!("{}/{} ({})", queue.namespace, queue.name, queue.state)),
            ("shard", format!("{}, led by node {}", queue.shard, info.leader_node)),
            ("ready", thousands(info.ready)),
            ("  of these delayed", thousands(info.delayed)),
            ("leased", thousands(info.leased)),
            ("bytes", thousands(info.bytes)),
            ("groups", thousands(info.groups)),
            ("oldest message", info.oldest_age.map_or("none".to_owned(), |age| duration(millis(age)))),
            ("sent / acked", format!("{} / {}", thousands(info.sent_total), thousands(info.acked_total))),
            (
                "delivered / again",
                format!("{} / {}", thousands(info.delivered_total), thousands(info.redelivered_total)),
            ),
            ("producers", thousands(info.producers)),
            ("lease", span(settings.lease)),
            ("strict", settings.strict.to_string()),
            ("length max", count(settings.length_max)),
            ("bytes max", count(settings.bytes_max)),
            ("dedup window", span(settings.dedup_window)),
            ("resume", span(settings.resume)),
            ("body bytes max", count(settings.body_bytes_max)),
            ("expires", settings.expires.map_or("never".to_owned(), |span| duration(millis(span)))),
            ("exclusive", settings.exclusive.to_string()),
        ]);
        if info.unseen > 0 {
            text.push_str(&format!("\n{} messages of the past are still looked at", thousands(info.unseen)));
        }
        for mark in &info.marks {
            text.push_str(&format!("\nmark {} at sequence {}", mark.name, mark.sequence));
        }
        if !info.consumers.is_empty() {
            text.push('\n');
            text.push_str(&look::consumers_table(&info.consumers));
        }
        text
    })
}

fn queue_json(queue: &Queue) -> QueueJson {
    let settings = &queue.settings;
    QueueJson {
        namespace: queue.namespace.clone(),
        name: queue.name.clone(),
        uid: queue.uid,
        shard: queue.shard,
        state: queue.state.clone(),
        version: queue.version,
        created_ms: print::unix_ms(queue.created),
        settings: SettingsJson {
            lease_ms: settings.lease.map(millis),
            strict: settings.strict,
            length_max: settings.length_max,
            bytes_max: settings.bytes_max,
            dedup_window_ms: settings.dedup_window.map(millis),
            resume_ms: settings.resume.map(millis),
            body_bytes_max: settings.body_bytes_max,
            expires_ms: settings.expires.map(millis),
            exclusive: settings.exclusive,
        },
    }
}

fn info_json(info: &QueueInfo) -> InfoJson {
    InfoJson {
        queue: queue_json(&info.queue),
        ready: info.ready,
        leased: info.leased,
        delayed: info.delayed,
        bytes: info.bytes,
        groups: info.groups,
        oldest_age_ms: info.oldest_age.map(millis),
        next_sequence: info.next_sequence,
        producers: info.producers,
        sent_total: info.sent_total,
        acked_total: info.acked_total,
        delivered_total: info.delivered_total,
        redelivered_total: info.redelivered_total,
        leader_node: info.leader_node,
        unseen: info.unseen,
        marks: info.marks.iter().map(|mark| (mark.name.clone(), mark.sequence)).collect(),
        consumers: info.consumers.iter().map(ConsumerJson::of).collect(),
    }
}
