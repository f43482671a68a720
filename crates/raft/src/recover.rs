//! Opening a replica: from its checkpoint and its log, or, if the checkpoint is damaged, from a peer's.
//!
//! The rules:
//! - openraft is started only on a machine that was loaded whole and has the digest its manifest names;
//! - a damaged checkpoint with a sound log keeps vote and log, and so the replica id: what this replica promised is still known;
//! - a damaged log forgets promises, so the replica id must not come back ([`OpenError::LogRotten`]).

use std::sync::Arc;
use std::time::Duration;

use phalanx_proto::raft::v1;
use phalanx_state_machine::machine::Machine;
use phalanx_storage::checkpoint::{ManifestFields, ReplicaCheckpoint};
use phalanx_storage::wal::{Done, GroupState};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::assemble::Assembly;
use crate::blocking;
use crate::checkpoint::{CheckpointStore, Shared};
use crate::codec::replica_of_vote;
use crate::context::{GroupSpec, NodeContext};
use crate::error::OpenError;
use crate::machine_store::{MachineStore, State};
use crate::snapshot::Received;
use crate::transport::connections::Connections;
use crate::transport::wire::Route;
use crate::types::StoredMembership;

/// Pause before the peers are asked again.
const REFILL_PAUSE: Duration = Duration::from_millis(200);

/// Opens the machine of a replica.
pub(crate) async fn open(
    context: &Arc<NodeContext>,
    connections: &Arc<Connections>,
    spec: &GroupSpec,
) -> Result<MachineStore, OpenError> {
    let rotten = |why| OpenError::LogRotten { group: spec.group, replica: spec.replica, why };
    if let Some(why) = context.wal.quarantine_of(spec.group) {
        return Err(rotten(why));
    }
    let log = context.wal.state(spec.group);
    same_replica(spec, &log)?;
    match from_disk(context, spec, &log).await? {
        Ok(store) => Ok(store),
        Err(why) => {
            tracing::error!(
                group_id = spec.group,
                replica_id = spec.replica,
                why,
                "the checkpoint is quarantined; asking the peers for theirs"
            );
            refill(context, connections, spec, &log, why).await
        }
    }
}

/// Refuses a log that another replica wrote.
fn same_replica(spec: &GroupSpec, log: &GroupState) -> Result<(), OpenError> {
    let Some(vote) = &log.vote else { return Ok(()) };
    let raft = |why| OpenError::Raft { group: spec.group, why };
    let replica = replica_of_vote(vote).map_err(|error| raft(error.to_string()))?;
    if replica == spec.replica {
        return Ok(());
    }
    Err(raft(format!("the log here belongs to replica {replica}, not to {}; discard it first", spec.replica)))
}

fn shared(context: &NodeContext) -> Shared {
    Shared {
        wal: Arc::clone(&context.wal),
        executor: Arc::clone(&context.executor),
        chunk_bytes: context.options.snapshot_chunk_bytes,
        memory: Arc::clone(&context.memory),
        on_fatal: Arc::clone(&context.on_fatal),
    }
}

fn machine_store(
    context: &NodeContext,
    spec: &GroupSpec,
    state: State,
    checkpoint: Arc<CheckpointStore>,
) -> MachineStore {
    context.sink.applied(spec.group, &state.machine, Vec::new());
    MachineStore::new(spec.group, state, Arc::clone(&context.sink), checkpoint)
}

/// The machine of this replica's own checkpoint; the inner error says why it is rejected.
async fn from_disk(
    context: &Arc<NodeContext>,
    spec: &GroupSpec,
    log: &GroupState,
) -> Result<Result<MachineStore, String>, OpenError> {
    let storage = |source| OpenError::Storage { group: spec.group, source };
    let (engine, replica, batch) = (Arc::clone(&context.engine), spec.replica, log.checkpoint_batch);
    let opened = blocking::run(&context.executor, move || ReplicaCheckpoint::open(engine, replica, batch));
    let rows = match opened.await {
        Ok(Ok(rows)) => rows,
        Ok(Err(error @ phalanx_storage::Error::Corrupt { .. })) => return Ok(Err(error.to_string())),
        Ok(Err(error)) => return Err(storage(error)),
        // sled panics on damage.
        Err(panicked) => return Ok(Err(panicked.to_string())),
    };
    let fields = rows.manifest().map(|manifest| manifest.fields);
    if let Some(why) = gap(fields.as_ref(), log) {
        return Ok(Err(why));
    }
    let checkpoint = CheckpointStore::new(spec.group, spec.kind, rows, fields.clone(), shared(context));
    let Some(fields) = fields else {
        let state = State {
            machine: Machine::new(spec.kind),
            applied: None,
            membership: StoredMembership::default(),
        };
        return Ok(Ok(machine_store(context, spec, state, checkpoint)));
    };
    let machine = match checkpoint.load().await {
        Ok(Ok(machine)) => machine,
        Ok(Err(error)) => return Ok(Err(error.to_string())),
        Err(error @ (phalanx_storage::Error::Corrupt { .. } | phalanx_storage::Error::Engine { .. })) => {
            return Ok(Err(error.to_string()));
        }
        Err(error) => return Err(storage(error)),
    };
    if machine.digest() != fields.digest {
        let (got, expected) = (machine.digest(), fields.digest);
        return Ok(Err(format!("its rows have the digest {got:016x}, its manifest names {expected:016x}")));
    }
    // The checkpoint's sync may have been quicker than the log's: a power cut then leaves what the log was about to drop.
    drop_conflicting(context, spec, (fields.term, fields.index)).await?;
    Ok(match State::loaded(machine, &fields) {
        Ok(state) => Ok(machine_store(context, spec, state, checkpoint)),
        Err(error) => Err(error.to_string()),
    })
}

