//! The end that calls: a channel that connects when it is first used, and again when its connection broke.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use phalanx_client::Channel;
use phalanx_proto::channel::CallError;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tonic::{ConnectError, Status, TimeoutExpired};
use tower::Service;

use super::connection::{CALLER, ConnectionId, LISTENER};
use super::frames::{Arriving, Hold, Place, deadline, pump};
use super::wires::{HostId, Wires};

/// A connection must come about within this time, where the endpoint does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

type Response = http::Response<Body>;

/// A channel to one address. Clones share its connection.
#[derive(Clone)]
pub(super) struct Caller(Arc<Way>);

struct Way {
    wires: Arc<Wires>,
    from: HostId,
    /// Name of the host, and the port.
    to: (String, u16),
    connect_timeout: Duration,
    connection: tokio::sync::Mutex<Option<ConnectionId>>,
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Some(connection) = *self.connection.get_mut() {
            self.wires.hang_up(connection, CALLER);
        }
    }
}

impl Caller {
    /// To the endpoint's address.
    pub(super) fn channel(wires: &Arc<Wires>, from: HostId, endpoint: &Endpoint) -> Channel {
        let uri = endpoint.uri();
        let to = (uri.host().unwrap_or_default().to_owned(), uri.port_u16().unwrap_or_default());
        let connect_timeout = endpoint.get_connect_timeout().unwrap_or(CONNECT_TIMEOUT);
        let (wires, connection) = (Arc::clone(wires), tokio::sync::Mutex::default());
        Channel::over(Self(Arc::new(Way { wires, from, to, connect_timeout, connection })))
    }
}

impl Service<http::Request<Body>> for Caller {
    type Response = Response;
    type Error = CallError;
    type Future = BoxFuture<'static, Result<Response, CallError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let way = Arc::clone(&self.0);
        Box::pin(async move {
            match deadline(request.headers()) {
                None => way.ask(request).await,
                Some(limit) => match tokio::time::timeout(limit, way.ask(request)).await {
                    Ok(answer) => answer,
                    Err(_) => Err(TimeoutExpired(()).into()),
                },
            }
        })
    }
}

/// Hangs up, unless the connection came about.
struct Dialling<'a>(&'a Wires, Option<ConnectionId>);

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.1 {
            self.0.hang_up(connection, CALLER);
        }
    }
}

impl Way {
    async fn ask(&self, request: http::Request<Body>) -> Result<Response, CallError> {
        let connection = self.connect().await?;
        let (request, body) = request.into_parts();
        let opened = self.wires.open(connection, request);
        let opened = opened.ok_or_else(|| CallError::from(Status::unknown("the connection broke")))?;
        let place = Place { wires: Arc::clone(&self.wires), connection, end: CALLER, call: opened.call };
        let hold = Hold(place.clone());
        tokio::spawn(pump(place, body, opened.credit.of(CALLER), opened.over));
        let head = opened.head.await.map_err(|_| Status::unknown("the connection broke"))??;
        let body = Arriving::body(opened.frames, opened.credit.of(LISTENER), Some(hold));
        Ok(http::Response::from_parts(head, body))
    }

    async fn connect(&self) -> Result<ConnectionId, ConnectError> {
        let mut known = self.connection.lock().await;
        if let Some(connection) = *known
            && self.wires.is_open(connection, CALLER)
        {
            return Ok(connection);
        }
        *known = None;
        let (host, port) = &self.to;
        let refused = || ConnectError(format!("nobody answers at {host}:{port}").into());
        let (connection, welcome) = self.wires.dial(self.from, host, *port).ok_or_else(refused)?;
        let mut dialling = Dialling(&self.wires, Some(connection));
        match tokio::time::timeout(self.connect_timeout, welcome).await {
            Ok(Ok(())) => {
                dialling.1 = None;
                *known = Some(connection);
                Ok(connection)
            }
            Ok(Err(_)) | Err(_) => Err(refused()),
        }
    }
}
