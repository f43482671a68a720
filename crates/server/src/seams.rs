//! Everything a node takes from its surroundings: clocks, randomness, disk, checkpoint store, sockets, threads.
//!
//! Production fills them with the real things ([`Seams::production`]), the simulation with its own. Nothing else in this crate opens
//! a file or a socket, starts a thread, or asks for the time or for random bytes.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt as _};
use phalanx_proto::channel::Channel;
use phalanx_raft::{Dialer, Executor, Purpose, RaftOptions};
use phalanx_state_machine::ids::Id128;
use phalanx_storage::checkpoint::{self, Engine};
use phalanx_storage::disk::{Disk, RealDisk};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::body::Body;
use tonic::transport::Endpoint;
use tonic::transport::server::Connected;
use tower::util::BoxCloneSyncService;

use crate::authorize::{AllowAll, Authorizer};
use crate::clock::{Clock, SystemClock};
use crate::config::{EngineKind, NodeConfig};
use crate::drive::{Drive, ThreadDrive, ThreadExecutor};
use crate::serve::Ending;

/// Time to make a TCP connection to a peer before the attempt counts as failed.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1000);
/// A peer connection on which nothing was heard for this long is asked whether it lives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(1000);
/// It has this long to answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_millis(1000);

/// Random bytes for identities.
pub trait Entropy: Send + Sync + 'static {
    /// An identity that nobody else has; never all zero.
    fn id(&self) -> Id128;
}

/// A socket of either direction, whatever it is made of.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Socket for T {}

/// An accepted connection.
pub struct Accepted(Box<dyn Socket>);

impl Accepted {
    /// Wraps a socket.
    #[must_use]
    pub fn new(socket: impl Socket) -> Self {
        Self(Box::new(socket))
    }
}

impl Connected for Accepted {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

/// A listener that is bound.
pub struct Bound {
    /// `host:port` it really has (the port matters when 0 was asked for).
    pub address: String,
    /// Connections as they come; errors of single accepts are passed on.
    pub incoming: BoxStream<'static, io::Result<Accepted>>,
    /// A network without sockets brings whole calls instead, to the listeners that speak gRPC.
    pub calls: Option<Box<dyn Calls>>,
}

/// What answers calls, whoever brings them.
pub type CallService = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Infallible>;

/// Brings whole calls to a service.
pub trait Calls: Send {
    /// Until `ending`: calls `service`, and sends its answers back.
    fn serve(self: Box<Self>, service: CallService, ending: Ending) -> BoxFuture<'static, ()>;
}

/// Opens listeners.
pub trait Listen: Send + Sync + 'static {
    /// Binds `address`, `host:port`.
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Bound>>;
}

/// All of them.
#[derive(Clone)]
pub struct Seams {
    /// Clocks.
    pub clock: Arc<dyn Clock>,
    /// Identities.
    pub entropy: Arc<dyn Entropy>,
    /// Identity file and log.
    pub disk: Arc<dyn Disk>,
    /// Checkpoints.
    pub engine: Arc<dyn Engine>,
    /// Connections to peers.
    pub dialer: Arc<dyn Dialer>,
    /// Listeners.
    pub listen: Arc<dyn Listen>,
    /// Blocking jobs of the groups.
    pub executor: Arc<dyn Executor>,
    /// Who turns the log's crank.
    pub drive: Arc<dyn Drive>,
    /// Access rules.
    pub authorizer: Arc<dyn Authorizer>,
    /// Limits and intervals of the groups.
    pub raft: RaftOptions,
    /// Called once when the node must not go on, such as after a failed sync. The binary exits with an error; it must not return
    /// control to anything that would acknowledge.
    pub on_fatal: Arc<dyn Fn(String) + Send + Sync>,
}

/// Why the surroundings could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SeamsError {
    /// The checkpoint store does not open.
    #[error("open the checkpoint store in {dir}")]
    Checkpoint {
        /// Its directory.
        dir: String,
        /// Why.
        source: phalanx_storage::Error,
    },
    /// No threads.
    #[error("start threads for blocking work")]
    Threads(#[from] io::Error),
}

impl Seams {
    /// The real ones, with the checkpoint store in the node's data directory.
    ///
    /// # Errors
    /// When the store does not open, or no thread can be started.
    pub fn production(
        config: &NodeConfig,
        on_fatal: Arc<dyn Fn(String) + Send + Sync>,
    ) -> Result<Self, SeamsError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let dir = config.node.data_dir.join("checkpoint");
        Ok(Self {
            clock: Arc::new(SystemClock::default()),
            entropy: Arc::new(SystemEntropy),
            engine: open_engine(disk.as_ref(), config, &dir)?,
            disk,
            dialer: Arc::new(TcpDialer),
            listen: Arc::new(TcpListen),
            executor: Arc::new(ThreadExecutor::start()?),
            drive: Arc::new(ThreadDrive),
            authorizer: Arc::new(AllowAll),
            raft: RaftOptions::default(),
            on_fatal,
        })
    }
}

/// Opens the checkpoint store. A damaged one is set aside where peers can refill it; alone, the node does not start without it.
fn open_engine(disk: &dyn Disk, config: &NodeConfig, dir: &Path) -> Result<Arc<dyn Engine>, SeamsError> {
    let wrap = |source| SeamsError::Checkpoint { dir: dir.display().to_string(), source };
    disk.create_dir_all(dir).map_err(wrap)?;
    let (name, open): (_, fn(&Path) -> _) = match config.checkpoint.engine {
        EngineKind::Sled => ("sled", checkpoint::open_sled),
        EngineKind::Redb => ("redb", checkpoint::open_redb),
    };
    let path = dir.join(name);
    if config.members().len() == 1 {
        return open(&path).map_err(wrap);
    }
    let (engine, aside) = checkpoint::open_or_set_aside(&path, open).map_err(wrap)?;
    if let Some(aside) = aside {
        let (kept, why) = (aside.path.display(), aside.why);
        tracing::error!(%kept, why, "the checkpoint store is damaged and was set aside: its replicas are refilled from their peers");
    }
    Ok(engine)
}

/// The operating system's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn id(&self) -> Id128 {
        let bits: u128 = rand::random();
        Id128::from_bytes(bits.max(1).to_be_bytes())
    }
}

/// TCP listeners of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpListen;

impl Listen for TcpListen {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Bound>> {
        Box::pin(async move { bound(tokio::net::TcpListener::bind(address).await?) })
    }
}

/// What a bound TCP listener offers.
///
/// # Errors
/// When the listener does not know its address.
pub fn bound(listener: tokio::net::TcpListener) -> io::Result<Bound> {
    let address = listener.local_addr()?.to_string();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener).map(|accepted| {
        let stream = accepted?;
        stream.set_nodelay(true)?;
        Ok(Accepted::new(stream))
    });
    Ok(Bound { address, incoming: incoming.boxed(), calls: None })
}

/// TCP connections of the operating system, made when first used and made again when broken.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpDialer;

impl Dialer for TcpDialer {
    fn channel(&self, address: &str, _: Purpose) -> Channel {
        peer_endpoint(address).connect_lazy().into()
    }
}

/// How a peer is reached: timeouts and keepalive of every connection between nodes.
#[must_use]
pub fn peer_endpoint(address: &str) -> Endpoint {
    // Addresses were checked with the configuration; a malformed one in a plan gives a channel that never connects.
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    endpoint
        .unwrap_or_else(|_| Endpoint::from_static("http://unusable.invalid:1"))
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
}
