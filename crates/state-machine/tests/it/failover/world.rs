//! The world: three replicas, a producer, two consumers, and everything that may happen to them.
//!
//! Invariant: what can happen next, and what it leads to, depends on what is hashed alone; then the order of the search makes no
//! difference to the number of states.

use std::collections::BTreeSet;
use std::sync::Arc;

use phalanx_state_machine::command::{CommandKind, PutQueue, QueueSettings, TermStart, Tick};
use phalanx_state_machine::machine::Machine;
use phalanx_state_machine::reply::{Reply, SettleOutcome, SettleResult};

use super::FailOver;
use super::bounds::Bounds;
use super::client::{Client, Deed, Op, settle};
use super::planted::Planted;
use super::replica::{CHECKPOINTS, Committed, LEASE_MS, Node, Past, UID, forget_sends};
use super::witness::{REPLICAS, SEND_REMEMBERED, SNAPSHOT_ANSWERS, SUFFIX_LOST, When, Witness};
use crate::support::Rows;

const START_MS: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A client asks for something new; the leader proposes it.
    Ask(Op),
    /// The leader proposes what was asked before: the client asks again, or the network brings a copy.
    Again(Op),
    /// The oldest proposal is committed. The client hears of it, or the answer is lost.
    Commit { heard: bool },
    /// A lease's time passes, for all.
    Wait,
    /// A follower leads: so many proposals survive, the others are lost.
    FailOver { follower: usize, survive: usize },
    /// A follower restarts from its checkpoint of so many entries ago and applies them again.
    Restart { follower: usize, behind: usize },
    /// A follower restarts from a snapshot of the leader.
    Install { follower: usize },
    /// The producer restarts and forgets its sequences.
    Forget,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Proposal {
    op: Op,
    /// As the leader stamped it.
    now_ms: u64,
    /// The true time then, in leases.
    leases: u8,
    /// Asked before.
    again: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    term: u64,
    leases: u8,
    leader: Node,
    /// Sorted: which is which makes no difference.
    followers: [Node; 2],
    /// Digests before the last entry and before the one before it: what a checkpoint may hold.
    before: [u64; CHECKPOINTS],
    proposals: Vec<Proposal>,
    clients: [Client; 3],
    left: Bounds,
    /// When the machine has something to do by time alone.
    due_ms: Option<u64>,
    /// A planted bug: clients are told tokens that begin anew with each term, after this many.
    untold: u64,
    pub witness: Witness,
    log: Past<Vec<Arc<Committed>>>,
}

impl World {
    pub fn new(model: &FailOver) -> Self {
        let settings = QueueSettings { lease_ms: LEASE_MS, ..Default::default() };
        let put = PutQueue { uid: UID, version: 1, settings, ..Default::default() };
        let mut world = Self {
            term: 1,
            leases: 0,
            leader: Node::default(),
            followers: Default::default(),
            before: [0; CHECKPOINTS],
            proposals: Vec::new(),
            clients: Default::default(),
            left: model.bounds,
            due_ms: None,
            untold: 0,
            witness: Witness::default(),
            log: Past::default(),
        };
        world.commit(START_MS, vec![CommandKind::PutQueue(put), term(1)]);
        world
    }

    pub fn actions(&self, model: &FailOver, actions: &mut Vec<Action>) {
        if self.witness.broken & model.judged != 0 {
            return; // shown: what follows from it says nothing new
        }
        if self.proposals.len() < usize::from(model.bounds.proposals) {
            self.asks(model, actions);
        }
        if !self.proposals.is_empty() {
            actions.push(Action::Commit { heard: true });
            if self.left.lost_answers > 0 {
                actions.push(Action::Commit { heard: false });
            }
        }
        if self.left.waits > 0 {
            actions.push(Action::Wait);
        }
        if self.left.forgets > 0 && self.clients[0].count > 0 {
            actions.push(Action::Forget);
        }
        let alike = self.followers[0] == self.followers[1];
        for follower in 0..if alike { 1 } else { 2 } {
            if self.left.fail_overs > 0 {
                let survive = 0..=self.proposals.len();
                actions.extend(survive.map(|survive| Action::FailOver { follower, survive }));
            }
            if self.left.restarts > 0 {
                actions.push(Action::Install { follower });
                // What its process began with is as far back as it can go.
                let behind =
                    [0, CHECKPOINTS].into_iter().filter(|back| *back <= self.followers[follower].applied);
                actions.extend(behind.map(|behind| Action::Restart { follower, behind }));
            }
        }
    }

