//! A network in memory: nodes by name, links that can be cut, no sockets, so that time can be paused.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tonic::transport::{Channel, Endpoint, Uri};

/// Bytes on their way in one direction of a link.
const LINK_BYTES: usize = 256 * 1024;

#[derive(Clone, Default)]
pub struct Net {
    nodes: Arc<Mutex<BTreeMap<String, Node>>>,
}

struct Node {
    up: bool,
    /// Accepts connections and never answers.
    frozen: bool,
    accept: mpsc::UnboundedSender<io::Result<DuplexStream>>,
    links: Vec<AbortHandle>,
    dialled: usize,
}

impl Net {
    /// Adds a node; what comes out of the receiver are its incoming connections.
    pub fn listen(&self, name: &str) -> mpsc::UnboundedReceiver<io::Result<DuplexStream>> {
        let (accept, incoming) = mpsc::unbounded_channel();
        let node = Node { up: true, frozen: false, accept, links: Vec::new(), dialled: 0 };
        self.nodes.lock().insert(name.to_owned(), node);
        incoming
    }

    /// Cuts all links of the node, and refuses new ones.
    pub fn down(&self, name: &str) {
        self.with(name, |node| {
            node.up = false;
            node.links.drain(..).for_each(|link| link.abort());
        });
    }

    /// Takes links again.
    pub fn up(&self, name: &str) {
        self.with(name, |node| (node.up, node.frozen) = (true, false));
    }

    /// Cuts the present links only.
    pub fn cut(&self, name: &str) {
        self.with(name, |node| node.links.drain(..).for_each(|link| link.abort()));
    }

    /// Cuts the links; new ones lead nowhere.
    pub fn freeze(&self, name: &str) {
        self.cut(name);
        self.with(name, |node| node.frozen = true);
    }

    /// How often the node was dialled.
    pub fn dialled(&self, name: &str) -> usize {
        self.with(name, |node| node.dialled)
    }

    fn with<T>(&self, name: &str, f: impl FnOnce(&mut Node) -> T) -> T {
        f(self.nodes.lock().get_mut(name).expect("a node of the test"))
    }

    fn dial(&self, name: &str) -> io::Result<DuplexStream> {
        let mut nodes = self.nodes.lock();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let node = nodes.get_mut(name).ok_or_else(refused)?;
        node.dialled += 1;
        if !node.up {
            return Err(refused());
        }
        let (near, mut near_end) = tokio::io::duplex(LINK_BYTES);
        let (mut far_end, far) = tokio::io::duplex(LINK_BYTES);
        let frozen = node.frozen;
        let link = tokio::spawn(async move {
            if frozen {
                std::future::pending::<()>().await;
            }
            let _ended = tokio::io::copy_bidirectional(&mut near_end, &mut far_end).await;
        });
        node.links.push(link.abort_handle());
        if !frozen {
            let _gone = node.accept.send(Ok(far));
        }
        Ok(near)
    }

    /// What the client under test uses in place of TCP.
    pub fn connector(&self) -> impl Fn(Endpoint) -> Channel + Send + Sync + 'static {
        let net = self.clone();
        move |endpoint: Endpoint| {
            let net = net.clone();
            endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
                let link = net.dial(uri.host().unwrap_or_default());
                async move { link.map(TokioIo::new) }
            }))
        }
    }
}
