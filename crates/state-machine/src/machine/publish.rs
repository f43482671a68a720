//! Publishing to a topic, and subscriptions that come, change and go.
//!
//! One entry appends the messages to the topic and says to every subscription that matches what waits for it: all of it or nothing.

use phalanx_canary::Canary;

use super::flow::Flow;
use super::{Machine, gone, invalid, kind_of, mark};
use crate::command::{PutQueue, Send, Source};
use crate::ids::QueueUid;
use crate::queue::{Queue, Routes, Turn, conditions};
use crate::reply::{Effect, Rejection, Reply};

impl Machine {
    pub(super) fn publish(&mut self, send: &Send, effects: &mut Vec<Effect>) -> Reply {
        let now_ms = self.now_ms;
        let Some(topic) = self.topics.get_mut(&send.uid) else { return gone() };
        mark(&mut self.touched, topic);
        let reply = topic.send(&mut Turn { now_ms, effects, topic: None }, send);
        let routes = topic.take_routes();
        let mut flow = Flow::default();
        self.spread(send.uid, &routes, &mut flow, effects);
        self.follow(flow, effects);
        reply
    }

    /// Tells the subscriptions of a topic what was published, and `flow` which bindings have something to carry on.
    pub(super) fn spread(
        &mut self,
        uid: QueueUid,
        routes: &Routes,
        flow: &mut Flow,
        effects: &mut Vec<Effect>,
    ) {
        let now_ms = self.now_ms;
        let Some(topic) = self.topics.get_mut(&uid) else { return };
        let count = routes.sequences.end - routes.sequences.start;
        let bytes = routes.sequences.clone().map(|sequence| u64::from(topic.bytes_of(sequence))).sum();
        for uid in &routes.every {
            if let Some(subscription) = self.queues.get_mut(uid) {
                subscription.note_every(count, bytes);
            }
        }
        for (sequence, uid) in &routes.some {
            if Canary::FanOutSkips.is_planted() && sequence % 7 == 0 {
                continue;
            }
            if let Some(subscription) = self.queues.get_mut(uid) {
                subscription.note_match(topic, *sequence);
            }
        }
        for uid in routes.subscriptions() {
            let Some(subscription) = self.queues.get_mut(&uid) else { continue };
            mark(&mut self.touched, subscription);
            if subscription.target().is_some() {
                flow.bindings.push_back((uid, routes.sequences.start));
                continue;
            }
            subscription.assign(&mut Turn { now_ms, effects, topic: Some(topic) });
            subscription.tell_released(topic);
        }
        flow.topics.push((uid, usize::try_from(count).unwrap_or(usize::MAX)));
    }

    /// Makes the subscription or binding, or brings it to a newer version.
    pub(super) fn put_subscription(&mut self, put: &PutQueue, source: &Source) -> Reply {
        let Some(topic) = self.topics.get_mut(&source.topic) else { return gone() };
        if put.kind() != kind_of(put) || put.uid <= source.topic {
            return invalid("a subscription comes after its topic");
        }
        if let Err(why) = conditions(source) {
            return Reply::Rejected(Rejection::Invalid(why));
        }
        if let Some(subscription) = self.queues.get_mut(&put.uid) {
            let target = (source.target != 0).then_some(source.target);
            if subscription.topic_uid() != Some(source.topic) || subscription.target() != target {
                return invalid("a subscription stays with its topic, and a binding with what it feeds");
            }
            mark(&mut self.touched, subscription);
            mark(&mut self.touched, topic);
            return subscription.put_source(self.now_ms, topic, put, source);
        }
        let mut subscription = Queue::new(put);
        subscription.use_now(self.now_ms);
        subscription.start_behind(topic);
        let enrolled = topic.enrol(put.uid, source, subscription.cursor());
        if let Err(rejection) = enrolled {
            return Reply::Rejected(rejection);
        }
        if let Some(place) = &put.start {
            subscription.start_at_place(topic, place);
        }
        mark(&mut self.touched, topic);
        mark(&mut self.touched, &mut subscription);
        self.queues.insert(put.uid, subscription);
        Reply::Done
    }
}
