//! Who a node is: the one small file that decides whether its disk may take part in a cluster.
//!
//! It holds the node's number, the identity of this disk (drawn once, at the first start) and, once there is one, the plan of the
//! cluster. There are two of it, so that one flipped bit does not cost a node its place. Invariants: each is replaced as a whole
//! (written aside, synced, renamed, directory synced) before anything that relies on it is answered, the copy first: a copy is never
//! older than what the file said. When neither checks out the node stops; an identity is never drawn anew.

use std::path::{Path, PathBuf};

use phalanx_proto::raft::v1;
use phalanx_state_machine::ids::{GroupId, Id128, NodeId, ReplicaId};
use phalanx_storage::disk::Disk;
use prost::Message as _;

/// File in the data directory.
const FILE: &str = "identity";
/// The other one.
const COPY: &str = "identity.copy";
/// Where a new one is written before it takes the other's place.
const FILE_NEW: &str = "identity.new";
/// First bytes of the file.
const MAGIC: [u8; 4] = *b"PHXI";
/// Format of the file.
const VERSION: u32 = 1;
/// Magic, version, length, crc32c.
pub(crate) const HEADER_BYTES: usize = 16;
/// Largest file believed: a plan of the largest cluster is far smaller.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The identity file as stored. Fields are only ever added.
#[derive(Clone, PartialEq, prost::Message)]
struct Stored {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(message, required, tag = "2")]
    store: Id128,
    #[prost(message, optional, tag = "3")]
    plan: Option<v1::ClusterPlan>,
    #[prost(bool, tag = "4")]
    started: bool,
    #[prost(message, repeated, tag = "5")]
    seats: Vec<Seat>,
}

/// A replica that took, or takes, the place of a planned one whose log was damaged. Stored.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Seat {
    /// The group.
    #[prost(uint64, tag = "1")]
    pub group: GroupId,
    /// This node's replica of it now.
    #[prost(uint64, tag = "2")]
    pub replica: ReplicaId,
    /// It has its vote. Until then its log may be empty.
    #[prost(bool, tag = "3")]
    pub taken: bool,
}

/// A disk that may or may not belong to a cluster yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Passport {
    /// The node's number.
    pub node: NodeId,
    /// This disk.
    pub store: Id128,
    /// Its cluster, if it has one.
    pub plan: Option<Plan>,
    /// Every hosted group has had a log: an empty log from now on is a loss, not a beginning.
    pub started: bool,
    /// Replicas that are not the planned ones any more; at most one for each group.
    pub seats: Vec<Seat>,
}

/// A node that belongs to a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The node's number.
    pub node: NodeId,
    /// This disk.
    pub store: Id128,
    /// Its cluster.
    pub plan: Plan,
}

/// A cluster as it started.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Its identity.
    pub cluster: Id128,
    /// Its nodes in the order of their numbers.
    pub nodes: Vec<PlanNode>,
    /// Its groups, the catalog first.
    pub groups: Vec<PlanGroup>,
}

/// One node of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanNode {
    /// Its number.
    pub node: NodeId,
    /// Its disk.
    pub store: Id128,
    /// Where clients reach it.
    pub client_address: String,
    /// Where peers reach it.
    pub peer_address: String,
    /// Failure domain.
    pub zone: String,
}

/// One group of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanGroup {
    /// Its number; 0 = the catalog.
    pub group: GroupId,
    /// Replica and the node that holds it.
    pub replicas: Vec<(ReplicaId, NodeId)>,
}

/// The identity file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk failed.
    #[error("identity file in {dir}")]
    Disk {
        /// Data directory.
        dir: PathBuf,
        /// Why.
        source: phalanx_storage::Error,
    },
    /// Its bytes are not what was written. Nothing was changed.
    #[error(
        "the identity file {path} is damaged ({why}); the node does not start with it. Restore the file from a backup, or wipe the \
         data directory and replace the node as docs/operating describes"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it shows.
        why: String,
    },
    /// The configuration says another node than the file.
    #[error("the data directory belongs to node {found}, but node.id is {configured}")]
    OtherNode {
        /// In the file.
        found: NodeId,
        /// In the configuration.
        configured: NodeId,
    },
}

