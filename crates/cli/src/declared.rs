//! Queues and topics as a file declares them, and what it takes to get there.
//!
//! A file is the whole truth about what it names: a setting that it leaves out has its default.

mod queue;
mod topic;
mod units;

use std::collections::{BTreeMap, BTreeSet};

use phalanx_client::{Admin, Error};
use serde::{Deserialize, Serialize};

pub use queue::Declared;
pub use topic::{DeclaredBinding, DeclaredSubscription, DeclaredTopic};

/// State of a binding whose target is gone.
const TARGET_DELETED: &str = "target-deleted";
/// Names of reply queues and ephemeral subscriptions begin with it.
pub const TEMPORARY: char = '~';

/// A file for `phalanx apply`.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where all of it is; the namespace of the command line wins, then this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The queues.
    #[serde(default, rename = "queue")]
    pub queues: Vec<Declared>,
    /// The topics, with what belongs to them.
    #[serde(default, rename = "topic", skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<DeclaredTopic>,
}

/// What kind of thing; what others refer to comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A queue.
    Queue,
    /// A topic.
    Topic,
    /// A subscription of a topic.
    Subscription,
    /// A binding of a topic.
    Binding,
}

impl Kind {
    /// What people call it.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Topic => "topic",
            Self::Subscription => "subscription",
            Self::Binding => "binding",
        }
    }

    /// Settings that are fixed when it is made.
    fn fixed(self) -> &'static [&'static str] {
        match self {
            Self::Queue => &["strict"],
            Self::Topic => &["compact"],
            Self::Subscription => &["strict", "latest_only"],
            Self::Binding => &["to"],
        }
    }
}

/// One thing that a file declares, or a cluster has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A queue.
    Queue(Declared),
    /// A topic, without what belongs to it.
    Topic(DeclaredTopic),
    /// A subscription, and its topic.
    Subscription(String, DeclaredSubscription),
    /// A binding, and its topic.
    Binding(String, DeclaredBinding),
}

impl Thing {
    /// What kind of thing.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Queue(_) => Kind::Queue,
            Self::Topic(_) => Kind::Topic,
            Self::Subscription(..) => Kind::Subscription,
            Self::Binding(..) => Kind::Binding,
        }
    }

    /// Its name; of what belongs to a topic, with the topic's.
    pub fn name(&self) -> String {
        match self {
            Self::Queue(queue) => queue.name.clone(),
            Self::Topic(topic) => topic.name.clone(),
            Self::Subscription(topic, one) => format!("{topic}/{}", one.name),
            Self::Binding(topic, one) => format!("{topic}/{}", one.name),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Queue(queue) => queue.clone().normal().fields(),
            Self::Topic(topic) => topic.clone().normal().fields(),
            Self::Subscription(_, one) => one.clone().normal().fields(),
            Self::Binding(_, one) => one.fields(),
        }
    }

    /// Settings that differ: name, here, there.
    fn differences(&self, there: &Self) -> Vec<Difference> {
        let pairs = self.fields().into_iter().zip(there.fields());
        pairs
            .filter(|(from, to)| from.1 != to.1)
            .map(|((setting, from), (_, to))| Difference { setting, from, to })
            .collect()
    }
}

impl File {
    /// All that it declares, what others refer to first.
    pub fn things(&self) -> Vec<Thing> {
        let mut things: Vec<Thing> = self.queues.iter().cloned().map(Thing::Queue).collect();
        for topic in &self.topics {
            let alone = DeclaredTopic { subscriptions: Vec::new(), bindings: Vec::new(), ..topic.clone() };
            things.push(Thing::Topic(alone));
            let subscriptions = topic.subscriptions.iter().cloned();
            things.extend(subscriptions.map(|one| Thing::Subscription(topic.name.clone(), one)));
            let bindings = topic.bindings.iter().cloned();
            things.extend(bindings.map(|one| Thing::Binding(topic.name.clone(), one)));
        }
        things.sort_by_key(Thing::kind);
        things
    }

