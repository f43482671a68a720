//! Queues as a file declares them, and what it takes to get there.
//!
//! A file is the whole truth about the queues that it names: a setting that it leaves out has its default.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use phalanx_client::{Queue, QueueSettings};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::args::parse;
use crate::output::millis;

// A cluster tells what it settled on, and files leave out what is the default. The defaults are those of admin.proto; that they are
// still the cluster's is a test against a real one (`a_file_declares_queues_and_an_export_declares_them_again`).
const LEASE_DEFAULT: Span = Span(30_000);
const LENGTH_DEFAULT: u64 = 10_000_000;
const BYTES_DEFAULT: Size = Size(8 << 30);
const DEDUP_WINDOW_DEFAULT: Span = Span(300_000);
const RESUME_DEFAULT: Span = Span(10_000);
const BODY_BYTES_DEFAULT: Size = Size(1 << 20);

/// A file for `phalanx apply`.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where the queues are; the namespace of the command line wins, then this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The queues.
    #[serde(default, rename = "queue")]
    pub queues: Vec<Declared>,
}

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
}

/// A time, ms; in a file `"30s"` or a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub u64);

/// A number of bytes; in a file `"64KiB"` or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number or a text such as \"30s\" or \"64KiB\"")]
enum Written {
    Number(u64),
    Text(String),
}

impl Written {
    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Written::deserialize(from)?.text();
        parse::duration_ms(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let whole = units.into_iter().find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit));
        let (unit, name) = whole.unwrap_or((1, "ms"));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Written::deserialize(from)?.text();
        parse::bytes(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let whole = units.into_iter().find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit));
        let (unit, name) = whole.unwrap_or((1, ""));
        write!(f, "{}{name}", self.0 / unit)
    }
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
        }
        .normal()
    }

    /// The same, with nothing said that is the default anyway.
    fn normal(self) -> Self {
        Self {
            lease: self.lease.filter(|value| *value != LEASE_DEFAULT),
            length_max: self.length_max.filter(|value| *value != LENGTH_DEFAULT),
            bytes_max: self.bytes_max.filter(|value| *value != BYTES_DEFAULT),
            dedup_window: self.dedup_window.filter(|value| *value != DEDUP_WINDOW_DEFAULT),
            resume: self.resume.filter(|value| *value != RESUME_DEFAULT),
            body_bytes_max: self.body_bytes_max.filter(|value| *value != BODY_BYTES_DEFAULT),
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
        }
    }

    /// Settings that differ: name, here, there.
    fn differences(&self, there: &Self) -> Vec<Difference> {
        fn text<T: std::fmt::Display>(value: Option<T>, default: T) -> String {
            value.map_or_else(|| format!("{default} (default)"), |value| value.to_string())
        }
        let fields = |one: &Self| {
            [
                ("lease", text(one.lease, LEASE_DEFAULT)),
                ("strict", one.strict.to_string()),
                ("length_max", text(one.length_max, LENGTH_DEFAULT)),
                ("bytes_max", text(one.bytes_max, BYTES_DEFAULT)),
                ("dedup_window", text(one.dedup_window, DEDUP_WINDOW_DEFAULT)),
                ("resume", text(one.resume, RESUME_DEFAULT)),
                ("body_bytes_max", text(one.body_bytes_max, BODY_BYTES_DEFAULT)),
            ]
        };
        let pairs = fields(self).into_iter().zip(fields(there));
        pairs
            .filter(|(from, to)| from.1 != to.1)
            .map(|((setting, from), (_, to))| Difference { setting, from, to })
            .collect()
    }
}

/// A setting that is to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its name.
    pub setting: &'static str,
    /// As it is.
    pub from: String,
    /// As it shall be.
    pub to: String,
}

/// One step on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A queue that is not there.
    Create(Declared),
    /// A queue with other settings.
    Update {
        /// As it shall be.
        wanted: Declared,
        /// Only if it still has this settings version.
        if_version: u64,
        /// What changes.
        differences: Vec<Difference>,
    },
    /// A queue that the file does not name.
    Delete(String),
}

impl Step {
    /// The queue's name.
    pub fn queue(&self) -> &str {
        match self {
            Self::Create(wanted) | Self::Update { wanted, .. } => &wanted.name,
            Self::Delete(name) => name,
        }
    }
}

/// What it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order: creations and updates as the file has them, then deletions.
    pub steps: Vec<Step>,
    /// Queues that are as declared.
    pub unchanged: usize,
    /// Queues that the file does not name and that stay, since pruning was not asked for.
    pub unnamed: Vec<String>,
}

