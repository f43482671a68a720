//! The steps as the file says them. A step or a field that is not known is an error.

use std::collections::BTreeMap;
use std::time::Duration;

use phalanx_client::{Message, QueueSettings};
use serde::Deserialize;

/// A step, and the reason with which it must fail.
pub type Expected = (Step, Option<String>);

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    Create {
        #[serde(default)]
        settings: Settings,
    },
    Update {
        settings: Settings,
        if_version: Option<u64>,
    },
    Delete {},
    Purge {
        #[serde(default)]
        removed: u64,
    },
    Info(Info),
    Listed {
        r#as: bool,
    },
    Nodes {
        count: usize,
    },
    Send(Send),
    Produce(Send),
    Receive(Expect),
    Take(Expect),
    Open {
        #[serde(default = "me")]
        consumer: String,
        window: Option<u32>,
        lease_ms: Option<u64>,
        max_processing_ms: Option<u64>,
    },
    Close {
        #[serde(default = "me")]
        consumer: String,
    },
    Ack(Settle),
    Nack(Settle),
    Reject(Settle),
    Extend(Settle),
    Lost {
        #[serde(default = "me")]
        consumer: String,
        body: String,
        reason: String,
    },
    Sleep {
        ms: u64,
    },
    Load(Load),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    lease_ms: Option<u64>,
    #[serde(default)]
    strict: bool,
    length_max: Option<u64>,
    bytes_max: Option<u64>,
    dedup_window_ms: Option<u64>,
    resume_ms: Option<u64>,
    body_bytes_max: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Info {
    pub ready: Option<u64>,
    pub leased: Option<u64>,
    pub delayed: Option<u64>,
    pub version: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    bodies: Vec<String>,
    #[serde(default)]
    message: Fields,
    #[serde(default)]
    body_bytes: usize,
    pub request: Option<String>,
    #[serde(default)]
    pub batch: bool,
    pub save: Option<String>,
    pub same_as: Option<String>,
    pub duplicate: Option<bool>,
}

/// What describes a message.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    headers: BTreeMap<String, String>,
    content_type: String,
    group: String,
    deduplication_id: String,
    correlation_id: String,
    reply_to: String,
    traceparent: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    #[serde(default = "me")]
    pub consumer: String,
    pub expect: Vec<String>,
    pub max: Option<u32>,
    pub wait_ms: Option<u64>,
    pub lease_ms: Option<u64>,
    pub attempt: Option<u32>,
    pub redelivery: Option<String>,
    pub message: Option<Fields>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    #[serde(default = "me")]
    pub consumer: String,
    pub bodies: Vec<String>,
    #[serde(default)]
    pub delay_ms: u64,
    pub lease_ms: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    pub producers: usize,
    pub messages: usize,
    pub consumers: usize,
    #[serde(default)]
    pub kill: bool,
    #[serde(default)]
    pub calls: bool,
}

fn me() -> String {
    String::from("me")
}

impl Settings {
    pub fn to_client(&self) -> QueueSettings {
        QueueSettings {
            lease: self.lease_ms.map(Duration::from_millis),
            strict: self.strict,
            length_max: self.length_max,
            bytes_max: self.bytes_max,
            dedup_window: self.dedup_window_ms.map(Duration::from_millis),
            resume: self.resume_ms.map(Duration::from_millis),
            body_bytes_max: self.body_bytes_max,
            ..QueueSettings::default()
        }
    }
}

impl Send {
    pub fn messages(&self) -> Vec<Message> {
        let body = |body: &String| format!("{body:.<width$}", width = self.body_bytes);
        self.bodies.iter().map(|name| self.message.of(body(name))).collect()
    }
}

impl Fields {
    /// A message with this body and these fields.
    pub fn of(&self, body: String) -> Message {
        let message = Message::new(body)
            .group(self.group.clone())
            .content_type(&self.content_type)
            .deduplication_id(&self.deduplication_id)
            .correlation_id(&self.correlation_id)
            .reply_to(&self.reply_to)
            .traceparent(&self.traceparent);
        self.headers.iter().fold(message, |message, (name, value)| message.header(name, value.clone()))
    }
}

/// Name, settings and steps of each scenario.
pub fn parse(text: &str) -> Vec<(String, Settings, Vec<Expected>)> {
    #[derive(Deserialize)]
    struct File {
        scenario: Vec<Written>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        name: String,
        #[serde(default)]
        settings: Settings,
        steps: Vec<toml::Table>,
    }
    let file: File = toml::from_str(text).expect("the scenarios are written well");
    let step = |mut table: toml::Table| {
        let error =
            table.remove("error").map(|reason| reason.as_str().expect("a reason is a text").to_owned());
        let said = table.to_string();
        let step = table.try_into().unwrap_or_else(|error| panic!("step {said}: {error}"));
        (step, error)
    };
    let whole = |one: Written| (one.name, one.settings, one.steps.into_iter().map(step).collect());
    file.scenario.into_iter().map(whole).collect()
}
