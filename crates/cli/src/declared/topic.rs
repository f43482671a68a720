//! A topic, its subscriptions and its bindings as a file declares them.

use std::time::Duration;

use phalanx_client::{Binding, Conditions, Subscription, SubscriptionSettings, Topic, TopicSettings};
use serde::{Deserialize, Serialize};

use super::queue::{
    BODY_BYTES_DEFAULT, BYTES_DEFAULT, DEDUP_WINDOW_DEFAULT, LEASE_DEFAULT, LENGTH_DEFAULT, RESUME_DEFAULT,
};
use super::units::{Size, Span, or_never, text};
use crate::output::millis;

/// What a topic with a limit by time alone retains at most.
const RETAIN_BYTES_DEFAULT: Size = Size(8 << 30);

/// A topic as declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredTopic {
    /// Its name.
    pub name: String,
    /// Most messages that are not settled, beyond retained ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_max: Option<u64>,
    /// Most payload bytes of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<Size>,
    /// How long deduplication ids are remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_window: Option<Span>,
    /// Largest body of a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<Size>,
    /// The newest messages are kept for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<Span>,
    /// The newest messages are kept up to so many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_bytes: Option<Size>,
    /// The newest message of each key is kept. Fixed when the topic is made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compact: bool,
    /// Its subscriptions.
    #[serde(default, rename = "subscription", skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<DeclaredSubscription>,
    /// What it feeds.
    #[serde(default, rename = "binding", skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<DeclaredBinding>,
}

/// A subscription as declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredSubscription {
    /// Its name within the topic.
    pub name: String,
    /// Over routing keys.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pattern: String,
    /// Over headers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// Lease of a delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Span>,
    /// It is one ordering group. Fixed when it is made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// How long the leases of a lost consumer wait for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Span>,
    /// Of each key only the newest message waits. Fixed when it is made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub latest_only: bool,
    /// Deleted after so long without a consumer and a receive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Span>,
    /// Has one consumer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
}

/// A binding as declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredBinding {
    /// Its name within the topic.
    pub name: String,
    /// The queue or topic that it feeds. Fixed when it is made.
    pub to: String,
    /// Over routing keys.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pattern: String,
    /// Over headers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
}

fn span(duration: Option<Duration>) -> Option<Span> {
    duration.map(millis).map(Span)
}

fn duration(span: Option<Span>) -> Option<Duration> {
    span.map(|span| Duration::from_millis(span.0))
}

fn or_any(text: &str) -> String {
    if text.is_empty() { "any (default)".to_owned() } else { text.to_owned() }
}

impl DeclaredTopic {
    /// As the cluster has it, without what belongs to it.
    pub fn of(topic: &Topic) -> Self {
        let settings = &topic.settings;
        Self {
            name: topic.name.clone(),
            length_max: settings.length_max,
            bytes_max: settings.bytes_max.map(Size),
            dedup_window: span(settings.dedup_window),
            body_bytes_max: settings.body_bytes_max.map(Size),
            retain: span(settings.retain),
            retain_bytes: settings.retain_bytes.map(Size),
            compact: settings.compact,
            ..Self::default()
        }
        .normal()
    }

    /// The same, with nothing said that is the default anyway.
    pub fn normal(self) -> Self {
        let bytes_follow = self.retain.is_some_and(|retain| retain.0 != 0);
        Self {
            length_max: self.length_max.filter(|value| *value != LENGTH_DEFAULT),
            bytes_max: self.bytes_max.filter(|value| *value != BYTES_DEFAULT),
            dedup_window: self.dedup_window.filter(|value| *value != DEDUP_WINDOW_DEFAULT),
            body_bytes_max: self.body_bytes_max.filter(|value| *value != BODY_BYTES_DEFAULT),
            retain: self.retain.filter(|value| value.0 != 0),
            retain_bytes: self
                .retain_bytes
                .filter(|value| value.0 != 0 && !(bytes_follow && *value == RETAIN_BYTES_DEFAULT)),
            ..self
        }
    }

    /// As the cluster is told.
    pub fn settings(&self) -> TopicSettings {
        TopicSettings {
            length_max: self.length_max,
            bytes_max: self.bytes_max.map(|size| size.0),
            dedup_window: duration(self.dedup_window),
            body_bytes_max: self.body_bytes_max.map(|size| size.0),
            retain: duration(self.retain),
            retain_bytes: self.retain_bytes.map(|size| size.0),
            compact: self.compact,
        }
    }

    /// Every setting, as text.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "none (default)".to_owned());
        vec![
            ("length_max", text(self.length_max, LENGTH_DEFAULT)),
            ("bytes_max", text(self.bytes_max, BYTES_DEFAULT)),
            ("dedup_window", text(self.dedup_window, DEDUP_WINDOW_DEFAULT)),
            ("body_bytes_max", text(self.body_bytes_max, BODY_BYTES_DEFAULT)),
            ("retain", or_none(self.retain.map(|span| span.to_string()))),
            ("retain_bytes", or_none(self.retain_bytes.map(|size| size.to_string()))),
            ("compact", self.compact.to_string()),
        ]
    }
}

impl DeclaredSubscription {
    /// As the cluster has it.
    pub fn of(one: &Subscription) -> Self {
        let settings = &one.settings;
        Self {
            name: one.name.clone(),
            pattern: settings.pattern.clone(),
            filter: settings.filter.clone(),
            lease: span(settings.lease),
            strict: settings.strict,
            resume: span(settings.resume),
            latest_only: settings.latest_only,
            expires: span(settings.expires),
            exclusive: settings.exclusive,
        }
        .normal()
    }

    /// The same, with nothing said that is the default anyway.
    pub fn normal(self) -> Self {
        Self {
            lease: self.lease.filter(|value| *value != LEASE_DEFAULT),
            resume: self.resume.filter(|value| *value != RESUME_DEFAULT),
            expires: self.expires.filter(|value| value.0 != 0),
            ..self
        }
    }

    /// As the cluster is told.
    pub fn settings(&self) -> SubscriptionSettings {
        SubscriptionSettings {
            pattern: self.pattern.clone(),
            filter: self.filter.clone(),
            lease: duration(self.lease),
            strict: self.strict,
            resume: duration(self.resume),
            latest_only: self.latest_only,
            expires: duration(self.expires),
            exclusive: self.exclusive,
        }
    }

    /// Every setting, as text.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("pattern", or_any(&self.pattern)),
            ("filter", or_any(&self.filter)),
            ("lease", text(self.lease, LEASE_DEFAULT)),
            ("strict", self.strict.to_string()),
            ("resume", text(self.resume, RESUME_DEFAULT)),
            ("latest_only", self.latest_only.to_string()),
            ("expires", or_never(self.expires)),
            ("exclusive", self.exclusive.to_string()),
        ]
    }
}

impl DeclaredBinding {
    /// As the cluster has it.
    pub fn of(one: &Binding) -> Self {
        let Conditions { pattern, filter } = one.conditions.clone();
        Self { name: one.name.clone(), to: one.target.clone(), pattern, filter }
    }

    /// As the cluster is told.
    pub fn conditions(&self) -> Conditions {
        Conditions { pattern: self.pattern.clone(), filter: self.filter.clone() }
    }

    /// Every setting, as text.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        vec![("to", self.to.clone()), ("pattern", or_any(&self.pattern)), ("filter", or_any(&self.filter))]
    }
}
