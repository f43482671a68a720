//! The node's papers while it runs: the identity in memory and on disk, changed together.
//!
//! It answers for the node before there are groups. Invariant: what it shows is on disk.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use phalanx_proto::raft::v1::{HelloRequest, HelloResponse};
use phalanx_state_machine::ids::{GroupId, Id128, NodeId};
use phalanx_storage::disk::Disk;
use phalanx_storage::wal::Wal;

use crate::config::NodeConfig;
use crate::convert::id_bytes;
use crate::identity::{Identity, IdentityError, Passport, Plan, Seat, read_id};
use crate::seams::Entropy;

/// See the module.
pub struct Desk {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Id and peer address of every configured node, in order.
    members: Vec<(NodeId, String)>,
    wal: Arc<Wal>,
    passport: Mutex<Passport>,
    /// Held while a plan is judged and kept: of two at once only one is.
    preparing: Mutex<()>,
}

/// The papers do not fit the data.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The identity file.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A log without an identity.
    #[error(
        "{dir} holds a log but no identity file: it belonged to a node once. Restore the identity file, or wipe the data directory and replace the \
         node as docs/operating/configuration.md describes"
    )]
    LogWithoutIdentity {
        /// Data directory.
        dir: PathBuf,
    },
    /// An identity without a log.
    #[error(
        "the log of group {group} in {dir} is gone although this node has taken part in it: starting without it could lose what it has \
         acknowledged. Restore the wal directory, or wipe the data directory and replace the node as docs/operating/configuration.md describes"
    )]
    LogGone {
        /// Data directory.
        dir: PathBuf,
        /// A group that must have one.
        group: u64,
    },
}

impl Desk {
    /// Reads the identity file, or draws a new identity on an empty disk.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub fn open(
        config: &NodeConfig,
        disk: Arc<dyn Disk>,
        wal: Arc<Wal>,
        entropy: &dyn Entropy,
    ) -> Result<Arc<Self>, DeskError> {
        let dir = config.node.data_dir.clone();
        let passport = match Passport::load(disk.as_ref(), &dir, config.node.id)? {
            Some(passport) => {
                passport.repair(disk.as_ref(), &dir)?;
                passport
            }
            None if has_data(&wal) => return Err(DeskError::LogWithoutIdentity { dir }),
            None => {
                let passport = Passport {
                    node: config.node.id,
                    store: entropy.id(),
                    plan: None,
                    started: false,
                    seats: Vec::new(),
                };
                passport.save(disk.as_ref(), &dir)?;
                passport
            }
        };
        if let (true, Some(plan)) = (passport.started, &passport.plan) {
            let hosted =
                plan.groups.iter().filter(|group| group.replicas.iter().any(|row| row.1 == passport.node));
            for group in hosted.map(|group| group.group) {
                if passport.seats.iter().any(|seat| seat.group == group && !seat.taken) {
                    continue;
                }
                let state = wal.state(group);
                let empty = state.vote.is_none() && state.last.is_none();
                if empty && wal.quarantine_of(group).is_none() {
                    return Err(DeskError::LogGone { dir, group });
                }
            }
        }
        let members = config.members().into_iter().map(|member| (member.id, member.peer)).collect();
        Ok(Arc::new(Self {
            disk,
            dir,
            members,
            wal,
            passport: Mutex::new(passport),
            preparing: Mutex::new(()),
        }))
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.passport.lock().node
    }

    /// This disk.
    #[must_use]
    pub fn store(&self) -> Id128 {
        self.passport.lock().store
    }

    /// As a member of its cluster, if it is one.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.passport.lock().identity()
    }

    /// Every hosted group has had a log.
    #[must_use]
    pub fn started(&self) -> bool {
        self.passport.lock().started
    }

    /// Notes that every hosted group has a log now.
    ///
    /// # Errors
    /// When the disk failed.
    pub fn mark_started(&self) -> Result<(), IdentityError> {
        self.change(|passport| passport.started = true)
    }

    /// The replica that took the place of the planned one, if one did.
    #[must_use]
    pub fn seat(&self, group: GroupId) -> Option<Seat> {
        self.passport.lock().seats.iter().find(|seat| seat.group == group).copied()
    }

    /// Notes the replica of this node in a group; durable on return.
    ///
    /// # Errors
    /// When the disk failed.
    pub fn set_seat(&self, seat: Seat) -> Result<(), IdentityError> {
        self.change(|passport| {
            passport.seats.retain(|old| old.group != seat.group);
            passport.seats.push(seat);
        })
    }

    fn change(&self, change: impl FnOnce(&mut Passport)) -> Result<(), IdentityError> {
        let mut passport = self.passport.lock();
        let mut next = passport.clone();
        change(&mut next);
        if next != *passport {
            next.save(self.disk.as_ref(), &self.dir)?;
            *passport = next;
        }
        Ok(())
    }

    /// Keeps a plan; durable on return. Keeping the same one again is fine.
    ///
    /// # Errors
    /// Why this node does not want it, for people.
    pub fn prepare(&self, plan: &Plan) -> Result<(), String> {
        let _one_at_a_time = self.preparing.lock();
        let passport = self.passport.lock().clone();
        if let Some(kept) = &passport.plan {
            let same = kept == plan;
            return if same {
                Ok(())
            } else {
                Err(format!("it belongs to cluster {} already", kept.cluster))
            };
        }
        if has_data(&self.wal) {
            return Err("it has a log of an unknown cluster".to_owned());
        }
        let row = plan.node(passport.node).ok_or("the plan does not know it")?;
        if row.store != passport.store {
            return Err(format!("the plan names disk {}, it has disk {}", row.store, passport.store));
        }
        let planned: Vec<_> = plan.nodes.iter().map(|node| (node.node, node.peer_address.clone())).collect();
        if planned != self.members {
            return Err(format!("its configured peers are {:?}, the plan's are {planned:?}", self.members));
        }
        let hosted = |group| {
            plan.groups.iter().any(|planned| {
                planned.group == group && planned.replicas.iter().any(|row| row.1 == passport.node)
            })
        };
        if !hosted(crate::shard::CATALOG) {
            return Err("the plan gives it no replica of the catalog".to_owned());
        }
        self.change(|passport| passport.plan = Some(plan.clone())).map_err(|error| error.to_string())
    }

    /// Who this node is, for a peer that asks.
    #[must_use]
    pub fn hello(&self, request: &HelloRequest) -> HelloResponse {
        let passport = self.passport.lock().clone();
        let plan = passport.plan.as_ref();
        let recorded = plan.and_then(|plan| plan.node(request.node)).map(|row| row.store);
        if let (Some(recorded), Some(shown)) = (recorded, read_id(&request.store_id))
            && recorded != shown
        {
            tracing::warn!(node = request.node, %recorded, %shown, "a node came back with another disk: it is refused");
        }
        HelloResponse {
            node: passport.node,
            cluster_id: plan.map(|plan| id_bytes(plan.cluster)).unwrap_or_default(),
            store_id: id_bytes(passport.store),
            plan: plan.map(Plan::to_proto),
            has_data: has_data(&self.wal),
            recorded_store_id: recorded.map(id_bytes).unwrap_or_default(),
        }
    }
}

fn has_data(wal: &Wal) -> bool {
    wal.groups().into_iter().any(|group| wal.state(group).last.is_some())
}
