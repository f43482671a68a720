//! Who leads, as this replica sees it, and whether it has its quorum.
//!
//! openraft calls a replica leader from the moment its vote was granted; it accepts writes only while a quorum has acknowledged it
//! within the lease. `is_leader` follows the latter.
//! Invariant: `is_leader` turns false at the latest one heartbeat after the quorum's last acknowledgement became older than the lease.

use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::Fatal;
use openraft::{Instant as _, ServerState};
use phalanx_state_machine::ids::{GroupId, NodeId, ReplicaId};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::context::FatalError;
use crate::types::{Raft, Types};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The term this replica is in.
    pub term: u64,
    /// The leader of that term, if one is known.
    pub leader: Option<(ReplicaId, NodeId)>,
    /// This replica leads and a quorum acknowledges it: proposals in `term` are accepted.
    pub is_leader: bool,
}

type Metrics = openraft::RaftMetrics<Types>;

/// What the metrics say now.
pub(crate) fn leadership_of(metrics: &Metrics, lease: Duration) -> Leadership {
    let members = metrics.membership_config.membership();
    let leader = metrics.current_leader.and_then(|replica| {
        let node = members.get_node(&replica)?.node;
        Some((replica, node))
    });
    let leads = metrics.state == ServerState::Leader
        && metrics.running_state.is_ok()
        && metrics.current_leader == Some(metrics.id);
    let alone = members.voter_ids().eq([metrics.id]);
    let acknowledged = metrics.last_quorum_acked.as_ref().map(|at| at.elapsed());
    let has_quorum = alone || acknowledged.is_some_and(|age| age < lease);
    Leadership { term: metrics.current_term, leader, is_leader: leads && has_quorum }
}

/// Keeps `current` up to date until Raft stops. What stopped it, unless it was shut down.
pub(crate) async fn follow(
    raft: Raft,
    group: GroupId,
    lease: Duration,
    heartbeat: Duration,
    current: watch::Sender<Leadership>,
) -> Option<FatalError> {
    let mut server = raft.server_metrics();
    let mut data = raft.data_metrics();
    let mut tick = tokio::time::interval(heartbeat);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (now, candidate, stopped) = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            let candidate = metrics.state == ServerState::Leader;
            (leadership_of(&metrics, lease), candidate, metrics.running_state.clone().err())
        };
        if let Some(fatal) = stopped {
            current.send_if_modified(|old| std::mem::take(&mut old.is_leader));
            return match fatal {
                Fatal::Stopped => None,
                Fatal::StorageError(_) | Fatal::Panicked => {
                    Some(FatalError { group: Some(group), why: fatal.to_string() })
                }
            };
        }
        // Only a leader that waits for its first acknowledgement looks at every change of the data metrics.
        let waits_for_quorum = candidate && !now.is_leader;
        current.send_if_modified(|old| {
            let changed = *old != now;
            *old = now;
            changed
        });
        let open = tokio::select! {
            changed = server.changed() => changed.is_ok(),
            changed = data.changed(), if waits_for_quorum => changed.is_ok(),
            _ = tick.tick() => true,
        };
        if !open && raft.metrics().borrow_watched().running_state.is_ok() {
            // Raft has ended and does not say why: its task panicked. (A shutdown is announced before, and ends it in good order.)
            current.send_if_modified(|old| std::mem::take(&mut old.is_leader));
            let why = "its Raft task has ended; a panic is in the log".to_owned();
            return Some(FatalError { group: Some(group), why });
        }
    }
}
