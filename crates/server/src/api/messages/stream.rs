//! What both streaming RPCs share: the first frame, forwarding, the frames of the answer.

use futures::stream::{self, BoxStream, StreamExt as _};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

use super::limits::{FIRST_FRAME_DEADLINE, STREAM_FRAMES_MAX};
use crate::authorize::Rule;
use crate::caller::Caller;
use crate::forward;
use crate::router::Remote;
use crate::status;

/// Frames of an answer.
pub type Frames<A> = BoxStream<'static, Result<A, Status>>;

/// The frame that says what the stream is about.
///
/// # Errors
/// `INVALID_ARGUMENT` when the stream ends without one or it does not come in time; the stream's own error.
pub async fn first_frame<Q>(inbound: &mut Streaming<Q>) -> Result<Q, Status> {
    let first = tokio::time::timeout(FIRST_FRAME_DEADLINE, inbound.message()).await;
    let first = first.map_err(|_| status::invalid("stream", "the first frame did not come in time"))?;
    first?.ok_or_else(|| status::invalid("stream", "ended without a first frame"))
}

/// Hands a stream over to the node that leads. The caller's frames go on as they come; when the caller goes away, so does the peer's
/// stream.
///
/// # Errors
/// As [`forward::streaming`].
pub async fn relay<Q, A>(
    caller: &Caller,
    remote: Remote,
    rule: &Rule,
    first: Q,
    inbound: Streaming<Q>,
) -> Result<Response<Frames<A>>, Status>
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let rest = inbound.scan((), |(), frame| std::future::ready(frame.ok()));
    let frames = stream::once(std::future::ready(first)).chain(rest);
    let answers = forward::streaming::<Q, A, _>(caller, &remote, rule, frames).await?.into_inner();
    Ok(Response::new(
        answers.map(move |frame| frame.map_err(|error| forward::stream_error(&remote, error))).boxed(),
    ))
}

/// The way from a stream's task to its client.
pub fn frames<A: Send + 'static>() -> (mpsc::Sender<Result<A, Status>>, Frames<A>) {
    let (sender, receiver) = mpsc::channel(STREAM_FRAMES_MAX);
    (sender, ReceiverStream::new(receiver).boxed())
}