    fn asks(&self, model: &FailOver, actions: &mut Vec<Action>) {
        let (producer, bounds) = (&self.clients[0], &model.bounds);
        if producer.waits.len() < usize::from(bounds.pipeline) && producer.count < bounds.messages {
            actions.push(Action::Ask(producer.next_send()));
        }
        for consumer in 1..=2 {
            let client = &self.clients[usize::from(consumer)];
            // Consumers are alike: the second begins after the first.
            let begun = consumer == 1 || self.clients[1].count > 0;
            if !client.waits.is_empty() || !begun {
                continue;
            }
            if client.count < bounds.receives {
                actions.push(Action::Ask(Op::Receive { consumer, request: client.count + 1 }));
            }
            for (token, deed) in client.hand.iter().flat_map(|token| Deed::ALL.map(|deed| (*token, deed))) {
                let op = Op::Settle { consumer, token, deed };
                if (deed == Deed::Ack || self.left.other_deeds > 0) && !client.asked.contains(&op) {
                    actions.push(Action::Ask(op));
                }
            }
        }
        let proposed: BTreeSet<Op> = self.proposals.iter().map(|proposal| proposal.op).collect();
        for client in &self.clients {
            let free = |op: &Op| client.waits.contains(op) && !proposed.contains(op);
            let again = client.asked.iter().filter(|op| free(op) || self.left.copies > 0);
            actions.extend(again.map(|op| Action::Again(*op)));
        }
        let is_due = self.due_ms.is_some_and(|due_ms| due_ms <= self.leader.clock_ms);
        if is_due && !proposed.contains(&Op::Tick) {
            actions.push(Action::Ask(Op::Tick));
        }
    }

    pub fn step(&mut self, action: Action, model: &FailOver) {
        self.witness.met = 0;
        match action {
            Action::Ask(op) => self.ask(op, model),
            Action::Again(op) => {
                let copy = !self.clients[op.client()].waits.contains(&op)
                    || self.proposals.iter().any(|proposal| proposal.op == op);
                self.left.copies -= u8::from(copy);
                self.propose(op, true);
            }
            Action::Commit { heard } => {
                self.left.lost_answers -= u8::from(!heard);
                let (op, reply) = self.commit_oldest(model);
                let taken = heard && op != Op::Tick && self.clients[op.client()].hear(op, &reply);
                if let (true, Op::Send { message, .. }) = (taken, op) {
                    self.witness.confirmed |= 1 << message;
                }
            }
            Action::Wait => {
                self.left.waits -= 1;
                self.leases += 1;
                let nodes = self.followers.iter_mut().chain([&mut self.leader]);
                nodes.for_each(|node| node.clock_ms += LEASE_MS);
            }
            Action::FailOver { follower, survive } => self.fail_over(follower, survive, model),
            Action::Restart { follower, behind } => self.restart(follower, behind, model),
            Action::Install { follower } => {
                self.left.restarts -= 1;
                let begun = self.log.len();
                let held = begun - usize::from(model.planted == Planted::SnapshotIsOld);
                let mut rows = self.leader.checkpoint(&self.log[..held]);
                if model.planted == Planted::SnapshotForgetsSends {
                    forget_sends(&mut rows);
                }
                self.followers[follower].begin(rows, begun, &self.log);
                self.compare(follower);
            }
            Action::Forget => {
                self.left.forgets -= 1;
                self.clients[0].begin();
            }
        }
        if self.left.restarts == 0 {
            // Nobody will ask for a checkpoint again: what they held makes no difference any more.
            self.before = [0; CHECKPOINTS];
            self.followers.iter_mut().chain([&mut self.leader]).for_each(|node| node.applied = 0);
        }
        self.followers.sort_by_key(|node| (node.digest, node.clock_ms, node.began_as, node.applied));
    }

    fn ask(&mut self, op: Op, model: &FailOver) {
        if op != Op::Tick {
            self.clients[op.client()].ask(op);
        }
        if let Op::Settle { deed: Deed::Nack | Deed::Extend, .. } = op {
            self.left.other_deeds -= 1;
        }
        self.propose(op, false);
        if let (Planted::ConfirmsEarly, Op::Send { message, .. }) = (model.planted, op) {
            self.witness.confirmed |= 1 << message;
        }
    }

    fn propose(&mut self, op: Op, again: bool) {
        let (now_ms, leases) = (self.leader.clock_ms, self.leases);
        self.proposals.push(Proposal { op, now_ms, leases, again });
    }