    /// All that a namespace has, but for what lives as long as some client: names that begin with [`TEMPORARY`].
    ///
    /// # Errors
    /// When the cluster cannot be asked.
    pub async fn of(admin: &Admin, namespace: &str) -> Result<(Self, Versions), Error> {
        let mut file = Self { namespace: Some(namespace.to_owned()), ..Self::default() };
        let mut versions = Versions::default();
        let stays = |name: &str| !name.starts_with(TEMPORARY);
        for queue in admin.list_queues().await?.into_iter().filter(|queue| stays(&queue.name)) {
            versions.0.insert((Kind::Queue, queue.name.clone()), queue.version);
            file.queues.push(Declared::of(&queue));
        }
        for topic in admin.list_topics().await? {
            versions.0.insert((Kind::Topic, topic.name.clone()), topic.version);
            let mut declared = DeclaredTopic::of(&topic);
            let subscriptions = admin.list_subscriptions(&topic.name).await?.into_iter();
            for one in subscriptions.filter(|one| stays(&one.name)) {
                versions.0.insert((Kind::Subscription, one.queue.clone()), one.version);
                declared.subscriptions.push(DeclaredSubscription::of(&one));
            }
            for one in admin.list_bindings(&topic.name).await? {
                let name = format!("{}/{}", topic.name, one.name);
                if one.state == TARGET_DELETED {
                    versions.1.insert(name.clone());
                }
                versions.0.insert((Kind::Binding, name), one.version);
                declared.bindings.push(DeclaredBinding::of(&one));
            }
            file.topics.push(declared);
        }
        Ok((file, versions))
    }
}

/// What a cluster has: versions, and bindings whose target is gone.
#[derive(Debug, Default)]
pub struct Versions(BTreeMap<(Kind, String), u64>, BTreeSet<String>);

impl Versions {
    /// A binding feeds nothing any more.
    pub fn feeds_nothing(&self, binding: &str) -> bool {
        self.1.contains(binding)
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
    /// Something that is not there.
    Create(Thing),
    /// Something with other settings.
    Update {
        /// As it shall be.
        wanted: Thing,
        /// Only if it still has this version.
        if_version: u64,
        /// What changes.
        differences: Vec<Difference>,
    },
    /// Something that the file does not name.
    Delete(Thing),
}

impl Step {
    /// What it is about.
    pub fn thing(&self) -> &Thing {
        match self {
            Self::Create(thing) | Self::Update { wanted: thing, .. } | Self::Delete(thing) => thing,
        }
    }
}

/// What it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order: creations and updates, what others refer to first (a binding whose target is gone is made anew); then deletions, the other
    /// way round.
    pub steps: Vec<Step>,
    /// What is as declared.
    pub unchanged: usize,
    /// What the file does not name and what stays, since pruning was not asked for.
    pub unnamed: Vec<String>,
}

