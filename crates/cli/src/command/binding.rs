//! `phalanx binding`: what topics feed.

use phalanx_client::{Binding, BindingInfo, Conditions};
use serde::Serialize;

use crate::args::{BindingCommand, Common, ConditionArgs, Output};
use crate::command::connect;
use crate::command::queue::confirm;
use crate::command::topic::hint;
use crate::output::{Failure, Outcome, duration, millis, pairs, show, table, thousands};
use crate::print;

/// A binding, as `--output json` shows it.
#[derive(Serialize)]
struct BindingJson {
    namespace: String,
    topic: String,
    name: String,
    target: String,
    uid: u64,
    shard: u64,
    state: String,
    version: u64,
    created_ms: u64,
    pattern: String,
    filter: String,
}

#[derive(Serialize)]
struct InfoJson {
    #[serde(flatten)]
    binding: BindingJson,
    waiting: u64,
    waiting_bytes: u64,
    oldest_age_ms: Option<u64>,
    carried_total: u64,
    unseen: u64,
    target_gone: bool,
}

/// Runs `phalanx binding ...`.
pub async fn run(command: BindingCommand, common: &Common) -> Outcome {
    let admin = connect(common).await?.admin();
    match command {
        BindingCommand::Create { topic, name, to, from, conditions } => {
            let conditions = merge(Conditions::default(), conditions);
            let made = admin.create_binding(&topic, &name, &to, conditions, from).await?;
            show(common.output, &json(&made), || {
                format!("binding {name} carries from topic {topic} to {}", made.target)
            })
        }
        BindingCommand::List { topic } => {
            let all = admin.list_bindings(&topic).await.map_err(|error| hint(error, &topic))?;
            let rows: Vec<BindingJson> = all.iter().map(json).collect();
            show(common.output, &rows, || {
                if all.is_empty() {
                    return format!(
                        "no bindings; `phalanx binding create {topic} NAME --to QUEUE` makes one"
                    );
                }
                list(&all)
            })
        }
        BindingCommand::Info { topic, name } => {
            info(&admin.binding_info(&topic, &name).await.map_err(unknown)?, common.output)
        }
        BindingCommand::Update { topic, name, conditions } => {
            let before = admin.binding_info(&topic, &name).await.map_err(unknown)?.binding;
            let wanted = merge(before.conditions, conditions);
            let now = admin.update_binding(&topic, &name, wanted, Some(before.version)).await?;
            show(common.output, &json(&now), || {
                format!("binding {name} of topic {topic} has version {}", now.version)
            })
        }
        BindingCommand::Delete { topic, name, yes } => {
            confirm(yes, &format!("Delete binding {name} of topic {topic} with all that waits in it?"))?;
            admin.delete_binding(&topic, &name).await?;
            show(common.output, &serde_json::json!({ "deleted": name, "topic": topic }), || {
                format!("binding {name} of topic {topic} is deleted")
            })
        }
    }
}

fn unknown(error: phalanx_client::Error) -> Failure {
    let missing = matches!(error, phalanx_client::Error::QueueNotFound { .. });
    let mut failure = Failure::from(error);
    if missing {
        failure.message.push_str(" (`phalanx binding list TOPIC` names those that are there)");
    }
    failure
}

fn merge(base: Conditions, wanted: ConditionArgs) -> Conditions {
    Conditions {
        pattern: wanted.pattern.unwrap_or(base.pattern),
        filter: wanted.filter.unwrap_or(base.filter),
    }
}

fn or_all(text: &str) -> String {
    if text.is_empty() { "any".to_owned() } else { print::text(text.as_bytes()) }
}

fn list(all: &[Binding]) -> String {
    let row = |one: &Binding| {
        vec![
            one.name.clone(),
            one.target.clone(),
            or_all(&one.conditions.pattern),
            or_all(&one.conditions.filter),
            one.state.clone(),
        ]
    };
    table(&["binding", "to", "routing keys", "headers", "state"], all.iter().map(row).collect())
}

fn info(info: &BindingInfo, output: Output) -> Outcome {
    let binding = &info.binding;
    let json = InfoJson {
        binding: json(binding),
        waiting: info.waiting,
        waiting_bytes: info.waiting_bytes,
        oldest_age_ms: info.oldest_age.map(millis),
        carried_total: info.carried_total,
        unseen: info.unseen,
        target_gone: info.target_gone,
    };
    show(output, &json, || {
        let gone = if info.target_gone { ", which was deleted: what waits goes nowhere" } else { "" };
        pairs(&[
            ("binding", format!("{}/{} ({})", binding.topic, binding.name, binding.state)),
            ("to", format!("{}{gone}", binding.target)),
            ("routing keys", or_all(&binding.conditions.pattern)),
            ("headers", or_all(&binding.conditions.filter)),
            ("waiting", format!("{}, {} bytes", thousands(info.waiting), thousands(info.waiting_bytes))),
            ("oldest waiting", info.oldest_age.map_or("none".to_owned(), |age| duration(millis(age)))),
            ("carried", thousands(info.carried_total)),
        ])
    })
}

fn json(one: &Binding) -> BindingJson {
    BindingJson {
        namespace: one.namespace.clone(),
        topic: one.topic.clone(),
        name: one.name.clone(),
        target: one.target.clone(),
        uid: one.uid,
        shard: one.shard,
        state: one.state.clone(),
        version: one.version,
        created_ms: print::unix_ms(one.created),
        pattern: one.conditions.pattern.clone(),
        filter: one.conditions.filter.clone(),
    }
}
