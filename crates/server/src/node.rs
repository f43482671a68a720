//! The node: what is started, in which order, and how it ends.
//!
//! Start: papers and log, listeners for peers and health, membership (a first start may wait for the other nodes here), catalog, listener for
//! clients, the other groups as they open. Invariant: clients are let in only when the catalog's replica is open; a node that is dropped
//! breaks its connections and stops its tasks, as if its process had been killed.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, RwLock};
use phalanx_raft::{Groups, NodeContext, PayloadMemory};
use phalanx_storage::wal::{Wal, WalOptions};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::admin_http::{self, Health};
use crate::api;
use crate::bootstrap::{BootstrapError, Rounds};
use crate::caller::Listener;
use crate::config::{ConfigError, NodeConfig, WalSection};
use crate::desk::{Desk, DeskError};
use crate::dispatch::Dispatcher;
use crate::drive::DriveHandle;
use crate::hosting::{self, HostError, Hosted, Hosting};
use crate::identity::Identity;
use crate::node_service::NodeService;
use crate::peers::Peers;
use crate::seams::{Bound, Seams};
use crate::serve::{self, Ending, LaterRoutes};
use crate::shard::Shard;
use crate::sink::Sink;
use crate::state::NodeState;
use crate::{catalog_driver, chores, leader, outbox, wall_watch};

/// Largest batch of the log, bytes, where segments allow it.
const WAL_BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener.
    #[error("listen on {address} ({key})")]
    Listen {
        /// Key of the configuration.
        key: &'static str,
        /// Its value.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The disk.
    #[error("open the data directory {dir}")]
    Storage {
        /// Data directory.
        dir: String,
        /// What failed.
        source: phalanx_storage::Error,
    },
    /// The identity file, or what it says about the log.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// This node must not take part.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The catalog's replica.
    #[error("open the catalog")]
    Host(#[from] HostError),
}

/// Starts nodes.
pub struct Node;

/// A node that takes part in its cluster.
pub struct RunningNode {
    state: Arc<NodeState>,
    addresses: Addresses,
    pub(crate) base: Base,
}

/// Addresses that the listeners really have.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Clients.
    pub client: String,
    /// Peers.
    pub peer: String,
    /// Health.
    pub admin: String,
}

/// What exists before the node is a member. Dropping it ends everything at once.
pub(crate) struct Base {
    pub(crate) health: Arc<Health>,
    pub(crate) clients: Ending,
    /// Every client connection is done.
    pub(crate) clients_done: CancellationToken,
    pub(crate) peers: Ending,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: JoinSet<()>,
    pub(crate) drive: Arc<dyn DriveHandle>,
    pub(crate) wal: Weak<Wal>,
    pub(crate) reporter: tonic_health::server::HealthReporter,
    _lock: phalanx_storage::disk::DiskLock,
}

impl Drop for Base {
    fn drop(&mut self) {
        self.stop.cancel();
        for ending in [&self.clients, &self.peers] {
            ending.close.cancel();
            ending.cut.cancel();
        }
    }
}

type OnFatal = Arc<dyn Fn(String) + Send + Sync>;

impl Node {
    /// Starts a node. On a first start this waits until all configured nodes are there.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: NodeConfig, seams: Seams) -> Result<RunningNode, StartError> {
        config.validate()?;
        let dir = config.node.data_dir.display().to_string();
        let storage = |source| StartError::Storage { dir: dir.clone(), source };
        seams.disk.create_dir_all(&config.node.data_dir).map_err(storage)?;
        let lock = seams.disk.lock(&config.node.data_dir.join("lock")).map_err(storage)?;
        let client = bind(&seams, "client.listen", &config.client.listen).await?;
        let peer = bind(&seams, "peer.listen", &config.peer.listen).await?;
        let admin = bind(&seams, "admin.listen", &config.admin.listen).await?;
        let addresses = Addresses {
            client: client.address.clone(),
            peer: peer.address.clone(),
            admin: admin.address.clone(),
        };
        let wal_dir = config.node.data_dir.join("wal");
        let wal = Wal::open(Arc::clone(&seams.disk), &wal_dir, wal_options(&config.wal)).map_err(storage)?;
        let wal = Arc::new(wal);
        let desk = Desk::open(&config, Arc::clone(&seams.disk), Arc::clone(&wal), seams.entropy.as_ref())?;

