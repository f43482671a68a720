//! Who waits for which reply.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::consumer::Consumer;
use crate::error::Error;
use crate::limits::REQUESTS_MAX;
use crate::message::Message;

/// Requests that wait, by correlation id; `None` once no reply comes any more.
#[derive(Debug)]
pub(super) struct Desk {
    waiting: Mutex<Option<HashMap<String, oneshot::Sender<Message>>>>,
}

impl Default for Desk {
    fn default() -> Self {
        Self { waiting: Mutex::new(Some(HashMap::new())) }
    }
}

/// A request that waits.
pub(super) struct Registered {
    pub(super) reply: oneshot::Receiver<Message>,
    pub(super) _place: Place,
}

/// Its place; dropping it frees that.
pub(super) struct Place {
    desk: Arc<Desk>,
    correlation_id: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(waiting) = self.desk.waiting.lock().as_mut() {
            waiting.remove(&self.correlation_id);
        }
    }
}

impl Desk {
    /// Takes a place for a request.
    pub(super) fn register(self: &Arc<Self>, correlation_id: &str) -> Result<Registered, Error> {
        let mut waiting = self.waiting.lock();
        let Some(waiting) = waiting.as_mut() else {
            return Err(Error::Unavailable { message: "the reply queue is gone".into() });
        };
        if waiting.len() >= REQUESTS_MAX {
            let message = format!("{REQUESTS_MAX} requests wait for their replies, as many as may");
            return Err(Error::Unavailable { message });
        }
        if waiting.contains_key(correlation_id) {
            let message = format!("another request with correlation id {correlation_id:?} waits");
            return Err(Error::Invalid { message });
        }
        let (sender, reply) = oneshot::channel();
        waiting.insert(correlation_id.to_owned(), sender);
        let place = Place { desk: Arc::clone(self), correlation_id: correlation_id.to_owned() };
        Ok(Registered { reply, _place: place })
    }

    fn answer(&self, reply: Message) {
        let sender = self.waiting.lock().as_mut().and_then(|waiting| waiting.remove(&reply.correlation_id));
        match sender {
            // One that gave up a moment ago takes no reply any more.
            Some(sender) => drop(sender.send(reply)),
            None => tracing::debug!(correlation_id = reply.correlation_id, "a reply that nobody waits for"),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().is_none()
    }

    fn close(&self) {
        *self.waiting.lock() = None;
    }
}

/// Hands out replies until `stop`, or until the consumer ends; then the reply queue goes.
pub(super) async fn take_replies(
    mut consumer: Consumer,
    client: Client,
    queue: String,
    desk: Arc<Desk>,
    stop: CancellationToken,
) {
    while let Some(Some(delivery)) = stop.run_until_cancelled(consumer.next()).await {
        match delivery {
            Ok(delivery) => {
                desk.answer(delivery.message().clone());
                // If it is lost the reply comes again, and nobody waits for it.
                drop(delivery.ack());
            }
            Err(error) => tracing::warn!(queue, %error, "no more replies come"),
        }
    }
    desk.close();
    // Whatever fails here: nobody uses the queue any more, so that it expires.
    if let Err(error) = consumer.close().await {
        tracing::debug!(queue, %error, "the consumer of replies was not closed");
    }
    if let Err(error) = client.admin().delete_queue(&queue).await {
        tracing::debug!(queue, %error, "the reply queue was not deleted: it expires");
    }
}
