//! Runs a history through the model and two machines: one that keeps all in memory, and one that is checkpointed, spilled
//! and loaded again on the way. All three must agree after every entry.

use phalanx_state_machine::command::{CheckDigest, CommandKind};
use phalanx_state_machine::invariants;
use phalanx_state_machine::machine::{Machine, MachineKind};
use phalanx_state_machine::reply::{Applied, Delivery, Effect, Payload, Rejection, Reply};

use super::coverage::Coverage;
use super::queue::{Check, ensure};
use super::shard::Shard;
use crate::support::{Rows, entry};

const KIND: MachineKind = MachineKind::Shard(1);

/// What happens to the stored state after a step.
#[derive(Clone, Copy, Debug)]
pub enum Checkpoint {
    None,
    /// A checkpoint of the second machine; garbage is deleted at once or stays.
    Take {
        sweep: bool,
    },
    /// The same, and then the second machine is loaded from its rows.
    Reload {
        sweep: bool,
    },
    /// A checkpoint of the first machine, which is never loaded.
    TakeOfMain,
}

/// One entry of a history. Concrete: it can be replayed, and left out, without the generator.
#[derive(Clone, Debug)]
pub struct Step {
    pub advance_ms: u64,
    pub commands: Vec<CommandKind>,
    /// Compare digests in this entry; `false`: with one that is wrong.
    pub check_digest: Option<bool>,
    pub checkpoint: Checkpoint,
    /// Drop payloads of this queue up to this sequence from the second machine's memory.
    pub spill: Option<(u64, u64)>,
}

impl Step {
    pub fn of(advance_ms: u64, commands: Vec<CommandKind>) -> Self {
        Self { advance_ms, commands, check_digest: None, checkpoint: Checkpoint::None, spill: None }
    }
}

pub struct World {
    pub shard: Shard,
    pub coverage: Coverage,
    main: Machine,
    main_rows: Rows,
    stored: Machine,
    rows: Rows,
    index: u64,
    now_ms: u64,
}

impl World {
    pub fn new() -> Self {
        Self {
            shard: Shard::default(),
            coverage: Coverage::default(),
            main: Machine::new(KIND),
            main_rows: Rows::default(),
            stored: Machine::new(KIND),
            rows: Rows::default(),
            index: 0,
            now_ms: 1_000_000,
        }
    }

    pub fn step(&mut self, step: &Step) -> Check {
        self.index += 1 + step.advance_ms % 2; // indexes may have gaps
        self.now_ms += step.advance_ms;
        let mut commands = step.commands.clone();
        // Digests are kept for recent indexes: there is one only after the first entry.
        let check_digest = step.check_digest.filter(|_| self.main.applied_index() > 0);
        if let Some(right) = check_digest {
            let digest = self.main.digest() ^ u64::from(!right);
            let index = self.main.applied_index();
            commands.push(CommandKind::CheckDigest(CheckDigest { index, digest }));
        }
        let before = self.chunks();
        let mut main = self.main.apply(entry(self.index, self.now_ms, commands.clone()));
        let mut stored = self.stored.apply(entry(self.index, self.now_ms, commands));
        self.coverage.entry(&main);
        if let Some(right) = check_digest {
            let (main, stored) = (main.replies.pop(), stored.replies.pop());
            ensure!(main == Some(Reply::Digest { agrees: right }), "the digest was judged {main:?}");
            // A machine that was just loaded may not know the digest of an index before.
            let loaded = matches!(stored, Some(Reply::Rejected(Rejection::Invalid(_))));
            ensure!(
                loaded || stored == Some(Reply::Digest { agrees: right }),
                "the digest was judged {stored:?} by the loaded machine"
            );
        }
        self.shard.apply(self.now_ms, &step.commands, &main)?;
        self.read_back(&step.commands, &mut main, &mut stored)?;
        ensure!(main.replies == stored.replies, "replies {:?}, stored {:?}", main.replies, stored.replies);
        ensure!(main.effects == stored.effects, "effects {:?}, stored {:?}", main.effects, stored.effects);
        self.shard.compare(&self.main)?;
        let after = self.chunks();
        if after.0 > before.0 {
            self.coverage.met("chunk of sequences crossed");
        }
        if after.1 > before.1 {
            self.coverage.met("chunk of tokens crossed");
        }
        invariants::check(&self.main).map_err(|why| format!("invariant: {why}"))?;
        self.same_digest("after the entry")?;
        if matches!(step.checkpoint, Checkpoint::None) && step.spill.is_none() {
            return Ok(());
        }
        self.checkpoint(step)?;
        invariants::check(&self.stored).map_err(|why| format!("invariant of the stored machine: {why}"))?;
        self.same_digest("after the checkpoint")?;
        for uid in self.shard.queues.keys() {
            let (main, stored) = (self.main.queue_info(*uid), self.stored.queue_info(*uid));
            ensure!(main == stored, "{main:?}, stored {stored:?}");
        }
        Ok(())
    }

