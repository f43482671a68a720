//! Listeners with a gRPC server behind them, with the limits of every connection.

use std::convert::Infallible;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{Stream, StreamExt as _};
use phalanx_proto::DESCRIPTORS;
use phalanx_proto::raft::v1::node_server::NodeServer;
use phalanx_raft::Groups;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};
use tower::Service;

use crate::config::{GRPC_MESSAGE_BYTES_MAX, Limits};
use crate::node_service::NodeService;
use crate::seams::{Accepted, Bound, CallService};
use crate::status;

/// A connection that says nothing for this long is asked whether it lives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// It has this long to answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams that a client opened and reset before they were accepted (the rapid reset attack).
const PENDING_RESETS_MAX: usize = 20;
/// Headers of one request, bytes.
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Concurrent calls of one peer's connection: heartbeats, appends and forwarded streams of many clients.
const PEER_STREAMS_MAX: u32 = 65_536;
/// Most connections of peers: a handful for each of the other nodes.
const PEER_CONNECTIONS_MAX: u64 = 1024;
/// Flow control window of one stream, bytes.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// Flow control window of one connection, bytes: bounds what a client can have buffered here.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

fn server(streams: u32) -> Server {
    Server::builder()
        .max_concurrent_streams(streams)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
}

/// How the listeners end.
#[derive(Clone, Default)]
pub struct Ending {
    /// No new connections; those that exist finish what they are at.
    pub close: CancellationToken,
    /// Every connection breaks at once.
    pub cut: CancellationToken,
}

/// Serves clients until `ending`.
///
/// # Errors
/// When the listener fails for good.
pub async fn clients(
    mut bound: Bound,
    routes: Routes,
    limits: &Limits,
    ending: Ending,
) -> Result<(), tonic::transport::Error> {
    let service = Plain(routes.prepare());
    if let Some(calls) = bound.calls.take() {
        calls.serve(CallService::new(service), ending).await;
        return Ok(());
    }
    let incoming = guard(bound, limits.connections, ending.cut);
    server(limits.streams)
        .serve_with_incoming_shutdown(service, incoming, ending.close.cancelled_owned())
        .await
}

/// Serves peers until `ending`: [`NodeService`] at once, the rest when it is there.
///
/// # Errors
/// When the listener fails for good.
pub async fn peers(
    mut bound: Bound,
    node: NodeService,
    later: LaterRoutes,
    ending: Ending,
) -> Result<(), tonic::transport::Error> {
    let early =
        Routes::new(NodeServer::new(node).max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)).prepare();
    let switchboard = Switchboard { early, later };
    if let Some(calls) = bound.calls.take() {
        calls.serve(CallService::new(switchboard), ending).await;
        return Ok(());
    }
    let incoming = guard(bound, PEER_CONNECTIONS_MAX, ending.cut);
    server(PEER_STREAMS_MAX)
        .serve_with_incoming_shutdown(switchboard, incoming, ending.close.cancelled_owned())
        .await
}

fn guard(bound: Bound, max: u64, cut: CancellationToken) -> impl Stream<Item = std::io::Result<Guarded>> {
    let open = Arc::new(AtomicU64::new(0));
    bound.incoming.filter_map(move |accepted| {
        // A single failed accept says nothing about the next one; a connection over the limit is closed by dropping it.
        let guarded = match accepted.map(|socket| Guarded::admit(socket, &open, max, &cut)) {
            Ok(Some(guarded)) => Some(Ok(guarded)),
            Ok(None) => {
                tracing::warn!(
                    connections_max = max,
                    address = bound.address,
                    "a connection was refused: too many are open"
                );
                None
            }
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                None
            }
        };
        std::future::ready(guarded)
    })
}

/// Raft's services, for the peer listener.
#[must_use]
pub fn raft_routes(groups: &Arc<Groups>) -> Routes {
    Routes::new(groups.services())
}

/// Reflection of the public API.
///
/// # Panics
/// Never: the descriptors were encoded by this build.
#[must_use]
pub fn reflection() -> ServerReflectionServer<impl ServerReflection> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_file_descriptor_set(public_descriptors())
        .build_v1()
        .expect("the build encoded the descriptors")
}

/// Files of the public API: what reflection shows to clients.
///
/// # Panics
/// Never: the descriptors were encoded by this build.
#[must_use]
pub fn public_descriptors() -> FileDescriptorSet {
    let mut set = FileDescriptorSet::decode(DESCRIPTORS).expect("the build encoded the descriptors");
    set.file.retain(|file| file.package() != "phalanx.raft.v1");
    set
}

type Answer = Result<http::Response<Body>, Infallible>;

/// The routes as tower sees them.
#[derive(Clone)]
struct Plain(Routes);

impl Service<http::Request<Body>> for Plain {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(Service::call(&mut self.0, request))
    }
}

/// What the peer listener serves once it is there.
#[derive(Clone, Default)]
pub struct LaterRoutes {
    /// Raft, from when the cluster is known.
    pub raft: Arc<OnceLock<Routes>>,
    /// The public API for forwarded calls, from when the catalog is open.
    pub api: Arc<OnceLock<Routes>>,
}

/// Routes of the peer listener.
#[derive(Clone)]
struct Switchboard {
    early: Routes,
    later: LaterRoutes,
}

impl Service<http::Request<Body>> for Switchboard {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let routes = if path.starts_with("/phalanx.raft.v1.Node/") {
            Some(self.early.clone())
        } else if path.starts_with("/phalanx.raft.") {
            self.later.raft.get().cloned()
        } else {
            self.later.api.get().cloned()
        };
        match routes {
            Some(mut routes) => Box::pin(async move { Service::call(&mut routes, request).await }),
            None => {
                let answer = status::unavailable("the node is starting").into_http();
                Box::pin(std::future::ready(Ok(answer)))
            }
        }
    }
}

/// A connection that counts while it lives, and breaks when the node ends.
struct Guarded {
    socket: Accepted,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    open: Arc<AtomicU64>,
}

impl Guarded {
    /// `None` when `max` are open already.
    fn admit(socket: Accepted, open: &Arc<AtomicU64>, max: u64, cut: &CancellationToken) -> Option<Self> {
        let cut = Box::pin(cut.clone().cancelled_owned());
        let guarded = Self { socket, cut, open: Arc::clone(open) };
        (guarded.open.fetch_add(1, Ordering::Relaxed) < max).then_some(guarded)
    }

    fn check(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(std::io::ErrorKind::ConnectionReset.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connected for Guarded {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
