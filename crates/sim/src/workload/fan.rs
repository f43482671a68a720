//! A topic and its subscriptions, by the only client that uses them: some are there from the beginning, others come and go.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use phalanx_client::{Conditions, Error, Message, Place, QueueSettings, SubscriptionSettings, TopicSettings};

use super::{Actor, DEDUP_WINDOW, RESUME, Stage, number_of};
use crate::history::{End, FIRST_BINDING, Fan, Look, Published, What, conditions};

/// Subscriptions 1 to this are there from the beginning, one of each kind.
const FIRST: u64 = 4;
/// Most that come later.
const LATER_MAX: u64 = 4;
/// Bindings that are there from the beginning: of each kind one, the first over another topic.
const FIRST_BINDINGS: u64 = 3;
/// Most that come later.
const LATER_BINDINGS_MAX: u64 = 3;
/// Most messages of some of the queues that bindings feed.
const BOUND_LENGTH_MAX: u64 = 6;
/// Most messages of one receive.
const RECEIVE_MAX: u32 = 6;
/// Most times that subscriptions go back to the first message.
const REWINDS_MAX: u64 = 3;
/// For longer than any run.
const RETAIN: Duration = Duration::from_secs(3_600);
/// How long a receive waits.
const WAIT_MAX_MS: u64 = 60;

struct Fans {
    actor: Actor,
    /// Subscriptions that are there.
    there: Vec<u64>,
    /// The newest number that was given.
    last: u64,
    rewinds: u64,
    /// Bindings that are there.
    bound: Vec<u64>,
    /// Bindings that were asked for.
    bindings: u64,
    /// Queues that bindings feed, or have fed, by the number of the binding.
    fed: Vec<u64>,
}

pub(super) async fn run(actor: Actor) {
    let (there, bound, fed) = (Vec::new(), Vec::new(), Vec::new());
    let mut fans = Fans { actor, there, last: 0, rewinds: 0, bound, bindings: 0, fed };
    fans.prepare().await;
    while fans.works() {
        fans.publish().await;
        match fans.actor.random.within(0..100) {
            0..6 if fans.last < FIRST + LATER_MAX => {
                fans.last += 1;
                let from_start = fans.actor.random.chance(50);
                fans.subscribe(fans.last, from_start).await;
            }
            6..10 => fans.unsubscribe().await,
            10..12 if fans.rewinds < REWINDS_MAX => {
                fans.rewinds += 1;
                let subscription = *fans.actor.random.pick(&fans.there);
                fans.rewind(subscription).await;
            }
            12..16 if fans.bindings < FIRST_BINDINGS + LATER_BINDINGS_MAX => {
                let from_start = fans.actor.random.chance(50);
                fans.bind(from_start).await;
            }
            16..18 => fans.unbind().await,
            18..50 => {
                let subscription = *fans.actor.random.pick(&fans.there);
                fans.receive(subscription).await;
            }
            50..75 => {
                let binding = *fans.actor.random.pick(&fans.fed);
                fans.receive_carried(binding).await;
            }
            _ => {}
        }
        fans.actor.pause(10..120).await;
    }
    fans.actor.board.sending.fetch_sub(1, Relaxed);
    while fans.actor.board.stage() != Stage::Over {
        for subscription in fans.there.clone() {
            fans.receive(subscription).await;
        }
        for binding in fans.fed.clone() {
            fans.receive_carried(binding).await;
        }
        fans.actor.pause(20..100).await;
    }
}

impl Fans {
    fn works(&self) -> bool {
        self.actor.board.stage() == Stage::Work
    }

    fn tell(&self, event: Fan) {
        self.actor.recorder.add(What::Fan(event));
    }

    fn name(&self) -> String {
        format!("topic-{}", self.actor.queue.number)
    }

    /// The topic and the first subscriptions, however long it takes.
    async fn prepare(&mut self) {
        let settings = TopicSettings {
            dedup_window: Some(DEDUP_WINDOW),
            retain: Some(RETAIN),
            ..TopicSettings::default()
        };
        while self.actor.client.admin().create_topic(&self.name(), settings.clone()).await.is_err() {
            self.actor.pause(50..150).await;
        }
        self.last = FIRST;
        for number in 1..=FIRST {
            self.subscribe(number, false).await;
        }
        for _ in 0..FIRST_BINDINGS {
            self.bind(false).await;
        }
    }

    /// A queue, and a binding that feeds it: over a topic of its own if it is the first of all.
    async fn bind(&mut self, from_start: bool) {
        let number = FIRST_BINDING + self.bindings;
        self.bindings += 1;
        self.tell(Fan::Asked { subscription: number });
        if from_start {
            self.tell(Fan::Rewinding { subscription: number });
        }
        let (queue, topic, name) = (self.fed_by(number), self.name(), format!("b{number}"));
        let length_max = number.is_multiple_of(2).then_some(BOUND_LENGTH_MAX);
        let settings =
            QueueSettings { lease: Some(self.actor.queue.lease), length_max, ..QueueSettings::default() };
        let admin = self.actor.client.admin();
        while admin.create_queue(&queue, settings.clone()).await.is_err() {
            self.actor.pause(50..150).await;
        }
        let mut target = queue;
        if number == FIRST_BINDING {
            let hub = format!("{topic}-hub");
            while admin.create_topic(&hub, TopicSettings::default()).await.is_err() {
                self.actor.pause(50..150).await;
            }
            while admin.create_binding(&hub, &name, &target, Conditions::default(), None).await.is_err() {
                self.actor.pause(50..150).await;
            }
            target = hub;
        }
        let place = if from_start { Place::Earliest } else { Place::Latest };
        let (pattern, filter) = conditions(number);
        let taken = Conditions { pattern: pattern.to_owned(), filter: filter.to_owned() };
        while let Err(error) =
            admin.create_binding(&topic, &name, &target, taken.clone(), Some(place.clone())).await
        {
            crate::trace::record(&format!("bind {name}: {error}"));
            self.actor.pause(50..150).await;
        }
        self.tell(Fan::Made { subscription: number });
        if from_start {
            self.tell(Fan::Rewound { subscription: number });
        }
        self.bound.push(number);
        self.fed.push(number);
    }