impl Plan {
    /// The plan's row of a node.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&PlanNode> {
        self.nodes.iter().find(|planned| planned.node == node)
    }

    /// As it travels and as it is stored.
    #[must_use]
    pub fn to_proto(&self) -> v1::ClusterPlan {
        v1::ClusterPlan {
            cluster_id: crate::convert::id_bytes(self.cluster),
            nodes: self
                .nodes
                .iter()
                .map(|node| v1::PlannedNode {
                    node: node.node,
                    store_id: crate::convert::id_bytes(node.store),
                    client_address: node.client_address.clone(),
                    peer_address: node.peer_address.clone(),
                    zone: node.zone.clone(),
                })
                .collect(),
            groups: self
                .groups
                .iter()
                .map(|group| v1::PlannedGroup {
                    group: group.group,
                    replicas: group
                        .replicas
                        .iter()
                        .map(|&(replica, node)| v1::PlannedReplica { replica, node })
                        .collect(),
                })
                .collect(),
        }
    }

    /// The reverse of [`Plan::to_proto`]; `None` when an id in it is malformed.
    #[must_use]
    pub fn from_proto(plan: &v1::ClusterPlan) -> Option<Self> {
        let nodes = plan.nodes.iter().map(|node| {
            Some(PlanNode {
                node: node.node,
                store: read_id(&node.store_id)?,
                client_address: node.client_address.clone(),
                peer_address: node.peer_address.clone(),
                zone: node.zone.clone(),
            })
        });
        let groups = plan.groups.iter().map(|group| PlanGroup {
            group: group.group,
            replicas: group.replicas.iter().map(|replica| (replica.replica, replica.node)).collect(),
        });
        Some(Self {
            cluster: read_id(&plan.cluster_id)?,
            nodes: nodes.collect::<Option<Vec<_>>>()?,
            groups: groups.collect(),
        })
    }
}

/// A 16-byte id that is not all zero.
#[must_use]
pub fn read_id(bytes: &[u8]) -> Option<Id128> {
    let array: [u8; 16] = bytes.try_into().ok()?;
    (array != [0; 16]).then(|| Id128::from_bytes(array))
}

impl Passport {
    /// The identity of `dir`, or `None` where there is none. Changes nothing.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn load(disk: &dyn Disk, dir: &Path, configured: NodeId) -> Result<Option<Self>, IdentityError> {
        let passport = match (read(disk, dir, FILE)?, read(disk, dir, COPY)?) {
            (Read::Sound(passport), _) | (_, Read::Sound(passport)) => passport,
            (Read::Missing, Read::Missing) => return Ok(None),
            (Read::Damaged(why), _) => {
                return Err(IdentityError::Damaged { path: dir.join(FILE), why: why.to_owned() });
            }
            (Read::Missing, Read::Damaged(why)) => {
                return Err(IdentityError::Damaged { path: dir.join(COPY), why: why.to_owned() });
            }
        };
        if passport.node != configured {
            return Err(IdentityError::OtherNode { found: passport.node, configured });
        }
        Ok(Some(passport))
    }

    /// Writes anew what is missing, damaged or older than this; durable on return.
    ///
    /// # Errors
    /// When the disk failed.
    pub fn repair(&self, disk: &dyn Disk, dir: &Path) -> Result<(), IdentityError> {
        for name in [COPY, FILE] {
            match read(disk, dir, name)? {
                Read::Sound(other) if other == *self => continue,
                Read::Sound(_) | Read::Missing => {}
                Read::Damaged(why) => {
                    let file = dir.join(name);
                    tracing::error!(file = %file.display(), why, "a copy of the identity is damaged: written anew from the other");
                }
            }
            self.write(disk, dir, name)?;
        }
        Ok(())
    }

    /// Replaces the identity; durable on return.
    ///
    /// # Errors
    /// When the disk failed: the old identity is then still in place, or the new one is, whole.
    pub fn save(&self, disk: &dyn Disk, dir: &Path) -> Result<(), IdentityError> {
        self.write(disk, dir, COPY)?;
        self.write(disk, dir, FILE)
    }

    fn write(&self, disk: &dyn Disk, dir: &Path, name: &str) -> Result<(), IdentityError> {
        let wrap = |source| IdentityError::Disk { dir: dir.to_owned(), source };
        let new = dir.join(FILE_NEW);
        let file = disk.create(&new).map_err(wrap)?;
        file.write_at(0, &encode(self)).map_err(wrap)?;
        file.sync_data().map_err(wrap)?;
        disk.rename(&new, &dir.join(name)).map_err(wrap)?;
        disk.sync_dir(dir).map_err(wrap)
    }

    /// As a member of its cluster; `None` while it has none.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        Some(Identity { node: self.node, store: self.store, plan: self.plan.clone()? })
    }
}

