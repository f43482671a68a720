//! Connections in memory: pipes between clients and the node, with real gRPC on them.

use std::io;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use phalanx_client::Connector;
use phalanx_proto::channel::Channel;
use phalanx_raft::{Dialer, Purpose};
use phalanx_server::seams::{Accepted, Bound, Listen};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Endpoint, Uri};
use tower::service_fn;

/// Where the node listens for clients.
pub(crate) const CLIENT_ADDRESS: &str = "memory:7420";
/// Bytes on their way in one direction of a connection.
const PIPE_BYTES: usize = 256 * 1024;
/// Connections that may wait to be accepted.
const BACKLOG: usize = 64;

/// The way to the node. Clones lead to the same one.
#[derive(Clone, Default)]
pub(crate) struct Door {
    /// Of the node that listens now.
    accept: Arc<Mutex<Option<mpsc::Sender<DuplexStream>>>>,
}

impl Door {
    /// Nobody listens any more.
    pub(crate) fn close(&self) {
        *self.accept.lock() = None;
    }

    async fn connect(self) -> io::Result<TokioIo<DuplexStream>> {
        let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, "the broker is not running");
        let accept = self.accept.lock().clone().ok_or_else(refused)?;
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        accept.send(theirs).await.map_err(|_| refused())?;
        Ok(TokioIo::new(ours))
    }
}

impl Connector for Door {
    fn channel(&self, endpoint: Endpoint) -> Channel {
        let door = self.clone();
        endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| door.clone().connect())).into()
    }
}

impl Listen for Door {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Bound>> {
        let incoming = if address == CLIENT_ADDRESS {
            let (accept, incoming) = mpsc::channel(BACKLOG);
            *self.accept.lock() = Some(accept);
            ReceiverStream::new(incoming).map(|socket| Ok(Accepted::new(socket))).boxed()
        } else {
            // One node has no peers, and nobody asks for its health over HTTP.
            stream::pending().boxed()
        };
        let bound = Bound { address: address.to_owned(), incoming, calls: None };
        async move { Ok(bound) }.boxed()
    }
}

impl Dialer for Door {
    fn channel(&self, address: &str, _: Purpose) -> Channel {
        // Never used by a cluster of one; it would say so.
        let nobody = service_fn(|_: Uri| async {
            Err::<TokioIo<DuplexStream>, _>(io::Error::other("a broker in memory has no peers"))
        });
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        endpoint
            .unwrap_or_else(|_| Endpoint::from_static("http://memory"))
            .connect_with_connector_lazy(nobody)
            .into()
    }
}
