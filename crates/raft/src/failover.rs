//! Quick failover when a peer's process dies.
//!
//! A follower notices a silent leader only after the election timeout. A killed process is not silent: the kernel resets its
//! connections and refuses new ones. So each node keeps a call open to every peer; when it breaks *and* a connection of its own is
//! refused, the process is gone, and each follower of a leader there withdraws its vote's lease and asks for a pre-vote. It
//! wins only if a majority has withdrawn too, so one broken connection changes nothing. This is why nothing here relies on leases.
//! Invariant: neither a clean end of the call nor a peer that still accepts connections ever starts an election.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::TransferLeaderRequest;
use parking_lot::Mutex;
use phalanx_proto::raft::v1;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::group::Group;
use crate::groups::Groups;
use crate::types::Vote;

/// How often the peers to watch are looked up in the memberships.
const LOOK: Duration = Duration::from_millis(250);
/// Pause before watching a peer again.
const AGAIN: Duration = Duration::from_millis(100);
/// Attempts to connect before a peer that neither refuses nor answers is left to the election timeout.
const PROBES: u32 = 5;
/// How long one attempt may take.
const PROBE_TIMEOUT: Duration = Duration::from_millis(200);
/// Pause between attempts.
const PROBE_PAUSE: Duration = Duration::from_millis(10);
/// Between the first attempts of two followers to be elected, so that they do not split the vote.
const STAGGER: Duration = Duration::from_millis(40);

/// Watches every peer that a group of this node has a replica on, until `stop`.
pub(crate) async fn watch_peers(groups: Arc<Groups>, stop: CancellationToken) {
    let watched: Arc<Mutex<BTreeMap<String, CancellationToken>>> = Arc::default();
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let peers = groups.peer_addresses();
        groups.connections().retain(|address| peers.contains(address));
        let mut watched = watched.lock();
        watched.retain(|address, watch| {
            let keep = peers.contains(address);
            if !keep {
                watch.cancel();
            }
            keep
        });
        for address in peers {
            watched.entry(address.clone()).or_insert_with(|| {
                let watch = stop.child_token();
                let (groups, ended) = (Arc::clone(&groups), watch.clone());
                tokio::spawn(async move { ended.run_until_cancelled(watch_peer(&groups, &address)).await });
                watch
            });
        }
    }
}

async fn watch_peer(groups: &Arc<Groups>, address: &str) {
    let request = || v1::WatchRequest { cluster_id: groups.cluster().to_bytes().to_vec().into() };
    loop {
        let mut control = groups.connections().to(address).control.clone();
        let broken = match control.watch(request()).await {
            Ok(call) => {
                let mut beats = call.into_inner();
                loop {
                    match beats.message().await {
                        Ok(Some(_)) => {}
                        Ok(None) => break None,
                        Err(status) => break Some(status),
                    }
                }
            }
            // Never watched, so nothing broke.
            Err(_) => None,
        };
        if let Some(status) = broken
            && is_gone(groups, address).await
        {
            tracing::warn!(peer = address, %status, "a peer's process is gone");
            groups.peer_is_gone(address);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// True when a connection of its own is refused: nobody listens there.
async fn is_gone(groups: &Groups, address: &str) -> bool {
    let cluster_id = groups.cluster().to_bytes().to_vec();
    for _ in 0..PROBES {
        let mut probe = groups.connections().probe(address);
        let ping = probe.ping(v1::PingRequest { cluster_id: cluster_id.clone().into() });
        match tokio::time::timeout(PROBE_TIMEOUT, ping).await {
            Ok(Ok(_)) => return false,
            Ok(Err(status)) if is_refused(&status) => return true,
            // Reset while the process was ending, or slow: not known yet.
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::time::sleep(PROBE_PAUSE).await;
    }
    false
}

/// Whether a call failed because the connection was refused.
fn is_refused(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Tries to replace a leader whose process is gone.
pub(crate) async fn replace_leader(group: Arc<Group>, address: String) {
    let Some(Orphan { vote, rank, followers }) = orphan(&group, &address).await else { return };
    // Handing "leadership" to the dead leader itself does one thing: it ends the lease of the vote that it holds here.
    let withdraw = TransferLeaderRequest::new(vote, vote.leader_id.voted_for, None);
    if group.raft().handle_transfer_leader(withdraw).await.is_err() {
        return;
    }
    // The others notice in their own time, so it is tried until the election timeout would take over anyway. Turns of different length
    // do not keep meeting each other, should two have asked at once and split the vote.
    let until = Instant::now() + group.options().election_max * 2;
    let turn = STAGGER * (followers + rank);
    tokio::time::sleep(STAGGER * rank).await;
    let mut seen = vote;
    while Instant::now() < until {
        let Some(now) = current_vote(&group).await else { return };
        if now.committed && now != vote {
            return;
        }
        // Whoever asked since the last turn gets this one.
        if now == seen || now.leader_id.voted_for == group.replica() {
            // With a pre-vote: without a majority that withdrew too, not even the term changes.
            if group.raft().trigger().elect(true).await.is_err() {
                return;
            }
        }
        seen = now;
        tokio::time::sleep(turn).await;
    }
}

/// A follower of a dead leader.
struct Orphan {
    /// The vote for that leader.
    vote: Vote,
    /// This replica's place among those that may follow it.
    rank: u32,
    /// How many those are.
    followers: u32,
}

/// `None` when the death does not concern this group.
async fn orphan(group: &Group, address: &str) -> Option<Orphan> {
    let vote = current_vote(group).await?;
    let leader = vote.leader_id.voted_for;
    let metrics = group.raft().metrics().borrow_watched().clone();
    let members = metrics.membership_config.membership();
    let led_there = vote.committed && members.get_node(&leader).is_some_and(|peer| peer.address == address);
    if !led_there || metrics.state != ServerState::Follower {
        return None;
    }
    let followers: Vec<u64> = members.voter_ids().filter(|voter| *voter != leader).collect();
    let rank = followers.iter().position(|voter| *voter == group.replica())?;
    Some(Orphan { vote, rank: u32::try_from(rank).ok()?, followers: u32::try_from(followers.len()).ok()? })
}

async fn current_vote(group: &Group) -> Option<Vote> {
    group.raft().with_raft_state(|state| *state.vote_ref()).await.ok()
}
