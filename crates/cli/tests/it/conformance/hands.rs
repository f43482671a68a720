//! The steps that receive and settle.

use std::time::Duration;

use phalanx_client::Delivery;
use tokio::time::Instant;

use super::PATIENCE;
use super::scenario::{Fault, Scenario, check};
use super::step::{Expect, Settle, Step};

impl Scenario<'_> {
    pub(super) async fn receive(&mut self, expect: &Expect) -> Result<(), Fault> {
        let made = || {
            let receiver = self.client.receiver(&self.queue);
            match expect.lease_ms {
                Some(lease_ms) => receiver.lease(Duration::from_millis(lease_ms)),
                None => receiver,
            }
        };
        let name = format!("{} {:?}", expect.consumer, expect.lease_ms);
        let receiver = self.receivers.entry(name).or_insert_with(made);
        let end = end_of(expect);
        let mut came = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            came.extend(receiver.receive(expect.max.unwrap_or(10), left).await?);
            if came.len() >= expect.expect.len().max(1) || Instant::now() >= end {
                return self.came(expect, came);
            }
        }
    }

    pub(super) async fn take(&mut self, expect: &Expect) -> Result<(), Fault> {
        let stream = self.streams.get_mut(&expect.consumer).expect("it was opened");
        let end = end_of(expect);
        let mut came = Vec::new();
        while came.len() < expect.expect.len().max(1) {
            match tokio::time::timeout_at(end, stream.next()).await {
                Ok(Some(delivery)) => came.push(delivery?),
                Ok(None) | Err(_) => break,
            }
        }
        self.came(expect, came)
    }

    fn came(&mut self, expect: &Expect, came: Vec<Delivery>) -> Result<(), Fault> {
        let body = |delivery: &Delivery| String::from_utf8_lossy(delivery.body()).into_owned();
        let bodies: Vec<String> = came.iter().map(body).collect();
        check(bodies == expect.expect, || format!("came: {bodies:?}"))?;
        for (body, delivery) in bodies.into_iter().zip(came) {
            let told = delivery.redelivery().map(|reason| snake(&format!("{reason:?}")));
            let as_wanted = expect.attempt.is_none_or(|attempt| attempt == delivery.attempt())
                && (expect.redelivery.is_none() || expect.redelivery == told)
                && expect
                    .message
                    .as_ref()
                    .is_none_or(|fields| fields.of(body.clone()) == *delivery.message());
            check(as_wanted, || format!("{delivery:?}"))?;
            self.hands.insert((expect.consumer.clone(), body), delivery);
        }
        Ok(())
    }

    pub(super) async fn settle(&mut self, step: &Step, settle: &Settle) -> Result<(), Fault> {
        for body in &settle.bodies {
            let key = (settle.consumer.clone(), body.clone());
            if matches!(step, Step::Extend(_)) {
                self.hands[&key].extend(settle.lease_ms.map(Duration::from_millis)).await?;
                continue;
            }
            let delivery = self.hands.remove(&key).expect("it came before");
            match step {
                Step::Nack(_) => delivery.nack(Duration::from_millis(settle.delay_ms)).await?,
                Step::Reject(_) => delivery.reject().await?,
                _ => delivery.ack().await?,
            }
        }
        Ok(())
    }

    pub(super) async fn lost(&self, consumer: &str, body: &str, reason: &str) -> Result<(), Fault> {
        let delivery = &self.hands[&(consumer.to_owned(), body.to_owned())];
        let told = tokio::time::timeout(PATIENCE, delivery.lost()).await;
        let told = told.map(|told| snake(&format!("{told:?}")));
        check(told.as_deref() == Ok(reason), || format!("lost: {told:?}"))
    }
}

/// For what must come there is time; nothing must come for as long as the step says.
fn end_of(expect: &Expect) -> Instant {
    Instant::now() + expect.wait_ms.map_or(PATIENCE, Duration::from_millis)
}

/// `GroupReturned` as `group_returned`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}
