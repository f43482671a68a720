//! `phalanx queue peek`, `groups`, `consumers`: looking without touching.

use phalanx_client::{Admin, ConsumerInfo, Holder, OrderingGroup, Peek, PeekState, Peeked, ReturnReason};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::args::{GroupOrder, GroupsArgs, Output, PeekArgs};
use crate::output::{self, Failure, Outcome, duration, millis, show, table, thousands};
use crate::print;

/// Messages asked for at once.
const PAGE: u64 = 100;
/// Groups that are looked at to find the ones to show.
const GROUPS_MAX: usize = 1_000_000;

/// Runs `phalanx queue peek`.
pub async fn peek(admin: &Admin, args: &PeekArgs, output: Output) -> Outcome {
    let (mut left, mut next) = (args.count, Some(args.from));
    while let Some(from_sequence) = next.filter(|_| left > 0) {
        let max_messages = u32::try_from(left.min(PAGE)).unwrap_or(u32::MAX);
        let peek = Peek { from_sequence, max_messages, group: args.group.clone().into() };
        let page = admin.peek(&args.name, peek).await?;
        let mut text = Vec::new();
        for message in &page.messages {
            peeked(&mut text, message, args, output)?;
        }
        output::raw(&text, false);
        left -= (page.messages.len() as u64).min(left);
        next = page.next_sequence;
    }
    if output == Output::Table {
        match next {
            _ if left == args.count => output::note("no messages"),
            Some(next) => output::note(&format!("more from sequence {next} on (--from {next})")),
            None => {}
        }
    }
    Ok(())
}

fn peeked(text: &mut Vec<u8>, peeked: &Peeked, args: &PeekArgs, output: Output) -> Outcome {
    match output {
        Output::Raw => text.extend_from_slice(&peeked.message.body),
        Output::Json => {
            let value = peeked_json(peeked);
            serde_json::to_writer(&mut *text, &value).map_err(|error| Failure::new(error.to_string()))?;
        }
        Output::Table => {
            let mut notes = vec![state_text(&peeked.state)];
            if peeked.attempts > 0 {
                notes.push(format!("attempts {}", peeked.attempts));
            }
            print::line(text, peeked.sequence, &notes, &peeked.message);
            if args.headers {
                print::details(text, &peeked.message);
            }
        }
    }
    text.push(b'\n');
    Ok(())
}

fn state_text(state: &PeekState) -> String {
    match state {
        PeekState::Ready => "ready".to_owned(),
        PeekState::Delayed { left } => format!("delayed {}", duration(millis(*left))),
        PeekState::Leased { holder, left, .. } => {
            let who = holder.as_ref().map(holder_text).unwrap_or_default();
            format!("leased {} {who}", duration(millis(*left)))
        }
        PeekState::Other => "unknown".to_owned(),
    }
}

fn peeked_json(peeked: &Peeked) -> Value {
    let mut object = Map::new();
    object.insert("sequence".to_owned(), json!(peeked.sequence));
    object.insert("enqueued_ms".to_owned(), json!(print::unix_ms(peeked.enqueued)));
    object.insert("attempts".to_owned(), json!(peeked.attempts));
    object.insert("returned".to_owned(), json!(peeked.returned.map(reason_text)));
    let (state, left, token, holder) = match &peeked.state {
        PeekState::Ready => ("ready", None, None, None),
        PeekState::Delayed { left } => ("delayed", Some(left), None, None),
        PeekState::Leased { token, holder, left } => ("leased", Some(left), Some(token), holder.as_ref()),
        PeekState::Other => ("unknown", None, None, None),
    };
    object.insert("state".to_owned(), json!(state));
    object.insert("left_ms".to_owned(), json!(left.map(|left| millis(*left))));
    object.insert("token".to_owned(), json!(token));
    object.insert("holder".to_owned(), json!(holder.map(HolderJson::of)));
    print::message(&mut object, &peeked.message);
    Value::Object(object)
}

fn reason_text(reason: ReturnReason) -> &'static str {
    match reason {
        ReturnReason::Nacked => "nacked",
        ReturnReason::Expired => "expired",
        ReturnReason::ConsumerLost => "consumer-lost",
        ReturnReason::GroupReturned => "group-returned",
        ReturnReason::ConsumerClosed => "consumer-closed",
        // Not told, or not known to this version.
        _ => "unspecified",
    }
}

