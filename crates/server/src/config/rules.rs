//! The rules a configuration must satisfy, each with a name that its error carries.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::IpAddr;

use super::{GRPC_MESSAGE_BYTES_MAX, NODES_MAX, NodeConfig, SHARDS_MAX};

/// Largest `node.id`.
const NODE_ID_MAX: u64 = 65_535;
/// Block of the log: segments are whole numbers of them.
const WAL_BLOCK_BYTES: u64 = 4096;
/// Smallest segment: the largest entry must fit with its headers.
const WAL_SEGMENT_BYTES_MIN: u64 = 1024 * 1024;
/// Largest segment.
const WAL_SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Segments that the budget must hold: one in use, three free, one that checkpoints pin.
const WAL_SEGMENTS_MIN: u64 = 5;
/// Least memory for payloads: less would read back every message.
const PAYLOAD_MEMORY_BYTES_MIN: u64 = 1024 * 1024;
/// What a log entry may hold beside one request of the largest size, bytes.
const ENTRY_MARGIN_BYTES: u64 = 256 * 1024;

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("configuration rule {rule} failed: {message}")]
pub struct ConfigError {
    /// Name of the rule, as in docs/operating/configuration.md.
    pub rule: &'static str,
    /// What is wrong, with the value.
    pub message: String,
}

impl ConfigError {
    pub(super) fn new(rule: &'static str, message: impl Into<String>) -> Self {
        Self { rule, message: message.into() }
    }

    pub(super) fn file(error: &dyn Display) -> Self {
        Self::new("file.shape", error.to_string())
    }
}

fn require(holds: bool, rule: &'static str, message: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::new(rule, message())) }
}

/// Host and port of `host:port` or `[v6]:port`.
#[must_use]
pub fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').map_or(Some(host), |inner| inner.strip_suffix(']'))?;
    if host.is_empty() || host.contains(char::is_whitespace) {
        return None;
    }
    Some((host, port.parse().ok()?))
}

pub(super) fn check(config: &NodeConfig) -> Result<(), ConfigError> {
    let id = config.node.id;
    require((1..=NODE_ID_MAX).contains(&id), "node.id.range", || {
        format!("node.id is {id}, must be 1 to {NODE_ID_MAX} (there is no default)")
    })?;
    require(!config.node.data_dir.as_os_str().is_empty(), "node.data_dir.set", || {
        "node.data_dir is empty (there is no default)".to_owned()
    })?;
    listeners(config)?;
    peers(config)?;
    cluster(config)?;
    sizes(config)
}

