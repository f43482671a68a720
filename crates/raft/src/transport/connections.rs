//! Connections to peers: one for control and one for bulk data, for each address.
//!
//! Invariant: a channel is made once for each address and purpose and then shared by all groups; it reconnects by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use phalanx_proto::channel::Channel;
use phalanx_proto::raft::v1::raft_client::RaftClient;

use super::MESSAGE_BYTES_MAX;
use super::heartbeat::Coalescer;
use crate::context::{Dialer, Purpose};

/// A client with limits that let an entry through.
pub(crate) fn client(channel: Channel) -> RaftClient<Channel> {
    RaftClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// All connections of this node.
pub(crate) struct Connections {
    dialer: Arc<dyn Dialer>,
    peers: Mutex<BTreeMap<String, Arc<PeerConnection>>>,
}

/// The connections to one address.
pub(crate) struct PeerConnection {
    pub control: RaftClient<Channel>,
    pub bulk: RaftClient<Channel>,
    pub heartbeats: Coalescer,
}

impl Connections {
    pub(crate) fn new(dialer: Arc<dyn Dialer>) -> Self {
        Self { dialer, peers: Mutex::new(BTreeMap::new()) }
    }

    /// The connections to an address; nothing is dialled before it is used.
    pub(crate) fn to(&self, address: &str) -> Arc<PeerConnection> {
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(address) {
            return Arc::clone(peer);
        }
        let control = client(self.dialer.channel(address, Purpose::Control));
        let peer = Arc::new(PeerConnection {
            bulk: client(self.dialer.channel(address, Purpose::Bulk)),
            heartbeats: Coalescer::new(control.clone()),
            control,
        });
        peers.insert(address.to_owned(), Arc::clone(&peer));
        peer
    }

    /// A connection of its own, to find out whether anybody is there.
    pub(crate) fn probe(&self, address: &str) -> RaftClient<Channel> {
        client(self.dialer.channel(address, Purpose::Control))
    }

    /// Forgets the connections to addresses that nothing names any more.
    pub(crate) fn retain(&self, mut keep: impl FnMut(&str) -> bool) {
        self.peers.lock().retain(|address, _| keep(address));
    }
}
