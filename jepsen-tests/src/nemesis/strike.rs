//! Strikes, and heals.

use std::io;
use std::time::Duration;

use phalanx_client::Client;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::{Fault, Strike};
use crate::cluster::{Cluster, START_DEADLINE};
use crate::history::{F, Facts, Kind, Recorder};
use crate::net::{Bad, End};
use crate::survey;

/// Whoever leads is asked for this long.
const ASK_DEADLINE: Duration = Duration::from_millis(800);

/// A node may stop so long after its disk was bad: it may need space to do so.
const AFTERMATH: Duration = Duration::from_secs(30);
/// What `nsenter` ends with when it cannot execute a program, and when there is none.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;
/// Damage waits until earlier damage is repaired, for so long at most.
const REPAIR_DEADLINE: Duration = Duration::from_secs(30);

/// What strikes the cluster of a run.
pub struct Nemesis {
    /// The cluster.
    pub cluster: Cluster,
    /// Its machines.
    pub machines: Box<dyn crate::machine::Machines>,
    /// Where faults are written down.
    pub recorder: Recorder,
    /// For asking who leads.
    pub client: Client,
    /// A queue of the run.
    pub queue: String,
}

impl Nemesis {
    async fn leader(&self) -> Option<u64> {
        let admin = self.client.admin();
        let topology = tokio::time::timeout(ASK_DEADLINE, admin.topology(&self.queue)).await;
        topology.ok()?.ok()?.leader_node
    }

    /// Nodes in some order, the leader at the beginning in half of the cases.
    async fn victims(&self, random: &mut SmallRng) -> (Vec<u64>, Option<u64>) {
        let leader = self.leader().await;
        let mut nodes: Vec<u64> = (1..=self.cluster.size()).collect();
        nodes.shuffle(random);
        if let Some(leader) = leader.filter(|_| random.random_bool(0.6)) {
            nodes.retain(|node| *node != leader);
            nodes.insert(0, leader);
        }
        (nodes, leader)
    }

    /// Lets faults into force.
    ///
    /// # Errors
    /// When the machine refuses: the run shows nothing then.
    pub async fn strike(&mut self, strike: &Strike) -> io::Result<()> {
        let mut random = SmallRng::seed_from_u64(strike.seed);
        for fault in &strike.faults {
            let (nodes, leader) = self.victims(&mut random).await;
            let majority = nodes.len() / 2 + 1;
            let victims = match fault {
                Fault::KillMajority | Fault::PauseMajority | Fault::PowerCutMajority => &nodes[..majority],
                Fault::KillAll | Fault::PowerCutAll | Fault::Restart | Fault::Ring => &nodes[..],
                Fault::Halves => &nodes[..nodes.len() - majority],
                Fault::IsolatedLeader => &leader.map_or([nodes[0]], |leader| [leader])[..],
                _ => &nodes[..1],
            };
            let hit = victims.iter().any(|node| Some(*node) == leader);
            let all = victims.len() >= majority && matches!(fault.kind(), "kill" | "power-cut");
            let note =
                format!("{} {} {victims:?}{}", fault.kind(), fault.name(), if hit { " leader" } else { "" });
            let facts = Facts {
                note: Some(note),
                queue: Some(self.queue.clone()),
                node: victims.first().copied(),
                leader: hit.then_some(1),
                majority: (victims.len() < majority).then_some(1),
                all: all.then_some(1),
                ..Facts::default()
            };
            self.recorder.note(F::Fault, Kind::Info, facts);
            self.cause(*fault, victims, &nodes, &mut random, strike.hold).await?;
        }
        Ok(())
    }