#[derive(Serialize)]
struct HolderJson {
    consumer_id: Option<String>,
    name: String,
}

impl HolderJson {
    fn of(holder: &Holder) -> Self {
        Self { consumer_id: holder.consumer_id.map(|id| id.to_string()), name: holder.name.clone() }
    }
}

fn holder_text(holder: &Holder) -> String {
    match (&holder.name, holder.consumer_id) {
        (name, _) if !name.is_empty() => name.clone(),
        (_, Some(id)) => id.to_string(),
        (_, None) => "?".to_owned(),
    }
}

/// Runs `phalanx queue groups`.
pub async fn groups(admin: &Admin, args: &GroupsArgs, output: Output) -> Outcome {
    let mut groups = admin.groups(&args.name, GROUPS_MAX).await?;
    let all = groups.len();
    match args.sort {
        GroupOrder::Backlog => groups.sort_by_key(|group| std::cmp::Reverse(group.messages)),
        GroupOrder::Age => groups.sort_by_key(|group| std::cmp::Reverse(group.oldest_age)),
        GroupOrder::Key => groups.sort_by(|one, other| one.key.cmp(&other.key)),
    }
    groups.truncate(args.count as usize);
    let rows: Vec<Value> = groups.iter().map(group_json).collect();
    let document = json!({ "queue": args.name, "groups_total": all, "groups": rows });
    show(output, &document, || {
        if groups.is_empty() {
            return "no groups with messages".to_owned();
        }
        let row = |group: &OrderingGroup| {
            let key = if group.key.is_empty() { "(the whole queue)".into() } else { print::text(&group.key) };
            vec![
                key,
                thousands(group.messages),
                thousands(group.leased),
                duration(millis(group.oldest_age)),
                group.holder.as_ref().map(holder_text).unwrap_or_default(),
            ]
        };
        let shown =
            table(&["group", "messages", "leased", "oldest", "holder"], groups.iter().map(row).collect());
        if all > groups.len() {
            return format!(
                "{shown}\n{} of {} groups",
                thousands(groups.len() as u64),
                thousands(all as u64)
            );
        }
        shown
    })
}

fn group_json(group: &OrderingGroup) -> Value {
    let mut object = Map::new();
    print::text_or_base64(&mut object, "key", &group.key);
    object.insert("messages".to_owned(), json!(group.messages));
    object.insert("leased".to_owned(), json!(group.leased));
    object.insert("oldest_age_ms".to_owned(), json!(millis(group.oldest_age)));
    object.insert("holder".to_owned(), json!(group.holder.as_ref().map(HolderJson::of)));
    Value::Object(object)
}

/// Runs `phalanx queue consumers`.
pub async fn consumers(admin: &Admin, name: &str, output: Output) -> Outcome {
    let consumers = admin.queue_info(name).await?.consumers;
    let rows: Vec<ConsumerJson> = consumers.iter().map(ConsumerJson::of).collect();
    show(output, &json!({ "queue": name, "consumers": rows }), || {
        if consumers.is_empty() { "no consumers".to_owned() } else { consumers_table(&consumers) }
    })
}

/// A consumer, as `--output json` shows it.
#[derive(Serialize)]
pub struct ConsumerJson {
    consumer_id: Option<String>,
    name: String,
    attached: bool,
    in_hand: u32,
    window_messages: u32,
}

impl ConsumerJson {
    /// Of what the cluster says.
    pub fn of(consumer: &ConsumerInfo) -> Self {
        Self {
            consumer_id: consumer.consumer_id.map(|id| id.to_string()),
            name: consumer.name.clone(),
            attached: consumer.attached,
            in_hand: consumer.in_hand,
            window_messages: consumer.window_messages,
        }
    }
}

/// The consumers of a queue, for people.
pub fn consumers_table(consumers: &[ConsumerInfo]) -> String {
    let row = |consumer: &ConsumerInfo| {
        vec![
            consumer.name.clone(),
            consumer.consumer_id.map(|id| id.to_string()).unwrap_or_default(),
            if consumer.attached { "attached" } else { "away" }.to_owned(),
            format!("{} / {}", consumer.in_hand, consumer.window_messages),
        ]
    };
    table(&["consumer", "id", "state", "in hand / window"], consumers.iter().map(row).collect())
}