        let health = Health::new(Arc::clone(&seams.clock));
        let on_fatal = fatal_once(&health, &seams);
        let drive: Arc<dyn DriveHandle> =
            Arc::from(seams.drive.start(Arc::clone(&wal), Arc::clone(&on_fatal)));
        let mut base = Base {
            health,
            clients: Ending::default(),
            clients_done: CancellationToken::new(),
            peers: Ending::default(),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
            drive,
            wal: Arc::downgrade(&wal),
            reporter: tonic_health::server::HealthReporter::new(),
            _lock: lock,
        };
        match base.join(config, &seams, wal, desk, [client, peer, admin], on_fatal).await {
            Ok(state) => Ok(RunningNode { state, addresses, base }),
            Err(error) => {
                // The listeners are free again when the refusal is told.
                base.tasks.shutdown().await;
                Err(error)
            }
        }
    }
}

impl RunningNode {
    /// What its RPC handlers share.
    #[must_use]
    pub fn state(&self) -> &Arc<NodeState> {
        &self.state
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Its health, as `/healthz` and `/readyz` show it.
    #[must_use]
    pub fn health(&self) -> &Arc<Health> {
        &self.base.health
    }
}

async fn bind(seams: &Seams, key: &'static str, address: &str) -> Result<Bound, StartError> {
    let wrap = |source| StartError::Listen { key, address: address.to_owned(), source };
    seams.listen.listen(address).await.map_err(wrap)
}

fn wal_options(section: &WalSection) -> WalOptions {
    WalOptions {
        segment_bytes: section.segment_bytes,
        budget_bytes: section.budget_bytes,
        batch_bytes_max: WAL_BATCH_BYTES_MAX.min(section.segment_bytes as usize / 4),
        ..WalOptions::default()
    }
}

/// The callback that everything fatal ends in: the first cause is logged and handed on, once.
fn fatal_once(health: &Arc<Health>, seams: &Seams) -> OnFatal {
    let (health, on_fatal) = (Arc::clone(health), Arc::clone(&seams.on_fatal));
    let said = Mutex::new(false);
    Arc::new(move |why: String| {
        if std::mem::replace(&mut *said.lock(), true) {
            return;
        }
        tracing::error!(why, "the node stops at once: it no longer knows what is on its disk");
        health.fail(why.clone());
        on_fatal(why);
    })
}

fn context(
    identity: &Identity,
    wal: &Arc<Wal>,
    seams: &Seams,
    sink: &Arc<Sink>,
    payload_bytes: u64,
    on_fatal: OnFatal,
) -> NodeContext {
    NodeContext {
        memory: Arc::new(PayloadMemory::new(payload_bytes)),
        node: identity.node,
        cluster: identity.plan.cluster,
        wal: Arc::clone(wal),
        engine: Arc::clone(&seams.engine),
        dialer: Arc::clone(&seams.dialer),
        executor: Arc::clone(&seams.executor),
        sink: Arc::clone(sink) as Arc<dyn phalanx_raft::EffectSink>,
        options: seams.raft.clone(),
        on_fatal: Arc::new(move |error| on_fatal(error.to_string())),
    }
}

async fn open_catalog(
    config: NodeConfig,
    seams: &Seams,
    hosting: &Hosting,
    dispatcher: Arc<Dispatcher>,
) -> Result<Arc<NodeState>, HostError> {
    let hosted = hosting.hosted();
    let first = hosted.first().expect("a plan is kept only if it gives this node a replica of the catalog");
    let catalog = hosting.open(first).await?;
    let shards = BTreeMap::from([(catalog.id(), Arc::clone(&catalog))]);
    let identity = hosting.identity.clone();
    Ok(Arc::new(NodeState {
        peers: Arc::clone(&hosting.peers),
        config,
        identity,
        groups: Arc::clone(&hosting.groups),
        clock: Arc::clone(&seams.clock),
        authorizer: Arc::clone(&seams.authorizer),
        dispatcher,
        stop: hosting.stop.clone(),
        catalog,
        shards: RwLock::new(shards),
    }))
}

impl Base {
    /// Makes the node a member, and starts everything that a member does.
    async fn join(
        &mut self,
        config: NodeConfig,
        seams: &Seams,
        wal: Arc<Wal>,
        desk: Arc<Desk>,
        [client, peer, admin]: [Bound; 3],
        on_fatal: OnFatal,
    ) -> Result<Arc<NodeState>, StartError> {
        let (late_state, later) = (Arc::new(OnceLock::new()), LaterRoutes::default());
        let service = NodeService::new(Arc::clone(&desk), Arc::clone(&late_state));
        self.open_early(peer, admin, service, later.clone());
        let rounds =
            Rounds::new(&config, Arc::clone(&desk), Arc::clone(&seams.entropy), seams.dialer.as_ref());
        let identity = rounds.join().await?;
        let (node, cluster, store) = (identity.node, identity.plan.cluster, identity.store);
        tracing::info!(node, %cluster, %store, "takes part in its cluster");

        let dispatcher = Dispatcher::new();
        let sink = Sink::new(Arc::clone(&seams.clock), Arc::clone(&dispatcher));
        let groups = Groups::new(context(
            &identity,
            &wal,
            seams,
            &sink,
            config.limits.payload_memory_bytes,
            Arc::clone(&on_fatal),
        ));
        // Each of these is set here only, and this runs once.
        let _ = later.raft.set(serve::raft_routes(&groups));
        let peers = Arc::new(Peers::new(Arc::clone(&seams.dialer), &identity.plan, identity.node));
        let stop = self.stop.clone();
        let hosting = Arc::new(Hosting { groups, wal, sink, identity, desk, peers, stop });
        let state = open_catalog(config, seams, &hosting, dispatcher).await?;
        let _ = late_state.set(Arc::clone(&state));
        let _ = later.api.set(api::routes(&state, Listener::Peer));
        self.run(client, &state, &hosting, on_fatal).await;
        Ok(state)
    }

