//! Serving requests.

use std::future::Future;
use std::sync::Arc;

use crate::client::Client;
use crate::consumer::{Delivery, Nack};
use crate::error::Error;
use crate::message::Message;

impl Client {
    /// Answers the requests of a queue: runs `handler` for each, for up to `limit` at a time, and sends what it gives to whoever asked. Runs
    /// until `stop` resolves; those that are under way are finished then. Any number of processes may serve the same queue.
    ///
    /// A request is acknowledged after its reply is on disk on a majority: a process that dies before loses none. It may be worked on twice;
    /// of its replies the requester takes the first. An error of the handler returns the request, or rejects it, as with
    /// [`Consumer::for_each_concurrent`](crate::Consumer::for_each_concurrent). A requester that is gone takes no reply, and its requests are
    /// done with all the same; a message without reply-to is one that wants none. A reply that no queue takes, such as one that is too large, rejects its
    /// request.
    ///
    /// # Errors
    /// As [`Consumer::for_each_concurrent`](crate::Consumer::for_each_concurrent), and as opening a consumer.
    pub async fn serve<H, F>(
        &self,
        queue: impl AsRef<str>,
        limit: usize,
        stop: impl Future,
        mut handler: H,
    ) -> Result<(), Error>
    where
        H: FnMut(Arc<Delivery>) -> F,
        F: Future<Output = Result<Message, Nack>> + Send + 'static,
    {
        let window = u32::try_from(limit.max(1)).unwrap_or(u32::MAX);
        let consumer = self.consumer(queue).window(window).open().await?;
        let served = consumer.for_each_concurrent(limit, stop, |request| {
            let (work, client) = (handler(Arc::clone(&request)), self.clone());
            async move {
                let reply = work.await?;
                client.reply(&request, reply).await
            }
        });
        served.await
    }

    /// Sends a reply to whoever sent a request.
    async fn reply(&self, request: &Delivery, reply: Message) -> Result<(), Nack> {
        let asked = request.message();
        if asked.reply_to.is_empty() {
            return Ok(());
        }
        // A request that is worked on again is answered once, if the first reply is still remembered.
        let id = format!("{}#{}", asked.correlation_id, request.sequence());
        let reply = reply.correlation_id(asked.correlation_id.clone()).deduplication_id(id);
        match self.send(&asked.reply_to, [reply]).await {
            Ok(_) => Ok(()),
            Err(Error::QueueNotFound { .. } | Error::QueueGone { .. }) => {
                tracing::debug!(reply_to = asked.reply_to, "nobody waits for the reply any more");
                Ok(())
            }
            // No queue takes such a reply, however often it is made.
            Err(error @ Error::Invalid { .. }) => Err(Nack::reject(error)),
            Err(error) => Err(Nack::from(error)),
        }
    }
}