    async fn cause(
        &mut self,
        fault: Fault,
        victims: &[u64],
        nodes: &[u64],
        random: &mut SmallRng,
        hold: Duration,
    ) -> io::Result<()> {
        match fault {
            Fault::Kill | Fault::KillMajority | Fault::KillAll => self.kill(victims).await,
            Fault::Pause | Fault::PauseMajority => {
                victims.iter().try_for_each(|node| self.cluster.node(*node).pause())
            }
            Fault::Halves | Fault::Ring | Fault::Bridge | Fault::OneWay | Fault::IsolatedLeader => {
                let links = cuts(fault, victims, nodes, random);
                self.cluster.network().cut(&links).await
            }
            Fault::Slow => {
                let bad = Bad { delay_ms: random.random_range(20..150), jitter_ms: 20, loss_percent: 0 };
                self.cluster.network().worsen(victims[0], bad).await
            }
            Fault::Lossy => {
                let loss_percent = random.random_range(2..25);
                self.cluster
                    .network()
                    .worsen(victims[0], Bad { delay_ms: 1, jitter_ms: 10, loss_percent })
                    .await
            }
            Fault::PowerCut | Fault::PowerCutMajority | Fault::PowerCutAll => {
                // The processes die in the middle of whatever they write.
                self.kill(victims).await?;
                for node in victims {
                    let lost = Some(self.machines.power_cut(*node, random.random())? as u64);
                    let facts = Facts { node: Some(*node), lost, ..Facts::default() };
                    self.recorder.note(F::Damage, Kind::Info, facts);
                }
                Ok(())
            }
            Fault::SyncFails | Fault::Full => {
                for node in victims {
                    self.cluster.node(*node).excuse(hold + AFTERMATH);
                }
                self.machines.worsen(victims[0], fault)
            }
            Fault::SlowDisk => self.machines.worsen(victims[0], fault),
            Fault::Flip => {
                // Two damaged replicas of three are more than is promised.
                if !survey::wait_healthy(&self.client, &self.cluster.addresses(), REPAIR_DEADLINE).await {
                    return Ok(());
                }
                self.kill(victims).await?;
                let dir = self.cluster.node(victims[0]).data_dir().to_owned();
                let flipped = crate::machine::flip(&dir, random)?;
                let (flips, note) = (Some(flipped.len() as u64), Some(flipped.join(", ")));
                self.recorder.note(F::Damage, Kind::Info, Facts { flips, note, ..Facts::default() });
                Ok(())
            }
            Fault::Restart => self.rolling_restart(victims).await,
            Fault::Skew => {
                let seconds = random.random_range(-600_i64..600);
                self.machines.set_clock(victims[0], seconds)
            }
            Fault::Strobe => {
                let end = tokio::time::Instant::now() + hold;
                let mut is_ahead = false;
                while tokio::time::Instant::now() < end {
                    is_ahead = !is_ahead;
                    self.machines.set_clock(victims[0], if is_ahead { 300 } else { -300 })?;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Ok(())
            }
        }
    }

    async fn kill(&mut self, victims: &[u64]) -> io::Result<()> {
        for node in victims {
            self.cluster.node(*node).strike()?;
        }
        for node in victims {
            self.cluster.node(*node).kill().await?;
        }
        Ok(())
    }

    async fn rolling_restart(&mut self, nodes: &[u64]) -> io::Result<()> {
        for node in nodes {
            self.cluster.node(*node).stop().await?;
            self.cluster.start(*node)?;
            self.cluster.wait_ready(*node, START_DEADLINE).await?;
        }
        Ok(())
    }

    /// Nodes that ended by themselves: noted, and started again, as a supervisor does.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn supervise(&mut self) -> io::Result<()> {
        for id in 1..=self.cluster.size() {
            let node = self.cluster.node(id);
            let Some(status) = node.take_exit() else { continue };
            // As of a shell: there was nothing to execute, which says nothing about a node.
            if matches!(status.code(), Some(NOT_EXECUTABLE | NOT_FOUND)) {
                return Err(io::Error::other(format!("node {id}: the server cannot be executed: {status}")));
            }
            let facts = Facts {
                node: Some(id),
                planned: node.is_excused().then_some(1),
                note: Some(status.to_string()),
                ..Facts::default()
            };
            self.recorder.note(F::Exit, Kind::Info, facts);
            self.cluster.start(id)?;
        }
        Ok(())
    }

    /// Ends all faults: networks and disks are well, all processes run.
    ///
    /// # Errors
    /// When the machine refuses.
    pub async fn heal(&mut self) -> io::Result<()> {
        self.cluster.network().heal().await?;
        self.machines.heal()?;
        for id in 1..=self.cluster.size() {
            self.cluster.node(id).resume()?;
            self.cluster.start(id)?;
        }
        self.recorder.note(F::Heal, Kind::Info, Facts::default());
        Ok(())
    }
}

/// The links that a partition cuts.
fn cuts(fault: Fault, victims: &[u64], nodes: &[u64], random: &mut SmallRng) -> Vec<(End, End)> {
    let both = |a: End, b: End| [(a, b), (b, a)];
    let rest: Vec<u64> = nodes.iter().copied().filter(|node| !victims.contains(node)).collect();
    let mut links = Vec::new();
    match fault {
        Fault::Ring => {
            // Each node sees its neighbours only: of three nodes, one pair does not see each other.
            let count = nodes.len();
            for a in 0..count {
                for b in a + 1..count {
                    let apart = (b - a).min(count - (b - a));
                    if apart > count / 4 + usize::from(count > 3) || (count == 3 && (a, b) == (0, 1)) {
                        links.extend(both(End::Node(nodes[a]), End::Node(nodes[b])));
                    }
                }
            }
        }
        Fault::Bridge => {
            let (bridge, others) = (nodes[0], &nodes[1..]);
            let (left, right) = others.split_at(others.len() / 2);
            debug_assert!(!left.contains(&bridge) && !right.contains(&bridge));
            for a in left {
                links.extend(right.iter().flat_map(|b| both(End::Node(*a), End::Node(*b))));
            }
        }
        Fault::OneWay => {
            let hears = random.random_bool(0.5);
            for other in rest.iter().map(|node| End::Node(*node)) {
                let victim = End::Node(victims[0]);
                links.push(if hears { (victim, other) } else { (other, victim) });
            }
        }
        _ => {
            for victim in victims.iter().map(|node| End::Node(*node)) {
                links.extend(rest.iter().flat_map(|other| both(victim, End::Node(*other))));
                if fault == Fault::IsolatedLeader && random.random_bool(0.5) {
                    links.extend(both(victim, End::Clients));
                }
            }
        }
    }
    links
}