    /// What answers before the node is a member.
    fn open_early(&mut self, peer: Bound, admin: Bound, node: NodeService, later: LaterRoutes) {
        let ending = self.peers.clone();
        self.tasks.spawn(async move {
            if let Err(error) = serve::peers(peer, node, later, ending).await {
                tracing::error!(%error, "the peer listener failed");
            }
        });
        let (health, stop) = (Arc::clone(&self.health), self.peers.close.clone());
        self.tasks.spawn(async move {
            if let Err(error) = admin_http::serve(admin, health, stop).await {
                tracing::error!(%error, "the admin listener failed");
            }
        });
        let (health, drive) = (Arc::clone(&self.health), Arc::clone(&self.drive));
        self.tasks.spawn(async move { health.beat(drive).await });
    }

    /// Lets clients in, and starts everything that goes on by itself.
    async fn run(
        &mut self,
        client: Bound,
        state: &Arc<NodeState>,
        hosting: &Arc<Hosting>,
        on_fatal: OnFatal,
    ) {
        let routes = self.client_routes(state).await;
        let (limits, ending) = (state.config.limits.clone(), self.clients.clone());
        let done = self.clients_done.clone();
        self.tasks.spawn(async move {
            if let Err(error) = serve::clients(client, routes, &limits, ending).await {
                tracing::error!(%error, "the client listener failed");
            }
            done.cancel();
        });
        self.tasks.spawn(catalog_driver::drive(Arc::clone(state)));
        self.tasks.spawn(wall_watch::drive(Arc::clone(state)));
        let probing = Arc::clone(state);
        self.tasks.spawn(async move {
            let identity = &probing.identity;
            probing.peers.probe(identity.node, identity.plan.cluster, identity.store).await;
        });
        self.drive_shard(state, state.catalog());
        self.open_rest(state, hosting, &on_fatal);
        let noting = Arc::clone(hosting);
        self.tasks.spawn(async move {
            if let Err(error) = noting.note_started().await {
                on_fatal(error.to_string());
            }
        });
    }

