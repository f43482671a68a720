//! `phalanx.v1.Messages` of the fake cluster.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use phalanx_proto::v1;
use phalanx_proto::v1::messages_server::Messages;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Cluster, Fault, Node, name, refusal};

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Tx<T> = mpsc::UnboundedSender<Result<T, Status>>;

impl Node {
    fn cluster(&self) -> Cluster {
        Cluster(self.cluster.clone())
    }

    /// Whether this node takes a call for this queue.
    fn enter(&self, queue: &str) -> Result<(), Status> {
        let mut state = self.cluster.state.lock();
        *state.calls.entry(self.id).or_default() += 1;
        if state.leader != self.id && !state.forwarding {
            return Err(refusal("NOT_LEADER", Some(Duration::from_millis(100))));
        }
        if state.queues.contains_key(queue) { Ok(()) } else { Err(refusal("QUEUE_NOT_FOUND", None)) }
    }

    /// Breaks every connection to this node.
    async fn break_down<T>(&self) -> Result<T, Status> {
        self.cluster.net.cut(&name(self.id));
        std::future::pending().await
    }

    /// Carries a unary call out as its fault says.
    async fn faulty<T>(&self, fault: Fault, act: impl FnOnce() -> T) -> Result<Response<T>, Status> {
        match fault {
            Fault::None => Ok(Response::new(act())),
            Fault::BreakBefore => self.break_down().await,
            Fault::BreakAfter => {
                act();
                self.break_down().await
            }
            Fault::Swallow => {
                act();
                std::future::pending().await
            }
            Fault::Refuse(reason) | Fault::Consume(reason) => Err(refusal(reason, None)),
        }
    }

    async fn serve_sends(
        &self,
        open: v1::ProducerOpen,
        mut frames: Streaming<v1::SendStreamRequest>,
        to: Tx<v1::SendStreamResponse>,
    ) {
        let mut batches = Vec::new();
        loop {
            let frame = match frames.next().await {
                Some(Ok(frame)) => frame,
                Some(Err(status)) => {
                    let _gone = to.send(Err(status));
                    return;
                }
                None => return,
            };
            batches.extend(frame.batches);
            for batch in batches.drain(..) {
                if !self.serve_batch(&open, batch, &to).await {
                    return;
                }
            }
        }
    }

    /// `false`: the stream ends.
    async fn serve_batch(
        &self,
        open: &v1::ProducerOpen,
        batch: v1::ProducerBatch,
        to: &Tx<v1::SendStreamResponse>,
    ) -> bool {
        let cluster = self.cluster();
        if !cluster.lock().queues.contains_key("q") {
            let _gone = to.send(Err(refusal("QUEUE_GONE", None)));
            return false;
        }
        let number = batch.number;
        let id = &open.producer_id;
        let fault = cluster.lock().send_faults.pop_front().unwrap_or(Fault::None);
        let failure = |reason: &str, consumed| v1::Failure {
            reason: reason.into(),
            message: reason.to_lowercase(),
            consumed,
            retry_delay_ms: 10,
        };
        let result = match fault {
            Fault::BreakBefore => {
                self.cluster.net.cut(&name(self.id));
                return false;
            }
            Fault::Refuse(reason) => Err(failure(reason, false)),
            Fault::Consume(reason) => {
                cluster.with(|queue| queue.skip(id, number));
                Err(failure(reason, true))
            }
            Fault::None | Fault::BreakAfter | Fault::Swallow => cluster
                .with(|queue| queue.send(id, number, batch.messages))
                .map_err(|reason| failure(reason, false)),
        };
        match fault {
            Fault::BreakAfter => {
                self.cluster.net.cut(&name(self.id));
                return false;
            }
            Fault::Swallow => return true,
            _ => {}
        }
        let go_on = result.as_ref().err().is_none_or(|failure| failure.consumed);
        let result = match result {
            Ok(sent) => v1::confirmation::Result::Sent(sent),
            Err(failure) => v1::confirmation::Result::Failure(failure),
        };
        let confirmations = vec![v1::Confirmation { number, result: Some(result) }];
        let _gone = to.send(Ok(v1::SendStreamResponse { confirmations }));
        go_on
    }

    async fn serve_consumer(
        &self,
        attach: v1::ConsumerAttach,
        mut frames: Streaming<v1::ConsumeRequest>,
        to: Tx<v1::ConsumeResponse>,
    ) {
        let cluster = self.cluster();
        let (id, incarnation) = (attach.consumer_id.clone(), attach.incarnation);
        cluster.with(|queue| queue.attach(attach, to.clone()));
        let mut clean = false;
        while let Some(Ok(frame)) = frames.next().await {
            if let Some(window) = frame.window {
                cluster.with(|queue| {
                    if let Some(consumer) = queue.consumers.get_mut(&id) {
                        consumer.window = window.messages;
                    }
                });
            }
            if !frame.settle.is_empty() && !self.serve_settles(&id, frame.settle, &to) {
                break;
            }
            if frame.close {
                clean = true;
                break;
            }
        }
        cluster.with(|queue| queue.detach(&id, incarnation, clean));
    }