    /// How often sequences and tokens have crossed a border of 64, at which the machine keeps them in separate chunks.
    fn chunks(&self) -> (u64, u64) {
        let queues = || self.shard.queues.values();
        (
            queues().map(|queue| queue.next_sequence / 64).sum(),
            queues().map(|queue| queue.next_token / 64).sum(),
        )
    }

    fn checkpoint(&mut self, step: &Step) -> Check {
        match step.checkpoint {
            Checkpoint::None => {}
            Checkpoint::TakeOfMain => self.main_rows.checkpoint(&mut self.main, true),
            Checkpoint::Take { sweep } => self.rows.checkpoint(&mut self.stored, sweep),
            Checkpoint::Reload { sweep } => {
                self.rows.checkpoint(&mut self.stored, sweep);
                self.stored = self.rows.load(KIND).map_err(|why| format!("{why}"))?;
                let leased = self.shard.queues.values().any(|queue| queue.leased_count() > 0);
                self.coverage.met(if leased { "loaded with leases" } else { "loaded" });
            }
        }
        if let Some((uid, through)) = step.spill {
            let before = self.stored.resident_bytes();
            let freed = self.stored.spill(uid, through);
            let after = self.stored.resident_bytes();
            ensure!(before - freed == after, "{before} resident, {freed} freed, {after} left");
        }
        Ok(())
    }

    fn same_digest(&self, when: &str) -> Check {
        let (main, stored) = (self.main.digest(), self.stored.digest());
        ensure!(main == stored, "{when}: digest {main:016x}, stored {stored:016x}");
        let times = (self.main.now_ms(), self.main.applied_index());
        let stored_times = (self.stored.now_ms(), self.stored.applied_index());
        ensure!(times == stored_times, "{when}: {times:?}, stored {stored_times:?}");
        Ok(())
    }

    /// Replaces spilled payloads by what the checkpoint's pages hold.
    fn read_back(&mut self, kinds: &[CommandKind], main: &mut Applied, stored: &mut Applied) -> Check {
        let pairs = deliveries(kinds, main).into_iter().zip(deliveries(kinds, stored));
        for ((_, main), (uid, stored)) in pairs {
            let Payload::Spilled(bytes) = stored.payload else { continue };
            let Some(key) = self.stored.page_key_of(uid, stored.sequence) else {
                // Settled in the same entry: there is no page any more, and nobody will read it.
                main.payload = Payload::Spilled(bytes);
                continue;
            };
            let row = self.rows.rows.get(&key).ok_or_else(|| format!("no row for {stored:?}"))?;
            let payload = Machine::payload_in_page(row, stored.sequence).map_err(|why| why.to_string())?;
            let payload = payload.ok_or_else(|| format!("the page does not hold {stored:?}"))?;
            ensure!(payload.len() == bytes as usize, "{} bytes in the page of {stored:?}", payload.len());
            stored.payload = Payload::Resident(payload);
            self.coverage.met("read back");
        }
        Ok(())
    }
}

/// All deliveries of an entry with their queues.
fn deliveries<'a>(kinds: &[CommandKind], applied: &'a mut Applied) -> Vec<(u64, &'a mut Delivery)> {
    let mut all = Vec::new();
    for effect in &mut applied.effects {
        if let Effect::Deliver { uid, delivery, .. } = effect {
            all.push((*uid, delivery));
        }
    }
    for (kind, reply) in kinds.iter().zip(&mut applied.replies) {
        if let (CommandKind::Receive(receive), Reply::Received { deliveries, .. }) = (kind, reply) {
            all.extend(deliveries.iter_mut().map(|delivery| (receive.uid, delivery)));
        }
    }
    all
}
