//! All groups of a node.
//!
//! Invariant: a group is in the table from the moment it can answer its peers until it is shut down; at most one replica of a group
//! lives on a node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::{Config, SnapshotPolicy};
use parking_lot::{Mutex, RwLock};
use phalanx_proto::raft::v1::raft_server::RaftServer;
use phalanx_state_machine::ids::{GroupId, Id128, ReplicaId};
use phalanx_storage::checkpoint::ReplicaCheckpoint;
use phalanx_storage::wal::Done;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::blocking;
use crate::context::{GroupSpec, NodeContext, RaftOptions};
use crate::error::OpenError;
use crate::group::Group;
use crate::leadership::{self, Leadership};
use crate::log_store::LogStore;
use crate::transport::MESSAGE_BYTES_MAX;
use crate::transport::client::Factory;
use crate::transport::connections::Connections;
use crate::transport::server::PeerService;
use crate::types::Raft;
use crate::{failover, maintenance, recover, upkeep};

/// How long openraft may wait for a whole snapshot; single parts have deadlines of their own.
const SNAPSHOT_TIMEOUT_MS: u64 = 30 * 60 * 1000;
/// Messages that may wait for the core of one group.
const API_QUEUE: u64 = 4096;
/// Rows of a discarded replica deleted in one slice.
const DISCARD_ROWS: usize = 5_000;

/// See the module.
pub struct Groups {
    context: Arc<NodeContext>,
    connections: Arc<Connections>,
    open: RwLock<BTreeMap<GroupId, Arc<Group>>>,
    /// Groups that are being opened.
    opening: Mutex<BTreeSet<GroupId>>,
    stop: CancellationToken,
    watching: Mutex<bool>,
}

impl Groups {
    /// No groups yet. Nothing runs before the first is opened.
    #[must_use]
    pub fn new(context: NodeContext) -> Arc<Self> {
        let connections = Arc::new(Connections::new(Arc::clone(&context.dialer)));
        Arc::new(Self {
            context: Arc::new(context),
            connections,
            open: RwLock::default(),
            opening: Mutex::default(),
            stop: CancellationToken::new(),
            watching: Mutex::new(false),
        })
    }

    /// The service for the peer listener.
    #[must_use]
    pub fn services(self: &Arc<Self>) -> RaftServer<PeerService> {
        RaftServer::new(PeerService::new(Arc::clone(self)))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The cluster this node belongs to.
    #[must_use]
    pub fn cluster(&self) -> Id128 {
        self.context.cluster
    }

    /// An open group.
    #[must_use]
    pub fn get(&self, group: GroupId) -> Option<Arc<Group>> {
        self.open.read().get(&group).cloned()
    }

    /// All open groups, by number.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Group>> {
        self.open.read().values().cloned().collect()
    }