    fn serve_settles(&self, id: &Bytes, items: Vec<v1::SettleItem>, to: &Tx<v1::ConsumeResponse>) -> bool {
        let cluster = self.cluster();
        let fault = cluster.lock().settle_faults.pop_front().unwrap_or(Fault::None);
        if fault == Fault::BreakBefore {
            self.cluster.net.cut(&name(self.id));
            return false;
        }
        let settled = cluster.with(|queue| queue.settle(id, items));
        match fault {
            Fault::BreakAfter => {
                self.cluster.net.cut(&name(self.id));
                return false;
            }
            Fault::Swallow => {}
            _ => {
                let _gone = to.send(Ok(v1::ConsumeResponse { settled, ..v1::ConsumeResponse::default() }));
            }
        }
        true
    }
}

#[tonic::async_trait]
impl Messages for Node {
    type SendStreamStream = Out<v1::SendStreamResponse>;
    type ConsumeStream = Out<v1::ConsumeResponse>;

    async fn send(&self, request: Request<v1::SendRequest>) -> Result<Response<v1::SendResponse>, Status> {
        let request = request.into_inner();
        self.enter(&request.queue)?;
        let cluster = self.cluster();
        let fault = cluster.lock().send_faults.pop_front().unwrap_or(Fault::None);
        self.faulty(fault, || {
            cluster.with(|queue| match queue.requests.get(&request.request_id) {
                Some(known) => v1::SendResponse { repeated: true, ..known.clone() },
                None => {
                    let response = queue.append(request.messages);
                    queue.requests.insert(request.request_id, response.clone());
                    response
                }
            })
        })
        .await
    }

    async fn send_stream(
        &self,
        request: Request<Streaming<v1::SendStreamRequest>>,
    ) -> Result<Response<Self::SendStreamStream>, Status> {
        let mut frames = request.into_inner();
        let first = frames.message().await?.and_then(|frame| frame.open);
        let open = first.ok_or_else(|| refusal("INVALID_ARGUMENT", None))?;
        self.enter(&open.queue)?;
        let (to, out) = mpsc::unbounded_channel();
        let node = self.clone();
        node.cluster.state.lock().send_streams += 1;
        tokio::spawn(async move {
            node.serve_sends(open, frames, to).await;
            node.cluster.state.lock().send_streams -= 1;
        });
        Ok(Response::new(UnboundedReceiverStream::new(out).boxed()))
    }

    async fn receive(
        &self,
        request: Request<v1::ReceiveRequest>,
    ) -> Result<Response<v1::ReceiveResponse>, Status> {
        let request = request.into_inner();
        self.enter(&request.queue)?;
        let cluster = self.cluster();
        let until = Instant::now() + Duration::from_millis(request.wait_ms);
        loop {
            let changed = self.cluster.changed.notified();
            let is_ready = !cluster.lock().queues[&request.queue].ready.is_empty();
            if is_ready || Instant::now() >= until {
                break;
            }
            let _either = tokio::time::timeout_at(until, changed).await;
        }
        let fault = cluster.lock().receive_faults.pop_front().unwrap_or(Fault::None);
        self.faulty(fault, || v1::ReceiveResponse {
            deliveries: cluster.with(|queue| queue.receive(&request)),
        })
        .await
    }

    async fn consume(
        &self,
        request: Request<Streaming<v1::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let mut frames = request.into_inner();
        let first = frames.message().await?.and_then(|frame| frame.attach);
        let attach = first.ok_or_else(|| refusal("INVALID_ARGUMENT", None))?;
        self.enter(&attach.queue)?;
        let (to, out) = mpsc::unbounded_channel();
        let node = self.clone();
        node.cluster.state.lock().consume_streams += 1;
        tokio::spawn(async move {
            node.serve_consumer(attach, frames, to).await;
            node.cluster.state.lock().consume_streams -= 1;
        });
        Ok(Response::new(UnboundedReceiverStream::new(out).boxed()))
    }

    async fn settle(
        &self,
        request: Request<v1::SettleRequest>,
    ) -> Result<Response<v1::SettleResponse>, Status> {
        let request = request.into_inner();
        self.enter(&request.queue)?;
        let cluster = self.cluster();
        let fault = cluster.lock().settle_faults.pop_front().unwrap_or(Fault::None);
        self.faulty(fault, || {
            let outcomes = cluster.with(|queue| queue.settle(&request.consumer_id, request.items));
            v1::SettleResponse { outcomes }
        })
        .await
    }
}
