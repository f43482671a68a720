//! `for_each_concurrent`: a handler for each delivery, many at a time, the deliveries of a group one after the other.

use std::pin::pin;
use std::sync::Arc;

use super::Consumer;
use super::delivery::Delivery;
use super::nack::Nack;
use super::session::Session;
use crate::error::Error;

impl Consumer {
    /// Runs `handler` for each delivery, for up to `limit` (at least one) of them at a time, each in a task of its own, and
    /// settles as the handler says: `Ok` acknowledges, an error [returns or rejects](Nack). Runs until `stop` resolves or the
    /// consumer ends.
    ///
    /// Deliveries of one group are worked on strictly one after the other, in order; different groups, and messages
    /// without a group, in parallel. A `strict` queue is one group. When a message of a group is returned, those behind it
    /// wait for it to come again.
    ///
    /// - A handler whose lease is lost is *cancelled*: its future is dropped where it waits. The message is, or will be,
    ///   delivered again; what must not happen twice at once is to be fenced with [`Delivery::token`].
    /// - A handler that panics is reported as an error in the log and to [`Metrics`](crate::Metrics), and its message is
    ///   returned with a delay of 1 s. The others go on.
    /// - An acknowledgement that comes after the end of its lease changes nothing, and the message comes again: that is
    ///   counted by `Metrics`, and no error of this call.
    ///
    /// Once `stop` has resolved no handler is started. What was not started is returned at once, which the server counts as
    /// an attempt while handlers are still running, and does not when none is. Running handlers finish, their settles are
    /// answered, and the consumer is [closed](Self::close). A handler that must not hold that up has a time limit of its own.
    /// Dropping the call drops all handlers.
    ///
    /// ```no_run
    /// # async fn example(consumer: phalanx_client::Consumer) -> Result<(), phalanx_client::Error> {
    /// use phalanx_client::Nack;
    ///
    /// let stop = async { tokio::signal::ctrl_c().await };
    /// let handled = consumer.for_each_concurrent(16, stop, |delivery| async move {
    ///     let order = std::str::from_utf8(delivery.body()).map_err(Nack::reject)?;
    ///     tokio::fs::write("last-order", order).await?; // not done: again after 1 s
    ///     Ok(())
    /// });
    /// tokio::spawn(handled).await.expect("it does not panic")
    /// # }
    /// ```
    ///
    /// # Errors
    /// What ended the consumer, such as [`Error::QueueGone`] or [`Error::ConsumerReplaced`]: all leases end with it, and
    /// so do the handlers. [`Error::OutcomeUnknown`] when the goodbye was not answered.
    pub async fn for_each_concurrent<H, F>(
        self,
        limit: usize,
        stop: impl Future,
        handler: H,
    ) -> Result<(), Error>
    where
        H: FnMut(Arc<Delivery>) -> F,
        F: Future<Output = Result<(), Nack>> + Send + 'static,
    {
        let mut consumer = self;
        let mut stop = pin!(stop);
        let mut session = Session::new(limit.max(1), handler, consumer.meter.clone());
        let ended = loop {
            session.start();
            tokio::select! {
                biased;
                _ = &mut stop => break None,
                () = session.step() => {}
                delivery = consumer.next() => match delivery {
                    Some(Ok(delivery)) => session.lanes.push(delivery, consumer.hand.is_strict()),
                    Some(Err(error)) => break Some(Err(error)),
                    None => break Some(Ok(())),
                },
            }
        };
        session.stopped = true;
        if ended.is_none() {
            session.wind_up(&mut consumer).await;
        }
        while session.is_busy() {
            session.step().await;
        }
        let closed = consumer.close().await;
        ended.unwrap_or(closed)
    }
}
