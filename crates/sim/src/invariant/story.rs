//! Tells small histories for the tests of the rules.

use crate::history::{
    Action, Bounds, Delivered, End, Event, History, Identity, Op, Placed, Replica, Returned, Sending,
    Settled, What,
};

/// Simulated time between two events, µs.
const STEP_US: u64 = 10_000;

/// A history that is being told; events are 10 ms apart unless said otherwise.
#[derive(Clone, Default)]
pub struct Story {
    history: History,
    now_us: u64,
    op: Op,
}

impl Story {
    pub fn new() -> Self {
        let mut story = Self::default();
        story.history.bounds = Bounds { resume_ms: 2_000, transit_ms: 100 };
        story
    }

    pub fn add(&mut self, what: What) -> &mut Self {
        self.now_us += STEP_US;
        self.history.events.push(Event { at_us: self.now_us, what });
        self
    }

    pub fn pass_ms(&mut self, ms: u64) -> &mut Self {
        self.now_us += ms * 1_000;
        self
    }

    pub fn begin(&mut self, what: impl FnOnce(Op) -> What) -> Op {
        self.op += 1;
        let op = self.op;
        self.add(what(op));
        op
    }

    /// A send of one message that is confirmed at `sequence`.
    pub fn sent(&mut self, identity: Identity, sending: Sending, sequence: u64) -> &mut Self {
        let op = self.begin(|op| What::Send { op, queue: 1, identity, messages: vec![sending] });
        let end = End::Known(vec![Placed { sequence, duplicate: false }]);
        self.add(What::SendEnd { op, end })
    }

    /// An ungrouped message by a stream of its own.
    pub fn plain(&mut self, message: u64, sequence: u64) -> &mut Self {
        self.sent(Identity::Stream { producer: message, place: 0 }, sending(message), sequence)
    }

    /// A message of group 7.
    pub fn grouped(&mut self, message: u64, sequence: u64) -> &mut Self {
        let sending = Sending { group: Some(7), ..sending(message) };
        self.sent(Identity::Stream { producer: message, place: 0 }, sending, sequence)
    }

    pub fn delivered(&mut self, holder: u64, token: u64, message: u64, sequence: u64) -> &mut Self {
        self.redelivered(holder, token, message, sequence, 1, None)
    }

    pub fn redelivered(
        &mut self,
        holder: u64,
        token: u64,
        message: u64,
        sequence: u64,
        attempt: u32,
        redelivery: Option<Returned>,
    ) -> &mut Self {
        self.add(What::Deliver(Delivered {
            queue: 1,
            holder,
            token,
            sequence,
            message,
            attempt,
            redelivery,
            left_ms: 3_000,
        }))
    }

    pub fn settled(&mut self, holder: u64, token: u64, action: Action, end: End<Settled>) -> &mut Self {
        let op = self.begin(|op| What::Settle { op, queue: 1, holder, token, action, left_ms: 2_900 });
        self.add(What::SettleEnd { op, end })
    }

    pub fn acked(&mut self, holder: u64, token: u64) -> &mut Self {
        self.settled(holder, token, Action::Ack, End::Known(Settled::Done))
    }

    pub fn nacked(&mut self, holder: u64, token: u64) -> &mut Self {
        self.settled(holder, token, Action::Nack { delay_ms: 0 }, End::Known(Settled::Done))
    }

    pub fn over(&mut self, holder: u64, token: u64) -> &mut Self {
        self.settled(holder, token, Action::Ack, End::Known(Settled::Over))
    }

    pub fn replica(&mut self, node: u64, applied: u64, digest: u64) -> &mut Self {
        self.add(What::Replica(replica(node, applied, digest)))
    }

    pub fn drained(&mut self) -> &mut Self {
        self.add(What::Drained)
    }

    pub fn end(&self) -> History {
        self.history.clone()
    }

    /// The rule called `name` rejects this history, or every rule accepts it.
    #[track_caller]
    pub fn check(&self, name: &str, is_sound: bool) {
        let violations = super::check(&self.history);
        let broken: Vec<&str> = violations.iter().map(|violation| violation.invariant.as_str()).collect();
        let as_expected = if is_sound { broken.is_empty() } else { broken.contains(&name) };
        assert!(as_expected, "{violations:#?}");
    }
}

pub fn sending(message: u64) -> Sending {
    Sending { message, group: None, dedup: None }
}

pub fn replica(node: u64, applied: u64, digest: u64) -> Replica {
    Replica {
        node,
        start: 1,
        group: 1,
        replica: node,
        term: 1,
        leads: false,
        applied,
        digest,
        now_ms: 0,
        opened: 1,
    }
}
