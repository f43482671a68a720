//! The machine of one group, as openraft's state machine.
//!
//! An entry is decoded once, outside the lock, and applied under it; the effects reach the sink before the lock is let go, so that
//! they arrive in the order of the log; then the proposer is answered. Snapshots are the durable checkpoint, never built for openraft.
//! Invariant: machine, log id and membership change together, under one lock.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{Stream, TryStreamExt as _};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::RwLock;
use phalanx_state_machine::machine::{Entry as MachineEntry, Machine};
use phalanx_state_machine::reply::Reply;
use phalanx_storage::checkpoint::ManifestFields;
use phalanx_storage::fail_point::{FailPoint, Persist, Step};

use crate::assemble::Assembly;
use crate::checkpoint::{CheckpointStore, Cut};
use crate::codec::{decode_membership, encode_membership};
use crate::context::EffectSink;
use crate::snapshot::{Parts, Received, SnapshotHandle, Source, meta_of};
use crate::types::{LogId, Replies, Snapshot, SnapshotMeta, StoredMembership, Types, log_id};

/// See the module. Clones share the machine.
#[derive(Clone)]
pub struct MachineStore {
    inner: Arc<Inner>,
}

struct Inner {
    group: u64,
    state: RwLock<State>,
    sink: Arc<dyn EffectSink>,
    checkpoint: Arc<CheckpointStore>,
    /// Set by the checkpoint loop: the next snapshot that openraft builds is the checkpoint that was just cut.
    announced: AtomicBool,
}

pub(crate) struct State {
    pub machine: Machine,
    pub applied: Option<LogId>,
    pub membership: StoredMembership,
}

impl State {
    /// The state that a checkpoint holds.
    pub(crate) fn loaded(
        machine: Machine,
        fields: &ManifestFields,
    ) -> Result<Self, crate::codec::CodecError> {
        Ok(Self {
            machine,
            applied: Some(log_id(fields.term, fields.index)),
            membership: decode_membership(fields.membership.clone())?,
        })
    }
}

impl MachineStore {
    pub(crate) fn new(
        group: u64,
        state: State,
        sink: Arc<dyn EffectSink>,
        checkpoint: Arc<CheckpointStore>,
    ) -> Self {
        let announced = AtomicBool::new(false);
        Self { inner: Arc::new(Inner { group, state: RwLock::new(state), sink, checkpoint, announced }) }
    }

