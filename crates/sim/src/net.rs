//! Sockets of the simulated network, below real tonic.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use phalanx_client::Connector;
use phalanx_raft::{Dialer, Purpose};
use phalanx_server::seams::{Accepted, Bound, Listen, peer_endpoint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// A simulated socket as tokio and tonic want it.
struct Socket(turmoil::net::TcpStream);

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A channel to `endpoint` over the simulated network, connected when first used and again when broken.
fn channel(endpoint: &Endpoint) -> Channel {
    endpoint.connect_with_connector_lazy(service_fn(|uri: Uri| async move {
        let host = uri.host().ok_or(io::ErrorKind::InvalidInput)?;
        let port = uri.port_u16().ok_or(io::ErrorKind::InvalidInput)?;
        let stream = turmoil::net::TcpStream::connect((host, port)).await?;
        Ok::<_, io::Error>(TokioIo::new(Socket(stream)))
    }))
}

/// All three directions: listeners, connections to peers, connections of clients.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimNet;

impl Listen for SimNet {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Bound>> {
        Box::pin(async move {
            let listener = turmoil::net::TcpListener::bind(address).await?;
            let address = listener.local_addr()?.to_string();
            let incoming = futures::stream::unfold(listener, |listener| async move {
                let accepted = listener.accept().await.map(|(stream, _)| Accepted::new(Socket(stream)));
                Some((accepted, listener))
            });
            Ok(Bound { address, incoming: incoming.boxed() })
        })
    }
}

impl Dialer for SimNet {
    fn channel(&self, address: &str, _: Purpose) -> Channel {
        channel(&peer_endpoint(address))
    }
}

impl Connector for SimNet {
    fn channel(&self, endpoint: Endpoint) -> Channel {
        channel(&endpoint)
    }
}
