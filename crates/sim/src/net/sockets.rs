//! Simulated sockets below real tonic.
//!
//! Every socket belongs to a host, whose connections can be reset at once.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use phalanx_client::{Channel, Connector};
use phalanx_raft::{Dialer, Purpose};
use phalanx_server::seams::{Accepted, Bound, Listen, peer_endpoint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::{Endpoint, Uri};
use tower::service_fn;
use turmoil::Sim;

use super::{Door, Network};
use crate::trace;

/// A simulated socket as tokio and tonic want it.
struct Socket {
    stream: turmoil::net::TcpStream,
    reset: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Socket {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.reset.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if result.is_ready() {
            trace::received(&buf.filled()[before..]);
        }
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Links between hosts are turmoil's; only resets are made here.
#[derive(Default)]
pub(super) struct Sockets {
    doors: BTreeMap<String, SocketDoor>,
}

impl Network for Sockets {
    fn door(&mut self, host: &str) -> Arc<dyn Door> {
        Arc::new(self.doors.entry(host.to_owned()).or_default().clone())
    }

    fn cut(&mut self, sim: &Sim<'static>, from: &str, to: &str) {
        sim.partition_oneway(from, to);
    }

    fn mend(&mut self, sim: &Sim<'static>, one: &str, other: &str) {
        sim.repair(one, other);
    }

    fn reset(&mut self, host: &str) {
        if let Some(door) = self.doors.get(host) {
            door.reset();
        }
    }

    fn delay(&mut self, sim: &Sim<'static>, longest: Duration) {
        sim.set_max_message_latency(longest);
    }

    fn ends(&mut self, _: &str) {
        // turmoil closes the sockets of a host that crashes.
    }

    fn step(&mut self, _: Duration) {
        // turmoil delivers as it steps.
    }

    fn befell(&self) -> BTreeMap<&'static str, u64> {
        // turmoil does not say.
        BTreeMap::new()
    }
}

/// All three directions of one host: listeners, connections to peers, connections of clients. Clones are of the same host.
#[derive(Clone, Debug, Default)]
struct SocketDoor {
    /// Cancelled by a reset, and replaced.
    current: Arc<Mutex<CancellationToken>>,
}

impl SocketDoor {
    /// Breaks all connections of this host, whichever side opened them.
    fn reset(&self) {
        std::mem::take(&mut *self.current.lock()).cancel();
    }

    fn socket(&self, stream: turmoil::net::TcpStream) -> Socket {
        Socket { stream, reset: Box::pin(self.current.lock().clone().cancelled_owned()) }
    }

    /// A channel to `endpoint` over the simulated network, connected when first used and again when broken.
    fn lazy(&self, endpoint: &Endpoint) -> Channel {
        let net = self.clone();
        let channel = endpoint.connect_with_connector_lazy(service_fn(move |uri: Uri| {
            let net = net.clone();
            async move {
                let host = uri.host().ok_or(io::ErrorKind::InvalidInput)?;
                let port = uri.port_u16().ok_or(io::ErrorKind::InvalidInput)?;
                let stream = turmoil::net::TcpStream::connect((host, port)).await?;
                Ok::<_, io::Error>(TokioIo::new(net.socket(stream)))
            }
        }));
        channel.into()
    }
}

impl Listen for SocketDoor {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Bound>> {
        Box::pin(async move {
            let listener = turmoil::net::TcpListener::bind(address).await?;
            let address = listener.local_addr()?.to_string();
            let incoming = futures::stream::unfold((listener, self.clone()), |(listener, net)| async move {
                let accepted = listener.accept().await.map(|(stream, _)| Accepted::new(net.socket(stream)));
                Some((accepted, (listener, net)))
            });
            Ok(Bound { address, incoming: incoming.boxed(), calls: None })
        })
    }
}

impl Dialer for SocketDoor {
    fn channel(&self, address: &str, _: Purpose) -> Channel {
        self.lazy(&peer_endpoint(address))
    }
}

impl Connector for SocketDoor {
    fn channel(&self, endpoint: Endpoint) -> Channel {
        self.lazy(&endpoint)
    }
}
