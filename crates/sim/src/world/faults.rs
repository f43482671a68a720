//! How the world carries faults out.

use std::path::Path;
use std::time::Duration;

use phalanx_storage::disk::Disk as _;
use phalanx_storage::wal::batches;

use super::{End, World};
use crate::nemesis::Faults;
use crate::net::LATENCY_MAX;
use crate::random::Random;

/// A machine that writes nothing loses its power after this time.
const POWER_PATIENCE: Duration = Duration::from_millis(100);
/// Where a node keeps its log.
const WAL: &str = "/data/wal";
/// Rot strikes one of this many batches before the newest one.
const ROT_BATCHES: usize = 12;
/// Before the content of a batch in the log, bytes.
const BATCH_HEADER_BYTES: u64 = 48;
/// Bits flipped at once, at most.
const FLIPS_MAX: u64 = 3;

impl World {
    fn host(&self, node: u64) -> String {
        self.nodes[node as usize - 1].name()
    }

    /// Hosts other than `node`'s.
    fn others(&self, node: u64) -> Vec<String> {
        let nodes = (1..=self.nodes.len() as u64).filter(|other| *other != node);
        nodes.map(|other| self.host(other)).chain(self.clients.iter().cloned()).collect()
    }

    /// Nothing that `node` sends arrives any more.
    pub(super) fn silence(&mut self, node: u64) {
        let host = self.host(node);
        for other in self.others(node) {
            self.network.cut(&self.sim, &host, &other);
            self.network.cut(&self.sim, &other, &host);
        }
    }

    /// Undoes [`World::silence`]; partitions that were meant stay.
    pub(super) fn speak(&mut self, node: u64) {
        self.hear(node);
        for (from, to) in &self.cuts {
            self.network.cut(&self.sim, from, to);
        }
    }

    /// Every cut around `node` ends.
    fn hear(&mut self, node: u64) {
        let host = self.host(node);
        for other in self.others(node) {
            self.network.mend(&self.sim, &host, &other);
        }
    }

    fn plant(&mut self, node: u64, why: &'static str) {
        self.planted.insert(node, why);
    }
}

impl Faults for World {
    fn nodes(&self) -> u64 {
        self.nodes.len() as u64
    }

    fn leader(&self) -> Option<u64> {
        // The shards' leaders before the catalog's: that is where messages are.
        let leads = |at: usize, catalog: bool| {
            let node = self.nodes[at].node();
            node.is_some_and(|node| {
                node.shards().iter().any(|shard| (shard.id() == 0) == catalog && shard.is_leader())
            })
        };
        let mut nodes = (0..self.nodes.len()).filter(|at| leads(*at, false));
        nodes.next().map(|at| at as u64 + 1)
    }

    fn cut(&mut self, from: u64, to: u64) {
        let (from, to) = (self.host(from), self.host(to));
        self.network.cut(&self.sim, &from, &to);
        self.cuts.push((from, to));
    }

    fn cut_clients(&mut self, node: u64) {
        let node = self.host(node);
        for client in self.clients.clone() {
            for (from, to) in [(node.clone(), client.clone()), (client, node.clone())] {
                self.network.cut(&self.sim, &from, &to);
                self.cuts.push((from, to));
            }
        }
    }

    fn reset(&mut self, node: u64) {
        let host = self.host(node);
        self.network.reset(&host);
    }

    fn delay(&mut self, ms: u64) {
        self.network.delay(&self.sim, Duration::from_millis(ms));
    }

    fn heal_network(&mut self) {
        self.cuts.clear();
        self.network.delay(&self.sim, LATENCY_MAX);
        for node in 1..=self.nodes() {
            if self.up[node as usize - 1] {
                self.hear(node);
            }
        }
        // Machines without power stay silent.
        for node in 1..=self.nodes() {
            if !self.up[node as usize - 1] {
                self.silence(node);
            }
        }
    }

    fn kill(&mut self, node: u64) {
        self.held[node as usize - 1] = true;
        self.restarts.remove(&node);
        self.end(node, End::Kill);
    }