/// Compares.
///
/// # Errors
/// What the file asks for and no step can do.
pub fn plan(file: &File, there: &File, versions: &Versions, prune: bool) -> Result<Plan, String> {
    let key = |thing: &Thing| (thing.kind(), thing.name());
    let mut known: BTreeMap<(Kind, String), Thing> =
        there.things().into_iter().map(|thing| (key(&thing), thing)).collect();
    let mut seen = BTreeSet::new();
    let mut plan = Plan::default();
    for wanted in file.things() {
        let (kind, name) = key(&wanted);
        if !seen.insert(name.clone()) {
            return Err(format!("{} {name:?} is declared twice", kind.noun()));
        }
        let Some(thing) = known.remove(&(kind, name.clone())) else {
            plan.steps.push(Step::Create(wanted));
            continue;
        };
        if versions.feeds_nothing(&name) {
            // A queue of that name is another one: only a new binding feeds it.
            plan.steps.push(Step::Delete(thing));
            plan.steps.push(Step::Create(wanted));
            continue;
        }
        let differences = thing.differences(&wanted);
        let fixed = differences.iter().find(|difference| kind.fixed().contains(&difference.setting));
        if let Some(Difference { setting, .. }) = fixed {
            let noun = kind.noun();
            return Err(format!(
                "{noun} {name:?}: {setting} cannot change; delete the {noun} first, or use another name"
            ));
        }
        if differences.is_empty() {
            plan.unchanged += 1;
        } else {
            let if_version = versions.0.get(&(kind, name)).copied().unwrap_or(0);
            plan.steps.push(Step::Update { wanted, if_version, differences });
        }
    }
    if prune {
        plan.steps.extend(known.into_values().rev().map(Step::Delete));
    } else {
        plan.unnamed.extend(known.into_keys().map(|(_, name)| name));
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use phalanx_client::{Queue, QueueSettings};

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

    fn plan(file: &File, queues: &[Queue], prune: bool) -> Result<Plan, String> {
        let there = File { queues: queues.iter().map(Declared::of).collect(), ..File::default() };
        let version = |queue: &Queue| ((Kind::Queue, queue.name.clone()), queue.version);
        super::plan(file, &there, &Versions(queues.iter().map(version).collect(), BTreeSet::new()), prune)
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
        assert_eq!(kept.steps.iter().map(|step| step.thing().name()).collect::<Vec<_>>(), ["new", "changed"]);
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
        let Some(Step::Delete(Thing::Queue(gone))) = pruned.steps.last() else { panic!("{pruned:?}") };
        assert_eq!((gone.name.as_str(), &pruned.unnamed[..]), ("extra", &[][..]));
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
            expires: Some(Duration::from_secs(600)),
            exclusive: true,
        };
        let queues = [there("all", settings), there("plain", QueueSettings::default())];
        let exported = File { queues: queues.iter().map(Declared::of).collect(), ..File::default() };
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

    const TOPICS: &str = "[[queue]]\nname = 'archive'\n[[topic]]\nname = 'orders'\nretain = '7d'\n\
        [[topic.subscription]]\nname = 'eu'\npattern = '*.eu'\n[[topic.subscription]]\nname = 'all'\n\
        [[topic.binding]]\nname = 'archive'\nto = 'archive'\n[[topic]]\nname = 'audit'\n";

    #[test]
    fn what_others_refer_to_is_made_first_and_goes_last() {
        let wanted = file(TOPICS);
        let names = |plan: &Plan| plan.steps.iter().map(|step| step.thing().name()).collect::<Vec<_>>();
        let made = super::plan(&wanted, &File::default(), &Versions::default(), false).unwrap();
        assert_eq!(names(&made), ["archive", "orders", "audit", "orders/eu", "orders/all", "orders/archive"]);
        let again = super::plan(&wanted, &wanted, &Versions::default(), true).unwrap();
        assert_eq!(again, Plan { unchanged: 6, ..Plan::default() });
        let gone = super::plan(&File::default(), &wanted, &Versions::default(), true).unwrap();
        assert_eq!(names(&gone), ["orders/archive", "orders/eu", "orders/all", "orders", "audit", "archive"]);
        let text = toml::to_string(&wanted).unwrap();
        assert_eq!(file(&text), wanted, "{text}");
    }

    #[test]
    fn a_binding_that_feeds_a_deleted_queue_is_made_anew() {
        let there = file(TOPICS);
        let gone = Versions(BTreeMap::new(), BTreeSet::from(["orders/archive".to_owned()]));
        let plan = super::plan(&there, &there, &gone, false).unwrap();
        assert!(matches!(&plan.steps[..], [Step::Delete(old), Step::Create(new)] if old == new), "{plan:?}");
        assert_eq!((plan.steps[0].thing().name().as_str(), plan.unchanged), ("orders/archive", 5));
    }

    #[test]
    fn conditions_of_subscriptions_and_bindings_change_and_targets_do_not() {
        let there = file(TOPICS);
        let change = |from: &str, to: &str| {
            super::plan(&file(&TOPICS.replace(from, to)), &there, &Versions::default(), false)
        };
        let changed = change("*.eu", "*.us").unwrap();
        let [Step::Update { differences, .. }] = &changed.steps[..] else { panic!("{changed:?}") };
        assert_eq!((differences[0].from.as_str(), differences[0].to.as_str()), ("*.eu", "*.us"));
        let retained = change("retain = '7d'", "retain = '8d'").unwrap();
        assert_eq!(retained.steps.len(), 1);
        assert!(change("to = 'archive'", "to = 'audit'").unwrap_err().contains("to cannot change"));
        let twice = change("name = 'all'", "name = 'archive'").unwrap_err();
        assert!(twice.contains("twice"), "names of subscriptions and bindings are one set: {twice}");
        assert!(toml::from_str::<File>("[[topic]]\nname = 'a'\n[[topic.binding]]\nname = 'b'").is_err());
    }
}