fn listeners(config: &NodeConfig) -> Result<(), ConfigError> {
    let listeners = [
        ("client.listen", &config.client.listen),
        ("peer.listen", &config.peer.listen),
        ("admin.listen", &config.admin.listen),
    ];
    for (key, address) in listeners {
        let parsed = split_address(address);
        let (host, _) = parsed.ok_or_else(|| {
            ConfigError::new("listen.address", format!("{key} = {address:?} is not host:port"))
        })?;
        require(config.insecure || is_loopback(host), "listen.insecure", || {
            format!(
                "{key} = {address:?} can be reached from elsewhere without TLS: set insecure = true to allow that"
            )
        })?;
    }
    for (key, address) in
        [("client.advertise", &config.client.advertise), ("peer.advertise", &config.peer.advertise)]
    {
        if !address.is_empty() {
            reachable(key, address)?;
        }
    }
    if config.peers.is_empty() {
        reachable("client.advertise (from client.listen)", &config.client_address())?;
        reachable("peer.advertise (from peer.listen)", &config.peer_address())?;
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// An address that others can be given.
fn reachable(key: &str, address: &str) -> Result<(), ConfigError> {
    let parsed = split_address(address);
    let (host, port) = parsed.ok_or_else(|| {
        ConfigError::new("advertise.address", format!("{key} = {address:?} is not host:port"))
    })?;
    let unspecified = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    require(!unspecified && port != 0, "advertise.address", || {
        format!("{key} = {address:?} is not an address that others can reach")
    })
}

fn peers(config: &NodeConfig) -> Result<(), ConfigError> {
    if config.peers.is_empty() {
        return Ok(());
    }
    require(config.peers.len() <= NODES_MAX, "peers.count", || {
        format!("{} peers are listed, at most {NODES_MAX}", config.peers.len())
    })?;
    let mut ids = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    for peer in &config.peers {
        let id = peer.id;
        require((1..=NODE_ID_MAX).contains(&id), "peers.id", || {
            format!("peers lists id {id}, must be 1 to {NODE_ID_MAX}")
        })?;
        require(ids.insert(id), "peers.id", || format!("peers lists id {id} twice"))?;
        for (field, address) in [("peer", &peer.peer), ("client", &peer.client)] {
            reachable(&format!("peers[id {id}].{field}"), address)?;
            require(addresses.insert(address.clone()), "peers.address", || {
                format!("peers lists the address {address:?} twice")
            })?;
        }
    }
    let own = config.peers.iter().find(|peer| peer.id == config.node.id).ok_or_else(|| {
        ConfigError::new(
            "peers.self",
            format!("peers must list every node, also this one: id {}", config.node.id),
        )
    })?;
    for (key, given, listed) in [
        ("client.advertise", &config.client.advertise, &own.client),
        ("peer.advertise", &config.peer.advertise, &own.peer),
    ] {
        require(given.is_empty() || given == listed, "peers.advertise", || {
            format!("{key} = {given:?}, but peers lists {listed:?} for this node")
        })?;
    }
    Ok(())
}

fn cluster(config: &NodeConfig) -> Result<(), ConfigError> {
    let shards = config.cluster.shards;
    require((1..=SHARDS_MAX).contains(&shards), "cluster.shards", || {
        format!("cluster.shards is {shards}, must be 1 to {SHARDS_MAX}")
    })?;
    let (replicas, nodes) = (config.cluster.replicas, config.peers.len().max(1) as u64);
    require(matches!(replicas, 0 | 1 | 3 | 5), "cluster.replicas", || {
        format!("cluster.replicas is {replicas}, must be 1, 3 or 5")
    })?;
    require(replicas <= nodes, "cluster.replicas", || {
        format!("cluster.replicas is {replicas}, but there are only {nodes} nodes in peers")
    })
}

fn sizes(config: &NodeConfig) -> Result<(), ConfigError> {
    let segment = config.wal.segment_bytes;
    let whole = segment.is_multiple_of(WAL_BLOCK_BYTES);
    require(
        whole && (WAL_SEGMENT_BYTES_MIN..=WAL_SEGMENT_BYTES_MAX).contains(&segment),
        "wal.segment_bytes",
        || {
            format!(
                "wal.segment_bytes is {segment}, must be a multiple of {WAL_BLOCK_BYTES} from {WAL_SEGMENT_BYTES_MIN} to {WAL_SEGMENT_BYTES_MAX}"
            )
        },
    )?;
    let budget = config.wal.budget_bytes;
    require(budget / segment >= WAL_SEGMENTS_MIN, "wal.budget_bytes", || {
        format!("wal.budget_bytes is {budget}, must hold at least {WAL_SEGMENTS_MIN} segments of {segment}")
    })?;
    let limits = &config.limits;
    let request_max = GRPC_MESSAGE_BYTES_MAX as u64;
    require((65_536..=request_max).contains(&limits.request_bytes), "limits.request_bytes", || {
        format!("limits.request_bytes is {}, must be 65536 to {request_max}", limits.request_bytes)
    })?;
    let record_max = segment / 2 - 2 * WAL_BLOCK_BYTES;
    require(limits.request_bytes + ENTRY_MARGIN_BYTES <= record_max, "wal.segment_bytes", || {
        format!(
            "wal.segment_bytes is {segment}: its half must hold limits.request_bytes ({}) and {ENTRY_MARGIN_BYTES} more",
            limits.request_bytes
        )
    })?;
    let payload = limits.payload_memory_bytes;
    require(payload >= PAYLOAD_MEMORY_BYTES_MIN, "limits.payload_memory_bytes", || {
        format!("limits.payload_memory_bytes is {payload}, must be at least {PAYLOAD_MEMORY_BYTES_MIN}")
    })?;
    require((1..=1_000_000).contains(&limits.connections), "limits.connections", || {
        format!("limits.connections is {}, must be 1 to 1000000", limits.connections)
    })?;
    require((1..=65_535).contains(&limits.streams), "limits.streams", || {
        format!("limits.streams is {}, must be 1 to 65535", limits.streams)
    })
}
