//! The configuration of one node: a TOML file, overlaid by `PHALANX_` variables, checked as a whole before anything is opened.
//!
//! Every key is described in docs/operating/configuration.md (a test compares it with [`KEYS`]). Invariant: a [`NodeConfig`] that came
//! out of [`load`] satisfies every rule of `rules`.

mod keys;
mod rules;

use std::path::PathBuf;

use serde::Deserialize;

pub use keys::{KEYS, Key, Kind, environment_names};
pub use rules::{ConfigError, split_address};

/// Largest gRPC message between nodes, bytes: a whole log entry with room for its frame.
pub const GRPC_MESSAGE_BYTES_MAX: usize = 24 * 1024 * 1024;
/// Largest request of a client unless configured, bytes: the largest batch, and what a frame adds to it.
pub const REQUEST_BYTES_DEFAULT: u64 = 21 * 1024 * 1024;
/// Most nodes of a cluster: each holds a replica of the catalog.
pub const NODES_MAX: usize = 7;
/// Most shards.
pub const SHARDS_MAX: u64 = 256;

/// Everything a node is told at its start.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// `insecure`: listeners may be reached from elsewhere without TLS.
    pub insecure: bool,
    /// `[node]`.
    pub node: NodeSection,
    /// `[client]`: where clients come in.
    pub client: ClientListener,
    /// `[peer]`: where other nodes come in.
    pub peer: PeerListener,
    /// `[admin]`: health checks.
    pub admin: AdminListener,
    /// `[[peers]]`: every node of the cluster, this one included. Empty: a cluster of one.
    pub peers: Vec<PeerConfig>,
    /// `[cluster]`: read at the first start of a cluster only.
    pub cluster: ClusterSection,
    /// `[wal]`.
    pub wal: WalSection,
    /// `[checkpoint]`.
    pub checkpoint: CheckpointSection,
    /// `[limits]`.
    pub limits: Limits,
}

/// `[node]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeSection {
    /// `node.id`: 1–65,535, unique in the cluster. There is no default.
    pub id: u64,
    /// `node.data_dir`. There is no default.
    pub data_dir: PathBuf,
}

/// `[client]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientListener {
    /// `client.listen`.
    pub listen: String,
    /// `client.advertise`: what clients are told. Empty: this node's `client` in `peers`, or `listen`.
    pub advertise: String,
}

impl Default for ClientListener {
    fn default() -> Self {
        Self { listen: "127.0.0.1:7420".to_owned(), advertise: String::new() }
    }
}

/// `[peer]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerListener {
    /// `peer.listen`.
    pub listen: String,
    /// `peer.advertise`: what other nodes are told. Empty: this node's `peer` in `peers`, or `listen`.
    pub advertise: String,
}

impl Default for PeerListener {
    fn default() -> Self {
        Self { listen: "127.0.0.1:7520".to_owned(), advertise: String::new() }
    }
}

/// `[admin]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminListener {
    /// `admin.listen`.
    pub listen: String,
}

impl Default for AdminListener {
    fn default() -> Self {
        Self { listen: "127.0.0.1:7620".to_owned() }
    }
}

/// One of `[[peers]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerConfig {
    /// Its `node.id`.
    pub id: u64,
    /// Where the other nodes reach it, `host:port`.
    pub peer: String,
    /// Where clients reach it, `host:port`.
    pub client: String,
    /// Failure domain; may be empty.
    pub zone: String,
}

/// `[cluster]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterSection {
    /// `cluster.shards`: groups that hold queues.
    pub shards: u64,
    /// `cluster.replicas` of each; 0: three, or as many as there are nodes.
    pub replicas: u64,
}

impl Default for ClusterSection {
    fn default() -> Self {
        Self { shards: 8, replicas: 0 }
    }
}

/// `[wal]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WalSection {
    /// `wal.segment_bytes`: a multiple of 4,096.
    pub segment_bytes: u64,
    /// `wal.budget_bytes`: disk that the log may use, at least five segments; pre-written.
    pub budget_bytes: u64,
}

impl Default for WalSection {
    fn default() -> Self {
        Self { segment_bytes: 64 * 1024 * 1024, budget_bytes: 512 * 1024 * 1024 }
    }
}

/// Which store holds the checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// sled: the default.
    #[default]
    Sled,
    /// redb: less disk, checksummed pages.
    Redb,
}

/// `[checkpoint]`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSection {
    /// `checkpoint.engine`: fixed once the data directory exists.
    pub engine: EngineKind,
}

/// `[limits]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// `limits.request_bytes`: largest request or stream frame of a client.
    pub request_bytes: u64,
    /// `limits.payload_memory_bytes`: payloads that the node keeps in memory; what is over it is read back when it is delivered.
    pub payload_memory_bytes: u64,
    /// `limits.connections`: most client connections.
    pub connections: u64,
    /// `limits.streams`: most concurrent calls of one connection.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: REQUEST_BYTES_DEFAULT,
            payload_memory_bytes: 1024 * 1024 * 1024,
            connections: 4096,
            streams: 256,
        }
    }
}

impl NodeConfig {
    /// Where clients reach this node.
    #[must_use]
    pub fn client_address(&self) -> String {
        self.own(&self.client.advertise, |peer| &peer.client, &self.client.listen)
    }

    /// Where other nodes reach this node.
    #[must_use]
    pub fn peer_address(&self) -> String {
        self.own(&self.peer.advertise, |peer| &peer.peer, &self.peer.listen)
    }

    fn own(&self, advertise: &str, listed: impl Fn(&PeerConfig) -> &String, listen: &str) -> String {
        if !advertise.is_empty() {
            return advertise.to_owned();
        }
        self.peers.iter().find(|peer| peer.id == self.node.id).map_or(listen, |peer| listed(peer)).to_owned()
    }

    /// Every node of the cluster in the order of their ids, this one included.
    #[must_use]
    pub fn members(&self) -> Vec<PeerConfig> {
        let mut members = self.peers.clone();
        if members.is_empty() {
            members.push(PeerConfig {
                id: self.node.id,
                peer: self.peer_address(),
                client: self.client_address(),
                zone: String::new(),
            });
        }
        members.sort_by_key(|member| member.id);
        members
    }

    /// Replicas of each shard: as configured, or three where there are as many nodes.
    #[must_use]
    pub fn replicas(&self) -> usize {
        let nodes = self.peers.len().max(1);
        match self.cluster.replicas as usize {
            0 if nodes >= 3 => 3,
            0 => 1,
            replicas => replicas,
        }
    }

    /// Checks every rule; [`load`] has done so.
    ///
    /// # Errors
    /// The first rule that fails.
    pub fn validate(&self) -> Result<(), ConfigError> {
        rules::check(self)
    }
}

/// Makes the configuration from the text of a TOML file (may be empty) and the environment, and checks it.
///
/// # Errors
/// What could not be read, or the rule that failed.
pub fn load(
    toml_text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<NodeConfig, ConfigError> {
    let mut table: toml::Table =
        toml_text.parse().map_err(|error: toml::de::Error| ConfigError::file(&error))?;
    keys::overlay(&mut table, environment)?;
    let config: NodeConfig = table.try_into().map_err(|error: toml::de::Error| ConfigError::file(&error))?;
    config.validate()?;
    Ok(config)
}
