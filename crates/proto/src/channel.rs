//! The way to one address: what the generated clients call through.
//!
//! In production it is tonic's own channel, without a detour or an allocation of its own. Whatever else carries whole calls, such as a
//! simulated network without sockets, can take its place.

use std::fmt;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, Either, MapErr, TryFutureExt as _};
use tonic::body::Body;
use tonic::transport;
use tower::Service;
use tower::util::BoxCloneSyncService;

/// Why a call did not get an answer.
pub type CallError = Box<dyn std::error::Error + Send + Sync>;
type Request = http::Request<Body>;
type Response = http::Response<Body>;

/// See the module. Clones share what is below.
#[derive(Clone)]
pub struct Channel(Way);

#[derive(Clone)]
enum Way {
    Tonic(transport::Channel),
    Other(BoxCloneSyncService<Request, Response, CallError>),
}

impl Channel {
    /// A channel over anything that answers whole calls. A call that never reached anybody must fail with [`tonic::ConnectError`]:
    /// only then is it known to have had no effect.
    pub fn over<S>(service: S) -> Self
    where
        S: Service<Request, Response = Response, Error = CallError> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self(Way::Other(BoxCloneSyncService::new(service)))
    }
}

impl From<transport::Channel> for Channel {
    fn from(channel: transport::Channel) -> Self {
        Self(Way::Tonic(channel))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

impl Service<Request> for Channel {
    type Response = Response;
    type Error = CallError;
    type Future = Either<
        MapErr<transport::channel::ResponseFuture, fn(transport::Error) -> CallError>,
        BoxFuture<'static, Result<Response, CallError>>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        match &mut self.0 {
            Way::Tonic(channel) => channel.poll_ready(cx).map_err(CallError::from),
            Way::Other(service) => service.poll_ready(cx),
        }
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match &mut self.0 {
            Way::Tonic(channel) => Either::Left(channel.call(request).map_err(CallError::from)),
            Way::Other(service) => Either::Right(service.call(request)),
        }
    }
}
