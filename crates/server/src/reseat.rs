//! A new replica in the place of one whose log was damaged.
//!
//! The old replica may have forgotten a vote or an entry that it acknowledged, so its id must never act again; the new one begins empty, learns
//! from the leader, and gets its vote when it has caught up. Invariant: ids are never reused: the lower 32 bits are the planned
//! replica's, the upper ones count its successors, and the identity file names the current one before anything is dropped.

use std::sync::Arc;
use std::time::Duration;

use phalanx_proto::raft::v1::ReplaceReplicaRequest;
use phalanx_proto::raft::v1::node_client::NodeClient;
use phalanx_state_machine::ids::ReplicaId;
use tokio_util::sync::CancellationToken;

use crate::desk::Desk;
use crate::identity::{Identity, Seat};
use crate::peers::Peers;

/// Pause before the leader is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Time the leader has to bring the new replica up to date and to give it its vote.
const REPLACE_DEADLINE: Duration = Duration::from_secs(330);
/// Where the count of successors begins in a replica id.
const SUCCESSOR_SHIFT: u32 = 32;

/// The id after `replica` in the same place.
#[must_use]
pub fn next_replica(replica: ReplicaId) -> ReplicaId {
    replica + (1 << SUCCESSOR_SHIFT)
}

/// All ids that had this place before `replica`, the planned one first.
pub fn earlier_replicas(replica: ReplicaId) -> impl Iterator<Item = ReplicaId> {
    let planned = replica & ((1 << SUCCESSOR_SHIFT) - 1);
    (0..replica >> SUCCESSOR_SHIFT).map(move |count| planned + (count << SUCCESSOR_SHIFT))
}

/// Asks the group's leader for the vote until it is given, and notes that.
pub async fn take_seat(
    peers: Arc<Peers>,
    desk: Arc<Desk>,
    identity: Identity,
    seat: Seat,
    stop: CancellationToken,
) {
    let work = async {
        while let Err(why) = ask(&peers, &identity, seat).await {
            tracing::info!(
                group_id = seat.group,
                replica = seat.replica,
                why,
                "the new replica has no vote yet"
            );
            tokio::time::sleep(ASK_AGAIN).await;
        }
        match desk.set_seat(Seat { taken: true, ..seat }) {
            Ok(()) => tracing::info!(group_id = seat.group, replica = seat.replica, "the new replica votes"),
            // Asked again at the next start: the leader answers at once then.
            Err(error) => tracing::error!(group_id = seat.group, %error, "note that the new replica votes"),
        }
    };
    stop.run_until_cancelled(work).await;
}

async fn ask(peers: &Peers, identity: &Identity, seat: Seat) -> Result<(), String> {
    let leader = peers.ask_leader(&identity.plan, seat.group).await.ok_or("nobody knows the leader")?;
    let channel = peers.channel(leader).ok_or("the leader has no address")?;
    let request = ReplaceReplicaRequest { group: seat.group, node: identity.node, replica: seat.replica };
    let answer =
        tokio::time::timeout(REPLACE_DEADLINE, NodeClient::new(channel).replace_replica(request)).await;
    let answer = answer.map_err(|_| "the leader did not answer in time")?;
    answer.map(drop).map_err(|status| status.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successors_never_meet_another_place_and_know_their_past() {
        let third = next_replica(next_replica(7));
        assert_ne!(next_replica(7), next_replica(8));
        assert_eq!(earlier_replicas(third).collect::<Vec<_>>(), [7, next_replica(7)]);
        assert_eq!(earlier_replicas(7).count(), 0);
    }
}