    /// The queue that a binding feeds.
    fn fed_by(&self, binding: u64) -> String {
        format!("{}-fed-{binding}", self.name())
    }

    /// One that came later goes, whatever waits in it.
    async fn unbind(&mut self) {
        let Some(at) = self.bound.iter().position(|number| *number >= FIRST_BINDING + FIRST_BINDINGS) else {
            return;
        };
        let number = self.bound.remove(at);
        self.tell(Fan::Doomed { subscription: number });
        let (topic, name) = (self.name(), format!("b{number}"));
        let admin = self.actor.client.admin();
        loop {
            match admin.delete_binding(&topic, &name).await {
                Ok(()) | Err(Error::QueueNotFound { .. }) => return,
                Err(error) => crate::trace::record(&format!("unbind {name}: {error}")),
            }
            self.actor.pause(50..150).await;
        }
    }

    /// With what is published from now on, or with the first message.
    async fn subscribe(&mut self, number: u64, from_start: bool) {
        self.tell(Fan::Asked { subscription: number });
        if from_start {
            self.tell(Fan::Rewinding { subscription: number });
        }
        let place = if from_start { Place::Earliest } else { Place::Latest };
        let (pattern, filter) = conditions(number);
        let settings = SubscriptionSettings {
            pattern: pattern.to_owned(),
            filter: filter.to_owned(),
            lease: Some(self.actor.queue.lease),
            resume: Some(RESUME),
            ..SubscriptionSettings::default()
        };
        let (topic, name) = (self.name(), format!("s{number}"));
        let admin = self.actor.client.admin();
        while let Err(error) =
            admin.create_subscription_at(&topic, &name, settings.clone(), place.clone()).await
        {
            crate::trace::record(&format!("subscribe {name}: {error}"));
            self.actor.pause(50..150).await;
        }
        self.tell(Fan::Made { subscription: number });
        if from_start {
            self.tell(Fan::Rewound { subscription: number });
        }
        self.there.push(number);
    }

    /// Back to the first message.
    async fn rewind(&mut self, number: u64) {
        self.tell(Fan::Rewinding { subscription: number });
        let (topic, name) = (self.name(), format!("s{number}"));
        let admin = self.actor.client.admin();
        while let Err(error) = admin.seek_subscription(&topic, &name, Place::Earliest).await {
            crate::trace::record(&format!("rewind {name}: {error}"));
            self.actor.pause(50..150).await;
        }
        self.tell(Fan::Rewound { subscription: number });
    }

    /// One that came later goes, whatever waits for it.
    async fn unsubscribe(&mut self) {
        let Some(at) = self.there.iter().position(|number| *number > FIRST) else { return };
        let number = self.there.remove(at);
        self.tell(Fan::Doomed { subscription: number });
        let (topic, name) = (self.name(), format!("s{number}"));
        let admin = self.actor.client.admin();
        loop {
            match admin.delete_subscription(&topic, &name).await {
                Ok(()) | Err(Error::QueueNotFound { .. }) => return,
                Err(error) => crate::trace::record(&format!("unsubscribe {name}: {error}")),
            }
            self.actor.pause(50..150).await;
        }
    }

    async fn publish(&mut self) {
        let message = self.actor.board.message();
        let look = Look { is_a: self.actor.random.chance(50), n: self.actor.random.within(1..4) };
        let key = if look.is_a { "a" } else { "b" };
        let body = Bytes::copy_from_slice(&message.to_be_bytes());
        let send = Message::new(body).routing_key(key).header("n", look.n.to_string());
        let end = match self.actor.client.send(self.name(), [send]).await {
            Ok(sent) => match sent.first() {
                Some(sent) => End::Known(Published { sequence: sent.sequence, matched: sent.matched }),
                None => End::Unknown("an empty answer".to_owned()),
            },
            Err(error) if error.is_outcome_unknown() => End::Unknown(error.to_string()),
            Err(error) => End::Refused(error.to_string()),
        };
        self.tell(Fan::Published { message, look, end });
    }

    async fn receive(&mut self, subscription: u64) {
        let queue = format!("{}/s{subscription}", self.name());
        self.receive_from(&queue, |message, sequence| Fan::Delivered { subscription, message, sequence })
            .await;
    }

    /// What a binding has carried.
    async fn receive_carried(&mut self, binding: u64) {
        let queue = self.fed_by(binding);
        self.receive_from(&queue, |message, sequence| Fan::Carried { binding, message, sequence }).await;
    }

    async fn receive_from(&mut self, queue: &str, told: impl Fn(u64, u64) -> Fan) {
        let wait = Duration::from_millis(self.actor.random.within(0..WAIT_MAX_MS));
        let receiver = self.actor.client.receiver(queue);
        let Ok(deliveries) = receiver.receive(RECEIVE_MAX, wait).await else { return };
        for delivery in deliveries {
            let (message, sequence) = (number_of(delivery.body()), delivery.sequence());
            self.tell(told(message, sequence));
            let gives_back = self.works() && self.actor.random.chance(20);
            let settled = if gives_back { delivery.nack(Duration::ZERO).await } else { delivery.ack().await };
            if let Err(error) = settled {
                crate::trace::record(&format!("settle {sequence} of {queue}: {error}"));
            }
        }
    }
}
