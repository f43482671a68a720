//! One stream of sends.

use phalanx_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::client::{Shared, messages_client};
use crate::id::Id;
use crate::limits;
use crate::router::{QueueKey, Target};
use crate::status::Failure;

/// An open stream.
pub(super) struct Wire {
    pub(super) target: Target,
    pub(super) frames: mpsc::Sender<v1::SendStreamRequest>,
    pub(super) responses: Streaming<v1::SendStreamResponse>,
}

/// Opens a stream on the best node, and tells the router how that went.
pub(super) async fn connect(shared: &Shared, queue: &QueueKey, producer_id: Id) -> Result<Wire, Failure> {
    let target = shared.router.target(queue).await;
    let (frames, outgoing) = mpsc::channel(limits::FRAMES_QUEUED);
    let open = v1::ProducerOpen {
        namespace: queue.namespace.to_string(),
        queue: queue.name.to_string(),
        producer_id: producer_id.to_bytes(),
    };
    let first = v1::SendStreamRequest { open: Some(open), batches: Vec::new() };
    frames.try_send(first).expect("a new channel has room for one frame");
    let mut client = messages_client(&target);
    let opening = client.send_stream(ReceiverStream::new(outgoing));
    let limit = shared.settings.stall_timeout;
    let failure = match tokio::time::timeout(limit, opening).await {
        Ok(Ok(response)) => {
            shared.router.worked(&target);
            return Ok(Wire { target, frames, responses: response.into_inner() });
        }
        Ok(Err(status)) => Failure::from_status(&status),
        Err(_) => Failure::stalled(&target.address, limit),
    };
    shared.note(Some(queue), &target, &failure);
    Err(failure)
}
