//! The networks of the simulation: real tonic over simulated sockets, for fidelity, and whole calls as messages, for volume.
//!
//! A world knows only [`Network`], a host only its [`Door`]. Both kinds suffer the same faults: what cannot be heard is lost or late, a
//! process that ends breaks its connections, and a machine without power says goodbye to nobody.

mod messages;
mod sockets;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use phalanx_client::Connector;
use phalanx_raft::Dialer;
use phalanx_server::seams::Listen;
use serde::{Deserialize, Serialize};
use turmoil::Sim;

/// A network in order delivers within this.
pub const LATENCY_MAX: Duration = Duration::from_millis(5);
/// And not before this.
pub const LATENCY_MIN: Duration = Duration::from_micros(200);

/// One host's way into the network: its listeners, its connections to peers, the connections of its clients.
pub trait Door: Dialer + Listen + Connector {}

impl<T: Dialer + Listen + Connector> Door for T {}

/// What connects the hosts of a world. Hosts go by their names.
pub trait Network {
    /// The way in for `host`; the same one each time.
    fn door(&mut self, host: &str) -> Arc<dyn Door>;
    /// `from` is no longer heard by `to`.
    fn cut(&mut self, sim: &Sim<'static>, from: &str, to: &str);
    /// Both hear each other again.
    fn mend(&mut self, sim: &Sim<'static>, one: &str, other: &str);
    /// All connections of `host` break at once.
    fn reset(&mut self, host: &str);
    /// Delivery takes up to this long.
    fn delay(&mut self, sim: &Sim<'static>, longest: Duration);
    /// The process on `host` is about to be ended.
    fn ends(&mut self, host: &str);
    /// It is `now`: delivers what is due.
    fn step(&mut self, now: Duration);
    /// What befell the messages so far, by kind.
    fn befell(&self) -> BTreeMap<&'static str, u64>;
}

/// Which network a world has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Real tonic, down to HTTP/2 frames on simulated sockets.
    #[default]
    Tonic,
    /// Requests, responses and the frames of their bodies as messages.
    Message,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Tonic, Self::Message];

    /// As `--transport` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tonic => "tonic",
            Self::Message => "message",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.name() == name)
    }

    /// Length of a step: on sockets a call takes many of them, as a message one.
    pub fn tick(self) -> Duration {
        match self {
            Self::Tonic => Duration::from_millis(1),
            Self::Message => Duration::from_millis(3),
        }
    }

    /// The network of a seed.
    pub fn network(self, seed: u64) -> Box<dyn Network> {
        match self {
            Self::Tonic => Box::<sockets::Sockets>::default(),
            Self::Message => Box::new(messages::Messages::new(seed)),
        }
    }
}