    /// Opens a replica: loads its checkpoint, checks it, and starts Raft on it. A damaged checkpoint is refilled from a peer first, which
    /// may take until `refill_timeout`; a log that is damaged is never used again.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(self: &Arc<Self>, spec: GroupSpec) -> Result<Arc<Group>, OpenError> {
        let _turn = self.begin_open(&spec)?;
        let group = self.start(spec).await?;
        self.open.write().insert(group.id(), Arc::clone(&group));
        // Only now: it can campaign, and its peers' answers find it.
        group.raft().run();
        tokio::spawn(maintenance::run(Arc::clone(&group)));
        self.watch();
        Ok(group)
    }

    fn begin_open(self: &Arc<Self>, spec: &GroupSpec) -> Result<OpenTurn, OpenError> {
        let already = |replica| OpenError::AlreadyOpen { group: spec.group, replica };
        if let Some(open) = self.get(spec.group) {
            return Err(already(open.replica()));
        }
        if !self.opening.lock().insert(spec.group) {
            return Err(already(spec.replica));
        }
        Ok(OpenTurn { groups: Arc::clone(self), group: spec.group })
    }

    async fn start(&self, spec: GroupSpec) -> Result<Arc<Group>, OpenError> {
        let context = &self.context;
        let refused = |why: String| OpenError::Raft { group: spec.group, why };
        let store = recover::open(context, &self.connections, &spec).await?;
        let options = &context.options;
        let log = LogStore::new(
            Arc::clone(&context.wal),
            spec.group,
            spec.replica,
            options.append_bytes_max,
            Arc::clone(&context.on_fatal),
        );
        let network = Factory {
            connections: Arc::clone(&self.connections),
            cluster: context.cluster,
            group: spec.group,
            replica: spec.replica,
            chunk_timeout: options.snapshot_chunk_timeout,
        };
        let config = config_of(options, spec.group).map_err(|error| refused(error.to_string()))?;
        let built = Raft::build(spec.replica, Arc::new(config), network, log, store.clone()).await;
        let raft = built.map_err(|fatal| refused(fatal.to_string()))?;
        let stop = self.stop.child_token();
        let (current, leadership) = watch::channel(Leadership::default());
        self.follow(&spec, raft.clone(), current, stop.clone());
        Ok(Arc::new(Group::new(spec, Arc::clone(context), raft, store, leadership, stop)))
    }

    /// Keeps the leadership of a group up to date, and stops the process when Raft ended with an error.
    fn follow(
        &self,
        spec: &GroupSpec,
        raft: Raft,
        current: watch::Sender<Leadership>,
        stop: CancellationToken,
    ) {
        let (group, on_fatal) = (spec.group, Arc::clone(&self.context.on_fatal));
        let (lease, heartbeat) = (self.context.options.election_max, self.context.options.heartbeat);
        tokio::spawn(async move {
            let ended = leadership::follow(raft, group, lease, heartbeat, current).await;
            if let Some(fatal) = ended
                && !stop.is_cancelled()
            {
                on_fatal(fatal);
            }
        });
    }

    /// Starts what runs once for all groups.
    fn watch(self: &Arc<Self>) {
        let mut watching = self.watching.lock();
        if !std::mem::replace(&mut *watching, true) {
            tokio::spawn(failover::watch_peers(Arc::clone(self), self.stop.clone()));
            tokio::spawn(upkeep::run(Arc::clone(&self.context), self.stop.clone()));
        }
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Where the other members of this node's groups are reached.
    pub(crate) fn peer_addresses(&self) -> BTreeSet<String> {
        let mut addresses = BTreeSet::new();
        for group in self.all() {
            let metrics = group.raft().server_metrics();
            let metrics = metrics.borrow_watched();
            let others = metrics.membership_config.nodes().filter(|(_, peer)| peer.node != self.context.node);
            addresses.extend(others.map(|(_, peer)| peer.address.clone()));
        }
        addresses
    }

    /// Every group that is led from there looks for another leader.
    pub(crate) fn peer_is_gone(&self, address: &str) {
        for group in self.all() {
            let stop = group.stop.clone();
            let replace = failover::replace_leader(group, address.to_owned());
            tokio::spawn(async move { stop.run_until_cancelled(replace).await });
        }
    }

    /// Completes when the node shuts its groups down.
    pub(crate) fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        self.stop.clone().cancelled_owned()
    }

    /// Shuts one group down. Its data stays.
    pub async fn close(&self, group: GroupId) {
        let Some(closed) = self.open.write().remove(&group) else { return };
        shut_down(&closed).await;
    }

    /// Drops everything that a replica has here: checkpoint, log, vote. It must never come back under this id: before this is called,
    /// the caller has durably noted that this node no longer hosts it.
    ///
    /// # Errors
    /// When the group is open, or the storage fails; repeat it then.
    pub async fn discard(&self, group: GroupId, replica: ReplicaId) -> Result<(), OpenError> {
        if let Some(open) = self.get(group) {
            return Err(OpenError::AlreadyOpen { group, replica: open.replica() });
        }
        let storage = |source| OpenError::Storage { group, source };
        let engine = Arc::clone(&self.context.engine);
        let destroyed = blocking::run(&self.context.executor, move || {
            let rows = ReplicaCheckpoint::open_rejected(engine, replica, 0)?;
            rows.destroy()?;
            while rows.collect_garbage(DISCARD_ROWS)? > 0 {}
            Ok(())
        });
        let failed = |failed: blocking::JobFailed| {
            Err(phalanx_storage::Error::Engine { operation: "discard a checkpoint", why: failed.to_string() })
        };
        destroyed.await.unwrap_or_else(failed).map_err(storage)?;
        let (done, forgotten) = oneshot::channel();
        let done: Done = Box::new(move |result| {
            // Whoever asked may have gone; repeating is allowed.
            let _ = done.send(result);
        });
        self.context.wal.forget(group, done);
        let closed = |_| OpenError::Raft { group, why: "the log was closed".to_owned() };
        forgotten.await.map_err(closed)?.map_err(storage)
    }

    /// Shuts all groups down and ends every task of theirs. Hand leadership over first.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        let closing: Vec<_> = std::mem::take(&mut *self.open.write()).into_values().collect();
        futures::future::join_all(closing.iter().map(|group| shut_down(group))).await;
    }
}

async fn shut_down(group: &Group) {
    group.stop.cancel();
    if let Err(error) = group.raft().shutdown().await {
        tracing::warn!(group_id = group.id(), %error, "a group ended badly");
    }
}

/// Marks a group as being opened.
struct OpenTurn {
    groups: Arc<Groups>,
    group: GroupId,
}

impl Drop for OpenTurn {
    fn drop(&mut self) {
        self.groups.opening.lock().remove(&self.group);
    }
}

fn config_of(options: &RaftOptions, group: GroupId) -> Result<Config, openraft::ConfigError> {
    let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: format!("group-{group}"),
        heartbeat_interval: ms(options.heartbeat),
        election_timeout_min: ms(options.election_min),
        election_timeout_max: ms(options.election_max),
        enable_pre_vote: Some(true),
        // A restarted leader asks again: its lease may be long over.
        enable_leader_restore: Some(false),
        // A log whose newest batch is damaged before another follows it is cut there: nothing tells it from one that was being written. It is
        // filled up again; refusing it would stop the leader, which has done nothing wrong (docs/adr/0015).
        allow_log_reversion: Some(true),
        install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
        max_payload_entries: options.append_entries_max,
        // Lag alone never costs a snapshot; only a purged log does.
        replication_lag_threshold: u64::MAX,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        api_channel_size: Some(API_QUEUE),
        notification_channel_size: Some(API_QUEUE),
        ..Config::default()
    };
    config.validate()
}