/// What one of the two files holds.
enum Read {
    Sound(Passport),
    Missing,
    Damaged(&'static str),
}

fn read(disk: &dyn Disk, dir: &Path, name: &str) -> Result<Read, IdentityError> {
    let wrap = |source| IdentityError::Disk { dir: dir.to_owned(), source };
    if !disk.list(dir).map_err(wrap)?.iter().any(|found| found == name) {
        return Ok(Read::Missing);
    }
    let file = disk.open(&dir.join(name)).map_err(wrap)?;
    let length = file.len().map_err(wrap)?;
    if length > FILE_BYTES_MAX {
        return Ok(Read::Damaged("too large"));
    }
    let mut bytes = vec![0; length as usize];
    let filled = file.read_at(0, &mut bytes).map_err(wrap)?;
    Ok(decode(&bytes[..filled]).map_or_else(Read::Damaged, Read::Sound))
}

pub(crate) fn encode(passport: &Passport) -> Vec<u8> {
    let stored = Stored {
        node: passport.node,
        store: passport.store,
        plan: passport.plan.as_ref().map(Plan::to_proto),
        started: passport.started,
        seats: passport.seats.clone(),
    };
    let body = stored.encode_to_vec();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&crc32c::crc32c_append(crc32c::crc32c(&bytes), &body).to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Passport, &'static str> {
    let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or("shorter than its header")?;
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if header[..4] != MAGIC {
        return Err("not an identity file");
    }
    if word(8) as usize != body.len() {
        return Err("cut, or longer than it says");
    }
    if crc32c::crc32c_append(crc32c::crc32c(&header[..12]), body) != word(12) {
        return Err("checksum");
    }
    if word(4) != VERSION {
        return Err("written by a newer version");
    }
    let stored = Stored::decode(body).map_err(|_| "its fields do not decode")?;
    let plan = match &stored.plan {
        None => None,
        Some(plan) => Some(Plan::from_proto(plan).ok_or("an id in its plan is malformed")?),
    };
    Ok(Passport {
        node: stored.node,
        store: stored.store,
        plan,
        started: stored.started,
        seats: stored.seats,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passport() -> Passport {
        let store = Id128 { hi: 3, lo: 4 };
        let node = PlanNode {
            node: 7,
            store,
            client_address: "a:1".to_owned(),
            peer_address: "a:2".to_owned(),
            zone: "z".to_owned(),
        };
        let group = PlanGroup { group: 0, replicas: vec![(1, 7)] };
        let plan = Plan { cluster: Id128 { hi: 1, lo: 2 }, nodes: vec![node], groups: vec![group] };
        let seats = vec![Seat { group: 0, replica: 9, taken: true }];
        Passport { node: 7, store, plan: Some(plan), started: true, seats }
    }

    #[test]
    fn identity_comes_back_as_it_was_saved() {
        assert_eq!(decode(&encode(&passport())), Ok(passport()));
    }

    #[test]
    fn one_damaged_file_is_written_anew_from_the_other_and_two_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let disk = phalanx_storage::disk::RealDisk;
        passport().save(&disk, dir.path()).unwrap();
        let damage = |name: &str| {
            let path = dir.path().join(name);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[HEADER_BYTES + 3] ^= 4;
            std::fs::write(path, bytes).unwrap();
        };
        for name in [FILE, COPY] {
            damage(name);
            let found = Passport::load(&disk, dir.path(), 7).unwrap();
            assert_eq!(found, Some(passport()), "{name} damaged");
            passport().repair(&disk, dir.path()).unwrap();
            assert!(matches!(read(&disk, dir.path(), name).unwrap(), Read::Sound(_)), "{name} repaired");
        }
        damage(FILE);
        damage(COPY);
        let refused = Passport::load(&disk, dir.path(), 7);
        assert!(matches!(refused, Err(IdentityError::Damaged { .. })), "{refused:?}");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_detected() {
        let good = encode(&passport());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(decode(&good[..length]).is_err(), "length {length}");
        }
    }
}