/// Compares.
///
/// # Errors
/// What the file asks for and no step can do.
pub fn plan(file: &File, there: &[Queue], prune: bool) -> Result<Plan, String> {
    let mut known: BTreeMap<&str, &Queue> = there.iter().map(|queue| (queue.name.as_str(), queue)).collect();
    let mut seen = BTreeSet::new();
    let mut plan = Plan::default();
    for wanted in &file.queues {
        if !seen.insert(wanted.name.as_str()) {
            return Err(format!("queue {:?} is declared twice", wanted.name));
        }
        let Some(queue) = known.remove(wanted.name.as_str()) else {
            plan.steps.push(Step::Create(wanted.clone()));
            continue;
        };
        let differences = Declared::of(queue).differences(&wanted.clone().normal());
        if differences.iter().any(|difference| difference.setting == "strict") {
            let name = &wanted.name;
            return Err(format!(
                "queue {name:?}: strict cannot change; delete the queue first, or use another name"
            ));
        }
        if differences.is_empty() {
            plan.unchanged += 1;
        } else {
            plan.steps.push(Step::Update { wanted: wanted.clone(), if_version: queue.version, differences });
        }
    }
    let rest = known.into_keys().map(str::to_owned);
    if prune {
        plan.steps.extend(rest.map(Step::Delete));
    } else {
        plan.unnamed.extend(rest);
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn there(name: &str, settings: QueueSettings) -> Queue {
        Queue {
            namespace: "default".into(),
            name: name.into(),
            uid: 1,
            shard: 1,
            version: 4,
            settings,
            created: SystemTime::UNIX_EPOCH,
            state: "live".into(),
        }
    }

    fn file(text: &str) -> File {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_plan_names_what_is_made_changed_and_left() {
        let lease = Some(Duration::from_secs(60));
        let queues = [
            there("same", QueueSettings { lease, ..QueueSettings::default() }),
            there("changed", QueueSettings { lease, length_max: Some(5), ..QueueSettings::default() }),
            there("extra", QueueSettings::default()),
        ];
        let wanted = file(
            "[[queue]]\nname = 'new'\n[[queue]]\nname = 'same'\nlease = '1m'\n\
             [[queue]]\nname = 'changed'\nlease = 90\nbytes_max = '1GiB'\n",
        );
        let kept = plan(&wanted, &queues, false).unwrap();
        assert_eq!((kept.unchanged, &kept.unnamed[..]), (1, &["extra".to_owned()][..]));
        assert_eq!(kept.steps.iter().map(Step::queue).collect::<Vec<_>>(), ["new", "changed"]);
        let difference =
            |setting, from: &str, to: &str| Difference { setting, from: from.into(), to: to.into() };
        let Step::Update { if_version: 4, differences, .. } = &kept.steps[1] else { panic!("{kept:?}") };
        let expected = [
            difference("lease", "1m", "90s"),
            difference("length_max", "5", "10000000 (default)"),
            difference("bytes_max", "8GiB (default)", "1GiB"),
        ];
        assert_eq!(differences[..], expected);
        let pruned = plan(&wanted, &queues, true).unwrap();
        assert_eq!(
            (pruned.steps.last(), &pruned.unnamed[..]),
            (Some(&Step::Delete("extra".into())), &[][..])
        );
    }

    #[test]
    fn what_was_exported_needs_no_step() {
        let settings = QueueSettings {
            lease: Some(Duration::from_millis(1_500)),
            strict: true,
            length_max: Some(7),
            bytes_max: Some(3 << 20),
            dedup_window: Some(Duration::from_secs(7200)),
            resume: Some(Duration::from_secs(1)),
            body_bytes_max: Some(1000),
        };
        let queues = [there("all", settings), there("plain", QueueSettings::default())];
        let exported = File { namespace: None, queues: queues.iter().map(Declared::of).collect() };
        let text = toml::to_string(&exported).unwrap();
        let again = plan(&file(&text), &queues, true).unwrap();
        assert_eq!(again, Plan { unchanged: 2, ..Plan::default() }, "{text}");
        let json = serde_json::to_string(&exported).unwrap();
        assert_eq!(serde_json::from_str::<File>(&json).unwrap(), exported);
    }

    #[test]
    fn what_cannot_be_done_is_refused_before_anything_is() {
        let queues = [there("q", QueueSettings::default())];
        let strict = plan(&file("[[queue]]\nname = 'q'\nstrict = true"), &queues, false).unwrap_err();
        assert!(strict.contains("strict cannot change"), "{strict}");
        let twice = plan(&file("[[queue]]\nname = 'a'\n[[queue]]\nname = 'a'"), &queues, false).unwrap_err();
        assert!(twice.contains("twice"), "{twice}");
        assert!(toml::from_str::<File>("[[queue]]\nname = 'a'\nleese = '1s'").is_err());
        assert!(toml::from_str::<File>("[[queue]]\nname = 'a'\nlease = '1 moon'").is_err());
    }
}
