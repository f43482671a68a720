//! Who may do what: every RPC asks here before it does anything else.
//!
//! [`RULES`] names for each RPC of `phalanx.v1` the action and the kind of target it is checked against; an RPC without a
//! rule fails a test over the proto descriptor. Invariant: an RPC handler's first step is [`crate::state::NodeState::admit`].

use crate::caller::Caller;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Append messages to a queue.
    Send,
    /// Lease and settle messages of a queue.
    Receive,
    /// Read messages and ordering keys of a queue where they are.
    Browse,
    /// Create, change, delete, purge queues.
    Manage,
    /// Look at settings, depths, topology.
    Observe,
}

/// What it is to be done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// The cluster itself.
    Cluster,
    /// Everything in a namespace.
    Namespace(&'a str),
    /// One queue or topic.
    Queue {
        /// Its namespace.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
    },
}

/// Kind of target of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// [`Target::Cluster`].
    Cluster,
    /// [`Target::Namespace`].
    Namespace,
    /// [`Target::Queue`].
    Queue,
}

impl Target<'_> {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> TargetKind {
        match self {
            Target::Cluster => TargetKind::Cluster,
            Target::Namespace(_) => TargetKind::Namespace,
            Target::Queue { .. } => TargetKind::Queue,
        }
    }
}

/// The rule of one RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `/package.Service/Method`, as on the wire.
    pub path: &'static str,
    /// What it counts as.
    pub action: Action,
    /// What it is checked against.
    pub target: TargetKind,
}

impl Rule {
    const fn new(path: &'static str, action: Action, target: TargetKind) -> Self {
        Self { path, action, target }
    }
}

/// `Messages.Send`.
pub const SEND: Rule = Rule::new("/phalanx.v1.Messages/Send", Action::Send, TargetKind::Queue);
/// `Messages.SendStream`: asked when the `open` frame names the queue.
pub const SEND_STREAM: Rule = Rule::new("/phalanx.v1.Messages/SendStream", Action::Send, TargetKind::Queue);
/// `Messages.Receive`.
pub const RECEIVE: Rule = Rule::new("/phalanx.v1.Messages/Receive", Action::Receive, TargetKind::Queue);
/// `Messages.Consume`: asked when the `attach` frame names the queue.
pub const CONSUME: Rule = Rule::new("/phalanx.v1.Messages/Consume", Action::Receive, TargetKind::Queue);
/// `Messages.Settle`.
pub const SETTLE: Rule = Rule::new("/phalanx.v1.Messages/Settle", Action::Receive, TargetKind::Queue);
/// `Queues.CreateQueue`.
pub const CREATE_QUEUE: Rule = Rule::new("/phalanx.v1.Queues/CreateQueue", Action::Manage, TargetKind::Queue);
/// `Queues.UpdateQueue`.
pub const UPDATE_QUEUE: Rule = Rule::new("/phalanx.v1.Queues/UpdateQueue", Action::Manage, TargetKind::Queue);
/// `Queues.DeleteQueue`.
pub const DELETE_QUEUE: Rule = Rule::new("/phalanx.v1.Queues/DeleteQueue", Action::Manage, TargetKind::Queue);
/// `Queues.PurgeQueue`.
pub const PURGE_QUEUE: Rule = Rule::new("/phalanx.v1.Queues/PurgeQueue", Action::Manage, TargetKind::Queue);
/// `Queues.Lookup`.
pub const LOOKUP: Rule = Rule::new("/phalanx.v1.Queues/Lookup", Action::Observe, TargetKind::Queue);
/// `Queues.GetQueue`.
pub const GET_QUEUE: Rule = Rule::new("/phalanx.v1.Queues/GetQueue", Action::Observe, TargetKind::Queue);
/// `Queues.ListQueues`.
pub const LIST_QUEUES: Rule =
    Rule::new("/phalanx.v1.Queues/ListQueues", Action::Observe, TargetKind::Namespace);
