//! The way to each node, for clients that are made from the protocol files alone.

use std::time::Duration;

use phalanx_client::{Channel, Connector};
use tonic::transport::Endpoint;

use super::Actor;
use crate::random::Random;

/// Channels to all nodes, and the node that answered last.
pub(super) struct Nodes {
    channels: Vec<Channel>,
    good: usize,
}

impl Nodes {
    /// Connections may take `patience` to come about.
    pub fn of(actor: &Actor, patience: Duration) -> Self {
        let channels = actor.addresses.iter().map(|address| {
            let endpoint = Endpoint::from_shared(address.clone()).expect("the addresses are well-formed");
            let endpoint = endpoint
                .connect_timeout(patience)
                .http2_keep_alive_interval(super::KEEPALIVE)
                .keep_alive_timeout(super::KEEPALIVE)
                .keep_alive_while_idle(true);
            Connector::channel(actor.door.as_ref(), endpoint)
        });
        Self { channels: channels.collect(), good: 0 }
    }

    /// The node to ask: the last good one, unless the dice say otherwise.
    pub fn pick(&mut self, random: &mut Random) -> Channel {
        if random.chance(15) {
            self.good = random.within(0..self.channels.len() as u64) as usize;
        }
        self.channels[self.good].clone()
    }

    /// The node did not answer.
    pub fn failed(&mut self) {
        self.good = (self.good + 1) % self.channels.len();
    }
}