/// Why checkpoint and log do not meet, if they do not.
fn gap(fields: Option<&ManifestFields>, log: &GroupState) -> Option<String> {
    let (_, purged) = log.purged?;
    match fields {
        None => Some(format!("there is none, but the log was purged up to entry {purged}")),
        Some(fields) if fields.index < purged => {
            Some(format!("it is of entry {}, but the log was purged up to entry {purged}", fields.index))
        }
        Some(_) => None,
    }
}

/// The machine of a peer's checkpoint, installed in the place of the rejected one.
async fn refill(
    context: &Arc<NodeContext>,
    connections: &Arc<Connections>,
    spec: &GroupSpec,
    log: &GroupState,
    why: String,
) -> Result<MachineStore, OpenError> {
    let (engine, replica, batch) = (Arc::clone(&context.engine), spec.replica, log.checkpoint_batch);
    let opened =
        blocking::run(&context.executor, move || ReplicaCheckpoint::open_rejected(engine, replica, batch))
            .await;
    let failed = |operation: &blocking::JobFailed| phalanx_storage::Error::Engine {
        operation: "open a rejected checkpoint",
        why: operation.to_string(),
    };
    let opened = opened.unwrap_or_else(|panicked| Err(failed(&panicked)));
    let rows = opened.map_err(|source| OpenError::Storage { group: spec.group, source })?;
    let checkpoint = CheckpointStore::new(spec.group, spec.kind, rows, None, shared(context));
    let received = fetch_from_any(context, connections, spec, log, &checkpoint, why).await?;
    let (term, index) = (received.fields.term, received.fields.index);
    let Received { install, fields, row_count, machine } = received;
    let state = State::loaded(machine, &fields);
    let state = state.map_err(|error| OpenError::Raft { group: spec.group, why: error.to_string() })?;
    drop_conflicting(context, spec, (term, index)).await?;
    let storage = |source| OpenError::Storage { group: spec.group, source };
    checkpoint.finish_install(install, fields, row_count, || ()).await.map_err(storage)?;
    tracing::info!(
        group_id = spec.group,
        replica_id = spec.replica,
        index,
        "the replica was refilled from a peer"
    );
    Ok(machine_store(context, spec, state, checkpoint))
}

/// Drops log entries that the committed entry (term, index) shows to be dead: another term at that index was never committed, and
/// neither was anything after it.
async fn drop_conflicting(
    context: &NodeContext,
    spec: &GroupSpec,
    (term, index): (u64, u64),
) -> Result<(), OpenError> {
    let wal = &context.wal;
    let here = wal.term_of(spec.group, index);
    if here.is_none_or(|here| here == term) {
        return Ok(());
    }
    let kept = index.checked_sub(1).and_then(|before| Some((wal.term_of(spec.group, before)?, before)));
    let (done, truncated) = oneshot::channel();
    let done: Done = Box::new(move |result| {
        // The opener may have been cancelled; it will find the log as it is then.
        let _ = done.send(result);
    });
    wal.truncate_after(spec.group, kept, done);
    let raft = |why: String| OpenError::Raft { group: spec.group, why };
    let result = truncated.await.map_err(|_| raft("the log was closed".to_owned()))?;
    result.map_err(|source| OpenError::Storage { group: spec.group, source })
}

async fn fetch_from_any(
    context: &Arc<NodeContext>,
    connections: &Arc<Connections>,
    spec: &GroupSpec,
    log: &GroupState,
    checkpoint: &Arc<CheckpointStore>,
    why: String,
) -> Result<Received, OpenError> {
    let until = Instant::now() + context.options.refill_timeout;
    let index_at_least = log.purged.map_or(0, |(_, index)| index);
    let mut peers = "there are none".to_owned();
    loop {
        for peer in spec.peers.iter().filter(|peer| peer.node != context.node) {
            match fetch(context, connections, spec, &peer.address, index_at_least, checkpoint).await {
                Ok(received) => return Ok(received),
                Err(answer) => peers = format!("node {peer}: {answer}"),
            }
        }
        if Instant::now() >= until {
            return Err(OpenError::NoRefill { group: spec.group, why, peers });
        }
        tokio::time::sleep(REFILL_PAUSE).await;
    }
}

/// Fetches one peer's checkpoint into a new generation.
async fn fetch(
    context: &NodeContext,
    connections: &Connections,
    spec: &GroupSpec,
    address: &str,
    index_at_least: u64,
    checkpoint: &Arc<CheckpointStore>,
) -> Result<Received, String> {
    let part_timeout = context.options.snapshot_chunk_timeout;
    let route = Route { cluster: context.cluster, group: spec.group, from: spec.replica, to: 0 };
    let request = v1::FetchSnapshotRequest { peer: Some(route.encode()), index_at_least };
    let mut bulk = connections.to(address).bulk.clone();
    let late = |_| "no answer in time".to_owned();
    let call = tokio::time::timeout(part_timeout, bulk.fetch_snapshot(request)).await.map_err(late)?;
    let mut parts = call.map_err(|status| status.to_string())?.into_inner();
    let mut assembly = Assembly::new(Arc::clone(checkpoint));
    loop {
        let part = tokio::time::timeout(part_timeout, parts.message()).await.map_err(late)?;
        let part = part.map_err(|status| status.to_string())?.ok_or("it ended early")?;
        if let Some(received) = assembly.take(part).await.map_err(|error| error.to_string())? {
            return Ok(received);
        }
    }
}
