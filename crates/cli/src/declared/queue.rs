//! A queue as a file declares it.

use std::time::Duration;

use phalanx_client::{Queue, QueueSettings};
use serde::{Deserialize, Serialize};

use super::units::{Size, Span, or_never, text};
use crate::output::millis;

// A cluster tells what it settled on, and files leave out what is the default. The defaults are those of admin.proto; that they are
// still the cluster's is a test against a real one (`a_file_declares_queues_and_an_export_declares_them_again`).
pub(super) const LEASE_DEFAULT: Span = Span(30_000);
pub(super) const LENGTH_DEFAULT: u64 = 10_000_000;
pub(super) const BYTES_DEFAULT: Size = Size(8 << 30);
pub(super) const DEDUP_WINDOW_DEFAULT: Span = Span(300_000);
pub(super) const RESUME_DEFAULT: Span = Span(10_000);
pub(super) const BODY_BYTES_DEFAULT: Size = Size(1 << 20);

/// A queue as declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Lease of a delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Span>,
    /// The whole queue is one ordering group. Fixed when the queue is made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// Most messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_max: Option<u64>,
    /// Most payload bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<Size>,
    /// How long deduplication ids are remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_window: Option<Span>,
    /// How long the leases of a lost consumer wait for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Span>,
    /// Largest body of a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<Size>,
    /// Deleted after so long without a consumer and a receive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Span>,
    /// Has one consumer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
}

impl Declared {
    /// As the cluster has it.
    pub fn of(queue: &Queue) -> Self {
        let settings = &queue.settings;
        let span = |duration: Option<Duration>| duration.map(millis).map(Span);
        Self {
            name: queue.name.clone(),
            lease: span(settings.lease),
            strict: settings.strict,
            length_max: settings.length_max,
            bytes_max: settings.bytes_max.map(Size),
            dedup_window: span(settings.dedup_window),
            resume: span(settings.resume),
            body_bytes_max: settings.body_bytes_max.map(Size),
            expires: span(settings.expires),
            exclusive: settings.exclusive,
        }
        .normal()
    }

    /// The same, with nothing said that is the default anyway.
    pub fn normal(self) -> Self {
        Self {
            lease: self.lease.filter(|value| *value != LEASE_DEFAULT),
            length_max: self.length_max.filter(|value| *value != LENGTH_DEFAULT),
            bytes_max: self.bytes_max.filter(|value| *value != BYTES_DEFAULT),
            dedup_window: self.dedup_window.filter(|value| *value != DEDUP_WINDOW_DEFAULT),
            resume: self.resume.filter(|value| *value != RESUME_DEFAULT),
            body_bytes_max: self.body_bytes_max.filter(|value| *value != BODY_BYTES_DEFAULT),
            expires: self.expires.filter(|value| value.0 != 0),
            ..self
        }
    }

    /// As the cluster is told.
    pub fn settings(&self) -> QueueSettings {
        let duration = |span: Option<Span>| span.map(|span| Duration::from_millis(span.0));
        QueueSettings {
            lease: duration(self.lease),
            strict: self.strict,
            length_max: self.length_max,
            bytes_max: self.bytes_max.map(|size| size.0),
            dedup_window: duration(self.dedup_window),
            resume: duration(self.resume),
            body_bytes_max: self.body_bytes_max.map(|size| size.0),
            expires: duration(self.expires),
            exclusive: self.exclusive,
        }
    }

    /// Every setting, as text.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("lease", text(self.lease, LEASE_DEFAULT)),
            ("strict", self.strict.to_string()),
            ("length_max", text(self.length_max, LENGTH_DEFAULT)),
            ("bytes_max", text(self.bytes_max, BYTES_DEFAULT)),
            ("dedup_window", text(self.dedup_window, DEDUP_WINDOW_DEFAULT)),
            ("resume", text(self.resume, RESUME_DEFAULT)),
            ("body_bytes_max", text(self.body_bytes_max, BODY_BYTES_DEFAULT)),
            ("expires", or_never(self.expires)),
            ("exclusive", self.exclusive.to_string()),
        ]
    }
}