    fn cut_power(&mut self, node: u64, writes: u64) {
        let at = node as usize - 1;
        self.held[at] = true;
        self.restarts.remove(&node);
        if self.up[at] {
            self.nodes[at].disk.cut_power_at(writes);
            self.failing_power.insert(node, self.now() + POWER_PATIENCE);
        }
    }

    fn start(&mut self, node: u64) {
        let at = node as usize - 1;
        self.nodes[at].disk.heal();
        self.planted.remove(&node);
        if self.failing_power.remove(&node).is_some() {
            self.end(node, End::PowerCut);
        }
        self.start_node(node);
    }

    fn set_clock(&mut self, node: u64, ms: i64) {
        self.nodes[node as usize - 1].wall.set(ms);
    }

    fn fail_sync(&mut self, node: u64, syncs: u64) {
        if self.up[node as usize - 1] {
            self.plant(node, "failing sync");
            self.nodes[node as usize - 1].disk.fail_sync_at(syncs);
        }
    }

    fn limit_disk(&mut self, node: u64, bytes: Option<u64>) {
        self.nodes[node as usize - 1].disk.set_space(bytes);
    }

    fn flip_bits(&mut self, node: u64, random: &mut Random) -> String {
        let machine = &self.nodes[node as usize - 1];
        let mut done = Vec::new();
        if random.chance(30) {
            let (row, bit) = (random.next() as usize, random.next() as usize);
            machine.engine.flip(row, bit);
            done.push("a checkpoint row".to_owned());
        }
        let segments = machine.disk.list(Path::new(WAL)).unwrap_or_default();
        for _ in 0..random.within(1..FLIPS_MAX + 1) {
            let mut written = Vec::new();
            for name in segments.iter().filter(|name| name.ends_with(".seg")) {
                let path = Path::new(WAL).join(name);
                let used = machine.disk.contents(&path).unwrap_or_default();
                // What was never written holds nothing to damage.
                let end = used.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                if end > 0 {
                    written.push((path, end as u64));
                }
            }
            if written.is_empty() {
                break;
            }
            let (path, end) = random.pick(&written).clone();
            let offset = random.within(0..end);
            machine.disk.flip_bit(&path, offset, random.within(0..8) as u8);
            done.push(format!("{} at {offset}", path.display()));
        }
        format!("node {node}: {}", done.join(", "))
    }

    fn rot(&mut self, node: u64, random: &mut Random) -> String {
        let machine = &self.nodes[node as usize - 1];
        let mut newest = None;
        for name in machine.disk.list(Path::new(WAL)).unwrap_or_default() {
            let path = Path::new(WAL).join(name);
            let batches = batches(&machine.disk.contents(&path).unwrap_or_default());
            newest = newest.max(batches.last().copied().map(|last| (last.0, path, batches)));
        }
        let Some((incarnation, path, mut batches)) = newest else { return format!("node {node}: no log") };
        // Of the newest use of the file; one that nothing follows might be torn, and the head is a copy.
        batches.retain(|batch| batch.0 == incarnation && batch.2 > 0);
        batches.pop();
        let from = batches.len().saturating_sub(ROT_BATCHES);
        let full: Vec<_> = batches.split_off(from).into_iter().filter(|batch| batch.3 > 0).collect();
        if full.is_empty() {
            return format!("node {node}: nothing to damage");
        }
        let (_, number, offset, content_bytes) = *random.pick(&full);
        let at = offset + BATCH_HEADER_BYTES + random.within(0..u64::from(content_bytes));
        machine.disk.flip_bit(&path, at, random.within(0..8) as u8);
        format!("node {node}: {} at {at}, batch {number}", path.display())
    }

    fn transfer(&mut self, node: u64) {
        for machine in &self.nodes {
            let Some(state) = machine.node() else { continue };
            for shard in state.shards().iter().filter(|shard| shard.is_leader()) {
                machine.transfer(shard.id(), node);
            }
        }
    }
}
