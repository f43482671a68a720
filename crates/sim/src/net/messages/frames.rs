//! Bodies: frames that are sent as they come, and frames that have arrived.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

use super::connection::{CallId, ConnectionId, Frames, Packet};
use super::wires::Wires;

/// One end of a call.
#[derive(Clone)]
pub(super) struct Place {
    pub wires: Arc<Wires>,
    pub connection: ConnectionId,
    pub end: usize,
    pub call: CallId,
}

impl Place {
    pub(super) fn send(&self, packet: Packet) {
        self.wires.send(self.connection, self.end, packet);
    }
}

/// Gives its end of the call up when it goes.
pub(super) struct Hold(pub Place);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.wires.give_up(&self.0);
    }
}

/// Sends a body until its end, or until the call is over.
pub(super) async fn pump(place: Place, mut body: Body, credit: Arc<Semaphore>, over: CancellationToken) {
    loop {
        let next = async {
            // The semaphore is never closed.
            if let Ok(permit) = credit.acquire().await {
                permit.forget();
            }
            std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
        };
        let frame = tokio::select! {
            biased;
            () = over.cancelled() => return,
            frame = next => frame,
        };
        let call = place.call;
        match frame {
            Some(Ok(frame)) => place.send(Packet::Frame { call, frame }),
            Some(Err(_)) => return place.wires.give_up(&place),
            None => return place.send(Packet::End { call }),
        }
    }
}

/// A body that arrives.
pub(super) struct Arriving {
    frames: Frames,
    credit: Arc<Semaphore>,
    /// The call goes on as long as its answer is wanted.
    _hold: Option<Hold>,
}

impl Arriving {
    /// Taking a frame gives `credit` for another one.
    pub(super) fn body(frames: Frames, credit: Arc<Semaphore>, hold: Option<Hold>) -> Body {
        Body::new(Self { frames, credit, _hold: hold })
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(self.frames.poll_recv(cx));
        self.credit.add_permits(1);
        Poll::Ready(frame)
    }
}

/// The deadline that a request carries: both ends keep it, as tonic's do.
pub(super) fn deadline(headers: &http::HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count.checked_mul(3_600)?)),
        "M" => Some(Duration::from_secs(count.checked_mul(60)?)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}