    fn fail_over(&mut self, follower: usize, survive: usize, model: &FailOver) {
        self.left.fail_overs -= 1;
        for _ in 0..survive {
            self.commit_oldest(model);
        }
        let lost = std::mem::take(&mut self.proposals);
        if !lost.is_empty() {
            self.witness.met |= SUFFIX_LOST;
        }
        if model.planted == Planted::LosesCommitted && self.log.len() > 1 {
            self.log.pop();
        }
        std::mem::swap(&mut self.leader, &mut self.followers[follower]);
        self.term += 1;
        let mut commands = vec![term(self.term)];
        match model.planted {
            Planted::OwnClock => self.leader.clock_ms += LEASE_MS,
            Planted::TermEndsLeases => {
                let open = self.clients.iter().zip(0..).flat_map(|(client, number)| {
                    client.hand.iter().map(move |token| settle(number, Deed::Nack, *token))
                });
                commands.extend(open);
            }
            Planted::TokensRestart => {
                let (machine, _) = self.leader.machine(&self.log);
                self.untold = machine.queue_info(UID).map_or(0, |info| info.next_token - 1);
            }
            Planted::KeepsLostSuffix => {
                let more = lost.iter().map(|proposal| self.committed(proposal, model));
                let log: Vec<_> = self.log.iter().cloned().chain(more).collect();
                let rows = self.followers[follower].checkpoint(&log);
                self.followers[follower].begin(rows, self.log.len(), &self.log);
            }
            _ => {}
        }
        self.commit(self.leader.clock_ms, commands);
    }

    fn restart(&mut self, follower: usize, behind: usize, model: &FailOver) {
        self.left.restarts -= 1;
        let begun = self.log.len() - behind;
        let mut rows: Rows = self.followers[follower].checkpoint(&self.log[..begun]);
        if model.planted == Planted::SnapshotForgetsSends {
            forget_sends(&mut rows);
        }
        let begun = if model.planted == Planted::RestartForgets { self.log.len() } else { begun };
        self.followers[follower].begin(rows, begun, &self.log);
        self.compare(follower);
    }

    /// A replica that applied the same entries is the same.
    fn compare(&mut self, follower: usize) {
        if self.followers[follower].digest != self.leader.digest {
            self.witness.broken |= REPLICAS;
        }
    }

    fn committed(&self, proposal: &Proposal, model: &FailOver) -> Arc<Committed> {
        let command = proposal.op.command(proposal.again, model.planted, &self.witness);
        Arc::new(Committed { now_ms: proposal.now_ms, commands: vec![command] })
    }

    fn commit_oldest(&mut self, model: &FailOver) -> (Op, Reply) {
        let proposal = self.proposals.remove(0);
        let mut command = proposal.op.command(proposal.again, model.planted, &self.witness);
        let unwritten = match proposal.op {
            Op::Settle { token, deed: Deed::Ack, .. } if model.planted == Planted::AcksUnwritten => {
                Some(token)
            }
            _ => None,
        };
        if unwritten.is_some() {
            command = CommandKind::Tick(Tick {});
        }
        let (mut replies, machine) = self.commit_only(proposal.now_ms, vec![command]);
        let mut reply = replies.swap_remove(0);
        if let Some(token) = unwritten {
            reply = Reply::Settled { outcomes: vec![SettleOutcome { token, result: SettleResult::Acked }] };
        }
        if let Reply::Received { deliveries, .. } = &mut reply {
            let new = deliveries.iter_mut().filter(|delivery| delivery.token > self.untold);
            new.for_each(|delivery| delivery.token -= self.untold);
        }
        let when = When { term: self.term, leases: proposal.leases, now_ms: machine.now_ms() };
        self.witness.note(proposal.op, &reply, when);
        self.witness.inspect(machine);
        if self.leader.rows.is_some() && self.witness.met & SEND_REMEMBERED != 0 {
            self.witness.met |= SNAPSHOT_ANSWERS;
        }
        (proposal.op, reply)
    }

    fn commit(&mut self, now_ms: u64, commands: Vec<CommandKind>) {
        let (_, machine) = self.commit_only(now_ms, commands);
        self.witness.inspect(machine);
    }

    /// Every replica applies an entry: the leader's answers and machine.
    fn commit_only(&mut self, now_ms: u64, commands: Vec<CommandKind>) -> (Vec<Reply>, Machine) {
        self.log.push(Arc::new(Committed { now_ms, commands }));
        let (machine, replies) = self.leader.machine(&self.log);
        self.before = [self.leader.digest, self.before[0]];
        self.leader.applied(machine.digest());
        // A leader's clock runs on; a follower's begins with each entry.
        self.leader.clock_ms = self.leader.clock_ms.max(machine.now_ms());
        self.due_ms = machine.next_due_ms();
        for follower in &mut self.followers {
            let agrees = if follower.rows.is_none() && self.leader.rows.is_none() {
                follower.applied(self.leader.digest); // one and the same computation
                true
            } else {
                let (other, same) = follower.machine(&self.log);
                follower.applied(other.digest());
                follower.digest == self.leader.digest && same == replies
            };
            follower.clock_ms = machine.now_ms();
            self.witness.broken |= if agrees { 0 } else { REPLICAS };
        }
        (replies, machine)
    }
}

fn term(term: u64) -> CommandKind {
    CommandKind::TermStart(TermStart { term, leader: 1 })
}