    async fn client_routes(&self, state: &Arc<NodeState>) -> Routes {
        let health = tonic_health::pb::health_server::HealthServer::new(
            tonic_health::server::HealthService::from_health_reporter(self.reporter.clone()),
        );
        self.reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        api::routes(state, Listener::Client).add_service(health).add_service(serve::reflection())
    }

    fn drive_shard(&mut self, state: &Arc<NodeState>, shard: &Arc<Shard>) {
        self.tasks.spawn(chores::drive(Arc::clone(state), Arc::clone(shard)));
        self.tasks.spawn(outbox::drive(Arc::clone(state), Arc::clone(shard)));
        let (shard, dispatcher) = (Arc::clone(shard), Arc::clone(&state.dispatcher));
        self.tasks.spawn(leader::drive(shard, dispatcher, state.stop.clone()));
    }

    /// Opens the other groups side by side; the node is ready when all have caught up with its own past.
    fn open_rest(&mut self, state: &Arc<NodeState>, hosting: &Arc<Hosting>, on_fatal: &OnFatal) {
        let mut opening = JoinSet::new();
        for hosted in hosting.hosted() {
            opening.spawn(open_one(Arc::clone(state), Arc::clone(hosting), hosted, Arc::clone(on_fatal)));
        }
        let (state, health, reporter) = (Arc::clone(state), Arc::clone(&self.health), self.reporter.clone());
        let hosting = Arc::clone(hosting);
        self.tasks.spawn(async move {
            let mut drives = JoinSet::new();
            let mut past = Vec::new();
            while let Some(opened) = opening.join_next().await {
                match opened {
                    Ok(Some((shard, committed_at_start))) => {
                        past.push((Arc::clone(&shard), committed_at_start));
                        drives.spawn(chores::drive(Arc::clone(&state), Arc::clone(&shard)));
                        drives.spawn(outbox::drive(Arc::clone(&state), Arc::clone(&shard)));
                        drives.spawn(leader::drive(shard, Arc::clone(&state.dispatcher), state.stop.clone()));
                    }
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "opening a replica failed"),
                }
            }
            hosting.release_log();
            for (shard, committed_at_start) in past {
                hosting::caught_up(&shard, committed_at_start).await;
            }
            hosting.has_started().await;
            let known = state.catalog().until(|machine| machine.catalog_state()?.cluster());
            if known.await.is_some() {
                health.set_ready(true);
                reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
                tracing::info!(groups = state.shards().len(), "ready");
            }
            while drives.join_next().await.is_some() {}
        });
    }
}

/// Opens one replica and makes it known. `None` for the catalog, which is open and driven already.
async fn open_one(
    state: Arc<NodeState>,
    hosting: Arc<Hosting>,
    hosted: Hosted,
    on_fatal: OnFatal,
) -> Option<(Arc<Shard>, u64)> {
    let group = hosted.planned.group;
    if let Some(open) = state.shard(group) {
        hosting::caught_up(&open, hosted.committed_at_start).await;
        return None;
    }
    match hosting.open(&hosted).await {
        Ok(shard) => {
            state.shards.write().insert(group, Arc::clone(&shard));
            Some((shard, hosted.committed_at_start))
        }
        Err(error) => {
            on_fatal(format!("open group {group}: {error}"));
            None
        }
    }
}