/// `Queues.Peek`.
pub const PEEK: Rule = Rule::new("/phalanx.v1.Queues/Peek", Action::Browse, TargetKind::Queue);
/// `Queues.ListGroups`.
pub const LIST_GROUPS: Rule = Rule::new("/phalanx.v1.Queues/ListGroups", Action::Browse, TargetKind::Queue);
/// `Topics.CreateTopic`.
pub const CREATE_TOPIC: Rule = Rule::new("/phalanx.v1.Topics/CreateTopic", Action::Manage, TargetKind::Queue);
/// `Topics.UpdateTopic`.
pub const UPDATE_TOPIC: Rule = Rule::new("/phalanx.v1.Topics/UpdateTopic", Action::Manage, TargetKind::Queue);
/// `Topics.DeleteTopic`.
pub const DELETE_TOPIC: Rule = Rule::new("/phalanx.v1.Topics/DeleteTopic", Action::Manage, TargetKind::Queue);
/// `Topics.GetTopic`.
pub const GET_TOPIC: Rule = Rule::new("/phalanx.v1.Topics/GetTopic", Action::Observe, TargetKind::Queue);
/// `Topics.ListTopics`.
pub const LIST_TOPICS: Rule =
    Rule::new("/phalanx.v1.Topics/ListTopics", Action::Observe, TargetKind::Namespace);
/// `Topics.CreateSubscription`: asked for the topic.
pub const CREATE_SUBSCRIPTION: Rule =
    Rule::new("/phalanx.v1.Topics/CreateSubscription", Action::Manage, TargetKind::Queue);
/// `Topics.UpdateSubscription`: asked for the topic.
pub const UPDATE_SUBSCRIPTION: Rule =
    Rule::new("/phalanx.v1.Topics/UpdateSubscription", Action::Manage, TargetKind::Queue);
/// `Topics.DeleteSubscription`: asked for the topic.
pub const DELETE_SUBSCRIPTION: Rule =
    Rule::new("/phalanx.v1.Topics/DeleteSubscription", Action::Manage, TargetKind::Queue);
/// `Topics.ListSubscriptions`: asked for the topic.
pub const LIST_SUBSCRIPTIONS: Rule =
    Rule::new("/phalanx.v1.Topics/ListSubscriptions", Action::Observe, TargetKind::Queue);
/// `Topics.SeekSubscription`: asked for the topic.
pub const SEEK_SUBSCRIPTION: Rule =
    Rule::new("/phalanx.v1.Topics/SeekSubscription", Action::Manage, TargetKind::Queue);
/// `Topics.MarkSubscription`: asked for the topic.
pub const MARK_SUBSCRIPTION: Rule =
    Rule::new("/phalanx.v1.Topics/MarkSubscription", Action::Manage, TargetKind::Queue);
/// `Topics.ReadLog`.
pub const READ_LOG: Rule = Rule::new("/phalanx.v1.Topics/ReadLog", Action::Browse, TargetKind::Queue);
/// `Bindings.CreateBinding`: asked for the topic.
pub const CREATE_BINDING: Rule =
    Rule::new("/phalanx.v1.Bindings/CreateBinding", Action::Manage, TargetKind::Queue);
/// `Bindings.CreateBinding`: asked for what it feeds. Whoever binds sends.
pub const FEED: Rule = Rule::new("/phalanx.v1.Bindings/CreateBinding", Action::Send, TargetKind::Queue);
/// `Bindings.UpdateBinding`: asked for the topic.
pub const UPDATE_BINDING: Rule =
    Rule::new("/phalanx.v1.Bindings/UpdateBinding", Action::Manage, TargetKind::Queue);
/// `Bindings.UpdateBinding`: asked for what it feeds.
pub const FEED_OTHERWISE: Rule =
    Rule::new("/phalanx.v1.Bindings/UpdateBinding", Action::Send, TargetKind::Queue);
/// `Bindings.DeleteBinding`: asked for the topic.
pub const DELETE_BINDING: Rule =
    Rule::new("/phalanx.v1.Bindings/DeleteBinding", Action::Manage, TargetKind::Queue);
/// `Bindings.GetBinding`: asked for the topic.
pub const GET_BINDING: Rule =
    Rule::new("/phalanx.v1.Bindings/GetBinding", Action::Observe, TargetKind::Queue);
