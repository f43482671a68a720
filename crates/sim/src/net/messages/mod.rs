//! A network that carries whole calls: the heads of requests and responses and the frames of their bodies are messages between hosts.
//!
//! There are no sockets, but there are connections, for what calls can notice of them: messages of one direction arrive in order and
//! without gaps, a connection that has lost something is found out by its keepalive, what breaks ends every call on it, and a call on a
//! connection that never came about is known to have had no effect. Delivery is at the beginning of a step, in the order of a seed.

mod caller;
mod connection;
mod delivery;
mod frames;
mod listener;
#[cfg(test)]
mod tests;
mod upkeep;
mod wires;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use phalanx_client::{Channel, Connector};
use phalanx_raft::{Dialer, Purpose};
use phalanx_server::seams::{Bound, Listen, peer_endpoint};
use tonic::transport::Endpoint;
use turmoil::Sim;

use super::{Door, Network};
use caller::Caller;
use listener::Listener;
use wires::{HostId, Wires};

/// See the module.
pub(super) struct Messages {
    wires: Arc<Wires>,
    doors: BTreeMap<String, HostId>,
}

impl Messages {
    /// Of a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self { wires: Arc::new(Wires::new(seed)), doors: BTreeMap::new() }
    }

    fn host(&mut self, name: &str) -> HostId {
        let wires = &self.wires;
        *self.doors.entry(name.to_owned()).or_insert_with(|| wires.host(name))
    }
}

impl Network for Messages {
    fn door(&mut self, host: &str) -> Arc<dyn Door> {
        let host = self.host(host);
        Arc::new(MessageDoor { wires: Arc::clone(&self.wires), host })
    }

    fn cut(&mut self, _: &Sim<'static>, from: &str, to: &str) {
        let (from, to) = (self.host(from), self.host(to));
        self.wires.cut(from, to);
    }

    fn mend(&mut self, _: &Sim<'static>, one: &str, other: &str) {
        let (one, other) = (self.host(one), self.host(other));
        self.wires.mend(one, other);
    }

    fn reset(&mut self, host: &str) {
        let host = self.host(host);
        self.wires.leave(host);
    }

    fn delay(&mut self, _: &Sim<'static>, longest: Duration) {
        self.wires.delay(longest);
    }

    fn ends(&mut self, host: &str) {
        let host = self.host(host);
        self.wires.close_all(host);
        self.wires.leave(host);
    }

    fn step(&mut self, now: Duration) {
        self.wires.step(now);
    }

    fn befell(&self) -> BTreeMap<&'static str, u64> {
        self.wires.befell()
    }
}

/// One host's way in.
struct MessageDoor {
    wires: Arc<Wires>,
    host: HostId,
}

impl Listen for MessageDoor {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Bound>> {
        Box::pin(async move {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            let port = port.ok_or(io::ErrorKind::InvalidInput)?;
            let listener = Listener::new(Arc::clone(&self.wires), self.host, port)?;
            // Nobody ever connects: there are no sockets.
            let incoming = futures::stream::pending().boxed();
            Ok(Bound { address: address.to_owned(), incoming, calls: Some(Box::new(listener)) })
        })
    }
}

impl Dialer for MessageDoor {
    fn channel(&self, address: &str, _: Purpose) -> Channel {
        Caller::channel(&self.wires, self.host, &peer_endpoint(address))
    }
}

impl Connector for MessageDoor {
    fn channel(&self, endpoint: Endpoint) -> Channel {
        Caller::channel(&self.wires, self.host, &endpoint)
    }
}
