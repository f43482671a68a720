//! One stream of a consumer.

use phalanx_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::client::{Shared, messages_client};
use crate::limits;
use crate::router::{QueueKey, Target};
use crate::status::Failure;

/// An attached stream, and its first frame.
pub(super) struct Wire {
    pub(super) target: Target,
    pub(super) frames: mpsc::Sender<v1::ConsumeRequest>,
    pub(super) responses: Streaming<v1::ConsumeResponse>,
    pub(super) first: v1::ConsumeResponse,
}

/// Attaches on the best node, and tells the router how that went.
pub(super) async fn connect(
    shared: &Shared,
    queue: &QueueKey,
    attach: v1::ConsumerAttach,
) -> Result<Wire, Failure> {
    let target = shared.router.target(queue).await;
    let limit = shared.settings.stall_timeout;
    let opening = open(&target, attach);
    let failure = match tokio::time::timeout(limit, opening).await {
        Ok(Ok(wire)) => {
            shared.router.worked(&target);
            return Ok(wire);
        }
        Ok(Err(failure)) => failure,
        Err(_) => Failure::stalled(&target.address, limit),
    };
    shared.note(Some(queue), &target, &failure);
    Err(failure)
}

async fn open(target: &Target, attach: v1::ConsumerAttach) -> Result<Wire, Failure> {
    let (frames, outgoing) = mpsc::channel(limits::FRAMES_QUEUED);
    let first = v1::ConsumeRequest { attach: Some(attach), ..v1::ConsumeRequest::default() };
    frames.try_send(first).expect("a new channel has room for one frame");
    let mut client = messages_client(target);
    let response = client.consume(ReceiverStream::new(outgoing)).await;
    let mut responses = response.map_err(|status| Failure::from_status(&status))?.into_inner();
    match responses.message().await {
        Ok(Some(first)) if first.attached.is_some() => {
            Ok(Wire { target: target.clone(), frames, responses, first })
        }
        Ok(Some(_)) => Err(Failure::protocol(&target.address, "the first frame is not `attached`")),
        Ok(None) => Err(Failure::ended(&target.address)),
        Err(status) => Err(Failure::from_status(&status)),
    }
}