/// `Bindings.ListBindings`: asked for the topic.
pub const LIST_BINDINGS: Rule =
    Rule::new("/phalanx.v1.Bindings/ListBindings", Action::Observe, TargetKind::Queue);
/// `Cluster.Status`.
pub const STATUS: Rule = Rule::new("/phalanx.v1.Cluster/Status", Action::Observe, TargetKind::Cluster);
/// `Cluster.Topology`: asked for the namespace, since the queue may be left out.
pub const TOPOLOGY: Rule = Rule::new("/phalanx.v1.Cluster/Topology", Action::Observe, TargetKind::Namespace);

/// All rules: one for each RPC of `phalanx.v1`.
pub const RULES: &[Rule] = &[
    SEND,
    SEND_STREAM,
    RECEIVE,
    CONSUME,
    SETTLE,
    CREATE_QUEUE,
    UPDATE_QUEUE,
    DELETE_QUEUE,
    PURGE_QUEUE,
    LOOKUP,
    GET_QUEUE,
    LIST_QUEUES,
    PEEK,
    LIST_GROUPS,
    CREATE_TOPIC,
    UPDATE_TOPIC,
    DELETE_TOPIC,
    GET_TOPIC,
    LIST_TOPICS,
    CREATE_SUBSCRIPTION,
    UPDATE_SUBSCRIPTION,
    DELETE_SUBSCRIPTION,
    LIST_SUBSCRIPTIONS,
    SEEK_SUBSCRIPTION,
    MARK_SUBSCRIPTION,
    READ_LOG,
    CREATE_BINDING,
    UPDATE_BINDING,
    DELETE_BINDING,
    GET_BINDING,
    LIST_BINDINGS,
    STATUS,
    TOPOLOGY,
];

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Nobody in particular: no way to authenticate is configured.
    Anonymous,
    /// A name that was proven.
    Named(String),
}

impl Principal {
    /// How it is carried over the node port, in `phalanx-principal`.
    #[must_use]
    pub fn to_header(&self) -> String {
        match self {
            Principal::Anonymous => "anonymous".to_owned(),
            Principal::Named(name) => format!("name:{name}"),
        }
    }

    /// The reverse of [`Principal::to_header`]; `None` when it is malformed.
    #[must_use]
    pub fn from_header(text: &str) -> Option<Self> {
        if text == "anonymous" {
            return Some(Principal::Anonymous);
        }
        text.strip_prefix("name:").map(|name| Principal::Named(name.to_owned()))
    }
}

/// The caller may not do this. Says no more than that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action:?} is not allowed here for this caller")]
pub struct Denied {
    /// What was refused.
    pub action: Action,
}

/// Decides. Must be quick and must not block.
pub trait Authorizer: Send + Sync + 'static {
    /// Whether `principal` may do `action` to `target`.
    ///
    /// # Errors
    /// [`Denied`].
    fn authorize(&self, principal: &Principal, action: Action, target: &Target<'_>) -> Result<(), Denied>;
}

/// Everybody may do everything: the only one until access rules exist.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authorizer for AllowAll {
    fn authorize(&self, _: &Principal, _: Action, _: &Target<'_>) -> Result<(), Denied> {
        Ok(())
    }
}

/// Nobody may do anything: for tests that every RPC asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct DenyAll;

impl Authorizer for DenyAll {
    fn authorize(&self, _: &Principal, action: Action, _: &Target<'_>) -> Result<(), Denied> {
        Err(Denied { action })
    }
}

/// Asks `authorizer` whether `caller` may use the RPC of `rule` on `target`.
///
/// # Errors
/// [`Denied`], also when the target is not of the rule's kind: a handler that mixes them up refuses everything.
pub fn check(
    authorizer: &dyn Authorizer,
    caller: &Caller,
    rule: &Rule,
    target: &Target<'_>,
) -> Result<(), Denied> {
    if target.kind() != rule.target {
        return Err(Denied { action: rule.action });
    }
    authorizer.authorize(&caller.principal, rule.action, target)
}
