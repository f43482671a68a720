//! What committed entries set in motion on this node: machine time, due times, deliveries.
//!
//! Called in the apply path of every replica, leader or not. Invariant: nothing here blocks or waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use phalanx_raft::EffectSink;
use phalanx_state_machine::ids::{GroupId, TimestampMs};
use phalanx_state_machine::machine::Machine;
use phalanx_state_machine::reply::Effect;
use tokio::sync::watch;

use crate::clock::{Clock, MachineClock};
use crate::dispatch::Dispatcher;

/// What the node keeps beside each machine. Made before the groups are opened, since they apply while they open.
pub struct Sink {
    clock: Arc<dyn Clock>,
    dispatcher: Arc<Dispatcher>,
    tracks: Mutex<BTreeMap<GroupId, Arc<Track>>>,
}

struct Track {
    clock: Arc<MachineClock>,
    due: watch::Sender<Option<TimestampMs>>,
    applied: watch::Sender<u64>,
    chores: watch::Sender<bool>,
    outgoing: watch::Sender<u64>,
    /// Entry at which this replica's state was last found not to be its leader's; 0: it was not, or was not compared since it started.
    diverged_at: Arc<AtomicU64>,
}

impl Sink {
    /// For a node that hosts no group yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, dispatcher: Arc<Dispatcher>) -> Arc<Self> {
        Arc::new(Self { clock, dispatcher, tracks: Mutex::new(BTreeMap::new()) })
    }

    fn track(&self, group: GroupId) -> Arc<Track> {
        let mut tracks = self.tracks.lock();
        let track = tracks.entry(group).or_insert_with(|| {
            Arc::new(Track {
                clock: Arc::new(MachineClock::new(Arc::clone(&self.clock))),
                due: watch::Sender::new(None),
                applied: watch::Sender::new(0),
                chores: watch::Sender::new(false),
                outgoing: watch::Sender::new(0),
                diverged_at: Arc::default(),
            })
        });
        Arc::clone(track)
    }

    /// The machine clock of a group.
    #[must_use]
    pub fn clock_of(&self, group: GroupId) -> Arc<MachineClock> {
        Arc::clone(&self.track(group).clock)
    }

    /// When a `Tick` of a group would do something.
    #[must_use]
    pub fn due_of(&self, group: GroupId) -> watch::Receiver<Option<TimestampMs>> {
        self.track(group).due.subscribe()
    }

    /// Whether there is something for the leader of a group to do beside ticks.
    #[must_use]
    pub fn chores_of(&self, group: GroupId) -> watch::Receiver<bool> {
        self.track(group).chores.subscribe()
    }

    /// Changes when a binding of a group has come to have something to carry.
    #[must_use]
    pub fn outgoing_of(&self, group: GroupId) -> watch::Receiver<u64> {
        self.track(group).outgoing.subscribe()
    }

    /// Where a group's replica was found to differ from its leader's; 0 while it was not.
    #[must_use]
    pub fn diverged_of(&self, group: GroupId) -> Arc<AtomicU64> {
        Arc::clone(&self.track(group).diverged_at)
    }

    /// Index of the entry that a group applied last: changes with every entry.
    #[must_use]
    pub fn applied_of(&self, group: GroupId) -> watch::Receiver<u64> {
        self.track(group).applied.subscribe()
    }
}

impl EffectSink for Sink {
    fn applied(&self, group: GroupId, machine: &Machine, effects: Vec<Effect>) {
        let track = self.track(group);
        track.clock.observe(machine.now_ms());
        let due = machine.next_due_ms();
        track.due.send_if_modified(|old| std::mem::replace(old, due) != due);
        let chores = machine.has_chores();
        track.chores.send_if_modified(|old| std::mem::replace(old, chores) != chores);
        let outgoing = machine.outgoing_count();
        track.outgoing.send_if_modified(|old| std::mem::replace(old, outgoing) != outgoing);
        track.applied.send_replace(machine.applied_index());
        self.dispatcher.applied(group, effects);
    }

    fn compared(&self, group: GroupId, index: u64, agrees: bool) {
        self.track(group).diverged_at.store(if agrees { 0 } else { index }, Ordering::Relaxed);
        if agrees {
            return;
        }
        tracing::error!(
            group_id = group,
            index,
            "the state of this replica is not its leader's: compare the digests of `cluster status` and see docs/operating"
        );
    }
}