    pub(crate) fn checkpoint(&self) -> &Arc<CheckpointStore> {
        &self.inner.checkpoint
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.inner.state.read())
    }

    pub(crate) fn with_machine<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> T {
        change(&mut self.inner.state.write().machine)
    }

    /// The next snapshot that openraft asks for is the checkpoint as it is.
    pub(crate) fn announce_checkpoint(&self) {
        self.inner.announced.store(true, Ordering::Release);
    }

    /// Writes what changed since the last checkpoint. `None` if there was nothing to write; `force` writes even then.
    ///
    /// It comes to its end even when the caller gives up (a peer that asked for a checkpoint and hung up): the machine forgets what
    /// it hands out.
    pub(crate) async fn cut_checkpoint(
        &self,
        force: bool,
    ) -> Result<Option<ManifestFields>, phalanx_storage::Error> {
        let store = self.clone();
        let cut = tokio::spawn(async move { store.cut_to_its_end(force).await });
        match cut.await {
            Ok(done) => done,
            Err(ended) => {
                let why = ended.to_string();
                let error = phalanx_storage::Error::Engine { operation: "cut a checkpoint", why };
                if ended.is_panic() {
                    self.inner.checkpoint.fatal("checkpoint", &error);
                }
                Err(error)
            }
        }
    }

    async fn cut_to_its_end(&self, force: bool) -> Result<Option<ManifestFields>, phalanx_storage::Error> {
        let take = |durable: Option<&ManifestFields>| {
            let mut state = self.inner.state.write();
            let applied = state.applied?;
            let (term, index) = crate::types::position(&applied);
            if !force && durable.is_some_and(|durable| durable.index == index) {
                return None;
            }
            let fields = ManifestFields {
                term,
                index,
                membership: encode_membership(&state.membership),
                machine_time_ms: state.machine.now_ms(),
                digest: state.machine.digest(),
            };
            Some(Cut { fields, changes: state.machine.take_changes() })
        };
        self.inner.checkpoint.cut(take, || self.with_machine(Machine::checkpoint_done)).await
    }

    fn apply_one(&self, entry: crate::types::Entry) -> io::Result<Replies> {
        // Decoded before the lock is taken: readers need not wait for it.
        let (term, index) = crate::types::position(&entry.log_id);
        let decoded = match entry.payload {
            EntryPayload::Normal(body) => {
                Some(MachineEntry { index, term, batch: body.decode().map_err(io::Error::from)? })
            }
            EntryPayload::Blank => None,
            EntryPayload::Membership(members) => {
                let mut state = self.inner.state.write();
                state.membership = StoredMembership::new(Some(entry.log_id), members);
                state.applied = Some(entry.log_id);
                return Ok(Replies::default());
            }
        };
        let mut state = self.inner.state.write();
        state.applied = Some(entry.log_id);
        let Some(decoded) = decoded else { return Ok(Replies::default()) };
        let applied = state.machine.apply(decoded);
        self.inner.sink.applied(self.inner.group, &state.machine, applied.effects);
        for reply in &applied.replies {
            if let Reply::Digest { agrees } = reply {
                self.inner.sink.compared(self.inner.group, index, *agrees);
            }
        }
        Ok(Replies(applied.replies))
    }

    /// Takes a received snapshot into use.
    async fn install(&self, received: Received) -> io::Result<()> {
        let Received { install, fields, row_count, machine } = received;
        let (group_id, index) = (self.inner.group, fields.index);
        let state = State::loaded(machine, &fields)?;
        let inner = Arc::clone(&self.inner);
        let swap = move || {
            let mut current = inner.state.write();
            *current = state;
            // No effects: whoever keeps times and streams beside the machine derives them anew.
            inner.sink.applied(inner.group, &current.machine, Vec::new());
        };
        let installed = self.inner.checkpoint.finish_install(install, fields, row_count, swap).await;
        installed.map_err(io::Error::other)?;
        tracing::info!(group_id, index, rows = row_count, "caught up by a snapshot of the leader");
        Ok(())
    }

    /// Copies another replica's checkpoint within this process.
    async fn copy(&self, other: &Arc<CheckpointStore>) -> io::Result<Received> {
        let rows = other.stream().await.map_err(io::Error::other)?;
        let mut parts = Parts::new(rows);
        let mut assembly = Assembly::new(Arc::clone(&self.inner.checkpoint));
        while let Some(part) = parts.next().await.map_err(io::Error::other)? {
            if let Some(received) = assembly.take(part).await.map_err(io::Error::other)? {
                return Ok(received);
            }
        }
        Err(io::Error::other("the snapshot has no trailer"))
    }

    fn current(&self) -> io::Result<Option<Snapshot>> {
        let Some(fields) = self.inner.checkpoint.durable() else { return Ok(None) };
        let source = Source::Own(Arc::clone(&self.inner.checkpoint));
        Ok(Some(Snapshot { meta: meta_of(&fields)?, snapshot: SnapshotHandle { source } }))
    }
}

impl RaftSnapshotBuilder<Types> for MachineStore {
    type SnapshotData = SnapshotHandle;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        if !self.inner.announced.swap(false, Ordering::AcqRel) {
            self.cut_checkpoint(false).await.map_err(io::Error::other)?;
        }
        if let Some(snapshot) = self.current()? {
            return Ok(snapshot);
        }
        // Of nothing: openraft asks for it at the start of a replica that has applied nothing but whose log was purged, which
        // opening a replica refuses before it comes to this.
        let source = Source::Own(Arc::clone(&self.inner.checkpoint));
        Ok(Snapshot { meta: SnapshotMeta::default(), snapshot: SnapshotHandle { source } })
    }
}

impl RaftStateMachine<Types> for MachineStore {
    type SnapshotData = SnapshotHandle;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok(self.read(|state| (state.applied, state.membership.clone())))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let reached = |step| self.inner.checkpoint.reached(FailPoint::new(Persist::Apply, step));
            reached(Step::Before).map_err(io::Error::other)?;
            // A panic would end openraft's worker and leave the group hanging; an error stops the process, which says so.
            let applied = catch_unwind(AssertUnwindSafe(|| self.apply_one(entry)));
            let replies = applied.unwrap_or_else(|_| Err(io::Error::other("the machine panicked")))?;
            reached(Step::Durable).map_err(io::Error::other)?;
            if let Some(responder) = responder {
                responder.send(replies);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMeta, snapshot: SnapshotHandle) -> io::Result<()> {
        let received = match snapshot.source {
            Source::Received(received) => *received,
            Source::Own(other) => self.copy(&other).await?,
        };
        self.install(received).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        self.current()
    }
}
